package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// Edit carries edits out, in order, on the volume that starts at byte offset of
// the file image and has size bytes at most, and reads them back. An error that
// comes before the first write leaves the image as it was: [ErrNotFAT],
// [ErrNoSpace], [ErrUnsupported], a [CorruptError], or about an edit that cannot be
// done. After an error of the operating system while writing the image may hold part
// of the edits: throw it away.
//
// What FAT cannot hold is refused: symbolic links, extended attributes, owners other
// than root, the set-uid, set-gid and sticky bits, files of 4 GiB, times outside of
// 1980 to 2107. Times lose what is below two seconds. Of a new file's permission
// bits one thing is kept: without any write bit it gets the read-only attribute.
// What is replaced keeps its name as stored, its attributes and its creation time,
// and gets the archive attribute; of what is appended to, the clusters that stay keep
// their place, and are not held in memory. Directories have no permissions and, as
// parents of what is edited, keep their times.
func Edit(image string, offset, size int64, edits []rootfs.Edit) error {
	if err := edit(image, offset, size, edits); err != nil {
		return fmt.Errorf("cannot edit the FAT volume at byte %d: %w", offset, err)
	}
	return nil
}

func edit(image string, offset, size int64, edits []rootfs.Edit) error {
	in, err := os.Open(image)
	if err != nil {
		return err
	}
	defer in.Close()
	section, err := sectionOf(in, offset, size)
	if err != nil || len(edits) == 0 {
		return err
	}
	p, err := prepare(section, edits)
	if err != nil {
		return err
	}
	return p.write(image, offset)
}

// Prepared is a volume with edits that were made in memory, above the volume as it is,
// and confirmed there.
type Prepared struct {
	ed      *editor
	section *io.SectionReader
}

// Prepare makes edits, as [Edit] does, on the volume that starts at byte 0 of r and has
// size bytes at most, and writes nothing. What it refuses Edit refuses.
func Prepare(r io.ReaderAt, size int64, edits []rootfs.Edit) (*Prepared, error) {
	p, err := prepare(io.NewSectionReader(r, 0, size), edits)
	if err != nil {
		return nil, fmt.Errorf("cannot edit the FAT volume: %w", err)
	}
	return p, nil
}

func prepare(section *io.SectionReader, edits []rootfs.Edit) (*Prepared, error) {
	ed, err := newEditor(section)
	if err != nil {
		return nil, err
	}
	for _, e := range edits {
		if err := ed.apply(e); err != nil {
			return nil, fmt.Errorf("cannot %s %s: %w", e.Op, e.Path, err)
		}
	}
	if err := ed.finish(); err != nil {
		return nil, err
	}
	return &Prepared{ed, section}, ed.confirm(ed.over)
}

// ReadAt implements [io.ReaderAt]: it reads the volume as it will be.
func (p *Prepared) ReadAt(b []byte, off int64) (int, error) { return p.ed.over.ReadAt(b, off) }

// Changes calls do for every piece of the volume that is to be written, in order, with
// its place and length in bytes. Its bytes may be those that are there.
func (p *Prepared) Changes(do func(offset, length int64)) { p.ed.over.each(do) }

// Write carries the edits out on the volume, which must be as it was when they were
// prepared and begins at byte offset of the file image, and reads them back.
func (p *Prepared) Write(image string, offset int64) error {
	if err := p.write(image, offset); err != nil {
		return fmt.Errorf("cannot edit the FAT volume at byte %d: %w", offset, err)
	}
	return nil
}

func (p *Prepared) write(image string, offset int64) error {
	if err := p.ed.write(image, offset); err != nil {
		return err
	}
	return p.ed.confirm(p.section)
}

func sectionOf(in *os.File, offset, size int64) (*io.SectionReader, error) {
	end, err := in.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	if offset < 0 || size < 0 || offset > end || size > end-offset {
		return nil, fmt.Errorf("bytes %d to %d are asked for, the image has %d", offset, offset+size, end)
	}
	return io.NewSectionReader(in, offset, size), nil
}

// editor changes a volume in memory.
type editor struct {
	*FS
	before *FS // the volume as it is
	over   *overlay
	free   uint32          // clusters
	scan   uint32          // no cluster below it is free
	done   map[string]done // by folded name
}

// done is the last edit of a name.
type done struct {
	name  string // as stored
	edit  rootfs.Edit
	holds wanted // of a file
}

