//go:build soak

package image_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kerngate/kerngate/builder/ext4"
	"github.com/kerngate/kerngate/builder/fat"
	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// What a corrupted image may cost.
const (
	soakTrials = 12_000
	soakTime   = 2 * time.Second
	soakHeap   = 64 << 20
	soakRead   = 256 << 10 // bytes read at each end of a file
)

// victim is a whole image and where in it the file systems are.
type victim struct {
	name string
	file string
	ext4 [][2]int64 // offset and size
	fat  [][2]int64
	hot  []int64 // sectors of 512 bytes that hold structure
	// tables are those of them that lie outside of the file systems.
	tables []int64
}

// TestSoakCorruptedImages reads images with damaged tables and file systems: nothing
// panics, is slow, takes much memory or writes.
func TestSoakCorruptedImages(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(20)) // garbage shall not pass for use
	victims := soakVictims(t)
	runtime.GC() // what made the victims
	peak, stop := watchHeap()
	defer stop()
	var count struct{ opened, names, roots, fats int }
	var slowest time.Duration
	random := rand.New(rand.NewPCG(3, 5))
	for i := range soakTrials {
		v := victims[i%len(victims)]
		changes := v.damage(random)
		restore := change(t, v.file, changes)
		before, err := os.Stat(v.file)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		whole, names, roots, fats := v.read()
		took := time.Since(start)
		slowest = max(slowest, took)
		if took > soakTime {
			t.Errorf("%s with %v took %v", v.name, changes, took)
		}
		if after, err := os.Stat(v.file); err != nil || after.ModTime() != before.ModTime() || after.Size() != before.Size() {
			t.Fatalf("%s with %v was written to (%v)", v.name, changes, err)
		}
		count.names += names
		count.roots += roots
		count.fats += fats
		count.opened += whole
		restore()
	}
	stop()
	t.Logf("%d corrupted images of %d layouts: %d opened as a whole, %d refused; %d ext4 and %d FAT volumes opened, %d names met; slowest %v, peak heap %.1f MiB, 0 panics, 0 writes",
		soakTrials, len(victims), count.opened, soakTrials-count.opened, count.roots, count.fats, count.names, slowest.Round(time.Millisecond), float64(peak.Load())/(1<<20))
	if peak.Load() > soakHeap {
		t.Errorf("peak heap is %d bytes, want at most %d", peak.Load(), soakHeap)
	}
	if count.opened < soakTrials/4 || count.fats < soakTrials/10 || count.roots < soakTrials/4 {
		t.Error("too few images were opened for the damage to be inside")
	}
}

// watchHeap notes the most bytes in heap objects, looked at every millisecond.
func watchHeap() (peak *atomic.Uint64, stop func()) {
	peak = new(atomic.Uint64)
	done := make(chan struct{})
	go func() {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
				metrics.Read(sample)
				peak.Store(max(peak.Load(), sample[0].Value.Uint64()))
			}
		}
	}()
	stopped := false
	return peak, func() {
		if !stopped {
			stopped = true
			close(done)
		}
	}
}

// damaged is one changed byte.
type damaged struct {
	at    int64
	value byte
}

// damage picks bytes to change where structure is, one time in four in the tables.
func (v *victim) damage(random *rand.Rand) []damaged {
	var out []damaged
	sectors := v.hot
	if len(v.tables) > 0 && random.IntN(4) == 0 {
		sectors = v.tables
	}
	for range 1 + random.IntN(8) {
		at := sectors[random.IntN(len(sectors))]*512 + random.Int64N(512)
		value := byte(random.Uint32())
		switch random.IntN(4) {
		case 0:
			value = 0
		case 1:
			value = 0xFF
		}
		out = append(out, damaged{at, value})
	}
	return out
}

func change(t *testing.T, name string, changes []damaged) (restore func()) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	old := make([]byte, len(changes))
	for i, c := range changes {
		_, err := f.ReadAt(old[i:i+1], c.at)
		_, err2 := f.WriteAt([]byte{c.value}, c.at)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		for i := len(changes) - 1; i >= 0; i-- {
			if _, err := f.WriteAt(old[i:i+1], changes[i].at); err != nil {
				t.Fatal(err)
			}
		}
		f.Close()
	}
}

// read goes through all that can be reached, as a whole image, and by the places
// where the file systems were before the damage.
func (v *victim) read() (whole, names, roots, fats int) {
	if target, err := image.Open(v.file, image.Options{}); err == nil {
		whole++
		names += walk(target.Tree())
		target.Close()
	}
	f, err := os.Open(v.file)
	if err != nil {
		return
	}
	defer f.Close()
	for _, at := range v.ext4 {
		if tree, err := ext4.Open(io.NewSectionReader(f, at[0], at[1]), at[1]); err == nil {
			roots++
			names += walk(tree)
			_, _, _ = tree.Free()
		}
	}
	for _, at := range v.fat {
		if tree, err := fat.Open(io.NewSectionReader(f, at[0], at[1]), at[1]); err == nil {
			fats++
			names += walk(tree)
		}
	}
	return whole, names, roots, fats
}

// walk reads everything below the root, of files both ends.
func walk(t rootfs.Tree) int {
	names, part := 0, make([]byte, soakRead)
	for queue := []string{"/"}; len(queue) > 0; queue = queue[1:] {
		entries, err := t.ReadDir(queue[0])
		if err != nil {
			continue
		}
		for _, e := range entries {
			names++
			name := path.Join(queue[0], e.Name)
			info, err := t.Lstat(name)
			_, _ = t.Xattrs(name)
			switch {
			case err != nil:
			case info.Mode.IsDir():
				queue = append(queue, name)
			case info.Mode.Type() == fs.ModeSymlink:
				_, _ = t.Readlink(name)
				_, _ = rootfs.Resolve(t, name)
			case info.Mode.IsRegular():
				f, err := t.Open(name)
				if err != nil {
					continue
				}
				_, _ = f.ReadAt(part[:min(f.Size(), soakRead)], 0)
				_, _ = f.ReadAt(part, max(0, f.Size()-soakRead))
				f.Close()
			}
		}
	}
	return names
}

