package fat

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestAlias(t *testing.T) {
	for _, c := range []struct {
		name, taken, want string
		whole             bool
	}{
		{"GRUB.CFG", "", "GRUB.CFG", true},
		{"EFI", "", "EFI", true},
		{"grub.cfg", "", "GRUB.CFG", false},
		{"grub.cfg", "GRUB.CFG", "GRUB~1.CFG", false},
		{"shimx64.efi.signed", "", "SHIMX6~1.SIG", false},
		{"long file name.conf", "LONGFI~1.CON LONGFI~2.CON", "LONGFI~3.CON", false},
		{"a b.c", "", "AB~1.C", false},
		{"no+such.c", "", "NO_SUC~1.C", false},
		{".config", "", "CONFIG~1", false},
		{"größe", "", "GR__E~1", false},
		{"文件.efi", "", "__~1.EFI", false},
		{" .x", "", "~1.X", false},
		{"12345678", "", "12345678", true},
		{"123456789", "", "123456~1", false},
		{"x.html", "", "X~1.HTM", false},
	} {
		taken := strings.Fields(c.taken)
		got, whole, err := alias(c.name, func(s string) bool { return strings.Contains(" "+strings.Join(taken, " ")+" ", " "+s+" ") })
		if got.String() != c.want || whole != c.whole || err != nil {
			t.Errorf("alias of %q with %q taken is %q, whole name %v, %v, want %q, %v", c.name, c.taken, got, whole, err, c.want, c.whole)
		}
	}
	n := 0
	got, _, err := alias("same name.txt", func(string) bool { n++; return n <= 1234 })
	if want := "SAM~1235.TXT"; got.String() != want || err != nil {
		t.Errorf("alias after 1234 others is %q, %v, want %q", got, err, want)
	}
	if _, _, err := alias("same name.txt", func(string) bool { return true }); err == nil {
		t.Error("no alias is free: no error")
	}
}

// TestLongNames takes names of every length apart and puts them together again.
func TestLongNames(t *testing.T) {
	short := makeShort("X", "Y")
	for n := 1; n <= maxNameUnits; n++ {
		name := strings.Repeat("n", n-1) + "Ω"
		var long longName
		slots := longSlots(name, short)
		if want := (n + unitsPerSlot - 1) / unitsPerSlot; len(slots) != want {
			t.Fatalf("name of %d characters has %d entries, want %d", n, len(slots), want)
		}
		for i := range slots {
			long.add(slots[i][:], i)
		}
		if got, ok := long.name(short); got != name || !ok {
			t.Errorf("name of %d characters comes back as %q, %v", n, got, ok)
		}
		if _, ok := long.name(makeShort("X", "Z")); ok {
			t.Error("long name was taken for that of another short name")
		}
	}
}

// TestNameOfTooManyUnits fills 20 entries, which is more than a name may have.
func TestNameOfTooManyUnits(t *testing.T) {
	var long longName
	short := makeShort("X", "")
	for i, s := range longSlots(strings.Repeat("n", maxNameSlots*unitsPerSlot), short) {
		long.add(s[:], i)
	}
	if name, ok := long.name(short); ok {
		t.Errorf("name of %d characters is taken, limit is %d", len(name), maxNameUnits)
	}
}

func TestTimes(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"1980-01-01T00:00:00Z", "1980-01-01T00:00:00Z"},
		{"2107-12-31T23:59:59Z", "2107-12-31T23:59:58Z"},
		{"2026-02-28T12:34:57.9Z", "2026-02-28T12:34:56Z"},
		{"2026-01-01T00:30:00+02:00", "2025-12-31T22:30:00Z"},
		{"1980-01-01T00:30:00+02:00", "year 1979"},
		{"2107-12-31T23:59:59-02:00", "year 2108"},
	} {
		in, err := time.Parse(time.RFC3339Nano, c.in)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := storable(in)
		got := fmt.Sprintf("year %d", stored.Year())
		if err == nil {
			date, clock := encodeTime(stored)
			got = decodeTime(date, clock).Format(time.RFC3339)
		}
		if got != c.want {
			t.Errorf("%s is stored as %s, want %s", c.in, got, c.want)
		}
	}
	if got := decodeTime(0, 0); !got.Equal(time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("no date is %v, want the first", got)
	}
}

func TestCodePage(t *testing.T) {
	if len(codePage437) != 128 {
		t.Fatalf("code page has %d upper characters, want 128", len(codePage437))
	}
	for in, want := range map[string]string{"\x80": "Ç", "\xe1": "ß", "\xff": "\u00a0", "\xb0": "░", "A": "A"} {
		if got := decodeCodePage([]byte(in)); got != want {
			t.Errorf("% x is %q, want %q", in, got, want)
		}
	}
}
