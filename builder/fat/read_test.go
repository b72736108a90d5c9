package fat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/kerngate/kerngate/builder/rootfs"
)

func TestTreeContract(t *testing.T) {
	img, want := small(t, 16)
	f := img.open(t)
	want.compareOurs(t, f)
	calls := map[string]func(string) error{
		"Lstat":    func(n string) error { _, err := f.Lstat(n); return err },
		"Open":     func(n string) error { _, err := f.Open(n); return err },
		"ReadDir":  func(n string) error { _, err := f.ReadDir(n); return err },
		"Readlink": func(n string) error { _, err := f.Readlink(n); return err },
		"Xattrs":   func(n string) error { _, err := f.Xattrs(n); return err },
	}
	for call, do := range calls {
		for name, want := range map[string]error{"/none": fs.ErrNotExist, "/EFI/none/x": fs.ErrNotExist, "/hidden.sys/x": syscall.ENOTDIR, "EFI": fs.ErrInvalid, "/EFI/": fs.ErrInvalid, "/a/../EFI": fs.ErrInvalid} {
			if err := do(name); !errors.Is(err, want) {
				t.Errorf("%s(%q): error is %v, want %v", call, name, err, want)
			}
		}
	}
	for call, name := range map[string]string{"Open": "/EFI", "ReadDir": "/hidden.sys", "Readlink": "/hidden.sys"} {
		if err := calls[call](name); err == nil {
			t.Errorf("%s(%q): no error", call, name)
		}
	}
	if calls["Open"]("/") == nil || calls["Xattrs"]("/EFI") != nil || calls["Xattrs"]("/") != nil {
		t.Error("the root can be opened, or a directory has attributes")
	}
	if info, err := f.Lstat("/"); err != nil || info.Mode != fs.ModeDir|0o755 || info.Links != 1 {
		t.Errorf("root is %+v, %v", info, err)
	}
	list, err := f.ReadDir("/EFI")
	if got := slices.Collect(func(yield func(string) bool) {
		for _, e := range list {
			yield(e.Name + e.Type.String()[:1])
		}
	}); err != nil || !slices.Equal(got, []string{"BOOTd", "Long Name Directoryd"}) {
		t.Errorf("/EFI holds %q, %v", got, err)
	}
	if name, err := rootfs.Resolve(f, "/EFI/BOOT/../BOOT/grub.cfg"); name != "/EFI/BOOT/grub.cfg" || err != nil {
		t.Errorf("resolved to %q, %v", name, err)
	}
}

func TestReadAt(t *testing.T) {
	img, want := small(t, 12)
	// In the way of a contiguous file: what is removed, and what comes behind it.
	must(t, img.edit(write("/1", random(1, 600)), write("/2", random(2, 600)), write("/3", random(3, 600))))
	must(t, img.edit(remove("/2"), write("/parts", random(4, 5000))))
	f := img.open(t)
	for name, data := range map[string][]byte{"/parts": random(4, 5000), "/EFI/BOOT/BOOTX64.EFI": want["/EFI/BOOT/BOOTX64.EFI"]} {
		file, err := f.Open(name)
		must(t, err)
		for _, c := range [][2]int{{0, 1}, {511, 2}, {512, 512}, {1000, 3000}, {0, len(data)}, {len(data) - 1, 1}, {len(data) - 1, 5}, {len(data), 1}, {len(data) + 900, 1}} {
			got := make([]byte, c[1])
			n, err := file.ReadAt(got, int64(c[0]))
			rest := data[min(c[0], len(data)):min(c[0]+c[1], len(data))]
			if !bytes.Equal(got[:n], rest) || (err == io.EOF) != (n < c[1]) || (err != nil && err != io.EOF) {
				t.Errorf("%s: %d bytes at %d are %d bytes, %v, want %d", name, c[1], c[0], n, err, len(rest))
			}
		}
		if _, err := file.ReadAt(make([]byte, 1), -1); err == nil {
			t.Errorf("%s: read at -1: no error", name)
		}
	}
}

// TestShortNames has what other systems write: no long name, lower case flags, bytes
// of a code page, 0x05 in place of 0xE5, long names that lost their file.
func TestShortNames(t *testing.T) {
	img := shape{12, 512, 1, 1 << 20}.make(t)
	file := filepath.Join(t.TempDir(), "f")
	must(t, os.WriteFile(file, []byte("content"), 0o644))
	for _, name := range []string{"PLAIN.TXT", "LOWER.TXT", "XBER.TXT", "XSIGMA", "NOEXT"} {
		img.mtools(t, "mcopy", file, "::/"+name)
	}
	must(t, img.edit(write("/orphaned long name", []byte("x"))))
	f := img.open(t)
	img.poke(t, slotOf(t, f, "/LOWER.TXT").at+12, lowerBase|lowerExt)
	img.poke(t, slotOf(t, f, "/XBER.TXT").at, 0x9A)
	img.poke(t, slotOf(t, f, "/XSIGMA").at, 0x05)
	img.poke(t, slotOf(t, f, "/orphaned long name").at, []byte("RENAMED ")...)
	list, err := img.open(t).ReadDir("/")
	must(t, err)
	var got []string
	for _, e := range list {
		got = append(got, e.Name)
	}
	if want := []string{"NOEXT", "PLAIN.TXT", "RENAMED", "lower.txt", "ÜBER.TXT", "σSIGMA"}; !slices.Equal(got, want) {
		t.Errorf("names are %q, want %q", got, want)
	}
}

