package fat

import (
	"fmt"
	"strings"
	"time"
)

// Attributes in byte 11 of an entry.
const (
	attrReadOnly  = 0x01
	attrVolume    = 0x08
	attrDirectory = 0x10
	attrArchive   = 0x20
	attrLong      = 0x0F // all of the lower four: a part of a long name
	attrMask      = 0x3F
)

// Bits of byte 12, as Windows NT sets them: this part of the short name is shown
// in lower case.
const (
	lowerBase = 0x08
	lowerExt  = 0x10
)

// entry is one file or directory in a directory.
type entry struct {
	name        string // the long one if there is one
	short       string
	first, last int // its entries in the directory, the last being the short one
	raw         [slotBytes]byte
	at          int64  // where the short one is in the volume
	cluster     uint32 // the first; 0 for none
}

func (e *entry) isDir() bool { return e.raw[11]&attrDirectory != 0 }

func (e *entry) size() int64 { return int64(le32(e.raw[:], 28)) }

func (e *entry) modTime() time.Time { return decodeTime(le16(e.raw[:], 24), le16(e.raw[:], 22)) }

// directory is a directory as it was read.
type directory struct {
	root     bool
	start    uint32   // first cluster, 0 for the root
	clusters []uint32 // empty for the fixed root of FAT12 and FAT16
	raw      []byte
	end      int // slots in use, deleted ones between them included
	entries  []*entry
	exact    map[string]*entry
	folded   map[string]*entry // by long name, then by alias
	dots     [2]uint32         // clusters in "." and ".."
	label    string
}

// byteAt is where a slot is in the volume.
func (f *FS) byteAt(d *directory, slot int) int64 {
	at := int64(slot) * slotBytes
	if len(d.clusters) == 0 {
		return f.rootStart + at
	}
	return f.clusterByte(d.clusters[at/f.ClusterSize]) + at%f.ClusterSize
}

// find looks a name up as VFAT does.
func (d *directory) find(name string) (*entry, bool) {
	if e, ok := d.exact[name]; ok {
		return e, true
	}
	e, ok := d.folded[fold(name)]
	return e, ok
}

// readDirectory reads the directory that starts at a cluster, 0 meaning the root.
func (f *FS) readDirectory(start uint32) (*directory, error) {
	d := &directory{root: start == 0, start: start, exact: map[string]*entry{}, folded: map[string]*entry{}}
	if d.root && f.Bits != 32 {
		d.raw = make([]byte, f.rootSlots*slotBytes)
		if err := f.readAt(d.raw, f.rootStart); err != nil {
			return nil, err
		}
		return d, f.parseDirectory(d)
	}
	if d.root {
		start = f.rootCluster
	}
	limit := max(maxDirSlots*slotBytes/f.ClusterSize, 1)
	var err error
	if d.clusters, err = f.fat.chain(start, limit); err != nil {
		return nil, err
	}
	d.raw = make([]byte, int64(len(d.clusters))*f.ClusterSize)
	for i, c := range d.clusters {
		at := int64(i) * f.ClusterSize
		if err := f.readAt(d.raw[at:at+f.ClusterSize], f.clusterByte(c)); err != nil {
			return nil, err
		}
	}
	return d, f.parseDirectory(d)
}

func (f *FS) parseDirectory(d *directory) error {
	var long longName
	starts := map[uint32]bool{}
	for d.end = 0; d.end < len(d.raw)/slotBytes; d.end++ {
		slot := d.end
		s := d.raw[slot*slotBytes:][:slotBytes]
		attr := s[11] & attrMask
		switch {
		case s[0] == freeSlots:
			return f.indexDirectory(d)
		case s[0] == deletedSlot:
		case attr&attrLong == attrLong:
			long.add(s, slot)
			continue
		case attr&attrVolume != 0:
			if d.root && d.label == "" {
				d.label = strings.TrimRight(decodeCodePage(s[:11]), " ")
			}
		case s[0] == '.':
			if err := f.parseDot(d, s, slot); err != nil {
				return err
			}
		default:
			e, err := f.parseEntry(d, s, slot, &long)
			if err != nil {
				return err
			}
			if e.cluster != 0 && starts[e.cluster] {
				return corrupt("directory entry", e.at, "%q starts at cluster %d, and so does another name", e.name, e.cluster)
			}
			starts[e.cluster] = true
			d.entries = append(d.entries, e)
		}
		long = longName{}
	}
	return f.indexDirectory(d)
}

