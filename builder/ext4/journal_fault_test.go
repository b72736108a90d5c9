package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// fault is something wrong with, or odd about, a journal that waits.
type fault struct {
	name    string
	open    string // options of journal_open; the set is default_1k, or no_csum without options
	change  func(l logBytes)
	corrupt string // in the error; empty: the view is that of e2fsck
	unknown string // in the error of what is not supported
}

// logBytes is the journal as one piece, for faults.
type logBytes struct {
	j   *journal
	log []byte
}

func (l logBytes) block(i uint64) []byte {
	bs := uint64(l.j.fs.sb.BlockSize)
	return l.log[i*bs : (i+1)*bs]
}

func (l logBytes) put(at int, value uint32) { binary.BigEndian.PutUint32(l.log[at:], value) }

// nth gives the nth block of a type that is in the log, from 0; negative from the end.
func (l logBytes) nth(kind uint32, n int) uint64 {
	var found []uint64
	for i := l.j.first; i < l.j.last; i++ {
		if b := l.block(i); binary.BigEndian.Uint32(b) == journalMagic && binary.BigEndian.Uint32(b[4:]) == kind {
			found = append(found, i)
		}
	}
	if n < 0 {
		n += len(found)
	}
	return found[n]
}

// renumber gives all transactions other sequence numbers.
func (l logBytes) renumber(first uint32) {
	by := first - l.j.sequence
	l.put(0x18, first)
	for i := l.j.first; i < l.j.last; i++ {
		if b := l.block(i); binary.BigEndian.Uint32(b) == journalMagic {
			binary.BigEndian.PutUint32(b[8:], binary.BigEndian.Uint32(b[8:])+by)
		}
	}
}

// fillRing makes the whole log blocks of one type of the first transaction.
func (l logBytes) fillRing(kind uint32) {
	for i := l.j.first; i < l.j.last; i++ {
		b := l.block(i)
		clear(b)
		binary.BigEndian.PutUint32(b, journalMagic)
		binary.BigEndian.PutUint32(b[4:], kind)
		binary.BigEndian.PutUint32(b[8:], l.j.sequence)
		b[7+journalHeader] = tagLast // of the first tag, and the length of revocations
	}
}

// addFastCommit puts the beginning of a fast commit behind the log, for the transaction
// that would be next, or another one.
func (l logBytes) addFastCommit(off uint32) {
	last := l.block(l.nth(kindCommit, -1))
	l.put(0x28, binary.BigEndian.Uint32(l.log[0x28:])|journalFastCommit)
	l.put(0x54, 256)
	b := l.block(l.j.last - 256 + 1)
	binary.LittleEndian.PutUint16(b, fastCommitHead)
	binary.LittleEndian.PutUint16(b[2:], 8)
	binary.LittleEndian.PutUint32(b[8:], binary.BigEndian.Uint32(last[8:])+1+off)
}

// async makes commits asynchronous and spoils the nth.
func (l logBytes) async(n int) {
	l.put(0x28, binary.BigEndian.Uint32(l.log[0x28:])|journalAsync)
	l.block(l.nth(kindCommit, n))[0x14] ^= 0x40
}

func superFaults() []fault {
	put := func(at int, value uint32) func(logBytes) { return func(l logBytes) { l.put(at, value) } }
	return []fault{
		{name: "no magic", change: put(0, 1), corrupt: "magic is 00000001, want c03b3998"},
		{name: "no superblock", change: put(4, kindCommit), corrupt: "type is 2, want 3 or 4"},
		{name: "other block size", change: put(0x0C, 4096), corrupt: "block size is 4096, want 1024"},
		{name: "longer than its inode", change: put(0x10, 1<<19), corrupt: "length is 524288 blocks"},
		{name: "no length", change: put(0x10, 0), corrupt: "log is at blocks 1 to 0"},
		{name: "first block is none", change: put(0x14, 0), corrupt: "log is at blocks 0"},
		{name: "first block behind the last", change: put(0x14, 1<<30), corrupt: "log is at blocks 1073741824"},
		{name: "begins behind the last", change: put(0x1C, 1<<31), corrupt: "log begins at block 2147483648"},
		{name: "feature of tomorrow", change: put(0x28, 0x80), unknown: "journal features 0x80"},
		{name: "read-only feature of tomorrow", change: put(0x2C, 1), unknown: "journal features 0x0, 0x1"},
		{name: "two kinds of checksum", open: "-c", change: put(0x28, journalCsumV2|journalCsumV3), corrupt: "more than one kind"},
		{name: "old and new checksum", open: "-c", change: put(0x24, journalChecksum), corrupt: "more than one kind"},
		{name: "checksum of another type", open: "-c", change: put(0x50, 5<<24), corrupt: "checksum type is 5, want 4"},
		{name: "superblock checksum", open: "-c", change: func(l logBytes) { l.put(0xFC, binary.BigEndian.Uint32(l.log[0xFC:])+1) }, corrupt: "checksum is"},
		{name: "log is empty", change: put(0x1C, 0)},
		{name: "superblock of version 1", change: func(l logBytes) { l.put(4, kindSuperV1); l.put(0x28, 0); l.put(0x24, 0) }},
	}
}

