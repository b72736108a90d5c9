package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// draftSuffix marks hidden copies as ours: that of disk.raw is
// .disk.raw.kerngate-draft and a number.
const draftSuffix = ".kerngate-draft"

// createDraft makes the hidden file of a copy. It is locked as long as its process
// lives: what has the name and no lock was left by one that was killed.
func createDraft(out string) (*renameio.PendingFile, error) {
	const tries = 3 // another kerngate may take the file for dead before it is locked
	for range tries {
		pending, err := renameio.NewPendingFile(out+draftSuffix, renameio.WithTempDir(filepath.Dir(out)), renameio.WithStaticPermissions(0o600))
		if err != nil {
			return nil, err
		}
		if err := lock(pending.File, unix.LOCK_SH); err != nil {
			return nil, errors.Join(err, pending.Cleanup())
		}
		mine, err := pending.Stat()
		named, lost := os.Lstat(pending.Name())
		if err == nil && lost == nil && os.SameFile(mine, named) {
			return pending, nil
		}
		pending.Cleanup() // the name is another's, or nobody's
	}
	return nil, fmt.Errorf("somebody removes %s", filepath.Base(out)+draftSuffix)
}

// removeLeftovers removes hidden copies for the same output whose process was killed. It
// leaves what is not surely one: of another name or owner, linked elsewhere, locked, or
// on a file system that knows no locks. That it cannot is no reason not to go on.
func removeLeftovers(out string) {
	dir, prefix := filepath.Dir(out), "."+filepath.Base(out)+draftSuffix
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		number, ours := strings.CutPrefix(e.Name(), prefix)
		if ours && number != "" && strings.Trim(number, "0123456789") == "" && e.Type().IsRegular() {
			removeDead(filepath.Join(dir, e.Name()))
		}
	}
}

func removeDead(name string) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return
	}
	var opened, named unix.Stat_t
	if unix.Fstat(int(f.Fd()), &opened) != nil || unix.Lstat(name, &named) != nil {
		return
	}
	// Copies that root makes belong to who owns the image.
	mine := int(opened.Uid) == os.Geteuid() || os.Geteuid() == 0
	if opened.Ino == named.Ino && opened.Dev == named.Dev && opened.Mode&unix.S_IFMT == unix.S_IFREG && opened.Nlink == 1 && mine {
		os.Remove(name)
	}
}
