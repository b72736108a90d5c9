package bootentry_test

import (
	"bytes"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// memory is a tree of regular files, for tests that need thousands of trees.
type memory map[string][]byte

func (m memory) Lstat(name string) (rootfs.Info, error) {
	if data, found := m[name]; found {
		return rootfs.Info{Mode: 0o644, Size: int64(len(data)), Links: 1}, nil
	}
	for file := range m {
		if name == "/" || strings.HasPrefix(file, name+"/") {
			return rootfs.Info{Mode: fs.ModeDir | 0o755, Links: 2}, nil
		}
	}
	return rootfs.Info{}, &fs.PathError{Op: "lstat", Path: name, Err: fs.ErrNotExist}
}

func (m memory) ReadDir(name string) ([]rootfs.Entry, error) {
	var out []rootfs.Entry
	for file := range m {
		rest, found := strings.CutPrefix(file, strings.TrimSuffix(name, "/")+"/")
		first, below, _ := strings.Cut(rest, "/")
		e := rootfs.Entry{Name: first}
		if below != "" {
			e.Type = fs.ModeDir
		}
		if found && !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b rootfs.Entry) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (m memory) Open(name string) (rootfs.File, error) {
	data, found := m[name]
	if !found {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return memoryFile{bytes.NewReader(data)}, nil
}

type memoryFile struct{ *bytes.Reader }

func (memoryFile) Close() error  { return nil }
func (f memoryFile) Size() int64 { return f.Reader.Size() }

func (m memory) Readlink(name string) (string, error) {
	return "", &fs.PathError{Op: "readlink", Path: path.Base(name), Err: errors.ErrUnsupported}
}

func (m memory) Xattrs(string) (map[string][]byte, error) { return nil, nil }
