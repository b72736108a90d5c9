package fat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"syscall"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// finish puts the changed FAT and what FSInfo says about it into the overlay.
func (ed *editor) finish() error {
	if err := ed.fat.flush(ed.over); err != nil {
		return err
	}
	if len(ed.infoSectors) == 0 {
		return nil
	}
	count, first, err := ed.fat.free()
	if err != nil {
		return err
	}
	if first == 0 {
		first = 0xFFFFFFFF // unknown
	}
	for _, at := range ed.infoSectors {
		info := make([]byte, minSector)
		if err := ed.readAt(info, at); err != nil {
			return err
		}
		if !isFSInfo(info) { // Linux does not use it then; and it may be anything
			continue
		}
		binary.LittleEndian.PutUint32(info[488:], count)
		binary.LittleEndian.PutUint32(info[492:], first)
		if err := ed.over.write(info[488:496], at+488); err != nil {
			return err
		}
	}
	return nil
}

func isFSInfo(b []byte) bool {
	return le32(b, 0) == 0x41615252 && le32(b, 484) == 0x61417272 && le32(b, 508) == 0xAA550000
}

// write makes the changes on the disk.
func (ed *editor) write(image string, offset int64) error {
	out, err := os.OpenFile(image, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := ed.over.flush(out, offset); err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	return out.Close()
}

// confirm opens the volume afresh, checks it as a whole, and compares every name
// that was edited.
func (ed *editor) confirm(r io.ReaderAt) error {
	f, err := Open(r, ed.size)
	if err == nil {
		err = f.check()
	}
	if err != nil {
		return fmt.Errorf("cannot confirm the volume: %w", err)
	}
	free, err := f.Free()
	if err != nil {
		return err
	}
	if free != ed.free {
		return fmt.Errorf("cannot confirm the volume: free clusters are %d, want %d", free, ed.free)
	}
	for _, folded := range slices.Sorted(maps.Keys(ed.done)) {
		d := ed.done[folded]
		if err := confirmName(f, d); err != nil {
			return fmt.Errorf("cannot confirm %s: %w", d.name, err)
		}
	}
	return nil
}

func confirmGone(f *FS, name string) error {
	_, e, err := f.lookup("lookup", name)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		return nil
	case err == nil && fold(e.name) == fold(path.Base(name)): // else an alias of a new file
		return errors.New("name is still there")
	}
	return err
}

func confirmName(f *FS, d done) error {
	name, e := d.name, d.edit
	if e.Op == rootfs.Remove {
		return confirmGone(f, name)
	}
	info, err := f.Lstat(name)
	switch {
	case err != nil:
		return err
	case info.Mode.IsDir() != (e.Op == rootfs.Mkdir):
		return fmt.Errorf("it is %s", rootfs.TypeName(info.Mode))
	case !info.ModTime.Equal(e.ModTime):
		return fmt.Errorf("modification time is %v, want %v", info.ModTime, e.ModTime)
	case info.Mode.IsDir():
		return nil
	case info.Size != d.holds.size():
		return fmt.Errorf("size is %d, want %d", info.Size, d.holds.size())
	}
	c, err := f.Open(name)
	if err != nil {
		return err
	}
	defer c.Close()
	return compare(c, d.holds)
}

// wanted is what a file shall hold: the beginning of what it held, then data.
type wanted struct {
	old  io.ReaderAt // nil where nothing is kept
	keep int64
	data []byte
}

func (w wanted) size() int64 { return w.keep + int64(len(w.data)) }

// ReadAt implements [io.ReaderAt].
func (w wanted) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	if off < w.keep {
		n = int(min(int64(len(p)), w.keep-off))
		if err := readFull(w.old, p[:n], off); err != nil {
			return 0, err
		}
	}
	if n == len(p) {
		return n, nil
	}
	more, err := bytes.NewReader(w.data).ReadAt(p[n:], off+int64(n)-w.keep)
	return n + more, err
}

func compare(r io.ReaderAt, want wanted) error {
	step := min(want.size(), copyBytes)
	got, wanted := make([]byte, step), make([]byte, step)
	for at := int64(0); at < want.size(); at += copyBytes {
		n := min(step, want.size()-at)
		if err := errors.Join(readFull(r, got[:n], at), readFull(want, wanted[:n], at)); err != nil {
			return err
		}
		if !bytes.Equal(got[:n], wanted[:n]) {
			return errors.New("content differs from what was written")
		}
	}
	return nil
}
