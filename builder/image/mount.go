package image

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/kerngate/kerngate/builder/fat"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// mount is a volume that the tree shows beside the root.
type mount struct {
	dir    string // literal name
	volume int    // index in Volumes
}

// cover is a mount of something that we cannot read: what the root has below it is
// not what the running system sees.
type cover struct{ dir, why string }

// findMounts decides where volumes lie in the tree: where the root's fstab mounts
// them, else where systemd-gpt-auto-generator(8) would.
func (t *Target) findMounts() error {
	t.mountByFstab()
	if err := t.literalMounts(); err != nil {
		return err
	}
	for _, place := range []struct {
		role string
		of   func(rootfs.Tree, Volume) (dir string, mounted bool)
	}{{roleUsr, placeUsr}, {roleBoot, t.placeBoot}, {roleESP, t.placeESP}} {
		for _, i := range t.indexes(func(i int) bool { return t.Volumes[i].Role == place.role && t.Volumes[i].Mount == "" }) {
			if err := t.mountUnlisted(i, place.of); err != nil {
				return err
			}
		}
	}
	return nil
}

// mountByFstab takes every line but that of the root; of two for one directory the
// first, as systemd-fstab-generator(8) does.
func (t *Target) mountByFstab() {
	for _, e := range t.contents[t.root].fstab {
		at, _ := t.named(e.spec)
		switch {
		case e.dir == "/" || t.isMountPoint(e.dir):
		case len(at) == 1 && at[0] != t.root && t.contents[at[0]].readable:
			t.mounts = append(t.mounts, mount{e.dir, at[0]})
		default:
			t.covers = append(t.covers, cover{e.dir, "/etc/fstab mounts " + e.spec + " there"})
		}
	}
}

func (t *Target) isMountPoint(dir string) bool {
	return slices.ContainsFunc(t.mounts, func(m mount) bool { return m.dir == dir }) ||
		slices.ContainsFunc(t.covers, func(c cover) bool { return c.dir == dir })
}

// literalMounts follows the links in names of mount points, the ones above first. What
// is no directory nothing can be mounted on.
func (t *Target) literalMounts() error {
	wanted := t.mounts
	slices.SortStableFunc(wanted, func(a, b mount) int { return cmp.Compare(len(a.dir), len(b.dir)) })
	t.mounts = nil
	for _, m := range wanted {
		tree, err := t.compose(t.openVolume)
		if err != nil {
			return err
		}
		literal, err := rootfs.Resolve(tree, m.dir)
		if err == nil {
			var info rootfs.Info
			if info, err = tree.Lstat(literal); err == nil && !info.Mode.IsDir() {
				err = fmt.Errorf("it is %s", rootfs.TypeName(info.Mode))
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.warn("%s cannot be mounted on %s: %v", t.Volumes[m.volume].name(), m.dir, err)
			t.covers = append(t.covers, cover{m.dir, "/etc/fstab mounts " + t.Volumes[m.volume].name() + " there"})
			continue
		}
		t.mounts = append(t.mounts, mount{literal, m.volume})
	}
	return nil
}

// mountUnlisted mounts a volume with a role that no line of fstab names.
func (t *Target) mountUnlisted(i int, place func(rootfs.Tree, Volume) (dir string, mounted bool)) error {
	tree, err := t.compose(t.openVolume)
	if err != nil {
		return err
	}
	v := &t.Volumes[i]
	dir, mounted := place(tree, *v)
	switch {
	case dir == "":
		t.warn("%s is the %s volume, and there is no place for it in the tree: boot entries on it are not looked at", v.name(), v.Role)
	case !t.contents[i].readable && mounted:
		t.covers = append(t.covers, cover{dir, fmt.Sprintf("%s (%s) is mounted there", v.name(), v.FS)})
	case t.contents[i].readable:
		v.Mount, v.Unmounted = dir, !mounted
		t.mounts = append(t.mounts, mount{dir, i})
	}
	return nil
}

func placeUsr(rootfs.Tree, Volume) (dir string, mounted bool) { return "/usr", true }

// placeBoot gives /boot, if nothing else is there. The generator looks at the types of
// a GPT alone; a boot loader of its own may read a volume that is known by content.
func (t *Target) placeBoot(tree rootfs.Tree, v Volume) (dir string, mounted bool) {
	if free, _ := t.freeFor(tree, "/boot"); !free {
		return "", false
	}
	return "/boot", t.automatic(v)
}

// placeESP gives /efi or /boot, whichever the generator takes, and where it takes none
// /efi all the same: the firmware reads the volume without a mount.
func (t *Target) placeESP(tree rootfs.Tree, v Volume) (dir string, mounted bool) {
	efi, efiIsThere := t.freeFor(tree, "/efi")
	boot, bootIsThere := t.freeFor(tree, "/boot")
	switch {
	case t.automatic(v) && efi && efiIsThere:
		return "/efi", true
	case t.automatic(v) && !efiIsThere && boot && bootIsThere:
		return "/boot", true
	case t.isMountPoint("/efi"):
		return "", false
	}
	return "/efi", false
}

// automatic says whether the generator takes notice of a volume.
func (t *Target) automatic(v Volume) bool { return t.Scheme == "gpt" && v.typedAs() == v.Role }

// freeFor says whether a directory is one that the generator mounts on: empty, with
// nothing mounted there; it makes one that is not there.
func (t *Target) freeFor(tree rootfs.Tree, dir string) (free, there bool) {
	if t.isMountPoint(dir) {
		return false, true
	}
	if _, err := tree.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return true, false
	}
	entries, err := tree.ReadDir(dir)
	return err == nil && len(entries) == 0, true
}

