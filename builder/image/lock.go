package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kerngate/kerngate/builder/undo"
)

// guard takes a shared lock on an image that is opened for reading, and refuses one
// that an interrupted edit left half changed. The lock goes with the handle.
func guard(f *os.File, path string, site undo.Site) error {
	if err := lock(f, unix.LOCK_SH); err != nil {
		return err
	}
	pending, err := site.Pending()
	if err != nil || !pending {
		return err
	}
	where := "beside it"
	if filepath.Dir(site.Journal) != filepath.Dir(site.Image) {
		where = "in " + site.Journal
	}
	return &Error{
		Fact:   "an edit of it was interrupted, and its undo journal lies " + where,
		Advice: "bring the image back to what it was: kerngate recover " + path,
	}
}

// patience is how long a lock is waited for: a program that a killed kerngate was just
// starting holds a copy of the handle for a moment more.
const patience = time.Second

// lock takes a lock of flock(2), or says that the image is in use. What changes an image in
// place takes LOCK_EX, what reads one LOCK_SH. File systems that know no locks are
// let pass: nothing could be guarded there.
func lock(f *os.File, how int) error {
	for begin := time.Now(); ; {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EWOULDBLOCK) && time.Since(begin) < patience:
			time.Sleep(patience / 100)
		case errors.Is(err, unix.EWOULDBLOCK):
			return inUse(f.Name(), how)
		case err == nil || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOLCK):
			return nil
		default:
			return fmt.Errorf("cannot lock it: %w", err)
		}
	}
}

func inUse(path string, how int) error {
	who := "another kerngate changes it in place"
	if how == unix.LOCK_EX {
		who = "another program has it open, perhaps a second kerngate"
	}
	return &Error{Fact: "it is in use: " + who, Advice: "wait until that has ended; fuser -v " + path + " names it"}
}

// Lock makes sure that nobody else reads or edits a disk image from now until Close.
func (t *Target) Lock() error {
	if t.Kind == Directory {
		return nil
	}
	if err := lock(t.file, unix.LOCK_EX); err != nil {
		return inFile(t.Path, err)
	}
	named, err := os.Stat(t.Path)
	if err != nil {
		return err
	}
	mine, err := t.file.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(named, mine) {
		return &Error{Fact: t.Path + ": another file took its place since it was opened", Advice: "run the command again"}
	}
	return nil
}

// Recover brings an image or a block device back to what it was before an edit in place
// that was interrupted; see [undo.Site.Recover].
func Recover(path string) (undo.Outcome, error) {
	info, err := os.Stat(path)
	if err != nil {
		return undo.Outcome{}, missing(path, err)
	}
	if !info.Mode().IsRegular() && !isDevice(info) {
		return undo.Outcome{}, nil // a directory's edits are taken back by the build itself
	}
	f, _, err := openFile(path, info)
	if err != nil {
		return undo.Outcome{}, err
	}
	defer f.Close()
	if err := lock(f, unix.LOCK_EX); err != nil {
		return undo.Outcome{}, inFile(path, err)
	}
	site, err := siteOf(path)
	if err != nil {
		return undo.Outcome{}, inFile(path, err)
	}
	return site.Recover()
}
