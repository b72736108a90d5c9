package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/kerngate/kerngate/builder/ext4"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// Error is a fact about the user's input, with what to do about it.
type Error struct {
	Fact   string
	Advice string
}

func (e *Error) Error() string { return e.Fact }

// Hint says what the user can do next.
func (e *Error) Hint() string { return e.Advice }

// Kind is what a target is.
type Kind string

// The kinds of target.
const (
	Directory Kind = "directory"
	Disk      Kind = "disk"
)

// Volume is one file system, or what could be one, of a target.
type Volume struct {
	Number int    `json:"number"` // partition number; 0 without a partition table
	Role   string `json:"role"`   // "root", or empty
	Type   string `json:"type"`   // partition type: GUID, or MBR type in hex
	FS     string `json:"fs"`     // "ext4" (all of the family), "FAT", "xfs", …, "unknown"
	Label  string `json:"label,omitempty"`
	Offset int64  `json:"offset"` // bytes
	Size   int64  `json:"size"`   // bytes
}

// Target is an opened directory or disk image. Reading it changes nothing.
type Target struct {
	Path    string
	Kind    Kind
	Scheme  string // "gpt", "mbr", "none"; empty for a directory
	Size    int64  // bytes; 0 for a directory
	Volumes []Volume

	file *os.File
	dir  *rootfs.Dir
	tree rootfs.Tree
	root int // index in Volumes
}

// Options choose among what a target offers.
type Options struct {
	Root int // partition number of the root volume; 0: find it by content
}

// Open opens a target read only and finds its root volume.
func Open(path string, opts Options) (*Target, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, missing(path, err)
	}
	switch {
	case info.IsDir() && opts.Root != 0:
		return nil, &Error{Fact: fmt.Sprintf("%s: it is a directory and has no partition %d", path, opts.Root), Advice: "leave --root out"}
	case info.IsDir():
		return openDirectory(path)
	case !info.Mode().IsRegular():
		return nil, &Error{Fact: fmt.Sprintf("%s: it is %s, want a disk image or a directory", path, rootfs.TypeName(info.Mode())), Advice: "copy the device into a file first, for example with dd conv=sparse"}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	t := &Target{Path: path, Kind: Disk, Size: info.Size(), file: f}
	err = guard(f, path)
	if err == nil {
		err = t.openDisk(opts)
	}
	if err != nil {
		f.Close()
		return nil, inFile(path, err)
	}
	return t, nil
}

func missing(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &Error{Fact: fmt.Sprintf("%s: no such file or directory", path), Advice: "give the path of a raw disk image or of a directory that holds a root file system"}
	}
	return err
}

// inFile puts the file's name before a fact about it and keeps the advice.
func inFile(path string, err error) error {
	var fact *Error
	if errors.As(err, &fact) {
		return &Error{Fact: path + ": " + err.Error(), Advice: fact.Advice}
	}
	return fmt.Errorf("%s: %w", path, err)
}

