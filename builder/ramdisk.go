package builder

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/kerngate/kerngate/builder/bootentry"
	"github.com/kerngate/kerngate/builder/initramfs"
	"github.com/kerngate/kerngate/builder/modprobe"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/profiles"
)

// ramdisk is one initramfs image of a tree.
type ramdisk struct {
	path  string // literal
	image *initramfs.Image
	facts initramfs.Facts
	file  rootfs.File
}

// maxRamdisks bounds the images that are read: each is unpacked once, and a boot
// directory has two for each of a handful of kernels.
const maxRamdisks = 64

// maxListed bounds the names looked through in one directory of boot files.
const maxListed = 4096

// ramdiskPlaces are the directories in which distributions put initramfs images; "*"
// stands for any one name: a kernel release, a machine's ID on the ESP, a volume that is
// mounted below /boot. Debian's kdump-tools has a place of its own.
var ramdiskPlaces = []string{"/boot", "/boot/*", "/boot/*/*", "/boot/efi/*/*", "/efi", "/efi/*", "/efi/*/*",
	"/usr/lib/modules/*", "/lib/modules/*", "/var/lib/kdump"}

// readRamdisks opens every initramfs image of a tree: those that boot entries name and
// those that lie where images lie. An image that cannot be read is an obstacle; notes
// tell of images that cannot be seen into.
func readRamdisks(t rootfs.Tree, entries []bootentry.Entry) (found []*ramdisk, bad []obstacle, notes []string, err error) {
	named, notes, err := namedRamdisks(t, entries)
	if err != nil {
		return nil, nil, nil, err
	}
	names, err := ramdiskNames(t, named)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, name := range names {
		file, err := t.Open(name)
		if err != nil {
			closeRamdisks(found)
			return nil, nil, nil, fmt.Errorf("cannot open the initramfs %s: %w", name, err)
		}
		r, err := readRamdisk(name, file)
		if err != nil {
			file.Close()
			bad = append(bad, obstacle{name, err.Error(), "make the image anew with the system's own tool, or remove it if nothing boots from it"})
			continue
		}
		found = append(found, r)
		notes = append(notes, r.hidden()...)
	}
	return found, bad, notes, nil
}

// namedRamdisks gives the images that boot entries name, with a note on each that the
// tree has not: it may lie on a volume that is not in the image.
func namedRamdisks(t rootfs.Tree, entries []bootentry.Entry) (named, notes []string, err error) {
	for _, e := range entries {
		if e.Source == bootentry.UKI && !e.Template {
			notes = append(notes, e.Path+": an initramfs inside it is left as it is; only its kernel command line can keep modules out of it")
		}
		for _, name := range e.Initrds {
			if slices.Contains(named, name) {
				continue
			}
			named = append(named, name)
			if _, err := rootfs.Resolve(t, name); isMissing(err) {
				notes = append(notes, fmt.Sprintf("%s: its initramfs %s is not in the image; if it is elsewhere, it keeps its modules, and only the kernel command line can keep them out", e, name))
			} else if err != nil {
				return nil, nil, err
			}
		}
	}
	return named, notes, nil
}

// nestedRoots are file systems that dracut's squash and erofs modules put the modules of
// an image into, over the years.
var nestedRoots = []string{"/squashfs-root.img", "/erofs-root.img", "/squash-root.img", "/squash/root.img"}

// hidden says which file systems inside the image hold modules that nobody sees.
func (r *ramdisk) hidden() []string {
	var out []string
	for _, name := range nestedRoots {
		if there, err := rootfs.Exists(r.image.Tree(), name); err == nil && there {
			out = append(out, fmt.Sprintf("%s: modules in the file system %s inside it are left as they are; only the kernel command line can keep them out", r.path, name))
		}
	}
	return out
}

// readRamdisk reads an image. Any error is the image's own fault, such as links in a
// circle where modprobe should be.
func readRamdisk(name string, file rootfs.File) (*ramdisk, error) {
	r := &ramdisk{path: name, file: file}
	var err error
	if r.image, err = initramfs.Open(file, file.Size()); err == nil {
		r.facts, err = r.image.Facts()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the initramfs: %w", err)
	}
	return r, nil
}

func closeRamdisks(list []*ramdisk) {
	for _, r := range list {
		r.file.Close()
	}
}

// ramdiskNames lists literal names of regular files, sorted, each once.
func ramdiskNames(t rootfs.Tree, named []string) ([]string, error) {
	candidates := slices.Clone(named)
	for _, place := range ramdiskPlaces {
		dirs, err := expand(t, place)
		if err != nil {
			return nil, err
		}
		for _, dir := range dirs {
			entries, err := list(t, dir)
			if err != nil {
				return nil, err
			}
			for _, e := range entries {
				if isRamdiskName(e.Name) {
					candidates = append(candidates, path.Join(dir, e.Name))
				}
			}
		}
	}
	var out []string
	for _, name := range candidates {
		literal, err := rootfs.Resolve(t, name)
		if isMissing(err) {
			continue // a link to nowhere, or named by an entry and not there
		}
		if err != nil {
			return nil, err
		}
		if info, err := t.Lstat(literal); err != nil {
			return nil, err
		} else if info.Mode.IsRegular() {
			out = append(out, literal)
		}
	}
	slices.Sort(out)
	if out = slices.Compact(out); len(out) > maxRamdisks {
		return nil, problem("remove the ones that nothing boots from", "%d initramfs images, limit is %d", len(out), maxRamdisks)
	}
	return out, nil
}

