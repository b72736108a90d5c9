package rootfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"syscall"
)

// MaxLinks bounds the symbolic links followed for one name, as the kernel does
// (MAXSYMLINKS in include/linux/namei.h).
const MaxLinks = 40

// ErrSymlink is met where a literal name passes through a symbolic link.
var ErrSymlink = errors.New("name passes through a symbolic link")

// Clean makes a name rooted and clean; ".." stops at the root.
func Clean(name string) string { return path.Clean("/" + name) }

// Resolve cleans name, follows symbolic links in every place of it, the last
// included, and returns the literal name. Absolute targets and ".." stay inside
// the tree. Of a missing name the literal name that it would have comes back with
// fs.ErrNotExist wrapped, so that a caller can create it.
func Resolve(t Tree, name string) (string, error) { return resolve(t, name, true) }

// ResolveParent follows links in every place but the last.
func ResolveParent(t Tree, name string) (string, error) { return resolve(t, name, false) }

func resolve(t Tree, name string, last bool) (string, error) {
	todo := strings.Split(strings.Trim(Clean(name), "/"), "/")
	at, links := "/", 0
	gone, absent := false, "" // absent: the first missing directory above at
	for len(todo) > 0 {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			// Above what is missing links are followed again, so that what comes
			// back is literal.
			if at = path.Dir(at); len(at) < len(absent) {
				absent = ""
			}
			continue
		}
		next := path.Join(at, part)
		if absent != "" {
			at = next
			continue
		}
		info, err := t.Lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
			gone, absent, at = true, next, next
			continue
		case err != nil:
			return "", err
		case info.Mode.Type() != fs.ModeSymlink || (len(todo) == 0 && !last):
			at = next
			continue
		}
		if links++; links > MaxLinks {
			return "", fmt.Errorf("%s: more than %d symbolic links", name, MaxLinks)
		}
		target, err := t.Readlink(next)
		if err != nil {
			return "", err
		}
		if strings.HasPrefix(target, "/") {
			at = "/"
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	if gone {
		return at, &fs.PathError{Op: "resolve", Path: name, Err: fs.ErrNotExist}
	}
	return at, nil
}

// ReadFile reads the regular file that name leads to, links followed, and
// refuses one larger than limit bytes.
func ReadFile(t Tree, name string, limit int64) ([]byte, error) {
	literal, err := Resolve(t, name)
	if err != nil {
		return nil, err
	}
	f, err := t.Open(literal)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.Size() > limit {
		return nil, fmt.Errorf("%s: size is %d bytes, limit is %d", name, f.Size(), limit)
	}
	data := make([]byte, f.Size())
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, f.Size()), data); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", name, err)
	}
	return data, nil
}

// Stat describes what name leads to, links followed.
func Stat(t Tree, name string) (Info, error) {
	literal, err := Resolve(t, name)
	if err != nil {
		return Info{}, err
	}
	return t.Lstat(literal)
}

// Exists says whether name leads to something.
func Exists(t Tree, name string) (bool, error) {
	switch _, err := Resolve(t, name); {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, err
	}
}