func openDirectory(path string) (*Target, error) {
	dir, err := rootfs.OpenDir(path)
	if err != nil {
		return nil, err
	}
	t := &Target{Path: path, Kind: Directory, dir: dir, tree: dir, Volumes: []Volume{{Role: "root", FS: "directory"}}}
	linux, err := isLinuxRoot(dir)
	if err == nil && !linux {
		err = &Error{Fact: path + ": it holds no Linux root file system: no os-release", Advice: "give the directory that holds etc and usr"}
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return t, nil
}

// isLinuxRoot says whether a tree looks like the root of a Linux system: it has
// an os-release file (os-release(5)) and an /etc directory.
func isLinuxRoot(t rootfs.Tree) (bool, error) {
	info, err := rootfs.Stat(t, "/etc")
	if errors.Is(err, fs.ErrNotExist) || (err == nil && !info.Mode.IsDir()) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, name := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		if found, err := rootfs.Exists(t, name); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

func (t *Target) openDisk(opts Options) error {
	if err := t.refuseContainer(); err != nil {
		return err
	}
	parts, err := readTable(t.file, t.Size)
	if err != nil {
		return err
	}
	t.Scheme = parts.scheme
	if parts.scheme == "none" {
		parts.partitions = []partition{{size: t.Size}}
	}
	for _, p := range parts.partitions {
		t.Volumes = append(t.Volumes, Volume{
			Number: p.number, Type: p.kind, Label: p.label, Offset: p.start, Size: p.size,
			FS: identify(io.NewSectionReader(t.file, p.start, p.size)),
		})
	}
	return t.findRoot(opts.Root)
}

// refuseContainer names formats whose bytes are not those of the disk.
func (t *Target) refuseContainer() error {
	head := make([]byte, 8)
	n, err := t.file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for _, c := range containers {
		if !strings.HasPrefix(string(head[:n]), string(c.bytes)) {
			continue
		}
		advice := "unpack it first"
		if c.via != "" {
			advice = fmt.Sprintf("convert it first: qemu-img convert -f %s -O raw IMAGE disk.raw", c.via)
		}
		return &Error{Fact: fmt.Sprintf("it is a %s file, want a raw disk image", c.name), Advice: advice}
	}
	return nil
}

// findRoot opens the one volume that holds a Linux root, or the one asked for.
func (t *Target) findRoot(number int) error {
	var found []int
	for i, v := range t.Volumes {
		if number != 0 && v.Number != number {
			continue
		}
		if v.FS != "ext4" {
			continue
		}
		tree, err := t.openVolume(v)
		if err != nil {
			return fmt.Errorf("%s: %w", v.name(), err)
		}
		linux, err := isLinuxRoot(tree)
		if err != nil {
			return fmt.Errorf("%s: %w", v.name(), err)
		}
		if linux {
			found = append(found, i)
			t.tree, t.root = tree, i
		}
	}
	switch {
	case len(found) == 1:
		t.Volumes[t.root].Role = "root"
		return nil
	case len(found) > 1:
		return t.twoRoots(found)
	default:
		return t.noRoot(number)
	}
}

func (v Volume) name() string {
	if v.Number == 0 {
		return "file system"
	}
	return fmt.Sprintf("partition %d", v.Number)
}

// openVolume reads the file system of one volume and checks that all of it is
// there.
func (t *Target) openVolume(v Volume) (rootfs.Tree, error) {
	fsys, err := ext4.Open(io.NewSectionReader(t.file, v.Offset, v.Size), v.Size)
	if err != nil {
		return nil, &Error{Fact: err.Error(), Advice: "check the file system with e2fsck -fn, and the image's checksum"}
	}
	return fsys, nil
}

func (t *Target) twoRoots(found []int) error {
	var list []string
	for _, i := range found {
		list = append(list, fmt.Sprintf("%s (label %q)", t.Volumes[i].name(), t.Volumes[i].Label))
	}
	return &Error{
		Fact:   fmt.Sprintf("%d Linux roots: %s", len(found), strings.Join(list, ", ")),
		Advice: fmt.Sprintf("choose one, for example --root %d", t.Volumes[found[0]].Number),
	}
}

func (t *Target) noRoot(number int) error {
	if t.Scheme == "none" && t.Volumes[0].FS == "unknown" {
		return &Error{Fact: "it is not a disk image: no partition table and no known file system", Advice: "give a raw disk image, or a directory that holds a root file system"}
	}
	if len(t.Volumes) == 0 {
		return &Error{Fact: "no Linux root file system: the partition table is empty", Advice: "give the image of an installed system"}
	}
	var list []string
	foreign := false
	for _, v := range t.Volumes {
		list = append(list, fmt.Sprintf("%s is %s", v.name(), v.FS))
		foreign = foreign || v.FS == "xfs" || v.FS == "btrfs" || v.FS == "LVM" || v.FS == "LUKS"
	}
	what := "no Linux root file system"
	if number != 0 {
		what = fmt.Sprintf("no Linux root file system in partition %d", number)
	}
	advice := "a root is an ext2, ext3 or ext4 volume with /etc and an os-release file"
	if foreign {
		advice = "this version edits ext2, ext3 and ext4 roots only; patch a directory tree before the image is made from it"
	}
	return &Error{Fact: fmt.Sprintf("%s: %s", what, strings.Join(list, ", ")), Advice: advice}
}

// Tree is the root file system.
func (t *Target) Tree() rootfs.Tree { return t.tree }

// Root is the root volume.
func (t *Target) Root() Volume { return t.Volumes[t.root] }

// Close gives back the handles.
func (t *Target) Close() error {
	if t.dir != nil {
		return t.dir.Close()
	}
	return t.file.Close()
}

// NeedsRecovery says whether the root's journal holds changes that its files do
// not show yet. What is read until [Replay] may be out of date.
func (t *Target) NeedsRecovery() bool {
	fsys, ok := t.tree.(*ext4.FS)
	return ok && fsys.NeedsRecovery()
}

// CheckEditor says whether what Edit needs of this machine is there.
func (t *Target) CheckEditor() error {
	if t.Kind == Directory {
		return nil
	}
	return ext4.CheckPrograms()
}

// Edit changes the root volume of the target in place. Of a disk the caller hands
// it a private copy. A directory takes its edits back if one of them fails, or
// check does, which looks at the result and may be nil.
func (t *Target) Edit(ctx context.Context, edits []rootfs.Edit, check func() error) error {
	if check == nil {
		check = func() error { return nil }
	}
	if t.Kind == Directory {
		return t.dir.Apply(edits, check)
	}
	if err := ext4.Edit(ctx, t.Path, t.Root().Offset, edits); err != nil {
		return err
	}
	return check()
}