// openVolume opens a volume as it is in the image, once.
func (t *Target) openVolume(i int) (rootfs.Tree, error) {
	if tree, ok := t.opened[i]; ok {
		return tree, nil
	}
	tree, err := t.openFrom(t.file, i)
	if err == nil {
		t.opened[i] = tree
	}
	return tree, err
}

// openFrom opens a volume of an image that r reads.
func (t *Target) openFrom(r io.ReaderAt, i int) (rootfs.Tree, error) {
	v := t.Volumes[i]
	section := io.NewSectionReader(r, v.Offset, v.Size)
	var tree rootfs.Tree
	var err error
	if v.FS == "FAT" {
		tree, err = fat.Open(section, v.Size)
	} else {
		tree, err = openExt(section)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", v.name(), err)
	}
	return tree, nil
}

// compose makes the tree of the root and of what is mounted in it.
func (t *Target) compose(open func(volume int) (rootfs.Tree, error)) (rootfs.Tree, error) {
	root, err := open(t.root)
	if err != nil || len(t.mounts) == 0 {
		return root, err
	}
	var mounts []rootfs.Mount
	for _, m := range t.mounts {
		tree, err := open(m.volume)
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, rootfs.Mount{Dir: m.dir, Tree: tree})
	}
	return rootfs.NewMounted(root, mounts...), nil
}

// VolumeOf gives the volume that a literal name of the tree lies on, and the name that
// it has there.
func (t *Target) VolumeOf(name string) (Volume, string) {
	i, inside := t.locate(name)
	return t.Volumes[i], inside
}

// locate gives the index of the volume.
func (t *Target) locate(name string) (volume int, inside string) {
	dir, at := "/", t.root
	for _, m := range t.mounts {
		if rootfs.Below(name, m.dir) && len(m.dir) > len(dir) {
			dir, at = m.dir, m.volume
		}
	}
	return at, rootfs.Within(name, dir)
}

// CheckVisible refuses literal names that the running system would not see, because it
// mounts something above them that we cannot read. A directory is taken as the whole
// tree.
func (t *Target) CheckVisible(names []string) error {
	if t.Kind == Directory {
		return nil
	}
	if err := t.contents[t.root].fstabErr; err != nil {
		return inFile(t.Path, fmt.Errorf("cannot tell what is mounted over the root: %w", err))
	}
	for _, name := range names {
		over := cover{}
		for _, c := range t.covers {
			if rootfs.Below(name, c.dir) && len(c.dir) > len(over.dir) {
				over = c
			}
		}
		if over.dir == "" || slices.ContainsFunc(t.mounts, func(m mount) bool { return rootfs.Below(name, m.dir) && len(m.dir) > len(over.dir) }) {
			continue
		}
		return &Error{
			Fact:   fmt.Sprintf("%s: what is written to %s would be hidden: %s", t.Path, over.dir, over.why),
			Advice: "this version edits ext2, ext3, ext4 and FAT volumes of the image; patch the directory tree before the image is made from it",
		}
	}
	return nil
}
