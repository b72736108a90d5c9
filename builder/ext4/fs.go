package ext4

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// FS is an open file system; safe for use by several goroutines.
type FS struct {
	r        io.ReaderAt
	room     uint64 // blocks that r holds, which may be more than the file system has
	sb       *Superblock
	replayed bool // r shows what waits in the journal

	mu     sync.Mutex
	dirs   map[uint32]*directory
	cached int // names in dirs
	groups map[uint64]group
}

var _ rootfs.Tree = (*FS)(nil)

// Open reads the superblock of the file system that starts at byte 0 of r, of
// which size bytes may be read. The error wraps [ErrNotExt4] where there is none,
// and is an [UnsupportedError] or a [CorruptError] where it cannot be used.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	sb, err := readSuperblock(r, size)
	if err != nil {
		return nil, err
	}
	f := newFS(r, size, sb)
	root, err := f.inode(rootInode)
	if err != nil {
		return nil, fmt.Errorf("cannot read the root directory: %w", err)
	}
	if !root.isDir() || root.links == 0 {
		return nil, root.corrupt("root's mode is %#o with %d links, want a directory", root.mode, root.links)
	}
	return f, nil
}

func newFS(r io.ReaderAt, size int64, sb *Superblock) *FS {
	return &FS{r: r, room: uint64(size / sb.BlockSize), sb: sb, dirs: map[uint32]*directory{}, groups: map[uint64]group{}}
}

// Superblock describes the whole file system.
func (f *FS) Superblock() Superblock { return *f.sb }

// Size is the length of the file system in bytes.
func (f *FS) Size() int64 { return int64(f.sb.Blocks) * f.sb.BlockSize }

// NeedsRecovery says that the journal holds changes that are not yet in place:
// what is read may be stale, but for a tree of [OpenReplayed].
func (f *FS) NeedsRecovery() bool { return f.sb.incompat&incompatRecover != 0 && !f.replayed }

// Replayed says that the tree shows changes that wait in the journal as if they were in
// place. The image as it is needs recovery before it is written to.
func (f *FS) Replayed() bool { return f.replayed }

// HasFeature says whether a feature, named as tune2fs does, is set.
func (f *FS) HasFeature(name string) bool { return slices.Contains(f.sb.Features, name) }

func (f *FS) readAt(p []byte, off int64) error {
	if off < 0 || off > f.Size()-int64(len(p)) {
		return fmt.Errorf("ext4: bytes %#x to %#x lie outside the file system's %#x", off, off+int64(len(p)), f.Size())
	}
	n, err := f.r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("cannot read %d bytes at %#x: %w", len(p), off, err)
}

func (f *FS) readBlock(p []byte, block uint64) error {
	return f.readAt(p, int64(block)*f.sb.BlockSize)
}

