package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/u-root/u-root/pkg/cpio"
)

// ConfigPath is where the modprobe.d file of a block lies in an image.
const ConfigPath = "/etc/modprobe.d/00-kerngate.conf"

// markerPath is the file that tells our archive from others.
const markerPath = "/usr/lib/kerngate/initramfs"

// markerText is the content of the marker. The number is where the image ends without
// our archive.
const markerText = "kerngate initramfs 1\nkeep %d\n"

// marker is our archive in an image.
type marker struct {
	keep    int64
	segment int
}

// Wanted is what a block puts into an image.
type Wanted struct {
	Config  []byte    // content of ConfigPath, for kmod and for busybox
	Modules []string  // names, with underscores, that must not be loadable from the image
	ModTime time.Time // of what is written; seconds from 1970 to 2106
}

// findMarker looks for our archive. It must be the last: what a later one adds or
// takes away is nothing that we know.
func (img *Image) findMarker() error {
	for _, e := range img.Entries {
		if e.kind() != modeRegular || !strings.HasSuffix(e.clean(), strings.TrimPrefix(markerPath, "/usr")) || e.Size > maxMarker {
			continue
		}
		var keep int64
		if n, err := fmt.Sscanf(string(e.data), markerText, &keep); n != 1 || err != nil {
			continue
		}
		if err := img.checkMarker(keep, e.segment); err != nil {
			return fmt.Errorf("initramfs: marker of kerngate in the segment at byte %#x: %w", img.Segments[e.segment].Offset, err)
		}
		img.ours = &marker{keep, e.segment}
	}
	return nil
}

func (img *Image) checkMarker(keep int64, segment int) error {
	s := img.Segments[segment]
	switch {
	case img.ours != nil:
		return errors.New("there is another before it")
	case segment == 0 || s.Codec != None:
		return errors.New("it is no archive appended to an image")
	case segment != len(img.Segments)-1:
		return errors.New("another archive follows it")
	case keep < img.Segments[segment-1].end() || paddedStart(keep) != s.Offset:
		return fmt.Errorf("it says that the image ends at byte %#x, which it does not", keep)
	}
	return nil
}

func (s Segment) end() int64 { return s.Offset + s.Size }

// paddedStart is where our archive begins behind an image of keep bytes.
func paddedStart(keep int64) int64 { return (keep + leadZeros + alignment - 1) / alignment * alignment }

// Blocked says whether an archive of ours is at the end of the image.
func (img *Image) Blocked() bool { return img.ours != nil }

// base is the view of the image without our archive, and where it ends.
func (img *Image) base() (*Tree, int64, error) {
	if img.ours == nil {
		return img.Tree(), img.size, nil
	}
	n := slices.IndexFunc(img.Entries, func(e *Entry) bool { return e.segment == img.ours.segment })
	v, err := merge(img.Entries[:n])
	return &Tree{img, v}, img.ours.keep, err
}

// Unblock says how many bytes of the image stay when our archive is taken off; found
// is false where there is none, and keep the whole size.
func Unblock(img *Image) (keep int64, found bool) {
	if img.ours == nil {
		return img.size, false
	}
	return img.ours.keep, true
}

// Block gives the new end of an image: its first keep bytes stay and data follows
// them. An archive of ours that is there is replaced; the same image and the same
// wanted give the same bytes. What cannot be done wraps [ErrRefused].
func Block(img *Image, w Wanted) (keep int64, data []byte, err error) {
	t, keep, err := img.base()
	if err != nil {
		return 0, nil, err
	}
	a := &addition{tree: t, modTime: uint64(w.ModTime.Unix()), made: map[string]bool{}}
	if err := a.file(markerPath, fmt.Appendf(nil, markerText, keep)); err != nil {
		return 0, nil, err
	}
	if err := a.file(ConfigPath, w.Config); err != nil {
		return 0, nil, err
	}
	paths, err := t.toEmpty(w.Modules)
	if err != nil {
		return 0, nil, err
	}
	for _, name := range paths {
		if err := a.file(name, nil); err != nil {
			return 0, nil, err
		}
	}
	data, err = a.bytes(keep)
	if err != nil {
		return 0, nil, err
	}
	return keep, data, checkResult(img, keep, data, w)
}

// toEmpty lists the paths of all files of the modules, sorted.
func (t *Tree) toEmpty(modules []string) ([]string, error) {
	names := map[string]bool{}
	for _, m := range modules {
		names[strings.ReplaceAll(m, "-", "_")] = true
	}
	var out []string
	emptied, others := map[*node]string{}, map[*node]string{}
	err := t.walk(func(name string, n *node) {
		module, ok := moduleName(path.Base(name))
		switch {
		case n.mode.IsDir():
		case ok && names[module]:
			out = append(out, name)
			emptied[n] = name
		default:
			others[n] = name
		}
	})
	if err != nil {
		return nil, err
	}
	// The kernel writes into a file that is there: all its names would be empty.
	for n, name := range emptied {
		if other, shared := others[n]; shared {
			return nil, refuse("%s is a hard link to %s, which would become empty too", name, other)
		}
	}
	slices.Sort(out)
	return out, nil
}

