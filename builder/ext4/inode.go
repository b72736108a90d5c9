package ext4

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"math"
	"time"

	"github.com/kerngate/kerngate/builder/rootfs"
)

const (
	rootInode = 2

	flagEncrypt    = 0x800
	flagIndex      = 0x1000
	flagHugeFile   = 0x40000
	flagExtents    = 0x80000
	flagEAInode    = 0x200000
	flagInlineData = 0x10000000
	flagCasefold   = 0x40000000

	typeMask    = 0xF000
	typeFIFO    = 0x1000
	typeChar    = 0x2000
	typeDir     = 0x4000
	typeBlock   = 0x6000
	typeRegular = 0x8000
	typeSymlink = 0xA000
	typeSocket  = 0xC000

	iBlockSize = 60 // bytes of i_block: block map, extent root, fast symlink or inline data
)

// inode is one parsed inode. raw stays, for what lies in i_block and behind the
// fixed fields.
type inode struct {
	number uint32
	at     int64 // byte in the file system
	raw    []byte

	mode    uint16
	uid     uint32
	gid     uint32
	size    int64
	links   uint16
	flags   uint32
	sectors uint64 // allocated, in 512 byte units
	xattrs  uint64 // block with attributes, 0 for none
	extra   int    // bytes of fields behind the first 128
	mtime   time.Time
	seed    uint32 // of the checksums of what belongs to this inode
}

func (n *inode) corrupt(format string, args ...any) error {
	return &CorruptError{fmt.Sprintf("inode %d", n.number), n.at, fmt.Sprintf(format, args...)}
}

func (n *inode) kind() uint16 { return n.mode & typeMask }

func (n *inode) isDir() bool { return n.kind() == typeDir }

func (n *inode) block() []byte { return n.raw[0x28 : 0x28+iBlockSize] }

func (f *FS) inode(number uint32) (*inode, error) {
	sb := f.sb
	if number == 0 || number > sb.Inodes {
		return nil, fmt.Errorf("ext4: inode number is %d, want 1 to %d", number, sb.Inodes)
	}
	index := (number - 1) % sb.inodesPerGroup
	g, err := f.group(uint64((number - 1) / sb.inodesPerGroup))
	if err != nil {
		return nil, err
	}
	n := &inode{number: number, raw: make([]byte, sb.InodeSize)}
	n.at = int64(g.inodeTable)*sb.BlockSize + int64(index)*int64(sb.InodeSize)
	if err := f.readAt(n.raw, n.at); err != nil {
		return nil, fmt.Errorf("cannot read inode %d: %w", number, err)
	}
	if err := f.checkInodeSum(n); err != nil {
		return nil, err
	}
	if err := f.parseInode(n); err != nil {
		return nil, err
	}
	return n, nil
}

func (f *FS) checkInodeSum(n *inode) error {
	if !f.sb.hasMetadataCsum() {
		return nil
	}
	n.seed = crc32c(f.sb.seed, le32(n.number), n.raw[0x64:0x68])
	zero := []byte{0, 0}
	got := uint32(binary.LittleEndian.Uint16(n.raw[0x7C:]))
	want := crc32c(n.seed, n.raw[:0x7C], zero, n.raw[0x7E:0x80])
	if len(n.raw) > minInodeSize {
		rest := n.raw[0x80:]
		if binary.LittleEndian.Uint16(rest) >= 4 { // i_checksum_hi is within i_extra_isize
			got |= uint32(binary.LittleEndian.Uint16(rest[2:])) << 16
			want = crc32c(want, rest[:2], zero, rest[4:])
		} else {
			want = crc32c(want, rest) & 0xFFFF
		}
	} else {
		want &= 0xFFFF
	}
	if got != want {
		return n.corrupt("checksum is %08x, want %08x", got, want)
	}
	return nil
}

func (f *FS) parseInode(n *inode) error {
	raw := n.raw
	n.mode = binary.LittleEndian.Uint16(raw[0x00:])
	n.uid = uint32(binary.LittleEndian.Uint16(raw[0x02:])) | uint32(binary.LittleEndian.Uint16(raw[0x78:]))<<16
	n.gid = uint32(binary.LittleEndian.Uint16(raw[0x18:])) | uint32(binary.LittleEndian.Uint16(raw[0x7A:]))<<16
	n.links = binary.LittleEndian.Uint16(raw[0x1A:])
	n.flags = binary.LittleEndian.Uint32(raw[0x20:])
	n.sectors = uint64(binary.LittleEndian.Uint32(raw[0x1C:])) | uint64(binary.LittleEndian.Uint16(raw[0x74:]))<<32
	if n.flags&flagHugeFile != 0 {
		n.sectors *= uint64(f.sb.BlockSize / 512)
	}
	n.xattrs = uint64(binary.LittleEndian.Uint32(raw[0x68:])) | uint64(binary.LittleEndian.Uint16(raw[0x76:]))<<32
	size := uint64(binary.LittleEndian.Uint32(raw[0x04:]))
	if n.kind() == typeRegular || n.isDir() {
		size |= uint64(binary.LittleEndian.Uint32(raw[0x6C:])) << 32
	}
	// A file has at most 2^32 blocks, whichever way they are mapped.
	if size > math.MaxUint32*uint64(f.sb.BlockSize) {
		return n.corrupt("size is %d bytes, want at most %d", size, math.MaxUint32*uint64(f.sb.BlockSize))
	}
	n.size = int64(size)
	if len(raw) > minInodeSize {
		n.extra = int(binary.LittleEndian.Uint16(raw[0x80:]))
		if n.extra > len(raw)-minInodeSize || n.extra%4 != 0 {
			return n.corrupt("i_extra_isize is %d, the inode has %d bytes", n.extra, len(raw))
		}
	}
	n.mtime = n.time(0x10, 0x88)
	return nil
}

// time decodes a time stamp: seconds as a signed number at byte at, and where the
// inode has the field, two bits of epoch and thirty of nanoseconds at byte extra.
func (n *inode) time(at, extra int) time.Time {
	sec, nsec := int64(int32(binary.LittleEndian.Uint32(n.raw[at:]))), int64(0)
	if minInodeSize+n.extra >= extra+4 {
		more := binary.LittleEndian.Uint32(n.raw[extra:])
		sec += int64(more&3) << 32
		nsec = int64(more >> 2)
	}
	return time.Unix(sec, nsec).UTC()
}

func (n *inode) info() rootfs.Info {
	return rootfs.Info{Mode: fileMode(n.mode), UID: n.uid, GID: n.gid, Size: n.size, ModTime: n.mtime,
		Links: uint32(n.links), Inode: uint64(n.number)}
}

func fileMode(mode uint16) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	switch mode & typeMask {
	case typeRegular:
	case typeDir:
		m |= fs.ModeDir
	case typeSymlink:
		m |= fs.ModeSymlink
	case typeChar:
		m |= fs.ModeDevice | fs.ModeCharDevice
	case typeBlock:
		m |= fs.ModeDevice
	case typeFIFO:
		m |= fs.ModeNamedPipe
	case typeSocket:
		m |= fs.ModeSocket
	default:
		m |= fs.ModeIrregular
	}
	if mode&0o4000 != 0 {
		m |= fs.ModeSetuid
	}
	if mode&0o2000 != 0 {
		m |= fs.ModeSetgid
	}
	if mode&0o1000 != 0 {
		m |= fs.ModeSticky
	}
	return m
}
