package unit

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// layer is what an extension lays over the machine's tree.
type layer struct {
	tree rootfs.Tree
	of   extension
}

var _ rootfs.Tree = layer{}

// within gives the name that a name of the layer has in the tree.
func (l layer) within(name string) (string, error) {
	top, _, _ := strings.Cut(strings.TrimPrefix(name, "/"), "/")
	if top != "" && !slices.Contains(l.of.tops, top) {
		return "", &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return path.Join(l.of.literal, name), nil
}

// hides gives what of the layer hides a literal name of the machine's tree, or nothing: the
// name itself, something else than a directory above it, or a directory above it that
// overlayfs does not merge.
func (l layer) hides(name string) (string, error) {
	at := ""
	for part := range strings.SplitSeq(strings.TrimPrefix(name, "/"), "/") {
		at += "/" + part
		info, err := l.Lstat(at)
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		if at == name || !info.Mode.IsDir() {
			return at, nil
		}
		xattrs, err := l.Xattrs(at)
		if err != nil {
			return "", err
		}
		if string(xattrs["trusted.overlay.opaque"]) == "y" {
			return at, nil
		}
	}
	return "", nil
}

// covers gives the directory of the layer that lies at the place of a link by which the
// machine's tree has a name, such as /usr/sbin.
func (l layer) covers(name string) (string, error) {
	at := ""
	for part := range strings.SplitSeq(strings.TrimPrefix(path.Dir(name), "/"), "/") {
		at += "/" + part
		below, err := l.tree.Lstat(at)
		if isAbsent(err) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		if below.Mode.Type() != fs.ModeSymlink {
			continue
		}
		target, err := l.tree.Readlink(at)
		if err != nil {
			return "", err
		}
		above, err := l.Lstat(at)
		if isAbsent(err) {
			return "", nil
		}
		if err == nil && above.Mode.Type() == fs.ModeSymlink {
			if same, err := l.Readlink(at); err != nil || same == target {
				return "", err
			}
		}
		return at, err
	}
	return "", nil
}

func (l layer) Lstat(name string) (rootfs.Info, error) {
	in, err := l.within(name)
	if err != nil {
		return rootfs.Info{}, err
	}
	return l.tree.Lstat(in)
}

func (l layer) ReadDir(name string) ([]rootfs.Entry, error) {
	in, err := l.within(name)
	if err != nil {
		return nil, err
	}
	return l.tree.ReadDir(in)
}

func (l layer) Open(name string) (rootfs.File, error) {
	in, err := l.within(name)
	if err != nil {
		return nil, err
	}
	return l.tree.Open(in)
}

func (l layer) Readlink(name string) (string, error) {
	in, err := l.within(name)
	if err != nil {
		return "", err
	}
	return l.tree.Readlink(in)
}

func (l layer) Xattrs(name string) (map[string][]byte, error) {
	in, err := l.within(name)
	if err != nil {
		return nil, err
	}
	return l.tree.Xattrs(in)
}

// isAbsent says whether an error is that of a name that leads to nothing: of overlayfs a
// file or link of the upper layer hides what the lower one has below, and a directory there
// what the lower one has through a link.
func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, rootfs.ErrSymlink)
}

// merged is the tree of a machine under an extension, in which links of the one lead to files
// of the other.
type merged struct {
	lower rootfs.Tree
	upper layer
}

var _ rootfs.Tree = merged{}

// of gives the tree that has a name.
func (m merged) of(name string) (rootfs.Tree, error) {
	_, err := m.upper.Lstat(name)
	if isAbsent(err) {
		return m.lower, nil
	}
	return m.upper, err
}

func (m merged) Lstat(name string) (rootfs.Info, error) {
	t, err := m.of(name)
	if err != nil {
		return rootfs.Info{}, err
	}
	info, err := t.Lstat(name)
	if isAbsent(err) {
		err = &fs.PathError{Op: "lstat", Path: name, Err: fs.ErrNotExist}
	}
	return info, err
}

// ReadDir lists what both have. The upper layer wins.
func (m merged) ReadDir(name string) ([]rootfs.Entry, error) {
	out, err := m.upper.ReadDir(name)
	if err != nil && !isAbsent(err) {
		return nil, err
	}
	absent := err != nil
	info, err := m.lower.Lstat(name)
	switch {
	case isAbsent(err), err == nil && !info.Mode.IsDir():
		if absent {
			return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
		}
		return out, nil
	case err != nil:
		return nil, err
	}
	below, err := m.lower.ReadDir(name)
	order := func(a, b rootfs.Entry) int { return strings.Compare(a.Name, b.Name) }
	out = append(slices.Clone(out), below...)
	slices.SortStableFunc(out, order)
	return slices.CompactFunc(out, func(a, b rootfs.Entry) bool { return a.Name == b.Name }), err
}

func (m merged) Open(name string) (rootfs.File, error) {
	t, err := m.of(name)
	if err != nil {
		return nil, err
	}
	return t.Open(name)
}

func (m merged) Readlink(name string) (string, error) {
	t, err := m.of(name)
	if err != nil {
		return "", err
	}
	return t.Readlink(name)
}

func (m merged) Xattrs(name string) (map[string][]byte, error) {
	t, err := m.of(name)
	if err != nil {
		return nil, err
	}
	return t.Xattrs(name)
}
