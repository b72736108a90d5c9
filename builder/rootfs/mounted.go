package rootfs

import (
	"cmp"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
)

// Mount says that a tree is mounted on a directory of another.
type Mount struct {
	Dir  string // literal name, not "/"
	Tree Tree
}

// Mounted is a tree with other trees mounted on directories of it, as the kernel shows
// mounts: the mounted root takes the place of the directory, and what lies below that
// is hidden. A mount point that is not there is shown all the same, with the
// directories above it: systemd makes them when it mounts.
//
// Inode numbers of the mounted trees are those of their own with the number of the
// mount in the upper 16 bits, so that no two files of one Mounted share one: ext4 has
// 32 bits of them, [Mounted] is not made for more.
type Mounted struct {
	mounts []Mount // the longest names first; the tree itself is the last, on "/"
	number []int   // of each in the list that was given, from 1 on
}

var _ Tree = (*Mounted)(nil)

// NewMounted mounts trees. Of two on one directory the first is seen.
func NewMounted(root Tree, mounts ...Mount) *Mounted {
	m := &Mounted{}
	order := make([]int, len(mounts))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(len(mounts[b].Dir), len(mounts[a].Dir)) })
	for _, i := range order {
		m.mounts, m.number = append(m.mounts, mounts[i]), append(m.number, i+1)
	}
	m.mounts, m.number = append(m.mounts, Mount{"/", root}), append(m.number, 0)
	return m
}

// Below says whether name is dir or lies below it.
func Below(name, dir string) bool {
	return name == dir || dir == "/" || strings.HasPrefix(name, dir+"/")
}

// Within gives the name that a name has in the tree that is mounted on dir, above it.
func Within(name, dir string) string {
	if dir == "/" {
		return name
	}
	return "/" + strings.TrimPrefix(strings.TrimPrefix(name, dir), "/")
}

// find gives the mount that a name lies on, and the name in its tree.
func (m *Mounted) find(name string) (at int, inside string) {
	for at = range m.mounts {
		if Below(name, m.mounts[at].Dir) {
			break
		}
	}
	return at, Within(name, m.mounts[at].Dir)
}

// leads says whether a name is that of a directory above a mount point.
func (m *Mounted) leads(name string) bool {
	return slices.ContainsFunc(m.mounts, func(o Mount) bool { return o.Dir != name && Below(o.Dir, name) })
}

func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// Lstat implements [Tree].
func (m *Mounted) Lstat(name string) (Info, error) {
	at, inside := m.find(name)
	info, err := m.mounts[at].Tree.Lstat(inside)
	if missing(err) && m.leads(name) {
		return Info{Mode: fs.ModeDir | 0o755, Links: 1}, nil
	}
	info.Inode |= uint64(m.number[at]) << 48
	return info, err
}

// ReadDir implements [Tree].
func (m *Mounted) ReadDir(name string) ([]Entry, error) {
	at, inside := m.find(name)
	list, err := m.mounts[at].Tree.ReadDir(inside)
	if missing(err) && m.leads(name) {
		list, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	list = slices.Clone(list)
	for _, o := range m.mounts {
		if o.Dir == name || !Below(o.Dir, name) {
			continue
		}
		below, _, _ := strings.Cut(Within(o.Dir, name)[1:], "/")
		i, found := slices.BinarySearchFunc(list, below, func(e Entry, want string) int { return cmp.Compare(e.Name, want) })
		if !found {
			list = slices.Insert(list, i, Entry{Name: below, Type: fs.ModeDir})
		} else if path.Join(name, below) == o.Dir {
			list[i].Type = fs.ModeDir
		}
	}
	return list, nil
}

// Open implements [Tree].
func (m *Mounted) Open(name string) (File, error) {
	at, inside := m.find(name)
	return m.mounts[at].Tree.Open(inside)
}

// Readlink implements [Tree].
func (m *Mounted) Readlink(name string) (string, error) {
	at, inside := m.find(name)
	return m.mounts[at].Tree.Readlink(inside)
}

// Xattrs implements [Tree].
func (m *Mounted) Xattrs(name string) (map[string][]byte, error) {
	at, inside := m.find(name)
	all, err := m.mounts[at].Tree.Xattrs(inside)
	if missing(err) && m.leads(name) {
		return nil, nil
	}
	return all, err
}
