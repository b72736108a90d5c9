package bootentry

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// Menu is what the boot loaders of a tree would start.
type Menu struct {
	Loaders []LoaderMenu
	Notes   []string
}

// LoaderMenu is the menu that one boot loader makes of its configuration.
type LoaderMenu struct {
	Loader string // "GRUB", "systemd-boot" or "extlinux"
	Path   string // where its configuration begins: literal
	Items  []MenuItem

	// Default and Fallback are indices into Items: what starts when nobody chooses,
	// and what starts when that fails. There are several where a condition decides
	// that cannot be told from the tree, or where versions of the loader differ.
	Default, Fallback []int

	// Unknown says why nobody can tell the default by the tree; empty if all is known.
	Unknown string

	root any // *grubRoot, *sdBoot or *syslinuxMenu
}

// MenuItem is one entry of a menu.
type MenuItem struct {
	Path     string // literal: the script, or the file that is the entry
	Line     int    // 0 where the file is the entry
	ID       string // by which the loader's settings name it
	Title    string // with those of the submenus around it
	Linux    bool   // it starts a Linux kernel
	Releases []string
	Unnamed  bool // it starts a kernel whose release nothing says
	Recovery bool // it does not bring up the system as usual
	Maybe    bool // only under a condition that cannot be told from the tree
	Missing  bool // the tree lacks a kernel that it starts
	Spent    bool // it has no boot attempts left, and its loader counts them
}

func (i MenuItem) String() string {
	s := i.Path
	if i.Line > 0 {
		s += fmt.Sprintf(":%d", i.Line)
	}
	return fmt.Sprintf("%s (%s)", s, orWord(i.Title, i.ID))
}

