package image

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"strings"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/diskfs/go-diskfs/partition/mbr"
)

// Limits on what a partition table may ask us to read.
const (
	maxGPTEntries = 1024 // tools make 128, some up to 256
	gptEntrySize  = 128  // Linux takes no other (is_gpt_valid in block/partitions/efi.c)
	maxLogical    = 64   // logical partitions followed, as sda5 to sda68
)

// partition is a byte range of the image with its number and type.
type partition struct {
	number int
	kind   string // type GUID in upper case, or MBR type as two hex digits
	label  string
	uuid   string // as in PARTUUID= of fstab(5), in lower case
	hidden bool   // not to be found by its type (UAPI.2, the no-auto flag)
	start  int64
	size   int64
}

// table is a partition table: "gpt", "mbr", or "none" for a bare file system.
type table struct {
	scheme     string
	sectorSize int64
	partitions []partition
	warnings   []string // what is odd about it and does not stop us
}

// disk is an image as the library wants it: a file, of which it uses ReadAt and
// Seek only.
type disk struct{ *io.SectionReader }

func (disk) Stat() (fs.FileInfo, error) { return nil, errors.ErrUnsupported }
func (disk) Close() error               { return nil }

// readTable reads the partition table of r, which is size bytes long.
func readTable(r io.ReaderAt, size int64) (table, error) {
	d := disk{io.NewSectionReader(r, 0, size)}
	head := make([]byte, 512)
	if n, err := d.ReadAt(head, 0); n < len(head) {
		if errors.Is(err, io.EOF) {
			err = nil // smaller than any table
		}
		return table{scheme: "none", sectorSize: 512}, err
	}
	protective, foreign := entries(head)
	for _, sector := range []int64{512, 4096} {
		found, err := hasGPT(d, sector, sector)
		switch {
		case err == nil && !found:
		case err == nil && protective == 0 && foreign > 0:
			// A disk that got an MBR later. Linux does not look at the GPT either
			// (is_pmbr_valid in block/partitions/efi.c).
			t, err := readMBR(d)
			t.warnings = append(t.warnings, "there is a GPT too, which the MBR says nothing about: the MBR is used, as Linux does")
			return t, err
		default:
			return orGPT(d, sector, err)
		}
	}
	if head[510] != 0x55 || head[511] != 0xaa {
		return table{scheme: "none", sectorSize: 512}, nil
	}
	return readMBR(d)
}

// entries counts what the entries of an MBR do: protect a GPT, or something else.
func entries(record []byte) (protective, foreign int) {
	for slot := 446; slot < 510 && record[510] == 0x55 && record[511] == 0xaa; slot += 16 {
		switch kind, count := record[slot+4], binary.LittleEndian.Uint32(record[slot+12:]); {
		case kind == typeProtective:
			protective++
		case kind != 0 && count != 0:
			foreign++
		}
	}
	return protective, foreign
}

func orGPT(d disk, sector int64, err error) (table, error) {
	if err != nil {
		return table{}, err
	}
	return readGPT(d, sector)
}

var gptSignature = [8]byte{'E', 'F', 'I', ' ', 'P', 'A', 'R', 'T'}

// hasGPT says whether a GPT header stands at byte at, and refuses one whose entry
// array, or that of its backup, is larger than any tool makes: the library would
// ask for as much memory.
func hasGPT(d disk, at, sector int64) (bool, error) {
	found, err := boundedHeader(d, at)
	if err != nil || !found {
		return found, err
	}
	_, err = boundedHeader(d, backupHeader(d, sector))
	return true, err
}

// backupHeader is where UEFI puts the second header: the last sector.
func backupHeader(d disk, sector int64) int64 { return (d.Size()/sector - 1) * sector }

func boundedHeader(d disk, at int64) (found bool, err error) {
	header := make([]byte, 92)
	if n, err := d.ReadAt(header, at); n < len(header) {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return false, err
	}
	if [8]byte(header[:8]) != gptSignature {
		return false, nil
	}
	sum := binary.LittleEndian.Uint32(header[16:])
	clear(header[16:20])
	if sum != crc32.ChecksumIEEE(header) {
		return true, nil // damaged: nobody believes its numbers
	}
	count, entry := binary.LittleEndian.Uint32(header[80:]), binary.LittleEndian.Uint32(header[84:])
	if count == 0 || count > maxGPTEntries || entry != gptEntrySize {
		return false, &Error{
			Fact:   fmt.Sprintf("GPT header at byte %#x: array is %d entries of %d bytes, want 1 to %d of %d", at, count, entry, maxGPTEntries, gptEntrySize),
			Advice: "look at the table with sgdisk -v; it is damaged or was made to be read wrong",
		}
	}
	return true, nil
}

