package undo

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// half makes an image that a change left half way, with its journal.
func half(t testing.TB, size int) (before, now []byte, journal []byte) {
	t.Helper()
	before, next := pattern(size, 3), pattern(size, 4)
	ranges := []Range{{512, 1024}, {4096, 100}, {int64(size) - 1, 1}}
	d := newFakeDisk("disk", before)
	if err := Beside("disk").writeJournal(t.Context(), d, &fakeFile{d, d.names["disk"], "disk"}, ranges); err != nil {
		t.Fatal(err)
	}
	now = slices.Clone(before)
	copy(now[512:900], next[512:]) // torn
	copy(now[size-1:], next[size-1:])
	return before, now, d.names["disk"+Suffix].data
}

// sealed gives a journal with its checksums put right after fields were changed.
func sealed(journal []byte) []byte {
	j := slices.Clone(journal)
	binary.LittleEndian.PutUint32(j[60:], crc32.Checksum(j[:60], castagnoli))
	at := headerSize
	for range binary.LittleEndian.Uint64(j[12:]) {
		n := int(binary.LittleEndian.Uint32(j[at+8:]))
		if at+extentSize+n > len(j)-trailerSize {
			break
		}
		sum := crc32.Update(crc32.Checksum(j[at:at+12], castagnoli), castagnoli, j[at+extentSize:at+extentSize+n])
		binary.LittleEndian.PutUint32(j[at+12:], sum)
		at += extentSize + n
	}
	sum := sha256.Sum256(j[:len(j)-trailerSize])
	copy(j[len(j)-len(sum):], sum[:])
	return j
}

func recoverOn(image, journal []byte) (*fakeDisk, Outcome, error) {
	d := newFakeDisk("disk", image)
	d.names["disk"+Suffix] = &fakeInode{data: journal, synced: journal}
	d.durable["disk"+Suffix] = d.names["disk"+Suffix]
	outcome, err := Beside("disk").recover(d)
	return d, outcome, err
}

func TestRecover(t *testing.T) {
	for _, size := range []int{5000, 9000, 3*chunk + 7} {
		before, now, journal := half(t, size)
		d, outcome, err := recoverOn(now, journal)
		if err != nil || outcome != (Outcome{Restored: true, Extents: 3, Bytes: 1125}) {
			t.Errorf("recover of %d bytes: %+v, %v", size, outcome, err)
		}
		if !bytes.Equal(d.names["disk"].synced, before) || len(d.durable) != 1 {
			t.Errorf("image of %d bytes is not as before, or the journal is left", size)
		}
	}
}

func TestNothingToRecover(t *testing.T) {
	d := newFakeDisk("disk", []byte("image"))
	if outcome, err := Beside("disk").recover(d); err != nil || outcome != (Outcome{}) || d.done != 0 {
		t.Errorf("recover without a journal: %+v, %v, %v", outcome, err, d.log)
	}
	if _, err := d.create("disk" + Suffix + unfinished); err != nil {
		t.Fatal(err)
	}
	if outcome, err := Beside("disk").recover(d); err != nil || outcome != (Outcome{Removed: true}) || len(d.durable) != 1 {
		t.Errorf("recover with an unfinished journal: %+v, %v, %v", outcome, err, d.log)
	}
}

