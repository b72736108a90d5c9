package fat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"path"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// Limits of a walk through a hostile volume: what a test has patience for.
const (
	walkNames = 5000
	walkBytes = 1 << 20
	walkTime  = time.Minute

	// trialBytes bounds what one damaged volume of 4 MiB may make us allocate, all
	// told: every directory and the FAT some times over.
	trialBytes = 64 << 20
)

// walk reads everything within limits and gives the names met, and one of the
// errors.
func walk(f *FS) (names int, failed error) {
	for queue := []string{"/"}; len(queue) > 0 && names < walkNames; queue = queue[1:] {
		list, err := f.ReadDir(queue[0])
		if err != nil {
			failed = err
			continue
		}
		for _, e := range list {
			names++
			name := path.Join(queue[0], e.Name)
			if _, err := f.Lstat(name); err != nil {
				failed = err
			}
			if e.Type.IsDir() {
				queue = append(queue, name)
				continue
			}
			file, err := f.Open(name)
			if err != nil {
				failed = err
				continue
			}
			part := make([]byte, min(file.Size(), walkBytes))
			if _, err := file.ReadAt(part, max(0, file.Size()-int64(len(part)))); err != nil {
				failed = err
			}
		}
	}
	if _, err := f.Free(); err != nil {
		failed = err
	}
	return names, failed
}

// sample is a small volume in memory, with what is in it.
type sample struct {
	data  []byte
	names int
}

// hostileEdits touch every directory, and everything an edit can read.
func hostileEdits() []rootfs.Edit {
	return []rootfs.Edit{
		write("/EFI/new file with a name", random(1, 2000)), write("/empty.txt", random(2, 700)), mkdir("/EFI/new"), mkdir("/EFI/new/er"),
		remove("/EFI/new/er"), remove("/empty.txt"),
	}
}

func samples(t testing.TB) []sample {
	t.Helper()
	var list []sample
	for _, bits := range []int{12, 16, 32} {
		img, want := small(t, bits)
		s := sample{img.peek(t, 0, int(img.size)), len(want)}
		f, err := Open(bytes.NewReader(s.data), int64(len(s.data)))
		must(t, err)
		if names, err := walk(f); names != s.names || err != nil {
			t.Fatalf("FAT%d undamaged has %d names, %v, want %d", bits, names, err, s.names)
		}
		if _, err := prepare(s.section(nil), hostileEdits()); err != nil {
			t.Fatalf("FAT%d undamaged cannot be edited: %v", bits, err)
		}
		list = append(list, s)
	}
	return list
}

// change is one byte of damage.
type change struct {
	at   int64
	byte byte
}

// section gives the sample with damage. It can only be read.
func (s sample) section(damage []change) *io.SectionReader {
	o := newOverlay(bytes.NewReader(s.data), 512)
	for _, c := range damage {
		if o.write([]byte{c.byte}, c.at%int64(len(s.data))) != nil {
			panic("the sample is in memory")
		}
	}
	return io.NewSectionReader(o, 0, int64(len(s.data)))
}