// readGPT reads a GPT, by its backup where the first one is damaged.
func readGPT(d disk, sector int64) (t table, err error) {
	// The library was seen to panic on hostile tables; a damaged image must not
	// end the build with a stack trace.
	defer func() {
		if r := recover(); r != nil {
			err = &Error{Fact: fmt.Sprintf("GPT cannot be parsed: %v", r), Advice: "look at the table with sgdisk -v"}
		}
	}()
	parsed, err := gpt.Read(d, int(sector), int(sector))
	if err != nil {
		return table{}, &Error{Fact: fmt.Sprintf("GPT is damaged: %v", err), Advice: "look at the table with sgdisk -v"}
	}
	t = table{scheme: "gpt", sectorSize: sector}
	if t.warnings, err = oddities(d, sector, parsed.RecoveredFromBackup); err != nil {
		return table{}, err
	}
	for _, p := range parsed.Partitions {
		if p.Type == gpt.Unused {
			continue
		}
		one, err := newPartition(p.Index, strings.ToUpper(string(p.Type)), p.Start, p.End-p.Start+1, sector, d.Size())
		if err != nil {
			return table{}, err
		}
		one.label, one.uuid, one.hidden = p.Name, strings.ToLower(p.GUID), p.Attributes&noAuto != 0
		t.partitions = append(t.partitions, one)
	}
	return t, nil
}

// noAuto is the attribute of a partition that its type says nothing about
// (UAPI.2, Discoverable Partitions Specification, SD_GPT_FLAG_NO_AUTO).
const noAuto = 1 << 63

// oddities says what is unusual about a GPT that can be read.
func oddities(d disk, sector int64, recovered bool) ([]string, error) {
	var out []string
	if recovered {
		out = append(out, "the first GPT is damaged or gone: its backup was read; sgdisk -e or gdisk can mend it")
	} else {
		header := make([]byte, 40)
		if _, err := d.ReadAt(header, sector); err != nil {
			return nil, err
		}
		switch backup, last := binary.LittleEndian.Uint64(header[32:]), uint64(d.Size()/sector-1); {
		case backup < last:
			out = append(out, fmt.Sprintf("the backup GPT is at sector %d, the image ends with sector %d: it was grown; sgdisk -e moves the backup to the end", backup, last))
		case backup > last:
			out = append(out, fmt.Sprintf("the backup GPT is at sector %d, the image ends with sector %d: it was cut behind its last partition; sgdisk -e writes a new backup", backup, last))
		}
	}
	record := make([]byte, 512)
	if _, err := d.ReadAt(record, 0); err != nil {
		return nil, err
	}
	if _, n := entries(record); n > 0 {
		out = append(out, fmt.Sprintf("hybrid MBR: the GPT is used, the MBR entries beside it (%d) are not", n))
	}
	return out, nil
}

