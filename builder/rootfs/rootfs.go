// Package rootfs is the tree that every target offers, whatever holds it: a
// directory on this machine, or the file systems inside a disk image.
//
// A [Tree] is read by name and never follows a symbolic link by itself;
// [Resolve] follows links inside the tree, never outside it. Changes are
// described as [Edit] values and carried out by the room that owns the storage.
//
// Names are rooted, clean and slash separated: "/", "/etc/hosts". It leaves out
// hard links, device nodes and ACLs as things to create: nothing we write needs
// them.
package rootfs

import (
	"fmt"
	"io"
	"io/fs"
	"time"
)

// Info describes one inode of a tree.
type Info struct {
	Mode    fs.FileMode // type and permission bits, set-uid, set-gid and sticky included
	UID     uint32
	GID     uint32
	Size    int64 // bytes; for a symbolic link the length of its target
	ModTime time.Time
	Links   uint32
	Inode   uint64
}

// Entry is one name in a directory.
type Entry struct {
	Name string
	Type fs.FileMode // type bits only
}

// File is a regular file open for reading.
type File interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Tree is one file system, read only. Errors for absent names satisfy
// errors.Is(err, fs.ErrNotExist). Every method takes the name literally: a
// symbolic link in a parent of the name is an error (ErrSymlink), one in the
// last place is described, not followed.
type Tree interface {
	// Lstat describes the inode that name stands for.
	Lstat(name string) (Info, error)
	// ReadDir lists a directory without "." and "..", sorted by name.
	ReadDir(name string) ([]Entry, error)
	// Open opens a regular file; any other type is an error.
	Open(name string) (File, error)
	// Readlink gives a symbolic link's target as stored.
	Readlink(name string) (string, error)
	// Xattrs gives all extended attributes by full name ("security.selinux").
	Xattrs(name string) (map[string][]byte, error)
}

// Op is what an Edit does.
type Op string

// The operations. WriteFile and Symlink replace what the name held, unless that
// is a directory; Mkdir of an existing directory sets its attributes only;
// Remove takes a file, a link or an empty directory. SetAttributes sets mode, owner
// and extended attributes of a file or directory that is there; content, other hard
// links to it and modification time stay. Append changes the end of a regular file
// that is there: its first Keep bytes stay, Data follows them; mode, owner and
// extended attributes are those of the edit, as with WriteFile.
const (
	WriteFile     Op = "write"
	Symlink       Op = "symlink"
	Mkdir         Op = "mkdir"
	Remove        Op = "remove"
	SetAttributes Op = "modify"
	Append        Op = "append"
)

// Edit is one change to a tree. Its parent directory exists, or is made by an
// earlier Edit of the same list.
type Edit struct {
	Op      Op
	Path    string      // literal name: no parent of it is a symbolic link
	Mode    fs.FileMode // permission bits for WriteFile, Append, Mkdir and SetAttributes
	UID     uint32
	GID     uint32
	ModTime time.Time // for WriteFile, Append, Mkdir and Symlink; for SetAttributes the change time, where that can be set
	Data    []byte    // WriteFile, Append
	Keep    int64     // Append: bytes of the old content that stay, at most its size
	Target  string    // Symlink
	// Xattrs are the attributes the inode gets, all of them. Nil means: those of the
	// inode that is there, or for a new name its parent's SELinux label.
	Xattrs map[string][]byte
}

// CheckKeep says whether an Append can keep as much of a file of size bytes.
func CheckKeep(keep, size int64) error {
	if keep < 0 || keep > size {
		return fmt.Errorf("%d bytes shall stay, the file has %d", keep, size)
	}
	return nil
}
