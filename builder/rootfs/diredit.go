package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrPartlyChanged is met where a directory could not be left either as it was or as
// the edits want it.
var ErrPartlyChanged = errors.New("the directory is left with a part of the changes")

// Apply makes the edits in order, then asks check whether the result is right. If
// an edit cannot be made, or check fails, all are taken back, newest first, and
// the directory is as it was, but for change times (ctime); if that cannot be done
// the error is [ErrPartlyChanged], too. Parent directories keep their times, but for
// those that belong to somebody else. Labels of symbolic links are set through /proc.
func (d *Dir) Apply(edits []Edit, check func() error) error {
	undo := &undoLog{dir: d, times: map[string]time.Time{}}
	for i, e := range edits {
		if err := d.apply(e, i, undo); err != nil {
			err = fmt.Errorf("cannot %s %s: %w", e.Op, e.Path, err)
			return errors.Join(err, partly(undo.rollback()))
		}
	}
	if err := check(); err != nil {
		return errors.Join(err, partly(undo.rollback()))
	}
	return partly(errors.Join(undo.commit(), d.settleTimes(edits, undo.times)))
}

func partly(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrPartlyChanged, err)
}

// settleTimes gives the directories that were edited in the times that they had,
// and those of the list their own, which have changed with what was put into them.
func (d *Dir) settleTimes(edits []Edit, parents map[string]time.Time) error {
	for name, at := range parents {
		if err := d.restoreTime(name, at); err != nil {
			return err
		}
	}
	for _, e := range edits {
		if e.Op != Mkdir {
			continue
		}
		if err := d.settleTime(rel(e.Path), e.ModTime); err != nil {
			return err
		}
	}
	return nil
}

// restoreTime gives a parent the time that it had. Who may write into somebody
// else's directory may not set its time, and that is no reason to give up.
func (d *Dir) restoreTime(name string, at time.Time) error {
	err := d.settleTime(name, at)
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// settleTime sets the time of a directory; what a later edit removed has none.
func (d *Dir) settleTime(name string, at time.Time) error {
	info, err := d.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && (!info.IsDir() || info.ModTime().Equal(at))) {
		return nil
	}
	if err == nil {
		err = d.root.Chtimes(name, time.Time{}, at)
	}
	if err != nil {
		return fmt.Errorf("cannot set the time of /%s: %w", name, err)
	}
	return nil
}

// undoLog holds what takes edits back, and the names of saved files and
// directories to drop once nothing has to be taken back any more.
type undoLog struct {
	dir   *Dir
	steps []func() error
	saved []string             // a directory stands behind what lies in it
	times map[string]time.Time // modification times of parents, before the first edit in them
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
	case WriteFile, Symlink, Append:
		return d.replace(name, e, serial, undo)
	case Mkdir:
		return d.mkdir(name, e, undo)
	case Remove:
		return d.remove(name, serial, undo)
	case SetAttributes:
		return d.modify(name, e, undo)
	default:
		return fmt.Errorf("operation is %q, want write, append, symlink, mkdir, remove or modify", e.Op)
	}
}

// keepTimes notes a directory's modification time, and makes the rollback put it
// back, the last trace of an edit in it.
func (d *Dir) keepTimes(name string, undo *undoLog) error {
	info, err := d.root.Lstat(name)
	if err != nil {
		return err
	}
	undo.add(func() error { return d.restoreTime(name, info.ModTime()) })
	if _, known := undo.times[name]; !known {
		undo.times[name] = info.ModTime()
	}
	return nil
}

// sideName is a name beside another one that no user file has.
func sideName(name, role string, serial int) string {
	return path.Join(path.Dir(name), fmt.Sprintf(".kerngate-%s-%d-%d", role, os.Getpid(), serial))
}

// save keeps what name holds, if anything, under a second name and makes the
// rollback put it back.
func (d *Dir) save(name string, serial int, undo *undoLog) error {
	info, err := d.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		undo.add(func() error { return ignoreMissing(d.removeThere(name)) })
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		return errors.New("it is a directory")
	}
	side := sideName(name, "undo", serial)
	if err := d.root.Link(name, side); err != nil {
		return err
	}
	undo.saved = append(undo.saved, side)
	undo.add(func() error {
		if err := d.root.Rename(side, name); err != nil {
			return err
		}
		// Between two names of one inode rename(2) does nothing.
		return ignoreMissing(d.removeThere(side))
	})
	return nil
}

