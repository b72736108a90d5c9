package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// directory is one parsed directory.
type directory struct {
	parent  uint32
	entries map[string]dirent
	shared  map[uint32]bool // inodes that have more than one name here
}

type dirent struct {
	inode uint32
	kind  uint8 // file_type, 0 for unknown
}

// mode gives the type bits for a dirent's file_type.
func (e dirent) mode() (fs.FileMode, bool) {
	switch e.kind {
	case 1:
		return 0, true
	case 2:
		return fs.ModeDir, true
	case 3:
		return fs.ModeDevice | fs.ModeCharDevice, true
	case 4:
		return fs.ModeDevice, true
	case 5:
		return fs.ModeNamedPipe, true
	case 6:
		return fs.ModeSocket, true
	case 7:
		return fs.ModeSymlink, true
	}
	return 0, false
}

func (f *FS) readDirectory(n *inode) (*directory, error) {
	if n.flags&flagEncrypt != 0 {
		return nil, &UnsupportedError{Features: []string{fmt.Sprintf("encrypt (directory inode %d)", n.number)}, Action: "read"}
	}
	if limit := min(int64(maxDirBytes), int64(f.sb.Blocks)*f.sb.BlockSize); n.size > limit {
		return nil, n.corrupt("directory size is %d bytes, limit is %d", n.size, limit)
	}
	d := &directory{entries: map[string]dirent{}, shared: map[uint32]bool{}}
	names := map[uint32]int{}
	add := func(name []byte, e dirent) error {
		if _, twice := d.entries[string(name)]; twice {
			return n.corrupt("directory has the name %q twice", name)
		}
		if len(d.entries) == maxDirNames {
			return n.corrupt("directory has more than %d names", maxDirNames)
		}
		d.entries[string(name)] = e
		if names[e.inode]++; names[e.inode] > 1 {
			d.shared[e.inode] = true
		}
		return nil
	}
	if n.flags&flagInlineData != 0 {
		return d, f.readInlineDirectory(n, d, add)
	}
	return d, f.readDirBlocks(n, d, add)
}

type addName func(name []byte, e dirent) error

func (f *FS) readDirBlocks(n *inode, d *directory, add addName) error {
	bs := f.sb.BlockSize
	if n.size == 0 || n.size%bs != 0 {
		return n.corrupt("directory size is %d bytes, want a multiple of %d", n.size, bs)
	}
	c, err := f.content(n)
	if err != nil {
		return err
	}
	block := make([]byte, bs)
	for i := range uint64(n.size / bs) {
		r, err := c.run(i)
		if err != nil {
			return err
		}
		if r.phys == 0 {
			return n.corrupt("directory block %d is a hole", i)
		}
		at := int64(r.phys+i-r.first) * bs
		if _, err := c.ReadAt(block, int64(i)*bs); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		p := dirParser{fs: f, inode: n, data: block, at: at, add: add}
		if err := p.checkSum(); err != nil {
			return err
		}
		if i == 0 {
			if d.parent, err = p.dots(); err != nil {
				return err
			}
		}
		if err := p.parse(); err != nil {
			return err
		}
	}
	return nil
}

// readInlineDirectory reads names from i_block, behind the parent's number, and
// from the attribute system.data.
func (f *FS) readInlineDirectory(n *inode, d *directory, add addName) error {
	tail, err := f.inlineTail(n)
	if err != nil {
		return err
	}
	d.parent = binary.LittleEndian.Uint32(n.block())
	first := dirParser{fs: f, inode: n, data: n.block()[4:], at: n.at + 0x2C, add: add}
	if err := first.parse(); err != nil {
		return err
	}
	rest := dirParser{fs: f, inode: n, data: tail, at: n.at, add: add}
	return rest.parse()
}

// dirParser goes through the entries of one directory block.
type dirParser struct {
	fs    *FS
	inode *inode
	data  []byte
	at    int64 // byte of data in the file system
	pos   int
	add   addName
}

func (p *dirParser) corrupt(format string, args ...any) error {
	return &CorruptError{fmt.Sprintf("directory block of inode %d", p.inode.number), p.at + int64(p.pos), fmt.Sprintf(format, args...)}
}

const direntHeader = 8

// next reads the entry at pos and moves behind it.
func (p *dirParser) next() (name []byte, e dirent, err error) {
	rest := p.data[p.pos:]
	if len(rest) < direntHeader {
		return nil, e, p.corrupt("%d bytes are left, an entry has at least %d", len(rest), direntHeader)
	}
	e.inode = binary.LittleEndian.Uint32(rest)
	length, nameLen := p.recordLength(rest), int(rest[6])
	if p.fs.sb.incompat&incompatFiletype != 0 {
		e.kind = rest[7]
	} else {
		nameLen = int(binary.LittleEndian.Uint16(rest[6:]))
	}
	if e.inode == 0 && length <= len(rest) {
		nameLen = 0 // deleted: only the length counts
	}
	if length < direntHeader+nameLen || length%4 != 0 || length > len(rest) {
		return nil, e, p.corrupt("entry length is %d with a name of %d, %d bytes are left", length, nameLen, len(rest))
	}
	name = rest[direntHeader : direntHeader+nameLen]
	if e.inode != 0 {
		if err := p.checkName(name, e); err != nil {
			return nil, e, err
		}
	}
	p.pos += length
	return name, e, nil
}

