package ext4

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// run is a stretch of a file's blocks that lie side by side, or a hole.
type run struct {
	first uint64 // logical block
	count uint64
	phys  uint64 // 0 for a hole or an unwritten extent
}

// node is a block of a file's mapping tree: an extent node or an indirect block.
type node struct {
	block uint64
	data  []byte
}

// file reads one inode's content. Its mapping tree is walked for every run, and
// the last node of every level is kept, so that reading in order reads each node
// once.
type file struct {
	fs     *FS
	inode  *inode
	inline []byte // content, for inline data

	mu   sync.Mutex
	path [maxExtentDepth + 1]node
}

func (f *FS) content(n *inode) (*file, error) {
	c := &file{fs: f, inode: n}
	if n.flags&flagEncrypt != 0 {
		return nil, &UnsupportedError{Features: []string{fmt.Sprintf("encrypt (inode %d)", n.number)}, Action: "read"}
	}
	if n.flags&flagInlineData == 0 {
		return c, nil
	}
	tail, err := f.inlineTail(n)
	if err != nil {
		return nil, err
	}
	c.inline = append(append([]byte{}, n.block()...), tail...)
	if n.size > int64(len(c.inline)) {
		return nil, n.corrupt("size is %d bytes, its inline data has %d", n.size, len(c.inline))
	}
	c.inline = c.inline[:n.size]
	return c, nil
}

// Size gives the length in bytes.
func (c *file) Size() int64 { return c.inode.size }

// Close does nothing: the image belongs to the caller of Open.
func (c *file) Close() error { return nil }

// ReadAt reads holes and unwritten extents as zeros.
func (c *file) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("ext4: offset is %d, want at least 0", off)
	}
	if off >= c.inode.size {
		return 0, io.EOF
	}
	var atEnd error
	if rest := c.inode.size - off; int64(len(p)) > rest {
		p, atEnd = p[:rest], io.EOF
	}
	if c.inline != nil {
		return copy(p, c.inline[off:]), atEnd
	}
	done, bs := 0, c.fs.sb.BlockSize
	for done < len(p) {
		at := off + int64(done)
		r, err := c.run(uint64(at / bs))
		if err != nil {
			return done, fmt.Errorf("cannot map byte %d of inode %d: %w", at, c.inode.number, err)
		}
		part := p[done:]
		if avail := (int64(r.first+r.count) * bs) - at; int64(len(part)) > avail {
			part = part[:avail]
		}
		if r.phys == 0 {
			clear(part)
		} else if err := c.fs.readAt(part, int64(r.phys)*bs+at-int64(r.first)*bs); err != nil {
			return done, fmt.Errorf("cannot read byte %d of inode %d: %w", at, c.inode.number, err)
		}
		done += len(part)
	}
	return done, atEnd
}

// run gives the stretch that holds a logical block; it has at least one block.
func (c *file) run(logical uint64) (run, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inode.flags&flagExtents != 0 {
		return c.extentRun(logical)
	}
	return c.mapRun(logical)
}

// load reads a node of the mapping tree, unless it is the one kept of its level.
func (c *file) load(level int, block uint64, check func([]byte) error) ([]byte, error) {
	if kept := c.path[level]; kept.data != nil && kept.block == block {
		return kept.data, nil
	}
	data := make([]byte, c.fs.sb.BlockSize)
	if err := c.fs.readBlock(data, block); err != nil {
		return nil, err
	}
	if check != nil {
		if err := check(data); err != nil {
			return nil, err
		}
	}
	c.path[level] = node{block, data}
	return data, nil
}

// The block map of ext2 and ext3: twelve pointers, then one each to blocks of
// pointers one, two and three levels deep.
const directBlocks = 12