func logFaults() []fault {
	spoil := func(kind uint32, n, at int) func(logBytes) {
		return func(l logBytes) { l.block(l.nth(kind, n))[at] ^= 0x40 }
	}
	data := func(n int) func(logBytes) {
		return func(l logBytes) { l.block(l.nth(kindDescriptor, n) + 1)[500] ^= 0x40 }
	}
	return []fault{
		{name: "descriptor spoiled", open: "-c", change: spoil(kindDescriptor, 1, 900), corrupt: "has a block with a wrong checksum"},
		{name: "descriptor of the cut transaction spoiled", open: "-c", change: spoil(kindDescriptor, -1, 900)},
		{name: "revocations spoiled", open: "-c", change: spoil(kindRevoke, 0, 900), corrupt: "has a block with a wrong checksum"},
		{name: "first commit spoiled", open: "-c", change: spoil(kindCommit, 0, 0x14)},
		{name: "commit in the middle spoiled", open: "-c", change: spoil(kindCommit, 3, 0x14)},
		{name: "last commit spoiled", open: "-c", change: spoil(kindCommit, -1, 0x14)},
		{name: "commit of an earlier turn", open: "-c", change: func(l logBytes) {
			b := l.block(l.nth(kindCommit, 3))
			b[0x14] ^= 1
			clear(b[0x30:0x38])
		}},
		{name: "asynchronous commit spoiled", open: "-c", change: func(l logBytes) { l.async(3) }},
		{name: "two asynchronous commits spoiled", open: "-c", change: func(l logBytes) { l.async(2); l.async(4) }},
		{name: "asynchronous commit of an earlier turn", open: "-c", change: func(l logBytes) {
			l.async(2)
			l.async(4)
			clear(l.block(l.nth(kindCommit, 2))[0x30:0x38])
		}},
		{name: "data spoiled", open: "-c", change: data(1), corrupt: "checksum is"},
		{name: "data spoiled, short sum", open: "-c -v 2", change: data(1), corrupt: "checksum is"},
		{name: "commit without its magic", change: spoil(kindCommit, 2, 0)},
		{name: "commit of another transaction", change: spoil(kindCommit, 2, 11)},
		{name: "block of an unknown type", change: func(l logBytes) { l.block(l.nth(kindDescriptor, 2))[7] = 9 }},
		{name: "sequence numbers begin anew", change: func(l logBytes) { l.renumber(0xFFFFFFFD) }},
		{name: "log of revocations only", change: func(l logBytes) { l.fillRing(kindRevoke) }, corrupt: "log is longer than"},
		{name: "log of descriptors only", change: func(l logBytes) { l.fillRing(kindDescriptor) }, corrupt: "log is longer than"},
		{name: "too many revocations", change: func(l logBytes) { binary.BigEndian.PutUint32(l.block(l.nth(kindRevoke, 0))[12:], 1025) }, corrupt: "revoke block uses 1025 bytes"},
		{name: "no revocations", change: func(l logBytes) { binary.BigEndian.PutUint32(l.block(l.nth(kindRevoke, 0))[12:], 0) }},
		{name: "block outside", change: func(l logBytes) {
			binary.BigEndian.PutUint32(l.block(l.nth(kindDescriptor, 0))[journalHeader:], fixtureBytes/1024)
		}, corrupt: "the image holds"},
		{name: "block of the log", change: func(l logBytes) {
			phys, _ := l.j.place(l.nth(kindDescriptor, -2) + 1)
			binary.BigEndian.PutUint32(l.block(l.nth(kindDescriptor, -2))[journalHeader:], uint32(phys))
		}, corrupt: "is a part of the log"},
		{name: "fast commits wait", change: func(l logBytes) { l.addFastCommit(0) }, unknown: "fast_commit"},
		{name: "old fast commits", change: func(l logBytes) { l.addFastCommit(7) }},
	}
}

func TestFaultyJournals(t *testing.T) {
	fix := newFixtures(t)
	bases := map[string]waiting{
		"": fillJournal(t, fix, journalSet{"no_64bit_gdt_csum", ""}), "-c": fillJournal(t, fix, journalSet{"default_1k", "-c"}),
		"-c -v 2": fillJournal(t, fix, journalSet{"default_1k", "-c -v 2"}),
	}
	agree, refused := 0, 0
	for _, c := range append(superFaults(), logFaults()...) {
		t.Run(c.name, func(t *testing.T) {
			w := bases[c.open].change(t, func(log []byte) { c.change(logBytes{bases[c.open].j, log}) })
			if c.corrupt == "" && c.unknown == "" {
				judgeReplay(t, w)
				agree++
				return
			}
			_, err := openReplayed(t, w.image)
			var corrupt *CorruptError
			switch {
			case c.corrupt != "" && (!errors.As(err, &corrupt) || !strings.Contains(err.Error(), c.corrupt)):
				t.Errorf("error is %v, want a CorruptError with %q", err, c.corrupt)
			case c.unknown != "" && (!errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), c.unknown)):
				t.Errorf("error is %v, want %v with %q", err, ErrUnsupported, c.unknown)
			}
			refused++
		})
	}
	t.Logf("%d odd journals read as e2fsck replays them, %d refused", agree, refused)
}

