package ext4

import (
	"encoding/binary"
	"fmt"
)

// group is what we use of one group descriptor.
type group struct {
	inodeTable   uint64 // block
	freeClusters uint64
	freeInodes   uint64
}

// descriptorByte gives where the descriptor of group n is stored, following
// descriptor_loc in fs/ext4/super.c.
func (sb *Superblock) descriptorByte(n uint64) int64 {
	perBlock := uint64(sb.BlockSize) / uint64(sb.descSize)
	nr := n / perBlock
	block := uint64(superblockOffset/sb.BlockSize) + 1 + nr
	if sb.incompat&incompatMetaBG != 0 && nr >= uint64(sb.firstMetaGroup) {
		first := nr * perBlock
		block = sb.firstDataBlock + first*sb.perGroup
		if sb.hasBackup(first) {
			block++
		}
		if sb.BlockSize == 1024 && nr == 0 && sb.firstDataBlock == 0 {
			block++
		}
	}
	return int64(block)*sb.BlockSize + int64(n%perBlock)*int64(sb.descSize)
}

// group reads a descriptor once; it stays cached within limits.
func (f *FS) group(n uint64) (group, error) {
	f.mu.Lock()
	g, ok := f.groups[n]
	f.mu.Unlock()
	if ok {
		return g, nil
	}
	g, err := f.readGroup(n)
	if err != nil {
		return group{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.groups) == maxCachedGroups {
		clear(f.groups)
	}
	f.groups[n] = g
	return g, nil
}

func (f *FS) readGroup(n uint64) (group, error) {
	sb := f.sb
	if n >= sb.groups {
		return group{}, fmt.Errorf("ext4: group %d of %d", n, sb.groups)
	}
	at := sb.descriptorByte(n)
	raw := make([]byte, sb.descSize)
	if err := f.readAt(raw, at); err != nil {
		return group{}, fmt.Errorf("cannot read group descriptor %d: %w", n, err)
	}
	if got, want, checked := sb.descriptorSum(n, raw); checked && got != want {
		return group{}, &CorruptError{fmt.Sprintf("group descriptor %d", n), at, fmt.Sprintf("checksum is %04x, want %04x", got, want)}
	}
	g := group{
		inodeTable:   uint64(binary.LittleEndian.Uint32(raw[0x08:])),
		freeClusters: uint64(binary.LittleEndian.Uint16(raw[0x0C:])),
		freeInodes:   uint64(binary.LittleEndian.Uint16(raw[0x0E:])),
	}
	if sb.descSize >= 64 {
		g.inodeTable |= uint64(binary.LittleEndian.Uint32(raw[0x28:])) << 32
		g.freeClusters |= uint64(binary.LittleEndian.Uint16(raw[0x2C:])) << 16
		g.freeInodes |= uint64(binary.LittleEndian.Uint16(raw[0x2E:])) << 16
	}
	tableBlocks := (uint64(sb.inodesPerGroup)*uint64(sb.InodeSize) + uint64(sb.BlockSize) - 1) / uint64(sb.BlockSize)
	if g.inodeTable <= sb.firstDataBlock || g.inodeTable >= sb.Blocks || tableBlocks > sb.Blocks-g.inodeTable {
		return group{}, &CorruptError{fmt.Sprintf("group descriptor %d", n), at,
			fmt.Sprintf("inode table is at block %d, the file system has %d", g.inodeTable, sb.Blocks)}
	}
	return g, nil
}

// descriptorSum gives the stored and the computed checksum, and whether the file
// system has them at all.
func (sb *Superblock) descriptorSum(n uint64, raw []byte) (got, want uint16, checked bool) {
	got = binary.LittleEndian.Uint16(raw[0x1E:])
	switch {
	case sb.hasMetadataCsum():
		return got, uint16(crc32c(sb.seed, le32(uint32(n)), raw[:0x1E], []byte{0, 0}, raw[0x20:])), true
	case sb.roCompat&roCompatGDTCsum != 0:
		return got, crc16(0xFFFF, sb.UUID[:], le32(uint32(n)), raw[:0x1E], raw[0x20:]), true
	}
	return 0, 0, false
}

// Free gives the free blocks and inodes as the group descriptors count them; the
// totals in the superblock are out of date while a file system is mounted.
func (f *FS) Free() (blocks, inodes uint64, err error) {
	for n := range f.sb.groups {
		g, err := f.group(n)
		if err != nil {
			return 0, 0, err
		}
		blocks += g.freeClusters * uint64(f.sb.ClusterSize/f.sb.BlockSize)
		inodes += g.freeInodes
	}
	return blocks, inodes, nil
}
