package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Dir is a directory of this machine as a Tree. It goes through os.Root, so no
// name and no symbolic link in it reaches outside, even while somebody changes
// the directory.
type Dir struct {
	root *os.Root
}

// OpenDir opens the directory name as a tree.
func OpenDir(name string) (*Dir, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	return &Dir{root: root}, nil
}

// Close gives back the directory handle.
func (d *Dir) Close() error { return d.root.Close() }

// rel turns a rooted name into one that os.Root takes.
func rel(name string) string {
	if name = strings.TrimPrefix(Clean(name), "/"); name == "" {
		return "."
	}
	return name
}

// literal refuses a name that has a symbolic link or a non-directory among its
// parents, as the Tree contract asks.
func (d *Dir) literal(name string) (string, error) {
	name = rel(name)
	for i := range name {
		if name[i] != '/' {
			continue
		}
		info, err := d.root.Lstat(name[:i])
		switch {
		case err != nil:
			return "", err
		case info.Mode().Type() == fs.ModeSymlink:
			return "", &fs.PathError{Op: "open", Path: "/" + name, Err: ErrSymlink}
		case !info.IsDir():
			return "", &fs.PathError{Op: "open", Path: "/" + name, Err: fs.ErrNotExist}
		}
	}
	return name, nil
}

// Lstat describes one inode.
func (d *Dir) Lstat(name string) (Info, error) {
	literal, err := d.literal(name)
	if err != nil {
		return Info{}, err
	}
	info, err := d.root.Lstat(literal)
	if err != nil {
		return Info{}, err
	}
	return dirInfo(info), nil
}

func dirInfo(info fs.FileInfo) Info {
	out := Info{Mode: info.Mode(), Size: info.Size(), ModTime: info.ModTime()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		out.UID, out.GID, out.Links, out.Inode = st.Uid, st.Gid, uint32(st.Nlink), st.Ino
	}
	return out
}

// ReadDir lists a directory.
func (d *Dir) ReadDir(name string) ([]Entry, error) {
	f, _, err := d.open(name, fs.ModeDir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	out := make([]Entry, 0, len(list))
	for _, e := range list {
		out = append(out, Entry{Name: e.Name(), Type: e.Type()})
	}
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// open opens name if it has the wanted type. O_NONBLOCK keeps a FIFO that took
// the file's place from holding us for ever.
func (d *Dir) open(name string, want fs.FileMode) (*os.File, fs.FileInfo, error) {
	literal, err := d.literal(name)
	if err != nil {
		return nil, nil, err
	}
	info, err := d.root.Lstat(literal)
	if err == nil && info.Mode().Type() != want {
		err = wrongType(name, info.Mode(), want)
	}
	if err != nil {
		return nil, nil, err
	}
	f, err := d.root.OpenFile(literal, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, nil, err
	}
	if info, err = f.Stat(); err == nil && info.Mode().Type() != want {
		err = wrongType(name, info.Mode(), want)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

func wrongType(name string, got, want fs.FileMode) error {
	return &fs.PathError{Op: "open", Path: name, Err: fmt.Errorf("it is %s, want %s", TypeName(got), TypeName(want))}
}

// TypeName says a mode's file type in words.
func TypeName(m fs.FileMode) string {
	switch m.Type() {
	case 0:
		return "a regular file"
	case fs.ModeDir:
		return "a directory"
	case fs.ModeSymlink:
		return "a symbolic link"
	default:
		return "a special file"
	}
}

type dirFile struct {
	*os.File
	size int64
}

func (f dirFile) Size() int64 { return f.size }

// Open opens a regular file for reading.
func (d *Dir) Open(name string) (File, error) {
	f, info, err := d.open(name, 0)
	if err != nil {
		return nil, err
	}
	return dirFile{f, info.Size()}, nil
}

// Readlink gives a symbolic link's target.
func (d *Dir) Readlink(name string) (string, error) {
	literal, err := d.literal(name)
	if err != nil {
		return "", err
	}
	return d.root.Readlink(literal)
}

// maxXattr bounds one list or value, as the kernel does (XATTR_LIST_MAX and
// XATTR_SIZE_MAX in include/uapi/linux/limits.h).
const maxXattr = 65536

// Xattrs gives the extended attributes of a file, a directory or a symbolic link;
// those of other types cannot be had without opening them, and are left out.
func (d *Dir) Xattrs(name string) (map[string][]byte, error) {
	info, err := d.Lstat(name)
	if err != nil {
		return nil, err
	}
	opened, kind := name, info.Mode.Type()
	switch kind {
	case 0, fs.ModeDir:
	case fs.ModeSymlink:
		opened, kind = path.Dir(Clean(name)), fs.ModeDir
	default:
		return nil, nil
	}
	f, _, err := d.open(opened, kind)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list := func(buf []byte) (int, error) { return unix.Flistxattr(int(f.Fd()), buf) }
	get := func(key string, buf []byte) (int, error) { return unix.Fgetxattr(int(f.Fd()), key, buf) }
	if info.Mode.Type() == fs.ModeSymlink {
		// No system call takes a directory's descriptor and a name here.
		through := fmt.Sprintf("/proc/self/fd/%d/%s", f.Fd(), path.Base(name))
		list = func(buf []byte) (int, error) { return unix.Llistxattr(through, buf) }
		get = func(key string, buf []byte) (int, error) { return unix.Lgetxattr(through, key, buf) }
	}
	all, err := readXattrs(list, get)
	if err != nil {
		return nil, &fs.PathError{Op: "getxattr", Path: name, Err: err}
	}
	return all, nil
}

func readXattrs(list func([]byte) (int, error), get func(string, []byte) (int, error)) (map[string][]byte, error) {
	buf := make([]byte, maxXattr)
	n, err := list(buf)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	value := make([]byte, maxXattr)
	for key := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if key == "" {
			continue
		}
		n, err := get(key, value)
		if err != nil {
			return nil, err
		}
		out[key] = slices.Clone(value[:n])
	}
	return out, nil
}
