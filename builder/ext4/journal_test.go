package ext4

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// journalSet is a kind of journal: a feature set, and how debugfs opens its journal.
type journalSet struct {
	set  string
	open string // options of journal_open, for the kind of checksum
}

func (s journalSet) String() string { return strings.TrimSpace(s.set + " " + s.open) }

func journalSets() []journalSet {
	return []journalSet{
		{"default_4k", "-c"}, {"default_4k", "-c -v 2"}, {"default_4k", ""}, {"default_1k", "-c"}, {"default_1k", "-c -v 2"}, {"default_2k", "-c"},
		{"no_csum", ""}, {"no_csum", "-c"}, {"no_64bit", "-c"}, {"no_64bit", "-c -v 2"}, {"no_64bit_gdt_csum", ""}, {"no_64bit_gdt_csum", "-c"},
		{"ext3", ""}, {"no_extents", "-c"}, {"inline_data", "-c"}, {"bigalloc", "-c"}, {"meta_bg", "-c"}, {"metadata_csum_seed", "-c"},
		{"orphan_file", "-c"}, {"fast_commit", "-c"}, {"ea_inode", "-c"}, {"inode_128", ""},
	}
}

// steps are the changes that wait in the journal, transaction by transaction.
func steps() [][]rootfs.Edit {
	magic := binary.BigEndian.AppendUint32(nil, journalMagic)
	return [][]rootfs.Edit{
		{writeEdit("/etc/hosts", 0o600, []byte("10.0.0.1 from-log\n")), writeEdit("/etc/escaped", 0o644, append(magic, randomBytes(90, 9000)...)),
			{Op: rootfs.Mkdir, Path: "/etc/new.d", Mode: 0o700, ModTime: stamp()}},
		{writeEdit("/etc/new.d/inside", 0o644, randomBytes(91, 30_000)), {Op: rootfs.Remove, Path: "/many/name-0003"},
			{Op: rootfs.Symlink, Path: "/links/from-log", Target: strings.Repeat("far/", 50), ModTime: stamp()}},
		{appendEdit("/etc/escaped", 9004, []byte("end")), {Op: rootfs.Remove, Path: "/bin/su"},
			{Op: rootfs.SetAttributes, Path: "/etc/shadow", Mode: 0o400, ModTime: stamp()}},
	}
}

// waiting is an image with a journal to be replayed.
type waiting struct {
	image string
	j     *journal // as it is in the image
}

// changed lists the blocks that differ between two images, without those of the journal.
func changed(t testing.TB, f *FS, a, b []byte) (blocks []uint64) {
	t.Helper()
	own := map[uint64]bool{}
	n, err := f.inode(f.sb.journalInode)
	must(t, err)
	c, err := f.content(n)
	must(t, err)
	for i := range uint64(n.size / f.sb.BlockSize) {
		r, err := c.run(i)
		must(t, err)
		own[r.phys+i-r.first] = true
	}
	bs := int(f.sb.BlockSize)
	for i := 0; i < len(a); i += bs {
		if block := uint64(i / bs); !own[block] && !bytes.Equal(a[i:i+bs], b[i:i+bs]) {
			blocks = append(blocks, block)
		}
	}
	return blocks
}

// logBlocks has debugfs write a transaction of blocks, as they are in data, with
// revocations. A journal opened anew finds its end by itself.
func logBlocks(t testing.TB, image, options string, data []byte, bs int64, blocks, revoked []uint64, more string) {
	t.Helper()
	list := func(numbers []uint64) string {
		return strings.Trim(strings.ReplaceAll(fmt.Sprint(numbers), " ", ","), "[]")
	}
	const most = 200 // debugfs reads short lines
	for len(blocks) > 0 || len(revoked) > 0 {
		part := blocks[:min(most, len(blocks))]
		blocks = blocks[len(part):]
		var content []byte
		for _, b := range part {
			content = append(content, data[int64(b)*bs:int64(b+1)*bs]...)
		}
		file := filepath.Join(t.TempDir(), "blocks")
		writeTestFile(t, file, content, 0o644)
		command := "journal_write " + more
		if len(part) > 0 {
			command += " -b " + list(part)
		} else {
			command += " -r " + list(revoked)
			revoked = nil
		}
		debugfsScript(t, image, "journal_open "+options, command+" "+file, "journal_close")
	}
}

