package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// Draft is a private copy of a disk image beside the place where it will stand.
// Until Commit nobody sees it under a lasting name; Discard leaves no trace.
type Draft struct {
	pending *renameio.PendingFile
	out     string
	image   os.FileInfo // its mode the copy gets last, for it may forbid writing
	named   bool
}

// Progress is told how many bytes of a copy are made, and of how many. Nobody is told
// of a copy that is made at once.
type Progress func(done, total int64)

// NewDraft copies the image or block device at in to a hidden file in the directory
// of out. The copy shares the image's extents where the file system can
// (ioctl_ficlone(2)), else only data is copied and holes stay holes; of a device
// zeros become holes. Out must not exist. Progress may be nil. What a killed process left
// of a copy for the same out is removed.
func NewDraft(ctx context.Context, in, out string, progress Progress) (*Draft, error) {
	src, err := os.Open(in)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return nil, err
	}
	if err := checkOutput(info, out); err != nil {
		return nil, err
	}
	removeLeftovers(out)
	pending, err := createDraft(out)
	if err != nil {
		return nil, fmt.Errorf("cannot create the output beside %s: %w", out, err)
	}
	d := &Draft{pending: pending, out: out, image: info}
	if err := d.fill(ctx, src, info, progress); err != nil {
		d.Discard()
		return nil, fmt.Errorf("cannot copy %s: %w", in, err)
	}
	if err := checkUnchanged(info, in); err != nil {
		d.Discard()
		return nil, err
	}
	return d, nil
}

// checkUnchanged refuses an image that somebody else wrote to in the meantime: its
// copy may hold halves of two states, and an edit in place would mix with their work.
func checkUnchanged(before os.FileInfo, name string) error {
	now, err := os.Stat(name)
	if err != nil {
		return err
	}
	if os.SameFile(before, now) && now.Size() == before.Size() && now.ModTime().Equal(before.ModTime()) {
		return nil
	}
	return &Error{Fact: fmt.Sprintf("%s: it was changed while it was being patched", name), Advice: "see that nothing else writes to it, such as a running machine or another kerngate, and try again"}
}

// checkOutput refuses to write over anything.
func checkOutput(input os.FileInfo, out string) error {
	there, err := os.Stat(out)
	if errors.Is(err, os.ErrNotExist) {
		// A dangling link is there too, and the rename would take its place.
		there, err = os.Lstat(out)
	}
	switch {
	case errors.Is(err, os.ErrNotExist):
		if _, err := os.Stat(filepath.Dir(out)); err != nil {
			return &Error{Fact: fmt.Sprintf("%s: its directory does not exist", out), Advice: "make the directory first"}
		}
		return nil
	case err != nil:
		return err
	case isDevice(there):
		return &Error{Fact: fmt.Sprintf("%s: output is a block device", out), Advice: "give a file as output, and write that to the device when it is done, for example with dd"}
	case os.SameFile(input, there):
		return &Error{Fact: fmt.Sprintf("%s: output is the input", out), Advice: "give another output, or --in-place to edit the image itself"}
	default:
		return outputExists(out)
	}
}

func outputExists(out string) error {
	return &Error{Fact: fmt.Sprintf("%s: output exists", out), Advice: "remove it or give another name; kerngate does not write over files"}
}

func (d *Draft) fill(ctx context.Context, src *os.File, info os.FileInfo, progress Progress) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if progress == nil {
		progress = func(int64, int64) {}
	}
	if isDevice(info) {
		return copyDevice(ctx, d.pending.File, src, progress)
	}
	if err := d.keepOwner(info); err != nil {
		return err
	}
	if unix.IoctlFileClone(int(d.pending.Fd()), int(src.Fd())) == nil {
		return nil
	}
	if err := d.checkSpace(src); err != nil {
		return err
	}
	return copySparse(ctx, d.pending.File, src, info.Size(), progress)
}

// keepOwner gives the copy the owner of the image; only root can differ from it.
func (d *Draft) keepOwner(info os.FileInfo) error {
	if os.Geteuid() != 0 {
		return nil
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return d.pending.Chown(int(st.Uid), int(st.Gid))
	}
	return nil
}

// checkSpace compares what the image takes with what the output's file system
// has left, so that a copy that cannot fit ends before it starts.
func (d *Draft) checkSpace(src *os.File) error {
	var have unix.Statfs_t
	var need unix.Stat_t
	if err := unix.Fstatfs(int(d.pending.Fd()), &have); err != nil {
		return err
	}
	if err := unix.Fstat(int(src.Fd()), &need); err != nil {
		return err
	}
	return enoughSpace(need.Blocks*512, int64(have.Bavail)*have.Bsize, filepath.Dir(d.out))
}

func enoughSpace(need, have int64, dir string) error {
	if need <= have {
		return nil
	}
	return &Error{
		Fact:   fmt.Sprintf("no space in %s: the copy takes %d bytes, %d are free", dir, need, have),
		Advice: "free some space or give an output on another file system",
	}
}

// copySparse copies the data of src and leaves its holes.
func copySparse(ctx context.Context, dst, src *os.File, size int64, progress Progress) error {
	if err := dst.Truncate(size); err != nil {
		return err
	}
	var done, total int64
	err := eachData(src, 0, size, func(from, to int64) error {
		total += to - from
		return nil
	})
	if err != nil {
		return err
	}
	return eachData(src, 0, size, func(from, to int64) error {
		for at := from; at < to; at += copyChunk {
			end := min(at+copyChunk, to)
			if err := copyRange(ctx, dst, src, at, end, 0); err != nil {
				return err
			}
			done += end - at
			progress(done, total)
		}
		return nil
	})
}

// Path is where the copy lies until Commit.
func (d *Draft) Path() string { return d.pending.Name() }

// Commit makes the copy durable and gives it its name in one step (rename(2)). The
// output must still not exist.
func (d *Draft) Commit() error {
	if err := d.pending.Chmod(d.mode()); err != nil {
		return err
	}
	var fact *Error
	if err := d.name(); errors.As(err, &fact) {
		return err
	} else if err != nil {
		return fmt.Errorf("cannot put %s in place: %w", d.out, err)
	}
	d.named = true
	if err := syncDir(filepath.Dir(d.out)); err != nil {
		return &Error{Fact: fmt.Sprintf("%s is in place, but may not last a power cut: %v", d.out, err), Advice: "run sync(1)"}
	}
	return nil
}

// mode is that of the image. The mode of a device says who may use the device, not
// who may read what is on it.
func (d *Draft) mode() os.FileMode {
	if isDevice(d.image) {
		return 0o600
	}
	return d.image.Mode().Perm()
}

// name renames the copy.
func (d *Draft) name() error {
	if err := d.pending.Sync(); err != nil {
		return err
	}
	err := unix.Renameat2(unix.AT_FDCWD, d.pending.Name(), unix.AT_FDCWD, d.out, unix.RENAME_NOREPLACE)
	switch {
	case err == nil:
		return d.pending.File.Close()
	case errors.Is(err, unix.EEXIST):
		return outputExists(d.out)
	case !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS):
		return err
	}
	// Not every file system can: NFS, for one.
	if _, err := os.Lstat(d.out); !errors.Is(err, os.ErrNotExist) {
		return outputExists(d.out)
	}
	if err := os.Rename(d.pending.Name(), d.out); err != nil {
		return err
	}
	return d.pending.File.Close()
}

// syncDir makes the rename durable.
func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// Discard removes the copy. After Commit it does nothing.
func (d *Draft) Discard() error {
	if d.named {
		return nil
	}
	return d.pending.Cleanup()
}
