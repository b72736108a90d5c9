package rootfs

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
)

// Overlay is a tree with some regular files written or removed in memory: what the
// tree would be. Directories above a new file need not exist.
type Overlay struct {
	Tree
	files map[string][]byte // by literal name; nil is removed
}

// NewOverlay changes nothing yet.
func NewOverlay(t Tree) *Overlay { return &Overlay{Tree: t, files: map[string][]byte{}} }

// Write gives a literal name a content.
func (o *Overlay) Write(name string, data []byte) {
	if data == nil {
		data = []byte{}
	}
	o.files[name] = data
}

// Remove takes a literal name away.
func (o *Overlay) Remove(name string) { o.files[name] = nil }

// Lstat implements [Tree].
func (o *Overlay) Lstat(name string) (Info, error) {
	data, changed := o.files[name]
	if changed && data == nil {
		return Info{}, &fs.PathError{Op: "lstat", Path: name, Err: fs.ErrNotExist}
	}
	info, err := o.Tree.Lstat(name)
	if changed {
		if err != nil {
			info = Info{Mode: 0o644, Links: 1}
		}
		info.Size = int64(len(data))
		return info, nil
	}
	if missing(err) && o.leads(name) {
		return Info{Mode: fs.ModeDir | 0o755, Links: 1}, nil
	}
	return info, err
}

// leads says whether a written file lies below a name.
func (o *Overlay) leads(name string) bool {
	for file, data := range o.files {
		if data != nil && file != name && Below(file, name) {
			return true
		}
	}
	return false
}

// ReadDir implements [Tree].
func (o *Overlay) ReadDir(name string) ([]Entry, error) {
	list, err := o.Tree.ReadDir(name)
	if missing(err) && o.leads(name) {
		list, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(slices.Clone(list), func(e Entry) bool {
		data, changed := o.files[path.Join(name, e.Name)]
		return changed && data == nil
	})
	for file, data := range o.files {
		if data == nil || file == name || !Below(file, name) {
			continue
		}
		e := Entry{Name: firstName(Within(file, name))}
		if path.Join(name, e.Name) != file {
			e.Type = fs.ModeDir
		}
		i, found := slices.BinarySearchFunc(list, e.Name, func(e Entry, want string) int { return cmp.Compare(e.Name, want) })
		if !found {
			list = slices.Insert(list, i, e)
		}
	}
	return list, nil
}

// firstName is the first part of a rooted name.
func firstName(name string) string {
	for name != "/" && path.Dir(name) != "/" {
		name = path.Dir(name)
	}
	return path.Base(name)
}

// Open implements [Tree].
func (o *Overlay) Open(name string) (File, error) {
	data, changed := o.files[name]
	switch {
	case !changed:
		return o.Tree.Open(name)
	case data == nil:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	default:
		return memoryFile{bytes.NewReader(data)}, nil
	}
}

// Readlink implements [Tree].
func (o *Overlay) Readlink(name string) (string, error) {
	if _, changed := o.files[name]; changed {
		return "", fmt.Errorf("%s: it is a regular file, want a symbolic link", name)
	}
	return o.Tree.Readlink(name)
}

// Xattrs implements [Tree]. A new file has none.
func (o *Overlay) Xattrs(name string) (map[string][]byte, error) {
	all, err := o.Tree.Xattrs(name)
	if _, changed := o.files[name]; changed && missing(err) {
		return map[string][]byte{}, nil
	}
	return all, err
}

type memoryFile struct{ *bytes.Reader }

func (memoryFile) Close() error  { return nil }
func (f memoryFile) Size() int64 { return f.Reader.Size() }
