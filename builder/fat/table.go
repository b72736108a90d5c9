package fat

import (
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
)

// table is the active FAT, read a page at a time. Changed pages stay in memory
// until flush.
type table struct {
	*layout
	r     io.ReaderAt
	mu    sync.Mutex
	pages map[int64]*tablePageData
}

type tablePageData struct {
	bytes []byte
	dirty bool
}

func newTable(r io.ReaderAt, l *layout) *table {
	return &table{layout: l, r: r, pages: map[int64]*tablePageData{}}
}

// start is where a copy of the FAT begins.
func (t *table) start(copy int) int64 { return t.fatStart + int64(copy)*t.fatBytes }

// entryByte is where an entry begins in the active FAT.
func (t *table) entryByte(n uint32) int64 {
	return t.start(t.activeFAT) + int64(n)*int64(t.Bits)/8
}

// page gives the page that holds an entry, and the entry's place in it.
func (t *table) page(n uint32) (*tablePageData, int, error) {
	at := int64(n) * int64(t.Bits) / 8
	number, in := at/tablePage, int(at%tablePage)
	if p, ok := t.pages[number]; ok {
		return p, in, nil
	}
	if len(t.pages) >= maxTablePages {
		maps.DeleteFunc(t.pages, func(_ int64, p *tablePageData) bool { return !p.dirty })
	}
	p := &tablePageData{bytes: make([]byte, min(tablePage, t.fatBytes-number*tablePage))}
	if err := readFull(t.r, p.bytes, t.start(t.activeFAT)+number*tablePage); err != nil {
		return nil, 0, err
	}
	t.pages[number] = p
	return p, in, nil
}

// get gives an entry without the bits that are reserved in FAT32.
func (t *table) get(n uint32) (uint32, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, in, err := t.page(n)
	if err != nil {
		return 0, err
	}
	switch t.Bits {
	case 12:
		v := le16(p.bytes, in)
		if n%2 == 1 {
			return uint32(v >> 4), nil
		}
		return uint32(v & 0xFFF), nil
	case 16:
		return uint32(le16(p.bytes, in)), nil
	default:
		return le32(p.bytes, in) & 0x0FFFFFFF, nil
	}
}

// set changes an entry, in memory, and keeps the bits that are not its own.
func (t *table) set(n, value uint32) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, in, err := t.page(n)
	if err != nil {
		return err
	}
	p.dirty = true
	switch v := uint16(value); {
	case t.Bits == 12 && n%2 == 1:
		binary.LittleEndian.PutUint16(p.bytes[in:], le16(p.bytes, in)&0xF|v<<4)
	case t.Bits == 12:
		binary.LittleEndian.PutUint16(p.bytes[in:], le16(p.bytes, in)&0xF000|v&0xFFF)
	case t.Bits == 16:
		binary.LittleEndian.PutUint16(p.bytes[in:], v)
	default:
		binary.LittleEndian.PutUint32(p.bytes[in:], le32(p.bytes, in)&0xF0000000|value&0x0FFFFFFF)
	}
	return nil
}

// Marks in a FAT as FAT32 has them; the others have their low bits.
const (
	markFree = 0
	markBad  = 0x0FFFFFF7
	markEnd  = 0x0FFFFFFF // and seven values below it
)

func (t *table) mask() uint32 { return 1<<min(t.Bits, 28) - 1 }

// next follows a chain; end says that there is no next cluster.
func (t *table) next(n uint32) (next uint32, end bool, err error) {
	v, err := t.get(n)
	if err != nil {
		return 0, false, err
	}
	what := fmt.Sprintf("FAT entry %d", n)
	switch {
	case v > markBad&t.mask():
		return 0, true, nil
	case v == markBad&t.mask():
		return 0, false, corrupt(what, t.entryByte(n), "a chain leads to a bad cluster")
	case v == markFree:
		return 0, false, corrupt(what, t.entryByte(n), "a chain leads to a free cluster")
	case !t.isCluster(v):
		return 0, false, corrupt(what, t.entryByte(n), "next cluster is %d, want 2 to %d", v, t.Clusters+1)
	}
	return v, false, nil
}

// chain gives the clusters of a chain, and an error for more than limit.
func (t *table) chain(first uint32, limit int64) ([]uint32, error) {
	var list []uint32
	for n := first; ; {
		if int64(len(list)) == limit {
			return nil, corrupt(fmt.Sprintf("FAT entry %d", n), t.entryByte(n), "the chain from cluster %d has more than %d clusters", first, limit)
		}
		list = append(list, n)
		next, end, err := t.next(n)
		if err != nil || end {
			return list, err
		}
		n = next
	}
}

// free counts the free clusters and gives the first of them, 0 without one.
func (t *table) free() (count, first uint32, err error) {
	for n := uint32(2); t.isCluster(n); n++ {
		v, err := t.get(n)
		if err != nil {
			return 0, 0, err
		}
		if v != markFree {
			continue
		}
		if count++; first == 0 {
			first = n
		}
	}
	return count, first, nil
}

// checkCopies compares the other FATs with the active one.
func (t *table) checkCopies() error {
	if !t.mirrored {
		return nil
	}
	used := (int64(t.Clusters+2)*int64(t.Bits) + 7) / 8
	active, other := make([]byte, tablePage), make([]byte, tablePage)
	for at := int64(0); at < used; at += tablePage {
		n := min(tablePage, used-at)
		if err := readFull(t.r, active[:n], t.start(t.activeFAT)+at); err != nil {
			return err
		}
		for i := range t.fats {
			if err := readFull(t.r, other[:n], t.start(i)+at); err != nil {
				return err
			}
			for j := range n {
				if active[j] != other[j] {
					return corrupt(fmt.Sprintf("FAT %d", i+1), t.start(i)+at+j, "byte is %#x, FAT %d has %#x", other[j], t.activeFAT+1, active[j])
				}
			}
		}
	}
	return nil
}

// flush puts the changed pages into every FAT in use.
func (t *table) flush(o *overlay) error {
	for _, number := range slices.Sorted(maps.Keys(t.pages)) {
		p := t.pages[number]
		if !p.dirty {
			continue
		}
		for i := range t.fats {
			if !t.mirrored && i != t.activeFAT {
				continue
			}
			if err := o.write(slices.Clone(p.bytes), t.start(i)+number*tablePage); err != nil {
				return err
			}
		}
	}
	return nil
}
