package image

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kerngate/kerngate/builder/undo"
)

// defaultState is where undo journals of block devices lie; file-hierarchy(7), state.
const defaultState = "/var/lib"

// stateDir is $XDG_STATE_HOME/kerngate, where that is set, else /var/lib/kerngate.
func stateDir() string {
	if home := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, "kerngate")
	}
	return filepath.Join(defaultState, "kerngate")
}

// siteOf says where the undo journal of an image lies: beside it, that of a block device
// in the directory for state.
func siteOf(path string) (undo.Site, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return undo.Site{}, err
	}
	var st unix.Stat_t
	if err := unix.Stat(real, &st); err != nil {
		return undo.Site{}, &os.PathError{Op: "stat", Path: real, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return undo.Beside(real), nil
	}
	id, err := deviceIdentity("/sys", fmt.Sprintf("%d:%d", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))))
	if err != nil {
		return undo.Site{}, fmt.Errorf("cannot tell which device it is: %w", err)
	}
	return deviceSite(real, stateDir(), id), nil
}

// deviceSite names the journal by the device's identity, of which any text may be part.
func deviceSite(device, state, id string) undo.Site {
	sum := sha256.Sum256([]byte(id))
	return undo.Site{Image: device, Journal: filepath.Join(state, fmt.Sprintf("device-%x%s", sum[:8], undo.Suffix))}
}

// identityFiles are what sysfs says of a disk that stays the same when it is plugged in
// elsewhere, in the order of preference: SCSI and NVMe, MMC, virtio and NVMe, device
// mapper, md, loop.
var identityFiles = []string{"wwid", "device/wwid", "device/cid", "serial", "device/serial", "dm/uuid", "md/uuid", "loop/backing_file"}

// deviceIdentity gives what tells a device from all others, also after a restart: a
// name of the disk, and the number of the partition. Of a disk without one it is the
// kernel's name for it, which another disk may have after a restart; the journal itself
// then tells that it is not its own.
func deviceIdentity(sys, number string) (string, error) {
	dir, err := filepath.EvalSymlinks(filepath.Join(sys, "dev/block", number))
	if err != nil {
		return "", err
	}
	part, err := os.ReadFile(filepath.Join(dir, "partition"))
	disk := dir
	if err == nil {
		disk = filepath.Dir(dir)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	suffix := " partition " + strings.TrimSpace(string(part))
	for _, name := range identityFiles {
		text, err := os.ReadFile(filepath.Join(disk, name))
		if id := strings.TrimSpace(string(text)); err == nil && id != "" {
			return name + " " + id + suffix, nil
		}
	}
	return "name " + filepath.Base(disk) + suffix, nil
}

// makeDurable makes a directory that lasts a power cut, with those above it.
func makeDurable(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	above := filepath.Dir(dir)
	if err := makeDurable(above); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(above)
}

// Journal is where the undo journal lies while the target is edited in place.
func (t *Target) Journal() string { return t.site.Journal }
