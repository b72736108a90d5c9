package ext4

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"
)

// The journal's format, include/linux/jbd2.h; all numbers in it are big endian.
const (
	journalMagic     = 0xC03B3998
	journalHeader    = 12   // bytes: magic, type of block, sequence number
	journalSuperSize = 1024 // bytes of its superblock
	journalCRC32C    = 4    // JBD2_CRC32C_CHKSUM

	kindDescriptor = 1
	kindCommit     = 2
	kindSuperV1    = 3
	kindSuperV2    = 4
	kindRevoke     = 5

	journalChecksum   = 0x1 // JBD2_FEATURE_COMPAT_CHECKSUM
	journal64bit      = 0x2 // JBD2_FEATURE_INCOMPAT_*
	journalAsync      = 0x4
	journalCsumV2     = 0x8
	journalCsumV3     = 0x10
	journalFastCommit = 0x20
	journalKnown      = 0x1 | journal64bit | journalAsync | journalCsumV2 | journalCsumV3 | journalFastCommit

	tagEscaped  = 1 // JBD2_FLAG_*
	tagSameUUID = 2
	tagLast     = 8

	fastCommitBlocks = 256  // JBD2_DEFAULT_FAST_COMMIT_BLOCKS
	leastLogBlocks   = 1024 // JBD2_MIN_JOURNAL_BLOCKS
	fastCommitHead   = 9    // EXT4_FC_TAG_HEAD
)

// journal is the log of jbd2 in an inode of the file system.
type journal struct {
	fs   *FS
	file *file

	compat, incompat uint32
	first, last      uint64 // the log's blocks are first to last-1
	start            uint64 // 0: the log is empty
	sequence         uint32 // of the transaction at start
	fast             uint64 // where fast commits begin, 0 for nowhere
	seed             uint32 // of the checksums
}

// openJournal reads the journal's superblock; journal_load_superblock in
// fs/jbd2/journal.c.
func openJournal(f *FS) (*journal, error) {
	if f.sb.compat&compatHasJournal == 0 {
		return nil, corruptSuperblock("journal waits to be replayed, but there is none")
	}
	if f.sb.journalInode == 0 {
		return nil, &UnsupportedError{Features: []string{"journal on another device"}, Action: "replay"}
	}
	n, err := f.inode(f.sb.journalInode)
	if err != nil {
		return nil, err
	}
	if n.kind() != typeRegular || n.links == 0 {
		return nil, n.corrupt("journal's mode is %#o with %d links, want a regular file", n.mode, n.links)
	}
	c, err := f.content(n)
	if err != nil {
		return nil, err
	}
	j := &journal{fs: f, file: c}
	raw := make([]byte, f.sb.BlockSize)
	if _, err := j.read(raw, 0); err != nil {
		return nil, err
	}
	raw = raw[:journalSuperSize]
	if err := j.parseFeatures(raw); err != nil {
		return nil, err
	}
	return j, j.parseSizes(raw)
}

func (j *journal) corrupt(block uint64, format string, args ...any) error {
	e := &CorruptError{What: fmt.Sprintf("journal block %d", block), Detail: fmt.Sprintf(format, args...)}
	if phys, err := j.place(block); err == nil {
		e.Byte = int64(phys) * j.fs.sb.BlockSize
	}
	return e
}

func (j *journal) parseFeatures(raw []byte) error {
	be := binary.BigEndian
	if got := be.Uint32(raw); got != journalMagic {
		return j.corrupt(0, "magic is %08x, want %08x", got, uint32(journalMagic))
	}
	switch kind := be.Uint32(raw[4:]); kind {
	case kindSuperV1: // has no features
	case kindSuperV2:
		j.compat, j.incompat = be.Uint32(raw[0x24:]), be.Uint32(raw[0x28:])
		if unknown := j.incompat &^ journalKnown; unknown != 0 || be.Uint32(raw[0x2C:]) != 0 {
			return &UnsupportedError{Features: []string{fmt.Sprintf("journal features %#x, %#x", unknown, be.Uint32(raw[0x2C:]))}, Action: "replay"}
		}
	default:
		return j.corrupt(0, "type is %d, want %d or %d", kind, kindSuperV1, kindSuperV2)
	}
	if !j.hasSums() {
		return nil
	}
	if j.incompat&journalCsumV2 != 0 && j.incompat&journalCsumV3 != 0 || j.compat&journalChecksum != 0 {
		return j.corrupt(0, "features are %#x and %#x: more than one kind of checksum", j.compat, j.incompat)
	}
	if kind := raw[0x50]; kind != journalCRC32C {
		return j.corrupt(0, "checksum type is %d, want %d (crc32c)", kind, journalCRC32C)
	}
	got, want := be.Uint32(raw[0xFC:]), crc32c(^uint32(0), raw[:0xFC], le32(0), raw[0x100:])
	if got != want {
		return j.corrupt(0, "checksum is %08x, want %08x", got, want)
	}
	j.seed = crc32c(^uint32(0), raw[0x30:0x40])
	return nil
}