func (c *file) mapRun(logical uint64) (run, error) {
	perBlock := uint64(c.fs.sb.BlockSize / 4)
	if logical < directBlocks {
		return c.pointerRun(c.inode.block()[:directBlocks*4], logical, logical, 1)
	}
	index, span := logical-directBlocks, perBlock
	for level := 1; level <= 3; level++ {
		if index < span {
			slot := c.inode.block()[(directBlocks+level-1)*4:][:4]
			return c.indirectRun(slot, logical, index, level, span)
		}
		index -= span
		span *= perBlock
	}
	return run{}, c.inode.corrupt("logical block %d is beyond its block map", logical)
}

// indirectRun descends level blocks of pointers; slot holds the pointer to the
// topmost, which covers span blocks, of which index is wanted.
func (c *file) indirectRun(slot []byte, logical, index uint64, level int, span uint64) (run, error) {
	perBlock := uint64(c.fs.sb.BlockSize / 4)
	for {
		pointer := uint64(binary.LittleEndian.Uint32(slot))
		if pointer == 0 {
			return run{first: logical, count: span - index}, nil
		}
		if err := c.checkBlocks(pointer, 1); err != nil {
			return run{}, err
		}
		data, err := c.load(level, pointer, nil)
		if err != nil {
			return run{}, err
		}
		if level == 1 {
			return c.pointerRun(data, index, logical, 1)
		}
		level--
		span /= perBlock
		slot = data[index/span*4:][:4]
		index %= span
	}
}

// pointerRun joins neighbours in a block of pointers to data.
func (c *file) pointerRun(pointers []byte, index, logical, count uint64) (run, error) {
	at := func(i uint64) uint64 { return uint64(binary.LittleEndian.Uint32(pointers[i*4:])) }
	first := at(index)
	for next := index + 1; next < uint64(len(pointers)/4); next++ {
		if got := at(next); (first == 0 && got != 0) || (first != 0 && got != first+count) {
			break
		}
		count++
	}
	if first != 0 {
		if err := c.checkBlocks(first, count); err != nil {
			return run{}, err
		}
	}
	return run{logical, count, first}, nil
}

func (c *file) checkBlocks(first, count uint64) error {
	if sb := c.fs.sb; first <= sb.firstDataBlock || first >= sb.Blocks || count > sb.Blocks-first {
		return c.inode.corrupt("blocks %d to %d lie outside the file system's %d", first, first+count-1, sb.Blocks)
	}
	return nil
}

// Extent trees: a header and entries of twelve bytes each, in i_block and in
// blocks of their own.
const (
	extentMagic     = 0xF30A
	extentSize      = 12
	extentInitMax   = 1 << 15 // longer lengths mark unwritten extents
	extentHoleLimit = 1 << 32 // logical blocks are 32 bits wide
)

func (c *file) extentRun(logical uint64) (run, error) {
	data, depth := c.inode.block(), -1
	first, end := uint64(0), uint64(extentHoleLimit) // the range that data covers
	if logical >= end {
		return run{}, c.inode.corrupt("logical block %d is beyond 2^32", logical)
	}
	for {
		entries, found, err := c.extentHeader(data, depth)
		if err != nil {
			return run{}, err
		}
		depth = found
		i := lastNotAfter(entries, logical)
		if depth == 0 || i < 0 {
			// Before the first entry, of an index too, lies a hole.
			return c.leafRun(entries, i, logical, end)
		}
		if next := (i + 1) * extentSize; next < len(entries) {
			end = min(end, extentStart(entries, i+1))
		}
		start := extentStart(entries, i)
		if start < first || start >= end {
			return run{}, c.inode.corrupt("extent index at logical block %d is out of order", start)
		}
		first = start
		entry := entries[i*extentSize:]
		block := uint64(binary.LittleEndian.Uint32(entry[4:])) | uint64(binary.LittleEndian.Uint16(entry[8:]))<<32
		if err := c.checkBlocks(block, 1); err != nil {
			return run{}, err
		}
		if data, err = c.load(depth, block, func(b []byte) error { return c.checkExtentSum(b, block) }); err != nil {
			return run{}, err
		}
	}
}

