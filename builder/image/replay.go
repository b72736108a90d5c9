package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/kerngate/kerngate/builder/ext4"
)

// Replay writes what waits in the journals of a disk image into its place, if anything
// does: those of the root and of the volumes mounted in it.
func Replay(ctx context.Context, path string, opts Options) error {
	t, err := Open(path, opts)
	if err != nil {
		return err
	}
	defer t.Close()
	for _, i := range t.waiting() {
		if err := t.replay(ctx, t.Volumes[i]); err != nil {
			return fmt.Errorf("cannot replay the journal of %s: %w", t.Volumes[i].name(), err)
		}
	}
	return nil
}

// replay replays a volume that is a part of the image in a file of its own beside the
// image, since e2fsck cannot do it at an offset, and writes back what changed.
func (t *Target) replay(ctx context.Context, v Volume) error {
	if v.Offset == 0 {
		return ext4.Replay(ctx, t.Path)
	}
	apart, err := nameless(filepath.Dir(t.Path))
	if err != nil {
		return err
	}
	defer apart.Close()
	return replayApart(ctx, t.Path, v, apart)
}

func replayApart(ctx context.Context, path string, v Volume, apart *os.File) error {
	disk, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer disk.Close()
	if err := apart.Truncate(v.Size); err != nil {
		return err
	}
	err = eachData(disk, v.Offset, v.Offset+v.Size, func(from, to int64) error {
		return copyRange(ctx, apart, disk, from, to, -v.Offset)
	})
	if err != nil {
		return err
	}
	if err := ext4.Replay(ctx, pathOf(apart)); err != nil {
		return err
	}
	return writeBack(ctx, disk, apart, v)
}

// writeBack copies from the volume's own file what differs from the image. Places
// that are holes in the file were holes in the image: a replay only adds data.
func writeBack(ctx context.Context, disk, apart *os.File, v Volume) error {
	const chunk = 1 << 20
	have, want := make([]byte, chunk), make([]byte, chunk)
	return eachData(apart, 0, v.Size, func(from, to int64) error {
		for at := from; at < to; at += chunk {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(chunk, to-at)
			if _, err := apart.ReadAt(want[:n], at); err != nil {
				return err
			}
			if _, err := disk.ReadAt(have[:n], v.Offset+at); err != nil {
				return err
			}
			if bytes.Equal(have[:n], want[:n]) {
				continue
			}
			if _, err := disk.WriteAt(want[:n], v.Offset+at); err != nil {
				return err
			}
		}
		return nil
	})
}

// eachData calls do for each range of f between from and to that holds data
// (lseek(2), SEEK_DATA). Of a block device the kernel does not tell: all of it does.
func eachData(f *os.File, from, to int64, do func(from, to int64) error) error {
	for at := from; at < to; {
		data, err := f.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if errors.Is(err, unix.EINVAL) {
			return do(at, to)
		}
		if err != nil {
			return err
		}
		hole, err := f.Seek(data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if data >= to {
			return nil
		}
		if err := do(data, min(hole, to)); err != nil {
			return err
		}
		at = hole
	}
	return nil
}

// copyChunk bounds one copy step, so that an interrupt is seen soon and progress
// shown often.
const copyChunk = 16 << 20

// copyRange copies bytes of src to the same place of dst, moved by shift. io.Copy
// between files uses copy_file_range(2).
func copyRange(ctx context.Context, dst, src *os.File, from, to, shift int64) error {
	if _, err := src.Seek(from, io.SeekStart); err != nil {
		return err
	}
	if _, err := dst.Seek(from+shift, io.SeekStart); err != nil {
		return err
	}
	for at := from; at < to; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.CopyN(dst, src, min(copyChunk, to-at))
		if err != nil {
			return err
		}
		at += n
	}
	return nil
}