func (j *journal) parseSizes(raw []byte) error {
	be := binary.BigEndian
	bs := j.fs.sb.BlockSize
	if got := be.Uint32(raw[0x0C:]); int64(got) != bs {
		return j.corrupt(0, "block size is %d, want %d", got, bs)
	}
	length, room := uint64(be.Uint32(raw[0x10:])), uint64(j.file.inode.size/bs)
	if length > room {
		return j.corrupt(0, "length is %d blocks, its inode has %d", length, room)
	}
	if length > maxJournalBlocks {
		return &UnsupportedError{Features: []string{fmt.Sprintf("journal of %d blocks (limit is %d)", length, maxJournalBlocks)}, Action: "replay"}
	}
	j.first, j.last = uint64(be.Uint32(raw[0x14:])), length
	if j.incompat&journalFastCommit != 0 {
		count := uint64(be.Uint32(raw[0x54:]))
		if count == 0 {
			count = fastCommitBlocks
		}
		if length >= count+leastLogBlocks {
			j.last = length - count
		}
		if j.last+1 < length {
			j.fast = j.last + 1
		}
	}
	j.sequence, j.start = be.Uint32(raw[0x18:]), uint64(be.Uint32(raw[0x1C:]))
	if j.first == 0 || j.first >= j.last {
		return j.corrupt(0, "log is at blocks %d to %d", j.first, j.last)
	}
	if j.start != 0 && (j.start < j.first || j.start >= j.last) {
		return j.corrupt(0, "log begins at block %d, want %d to %d", j.start, j.first, j.last-1)
	}
	return nil
}

// hasSums says whether every block of the log has a checksum of its own.
func (j *journal) hasSums() bool { return j.incompat&(journalCsumV2|journalCsumV3) != 0 }

// place gives the block of the file system that holds a block of the journal.
func (j *journal) place(block uint64) (uint64, error) {
	r, err := j.file.run(block)
	if err != nil {
		return 0, fmt.Errorf("cannot map journal block %d: %w", block, err)
	}
	if r.phys == 0 {
		return 0, j.file.inode.corrupt("journal block %d is a hole", block)
	}
	return r.phys + block - r.first, nil
}

func (j *journal) read(p []byte, block uint64) (phys uint64, err error) {
	if phys, err = j.place(block); err != nil {
		return 0, err
	}
	return phys, j.fs.readBlock(p, phys)
}

// tag is what a descriptor block says of one block that follows it.
type tag struct {
	block uint64 // where it belongs in the file system
	flags uint16
	sum   uint32
}

// tags reads a descriptor block; journal_tag_bytes and jbd2_do_replay.
func (j *journal) tags(block []byte) []tag {
	be := binary.BigEndian
	size := 8
	if j.incompat&journal64bit != 0 {
		size += 4
	}
	if j.incompat&journalCsumV2 != 0 {
		size += 2
	}
	if j.incompat&journalCsumV3 != 0 {
		size = 16
	}
	end := len(block) - j.tailSize()
	var list []tag
	for at := journalHeader; at+size <= end; at += size {
		t := tag{block: uint64(be.Uint32(block[at:])), flags: be.Uint16(block[at+6:]), sum: uint32(be.Uint16(block[at+4:]))}
		if j.incompat&journal64bit != 0 {
			t.block |= uint64(be.Uint32(block[at+8:])) << 32
		}
		if j.incompat&journalCsumV3 != 0 {
			t.sum = be.Uint32(block[at+12:])
		}
		list = append(list, t)
		if t.flags&tagLast != 0 {
			break
		}
		if t.flags&tagSameUUID == 0 {
			at += 16
		}
	}
	return list
}

func (j *journal) tailSize() int {
	if j.hasSums() {
		return 4
	}
	return 0
}

// checkTail verifies the checksum at the end of a descriptor or revoke block.
func (j *journal) checkTail(block []byte) bool {
	if !j.hasSums() {
		return true
	}
	body := len(block) - 4
	return binary.BigEndian.Uint32(block[body:]) == crc32c(j.seed, block[:body], le32(0))
}

// checkCommit verifies a commit block. Of one that was cut off while it was written the
// beginning counts, where all that means anything is.
func (j *journal) checkCommit(block []byte) bool {
	if !j.hasSums() {
		return true
	}
	const sum, header = 0x10, 64
	got := binary.BigEndian.Uint32(block[sum:])
	rest := make([]byte, len(block)-header)
	return got == crc32c(j.seed, block[:sum], le32(0), block[sum+4:]) ||
		got == crc32c(j.seed, block[:sum], le32(0), block[sum+4:header], rest)
}

// checkData verifies a block against its tag.
func (j *journal) checkData(t tag, sequence uint32, block []byte) (got, want uint32, ok bool) {
	if !j.hasSums() {
		return 0, 0, true
	}
	want = crc32c(j.seed, binary.BigEndian.AppendUint32(nil, sequence), block)
	if j.incompat&journalCsumV2 != 0 {
		want &= 0xFFFF
	}
	return t.sum, want, t.sum == want
}

// crc32be continues a sum with the kernel's crc32_be, which takes the highest bit of a
// byte first; without inversion.
func crc32be(sum uint32, data []byte) uint32 {
	turned := make([]byte, len(data))
	for i, b := range data {
		turned[i] = bits.Reverse8(b)
	}
	return bits.Reverse32(^crc32.Update(^bits.Reverse32(sum), crc32.IEEETable, turned))
}