// isRamdiskName goes by the names that the generators give: initrd.img-REL, initrd-REL,
// initramfs-REL.img, initramfs-linux.img, booster-linux.img, and initrd or initramfs.img
// beside a kernel. On FAT cases do not count.
func isRamdiskName(name string) bool {
	name = strings.ToLower(name)
	return strings.HasPrefix(name, "initrd") || strings.HasPrefix(name, "initramfs") ||
		(strings.HasPrefix(name, "booster-") && strings.HasSuffix(name, ".img"))
}

// expand gives the directories that a place stands for, as literal names.
func expand(t rootfs.Tree, place string) ([]string, error) {
	at := []string{"/"}
	for part := range strings.SplitSeq(strings.Trim(place, "/"), "/") {
		var next []string
		for _, dir := range at {
			below := []string{part}
			if part == "*" {
				entries, err := list(t, dir)
				if err != nil {
					return nil, err
				}
				below = below[:0]
				for _, e := range entries {
					below = append(below, e.Name)
				}
			}
			for _, name := range below {
				next = append(next, path.Join(dir, name))
			}
		}
		if at = next; len(at) > maxListed {
			return nil, fmt.Errorf("%s: %d directories, limit is %d", place, len(at), maxListed)
		}
	}
	return at, nil
}

// list lists the directory that name leads to; what is missing or no directory is empty.
func list(t rootfs.Tree, name string) ([]rootfs.Entry, error) {
	literal, err := rootfs.Resolve(t, name)
	if isMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if info, err := t.Lstat(literal); err != nil || !info.Mode.IsDir() {
		return nil, err
	}
	entries, err := t.ReadDir(literal)
	if err == nil && len(entries) > maxListed {
		err = fmt.Errorf("%s: %d entries, limit is %d", literal, len(entries), maxListed)
	}
	return entries, err
}

// ramdiskConfig is the modprobe.d text for one image.
func ramdiskConfig(r *ramdisk, p profiles.Profile, blocks []modprobe.Block) []byte {
	falsePath, err := modprobe.False(r.image.Tree())
	if err != nil {
		falsePath = "/bin/false" // not there: the command fails all the same
	}
	return modprobe.Text(header(p), blocks, falsePath)
}

// ramdiskSplices puts the block behind every image, or takes it off where an earlier
// build put it there.
func (s *surrounding) ramdiskSplices(p profiles.Profile, old *Manifest) (out []splice, bad []obstacle, err error) {
	blocks := blocksBy(p, profiles.BlockInitramfs)
	for _, r := range s.disks {
		if len(blocks) == 0 {
			if gone, found := r.revert(old); found {
				out = append(out, gone)
			}
			continue
		}
		one, err := r.blocked(p, blocks)
		if errors.Is(err, initramfs.ErrRefused) {
			bad = append(bad, obstacle{r.path, err.Error(), "make the image anew with the system's own tool"})
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		out = append(out, one)
	}
	return out, bad, nil
}

// blocked is the image with the block behind it.
func (r *ramdisk) blocked(p profiles.Profile, blocks []modprobe.Block) (splice, error) {
	w := initramfs.Wanted{Config: ramdiskConfig(r, p, blocks), Modules: moduleNames(blocks), ModTime: time.Unix(0, 0)}
	out := splice{path: r.path, op: opTail, reason: "block " + strings.Join(w.Modules, ", ") + " in the initramfs"}
	missed := initramfs.Check(r.image, w)
	if missed == nil {
		return out, nil
	}
	keep, data, err := initramfs.Block(r.image, w)
	out.missed, out.edit = missed.Error(), &rootfs.Edit{Op: rootfs.Append, Keep: keep, Data: data}
	return out, err
}

// revert takes our archive off an image.
func (r *ramdisk) revert(old *Manifest) (splice, bool) {
	keep, found := initramfs.Unblock(r.image)
	_, ours := old.entry(r.path)
	edit := &rootfs.Edit{Op: rootfs.Append, Keep: keep, Data: []byte{}}
	return splice{path: r.path, edit: edit, reason: "the profile no longer asks for it", missed: "the profile no longer asks for its block"}, found && ours
}

// has says whether one of the image's files is for the module.
func (r *ramdisk) has(name, release string) bool {
	return slices.ContainsFunc(r.facts.Modules, func(m initramfs.Module) bool {
		return m.Name == name && (m.Release == release || m.Release == "")
	})
}

// holds says whether one of the image's modules is named name, and can be inserted.
func (r *ramdisk) holds(name, release string) bool {
	return slices.ContainsFunc(r.facts.Modules, func(m initramfs.Module) bool {
		return m.Name == name && m.Size > 0 && (m.Release == release || m.Release == "")
	})
}

// isFor says whether an image has anything of a kernel's.
func (r *ramdisk) isFor(release string) bool {
	return slices.Contains(r.facts.Releases, release) || strings.Contains(path.Base(r.path), release)
}