// addition collects the records of our archive.
type addition struct {
	tree    *Tree
	modTime uint64
	made    map[string]bool // directories
	records []cpio.Record
}

// file adds a file at the literal path that the kernel will come to, with the
// directories above it that are not there.
func (a *addition) file(name string, content []byte) error {
	literal, err := rootfs.ResolveParent(a.tree, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := a.parents(path.Dir(literal)); err != nil {
		return err
	}
	info, err := a.tree.Lstat(literal)
	if err == nil && info.Mode.IsDir() {
		return refuse("%s is a directory", literal)
	}
	a.add(cpio.StaticFile(strings.TrimPrefix(literal, "/"), string(content), 0o644))
	return nil
}

// parents adds directories from the root on. One that is there gets no record: where
// a link is in its place, that would put a directory instead.
func (a *addition) parents(dir string) error {
	if dir == "/" || a.made[dir] {
		return nil
	}
	if err := a.parents(path.Dir(dir)); err != nil {
		return err
	}
	info, err := a.tree.Lstat(dir)
	switch {
	case err == nil && info.Mode.IsDir():
	case err == nil:
		return refuse("%s is no directory", dir)
	case errors.Is(err, fs.ErrNotExist):
		a.add(cpio.Directory(strings.TrimPrefix(dir, "/"), 0o755))
	default:
		return err
	}
	a.made[dir] = true
	return nil
}

func (a *addition) add(r cpio.Record) {
	r.Ino = uint64(len(a.records) + 1)
	r.NLink = 1
	r.MTime = a.modTime
	a.records = append(a.records, r)
}

// bytes writes the archive with the zeros before and behind it.
func (a *addition) bytes(keep int64) ([]byte, error) {
	start := paddedStart(keep)
	b := bytes.NewBuffer(make([]byte, start-keep))
	w := cpio.Newc.Writer(b)
	if err := cpio.WriteRecords(w, a.records); err != nil {
		return nil, fmt.Errorf("cannot write a cpio archive: %w", err)
	}
	if err := cpio.WriteTrailer(w); err != nil {
		return nil, fmt.Errorf("cannot write a cpio archive: %w", err)
	}
	end := keep + int64(b.Len())
	b.Write(make([]byte, -end&(alignment-1)))
	return b.Bytes(), nil
}

// Appended is an image with its end replaced: keep bytes of r, then data.
func Appended(r io.ReaderAt, keep int64, data []byte) (whole io.ReaderAt, size int64) {
	return &appended{r, keep, data}, keep + int64(len(data))
}

type appended struct {
	r    io.ReaderAt
	keep int64
	data []byte
}

func (a *appended) ReadAt(p []byte, at int64) (int, error) {
	if at >= a.keep {
		return bytes.NewReader(a.data).ReadAt(p, at-a.keep)
	}
	head := p[:min(int64(len(p)), a.keep-at)]
	n, err := a.r.ReadAt(head, at)
	if n < len(head) || n == len(p) {
		return n, err
	}
	more, err := bytes.NewReader(a.data).ReadAt(p[n:], 0)
	return n + more, err
}

// checkResult reads what was made, but not the image before it once more.
func checkResult(img *Image, keep int64, data []byte, w Wanted) error {
	whole, size := Appended(img.r, keep, data)
	entries, segments, err := scan(whole, keep, size)
	if err != nil {
		return fmt.Errorf("cannot read the new archive back: %w", err)
	}
	all := Image{r: whole, size: size}
	for _, s := range img.Segments {
		if s.Offset < keep {
			all.Segments = append(all.Segments, s)
		}
	}
	for _, e := range img.Entries {
		if e.segment < len(all.Segments) {
			all.Entries = append(all.Entries, e)
		}
	}
	for _, e := range entries {
		e.segment, e.archive = len(all.Segments), len(img.Entries)
		all.Entries = append(all.Entries, e)
	}
	all.Segments = append(all.Segments, segments...)
	if all.view, err = merge(all.Entries); err != nil {
		return err
	}
	if err := all.findMarker(); err != nil {
		return err
	}
	return Check(&all, w)
}

// Check says whether an image has what a block would put into it: our archive is the
// last, the modprobe.d file is as wanted, and no wanted module can be loaded.
func Check(img *Image, w Wanted) error {
	if img.ours == nil {
		return errors.New("initramfs: no archive of kerngate is at its end")
	}
	t := img.Tree()
	config, err := rootfs.ReadFile(t, ConfigPath, int64(len(w.Config)))
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	if !bytes.Equal(config, w.Config) {
		return fmt.Errorf("initramfs: %s is not as wanted", ConfigPath)
	}
	paths, err := t.toEmpty(w.Modules)
	if err != nil {
		return err
	}
	for _, name := range paths {
		if n := t.sizeOf(name); n > 0 {
			return fmt.Errorf("initramfs: module file %s has %d bytes, want none", name, n)
		}
	}
	return nil
}