// removeThere removes what is there: on a file system that is read only, unlink(2) of
// nothing is an error of another kind.
func (d *Dir) removeThere(name string) error {
	if _, err := d.root.Lstat(name); err != nil {
		return err
	}
	return d.root.Remove(name)
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
	if err := d.save(name, serial, undo); err != nil {
		return err
	}
	temp := sideName(name, "new", serial)
	undo.add(func() error { return ignoreMissing(d.removeThere(temp)) })
	switch e.Op {
	case Symlink:
		err = d.newSymlink(temp, e, xattrs)
	case Append:
		err = d.longerFile(temp, name, e, xattrs)
	default:
		err = d.newFile(temp, e, nil, xattrs)
	}
	if err != nil {
		return err
	}
	return d.root.Rename(temp, name)
}

// longerFile makes a file that begins as the file name does.
func (d *Dir) longerFile(temp, name string, e Edit, xattrs map[string][]byte) error {
	old, info, err := d.open(name, 0)
	if err != nil {
		return err
	}
	defer old.Close()
	if err := CheckKeep(e.Keep, info.Size()); err != nil {
		return err
	}
	return d.newFile(temp, e, old, xattrs)
}

// wantedXattrs are the attributes that the new inode gets: the edit's own, else
// those of the file it replaces, else its directory's SELinux label.
func (d *Dir) wantedXattrs(name string, e Edit) (map[string][]byte, error) {
	if e.Xattrs != nil {
		return e.Xattrs, nil
	}
	info, err := d.root.Lstat(name)
	if err == nil && info.Mode().IsRegular() && e.Op != Symlink {
		return d.Xattrs(name)
	}
	if err := ignoreMissing(err); err != nil {
		return nil, err
	}
	above, err := d.Xattrs(path.Dir(name))
	if label, ok := above[selinuxLabel]; ok {
		return map[string][]byte{selinuxLabel: label}, err
	}
	return nil, err
}

const selinuxLabel = "security.selinux"