// fillJournal makes the image of a set whose journal holds all steps, and copies of a
// file's block that are revoked or renewed, and a transaction that was cut off.
func fillJournal(t testing.TB, fix *fixtures, s journalSet) waiting {
	t.Helper()
	set := setNamed(t, s.set)
	if set.many { // many names would only take time here
		set.many, set.name = false, set.name+"_few"
	}
	work, image := fix.copyOf(t, set), fix.copyOf(t, set)
	read := func(name string) []byte {
		data, err := os.ReadFile(name)
		must(t, err)
		return data
	}
	f := openImage(t, image, 0)
	bs := f.sb.BlockSize
	victims := blocksOf(t, f, "/bin/big", 4)
	before := read(work)
	garbage := bytes.Repeat([]byte("garbage "), len(before)/8)
	logBlocks(t, image, s.open, garbage, bs, victims, nil, "")
	for i, edits := range steps() {
		must(t, Edit(context.Background(), work, 0, edits))
		after := read(work)
		logBlocks(t, image, s.open, after, bs, changed(t, f, before, after), nil, "")
		if i == 0 {
			logBlocks(t, image, s.open, nil, bs, nil, victims[:3], "")
			logBlocks(t, image, s.open, randomBytes(92, len(before)), bs, victims[2:3], nil, "")
		}
		before = after
	}
	logBlocks(t, image, s.open, garbage, bs, blocksOf(t, f, "/bin/big", 12)[10:], nil, "-c")
	return openWaiting(t, image)
}

func openWaiting(t testing.TB, image string) waiting {
	t.Helper()
	f := openImage(t, image, 0)
	if !f.NeedsRecovery() || f.Replayed() {
		t.Fatal("no journal waits in the image")
	}
	j, err := openJournal(f)
	must(t, err)
	return waiting{image, j}
}

func blocksOf(t testing.TB, f *FS, name string, count uint64) (blocks []uint64) {
	t.Helper()
	n, err := f.lookup("test", name)
	must(t, err)
	c, err := f.content(n)
	must(t, err)
	for i := range count {
		r, err := c.run(i)
		must(t, err)
		blocks = append(blocks, r.phys+i-r.first)
	}
	return slices.DeleteFunc(blocks, func(b uint64) bool { return b == 0 })
}

// change edits blocks of the journal: do gets the journal's bytes from its beginning, as
// one piece, and the superblock gets its checksum again.
func (w waiting) change(t testing.TB, do func(log []byte)) waiting {
	t.Helper()
	j, bs := w.j, w.j.fs.sb.BlockSize
	log := make([]byte, j.file.inode.size)
	_, err := j.file.ReadAt(log, 0)
	must(t, err)
	old := bytes.Clone(log)
	do(log)
	if be := binary.BigEndian; be.Uint32(log[0x28:])&(journalCsumV2|journalCsumV3) != 0 && be.Uint32(log[0xFC:]) == be.Uint32(old[0xFC:]) {
		be.PutUint32(log[0xFC:], crc32c(^uint32(0), log[:0xFC], le32(0), log[0x100:journalSuperSize]))
	}
	image := filepath.Join(t.TempDir(), "changed.img")
	copySparse(t, w.image, image, 0)
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	must(t, err)
	defer file.Close()
	for i := uint64(0); int64(i)*bs < int64(len(log)); i++ {
		part := log[int64(i)*bs : int64(i+1)*bs]
		if bytes.Equal(part, old[int64(i)*bs:int64(i+1)*bs]) {
			continue
		}
		phys, err := j.place(i)
		must(t, err)
		_, err = file.WriteAt(part, int64(phys)*bs)
		must(t, err)
	}
	return waiting{image, j}
}

// turned moves the log so that it goes around the end of the journal.
func (w waiting) turned(t testing.TB, by uint64) waiting {
	t.Helper()
	return w.change(t, func(log []byte) {
		j, bs := w.j, uint64(w.j.fs.sb.BlockSize)
		length := j.last - j.first
		ring := bytes.Clone(log[j.first*bs : j.last*bs])
		for i := range length {
			to := j.first + (i+by)%length
			copy(log[to*bs:], ring[i*bs:(i+1)*bs])
		}
		binary.BigEndian.PutUint32(log[0x1C:], uint32(j.first+(j.start-j.first+by)%length))
	})
}

func openReplayed(t testing.TB, image string) (*FS, error) {
	t.Helper()
	file, err := os.Open(image)
	must(t, err)
	t.Cleanup(func() { file.Close() })
	info, err := file.Stat()
	must(t, err)
	return OpenReplayed(file, info.Size())
}

// judgeReplay compares our view with what debugfs reads after e2fsck's replay.
func judgeReplay(t *testing.T, w waiting) (all map[string]imgtest.Object) {
	t.Helper()
	hash := hashFile(t, w.image)
	f, err := openReplayed(t, w.image)
	must(t, err)
	if !f.Replayed() || f.NeedsRecovery() {
		t.Errorf("replayed: %t, needs recovery: %t; want a replayed view", f.Replayed(), f.NeedsRecovery())
	}
	got, err := imgtest.ReadTree(f)
	must(t, err)
	if hashFile(t, w.image) != hash {
		t.Error("the image changed")
	}
	judged := filepath.Join(t.TempDir(), "judged.img")
	copySparse(t, w.image, judged, 0)
	if out, code := e2tool(t, "e2fsck", "-E", "journal_only", "-p", judged); code > fsckCorrected {
		t.Fatalf("e2fsck exits with %d: %s", code, out)
	}
	want, err := imgtest.ReadWithDebugfs(judged, 0, t.TempDir())
	must(t, err)
	for _, line := range imgtest.Differences(got, want) {
		t.Error(line)
	}
	return got
}

