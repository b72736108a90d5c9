package fat

import (
	"fmt"
	"io/fs"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// codePage437 are the characters of the bytes from 128 on, as in Linux's
// fs/nls/nls_cp437.c.
var codePage437 = []rune("ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0")

func decodeCodePage(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		if c < 0x80 {
			s.WriteByte(c)
		} else {
			s.WriteRune(codePage437[c-0x80])
		}
	}
	return s.String()
}

// fold maps names that differ only in case to one: each character to its upper
// case, as VFAT does.
func fold(name string) string { return strings.Map(unicode.ToUpper, name) }

// checkPath demands a clean, rooted name whose parts FAT can hold.
func checkPath(name string) error {
	if !strings.HasPrefix(name, "/") || name != rootfs.Clean(name) {
		return fmt.Errorf("name is %q, want it rooted and clean: %w", name, fs.ErrInvalid)
	}
	if name == "/" {
		return nil
	}
	for part := range strings.SplitSeq(name[1:], "/") {
		if err := checkName(part); err != nil {
			return err
		}
	}
	return nil
}

func checkName(name string) error {
	if !utf8.ValidString(name) {
		return fmt.Errorf("name %q is not UTF-8: %w", name, fs.ErrInvalid)
	}
	for _, c := range name {
		if c < 0x20 || c == 0x7F || strings.ContainsRune(`"*/:<>?\|`, c) {
			return fmt.Errorf("name %q has the character %q, which FAT forbids: %w", name, c, fs.ErrInvalid)
		}
	}
	if last := name[len(name)-1]; last == '.' || last == ' ' {
		return fmt.Errorf("name %q ends in a dot or a space, which VFAT drops: %w", name, fs.ErrInvalid)
	}
	if n := len(utf16.Encode([]rune(name))); n > maxNameUnits {
		return fmt.Errorf("name has %d characters in UTF-16, limit is %d: %w", n, maxNameUnits, fs.ErrInvalid)
	}
	return nil
}

// shortName is a name as a directory entry has it: 8 and 3 bytes, filled up with
// spaces.
type shortName [11]byte

// String gives the name with its dot.
func (s shortName) String() string {
	base := strings.TrimRight(decodeCodePage(s[:8]), " ")
	if ext := strings.TrimRight(decodeCodePage(s[8:]), " "); ext != "" {
		return base + "." + ext
	}
	return base
}

// checksum ties long-name entries to their short name (ChkSum in the
// specification).
func (s shortName) checksum() byte {
	var sum byte
	for _, c := range s {
		sum = sum<<7 | sum>>1
		sum += c
	}
	return sum
}

func makeShort(base, ext string) shortName {
	s := shortName([]byte("           "))
	copy(s[:8], base)
	copy(s[8:], ext)
	return s
}

// shortBasis is the "basis name" of the specification: the name in upper case,
// without spaces and without dots but the last, other characters as '_'. Exact says
// that nothing but case was lost and that it fits.
func shortBasis(name string) (base, ext string, exact bool) {
	stem, suffix := name, ""
	if dot := strings.LastIndexByte(name, '.'); dot > 0 {
		stem, suffix = name[:dot], name[dot+1:]
	}
	exact = true
	clean := func(s string, limit int) string {
		var out []byte
		for _, c := range strings.ToUpper(s) {
			switch {
			case c == ' ' || c == '.':
				exact = false
			case c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c < 0x80 && strings.ContainsRune("!#$%&'()-@^_`{}~", c):
				out = append(out, byte(c))
			default:
				out, exact = append(out, '_'), false
			}
		}
		if len(out) > limit {
			out, exact = out[:limit], false
		}
		return string(out)
	}
	return clean(stem, 8), clean(suffix, 3), exact
}

// alias finds the short name for a new file, and says whether it is the whole name,
// so that no long one is needed.
func alias(name string, taken func(string) bool) (shortName, bool, error) {
	base, ext, exact := shortBasis(name)
	plain := makeShort(base, ext)
	if exact && !taken(plain.String()) {
		return plain, plain.String() == name, nil
	}
	for n := 1; n <= maxDirSlots; n++ { // a directory cannot hold more
		tail := fmt.Sprintf("~%d", n)
		s := makeShort(base[:min(len(base), 8-len(tail))]+tail, ext)
		if !taken(s.String()) {
			return s, false, nil
		}
	}
	return shortName{}, false, fmt.Errorf("no 8.3 alias is free for %q", name)
}

// Offsets of a long name's code units in an entry.
var unitOffsets = [unitsPerSlot]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}

const (
	lastLong    = 0x40 // in the first byte of the entry that comes first
	deletedSlot = 0xE5
	freeSlots   = 0x00 // this and all following entries
)

// longSlots gives the entries of a long name, in their order on the disk.
func longSlots(name string, short shortName) [][slotBytes]byte {
	units := utf16.Encode([]rune(name))
	if len(units)%unitsPerSlot != 0 {
		units = append(units, 0)
	}
	for len(units)%unitsPerSlot != 0 {
		units = append(units, 0xFFFF)
	}
	count := len(units) / unitsPerSlot
	slots := make([][slotBytes]byte, count)
	for i := range slots {
		number := count - i
		s := &slots[i]
		s[0], s[11], s[13] = byte(number), attrLong, short.checksum()
		if i == 0 {
			s[0] |= lastLong
		}
		for j, at := range unitOffsets {
			u := units[(number-1)*unitsPerSlot+j]
			s[at], s[at+1] = byte(u), byte(u>>8)
		}
	}
	return slots
}

// longName collects the entries of a long name while a directory is read.
type longName struct {
	units    []uint16
	want     int // number of the entry to come, 0 when complete
	checksum byte
	slot     int // of the first entry
}

// add takes an entry; one out of order ends the name, as the specification has it
// for leftovers of systems without long names.
func (l *longName) add(s []byte, slot int) {
	number := int(s[0] &^ lastLong)
	switch {
	case s[0]&lastLong != 0 && number >= 1 && number <= maxNameSlots:
		*l = longName{units: make([]uint16, number*unitsPerSlot), want: number, checksum: s[13], slot: slot}
	case l.units == nil || number != l.want || number == 0 || s[13] != l.checksum:
		*l = longName{}
		return
	}
	for j, at := range unitOffsets {
		l.units[(number-1)*unitsPerSlot+j] = le16(s, at)
	}
	l.want--
}

// name gives the long name if it is complete, no longer than allowed, and belongs
// to the short one.
func (l *longName) name(short shortName) (string, bool) {
	if l.units == nil || l.want != 0 || l.checksum != short.checksum() {
		return "", false
	}
	units := l.units
	for i, u := range units {
		if u == 0 {
			units = units[:i]
			break
		}
	}
	return string(utf16.Decode(units)), len(units) <= maxNameUnits
}
