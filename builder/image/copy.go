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
	mode    os.FileMode // of the image; the copy gets it last, for it may forbid writing
}

// NewDraft copies the image at in to a hidden file in the directory of out. The
// copy shares the image's extents where the file system can (ioctl_ficlone(2)),
// else only data is copied and holes stay holes. Out must not exist; where it is
// empty, Commit replaces in.
func NewDraft(ctx context.Context, in, out string) (*Draft, error) {
	src, err := os.Open(in)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return nil, err
	}
	if out == "" {
		out = in
	} else if err := checkOutput(info, out); err != nil {
		return nil, err
	}
	pending, err := renameio.NewPendingFile(out, renameio.WithTempDir(filepath.Dir(out)), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return nil, fmt.Errorf("cannot create the output beside %s: %w", out, err)
	}
	d := &Draft{pending: pending, out: out, mode: info.Mode().Perm()}
	if err := d.fill(ctx, src, info); err != nil {
		d.Discard()
		return nil, fmt.Errorf("cannot copy %s: %w", in, err)
	}
	return d, nil
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
	case os.SameFile(input, there):
		return &Error{Fact: fmt.Sprintf("%s: output is the input", out), Advice: "give another output, or --in-place to replace the image"}
	default:
		return &Error{Fact: fmt.Sprintf("%s: output exists", out), Advice: "remove it or give another name; kerngate does not write over files"}
	}
}

func (d *Draft) fill(ctx context.Context, src *os.File, info os.FileInfo) error {
	if err := ctx.Err(); err != nil {
		return err
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
	return copySparse(ctx, d.pending.File, src, info.Size())
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
func copySparse(ctx context.Context, dst, src *os.File, size int64) error {
	if err := dst.Truncate(size); err != nil {
		return err
	}
	return eachData(src, 0, size, func(from, to int64) error {
		return copyRange(ctx, dst, src, from, to, 0)
	})
}

// Path is where the copy lies until Commit.
func (d *Draft) Path() string { return d.pending.Name() }

// Output is the name that Commit gives it.
func (d *Draft) Output() string { return d.out }

// Commit makes the copy durable and gives it its name in one step (rename(2)).
func (d *Draft) Commit() error {
	if err := d.pending.Chmod(d.mode); err != nil {
		return err
	}
	if err := d.pending.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("cannot put %s in place: %w", d.out, err)
	}
	return syncDir(filepath.Dir(d.out))
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
func (d *Draft) Discard() error { return d.pending.Cleanup() }