func TestHostileJournals(t *testing.T) {
	const size = 9000
	before, now, journal := half(t, size)
	second := headerSize + extentSize + 1024 // where the second extent begins
	put32 := func(j []byte, at int, v uint32) []byte { binary.LittleEndian.PutUint32(j[at:], v); return j }
	put64 := func(j []byte, at int, v uint64) []byte { binary.LittleEndian.PutUint64(j[at:], v); return j }
	for _, c := range []struct {
		name   string
		change func(j []byte) []byte
		want   string
	}{
		{"empty", func([]byte) []byte { return nil }, "it ends in the header, 64 bytes short"},
		{"zeros", func(j []byte) []byte { return make([]byte, len(j)) }, `magic is "\x00`},
		{"other version", func(j []byte) []byte { return sealed(put32(j, 8, 2)) }, "version is 2, want 1"},
		{"header checksum", func(j []byte) []byte { return put32(j, 12, 7) }, "checksum of the header"},
		{"bytes of an extent", func(j []byte) []byte { j[second-1] ^= 1; return j }, "checksum of extent 0"},
		{"offset of an extent", func(j []byte) []byte { j[headerSize+1] ^= 1; return j }, "checksum of extent 0"},
		{"trailer", func(j []byte) []byte { j[len(j)-1] ^= 1; return j }, "trailer is"},
		{"bytes behind", func(j []byte) []byte { return append(j, 0) }, "1 bytes follow its trailer"},
		{"one extent fewer", func(j []byte) []byte { return sealed(put64(j, 12, 2)) }, "trailer is"},
		{"extents without end", func(j []byte) []byte { return sealed(put64(j, 12, 1<<63)) }, "extent 3 has"},
		{"extent behind the image", func(j []byte) []byte { return sealed(put64(j, second, size)) }, "extent 1 has 100 bytes at 0x2328"},
		{"extent over the end", func(j []byte) []byte { return sealed(put64(j, second, size-99)) }, "extent 1 has 100 bytes at 0x22c5"},
		{"offset that wraps", func(j []byte) []byte { return sealed(put64(j, second, 1<<64-50)) }, "extent 1 has"},
		{"overlap", func(j []byte) []byte { return sealed(put64(j, second, 1535)) }, "extent 1 has 100 bytes at 0x5ff, want 1 to 1048576 between 0x600"},
		{"backward", func(j []byte) []byte { return sealed(put64(j, second, 0)) }, "extent 1 has"},
		{"no bytes", func(j []byte) []byte { return sealed(put32(j, second+8, 0)) }, "extent 1 has 0 bytes"},
		{"too many bytes", func(j []byte) []byte { return sealed(put32(j, second+8, 1<<32-1)) }, "extent 1 has 4294967295 bytes"},
		{"size of another image", func(j []byte) []byte { return sealed(put64(j, 20, size+512)) }, "for an image of 9512 bytes, this one has 9000"},
		{"size below zero", func(j []byte) []byte { return sealed(put64(j, 20, 1<<63)) }, "this one has 9000"},
		{"another image", func(j []byte) []byte { j[30] ^= 1; return sealed(j) }, "made for another image"},
	} {
		t.Run(c.name, func(t *testing.T) {
			broken := c.change(slices.Clone(journal))
			d, outcome, err := recoverOn(now, broken)
			var fact *DamagedError
			if !errors.As(err, &fact) || !strings.Contains(err.Error(), c.want) || fact.Hint() == "" {
				t.Errorf("error is %v, want %q and a hint", err, c.want)
			}
			if !bytes.Equal(d.names["disk"].data, now) || len(d.names) != 2 || outcome != (Outcome{}) {
				t.Errorf("the image or the directory was changed, outcome %+v", outcome)
			}
		})
	}
	t.Run("other content of the same size", func(t *testing.T) {
		other := slices.Clone(before)
		other[3000] ^= 1
		if _, _, err := recoverOn(other, journal); err == nil || !strings.Contains(err.Error(), "another image") {
			t.Errorf("error is %v, want one about another image", err)
		}
	})
	t.Run("cut at every length", func(t *testing.T) {
		for n := range journal {
			var fact *DamagedError
			if d, _, err := recoverOn(now, journal[:n]); !errors.As(err, &fact) || !bytes.Equal(d.names["disk"].data, now) {
				t.Fatalf("cut to %d of %d bytes: error is %v", n, len(journal), err)
			}
		}
	})
}

func FuzzRecover(f *testing.F) {
	_, now, journal := half(f, 9000)
	if _, _, err := recoverOn(now, journal); err != nil {
		f.Fatalf("the seed does not parse: %v", err)
	}
	f.Add(journal)
	f.Fuzz(func(t *testing.T, j []byte) {
		for _, candidate := range [][]byte{j, trySeal(j)} {
			d, _, err := recoverOn(now, candidate)
			if got := d.names["disk"].data; len(got) != len(now) || (err != nil && !bytes.Equal(got, now)) {
				t.Errorf("error is %v, and the image was changed", err)
			}
		}
	})
}