// TestReplayedAgreesWithE2fsck: the view of a journal that waits is the tree that e2fsck
// leaves after the replay, whatever kind of journal, also around its end.
func TestReplayedAgreesWithE2fsck(t *testing.T) {
	fix := newFixtures(t)
	var names, images atomic.Int64
	t.Run("all", func(t *testing.T) {
		for i, s := range journalSets() {
			t.Run(s.String(), func(t *testing.T) {
				t.Parallel()
				w := fillJournal(t, fix, s)
				turns := []uint64{w.j.last - w.j.first - 47}
				if i%3 == 0 { // straight on is the easy case
					turns = append(turns, 0)
				}
				for _, by := range turns {
					t.Run(fmt.Sprintf("turned by %d", by), func(t *testing.T) {
						all := judgeReplay(t, w.turned(t, by))
						names.Add(int64(len(all)))
						images.Add(1)
						checkSteps(t, s, all)
					})
				}
			})
		}
	})
	t.Logf("%d journals of %d kinds, %d names: all as after e2fsck's replay", images.Load(), len(journalSets()), names.Load())
	if want := int64(len(journalSets()) + (len(journalSets())+2)/3); images.Load() != want || names.Load() < want*fewNames {
		t.Errorf("%d journals with %d names were compared, want %d with %d", images.Load(), names.Load(), want, want*fewNames)
	}
}

// checkSteps holds that the journals have in them what they are for.
func checkSteps(t *testing.T, s journalSet, all map[string]imgtest.Object) {
	t.Helper()
	if s == (journalSet{"no_csum", "-c"}) || s == (journalSet{"no_64bit_gdt_csum", "-c"}) {
		// This sum, as debugfs writes it, is wrong where a transaction revokes blocks.
		if _, first := all["/etc/new.d"]; !first {
			t.Error("the first step is not in the view")
		}
		return
	}
	for name, there := range map[string]bool{"/etc/new.d/inside": true, "/many/name-0003": false, "/links/from-log": true, "/bin/su": false, "/etc/escaped": true} {
		if _, found := all[name]; found != there {
			t.Errorf("%s is there: %t, want %t", name, found, there)
		}
	}
	if size := all["/etc/escaped"].Size; size != 9007 {
		t.Errorf("/etc/escaped has %d bytes, want 9007", size)
	}
}

// What does not wait is as Open gives it.
func TestOpenReplayedOfACleanImage(t *testing.T) {
	image := newFixtures(t).image(t, setNamed(t, "default_4k"))
	f, err := openReplayed(t, image)
	must(t, err)
	if f.Replayed() || f.NeedsRecovery() {
		t.Errorf("replayed: %t, needs recovery: %t; want neither", f.Replayed(), f.NeedsRecovery())
	}
	if n := compareWithSource(t, f, newFixtures(t).many); n < manyNames {
		t.Errorf("compared %d names, want %d", n, manyNames)
	}
	if _, err := OpenReplayed(strings.NewReader("nothing"), 7); !errors.Is(err, ErrNotExt4) {
		t.Errorf("error is %v, want %v", err, ErrNotExt4)
	}
}

// Reads begin and end anywhere in blocks that wait, escaped ones too.
func TestReplayedReader(t *testing.T) {
	const bs = 1024
	image := randomBytes(95, 16*bs)
	blocks := map[uint64]logged{2: {10, false}, 3: {12, true}, 4: {11, false}, 7: {13, true}}
	want := bytes.Clone(image)
	for block, l := range blocks {
		copy(want[block*bs:(block+1)*bs], image[l.block*bs:])
		if l.escaped {
			binary.BigEndian.PutUint32(want[block*bs:], journalMagic)
		}
	}
	v := &replayedReader{bytes.NewReader(image), bs, blocks}
	got := make([]byte, len(image))
	for from := 0; from < 9*bs; from += 341 {
		for _, length := range []int{1, 2, 3, 5, 1023, 1024, 1025, 3000, 7000} {
			if n, err := v.ReadAt(got[:length], int64(from)); n != length || err != nil || !bytes.Equal(got[:length], want[from:from+length]) {
				t.Fatalf("%d bytes at %d: %d read (%v), or wrong ones", length, from, n, err)
			}
		}
	}
	for from := 3*bs - 3; from < 3*bs+6; from++ {
		if _, err := v.ReadAt(got[:3], int64(from)); err != nil || !bytes.Equal(got[:3], want[from:from+3]) {
			t.Errorf("3 bytes at %d are %x (%v), want %x", from, got[:3], err, want[from:from+3])
		}
	}
	if n, err := v.ReadAt(got[:2000], 15*bs); n != bs || !errors.Is(err, io.EOF) {
		t.Errorf("%d bytes over the end (%v), want %d and EOF", n, err, bs)
	}
}
