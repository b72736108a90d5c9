package fat

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"strings"
)

// Volume is what the boot sector, and the label in the root directory, say about
// the whole volume.
type Volume struct {
	Bits        int    // 12, 16 or 32
	SectorSize  int64  // bytes
	ClusterSize int64  // bytes
	Clusters    uint32 // for files and directories
	Serial      uint32 // 0 where there is none
	Label       string
}

// UUID is the serial number as blkid and fstab write it, "1234-ABCD", or "" where
// there is none.
func (v Volume) UUID() string {
	if v.Serial == 0 {
		return ""
	}
	return fmt.Sprintf("%04X-%04X", v.Serial>>16, v.Serial&0xFFFF)
}

// layout says where things are, in bytes from the start of the volume.
type layout struct {
	Volume
	size        int64 // of the volume
	fatStart    int64 // of the first FAT
	fatBytes    int64 // of one FAT
	fats        int
	activeFAT   int // the one to read
	mirrored    bool
	rootStart   int64 // FAT12 and FAT16
	rootSlots   int
	dataStart   int64
	rootCluster uint32  // FAT32
	infoSectors []int64 // FAT32: FSInfo and its copy beside the backup boot sector
}

// Probe says whether a FAT boot sector begins at byte 0 of r.
func Probe(r io.ReaderAt) bool {
	b, err := readBootSector(r)
	return err == nil && looksLikeFAT(b)
}

func readBootSector(r io.ReaderAt) ([]byte, error) {
	b := make([]byte, minSector)
	if err := readFull(r, b, 0); err != nil {
		return nil, err
	}
	return b, nil
}

func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("cannot read %d bytes at %#x: %w", len(p), off, err)
}

// looksLikeFAT asks what Linux's fat_read_bpb asks, and for the signature. NTFS has
// no FATs, exFAT zeros in place of the sector size.
func looksLikeFAT(b []byte) bool {
	sector, perCluster, media := le16(b, 11), b[13], b[21]
	return le16(b, 510) == 0xAA55 &&
		sector >= minSector && sector <= maxSector && bits.OnesCount16(sector) == 1 &&
		bits.OnesCount8(perCluster) == 1 &&
		le16(b, 14) != 0 && b[16] != 0 &&
		(media >= 0xF8 || media == 0xF0)
}

func le16(b []byte, at int) uint16 { return binary.LittleEndian.Uint16(b[at:]) }
func le32(b []byte, at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }

// parseBootSector works out the layout of a volume of which size bytes are there.
func parseBootSector(b []byte, size int64) (*layout, error) {
	if !looksLikeFAT(b) {
		return nil, ErrNotFAT
	}
	l := &layout{fats: int(b[16]), mirrored: true, rootSlots: int(le16(b, 17))}
	l.SectorSize = int64(le16(b, 11))
	l.ClusterSize = l.SectorSize * int64(b[13])
	l.Bits = 16
	fatSectors, serialAt := int64(le16(b, 22)), 39
	if fatSectors == 0 {
		fatSectors, serialAt, l.Bits = int64(le32(b, 36)), 67, 32
	}
	sectors := int64(le16(b, 19))
	if sectors == 0 {
		sectors = int64(le32(b, 32))
	}
	l.size = sectors * l.SectorSize
	if l.size > size {
		return nil, corrupt("boot sector", 19, "volume has %d bytes, %d are there", l.size, size)
	}
	l.fatStart = int64(le16(b, 14)) * l.SectorSize
	l.fatBytes = fatSectors * l.SectorSize
	l.rootStart = l.fatStart + int64(l.fats)*l.fatBytes
	rootBytes := int64(l.rootSlots) * slotBytes
	l.dataStart = l.rootStart + (rootBytes+l.SectorSize-1)/l.SectorSize*l.SectorSize
	if l.fatBytes == 0 || l.dataStart+l.ClusterSize > l.size {
		return nil, corrupt("boot sector", 14, "data starts at byte %#x of %#x after FATs of %d bytes", l.dataStart, l.size, l.fatBytes)
	}
	if b[serialAt-1] == 0x29 { // extended boot signature: serial and label follow
		l.Serial = le32(b, serialAt)
		l.Label = strings.TrimRight(decodeCodePage(b[serialAt+4:serialAt+15]), " ")
	}
	if err := l.countClusters(); err != nil {
		return nil, err
	}
	if l.Bits == 32 {
		return l, l.parseFAT32(b)
	}
	if l.rootSlots == 0 {
		return nil, corrupt("boot sector", 17, "root directory has 0 entries")
	}
	return l, nil
}

// countClusters finds how many clusters there are, no more than the FAT has entries
// for, and tells FAT12 from FAT16.
func (l *layout) countClusters() error {
	clusters := (l.size - l.dataStart) / l.ClusterSize
	limit := int64(maxClusters32)
	if l.Bits == 16 {
		limit = maxClusters16
		if clusters <= maxClusters12 {
			l.Bits, limit = 12, maxClusters12
		}
	}
	clusters = min(clusters, l.fatBytes*8/int64(l.Bits)-2)
	if clusters < 1 || clusters > limit {
		return corrupt("boot sector", 13, "clusters are %d, want 1 to %d", clusters, limit)
	}
	l.Clusters = uint32(clusters)
	return nil
}

func (l *layout) parseFAT32(b []byte) error {
	if version := le16(b, 42); version != 0 {
		return &UnsupportedError{What: fmt.Sprintf("FAT32 version %d.%d", version>>8, version&0xFF)}
	}
	if flags := le16(b, 40); flags&0x80 != 0 {
		l.mirrored, l.activeFAT = false, int(flags&0xF)
		if l.activeFAT >= l.fats {
			return corrupt("boot sector", 40, "active FAT is %d of %d", l.activeFAT, l.fats)
		}
	}
	l.rootCluster = le32(b, 44)
	if !l.isCluster(l.rootCluster) {
		return corrupt("boot sector", 44, "root directory's cluster is %d, want 2 to %d", l.rootCluster, l.Clusters+1)
	}
	l.rootSlots = 0
	info, backup := int64(le16(b, 48)), int64(le16(b, 50))
	reserved := l.fatStart / l.SectorSize
	if info == 0 || info >= reserved {
		return nil
	}
	l.infoSectors = []int64{info * l.SectorSize}
	if backup != 0 && backup+info < reserved {
		l.infoSectors = append(l.infoSectors, (backup+info)*l.SectorSize)
	}
	return nil
}

func (l *layout) isCluster(n uint32) bool { return n >= 2 && n-2 < l.Clusters }

// clusterByte is where a cluster begins.
func (l *layout) clusterByte(n uint32) int64 { return l.dataStart + int64(n-2)*l.ClusterSize }

// isRoot says whether a directory entry's cluster stands for the root directory:
// 0 in "..", though some systems write the cluster itself.
func (l *layout) isRoot(n uint32) bool { return n == 0 || l.Bits == 32 && n == l.rootCluster }

// clustersFor is how many clusters hold size bytes.
func (l *layout) clustersFor(size int64) int64 {
	return (size + l.ClusterSize - 1) / l.ClusterSize
}