// extentHeader checks a node's header against its parent's depth, -1 for the
// root, and gives its entries and depth.
func (c *file) extentHeader(data []byte, parent int) ([]byte, int, error) {
	magic, count := binary.LittleEndian.Uint16(data), int(binary.LittleEndian.Uint16(data[2:]))
	limit, depth := int(binary.LittleEndian.Uint16(data[4:])), int(binary.LittleEndian.Uint16(data[6:]))
	switch room := len(data)/extentSize - 1; {
	case magic != extentMagic:
		return nil, 0, c.inode.corrupt("extent header magic is %04x, want %04x", magic, extentMagic)
	case limit > room || count > limit:
		return nil, 0, c.inode.corrupt("extent header counts %d of %d entries, there is room for %d", count, limit, room)
	case parent < 0 && depth > maxExtentDepth:
		return nil, 0, c.inode.corrupt("extent tree depth is %d, want at most %d", depth, maxExtentDepth)
	case parent >= 0 && depth != parent-1:
		return nil, 0, c.inode.corrupt("extent block depth is %d, want %d", depth, parent-1)
	}
	return data[extentSize : (count+1)*extentSize], depth, nil
}

func (c *file) checkExtentSum(data []byte, block uint64) error {
	if !c.fs.sb.hasMetadataCsum() {
		return nil
	}
	what := fmt.Sprintf("extent block of inode %d", c.inode.number)
	tail := (int(binary.LittleEndian.Uint16(data[4:])) + 1) * extentSize
	if tail+4 > len(data) {
		return &CorruptError{what, int64(block) * c.fs.sb.BlockSize, "no room for its checksum"}
	}
	if got, want := binary.LittleEndian.Uint32(data[tail:]), crc32c(c.inode.seed, data[:tail]); got != want {
		return &CorruptError{what, int64(block) * c.fs.sb.BlockSize, fmt.Sprintf("checksum is %08x, want %08x", got, want)}
	}
	return nil
}

func extentStart(entries []byte, i int) uint64 {
	return uint64(binary.LittleEndian.Uint32(entries[i*extentSize:]))
}

// lastNotAfter finds the last entry that starts at or before a logical block, or
// -1. Entries out of order make it find a wrong one; the callers check the range.
func lastNotAfter(entries []byte, logical uint64) int {
	low, high := 0, len(entries)/extentSize
	for low < high {
		if mid := (low + high) / 2; extentStart(entries, mid) <= logical {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low - 1
}

// leafRun reads entry i of a leaf that covers the blocks up to end, or the hole
// behind it, or with i at -1 the hole before the first entry.
func (c *file) leafRun(entries []byte, i int, logical, end uint64) (run, error) {
	if next := (i + 1) * extentSize; next < len(entries) {
		end = min(end, extentStart(entries, i+1))
	}
	if end <= logical {
		return run{}, c.inode.corrupt("extents around logical block %d are out of order", logical)
	}
	if i < 0 {
		return run{first: logical, count: end - logical}, nil
	}
	entry := entries[i*extentSize:]
	start, length := extentStart(entries, i), uint64(binary.LittleEndian.Uint16(entry[4:]))
	phys := uint64(binary.LittleEndian.Uint32(entry[8:])) | uint64(binary.LittleEndian.Uint16(entry[6:]))<<32
	unwritten := length > extentInitMax
	if unwritten {
		length -= extentInitMax
	}
	if length == 0 || start+length > end && logical < start+length {
		return run{}, c.inode.corrupt("extent of %d blocks at logical block %d meets the next at %d", length, start, end)
	}
	if err := c.checkBlocks(phys, length); err != nil {
		return run{}, err
	}
	switch {
	case logical >= start+length:
		return run{first: logical, count: end - logical}, nil
	case unwritten:
		return run{first: start, count: length}, nil
	}
	return run{start, length, phys}, nil
}
