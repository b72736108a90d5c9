package bootentry

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// Source says what kind of file holds a command line.
type Source string

// The sources.
const (
	GrubScript    Source = "grub.cfg"      // a command that loads a kernel
	GrubVariable  Source = "grub variable" // kernelopts or default_kernelopts, set in a GRUB script
	GrubEnv       Source = "grubenv"       // kernelopts in an environment block
	GrubDefault   Source = "grub default"  // /etc/default/grub and what grub-mkconfig reads beside it
	BLS           Source = "bls"           // a boot loader entry of type 1
	UKI           Source = "uki"           // the .cmdline section of a unified kernel image
	KernelCmdline Source = "kernel cmdline"
	UKIConfig     Source = "uki.conf"
	CmdlineDir    Source = "cmdline.d" // mkinitcpio's /etc/cmdline.d
	Extlinux      Source = "extlinux"  // or syslinux, isolinux, pxelinux
	UBootDefault  Source = "u-boot default"
	UpdateExtl    Source = "update-extlinux.conf"
	RaspberryPi   Source = "rpi cmdline.txt"
)

// Entry is one place that holds a kernel command line.
type Entry struct {
	Source  Source
	Path    string // literal path of the file; of a template that is yet to be written, where it would be
	Line    int    // from 1; 0 where the file has no lines
	Title   string // of the menu entry, with those of the submenus around it
	Kernel  string // literal path in the tree; as written where the tree has no such file
	Initrds []string
	Release string // of the kernel, empty where neither a name nor an image says it

	// CommandLine is what the kernel will see, variables expanded, without what the
	// boot loader adds of its own (BOOT_IMAGE=, initrd=). Where a variable has several
	// possible values, with the first of each.
	CommandLine string

	// Template says that no kernel is started from here: commands that make boot
	// entries read it.
	Template bool
	Signed   bool // the file has a signature, which an edit would break
}

func (e Entry) String() string {
	s := e.Path
	if e.Line > 0 {
		s += fmt.Sprintf(":%d", e.Line)
	}
	if e.Title != "" {
		s += fmt.Sprintf(" (%s)", e.Title)
	}
	return s
}

// Problem is a boot configuration that is there and cannot be handled.
type Problem struct {
	Path string
	Why  string
}

func (p Problem) String() string { return p.Path + ": " + p.Why }

// Config is the boot configuration of a tree.
type Config struct {
	Entries  []Entry
	Problems []Problem
	// Notes are facts that a user should know and that need no change.
	Notes []string

	tree   rootfs.Tree
	places []place // of each entry
}

// place is how to change an entry.
type place struct {
	lines []text // one for each combination of variables' values
	file  *file
	// defines says that other entries name this one's value, so it goes first.
	defines bool
	refusal *Refusal // why it cannot be changed
	dropIn  *dropIn  // the change is a file of our own
	section int      // of a unified kernel image
}

// file is one file that holds places.
type file struct {
	path string
	data []byte // as it is; of an image nil
	// rewrite carries out changes where plain splicing will not do.
	rewrite func(f *file, changes []placedChange) ([]byte, error)
}

type placedChange struct {
	change
	section int
}

