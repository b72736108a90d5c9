package image

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/diskfs/go-diskfs/partition/mbr"
)

// Limits on what a partition table may ask us to read.
const (
	maxGPTEntries   = 1024 // Linux reads more, tools make 128
	maxGPTEntrySize = 4096 // UEFI asks for 128 · 2ⁿ; all known writers use 128
	maxLogical      = 64   // logical partitions followed, as sda5 to sda68
)

// partition is a byte range of the image with its number and type.
type partition struct {
	number int
	kind   string // type GUID in upper case, or MBR type as two hex digits
	label  string
	start  int64
	size   int64
}

// table is a partition table: "gpt", "mbr", or "none" for a bare file system.
type table struct {
	scheme     string
	sectorSize int64
	partitions []partition
}

// readTable reads the partition table of f, which is size bytes long.
func readTable(f *os.File, size int64) (table, error) {
	for _, sector := range []int64{512, 4096} {
		found, err := hasGPT(f, size, sector)
		if err != nil {
			return table{}, err
		}
		if found {
			return readGPT(f, size, sector)
		}
	}
	head := make([]byte, 512)
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, size), head); err != nil {
		return table{scheme: "none", sectorSize: 512}, nil
	}
	if head[510] != 0x55 || head[511] != 0xaa {
		return table{scheme: "none", sectorSize: 512}, nil
	}
	return readMBR(f, size)
}

var gptSignature = [8]byte{'E', 'F', 'I', ' ', 'P', 'A', 'R', 'T'}

// hasGPT says whether a GPT header stands in the second sector, and refuses one
// whose entry array is larger than any tool makes.
func hasGPT(f *os.File, size, sector int64) (bool, error) {
	if size < 3*sector {
		return false, nil
	}
	header := make([]byte, 92)
	if _, err := f.ReadAt(header, sector); err != nil {
		return false, fmt.Errorf("cannot read the GPT header at byte %#x: %w", sector, err)
	}
	if [8]byte(header[:8]) != gptSignature {
		return false, nil
	}
	count, entry := binary.LittleEndian.Uint32(header[80:]), binary.LittleEndian.Uint32(header[84:])
	if count == 0 || count > maxGPTEntries || entry < 128 || entry > maxGPTEntrySize {
		return false, &Error{
			Fact:   fmt.Sprintf("GPT header at byte %#x: array is %d entries of %d bytes, limit is %d of %d", sector, count, entry, maxGPTEntries, maxGPTEntrySize),
			Advice: "look at the table with sgdisk -v; it is damaged or was made to be read wrong",
		}
	}
	return true, nil
}

func readGPT(f *os.File, size, sector int64) (t table, err error) {
	// The library was seen to panic on hostile tables; a damaged image must not
	// end the build with a stack trace.
	defer func() {
		if r := recover(); r != nil {
			err = &Error{Fact: fmt.Sprintf("GPT cannot be parsed: %v", r), Advice: "look at the table with sgdisk -v"}
		}
	}()
	parsed, err := gpt.Read(f, int(sector), int(sector))
	if err != nil {
		return table{}, &Error{Fact: fmt.Sprintf("GPT is damaged: %v", err), Advice: "look at the table with sgdisk -v"}
	}
	t = table{scheme: "gpt", sectorSize: sector}
	for _, p := range parsed.Partitions {
		if p.Type == gpt.Unused {
			continue
		}
		one, err := newPartition(p.Index, strings.ToUpper(string(p.Type)), p.Start, p.End-p.Start+1, sector, size)
		if err != nil {
			return table{}, err
		}
		one.label = p.Name
		t.partitions = append(t.partitions, one)
	}
	return t, nil
}

