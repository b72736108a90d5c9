package undo

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// layer is what this package asks of a file system. Tests put one in its place that
// stops at a chosen operation.
type layer interface {
	create(name string) (file, error) // replaces what a crash left under the name
	open(name string, write bool) (file, error)
	rename(from, to string) error
	remove(name string) error
	syncDir(name string) error
}

type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
	size() (int64, error)
}

// system is the layer of the running machine.
type system struct{}

type systemFile struct{ *os.File }

func (f systemFile) size() (int64, error) { return f.Seek(0, io.SeekEnd) }

// create demands a new name, so that nothing is written through a link that somebody
// laid there.
func (system) create(name string) (file, error) {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	return systemFile{f}, err
}

// open takes a block device for an image alone, which is what is written to.
func (system) open(name string, write bool) (file, error) {
	flag := os.O_RDONLY
	if write {
		flag = os.O_RDWR
	}
	f, err := os.OpenFile(name, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if device := info != nil && info.Mode().Type() == fs.ModeDevice && write; err == nil && !info.Mode().IsRegular() && !device {
		err = fmt.Errorf("%s: type is %v, want a regular file", name, info.Mode().Type())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return systemFile{f}, nil
}

func (system) rename(from, to string) error { return os.Rename(from, to) }

func (system) remove(name string) error { return os.Remove(name) }

func (system) syncDir(name string) error {
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
