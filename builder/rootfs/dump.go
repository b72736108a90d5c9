package rootfs

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of a dump; the trees of tests are far below them.
const (
	maxDumpInodes = 1 << 18
	maxDumpBytes  = 1 << 34
)

// Dump writes a tree down for tests, one line per inode in the order of names, each
// directory before what it holds:
//
//	/ directory 0755 0:0
//	/etc/hosts file 0644 0:0 12 bytes sha256:98ea6e4f216f2fb4 user.origin="test"
//	/etc/rc symlink 0:0 -> ../lib/rc
//
// Names are quoted where they hold more than printable ASCII without blanks. With
// times each line but those of special files ends in the modification time.
func Dump(t Tree, times bool) (string, error) {
	d := &dump{tree: t, times: times, bytes: maxDumpBytes}
	if err := d.add("/"); err != nil {
		return "", err
	}
	return d.out.String(), nil
}

type dump struct {
	tree   Tree
	times  bool
	out    strings.Builder
	inodes int
	bytes  int64 // that may still be hashed
}

func (d *dump) add(name string) error {
	if d.inodes++; d.inodes > maxDumpInodes {
		return fmt.Errorf("%s: more than %d inodes", name, maxDumpInodes)
	}
	info, err := d.tree.Lstat(name)
	if err != nil {
		return err
	}
	line, err := d.line(name, info)
	if err != nil {
		return err
	}
	d.out.WriteString(line + "\n")
	if !info.Mode.IsDir() {
		return nil
	}
	entries, err := d.tree.ReadDir(name)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := d.add(path.Join(name, e.Name)); err != nil {
			return err
		}
	}
	return nil
}

func (d *dump) line(name string, info Info) (string, error) {
	owner, mode := fmt.Sprintf("%d:%d", info.UID, info.GID), octal(info.Mode)
	var what string
	switch info.Mode.Type() {
	case fs.ModeDir:
		what = fmt.Sprintf("directory %s %s", mode, owner)
	case fs.ModeSymlink:
		target, err := d.tree.Readlink(name)
		if err != nil {
			return "", err
		}
		what = fmt.Sprintf("symlink %s -> %s", owner, plain(target))
	case 0:
		sum, err := d.hash(name)
		if err != nil {
			return "", err
		}
		what = fmt.Sprintf("file %s %s %d bytes sha256:%s", mode, owner, info.Size, sum)
		if info.Links > 1 {
			what += fmt.Sprintf(" %d links", info.Links)
		}
	default:
		return fmt.Sprintf("%s special %v %s", plain(name), info.Mode, owner), nil
	}
	xattrs, err := d.tree.Xattrs(name)
	if err != nil {
		return "", err
	}
	for _, key := range slices.Sorted(maps.Keys(xattrs)) {
		what += fmt.Sprintf(" %s=%q", key, xattrs[key])
	}
	if d.times {
		what += " " + info.ModTime.UTC().Format(time.RFC3339Nano)
	}
	return plain(name) + " " + what, nil
}

func (d *dump) hash(name string) (string, error) {
	f, err := d.tree.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if d.bytes -= f.Size(); d.bytes < 0 {
		return "", fmt.Errorf("%s: more than %d bytes of content", name, int64(maxDumpBytes))
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, f.Size())); err != nil {
		return "", fmt.Errorf("cannot read %s: %w", name, err)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8]), nil
}

// octal writes a mode as chmod(1) takes it.
func octal(m fs.FileMode) string {
	bits := uint32(m.Perm())
	for flag, bit := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&flag != 0 {
			bits |= bit
		}
	}
	return fmt.Sprintf("%04o", bits)
}

func plain(name string) string {
	odd := func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }
	if name == "" || strings.ContainsFunc(name, odd) {
		return strconv.QuoteToASCII(name)
	}
	return name
}
