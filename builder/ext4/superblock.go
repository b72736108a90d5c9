package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	superblockOffset = 1024
	superblockSize   = 1024
	magic            = 0xEF53

	stateClean = 1 // EXT4_VALID_FS
)

// Superblock is what the superblock says about the whole file system.
type Superblock struct {
	BlockSize   int64  // bytes
	ClusterSize int64  // bytes; equals BlockSize without bigalloc
	InodeSize   int    // bytes
	Blocks      uint64 // all blocks
	Inodes      uint32 // all inodes
	Label       string
	UUID        [16]byte
	Features    []string // names as tune2fs gives them
	Clean       bool     // unmounted cleanly and without recorded errors
	WriteTime   int64    // seconds since 1970: last write, mount or check, whichever is latest

	compat, incompat, roCompat uint32

	firstDataBlock uint64
	perGroup       uint64 // blocks
	inodesPerGroup uint32
	groups         uint64
	descSize       int
	firstMetaGroup uint32
	backupGroups   [2]uint32
	firstInode     uint32
	journalInode   uint32
	extraIsize     int
	seed           uint32
}

// Probe says whether an ext2, ext3 or ext4 superblock begins at byte 1024 of r.
func Probe(r io.ReaderAt) bool {
	var b [2]byte
	_, err := r.ReadAt(b[:], superblockOffset+0x38)
	return (err == nil || errors.Is(err, io.EOF)) && binary.LittleEndian.Uint16(b[:]) == magic
}

func corruptSuperblock(format string, args ...any) error {
	return &CorruptError{What: "superblock", Byte: superblockOffset, Detail: fmt.Sprintf(format, args...)}
}

func readSuperblock(r io.ReaderAt, size int64) (*Superblock, error) {
	raw := make([]byte, superblockSize)
	if n, err := r.ReadAt(raw, superblockOffset); n < len(raw) {
		return nil, fmt.Errorf("%w: cannot read byte %#x: %w", ErrNotExt4, superblockOffset, err)
	}
	if got := binary.LittleEndian.Uint16(raw[0x38:]); got != magic {
		return nil, fmt.Errorf("%w: magic is %#04x, want %#04x", ErrNotExt4, got, magic)
	}
	sb := &Superblock{
		compat:   binary.LittleEndian.Uint32(raw[0x5C:]),
		incompat: binary.LittleEndian.Uint32(raw[0x60:]),
		roCompat: binary.LittleEndian.Uint32(raw[0x64:]),
	}
	if binary.LittleEndian.Uint32(raw[0x4C:]) == 0 { // revision 0 has no feature fields
		sb.compat, sb.incompat, sb.roCompat = 0, 0, 0
	}
	if err := sb.checkFeatures(); err != nil {
		return nil, err
	}
	if err := sb.checkSum(raw); err != nil {
		return nil, err
	}
	if err := sb.parseSizes(raw); err != nil {
		return nil, err
	}
	sb.parseIdentity(raw)
	if err := sb.parseGroups(raw); err != nil {
		return nil, err
	}
	if need := int64(sb.Blocks) * sb.BlockSize; need > size {
		return nil, corruptSuperblock("file system has %d bytes, the image holds %d", need, size)
	}
	return sb, nil
}

func (sb *Superblock) checkFeatures() error {
	var unknown []string
	for bit := range 32 {
		if mask := uint32(1) << bit; sb.incompat&mask&^readable != 0 {
			unknown = append(unknown, featureName(incompatNames, "FEATURE_I", bit))
		}
	}
	if unknown != nil {
		return &UnsupportedError{Features: unknown, Action: "read"}
	}
	sb.Features = featureNames(sb.compat, sb.incompat, sb.roCompat)
	return nil
}

func (sb *Superblock) checkSum(raw []byte) error {
	if !sb.hasMetadataCsum() {
		return nil
	}
	if kind := raw[0x175]; kind != 1 {
		return corruptSuperblock("checksum type is %d, want 1 (crc32c)", kind)
	}
	got, want := binary.LittleEndian.Uint32(raw[0x3FC:]), crc32c(^uint32(0), raw[:0x3FC])
	if got != want {
		return corruptSuperblock("checksum is %08x, want %08x", got, want)
	}
	if sb.incompat&incompatCsumSeed != 0 {
		sb.seed = binary.LittleEndian.Uint32(raw[0x270:])
	} else {
		sb.seed = crc32c(^uint32(0), raw[0x68:0x78])
	}
	return nil
}

