package initramfs

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// Tree is the merged view of an image: what the kernel's root file system holds when
// all of it is unpacked.
type Tree struct {
	img  *Image
	view *view
}

// Tree gives the merged view. Files are read from the image when they are opened;
// most compressed ones by unpacking their segment up to them.
func (img *Image) Tree() *Tree { return &Tree{img, img.view} }

// literal finds a name without following links.
func (t *Tree) literal(op, name string) (*node, error) {
	fail := func(err error) (*node, error) { return nil, &fs.PathError{Op: op, Path: name, Err: err} }
	if !strings.HasPrefix(name, "/") || name != rootfs.Clean(name) {
		return fail(fs.ErrInvalid)
	}
	at := t.view.root
	if name == "/" {
		return at, nil
	}
	for part := range strings.SplitSeq(name[1:], "/") {
		switch {
		case at.mode.Type() == fs.ModeSymlink:
			return fail(rootfs.ErrSymlink)
		case !at.mode.IsDir():
			return fail(syscall.ENOTDIR)
		}
		next := at.children[part]
		if next == nil {
			return fail(fs.ErrNotExist)
		}
		at = next
	}
	return at, nil
}

// Lstat describes a name.
func (t *Tree) Lstat(name string) (rootfs.Info, error) {
	n, err := t.literal("lstat", name)
	if err != nil {
		return rootfs.Info{}, err
	}
	info := rootfs.Info{Mode: n.mode, Links: n.links, Inode: n.number}
	if n.entry != nil {
		info.UID, info.GID, info.ModTime = n.entry.UID, n.entry.GID, n.entry.ModTime
	}
	switch {
	case n.body != nil:
		info.Size = int64(n.body.Size)
	case n.mode.Type() == fs.ModeSymlink:
		info.Size = int64(len(n.entry.Target))
	}
	return info, nil
}

// ReadDir lists a directory.
func (t *Tree) ReadDir(name string) ([]rootfs.Entry, error) {
	n, err := t.literal("readdir", name)
	if err != nil {
		return nil, err
	}
	if !n.mode.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: syscall.ENOTDIR}
	}
	var out []rootfs.Entry
	for base, child := range n.children {
		out = append(out, rootfs.Entry{Name: base, Type: child.mode.Type()})
	}
	slices.SortFunc(out, func(a, b rootfs.Entry) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// Readlink gives the target of a link.
func (t *Tree) Readlink(name string) (string, error) {
	n, err := t.literal("readlink", name)
	if err != nil {
		return "", err
	}
	if n.mode.Type() != fs.ModeSymlink {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return n.entry.Target, nil
}

// Xattrs gives none: newc archives have none.
func (t *Tree) Xattrs(name string) (map[string][]byte, error) {
	_, err := t.literal("listxattr", name)
	return map[string][]byte{}, err
}

// Open opens a regular file. One in a compressed segment is held in memory.
func (t *Tree) Open(name string) (rootfs.File, error) {
	n, err := t.literal("open", name)
	if err != nil {
		return nil, err
	}
	if !n.mode.IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	f, err := t.img.open(n.body)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return f, nil
}

// content is an open file.
type content struct{ *io.SectionReader }

func (content) Close() error { return nil }

func (img *Image) open(e *Entry) (rootfs.File, error) {
	size := int64(e.Size)
	switch {
	case size == int64(len(e.data)):
		return content{io.NewSectionReader(bytes.NewReader(e.data), 0, size)}, nil
	case img.Segments[e.segment].Codec == None:
		return content{io.NewSectionReader(img.r, e.pos, size)}, nil
	case size > maxReadFile:
		return nil, fmt.Errorf("size is %d bytes, limit is %d: %w", size, maxReadFile, ErrLimit)
	}
	data, err := img.unpackAgain(e)
	if err != nil {
		return nil, err
	}
	return content{io.NewSectionReader(bytes.NewReader(data), 0, size)}, nil
}

// unpackAgain reads a file out of a compressed segment.
func (img *Image) unpackAgain(e *Entry) ([]byte, error) {
	segment := img.Segments[e.segment]
	p, err := unpack(img.r, segment.Offset, img.size, segment.Codec)
	if err != nil {
		return nil, err
	}
	defer p.close()
	a := &archive{in: bufio.NewReaderSize(p, bufferBytes), left: maxUnpacked}
	if err := a.skip(e.pos); err != nil {
		return nil, err
	}
	data := make([]byte, e.Size)
	return data, a.read(data)
}