// newPartition checks a partition given in sectors against the image.
func newPartition(number int, kind string, start, count uint64, sector, size int64) (partition, error) {
	limit := uint64(1<<62) / uint64(sector)
	if start > limit || count > limit || count == 0 {
		return partition{}, &Error{
			Fact:   fmt.Sprintf("partition %d: it starts at sector %d and has %d sectors, which no disk holds", number, start, count),
			Advice: "the partition table is damaged; look at it with sgdisk -v or sfdisk --verify",
		}
	}
	p := partition{number: number, kind: kind, start: int64(start) * sector, size: int64(count) * sector}
	if p.start+p.size > size {
		return partition{}, &Error{
			Fact:   fmt.Sprintf("partition %d ends at byte %d, the image ends at byte %d: it is truncated", number, p.start+p.size, size),
			Advice: "copy or download the image again and compare its checksum",
		}
	}
	return p, nil
}

// MBR partition types that hold logical partitions.
const (
	typeExtended    = 0x05
	typeExtendedLBA = 0x0f
	typeExtendedLnx = 0x85
)

func isExtended(kind byte) bool {
	return kind == typeExtended || kind == typeExtendedLBA || kind == typeExtendedLnx
}

func readMBR(f *os.File, size int64) (table, error) {
	parsed, err := mbr.Read(f, 512, 512)
	if err != nil {
		// A boot sector alone, such as one of a bare file system.
		return table{scheme: "none", sectorSize: 512}, nil
	}
	t := table{scheme: "mbr", sectorSize: 512}
	for i, p := range parsed.Partitions {
		if p == nil || p.Type == mbr.Empty || p.Size == 0 {
			continue
		}
		if isExtended(byte(p.Type)) {
			logical, err := readLogical(f, size, uint64(p.Start))
			if err != nil {
				return table{}, err
			}
			t.partitions = append(t.partitions, logical...)
			continue
		}
		one, err := newPartition(i+1, fmt.Sprintf("%02x", byte(p.Type)), uint64(p.Start), uint64(p.Size), 512, size)
		if err != nil {
			return table{}, err
		}
		t.partitions = append(t.partitions, one)
	}
	if len(t.partitions) == 0 {
		return table{scheme: "none", sectorSize: 512}, nil
	}
	return t, nil
}

// readLogical walks the chain of extended boot records that starts at sector
// base. Each must lie behind the one before, so that a loop ends at once.
func readLogical(f *os.File, size int64, base uint64) ([]partition, error) {
	var out []partition
	for at, number := base, 5; ; number++ {
		if number >= 5+maxLogical {
			return nil, &Error{Fact: fmt.Sprintf("more than %d logical partitions", maxLogical), Advice: "look at the table with sfdisk --dump"}
		}
		record := make([]byte, 512)
		if at > uint64(size)/512 {
			return nil, &Error{Fact: fmt.Sprintf("extended boot record of partition %d lies at sector %d, behind the end of the image", number, at), Advice: "copy or download the image again and compare its checksum"}
		}
		if _, err := f.ReadAt(record, int64(at)*512); err != nil {
			return nil, fmt.Errorf("cannot read the extended boot record at sector %d: %w", at, err)
		}
		if record[510] != 0x55 || record[511] != 0xaa {
			return nil, &Error{Fact: fmt.Sprintf("extended boot record at sector %d: signature is %x, want 55aa", at, record[510:]), Advice: "look at the table with sfdisk --dump"}
		}
		first, second := record[446:462], record[462:478]
		if count := binary.LittleEndian.Uint32(first[12:]); count > 0 && first[4] != 0 {
			p, err := newPartition(number, fmt.Sprintf("%02x", first[4]), at+uint64(binary.LittleEndian.Uint32(first[8:])), uint64(count), 512, size)
			if err != nil {
				return nil, err
			}
			out = append(out, p)
		}
		if !isExtended(second[4]) {
			return out, nil
		}
		next := base + uint64(binary.LittleEndian.Uint32(second[8:]))
		if next <= at {
			return nil, &Error{Fact: fmt.Sprintf("extended boot record at sector %d points back to sector %d", at, next), Advice: "the partition table runs in a circle; look at it with sfdisk --dump"}
		}
		at = next
	}
}