// parseSizes takes the sizes of blocks, clusters, inodes and descriptors.
func (sb *Superblock) parseSizes(raw []byte) error {
	logBlock, logCluster := binary.LittleEndian.Uint32(raw[0x18:]), binary.LittleEndian.Uint32(raw[0x1C:])
	if logBlock > 6 {
		return corruptSuperblock("block size is 2^%d KiB, want at most %d", logBlock, maxBlockSize)
	}
	sb.BlockSize = minBlockSize << logBlock
	sb.ClusterSize = sb.BlockSize
	if sb.roCompat&roCompatBigalloc != 0 {
		// 512 MiB is EXT4_MAX_CLUSTER_LOG_SIZE.
		if logCluster < logBlock || logCluster > 19 {
			return corruptSuperblock("cluster size is 2^%d KiB, block size 2^%d KiB", logCluster, logBlock)
		}
		sb.ClusterSize = minBlockSize << logCluster
	}
	sb.InodeSize, sb.firstInode = minInodeSize, 11
	if binary.LittleEndian.Uint32(raw[0x4C:]) != 0 {
		sb.InodeSize = int(binary.LittleEndian.Uint16(raw[0x58:]))
		sb.firstInode = binary.LittleEndian.Uint32(raw[0x54:])
	}
	if n := sb.InodeSize; n < minInodeSize || int64(n) > sb.BlockSize || n&(n-1) != 0 {
		return corruptSuperblock("inode size is %d, want a power of two from %d to %d", n, minInodeSize, sb.BlockSize)
	}
	sb.descSize = minDescSize
	if sb.incompat&incompat64bit != 0 {
		sb.descSize = int(binary.LittleEndian.Uint16(raw[0xFE:]))
		if n := sb.descSize; n < 2*minDescSize || n > maxDescSize || n&(n-1) != 0 {
			return corruptSuperblock("group descriptor size is %d, want a power of two from %d to %d", n, 2*minDescSize, maxDescSize)
		}
	}
	sb.extraIsize = int(binary.LittleEndian.Uint16(raw[0x15E:]))
	return nil
}

func (sb *Superblock) parseIdentity(raw []byte) {
	sb.Label, _, _ = strings.Cut(string(raw[0x78:0x88]), "\x00")
	copy(sb.UUID[:], raw[0x68:0x78])
	sb.Clean = binary.LittleEndian.Uint16(raw[0x3A:]) == stateClean
	// The high bytes of mount, write and check time are later additions to the format.
	for _, at := range [][2]int{{0x2C, 0x275}, {0x30, 0x274}, {0x40, 0x277}} {
		sb.WriteTime = max(sb.WriteTime, int64(binary.LittleEndian.Uint32(raw[at[0]:]))|int64(raw[at[1]])<<32)
	}
	for i := range sb.backupGroups {
		sb.backupGroups[i] = binary.LittleEndian.Uint32(raw[0x24C+4*i:])
	}
	sb.journalInode = binary.LittleEndian.Uint32(raw[0xE0:])
	sb.firstMetaGroup = binary.LittleEndian.Uint32(raw[0x104:])
}

// parseGroups takes the counts and checks them against each other, so that later
// arithmetic on block and inode numbers cannot overflow.
func (sb *Superblock) parseGroups(raw []byte) error {
	sb.Blocks = uint64(binary.LittleEndian.Uint32(raw[0x04:]))
	if sb.incompat&incompat64bit != 0 {
		sb.Blocks |= uint64(binary.LittleEndian.Uint32(raw[0x150:])) << 32
	}
	sb.Inodes = binary.LittleEndian.Uint32(raw[0x00:])
	sb.firstDataBlock = uint64(binary.LittleEndian.Uint32(raw[0x14:]))
	sb.perGroup = uint64(binary.LittleEndian.Uint32(raw[0x20:]))
	sb.inodesPerGroup = binary.LittleEndian.Uint32(raw[0x28:])
	switch ratio := uint64(sb.ClusterSize / sb.BlockSize); {
	case sb.Blocks > 1<<48 || sb.Blocks > (1<<62)/uint64(sb.BlockSize):
		return corruptSuperblock("block count is %d", sb.Blocks)
	case sb.firstDataBlock > 1 || sb.firstDataBlock >= sb.Blocks:
		return corruptSuperblock("first data block is %d of %d", sb.firstDataBlock, sb.Blocks)
	case sb.perGroup == 0 || sb.perGroup > uint64(sb.BlockSize)*8*ratio:
		return corruptSuperblock("blocks per group are %d, want 1 to %d", sb.perGroup, uint64(sb.BlockSize)*8*ratio)
	case sb.inodesPerGroup == 0 || int64(sb.inodesPerGroup) > sb.BlockSize*8:
		return corruptSuperblock("inodes per group are %d, want 1 to %d", sb.inodesPerGroup, sb.BlockSize*8)
	}
	sb.groups = (sb.Blocks - sb.firstDataBlock + sb.perGroup - 1) / sb.perGroup
	if want := sb.groups * uint64(sb.inodesPerGroup); uint64(sb.Inodes) != want {
		return corruptSuperblock("inode count is %d, want %d", sb.Inodes, want)
	}
	return nil
}

func (sb *Superblock) hasMetadataCsum() bool { return sb.roCompat&roCompatMetadataCsum != 0 }

// hasBackup says whether a group begins with a copy of the superblock.
func (sb *Superblock) hasBackup(group uint64) bool {
	switch {
	case group == 0:
		return true
	case sb.compat&compatSparseSuper2 != 0:
		return group == uint64(sb.backupGroups[0]) || group == uint64(sb.backupGroups[1])
	case group == 1 || sb.roCompat&roCompatSparseSuper == 0:
		return true
	}
	for _, base := range []uint64{3, 5, 7} {
		n := base
		for n < group {
			n *= base
		}
		if n == group {
			return true
		}
	}
	return false
}