// newPartition checks a partition given in sectors against the image.
func newPartition(number int, kind string, start, count uint64, sector, size int64) (partition, error) {
	limit := uint64(1<<61) / uint64(sector) // so that a sum of two fits
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

// MBR partition types with a meaning for the table.
const (
	typeExtended    = 0x05
	typeExtendedLBA = 0x0f
	typeExtendedLnx = 0x85
	typeProtective  = 0xee // the disk has a GPT (UEFI 2.10, section 5.2.3)
)

func isExtended(kind byte) bool {
	return kind == typeExtended || kind == typeExtendedLBA || kind == typeExtendedLnx
}

func readMBR(d disk) (table, error) {
	parsed, err := mbr.Read(d, 512, 512)
	if err != nil {
		// A boot sector alone, such as one of a bare file system.
		return table{scheme: "none", sectorSize: 512}, nil
	}
	id := parsed.UUID()
	t, logical := table{scheme: "mbr", sectorSize: 512}, chain{disk: d, id: id, number: 5}
	for i, p := range parsed.Partitions {
		if p == nil || p.Type == mbr.Empty || p.Size == 0 {
			continue
		}
		if byte(p.Type) == typeProtective {
			return readBackupGPT(d)
		}
		if isExtended(byte(p.Type)) {
			if err := logical.follow(uint64(p.Start)); err != nil {
				return table{}, err
			}
			continue
		}
		one, err := newPartition(i+1, fmt.Sprintf("%02x", byte(p.Type)), uint64(p.Start), uint64(p.Size), 512, d.Size())
		if err != nil {
			return table{}, err
		}
		one.uuid = mbrUUID(id, one.number)
		t.partitions = append(t.partitions, one)
	}
	if t.partitions = append(t.partitions, logical.found...); len(t.partitions) == 0 {
		return table{scheme: "none", sectorSize: 512}, nil
	}
	return t, nil
}

// mbrUUID is what stands for the identity of a partition of a disk without a GPT:
// the disk's, which is 8 hex digits, and the number (part_uuid in the kernel's
// block/partitions/msdos.c).
func mbrUUID(disk string, number int) string { return fmt.Sprintf("%s-%02x", disk, number) }

// readBackupGPT is for a disk that says it has a GPT and lost the first header.
func readBackupGPT(d disk) (table, error) {
	for _, sector := range []int64{512, 4096} {
		if found, err := boundedHeader(d, backupHeader(d, sector)); err != nil || found {
			return orGPT(d, sector, err)
		}
	}
	return table{}, &Error{Fact: "the MBR says that there is a GPT, and there is none", Advice: "copy or download the image again and compare its checksum; look at the table with sgdisk -v"}
}

// chain gathers logical partitions along extended boot records, numbered as Linux
// does: an empty record takes no number.
type chain struct {
	disk   disk
	id     string // of the disk
	number int    // of the next one
	found  []partition
}

// follow walks the chain of records that starts at sector base. It may run
// backward, as tools leave it when a gap is filled later, but not in a circle.
func (c *chain) follow(base uint64) error {
	seen := map[uint64]bool{}
	for at := base; ; {
		if seen[at] {
			return &Error{Fact: fmt.Sprintf("extended boot records run in a circle through sector %d", at), Advice: "the partition table is damaged; look at it with sfdisk --dump"}
		}
		if seen[at] = true; len(seen) > maxLogical {
			return &Error{Fact: fmt.Sprintf("more than %d extended boot records", maxLogical), Advice: "look at the table with sfdisk --dump"}
		}
		next, more, err := c.record(at, base)
		if err != nil || !more {
			return err
		}
		at = next
	}
}

// record reads one extended boot record. Its partition is counted from its own
// sector, the link to the next one from base.
func (c *chain) record(at, base uint64) (next uint64, more bool, err error) {
	if at >= uint64(c.disk.Size())/512 {
		return 0, false, &Error{Fact: fmt.Sprintf("extended boot record at sector %d lies behind the end of the image at sector %d: it is truncated", at, c.disk.Size()/512), Advice: "copy or download the image again and compare its checksum"}
	}
	data := make([]byte, 512)
	if _, err := c.disk.ReadAt(data, int64(at)*512); err != nil {
		return 0, false, fmt.Errorf("cannot read the extended boot record at sector %d: %w", at, err)
	}
	if data[510] != 0x55 || data[511] != 0xaa {
		return 0, false, &Error{Fact: fmt.Sprintf("extended boot record at sector %d: signature is %x, want 55aa", at, data[510:]), Advice: "look at the table with sfdisk --dump"}
	}
	for slot := 446; slot < 446+2*16; slot += 16 { // the other two are not used
		entry := data[slot : slot+16]
		kind, start, count := entry[4], binary.LittleEndian.Uint32(entry[8:]), binary.LittleEndian.Uint32(entry[12:])
		switch {
		case kind == 0 || count == 0:
		case isExtended(kind):
			next, more = base+uint64(start), true
		default:
			p, err := newPartition(c.number, fmt.Sprintf("%02x", kind), at+uint64(start), uint64(count), 512, c.disk.Size())
			if err != nil {
				return 0, false, err
			}
			p.uuid = mbrUUID(c.id, c.number)
			c.number++
			c.found = append(c.found, p)
		}
	}
	return next, more, nil
}