// Read finds every kernel command line of a tree, with the volumes of its boot
// partitions grafted at their mount points. An error means that the tree could not be
// read; what was read and not understood is in Problems.
func Read(t rootfs.Tree) (*Config, error) {
	r := &reader{tree: t, config: &Config{tree: t}, seen: map[string]bool{}, dirs: map[string][]rootfs.Entry{}, env: newGrubEnv()}
	for _, step := range []func() error{
		r.grubScripts, r.grubEnvs, r.grubEntries, r.blsEntries, r.images,
		r.grubDefaults, r.kernelCmdline, r.extlinux, r.raspberryPi, r.startup, r.unhandled,
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return r.config, nil
}

// reader gathers a Config.
type reader struct {
	tree   rootfs.Tree
	config *Config
	seen   map[string]bool // literal paths that were read
	dirs   map[string][]rootfs.Entry
	env    *grubEnv
	// scripts are GRUB scripts, whose commands wait for the variables of all.
	scripts []*grubFile
	chained []string // files that a boot loader starts as firmware would
}

func (r *reader) add(e Entry, p place) {
	if len(p.lines) > 0 && e.CommandLine == "" {
		e.CommandLine = p.lines[0].String()
	}
	if !e.Template {
		e.Initrds = union(e.Initrds, r.initrdArguments(e.CommandLine))
	}
	r.config.Entries = append(r.config.Entries, e)
	r.config.places = append(r.config.places, p)
}

// initrdArguments finds the files that initrd= arguments name: a kernel that firmware
// starts reads them by itself (Documentation/admin-guide/efi-stub.rst), Syslinux takes
// several with commas between them. On other machines it is an address.
func (r *reader) initrdArguments(cmdline string) []string {
	var out []string
	for _, arg := range Arguments(cmdline) {
		if arg.Name != "initrd" {
			continue
		}
		for name := range strings.SplitSeq(arg.Value, ",") {
			at := r.locate(name, "/boot")
			if _, err := rootfs.Resolve(r.tree, at); at != "" && (err == nil || strings.ContainsAny(name[:1], `/\`)) {
				out = append(out, at)
			}
		}
	}
	return out
}

func (r *reader) problem(name, format string, args ...any) {
	r.config.Problems = append(r.config.Problems, Problem{name, fmt.Sprintf(format, args...)})
}

// open reads a text file once, links followed. A missing one, or one that was read
// before under another name, is nil.
func (r *reader) open(name string) (*file, error) {
	literal, err := rootfs.Resolve(r.tree, name)
	if missing(err) || (err == nil && r.seen[literal]) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := r.count(literal); err != nil {
		return nil, err
	}
	info, err := r.tree.Lstat(literal)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode.IsRegular():
		r.problem(literal, "it is %s, want a regular file", rootfs.TypeName(info.Mode))
		return nil, nil
	case info.Size > maxConfig:
		r.problem(literal, "size is %d bytes, limit is %d", info.Size, maxConfig)
		return nil, nil
	}
	data, err := rootfs.ReadFile(r.tree, literal, maxConfig)
	if err != nil {
		return nil, err
	}
	return &file{path: literal, data: data}, nil
}

func (r *reader) count(literal string) error {
	if r.seen[literal] = true; len(r.seen) > maxFiles {
		return fmt.Errorf("%s: more than %d files of boot configuration", literal, maxFiles)
	}
	if len(r.config.Entries) > maxEntries {
		return fmt.Errorf("%s: more than %d boot entries", literal, maxEntries)
	}
	return nil
}

func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// list gives the names in a directory that fit, sorted; of a missing one none.
func (r *reader) list(dir string, fits func(string) bool) (literal string, names []string, err error) {
	literal, err = rootfs.Resolve(r.tree, dir)
	if missing(err) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	entries, known := r.dirs[literal]
	if !known {
		if info, err := r.tree.Lstat(literal); err != nil || !info.Mode.IsDir() {
			return "", nil, err
		}
		if entries, err = r.tree.ReadDir(literal); err != nil {
			return "", nil, err
		}
		r.dirs[literal] = entries
	}
	for _, e := range entries {
		if fits(e.Name) {
			names = append(names, e.Name)
		}
	}
	if len(names) > maxFiles {
		return "", nil, fmt.Errorf("%s: more than %d files of boot configuration", literal, maxFiles)
	}
	slices.Sort(names)
	return literal, names, nil
}

// files gives the literal paths in a directory whose names end in suffix; firmware
// and boot loaders do not tell cases apart on FAT.
func (r *reader) files(dir, suffix string) ([]string, error) {
	literal, names, err := r.list(dir, func(name string) bool {
		return len(name) > len(suffix) && strings.EqualFold(name[len(name)-len(suffix):], suffix)
	})
	for i, name := range names {
		names[i] = path.Join(literal, name)
	}
	return names, err
}

// find follows names below dir without regard to case. What is missing is "".
func (r *reader) find(dir string, names ...string) (string, error) {
	at, err := rootfs.Resolve(r.tree, dir)
	if missing(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	for _, want := range names {
		literal, found, err := r.list(at, func(name string) bool { return strings.EqualFold(name, want) })
		if err != nil || len(found) == 0 {
			return "", err
		}
		at = path.Join(literal, found[0])
		if slices.Contains(found, want) {
			at = path.Join(literal, want)
		}
	}
	return at, nil
}

// volumes are where a boot partition or an ESP may be grafted: paths in boot
// configuration start at a volume's own root. The tree's root is one too.
func volumes() []string { return []string{"/boot", "/boot/efi", "/efi", "/boot/firmware", "/"} }

// vendors gives the directories below EFI on every volume.
func (r *reader) vendors() ([]string, error) {
	var out []string
	for _, volume := range volumes() {
		efi, err := r.find(volume, "EFI")
		if err != nil {
			return nil, err
		}
		if efi == "" {
			continue
		}
		literal, names, err := r.list(efi, func(string) bool { return true })
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			out = append(out, path.Join(literal, name))
		}
	}
	return out, nil
}

// locate finds the file that a boot loader's path stands for: written from the root of
// a volume that this tree has at one of volumes, near being the likeliest. What no
// volume has comes back as it is.
func (r *reader) locate(written, near string) string {
	p := strings.ReplaceAll(written, `\`, "/")
	if strings.HasPrefix(p, "(") {
		if _, rest, found := strings.Cut(p, ")"); found {
			p = rest
		}
	}
	if p == "" {
		return ""
	}
	for _, volume := range append([]string{near}, volumes()...) {
		if literal, err := rootfs.Resolve(r.tree, path.Join(volume, p)); err == nil {
			return literal
		}
	}
	// Beside a volume's root, a subvolume of btrfs: /@/boot/vmlinuz.
	if i := strings.Index(p, "/boot/"); i > 0 {
		if literal, err := rootfs.Resolve(r.tree, p[i:]); err == nil {
			return literal
		}
	}
	return written
}

// releaseOf tells a kernel's release from how its file is called, as installers of
// kernels do: vmlinuz-RELEASE, or MACHINE-ID/RELEASE/linux (kernel-install(8)), where
// openSUSE's sdbootutil puts the image's SHA-1 behind linux-.
func releaseOf(kernel string) string {
	base := path.Base(strings.ReplaceAll(kernel, `\`, "/"))
	if summed.MatchString(base) {
		base = "linux"
	}
	for _, prefix := range []string{"vmlinuz-", "vmlinux-", "kernel-", "linux-", "bzImage-", "Image-", "zImage-"} {
		if release, found := strings.CutPrefix(base, prefix); found && startsWithDigit(release) {
			return release
		}
	}
	if base == "linux" || base == "vmlinuz" {
		if release := path.Base(path.Dir(strings.ReplaceAll(kernel, `\`, "/"))); startsWithDigit(release) && strings.Contains(release, ".") {
			return release
		}
	}
	return ""
}

// summed is what sdbootutil calls a kernel.
var summed = regexp.MustCompile(`^linux-[0-9a-f]{40}$`)

func startsWithDigit(s string) bool { return s != "" && s[0] >= '0' && s[0] <= '9' }
