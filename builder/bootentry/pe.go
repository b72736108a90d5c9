package bootentry

import (
	"bytes"
	"cmp"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// image is the headers of a PE file (Microsoft, "PE Format"), enough of them to read
// and to move sections. debug/pe also reads symbols and relocations, which we need
// not trust, and does not say where headers lie.
type image struct {
	size     int64 // of the file
	coff     int64 // where the COFF header lies
	optional int64 // where the optional header lies
	table    int64 // where the section table lies
	header   pe.FileHeader
	plus     bool // PE32+
	dirs     int  // data directories

	fileAlignment, sectionAlignment uint32
	sizeOfImage, sizeOfHeaders      uint32
	checksum                        uint32
	sections                        []pe.SectionHeader32
}

// Offsets in the optional header, the same in PE32 and PE32+.
const (
	optSizeOfInitializedData = 8
	optSectionAlignment      = 32
	optFileAlignment         = 36
	optSizeOfImage           = 56
	optSizeOfHeaders         = 60
	optCheckSum              = 64
	sectionHeaderSize        = 40
	debugEntrySize           = 28
)

// directories gives the offset of the data directories in the optional header.
func (m *image) directories() int64 {
	if m.plus {
		return 112
	}
	return 96
}

// parsePE reads headers. What is not PE at all gives errNotPE.
func parsePE(r io.ReaderAt, size int64) (*image, error) {
	var dos [64]byte
	if size < int64(len(dos)) {
		return nil, errNotPE
	}
	if _, err := r.ReadAt(dos[:], 0); err != nil {
		return nil, err
	}
	m := &image{size: size, coff: int64(binary.LittleEndian.Uint32(dos[0x3c:])) + 4}
	var mark [4]byte
	if dos[0] != 'M' || dos[1] != 'Z' || m.coff > size-20 {
		return nil, errNotPE
	}
	if _, err := r.ReadAt(mark[:], m.coff-4); err != nil {
		return nil, err
	}
	if string(mark[:]) != "PE\x00\x00" {
		return nil, errNotPE
	}
	if err := binary.Read(io.NewSectionReader(r, m.coff, 20), binary.LittleEndian, &m.header); err != nil {
		return nil, err
	}
	m.optional = m.coff + 20
	if err := m.readOptional(r); err != nil {
		return nil, err
	}
	return m, m.readSections(r)
}

var errNotPE = errors.New("not a PE file")

func (m *image) readOptional(r io.ReaderAt) error {
	opt := make([]byte, m.header.SizeOfOptionalHeader)
	m.table = m.optional + int64(len(opt))
	if m.table > m.size {
		return fmt.Errorf("PE: optional header ends at %#x, file at %#x", m.table, m.size)
	}
	if _, err := r.ReadAt(opt, m.optional); err != nil {
		return err
	}
	if len(opt) < 2 {
		return fmt.Errorf("PE: optional header has %d bytes", len(opt))
	}
	magic := binary.LittleEndian.Uint16(opt)
	m.plus = magic == 0x20b
	if (magic != 0x10b && magic != 0x20b) || len(opt) < int(m.directories()) {
		return fmt.Errorf("PE: optional header has magic %#x and %d bytes", magic, len(opt))
	}
	at := func(offset int) uint32 { return binary.LittleEndian.Uint32(opt[offset:]) }
	m.sectionAlignment, m.fileAlignment = at(optSectionAlignment), at(optFileAlignment)
	m.sizeOfImage, m.sizeOfHeaders, m.checksum = at(optSizeOfImage), at(optSizeOfHeaders), at(optCheckSum)
	m.dirs = min(int(at(int(m.directories())-4)), (len(opt)-int(m.directories()))/8)
	for name, n := range map[string]uint32{"section": m.sectionAlignment, "file": m.fileAlignment} {
		if n == 0 || n&(n-1) != 0 || n > 1<<21 {
			return fmt.Errorf("PE: %s alignment is %d, want a power of two up to 2 MiB", name, n)
		}
	}
	return nil
}

func (m *image) readSections(r io.ReaderAt) error {
	if m.header.NumberOfSections > maxSections {
		return fmt.Errorf("PE: %d sections, limit is %d", m.header.NumberOfSections, maxSections)
	}
	m.sections = make([]pe.SectionHeader32, m.header.NumberOfSections)
	if end := m.table + sectionHeaderSize*int64(len(m.sections)); end > m.size {
		return fmt.Errorf("PE: section table ends at %#x, file at %#x", end, m.size)
	}
	if err := binary.Read(io.NewSectionReader(r, m.table, sectionHeaderSize*int64(len(m.sections))), binary.LittleEndian, m.sections); err != nil {
		return err
	}
	for _, s := range m.sections {
		if end := int64(s.PointerToRawData) + int64(s.SizeOfRawData); s.SizeOfRawData > 0 && end > m.size {
			return fmt.Errorf("PE: section %s ends at %#x, file at %#x", sectionName(s), end, m.size)
		}
		if int64(s.VirtualAddress)+int64(s.VirtualSize) > 1<<32 {
			return fmt.Errorf("PE: section %s ends beyond 4 GiB of memory", sectionName(s))
		}
	}
	return nil
}

func sectionName(s pe.SectionHeader32) string {
	name, _, _ := bytes.Cut(s.Name[:], []byte{0})
	return string(name)
}

// named gives the numbers of the sections of a name.
func (m *image) named(name string) []int {
	var out []int
	for i, s := range m.sections {
		if sectionName(s) == name {
			out = append(out, i)
		}
	}
	return out
}

// content reads a short section: what memory would show of it, as systemd-stub takes
// it, without the zero bytes and line ends after it.
func (m *image) content(r io.ReaderAt, n int, limit uint32) ([]byte, error) {
	s := m.sections[n]
	size := min(s.VirtualSize, s.SizeOfRawData)
	if size > limit {
		return nil, fmt.Errorf("PE: section %s has %d bytes, limit is %d", sectionName(s), size, limit)
	}
	data := make([]byte, size)
	if _, err := r.ReadAt(data, int64(s.PointerToRawData)); err != nil && size > 0 {
		return nil, err
	}
	return bytes.TrimRight(data, "\x00\r\n"), nil
}

// directory gives entry n of the data directories.
func (m *image) directory(r io.ReaderAt, n int) (address, size uint32, err error) {
	if n >= m.dirs {
		return 0, 0, nil
	}
	var entry [8]byte
	if _, err := r.ReadAt(entry[:], m.optional+m.directories()+int64(n)*8); err != nil {
		return 0, 0, err
	}
	return binary.LittleEndian.Uint32(entry[:]), binary.LittleEndian.Uint32(entry[4:]), nil
}

// Numbers of data directories.
const (
	dirSecurity = 4
	dirDebug    = 6
)

// signed says whether the file has a certificate table.
func (m *image) signed(r io.ReaderAt) (bool, error) {
	_, size, err := m.directory(r, dirSecurity)
	return size > 0, err
}

// setSection gives a section new content and returns the new file. Data behind the
// section moves when the room in the file does not do; addresses in memory never do.
func setSection(data []byte, n int, content []byte) ([]byte, error) {
	m, err := parsePE(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	s := &m.sections[n]
	if room := m.room(n); int64(len(content)) > room {
		return nil, fmt.Errorf("PE: section %s has room for %d bytes in memory, want %d", sectionName(*s), room, len(content))
	}
	if s.SizeOfRawData == 0 || s.PointerToRawData == 0 {
		return nil, fmt.Errorf("PE: section %s has no data in the file", sectionName(*s))
	}
	oldRaw := s.SizeOfRawData
	out := data
	if need := alignUp(uint32(len(content)), m.fileAlignment); need > oldRaw {
		if out, err = m.insert(data, n, need-oldRaw); err != nil {
			return nil, err
		}
	} else {
		out = bytes.Clone(data)
	}
	old := min(s.VirtualSize, oldRaw)
	begin := s.PointerToRawData
	copy(out[begin:], content)
	if int(old) > len(content) {
		clear(out[int(begin)+len(content) : begin+old])
	}
	s.VirtualSize = uint32(len(content))
	if n == m.lastInMemory() {
		m.sizeOfImage = max(m.sizeOfImage, alignUp(s.VirtualAddress+s.VirtualSize, m.sectionAlignment))
	}
	m.writeHeaders(out)
	return out, nil
}

// room is how far a section can grow in memory before the next one begins.
func (m *image) room(n int) int64 {
	room := int64(1)<<32 - int64(m.sections[n].VirtualAddress)
	for i, other := range m.sections {
		if d := int64(other.VirtualAddress) - int64(m.sections[n].VirtualAddress); i != n && d >= 0 {
			room = min(room, d)
		}
	}
	return room
}

func (m *image) lastInMemory() int {
	last := 0
	for i := range m.sections {
		if m.sections[i].VirtualAddress > m.sections[last].VirtualAddress {
			last = i
		}
	}
	return last
}

// insert makes room in the file behind section n and moves what points beyond.
func (m *image) insert(data []byte, n int, more uint32) ([]byte, error) {
	s := &m.sections[n]
	at := s.PointerToRawData + s.SizeOfRawData
	for i, other := range m.sections {
		if i != n && other.SizeOfRawData > 0 && other.PointerToRawData < at && other.PointerToRawData+other.SizeOfRawData > s.PointerToRawData {
			return nil, fmt.Errorf("PE: sections %s and %s share bytes of the file", sectionName(*s), sectionName(other))
		}
	}
	if int64(len(data))+int64(more) > maxImage {
		return nil, fmt.Errorf("PE: file would have more than %d bytes", maxImage)
	}
	debug, err := m.debugPointers(data)
	if err != nil {
		return nil, err
	}
	out := slices.Concat(data[:at], make([]byte, more), data[at:])
	for i := range m.sections {
		if i != n && m.sections[i].PointerToRawData >= at {
			m.sections[i].PointerToRawData += more
		}
	}
	if m.header.PointerToSymbolTable >= at {
		m.header.PointerToSymbolTable += more
	}
	for _, where := range debug {
		value := binary.LittleEndian.Uint32(data[where:])
		if where >= at {
			where += more
		}
		if value >= at {
			binary.LittleEndian.PutUint32(out[where:], value+more)
		}
	}
	s.SizeOfRawData += more
	m.addInitialized(out, more)
	return out, nil
}

// addInitialized keeps the sum of sections' sizes in the optional header right.
func (m *image) addInitialized(out []byte, more uint32) {
	field := out[m.optional+optSizeOfInitializedData:]
	binary.LittleEndian.PutUint32(field, binary.LittleEndian.Uint32(field)+more)
}

// debugPointers finds the file offsets in the debug directory: they, too, move.
func (m *image) debugPointers(data []byte) ([]uint32, error) {
	address, size, err := m.directory(bytes.NewReader(data), dirDebug)
	if err != nil || size == 0 {
		return nil, err
	}
	for _, s := range m.sections {
		if address < s.VirtualAddress || uint64(address)+uint64(size) > uint64(s.VirtualAddress)+uint64(s.SizeOfRawData) {
			continue
		}
		var out []uint32
		begin := s.PointerToRawData + address - s.VirtualAddress
		for at := begin; at+debugEntrySize <= begin+size; at += debugEntrySize {
			out = append(out, at+24)
		}
		return out, nil
	}
	return nil, fmt.Errorf("PE: debug directory at address %#x is in no section", address)
}

// addSection puts a new section at the end of the file and of the memory.
func addSection(data []byte, name string, content []byte) ([]byte, error) {
	m, err := parsePE(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	end := m.table + sectionHeaderSize*int64(len(m.sections))
	limit := int64(m.sizeOfHeaders)
	for _, s := range m.sections {
		if s.SizeOfRawData > 0 {
			limit = min(limit, int64(s.PointerToRawData))
		}
	}
	if end+sectionHeaderSize > min(limit, m.size) || len(m.sections) == maxSections || strings.Trim(string(data[end:end+sectionHeaderSize]), "\x00") != "" {
		return nil, errors.New("PE: no room for another section in the headers")
	}
	out := append(bytes.Clone(data), make([]byte, alignUp(uint32(len(data)), m.fileAlignment)-uint32(len(data)))...)
	s := pe.SectionHeader32{VirtualSize: uint32(len(content)), VirtualAddress: m.memoryEnd(), PointerToRawData: uint32(len(out)),
		SizeOfRawData:   alignUp(uint32(len(content)), m.fileAlignment),
		Characteristics: pe.IMAGE_SCN_CNT_INITIALIZED_DATA | pe.IMAGE_SCN_MEM_READ}
	copy(s.Name[:], name)
	out = append(out, content...)
	out = append(out, make([]byte, int(s.SizeOfRawData)-len(content))...)
	m.sections = append(m.sections, s)
	m.header.NumberOfSections++
	m.sizeOfImage = alignUp(s.VirtualAddress+s.VirtualSize, m.sectionAlignment)
	m.addInitialized(out, s.SizeOfRawData)
	m.writeHeaders(out)
	return out, nil
}

// memoryEnd is the first address behind all sections.
func (m *image) memoryEnd() uint32 {
	last := slices.MaxFunc(m.sections, func(a, b pe.SectionHeader32) int {
		return cmp.Compare(a.VirtualAddress+a.VirtualSize, b.VirtualAddress+b.VirtualSize)
	})
	return alignUp(max(m.sizeOfImage, last.VirtualAddress+last.VirtualSize), m.sectionAlignment)
}

// writeHeaders writes what setSection and addSection may have changed. A checksum of
// zero says that there is none; firmware does not look at it.
func (m *image) writeHeaders(out []byte) {
	header, _ := binary.Append(nil, binary.LittleEndian, m.header)
	copy(out[m.coff:], header)
	sections, _ := binary.Append(nil, binary.LittleEndian, m.sections)
	copy(out[m.table:], sections)
	binary.LittleEndian.PutUint32(out[m.optional+optSizeOfImage:], m.sizeOfImage)
	if m.checksum != 0 {
		binary.LittleEndian.PutUint32(out[m.optional+optCheckSum:], checksumPE(out, m.optional+optCheckSum))
	}
}

// checksumPE is CheckSumMappedFile's: 16-bit words added with their carries, the
// field itself taken for zero, and the file's size.
func checksumPE(data []byte, field int64) uint32 {
	sum := uint64(0)
	for i := 0; i < len(data); i += 2 {
		if int64(i) == field || int64(i) == field+2 {
			continue
		}
		if i+1 < len(data) {
			sum += uint64(binary.LittleEndian.Uint16(data[i:]))
		} else {
			sum += uint64(data[i])
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint32(sum) + uint32(len(data))
}

func alignUp(n, to uint32) uint32 { return (n + to - 1) &^ (to - 1) }