func (d *Dir) newSymlink(temp string, e Edit, xattrs map[string][]byte) error {
	if err := d.root.Symlink(e.Target, temp); err != nil {
		return err
	}
	if err := d.chown(temp, e); err != nil {
		return err
	}
	holder, err := d.root.Open(path.Dir(temp))
	if err != nil {
		return err
	}
	defer holder.Close()
	for key, value := range xattrs {
		// No system call takes a directory's descriptor and a name here.
		through := fmt.Sprintf("/proc/self/fd/%d/%s", holder.Fd(), path.Base(temp))
		if err := unix.Lsetxattr(through, key, value, 0); err != nil {
			return fmt.Errorf("cannot set %s: %w", key, err)
		}
	}
	// os.Root has no call that sets the times of a link itself.
	at := unix.NsecToTimespec(e.ModTime.UnixNano())
	return unix.UtimesNanoAt(int(holder.Fd()), path.Base(temp), []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
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

// newFile makes a file of the first e.Keep bytes of old, if there are any, and the
// edit's data.
func (d *Dir) newFile(temp string, e Edit, old *os.File, xattrs map[string][]byte) error {
	f, err := d.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if old != nil {
		if n, err := io.CopyN(f, old, e.Keep); err != nil {
			return fmt.Errorf("cannot copy %d bytes of the old file, got %d: %w", e.Keep, n, err)
		}
	}
	if _, err := f.Write(e.Data); err != nil {
		return err
	}
	if err := d.chown(temp, e); err != nil {
		return err
	}
	if err := setXattrs(f, nil, xattrs); err != nil {
		return err
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

// setXattrs turns the attributes that f has into those that it shall have.
func setXattrs(f *os.File, has, want map[string][]byte) error {
	for key := range has {
		if _, kept := want[key]; kept {
			continue
		}
		if err := unix.Fremovexattr(int(f.Fd()), key); err != nil {
			return fmt.Errorf("cannot remove %s: %w", key, err)
		}
	}
	for key, value := range want {
		if old, ok := has[key]; ok && bytes.Equal(old, value) {
			continue
		}
		if err := unix.Fsetxattr(int(f.Fd()), key, value, 0); err != nil {
			return fmt.Errorf("cannot set %s: %w", key, err)
		}
	}
	return nil
}

func (d *Dir) mkdir(name string, e Edit, undo *undoLog) error {
	info, err := d.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return d.newDirectory(name, e, undo)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("it is %s", TypeName(info.Mode()))
	}
	old := dirInfo(info)
	before := Edit{Mode: old.Mode, UID: old.UID, GID: old.GID, ModTime: old.ModTime}
	if e.Xattrs != nil {
		if before.Xattrs, err = d.Xattrs(name); err != nil {
			return err
		}
	}
	undo.add(func() error { return d.directory(name, before) })
	return d.directory(name, e)
}

func (d *Dir) newDirectory(name string, e Edit, undo *undoLog) (err error) {
	if e.Xattrs, err = d.wantedXattrs(name, e); err != nil {
		return err
	}
	undo.add(func() error { return ignoreMissing(d.removeThere(name)) })
	if err := d.root.Mkdir(name, 0o700); err != nil {
		return err
	}
	return d.directory(name, e)
}

// directory gives a directory the attributes and the time of an edit.
func (d *Dir) directory(name string, e Edit) error {
	if err := d.attributes(name, e, fs.ModeDir); err != nil {
		return err
	}
	return d.root.Chtimes(name, e.ModTime, e.ModTime)
}

func (d *Dir) modify(name string, e Edit, undo *undoLog) error {
	info, err := d.root.Lstat(name)
	if err != nil {
		return err
	}
	kind := info.Mode().Type()
	if kind != 0 && kind != fs.ModeDir {
		return fmt.Errorf("it is %s, want a regular file or a directory", TypeName(kind))
	}
	old := dirInfo(info)
	before := Edit{Mode: old.Mode, UID: old.UID, GID: old.GID}
	if before.Xattrs, err = d.Xattrs(name); err != nil {
		return err
	}
	if e.Xattrs == nil {
		e.Xattrs = before.Xattrs // a change of owner takes capabilities away
	}
	undo.add(func() error { return d.attributes(name, before, kind) })
	return d.attributes(name, e, kind)
}

// attributes gives an inode of this type owner, extended attributes and mode of an
// edit, in the order in which the later does not undo the earlier.
func (d *Dir) attributes(name string, e Edit, kind fs.FileMode) error {
	if err := d.chown(name, e); err != nil {
		return err
	}
	if e.Xattrs != nil {
		if err := d.changeXattrs(name, e.Xattrs, kind); err != nil {
			return err
		}
	}
	return d.root.Chmod(name, e.Mode)
}

func (d *Dir) changeXattrs(name string, want map[string][]byte, kind fs.FileMode) error {
	has, err := d.Xattrs(name)
	if err != nil {
		return err
	}
	f, _, err := d.open(name, kind)
	if err != nil {
		return err
	}
	defer f.Close()
	return setXattrs(f, has, want)
}

func (d *Dir) remove(name string, serial int, undo *undoLog) error {
	info, err := d.root.Lstat(name)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return d.removeDirectory(name, serial, undo)
	}
	if err := d.save(name, serial, undo); err != nil {
		return err
	}
	return d.root.Remove(name)
}

// removeDirectory moves a directory aside that holds nothing, or nothing but files
// saved by earlier edits, which go with it.
func (d *Dir) removeDirectory(name string, serial int, undo *undoLog) error {
	entries, err := d.ReadDir(name)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.Contains(undo.saved, path.Join(name, e.Name)) {
			return fmt.Errorf("it holds %s: %w", e.Name, unix.ENOTEMPTY)
		}
	}
	side := sideName(name, "undo", serial)
	if err := d.root.Rename(name, side); err != nil {
		return err
	}
	undo.add(func() error { return d.root.Rename(side, name) })
	for i, saved := range undo.saved {
		if rest, inside := strings.CutPrefix(saved, name+"/"); inside {
			undo.saved[i] = path.Join(side, rest)
		}
	}
	undo.saved = append(undo.saved, side)
	return nil
}
