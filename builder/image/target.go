package image

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/kerngate/kerngate/builder/ext4"
	"github.com/kerngate/kerngate/builder/fat"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/builder/undo"
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
	Number   int    `json:"number"`             // partition number; 0 without a partition table
	Role     string `json:"role"`               // "root", "usr", "boot", "esp", or empty
	Type     string `json:"type"`               // partition type: GUID, or MBR type in hex
	FS       string `json:"fs"`                 // "ext2", "ext3", "ext4", "FAT", "xfs", …, "unknown"
	Label    string `json:"label,omitempty"`    // of the partition: PARTLABEL
	FSLabel  string `json:"fs_label,omitempty"` // of the file system: LABEL
	UUID     string `json:"uuid,omitempty"`     // of the file system; of FAT the serial number, "1234-ABCD"
	PartUUID string `json:"part_uuid,omitempty"`
	Mount    string `json:"mount,omitempty"` // where the tree shows it
	// Unmounted: the running system is not known to mount it; the firmware or the boot
	// loader reads it all the same.
	Unmounted bool  `json:"unmounted,omitempty"`
	Offset    int64 `json:"offset"` // bytes
	Size      int64 `json:"size"`   // bytes

	hidden bool // its type says nothing
}

// content is what was found in a volume of a disk. The volume is opened again where
// more is wanted of it: a table may name a thousand.
type content struct {
	readable bool         // false where the file system is not one that we read, or is broken
	err      error        // what is broken
	linux    bool         // it is a Linux root
	kernels  bool         // there are kernels at its top, as in /boot
	efi      bool         // it has the directory that firmware looks for
	fstab    []mountEntry // of a Linux root
	fstabErr error
}

// Target is an opened directory, disk image or block device. Reading it changes nothing.
type Target struct {
	Path     string
	Kind     Kind
	Scheme   string // "gpt", "mbr", "none"; empty for a directory
	Size     int64  // bytes; 0 for a directory
	Device   bool   // it is a block device
	Volumes  []Volume
	Warnings []string // what is odd about the layout

	file     *os.File
	before   fs.FileInfo // of file, from before anything was read
	begun    time.Time   // when that was
	site     undo.Site   // of an edit in place
	dir      *rootfs.Dir
	tree     rootfs.Tree
	rootFS   *ext4.FS            // nil for a directory
	contents []content           // of Volumes; empty for a directory
	opened   map[int]rootfs.Tree // volumes, by index
	root     int                 // index in Volumes
	mounts   []mount             // beside the root
	covers   []cover
}

func (t *Target) warn(format string, args ...any) {
	t.Warnings = append(t.Warnings, fmt.Sprintf(format, args...))
}

// Options choose among what a target offers.
type Options struct {
	Root int // partition number of the root volume; 0: find it by content
}

// Open opens a target read only and finds its root volume.
func Open(path string, opts Options) (*Target, error) {
	begun := time.Now()
	info, err := os.Stat(path)
	if err != nil {
		return nil, missing(path, err)
	}
	switch {
	case info.IsDir() && opts.Root != 0:
		return nil, &Error{Fact: fmt.Sprintf("%s: it is a directory and has no partition %d", path, opts.Root), Advice: "leave --root out"}
	case info.IsDir():
		return openDirectory(path)
	case !info.Mode().IsRegular() && !isDevice(info):
		return nil, &Error{Fact: fmt.Sprintf("%s: it is %s, want a disk image, a block device or a directory", path, rootfs.TypeName(info.Mode())), Advice: "give the path of a raw disk image"}
	}
	f, size, err := openFile(path, info)
	if err != nil {
		return nil, err
	}
	t := &Target{Path: path, Kind: Disk, Size: size, Device: isDevice(info), file: f, before: info, begun: begun, opened: map[int]rootfs.Tree{}}
	if t.site, err = siteOf(path); err == nil {
		err = guard(f, path, t.site)
	}
	if err == nil {
		err = t.openDisk(opts)
	}
	if err != nil {
		f.Close()
		return nil, inFile(path, err)
	}
	return t, nil
}