// try reads and edits a damaged sample. What is refused as damage names its place
// within the volume.
func (s sample) try(t *testing.T, damage []change) (opened, edited bool) {
	t.Helper()
	start := time.Now()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	section := s.section(damage)
	f, err := Open(section, section.Size())
	if err == nil {
		opened = true
		_, err = walk(f)
	}
	_, editErr := prepare(section, hostileEdits())
	for _, err := range []error{err, editErr} {
		var damage *CorruptError
		if errors.As(err, &damage) && (damage.Byte < 0 || damage.Byte >= section.Size()) {
			t.Errorf("error names a byte outside of the volume: %v", err)
		}
		if err != nil && strings.Contains(err.Error(), "cannot confirm") {
			t.Errorf("changes %v: the result of an edit does not hold: %v", damage, err)
		}
	}
	runtime.ReadMemStats(&after)
	if took := time.Since(start); took > walkTime {
		t.Errorf("changes %v: took %v", damage, took)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > trialBytes {
		t.Errorf("changes %v: %d bytes allocated, limit is %d", damage, got, trialBytes)
	}
	return opened, editErr == nil
}

// regions gives start and length of what matters in a volume.
func regions(t testing.TB, s sample) [][2]int64 {
	t.Helper()
	f, err := Open(bytes.NewReader(s.data), int64(len(s.data)))
	must(t, err)
	list := [][2]int64{{0, 90}, {11, 30}, {f.fatStart, 60}, {f.fatStart, 600}, {f.fatStart + f.fatBytes, 60}}
	for _, at := range f.infoSectors {
		list = append(list, [2]int64{at, 512})
	}
	for _, start := range []uint32{0, slotOf(t, f, "/EFI").cluster} {
		d, err := f.directory(start)
		must(t, err)
		list = append(list, [2]int64{f.byteAt(d, 0), int64(d.end) * slotBytes})
		for _, e := range d.entries {
			list = append(list, [2]int64{e.at, slotBytes})
		}
	}
	return list
}

// TestDamage spoils boot sector, FSInfo, FATs and directories.
func TestDamage(t *testing.T) {
	trials, opened, edited := 0, 0, 0
	for i, s := range samples(t) {
		random := rand.New(rand.NewPCG(uint64(i), 2))
		for _, region := range regions(t, s) {
			for range 60 {
				var damage []change
				for range 1 + random.IntN(8) {
					damage = append(damage, change{region[0] + random.Int64N(region[1]), byte(random.Uint32())})
				}
				o, e := s.try(t, damage)
				trials++
				if o {
					opened++
				}
				if e {
					edited++
				}
			}
		}
	}
	t.Logf("%d damaged volumes: %d could be opened, %d edited", trials, opened, edited)
	if trials < 1000 || opened < trials/4 || edited < trials/20 || edited == trials {
		t.Errorf("%d damaged volumes, %d opened, %d edited: want 1000, a quarter of them opened, some refused", trials, opened, edited)
	}
}

// FuzzOpen takes a sample and changes to it, five bytes each: place and value.
func FuzzOpen(f *testing.F) {
	list := samples(f) // each parses, and can be edited
	for i, s := range list {
		f.Add(uint8(i), []byte{})
		for _, region := range regions(f, s) {
			f.Add(uint8(i), append(binary.LittleEndian.AppendUint32(nil, uint32(region[0]+12)), 0x21))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, changes []byte) {
		var damage []change
		for ; len(changes) >= 5; changes = changes[5:] {
			damage = append(damage, change{int64(binary.LittleEndian.Uint32(changes)), changes[4]})
		}
		list[int(which)%len(list)].try(t, damage)
	})
}

// TestHostileTrees has what would lead a trusting reader in circles.
func TestHostileTrees(t *testing.T) {
	img, _ := small(t, 12)
	must(t, img.edit(mkdir("/a"), mkdir("/a/b"), mkdir("/a/b/c"), write("/a/f", random(1, 3000))))
	clean := img.peek(t, 0, int(img.size))
	f := img.open(t)
	start := func(name string, cluster uint32) []change {
		at := slotOf(t, f, name).at
		return []change{{at + 26, byte(cluster)}, {at + 27, byte(cluster >> 8)}}
	}
	link := func(from, to uint32) []change { // FAT12: both nibbles of the pair are kept
		v := newTable(bytes.NewReader(clean), f.layout)
		must(t, v.set(from, to))
		o := newOverlay(bytes.NewReader(clean), 512)
		must(t, v.flush(o))
		at := v.entryByte(from)
		b := make([]byte, 2)
		must(t, readFull(o, b, at))
		return []change{{at, b[0]}, {at + 1, b[1]}}
	}
	cluster := func(name string) uint32 { return slotOf(t, f, name).cluster }
	second := cluster("/a/f") + 1
	for _, c := range []struct {
		name   string
		damage []change
		read   string
		want   string
	}{
		{"child is its grandparent", start("/a/b/c", cluster("/a")), "/a/b/c/b", "names clusters"},
		{"child is its parent", start("/a/b", cluster("/a")), "/a/b/b", "names clusters"},
		{"child is the root", start("/a/b", 0), "/a/b/c", "leads to the root directory"},
		{"directory has two names", start("/EFI", cluster("/a")), "/a", "so does another name"},
		{"directory is a file's data", start("/a/b", second), "/a/b/c", "cannot read directory \"b\""},
		{"file loops", link(second, cluster("/a/f")), "/a/f", "more than 6 clusters"},
		{"directory loops", link(cluster("/a"), cluster("/a")), "/a/f", "more than 4096 clusters"},
		{"chain ends early", link(second, markEnd), "/a/f", "its chain has 2"},
		{"chain leads to a free cluster", link(second, 0), "/a/f", "leads to a free cluster"},
		{"chain leads to a bad cluster", link(second, markBad), "/a/f", "leads to a bad cluster"},
		{"chain leaves the volume", link(second, 0xFE0), "/a/f", "next cluster is 4064, want 2 to"},
		{"file starts outside", start("/a/f", 0xFFFF), "/a/f", "first cluster of \"f\" is 65535"},
		{"file has no start", start("/a/f", 0), "/a/f", "from cluster 0 on"},
		{"file of 4 GiB", []change{{slotOf(t, f, "/a/f").at + 31, 0xFF}}, "/a/f", "the volume has"},
		{"slash in a name", []change{{slotOf(t, f, "/a/f").at, '/'}}, "/a/f", "is no file name"},
		{"dot inside", []change{{slotOf(t, f, "/a/b").at, '.'}}, "/a/f", "in the wrong place"},
		{"same name twice", []change{{slotOf(t, f, "/a").at, 'E'}, {slotOf(t, f, "/a").at + 1, 'F'}, {slotOf(t, f, "/a").at + 2, 'I'},
			{slotOf(t, f, "/a").at - slotBytes, deletedSlot}}, "/a", "is there twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := sample{data: clean}
			section := s.section(c.damage)
			f, err := Open(section, section.Size())
			if err == nil {
				_, err = rootfs.ReadFile(f, c.read, 1<<33)
				if _, dirErr := f.ReadDir(path.Dir(c.read)); dirErr != nil {
					err = dirErr
				}
			}
			var damage *CorruptError
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !errors.As(err, &damage)) {
				t.Errorf("reading %s: error is %v, want one with %q", c.read, err, c.want)
			}
			if _, err := prepare(section, []rootfs.Edit{write("/x", nil)}); err == nil && c.want != "" {
				t.Error("the volume can be edited")
			}
			s.try(t, c.damage)
		})
	}
}