// parseDot keeps what "." and ".." say; they are the first two entries of every
// directory but the root.
func (f *FS) parseDot(d *directory, s []byte, slot int) error {
	if d.root || slot > 1 || string(s[:11]) != [2]string{".          ", "..         "}[slot] || s[11]&attrDirectory == 0 {
		return corrupt("directory entry", f.byteAt(d, slot), "name %q is in the wrong place", s[:11])
	}
	d.dots[slot] = f.startCluster(s)
	return nil
}

// startCluster reads the first cluster from an entry; the upper half is another
// thing in FAT12 and FAT16.
func (f *FS) startCluster(s []byte) uint32 {
	c := uint32(le16(s, 26))
	if f.Bits == 32 {
		c |= uint32(le16(s, 20)) << 16
	}
	return c
}

func (f *FS) parseEntry(d *directory, s []byte, slot int, long *longName) (*entry, error) {
	e := &entry{first: slot, last: slot, raw: [slotBytes]byte(s), at: f.byteAt(d, slot), cluster: f.startCluster(s)}
	short := shortName(s[:11])
	name, ok := long.name(short)
	if short[0] == 0x05 { // stands for 0xE5, which marks deleted entries
		short[0] = 0xE5
	}
	e.short = short.String()
	if ok {
		e.name, e.first = name, long.slot
	} else {
		e.name = lowered(e.short, s[12])
	}
	if strings.ContainsAny(e.name, "/\x00") || e.name == "" || e.name == "." || e.name == ".." {
		return nil, corrupt("directory entry", e.at, "%q is no file name", e.name)
	}
	if e.cluster != 0 && !f.isCluster(e.cluster) {
		return nil, corrupt("directory entry", e.at, "first cluster of %q is %d, want 2 to %d", e.name, e.cluster, f.Clusters+1)
	}
	return e, nil
}

func lowered(short string, flags byte) string {
	base, ext, dotted := strings.Cut(short, ".")
	if flags&lowerBase != 0 {
		base = strings.ToLower(base)
	}
	if flags&lowerExt != 0 {
		ext = strings.ToLower(ext)
	}
	if dotted {
		return base + "." + ext
	}
	return base
}

// indexDirectory makes names findable: long ones come before aliases.
func (f *FS) indexDirectory(d *directory) error {
	for _, e := range d.entries {
		if _, twice := d.exact[e.name]; twice {
			return corrupt("directory entry", e.at, "name %q is there twice", e.name)
		}
		d.exact[e.name] = e
		if _, ok := d.folded[fold(e.name)]; !ok {
			d.folded[fold(e.name)] = e
		}
	}
	for _, e := range d.entries {
		if _, ok := d.folded[fold(e.short)]; !ok {
			d.folded[fold(e.short)] = e
		}
	}
	return nil
}

// directory reads a directory once; directories stay cached within limits.
func (f *FS) directory(start uint32) (*directory, error) {
	if f.isRoot(start) {
		start = 0
	}
	f.mu.Lock()
	d, ok := f.dirs[start]
	f.mu.Unlock()
	if ok {
		return d, nil
	}
	d, err := f.readDirectory(start)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if slots := len(d.raw) / slotBytes; f.cached+slots > maxCachedSlots {
		clear(f.dirs)
		f.cached = 0
	}
	if _, raced := f.dirs[start]; !raced {
		f.dirs[start] = d
		f.cached += len(d.raw) / slotBytes
	}
	return d, nil
}

// child opens a directory through its entry. It must name its parent: since no two
// entries of a directory start at one cluster, this makes the tree a tree.
func (f *FS) child(parent uint32, e *entry) (*directory, error) {
	if f.isRoot(e.cluster) {
		return nil, corrupt("directory entry", e.at, "%q leads to the root directory", e.name)
	}
	d, err := f.directory(e.cluster)
	if err != nil {
		return nil, fmt.Errorf("cannot read directory %q: %w", e.name, err)
	}
	up := d.dots[1] == parent || parent == 0 && f.isRoot(d.dots[1])
	if d.dots[0] != e.cluster || !up || d.end < 2 {
		return nil, corrupt("directory", f.byteAt(d, 0), "%q names clusters %d and %d as itself and its parent, want %d and %d",
			e.name, d.dots[0], d.dots[1], e.cluster, parent)
	}
	return d, nil
}
