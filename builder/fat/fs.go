package fat

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// FS is an open volume; safe for use by several goroutines.
type FS struct {
	*layout
	r   io.ReaderAt
	fat *table

	mu     sync.Mutex
	dirs   map[uint32]*directory
	cached int // slots in dirs
}

var _ rootfs.Tree = (*FS)(nil)

// Open reads the boot sector and the root directory of the volume that starts at
// byte 0 of r, of which size bytes may be read. The error wraps [ErrNotFAT] where
// there is none, and is a [CorruptError] or an [UnsupportedError] where it cannot
// be used.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	if size < minSector {
		return nil, ErrNotFAT
	}
	b, err := readBootSector(r)
	if err != nil {
		return nil, err
	}
	l, err := parseBootSector(b, size)
	if err != nil {
		return nil, err
	}
	f := &FS{layout: l, r: r, fat: newTable(r, l), dirs: map[uint32]*directory{}}
	root, err := f.directory(0)
	if err != nil {
		return nil, fmt.Errorf("cannot read the root directory: %w", err)
	}
	if root.label != "" { // kept up to date, other than that of the boot sector
		l.Label = root.label
	}
	return f, nil
}

// Volume describes the whole volume.
func (f *FS) Volume() Volume { return f.layout.Volume }

// Size is the length of the volume in bytes.
func (f *FS) Size() int64 { return f.size }

// Free counts the free clusters in the FAT; the count in FSInfo is only a hint.
func (f *FS) Free() (clusters uint32, err error) {
	clusters, _, err = f.fat.free()
	return clusters, err
}

func (f *FS) readAt(p []byte, off int64) error {
	if off < 0 || off > f.size-int64(len(p)) {
		return fmt.Errorf("fat: bytes %#x to %#x lie outside the volume's %#x", off, off+int64(len(p)), f.size)
	}
	return readFull(f.r, p, off)
}

// lookup walks a name from the root. Of the root itself there is no entry.
func (f *FS) lookup(op, name string) (*directory, *entry, error) {
	fail := func(err error) (*directory, *entry, error) {
		return nil, nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	if !strings.HasPrefix(name, "/") || name != rootfs.Clean(name) {
		return fail(fs.ErrInvalid)
	}
	d, err := f.directory(0)
	if err != nil {
		return fail(err)
	}
	if name == "/" {
		return d, nil, nil
	}
	var e *entry
	for part := range strings.SplitSeq(name[1:], "/") {
		if e != nil {
			if !e.isDir() {
				return fail(syscall.ENOTDIR)
			}
			if d, err = f.child(d.start, e); err != nil {
				return fail(err)
			}
		}
		var ok bool
		if e, ok = d.find(part); !ok {
			return fail(fs.ErrNotExist)
		}
	}
	return d, e, nil
}

// Lstat implements [rootfs.Tree]. The inode is the entry's place in the volume.
func (f *FS) Lstat(name string) (rootfs.Info, error) {
	_, e, err := f.lookup("lstat", name)
	switch {
	case err != nil:
		return rootfs.Info{}, err
	case e == nil: // the root has no entry, so no time
		return rootfs.Info{Mode: fs.ModeDir | 0o755, ModTime: time.Unix(0, 0).UTC(), Links: 1, Inode: 1}, nil
	}
	info := rootfs.Info{Mode: 0o644, Size: e.size(), ModTime: e.modTime(), Links: 1, Inode: uint64(e.at / slotBytes)}
	switch {
	case e.isDir():
		info.Mode, info.Size = fs.ModeDir|0o755, 0
	case e.raw[11]&attrReadOnly != 0:
		info.Mode = 0o444
	}
	return info, nil
}

// ReadDir implements [rootfs.Tree].
func (f *FS) ReadDir(name string) ([]rootfs.Entry, error) {
	d, e, err := f.lookup("readdir", name)
	if err != nil {
		return nil, err
	}
	if e != nil {
		if !e.isDir() {
			return nil, &fs.PathError{Op: "readdir", Path: name, Err: syscall.ENOTDIR}
		}
		if d, err = f.child(d.start, e); err != nil {
			return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
		}
	}
	list := make([]rootfs.Entry, 0, len(d.entries))
	for _, e := range d.entries {
		entry := rootfs.Entry{Name: e.name}
		if e.isDir() {
			entry.Type = fs.ModeDir
		}
		list = append(list, entry)
	}
	slices.SortFunc(list, func(a, b rootfs.Entry) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// Open implements [rootfs.Tree].
func (f *FS) Open(name string) (rootfs.File, error) {
	_, e, err := f.lookup("open", name)
	if err != nil {
		return nil, err
	}
	if e == nil || e.isDir() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fmt.Errorf("it is %s, want %s", rootfs.TypeName(fs.ModeDir), rootfs.TypeName(0))}
	}
	c, err := f.content(e)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return c, nil
}

// Readlink implements [rootfs.Tree]: FAT has no symbolic links.
func (f *FS) Readlink(name string) (string, error) {
	if _, _, err := f.lookup("readlink", name); err != nil {
		return "", err
	}
	return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
}

// Xattrs implements [rootfs.Tree]: FAT has no extended attributes.
func (f *FS) Xattrs(name string) (map[string][]byte, error) {
	_, _, err := f.lookup("getxattr", name)
	return nil, err
}

// content is a regular file's bytes.
type content struct {
	f        *FS
	clusters []uint32
	size     int64
}

// content follows a file's chain, which must be as long as the size wants it. An
// empty file may have a cluster: some systems leave one.
func (f *FS) content(e *entry) (*content, error) {
	c := &content{f: f, size: e.size()}
	want := f.clustersFor(c.size)
	switch {
	case want == 0:
		return c, nil
	case e.cluster == 0 || want > int64(f.Clusters):
		return nil, corrupt("directory entry", e.at, "%q has %d bytes from cluster %d on, the volume has %d clusters", e.name, c.size, e.cluster, f.Clusters)
	}
	var err error
	if c.clusters, err = f.fat.chain(e.cluster, want); err != nil {
		return nil, err
	}
	if got := int64(len(c.clusters)); got != want {
		return nil, corrupt("directory entry", e.at, "%q has %d bytes, want %d clusters, its chain has %d", e.name, c.size, want, got)
	}
	return c, nil
}

func (c *content) Size() int64 { return c.size }

func (c *content) Close() error { return nil }

// ReadAt implements [io.ReaderAt]; neighbouring clusters are read at once.
func (c *content) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	done := 0
	for done < len(p) && off < c.size {
		first := off / c.f.ClusterSize
		run := first + 1
		for run*c.f.ClusterSize-off < int64(len(p)-done) && run < int64(len(c.clusters)) && c.clusters[run] == c.clusters[run-1]+1 {
			run++
		}
		n := int(min(int64(len(p)-done), c.size-off, run*c.f.ClusterSize-off))
		if err := c.f.readAt(p[done:done+n], c.f.clusterByte(c.clusters[first])+off%c.f.ClusterSize); err != nil {
			return done, err
		}
		done, off = done+n, off+int64(n)
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}