func newEditor(section *io.SectionReader) (*editor, error) {
	f, err := Open(section, section.Size())
	if err != nil {
		return nil, err
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	before, err := Open(section, section.Size())
	if err != nil {
		return nil, err
	}
	ed := &editor{FS: f, before: before, over: newOverlay(section, f.SectorSize), done: map[string]done{}}
	f.r = ed.over // the FAT's own pages show its changes already
	ed.free, ed.scan, err = f.fat.free()
	return ed, err
}

func (ed *editor) apply(e rootfs.Edit) error {
	if err := checkEdit(&e); err != nil {
		return err
	}
	if e.Path == "/" {
		if e.Op == rootfs.Mkdir {
			return nil // the root has no entry, so no attributes
		}
		return errors.New("it is the root directory")
	}
	parent, canonical, err := ed.openParent(path.Dir(e.Path))
	if err != nil {
		return err
	}
	name := path.Base(e.Path)
	old, err := onlyMatch(parent, name)
	if err != nil {
		return err
	}
	if old != nil {
		name = old.name
	}
	stored := path.Join(canonical, name)
	var holds wanted
	switch e.Op {
	case rootfs.WriteFile:
		holds.data = e.Data
		err = ed.writeFile(parent, old, name, e)
	case rootfs.Append:
		if holds, err = ed.grown(stored, old, e); err == nil {
			err = ed.writeFile(parent, old, name, e)
		}
	case rootfs.Mkdir:
		err = ed.mkdir(parent, old, name, e)
	default:
		err = ed.remove(parent, old)
	}
	ed.forget(parent.start)
	ed.done[fold(stored)] = done{name: stored, edit: e, holds: holds}
	return err
}

// checkEdit refuses what FAT cannot hold, and cuts the time down to what it can.
func checkEdit(e *rootfs.Edit) error {
	if err := checkPath(e.Path); err != nil {
		return err
	}
	switch e.Op {
	case rootfs.Remove:
		return nil
	case rootfs.WriteFile, rootfs.Mkdir:
		e.Keep = 0
	case rootfs.Append:
	case rootfs.Symlink:
		return &UnsupportedError{What: "symbolic links"}
	default:
		return fmt.Errorf("operation is %q, want write, append, mkdir or remove", e.Op)
	}
	switch {
	case e.UID != 0 || e.GID != 0:
		return &UnsupportedError{What: fmt.Sprintf("owner %d:%d", e.UID, e.GID)}
	case e.Mode&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0:
		return &UnsupportedError{What: fmt.Sprintf("mode %v", e.Mode)}
	case len(e.Xattrs) > 0:
		return &UnsupportedError{What: "extended attributes"}
	case e.Keep > maxFileBytes-int64(len(e.Data)):
		return &UnsupportedError{What: fmt.Sprintf("a file of %d bytes", uint64(e.Keep)+uint64(len(e.Data)))}
	}
	var err error
	e.ModTime, err = storable(e.ModTime)
	return err
}

// openParent gives a directory and its name as stored.
func (ed *editor) openParent(name string) (*directory, string, error) {
	d, e, err := ed.lookup("open parent", name)
	if err != nil {
		return nil, "", err
	}
	if e == nil {
		return d, "/", nil
	}
	if !e.isDir() {
		return nil, "", &fs.PathError{Op: "open parent", Path: name, Err: syscall.ENOTDIR}
	}
	_, above, err := ed.openParent(path.Dir(name))
	if err != nil {
		return nil, "", err
	}
	d, err = ed.child(d.start, e)
	return d, path.Join(above, e.name), err
}

// onlyMatch finds what a name holds. Two files may stand for one name where
// another system took the case of letters seriously: then it is unclear which one is
// meant.
func onlyMatch(d *directory, name string) (*entry, error) {
	for i, e := range d.entries {
		again := func(o *entry) bool { return fold(o.name) == fold(name) }
		if again(e) && slices.ContainsFunc(d.entries[i+1:], again) {
			return nil, fmt.Errorf("name stands for two files that differ in case only: %w", fs.ErrExist)
		}
	}
	e, _ := d.find(name)
	return e, nil
}

// grown says what a file will hold that an Append changes.
func (ed *editor) grown(stored string, old *entry, e rootfs.Edit) (wanted, error) {
	switch {
	case old == nil:
		return wanted{}, fs.ErrNotExist
	case old.isDir():
		return wanted{}, fmt.Errorf("it is %s, want %s", rootfs.TypeName(fs.ModeDir), rootfs.TypeName(0))
	}
	if err := rootfs.CheckKeep(e.Keep, old.size()); err != nil {
		return wanted{}, err
	}
	if d, edited := ed.done[fold(stored)]; edited {
		return wanted{d.holds, e.Keep, e.Data}, nil
	}
	was, err := ed.before.Open(stored)
	return wanted{was, e.Keep, e.Data}, err
}

// writeFile writes what a file shall hold from byte Keep on.
func (ed *editor) writeFile(parent *directory, old *entry, name string, e rootfs.Edit) error {
	if old != nil && old.isDir() {
		return fmt.Errorf("name holds a directory: %w", fs.ErrExist)
	}
	var raw [slotBytes]byte
	var clusters []uint32
	if old != nil {
		raw = old.raw
		var err error
		if clusters, err = ed.clustersOf(old); err != nil {
			return err
		}
	} else {
		raw = newSlot(e)
	}
	size := e.Keep + int64(len(e.Data))
	clusters, err := ed.resize(clusters, ed.clustersFor(size))
	if err != nil {
		return err
	}
	if err := ed.fill(clusters, e.Keep, e.Data); err != nil {
		return err
	}
	raw[11] |= attrArchive
	ed.setStart(raw[:], clusters)
	setTimes(raw[:], e)
	binary.LittleEndian.PutUint32(raw[28:], uint32(size))
	if old != nil {
		return ed.writeSlot(parent, old.last, raw)
	}
	return ed.insert(parent, name, raw)
}

func (ed *editor) mkdir(parent *directory, old *entry, name string, e rootfs.Edit) error {
	if old != nil {
		if !old.isDir() {
			return fmt.Errorf("it is %s: %w", rootfs.TypeName(0), fs.ErrExist)
		}
		setTimes(old.raw[:], e)
		return ed.writeSlot(parent, old.last, old.raw)
	}
	clusters, err := ed.resize(nil, 1)
	if err != nil {
		return err
	}
	raw := newSlot(e)
	raw[11] = attrDirectory
	ed.setStart(raw[:], clusters)
	dot, up := raw, raw
	copy(dot[:], ".          ")
	copy(up[:], "..         ")
	ed.setStart(up[:], []uint32{parent.start})
	if err := ed.fill(clusters, 0, append(dot[:], up[:]...)); err != nil {
		return err
	}
	return ed.insert(parent, name, raw)
}

func (ed *editor) remove(parent *directory, old *entry) error {
	if old == nil {
		return fs.ErrNotExist
	}
	if old.isDir() {
		d, err := ed.child(parent.start, old)
		if err != nil {
			return err
		}
		if len(d.entries) > 0 {
			return fmt.Errorf("it holds %s: %w", d.entries[0].name, syscall.ENOTEMPTY)
		}
		ed.forget(old.cluster)
	}
	clusters, err := ed.clustersOf(old)
	if err != nil {
		return err
	}
	if _, err := ed.resize(clusters, 0); err != nil {
		return err
	}
	for i := old.first; i <= old.last; i++ {
		slot := [slotBytes]byte(parent.raw[i*slotBytes:])
		slot[0] = deletedSlot
		if err := ed.writeSlot(parent, i, slot); err != nil {
			return err
		}
	}
	return nil
}

// forget drops a directory that changed from the cache.
func (ed *editor) forget(start uint32) {
	ed.mu.Lock()
	defer ed.mu.Unlock()
	if d, ok := ed.dirs[start]; ok {
		ed.cached -= len(d.raw) / slotBytes
		delete(ed.dirs, start)
	}
}

// newSlot is the entry of a new file, without its name.
func newSlot(e rootfs.Edit) (raw [slotBytes]byte) {
	if e.Mode&0o222 == 0 {
		raw[11] = attrReadOnly
	}
	date, clock := encodeTime(e.ModTime)
	binary.LittleEndian.PutUint16(raw[14:], clock)
	binary.LittleEndian.PutUint16(raw[16:], date)
	setTimes(raw[:], e)
	return raw
}

// setTimes sets the time of the last write and the day of the last access.
func setTimes(raw []byte, e rootfs.Edit) {
	date, clock := encodeTime(e.ModTime)
	binary.LittleEndian.PutUint16(raw[18:], date)
	binary.LittleEndian.PutUint16(raw[22:], clock)
	binary.LittleEndian.PutUint16(raw[24:], date)
}

// setStart enters the first cluster, 0 without one or for the root in "..".
func (ed *editor) setStart(raw []byte, clusters []uint32) {
	var start uint32
	if len(clusters) > 0 {
		start = clusters[0]
	}
	binary.LittleEndian.PutUint16(raw[26:], uint16(start))
	if ed.Bits == 32 {
		binary.LittleEndian.PutUint16(raw[20:], uint16(start>>16))
	}
}