// trySeal seals what is long enough to be sealed.
func trySeal(j []byte) (out []byte) {
	if len(j) < headerSize+trailerSize {
		return j
	}
	defer func() {
		if recover() != nil {
			out = j
		}
	}()
	return sealed(j)
}

func TestRangesAreChecked(t *testing.T) {
	for _, c := range []struct {
		name   string
		ranges []Range
		ok     bool
	}{
		{"none", nil, true},
		{"all", []Range{{0, 9000}}, true},
		{"side by side", []Range{{0, 10}, {10, 10}}, true},
		{"no length", []Range{{0, 0}}, false},
		{"below zero", []Range{{-1, 5}}, false},
		{"over the end", []Range{{8999, 2}}, false},
		{"sum that wraps", []Range{{8999, 1<<63 - 1}}, false},
		{"overlap", []Range{{0, 10}, {9, 10}}, false},
		{"backward", []Range{{10, 10}, {0, 10}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := pattern(9000, 5)
			d := newFakeDisk("disk", image)
			err := Beside("disk").apply(t.Context(), d, c.ranges, bytes.NewReader(image), nil)
			if (err == nil) != c.ok || !bytes.Equal(d.names["disk"].data, image) || len(d.names) != 1 {
				t.Errorf("error is %v, want none: %t; the image or its directory was changed", err, c.ok)
			}
		})
	}
}

// TestOnDisk runs change, interruption and recovery on the machine's own files.
func TestOnDisk(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "disk.raw")
	before, after, ranges := crashCase()
	if err := os.WriteFile(name, before, 0o640); err != nil {
		t.Fatal(err)
	}
	inode := func() uint64 {
		var st syscall.Stat_t
		if err := syscall.Stat(name, &st); err != nil {
			t.Fatal(err)
		}
		return st.Ino
	}
	holds := func(want []byte, files int) {
		t.Helper()
		got, err := os.ReadFile(name)
		entries, dirErr := os.ReadDir(dir)
		if err := errors.Join(err, dirErr); err != nil || !bytes.Equal(got, want) || len(entries) != files {
			t.Errorf("image is as wanted: %t, directory holds %v, want %d files; %v", bytes.Equal(got, want), entries, files, err)
		}
	}
	first := inode()
	var saved []byte
	err := Beside(name).Apply(t.Context(), ranges, bytes.NewReader(after), func() (err error) {
		pending, err := Beside(name).Pending()
		if !pending {
			t.Error("no journal while the image is changed")
		}
		info, statErr := os.Stat(name + Suffix)
		if statErr != nil || info.Mode() != 0o600 {
			t.Errorf("journal is %v, %v, want mode 0600", info, statErr)
		}
		saved, statErr = os.ReadFile(name + Suffix)
		return errors.Join(err, statErr)
	})
	if err != nil || inode() != first {
		t.Fatalf("change: %v; inode is %d, was %d", err, inode(), first)
	}
	holds(after, 1)
	if err := os.WriteFile(name+Suffix, saved, 0o600); err != nil {
		t.Fatal(err)
	}
	if outcome, err := Beside(name).Recover(); err != nil || !outcome.Restored || inode() != first {
		t.Errorf("recover: %+v, %v", outcome, err)
	}
	holds(before, 1)
	if outcome, err := Beside(name).Recover(); err != nil || outcome != (Outcome{}) {
		t.Errorf("recover again: %+v, %v", outcome, err)
	}
	if err := os.Symlink("elsewhere", name+Suffix); err != nil {
		t.Fatal(err)
	}
	if _, err := Beside(name).Recover(); err == nil {
		t.Error("a journal that is a link was followed")
	}
	if pending, err := Beside(name).Pending(); !pending || err != nil {
		t.Errorf("link in the journal's place: pending %t, %v", pending, err)
	}
}