// directory reads a directory once; its names stay cached within limits.
func (f *FS) directory(n *inode) (*directory, error) {
	f.mu.Lock()
	d, ok := f.dirs[n.number]
	f.mu.Unlock()
	if ok {
		return d, nil
	}
	d, err := f.readDirectory(n)
	if err != nil {
		return nil, err
	}
	if n.number == rootInode && d.parent != rootInode {
		return nil, n.corrupt("root's parent is inode %d", d.parent)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cached+len(d.entries) > maxCachedNames {
		clear(f.dirs)
		f.cached = 0
	}
	if _, raced := f.dirs[n.number]; !raced {
		f.dirs[n.number] = d
		f.cached += len(d.entries) + 1
	}
	return d, nil
}

// lookup walks a literal name from the root.
func (f *FS) lookup(op, name string) (*inode, error) {
	fail := func(err error) (*inode, error) { return nil, &fs.PathError{Op: op, Path: name, Err: err} }
	if !strings.HasPrefix(name, "/") || name != rootfs.Clean(name) {
		return fail(fs.ErrInvalid)
	}
	at, err := f.inode(rootInode)
	if err != nil {
		return fail(err)
	}
	if name == "/" {
		return at, nil
	}
	for part := range strings.SplitSeq(name[1:], "/") {
		switch {
		case at.kind() == typeSymlink:
			return fail(rootfs.ErrSymlink)
		case !at.isDir():
			return fail(syscall.ENOTDIR)
		}
		if at, err = f.child(at, part); err != nil {
			return fail(err)
		}
	}
	return at, nil
}

// child finds a name in a directory. A directory that is reached must name its
// parent and have one name in it: together this makes the tree a tree.
func (f *FS) child(parent *inode, name string) (*inode, error) {
	d, err := f.directory(parent)
	if err != nil {
		return nil, err
	}
	e, ok := d.entries[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	n, err := f.inode(e.inode)
	if err != nil {
		return nil, err
	}
	if n.links == 0 || n.flags&flagEAInode != 0 {
		return nil, n.corrupt("name %q leads to an inode that is not in use", name)
	}
	if mode, known := e.mode(); known && mode != fileMode(n.mode).Type() {
		return nil, n.corrupt("name %q says type %v, the inode is %v", name, mode, fileMode(n.mode).Type())
	}
	if !n.isDir() || n.flags&flagEncrypt != 0 { // an encrypted directory leads nowhere
		return n, nil
	}
	inside, err := f.directory(n)
	if err != nil {
		return nil, err
	}
	if inside.parent != parent.number || d.shared[n.number] || n.number == rootInode {
		return nil, n.corrupt("directory has more than one name: its parent is inode %d, met in %d", inside.parent, parent.number)
	}
	return n, nil
}

// Lstat implements [rootfs.Tree].
func (f *FS) Lstat(name string) (rootfs.Info, error) {
	n, err := f.lookup("lstat", name)
	if err != nil {
		return rootfs.Info{}, err
	}
	return n.info(), nil
}

// ReadDir implements [rootfs.Tree].
func (f *FS) ReadDir(name string) ([]rootfs.Entry, error) {
	n, err := f.lookup("readdir", name)
	if err != nil {
		return nil, err
	}
	if !n.isDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: syscall.ENOTDIR}
	}
	d, err := f.directory(n)
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	list := make([]rootfs.Entry, 0, len(d.entries))
	for child, e := range d.entries {
		mode, known := e.mode()
		if !known {
			n, err := f.inode(e.inode)
			if err != nil {
				return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
			}
			mode = fileMode(n.mode).Type()
		}
		list = append(list, rootfs.Entry{Name: child, Type: mode})
	}
	slices.SortFunc(list, func(a, b rootfs.Entry) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// Open implements [rootfs.Tree].
func (f *FS) Open(name string) (rootfs.File, error) {
	n, err := f.lookup("open", name)
	if err != nil {
		return nil, err
	}
	if n.kind() != typeRegular {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fmt.Errorf("type is %v, want a regular file", fileMode(n.mode).Type())}
	}
	c, err := f.content(n)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return c, nil
}

// Readlink implements [rootfs.Tree].
func (f *FS) Readlink(name string) (string, error) {
	n, err := f.lookup("readlink", name)
	if err != nil {
		return "", err
	}
	target, err := f.target(n)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return target, nil
}

func (f *FS) target(n *inode) (string, error) {
	if n.kind() != typeSymlink {
		return "", fs.ErrInvalid
	}
	if limit := min(f.sb.BlockSize, maxSymlink); n.size == 0 || n.size >= limit {
		return "", n.corrupt("link target has %d bytes, want 1 to %d", n.size, limit-1)
	}
	c, err := f.content(n)
	if err != nil {
		return "", err
	}
	if n.size < iBlockSize && n.flags&(flagExtents|flagInlineData) == 0 {
		c.inline = n.block()[:n.size] // a fast symlink
	}
	data := make([]byte, n.size)
	if _, err := c.ReadAt(data, 0); err != nil {
		return "", err
	}
	if strings.Contains(string(data), "\x00") {
		return "", n.corrupt("link target %q contains a zero byte", data)
	}
	return string(data), nil
}

// Xattrs implements [rootfs.Tree]. ACLs have the form that getxattr(2) gives.
func (f *FS) Xattrs(name string) (map[string][]byte, error) {
	n, err := f.lookup("getxattr", name)
	if err != nil {
		return nil, err
	}
	all, err := f.xattrs(n)
	if err != nil {
		return nil, &fs.PathError{Op: "getxattr", Path: name, Err: err}
	}
	maps.DeleteFunc(all, func(name string, _ []byte) bool {
		return name == inlineName || strings.HasPrefix(name, encryptionPrefix)
	})
	for _, acl := range []string{aclAccess, aclDefault} {
		stored, ok := all[acl]
		if !ok {
			continue
		}
		if all[acl], err = givenACL(stored); err != nil {
			return nil, &fs.PathError{Op: "getxattr", Path: name, Err: n.corrupt("%s: %v", acl, err)}
		}
	}
	return all, nil
}