func openFile(path string, info fs.FileInfo) (*os.File, int64, error) {
	if !isDevice(info) {
		f, err := os.Open(path)
		return f, info.Size(), err
	}
	f, size, err := openDevice(path)
	if err != nil {
		return nil, 0, inFile(path, err)
	}
	return f, size, nil
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
// an os-release file (os-release(5)) and an /etc directory. In a root whose /usr is
// elsewhere the file is a link that leads nowhere.
func isLinuxRoot(t rootfs.Tree) (bool, error) {
	info, err := rootfs.Stat(t, "/etc")
	if errors.Is(err, fs.ErrNotExist) || (err == nil && !info.Mode.IsDir()) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if found, err := rootfs.Exists(t, "/usr/lib/os-release"); found || err != nil {
		return found, err
	}
	literal, err := rootfs.ResolveParent(t, "/etc/os-release")
	if err == nil {
		_, err = t.Lstat(literal)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// checkRoot demands the os-release file of the whole tree.
func (t *Target) checkRoot() error {
	for _, name := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		if found, err := rootfs.Exists(t.tree, name); found || err != nil {
			return err
		}
	}
	return &Error{
		Fact:   fmt.Sprintf("no Linux root file system: os-release of %s is a link that leads nowhere", t.Root().name()),
		Advice: "a root is an ext2, ext3 or ext4 volume with /etc and an os-release file; of a /usr of its own the root's fstab or the partition type must tell",
	}
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
	t.Warnings = parts.warnings
	for _, p := range parts.partitions {
		v := Volume{Number: p.number, Type: p.kind, Label: p.label, PartUUID: p.uuid, Offset: p.start, Size: p.size, hidden: p.hidden}
		c, err := look(io.NewSectionReader(t.file, p.start, p.size), &v)
		if err != nil {
			return fmt.Errorf("cannot read %s: %w", v.name(), err)
		}
		t.Volumes, t.contents = append(t.Volumes, v), append(t.contents, c)
		if opened := t.indexes(func(i int) bool { return t.contents[i].readable || t.contents[i].err != nil }); len(opened) > maxFileSystems {
			return &Error{Fact: fmt.Sprintf("more than %d file systems", maxFileSystems), Advice: "look at the table with sgdisk -v; it was made to be slow to read"}
		}
	}
	if err := t.findRoot(opts.Root); err != nil {
		return err
	}
	t.findRoles()
	if err := t.findMounts(); err != nil {
		return err
	}
	tree, err := t.compose(t.openVolume)
	if err != nil {
		return err
	}
	t.tree = tree
	return t.checkRoot()
}

// maxFileSystems bounds the work on a table whose partitions lie over each other; no
// system's disk has as many.
const maxFileSystems = 64

// look says in v what a volume is, and looks into it if it is of a kind that we read.
// An error is one of reading the image; what is wrong inside is part of the content.
func look(r *io.SectionReader, v *Volume) (c content, err error) {
	switch v.FS = identify(r); v.FS {
	case "ext4":
		c = lookIntoExt(r, v)
	case "FAT":
		c = lookIntoFAT(r, v)
	default:
		v.UUID, v.FSLabel, err = identity(r, v.FS)
	}
	return c, err
}

func lookIntoExt(r *io.SectionReader, v *Volume) content {
	fsys, err := openExt(r)
	if err != nil {
		return content{err: err}
	}
	sb := fsys.Superblock()
	v.FS, v.UUID, v.FSLabel = extKind(sb.Features), formatUUID(sb.UUID), sb.Label
	linux, err := isLinuxRoot(fsys)
	if err != nil {
		return content{err: err}
	}
	c := content{readable: true, linux: linux, kernels: hasKernels(fsys, "/")}
	if linux {
		c.fstab, c.fstabErr = readFstab(fsys)
	}
	return c
}

// openExt reads a volume of the ext family as it will be when its journal is replayed,
// and checks that all of it is there. Where the journal cannot be read through it is the
// volume as it is, which then says that it needs recovery.
func openExt(r *io.SectionReader) (*ext4.FS, error) {
	fsys, err := ext4.OpenReplayed(r, r.Size())
	if err != nil {
		fsys, err = ext4.Open(r, r.Size())
	}
	if err != nil && !errors.Is(err, ext4.ErrUnsupported) {
		return nil, &Error{Fact: err.Error(), Advice: "check the file system with e2fsck -fn, and the image's checksum"}
	}
	return fsys, err
}

func lookIntoFAT(r *io.SectionReader, v *Volume) content {
	fsys, err := fat.Open(r, r.Size())
	if err != nil {
		return content{err: err}
	}
	volume := fsys.Volume()
	if v.UUID, v.FSLabel = volume.UUID(), volume.Label; v.FSLabel == "NO NAME" { // how DOS writes none
		v.FSLabel = ""
	}
	info, err := rootfs.Stat(fsys, "/EFI") // UEFI 2.10, section 13.3.1
	return content{readable: true, efi: err == nil && info.Mode.IsDir()}
}

// hasKernels looks for kernels in a directory. One that cannot be read shows none.
func hasKernels(t rootfs.Tree, dir string) bool {
	literal, err := rootfs.Resolve(t, dir)
	if err != nil {
		return false
	}
	entries, err := t.ReadDir(literal)
	return err == nil && slices.ContainsFunc(entries, func(e rootfs.Entry) bool { return strings.HasPrefix(e.Name, "vmlinuz-") })
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

func (v Volume) name() string {
	if v.Number == 0 {
		return "file system"
	}
	return fmt.Sprintf("partition %d", v.Number)
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

// Tree is the tree that the running system sees: the root, and in it the other volumes
// that can be read, where they are mounted. A boot volume that no mount is known of is
// shown too; see [Volume.Unmounted].
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

// NeedsRecovery says whether some journal holds changes that are not in their place
// yet. The tree shows them, unless it is stale; see [Target.CheckCurrent].
func (t *Target) NeedsRecovery() bool { return len(t.waiting()) > 0 }

// CheckCurrent refuses a target with a journal that waits and cannot be read through:
// the files of the tree may be out of date.
func (t *Target) CheckCurrent() error {
	for _, i := range t.waiting() {
		if t.opened[i].(*ext4.FS).NeedsRecovery() {
			return &Error{
				Fact:   fmt.Sprintf("%s: the journal of %s waits to be replayed, and is of a kind that cannot be read through: its files may be out of date", t.Path, t.Volumes[i].name()),
				Advice: "kerngate apply -o OUT replays it in the copy; or run e2fsck -E journal_only on a copy of the volume",
			}
		}
	}
	return nil
}

// Unchanged says whether what was read of a disk image is surely what it holds still: its
// size and times are those from before it was opened, and old enough that a write since would
// show in them. Of a block device or a directory they tell nothing.
func (t *Target) Unchanged() bool {
	now, err := os.Stat(t.Path)
	return t.Kind == Disk && !t.Device && t.begun.Sub(t.before.ModTime()) > coarsest &&
		err == nil && changed(now) == changed(t.before) && checkUnchanged(t.before, t.Path) == nil
}

// changed is when anything of a file was last changed, its other times too.
func changed(info fs.FileInfo) (at syscall.Timespec) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		at = st.Ctim
	}
	return at
}

// coarsest is the longest that the clock of a file system's times stands still: that of FAT
// counts two seconds.
const coarsest = 2 * time.Second

// waiting are the volumes of the tree whose journals wait to be replayed.
func (t *Target) waiting() []int {
	return t.indexes(func(i int) bool {
		fsys, ok := t.opened[i].(*ext4.FS)
		return ok && (fsys.NeedsRecovery() || fsys.Replayed())
	})
}

// CheckEditor says whether what Edit needs of this machine is there.
func (t *Target) CheckEditor() error {
	if t.Kind == Directory {
		return nil
	}
	return ext4.CheckPrograms()
}