// recordLength undoes the encoding for blocks of 64 KiB, whose whole length does
// not fit into 16 bits; ext4_rec_len_from_disk in fs/ext4/ext4.h.
func (p *dirParser) recordLength(entry []byte) int {
	length := int(binary.LittleEndian.Uint16(entry[4:]))
	if p.fs.sb.BlockSize < maxBlockSize {
		return length
	}
	if length == 0 || length == 0xFFFF {
		return maxBlockSize
	}
	return length&0xFFFC | length&3<<16
}

func (p *dirParser) checkName(name []byte, e dirent) error {
	switch {
	case len(name) == 0 || len(name) > maxNameLen || bytes.ContainsAny(name, "/\x00"):
		return p.corrupt("name %q is no file name", name)
	case e.inode > p.fs.sb.Inodes || e.inode < p.fs.sb.firstInode && e.inode != rootInode:
		return p.corrupt("name %q is for inode %d, want %d to %d", name, e.inode, p.fs.sb.firstInode, p.fs.sb.Inodes)
	}
	return nil
}

// dots reads "." and ".." from the front of the first block and gives the parent.
func (p *dirParser) dots() (uint32, error) {
	self, e, err := p.next()
	if err != nil {
		return 0, err
	}
	if string(self) != "." || e.inode != p.inode.number {
		return 0, p.corrupt("first entry is %q for inode %d, want \".\" for %d", self, e.inode, p.inode.number)
	}
	up, e, err := p.next()
	if err != nil {
		return 0, err
	}
	if string(up) != ".." || e.inode == 0 {
		return 0, p.corrupt("second entry is %q for inode %d, want \"..\"", up, e.inode)
	}
	return e.inode, nil
}

func (p *dirParser) parse() error {
	for p.pos < len(p.data) {
		name, e, err := p.next()
		if err != nil {
			return err
		}
		if e.inode == 0 {
			continue
		}
		if s := string(name); s == "." || s == ".." {
			return p.corrupt("name %q stands in the wrong place", name)
		}
		if err := p.add(name, e); err != nil {
			return err
		}
	}
	return nil
}

// checkSum verifies a leaf by its tail entry, and an index block by what follows
// its index; ext4_dirblock_csum_verify and ext4_dx_csum_verify in fs/ext4/namei.c.
// The tail is cut off the data afterwards.
func (p *dirParser) checkSum() error {
	if !p.fs.sb.hasMetadataCsum() {
		return nil
	}
	if count := p.indexOffset(); count != 0 {
		return p.checkIndexSum(count)
	}
	body := len(p.data) - 12
	tail := p.data[body:]
	if binary.LittleEndian.Uint32(tail) != 0 || binary.LittleEndian.Uint16(tail[4:]) != 12 || binary.LittleEndian.Uint16(tail[6:]) != 0xDE00 {
		return p.corrupt("no checksum at the end")
	}
	if got, want := binary.LittleEndian.Uint32(tail[8:]), crc32c(p.inode.seed, p.data[:body]); got != want {
		return p.corrupt("checksum is %08x, want %08x", got, want)
	}
	return nil
}

// indexOffset gives where the index of an htree block starts, 0 for a leaf.
func (p *dirParser) indexOffset() int {
	if p.inode.flags&flagIndex == 0 {
		return 0
	}
	switch length := p.recordLength(p.data); {
	case length == len(p.data) && binary.LittleEndian.Uint32(p.data) == 0:
		return 8 // a node: one empty entry over the whole block
	case length == 12 && p.recordLength(p.data[12:]) == len(p.data)-12 && len(p.data) > 0x20:
		if info := int(p.data[0x1D]); info == 8 {
			return 0x20 // the root: "..", then the root's information
		}
	}
	return 0
}

func (p *dirParser) checkIndexSum(offset int) error {
	limit := int(binary.LittleEndian.Uint16(p.data[offset:]))
	count := int(binary.LittleEndian.Uint16(p.data[offset+2:]))
	tail := offset + limit*8
	if count > limit || tail+8 > len(p.data) {
		return p.corrupt("index counts %d of %d entries in a block of %d bytes", count, limit, len(p.data))
	}
	want := crc32c(p.inode.seed, p.data[:offset+count*8], p.data[tail:tail+4], le32(0))
	if got := binary.LittleEndian.Uint32(p.data[tail+4:]); got != want {
		return p.corrupt("index checksum is %08x, want %08x", got, want)
	}
	return nil
}
