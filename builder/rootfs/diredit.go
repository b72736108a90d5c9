package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Apply makes the edits in order, then asks check whether the result is right. If
// an edit cannot be made, or check fails, all are taken back, newest first, and
// the directory is as it was.
func (d *Dir) Apply(edits []Edit, check func() error) error {
	undo := &undoLog{dir: d}
	for i, e := range edits {
		if err := d.apply(e, i, undo); err != nil {
			err = fmt.Errorf("cannot %s %s: %w", e.Op, e.Path, err)
			return errors.Join(err, undo.rollback())
		}
	}
	if err := check(); err != nil {
		return errors.Join(err, undo.rollback())
	}
	return undo.commit()
}

// undoLog holds what takes edits back, and the names of saved files to drop once
// nothing has to be taken back any more.
type undoLog struct {
	dir   *Dir
	steps []func() error
	saved []string
}

func (u *undoLog) add(step func() error) { u.steps = append(u.steps, step) }

func (u *undoLog) rollback() error {
	var errs []error
	for i := len(u.steps) - 1; i >= 0; i-- {
		if err := u.steps[i](); err != nil {
			errs = append(errs, fmt.Errorf("cannot take back a change: %w", err))
		}
	}
	return errors.Join(errs...)
}

func (u *undoLog) commit() error {
	var errs []error
	for _, name := range u.saved {
		errs = append(errs, u.dir.root.Remove(name))
	}
	return errors.Join(errs...)
}

func (d *Dir) apply(e Edit, serial int, undo *undoLog) error {
	name, err := d.literal(e.Path)
	if err != nil {
		return err
	}
	if err := d.keepTimes(path.Dir(name), undo); err != nil {
		return err
	}
	switch e.Op {
	case WriteFile, Symlink:
		return d.replace(name, e, serial, undo)
	case Mkdir:
		return d.mkdir(name, e, undo)
	case Remove:
		return d.remove(name, serial, undo)
	default:
		return fmt.Errorf("operation is %q, want write, symlink, mkdir or remove", e.Op)
	}
}

// keepTimes makes the rollback put back a directory's modification time, the
// last trace of an edit in it.
func (d *Dir) keepTimes(name string, undo *undoLog) error {
	info, err := d.root.Lstat(name)
	if err != nil {
		return err
	}
	undo.add(func() error { return d.root.Chtimes(name, time.Time{}, info.ModTime()) })
	return nil
}

// sideName is a name beside another one that no user file has.
func sideName(name, role string, serial int) string {
	return path.Join(path.Dir(name), fmt.Sprintf(".kerngate-%s-%d-%d", role, os.Getpid(), serial))
}

// save keeps what name holds under a second name and makes the rollback put it
// back. It says whether there was anything.
func (d *Dir) save(name string, serial int, undo *undoLog) (old *Info, err error) {
	info, err := d.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		undo.add(func() error { return ignoreMissing(d.root.Remove(name)) })
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, errors.New("it is a directory")
	}
	side := sideName(name, "undo", serial)
	if err := d.root.Link(name, side); err != nil {
		return nil, err
	}
	undo.saved = append(undo.saved, side)
	undo.add(func() error { return d.root.Rename(side, name) })
	described := dirInfo(info)
	return &described, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (d *Dir) replace(name string, e Edit, serial int, undo *undoLog) error {
	xattrs, err := d.wantedXattrs(name, e)
	if err != nil {
		return err
	}
	if _, err := d.save(name, serial, undo); err != nil {
		return err
	}
	temp := sideName(name, "new", serial)
	undo.add(func() error { return ignoreMissing(d.root.Remove(temp)) })
	if e.Op == Symlink {
		err = d.newSymlink(temp, e)
	} else {
		err = d.newFile(temp, e, xattrs)
	}
	if err != nil {
		return err
	}
	return d.root.Rename(temp, name)
}

// wantedXattrs are the attributes that the new inode gets: the edit's own, else
// those of the file it replaces, else its directory's SELinux label.
func (d *Dir) wantedXattrs(name string, e Edit) (map[string][]byte, error) {
	if e.Xattrs != nil || e.Op == Symlink {
		return e.Xattrs, nil
	}
	old, err := d.Xattrs(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return old, err
	}
	above, err := d.Xattrs(parent(name))
	if label, ok := above["security.selinux"]; ok {
		return map[string][]byte{"security.selinux": label}, err
	}
	return nil, err
}

func (d *Dir) newSymlink(temp string, e Edit) error {
	if err := d.root.Symlink(e.Target, temp); err != nil {
		return err
	}
	return d.chown(temp, e)
}

// chown sets the owner, if it is not right already: an unprivileged user may
// patch a tree of his own.
func (d *Dir) chown(name string, e Edit) error {
	info, err := d.root.Lstat(name)
	if err != nil {
		return err
	}
	if got := dirInfo(info); got.UID == e.UID && got.GID == e.GID {
		return nil
	}
	return d.root.Lchown(name, int(e.UID), int(e.GID))
}

func (d *Dir) newFile(temp string, e Edit, xattrs map[string][]byte) error {
	f, err := d.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(e.Data); err != nil {
		return err
	}
	if err := d.chown(temp, e); err != nil {
		return err
	}
	for key, value := range xattrs {
		if err := unix.Fsetxattr(int(f.Fd()), key, value, 0); err != nil {
			return fmt.Errorf("cannot set %s: %w", key, err)
		}
	}
	// After chown, which clears the set-uid bit.
	if err := f.Chmod(e.Mode); err != nil {
		return err
	}
	if err := d.root.Chtimes(temp, e.ModTime, e.ModTime); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

func (d *Dir) mkdir(name string, e Edit, undo *undoLog) error {
	info, err := d.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		undo.add(func() error { return ignoreMissing(d.root.Remove(name)) })
		err = d.root.Mkdir(name, 0o700)
	case err == nil && !info.IsDir():
		err = fmt.Errorf("it is %s", TypeName(info.Mode()))
	case err == nil:
		old := dirInfo(info)
		undo.add(func() error {
			return d.attributes(name, Edit{Mode: old.Mode, UID: old.UID, GID: old.GID, ModTime: old.ModTime})
		})
	}
	if err != nil {
		return err
	}
	return d.attributes(name, e)
}

func (d *Dir) attributes(name string, e Edit) error {
	if err := d.chown(name, e); err != nil {
		return err
	}
	if err := d.root.Chmod(name, e.Mode); err != nil {
		return err
	}
	return d.root.Chtimes(name, e.ModTime, e.ModTime)
}

func (d *Dir) remove(name string, serial int, undo *undoLog) error {
	info, err := d.root.Lstat(name)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		if _, err := d.save(name, serial, undo); err != nil {
			return err
		}
		return d.root.Remove(name)
	}
	// Saved files may still lie in it: it goes with them at the end.
	undo.saved = append(undo.saved, name)
	return nil
}