// soakVictims makes one image of each layout. Their ext4 has no checksums, but one:
// these would catch the damage before it gets anywhere.
func soakVictims(t *testing.T) []*victim {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	if err := imgtest.WriteRoot(root, "7.2.12-amd64"); err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		name := filepath.Join(root, fmt.Sprintf("usr/sbin/a-name-of-some-length-%04d", i))
		if err := os.WriteFile(name, bytes.Repeat([]byte{byte(i)}, 500*(i%5)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var out []*victim
	const plain = "-t ext4 -O ^metadata_csum,^uninit_bg,^has_journal"
	for _, c := range []struct {
		name, table, ext4, fat string
	}{
		{"gpt", "label: gpt\nstart=1MiB, size=%dKiB, type=U\nstart=%dKiB, size=6MiB, type=L\n", plain + " -b 1024", "-F 16 -s 1"},
		{"gpt with checksums", "label: gpt\nstart=1MiB, size=%dKiB, type=U\nstart=%dKiB, size=6MiB, type=L\n", "-t ext4", "-F 12"},
		{"mbr", "label: dos\nstart=1MiB, size=%dKiB, type=c\nstart=%dKiB, size=6MiB, type=83\n", "-t ext2 -b 1024", "-F 12 -s 16"},
		{"mbr, logical", "label: dos\n1: start=2047KiB, size=49MiB, type=5\n5: start=2048KiB, size=%dKiB, type=c\n6: start=%dKiB, size=6MiB, type=83\n", plain + ",inline_data,^64bit", "-F 32 -s 1"},
		{"bare ext4", "", plain + ",ea_inode,^filetype -b 4096", ""},
	} {
		out = append(out, newVictim(t, c.name, c.table, root, c.ext4, c.fat))
	}
	return out
}

func newVictim(t *testing.T, name, table, root, ext4Args, fatArgs string) *victim {
	t.Helper()
	v := &victim{name: name, file: filepath.Join(t.TempDir(), "image")}
	start, fatKiB := int64(0), int64(0)
	size := int64(6 << 20)
	if table != "" {
		if start, fatKiB = 1<<20, 8<<10; strings.Contains(table, "type=5") { // logical, with FAT32
			start, fatKiB = 2<<20, 36<<10
		}
		size = 54 << 20
	}
	if err := os.WriteFile(v.file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(v.file, size); err != nil {
		t.Fatal(err)
	}
	ext4At := start + fatKiB<<10
	if table != "" {
		ext4At += 1 << 20 // room for the record of a logical partition
		soakTool(t, fmt.Sprintf(table, fatKiB, ext4At>>10), "sfdisk", "--quiet", v.file)
		soakTool(t, "", "mkfs.vfat", append(strings.Fields(fatArgs), fmt.Sprintf("--offset=%d", start/512), v.file, fmt.Sprint(fatKiB))...)
		v.fat = [][2]int64{{start, fatKiB << 10}}
		edits := []rootfs.Edit{{Op: rootfs.Mkdir, Path: "/EFI"}}
		for i := range 20 {
			edits = append(edits, rootfs.Edit{Op: rootfs.WriteFile, Path: fmt.Sprintf("/EFI/A long name %d.efi", i), Data: bytes.Repeat([]byte{byte(i)}, 3000*i)})
		}
		for i := range edits {
			edits[i].ModTime = time.Unix(1_700_000_000, 0)
		}
		if err := fat.Edit(v.file, start, fatKiB<<10, edits); err != nil {
			t.Fatal(err)
		}
	}
	soakTool(t, "", "mke2fs", append(append([]string{"-q", "-F", "-E", fmt.Sprintf("offset=%d", ext4At), "-N", "256", "-d", root}, strings.Fields(ext4Args)...), v.file, "6144k")...)
	v.ext4 = [][2]int64{{ext4At, 6 << 20}}
	v.hot = hotSectors(t, v.file)
	for _, sector := range v.hot {
		if !slices.ContainsFunc(append(slices.Clone(v.fat), v.ext4...), func(fs [2]int64) bool { return sector*512 >= fs[0] && sector*512 < fs[0]+fs[1] }) {
			v.tables = append(v.tables, sector)
		}
	}
	if len(v.tables) == 0 && table != "" {
		t.Fatalf("%s has no sectors outside of its file systems", name)
	}
	if whole, names, roots, fats := v.read(); whole != 1 || names < 90 || roots != 1 || fats != len(v.fat) {
		t.Fatalf("%s, undamaged, has %d names in %d ext4 and %d FAT volumes", name, names, roots, fats)
	}
	return v
}

// hotSectors are those with anything in them but one byte repeated, which is what the
// files of the victims hold.
func hotSectors(t *testing.T, name string) []int64 {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var out []int64
	for at := 0; at+512 <= len(data); at += 512 {
		if sector := data[at : at+512]; !bytes.Equal(sector, bytes.Repeat(sector[:1], 512)) {
			out = append(out, int64(at/512))
		}
	}
	if len(out) < 50 {
		t.Fatalf("image has %d sectors with structure", len(out))
	}
	return out
}

func soakTool(t *testing.T, stdin, name string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		name = "/usr/sbin/" + name
	}
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s (apt-get install e2fsprogs dosfstools fdisk): %v: %s", name, err, out)
	}
}