// The superblock of the file system can lie about its journal too.
func TestJournalThatIsNone(t *testing.T) {
	w := fillJournal(t, newFixtures(t), journalSet{"no_csum", ""})
	data, err := os.ReadFile(w.image)
	must(t, err)
	for _, c := range []struct {
		name   string
		change func(data []byte)
		want   string
	}{
		{"no feature", func(data []byte) { data[1024+0x5C] &^= compatHasJournal }, "there is none"},
		{"another device", func(data []byte) { data[1024+0xE0] = 0 }, "another device"},
		{"a directory", func(data []byte) { data[1024+0xE0] = rootInode }, "want a regular file"},
		{"no inode", func(data []byte) { data[1024+0xE3] = 0xFF }, "inode number"},
		{"an empty file", func(data []byte) { clear(data[w.j.file.inode.at+4:][:4]) }, "length is 1024 blocks, its inode has 0"},
		{"holes", func(data []byte) { clear(data[w.j.file.inode.at+0x2A:][:2]) }, "is a hole"},
	} {
		t.Run(c.name, func(t *testing.T) {
			changed := bytes.Clone(data)
			c.change(changed)
			if _, err := OpenReplayed(bytes.NewReader(changed), int64(len(changed))); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want one with %q", err, c.want)
			}
		})
	}
}

// smallJournal gives a small image with a journal that waits, and where its log is.
func smallJournal(t testing.TB, args, open string) (data []byte, log []int64) {
	t.Helper()
	image := t.TempDir() + "/image"
	if out, code := e2tool(t, "mke2fs", append(append([]string{"-q", "-F", "-J", "size=1", "-N", "64"}, strings.Fields(args)...), image, "4M")...); code != 0 {
		t.Fatalf("mke2fs %s: %s", args, out)
	}
	content := t.TempDir() + "/content"
	writeTestFile(t, content, randomBytes(96, 20_000), 0o644)
	debugfsScript(t, image, "write "+content+" file")
	clean, err := os.ReadFile(image)
	must(t, err)
	blocks := blocksOf(t, openImage(t, image, 0), "/file", 5)
	for i := range 4 {
		logBlocks(t, image, open, randomBytes(uint64(97+i), len(clean)), 1024, blocks[:5-i], nil, "")
		logBlocks(t, image, open, nil, 1024, nil, blocks[:1], "")
	}
	w := openWaiting(t, image)
	for i := range uint64(48) {
		phys, err := w.j.place(i)
		must(t, err)
		log = append(log, int64(phys)*1024)
	}
	data, err = os.ReadFile(image)
	must(t, err)
	return data, log
}

// FuzzOpenReplayed changes a log, four bytes a change: block, place in it, and value.
func FuzzOpenReplayed(f *testing.F) {
	type seed struct {
		data []byte
		log  []int64
	}
	var seeds []seed
	for i, c := range [][2]string{{"-t ext4 -b 1024 -O ^metadata_csum,^64bit", ""}, {"-t ext4 -b 1024 -O ^metadata_csum", "-c"}, {"-t ext4 -b 1024", "-c"}} {
		data, log := smallJournal(f, c[0], c[1])
		tree, err := OpenReplayed(bytes.NewReader(data), int64(len(data)))
		if err != nil || !tree.Replayed() || walk(tree) != 2 {
			f.Fatalf("seed %v: error is %v, want a replayed tree of 2 names", c, err)
		}
		seeds = append(seeds, seed{data, log})
		f.Add(uint8(i), []byte{})
		f.Add(uint8(i), []byte{1, 0, 15, 200, 2, 0, 4, 7})
	}
	f.Fuzz(func(t *testing.T, which uint8, changes []byte) {
		s := seeds[int(which)%len(seeds)]
		data := bytes.Clone(s.data)
		for ; len(changes) >= 4; changes = changes[4:] {
			at := int(binary.LittleEndian.Uint16(changes[1:])) % 1024
			data[s.log[int(changes[0])%len(s.log)]+int64(at)] = changes[3]
		}
		start := time.Now()
		if tree, err := OpenReplayed(bytes.NewReader(data), int64(len(data))); err == nil {
			walk(tree)
		}
		if took := time.Since(start); took > walkTime {
			t.Errorf("view took %v", took)
		}
	})
}