func TestBootSector(t *testing.T) {
	img, _ := small(t, 32)
	clean := img.peek(t, 0, 512)
	other, _ := small(t, 12)
	fixed := other.peek(t, 0, 512)
	put16 := func(at int, v uint16) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint16(b[at:], v) }
	}
	put32 := func(at int, v uint32) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint32(b[at:], v) }
	}
	put8 := func(at int, v byte) func([]byte) { return func(b []byte) { b[at] = v } }
	for _, c := range []struct {
		name   string
		from   []byte
		change func([]byte)
		want   string // of the error; "" for none
	}{
		{"FAT32 as it is", clean, func([]byte) {}, ""},
		{"FAT12 as it is", fixed, func([]byte) {}, ""},
		{"no signature", clean, put16(510, 0), "no FAT boot sector"},
		{"no sector size, as exFAT", clean, put16(11, 0), "no FAT boot sector"},
		{"odd sector size", clean, put16(11, 513), "no FAT boot sector"},
		{"sectors of 256 bytes", clean, put16(11, 256), "no FAT boot sector"},
		{"sectors of 8192 bytes", clean, put16(11, 8192), "no FAT boot sector"},
		{"3 sectors per cluster", clean, put8(13, 3), "no FAT boot sector"},
		{"no reserved sectors", clean, put16(14, 0), "no FAT boot sector"},
		{"no FATs, as NTFS", clean, put8(16, 0), "no FAT boot sector"},
		{"media byte", clean, put8(21, 0x12), "no FAT boot sector"},
		{"larger than what is there", clean, put16(19, 0xFFFF), "boot sector at byte 0x13: volume has"},
		{"FAT as long as can be", clean, put32(36, 1<<32-1), "boot sector at byte 0xe: data starts"},
		{"no FAT at all", clean, put32(36, 0), "after FATs of 0 bytes"},
		{"255 FATs", clean, put8(16, 255), "boot sector at byte 0xe"},
		{"clusters of 64 KiB", clean, put8(13, 128), ""}, // though it is another volume then
		{"FAT of one sector", clean, put32(36, 1), ""},   // 126 clusters
		{"root beyond the end", clean, put32(44, 1<<28), "root directory's cluster is"},
		{"root cluster 0", clean, put32(44, 0), "root directory's cluster is 0"},
		{"root in a free cluster", clean, put32(44, 3000), "a chain leads to a free cluster"},
		{"later version", clean, put16(42, 0x0100), "FAT32 version 1.0: not supported"},
		{"active FAT 5", clean, put16(40, 0x85), "active FAT is 5 of 2"},
		{"no fixed root", fixed, put16(17, 0), "root directory has 0 entries"},
		{"root of 65535 entries", fixed, put16(17, 65535), "boot sector at byte 0xe"},
		{"no sectors", fixed, func(b []byte) { put16(19, 0)(b); put32(32, 0)(b) }, "data starts"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := bytes.Clone(c.from)
			c.change(b)
			data := make([]byte, 2<<20)
			source := img
			if bytes.Equal(c.from, fixed) {
				source = other
			}
			copy(data, source.peek(t, 0, len(data)))
			copy(data, b)
			f, err := Open(bytes.NewReader(data), int64(len(data)))
			if c.want == "" && err != nil && !strings.Contains(err.Error(), "directory") || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error is %v, want one with %q", err, c.want)
			}
			if c.want == "no FAT boot sector" && !errors.Is(err, ErrNotFAT) {
				t.Errorf("error is %v, want %v", err, ErrNotFAT)
			}
			if probe := Probe(bytes.NewReader(data)); probe != !errors.Is(err, ErrNotFAT) {
				t.Errorf("probe says %v, Open %v", probe, err)
			}
			if err == nil {
				walk(f)
			}
		})
	}
	for _, size := range []int{0, 1, 511, 512, 4096, 1 << 20} {
		data := img.peek(t, 0, size)
		if _, err := Open(bytes.NewReader(data), int64(size)); err == nil {
			t.Errorf("%d bytes of the volume: no error", size)
		}
	}
}

// zeros is a volume of nothing but zeros.
type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

// TestTableForgetsOnlyWhatItCanReadAgain goes through a FAT that is larger than what
// is kept of it.
func TestTableForgetsOnlyWhatItCanReadAgain(t *testing.T) {
	l := &layout{fats: 1, mirrored: true, fatBytes: 3 * maxTablePages * tablePage}
	l.Bits, l.SectorSize, l.Clusters = 32, 512, uint32(l.fatBytes/4-2)
	table := newTable(zeros{}, l)
	must(t, table.set(5, 77))
	for n := uint32(2); l.isCluster(n); n += tablePage / 8 {
		if _, err := table.get(n); err != nil {
			t.Fatal(err)
		}
		if len(table.pages) > maxTablePages+1 {
			t.Fatalf("pages kept are %d, limit is %d", len(table.pages), maxTablePages)
		}
	}
	if got, err := table.get(5); got != 77 || err != nil {
		t.Errorf("entry is %d, %v, want the 77 that was set", got, err)
	}
}