func orWord(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// loads takes note of a kernel that the item starts.
func (i *MenuItem) loads(release string) {
	i.Linux = true
	if release == "" {
		i.Unnamed = true
	} else {
		i.Releases = union(i.Releases, []string{release})
	}
}

// marksRecovery judges by title and command line, as distributions write them.
func (i *MenuItem) marksRecovery(commandLine string) {
	text := strings.ToLower(i.Title + " " + i.ID)
	for _, word := range []string{"recovery", "rescue", "fallback", "single-user", "emergency"} {
		i.Recovery = i.Recovery || strings.Contains(text, word)
	}
	for word := range strings.FieldsSeq(commandLine) {
		i.Recovery = i.Recovery || slices.Contains([]string{"single", "emergency", "rescue", "init=/bin/sh", "init=/bin/bash",
			"systemd.unit=rescue.target", "systemd.unit=emergency.target"}, word)
	}
}

// Menu says which entry every boot loader starts by default and which after a failure.
// Kernels gives the release of kernels by their literal path, for those whose name does
// not say it; nil will do. What a person chooses and what the firmware's variables say
// (systemd-boot's LoaderEntryDefault, LoaderEntryOneShot) is outside the tree.
func (c *Config) Menu(kernels map[string]string) (Menu, error) {
	r := &menuReader{config: c, kernels: kernels,
		reader: &reader{tree: c.tree, config: &Config{tree: c.tree}, seen: map[string]bool{}, dirs: map[string][]rootfs.Entry{}, env: newGrubEnv()}}
	var out Menu
	for _, part := range []func() ([]LoaderMenu, error){r.grub, r.systemdBoot, r.syslinux} {
		loaders, err := part()
		if err != nil {
			return Menu{}, fmt.Errorf("cannot tell what the boot loaders start: %w", err)
		}
		out.Loaders = append(out.Loaders, loaders...)
	}
	out.Notes = r.notes
	return out, nil
}

// menuReader gathers a Menu.
type menuReader struct {
	*reader
	config  *Config // with the entries
	kernels map[string]string
	notes   []string
	// blscfgUsed says that GRUB reads the boot loader entries.
	blscfgUsed bool
	grubTops   []string // every grub.cfg that is evaluated by itself
}

func (r *menuReader) note(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(r.notes, s) {
		r.notes = append(r.notes, s)
	}
}

// release is that of a kernel image.
func (r *menuReader) release(e Entry) string {
	if release := r.kernels[e.Kernel]; release != "" {
		return release
	}
	return e.Release
}

// read opens a file as often as it is asked for.
func (r *menuReader) read(name string) (*file, error) {
	clear(r.seen)
	return r.open(name)
}

// imageItem is the menu entry that a unified kernel image is; nil if it is none.
func (r *menuReader) imageItem(name string) *MenuItem {
	i := slices.IndexFunc(r.config.Entries, func(e Entry) bool { return e.Source == UKI && e.Path == name })
	if i < 0 {
		return nil
	}
	item := &MenuItem{Path: name, ID: path.Base(name), Title: path.Base(name)}
	item.loads(r.release(r.config.Entries[i]))
	item.marksRecovery(r.config.Entries[i].CommandLine)
	return item
}

// blsFile is one boot loader entry of type 1.
type blsFile struct {
	MenuItem
	file                        *file
	volume                      string
	starts                      string // the key of what it starts: linux, efi, uki, uki-url
	forGrub                     bool   // it has a linux line
	architectures               []string
	unnamed                     bool   // an image without a name of its system
	elsewhere                   bool   // what it starts is on another volume, if anywhere
	id                          string // as one version of systemd-boot has it
	sortKey, machineID, version string
	left, done                  int // boot attempts; left is -1 without counting
}

// blsFiles reads the entries of a directory: those whose program is there.
func (r *menuReader) blsFiles(dir, volume string) ([]*blsFile, error) {
	names, err := r.files(dir, ".conf")
	if err != nil {
		return nil, err
	}
	var out []*blsFile
	for _, name := range names {
		f, err := r.read(name)
		if err != nil {
			return nil, err
		}
		if f == nil {
			continue
		}
		if b := r.blsFile(f, volume, path.Base(name)); b != nil {
			out = append(out, b)
		}
	}
	return out, nil
}

func (r *menuReader) blsFile(f *file, volume, base string) *blsFile {
	b := &blsFile{file: f, volume: volume, MenuItem: MenuItem{Path: f.path, ID: base}}
	b.left, b.done = bootCount(base)
	kernel, options := "", ""
	for _, l := range parseBLS(f.data) {
		value := unquoted(string(f.data[l.start:l.end]))
		if l.start == l.end {
			continue
		}
		switch l.key {
		case "title":
			b.Title = value
		case "version":
			b.version = value
		case "sort-key":
			b.sortKey = value
		case "machine-id":
			b.machineID = value
		case "architecture":
			b.architectures = append(b.architectures, value)
		case "options":
			options += " " + value
		case "linux", "efi", "uki", "uki-url":
			at := r.locate(value, volume)
			// Versions differ in which of several stands, and whether any does.
			b.Unnamed = b.Unnamed || b.starts != "" && (b.starts != l.key || kernel != at)
			b.starts, kernel, b.forGrub = l.key, at, b.forGrub || l.key == "linux"
			b.elsewhere = !r.onVolume(value, volume)
		}
	}
	b.Maybe, b.Linux = b.Unnamed, b.Unnamed
	if b.starts == "uki-url" { // in newer versions, and where the firmware booted from a network
		b.Maybe, b.Linux, b.Unnamed = true, true, true
	}
	if info, err := r.tree.Lstat(kernel); !b.Unnamed && (b.starts == "" || err != nil || !info.Mode.IsRegular()) {
		return nil // systemd-boot leaves it out; GRUB could not start it
	}
	r.blsKernel(b, kernel)
	b.marksRecovery(options)
	return b
}

// onVolume says whether a path leads to a file from the root of a volume.
func (r *menuReader) onVolume(written, volume string) bool {
	_, err := rootfs.Resolve(r.tree, path.Join(volume, strings.ReplaceAll(written, `\`, "/")))
	return err == nil
}

// blsKernel takes note of what an entry starts. A kernel can be started by its efi key as
// well; what no name says to be one is another program.
func (r *menuReader) blsKernel(b *blsFile, kernel string) {
	release := orWord(r.kernels[kernel], releaseOf(kernel))
	if image := r.imageItem(kernel); image != nil {
		b.Linux, b.Releases, b.Unnamed = true, image.Releases, image.Unnamed || b.Unnamed
	} else if !isTool(kernel) && (b.starts == "linux" || b.starts == "efi" && release != "") {
		b.loads(orWord(release, b.version))
	}
}

// bootCount reads the counters before the suffix of a name: +LEFT-DONE (systemd-boot(7),
// "Boot Counting").
func bootCount(base string) (left, done int) {
	stem := strings.TrimSuffix(base, path.Ext(base))
	i := strings.LastIndexByte(stem, '+')
	if i < 0 {
		return -1, -1
	}
	l, d, found := strings.Cut(stem[i+1:], "-")
	left, ok := smallNumber(l)
	if !ok {
		return -1, -1
	}
	if found {
		if done, ok = smallNumber(d); !ok {
			return -1, -1
		}
	}
	return left, done
}

// smallNumber reads decimal digits that fit 31 bits.
func smallNumber(s string) (int, bool) {
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' || n > (1<<31-1)/10 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, s != "" && n <= 1<<31-1
}
