package fat

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// shape is one way to make a volume.
type shape struct {
	bits, sector, perCluster int
	size                     int64
}

func (s shape) String() string {
	return fmt.Sprintf("fat%d_%d_%d", s.bits, s.sector, s.perCluster)
}

func (s shape) make(t testing.TB) image {
	t.Helper()
	return makeImage(t, s.size, "-F", fmt.Sprint(s.bits), "-S", fmt.Sprint(s.sector), "-s", fmt.Sprint(s.perCluster), "-n", "ESP")
}

// shapes have sizes that the number of clusters allows; mtools does not take
// FAT32 with less than 65525.
func shapes() []shape {
	const mib = 1 << 20
	return []shape{
		{12, 512, 1, 2 * mib}, {12, 512, 2, 4 * mib}, {12, 512, 8, 15 * mib},
		{12, 4096, 1, 15 * mib}, {12, 4096, 2, 30 * mib}, {12, 4096, 8, 64 * mib},
		{16, 512, 1, 16 * mib}, {16, 512, 2, 32 * mib}, {16, 512, 8, 64 * mib},
		{16, 4096, 1, 64 * mib}, {16, 4096, 2, 64 * mib}, {16, 4096, 8, 160 * mib},
		{32, 512, 1, 40 * mib}, {32, 512, 2, 80 * mib}, {32, 512, 8, 272 * mib},
		{32, 4096, 1, 272 * mib}, {32, 4096, 2, 530 * mib}, {32, 4096, 8, 2112 * mib},
	}
}

// operation is one call of Edit, and what it changes in the tree. It may be refused
// for want of room where mayFill is set, and must be where full is.
type operation struct {
	name          string
	edits         []rootfs.Edit
	change        func(tree)
	mayFill, full bool
}

const longest = 255

// operations come in an order in which they build on each other.
func operations(s shape) []operation {
	add := func(more tree) func(tree) { return func(w tree) { maps.Copy(w, more) } }
	with := func(name string, data []byte) operation {
		return operation{edits: []rootfs.Edit{write(name, data)}, change: add(tree{name: data})}
	}
	named := func(name string, o operation) operation {
		o.name = name
		return o
	}
	big := named("create 4 MB", with("/EFI/big.efi", random(11, 4<<20)))
	big.mayFill = s.size < 8<<20
	root := many("300 files in the root", "", 300)
	root.full = s.bits != 32 // 512 entries in the fixed root, 900 wanted
	return []operation{
		named("create small", with("/EFI/BOOT/kerngate.conf", []byte("floor\n"))),
		named("create empty", with("/EFI/BOOT/nothing", []byte{})),
		big,
		named("replace shorter", with("/EFI/BOOT/BOOTX64.EFI", random(12, 9_999))),
		named("replace longer", with("/EFI/BOOT/BOOTX64.EFI", random(13, 99_999))),
		named("replace by empty", with("/EFI/BOOT/grub.cfg", []byte{})),
		named("fill an empty file", with("/empty.txt", random(14, 40_000))),
		{name: "append", edits: []rootfs.Edit{grow("/EFI/BOOT/BOOTX64.EFI", 99_999, random(15, 20_000)), grow("/hidden.sys", 0, random(17, 5_000))},
			change: add(tree{"/EFI/BOOT/BOOTX64.EFI": slices.Concat(random(13, 99_999), random(15, 20_000)), "/hidden.sys": random(17, 5_000)})},
		{name: "cut, and append to the middle of a sector", edits: []rootfs.Edit{grow("/EFI/BOOT/BOOTX64.EFI", 50_001, random(16, 123)), grow("/hidden.sys", 4_096, nil)},
			change: add(tree{"/EFI/BOOT/BOOTX64.EFI": slices.Concat(random(13, 99_999)[:50_001], random(16, 123)), "/hidden.sys": random(17, 4_096)})},
		{name: "append twice to a new file", edits: []rootfs.Edit{write("/EFI/new", random(18, 9_000)), grow("/EFI/new", 9_000, random(19, 9_000)), grow("/efi/NEW", 12_345, random(20, 70_000))},
			change: add(tree{"/EFI/new": slices.Concat(random(18, 9_000), random(19, 9_000)[:3_345], random(20, 70_000))})},
		{name: "mkdir", edits: []rootfs.Edit{mkdir("/loader")}, change: add(tree{"/loader": nil})},
		{name: "nested mkdir", edits: []rootfs.Edit{mkdir("/loader/a"), mkdir("/loader/a/b c"), write("/loader/a/b c/f", []byte("f"))},
			change: add(tree{"/loader/a": nil, "/loader/a/b c": nil, "/loader/a/b c/f": []byte("f")})},
		longNames(),
		{name: "replace in another case", edits: []rootfs.Edit{write("/efi/boot/BootX64.efi", []byte("new"))}, change: add(tree{"/EFI/BOOT/BOOTX64.EFI": []byte("new")})},
		{name: "replace hidden", edits: []rootfs.Edit{write("/HIDDEN.SYS", []byte("h"))}, change: add(tree{"/hidden.sys": []byte("h")})},
		{name: "remove file", edits: []rootfs.Edit{remove("/EFI/Long Name Directory/some file + more.conf")},
			change: func(w tree) { delete(w, "/EFI/Long Name Directory/some file + more.conf") }},
		{name: "remove directory", edits: []rootfs.Edit{remove("/efi/long name directory")}, change: func(w tree) { delete(w, "/EFI/Long Name Directory") }},
		{name: "remove and create again", edits: []rootfs.Edit{remove("/loader/a/b c/f"), remove("/loader/a/b c"), write("/loader/a/B C", []byte("file"))},
			change: func(w tree) {
				delete(w, "/loader/a/b c/f")
				delete(w, "/loader/a/b c")
				w["/loader/a/B C"] = []byte("file")
			}},
		many("300 files in a directory", "/loader/a", 300),
		root,
		{name: "no space", edits: tooMuch(s.size), full: true},
	}
}

// tooMuch fills a volume of size bytes after a small file that fits.
func tooMuch(size int64) []rootfs.Edit {
	edits := []rootfs.Edit{write("/small", []byte("x"))}
	data := make([]byte, min(size, 64<<20))
	for i := range size/int64(len(data)) + 1 {
		edits = append(edits, write(fmt.Sprintf("/large %d", i), data))
	}
	return edits
}

// many makes files with long names, so with three entries each.
func many(name, dir string, count int) operation {
	more := tree{}
	o := operation{name: name, change: func(w tree) { maps.Copy(w, more) }}
	for i := range count {
		file := fmt.Sprintf("%s/an entry with a name %03d.conf", dir, i)
		more[file] = []byte(file)
		o.edits = append(o.edits, write(file, more[file]))
	}
	return o
}

func longNames() operation {
	more := tree{}
	o := operation{name: "long names", change: func(w tree) { maps.Copy(w, more) }}
	for i, base := range []string{
		strings.Repeat("x", longest), strings.Repeat("y", longest-3) + ".ef", strings.Repeat("z", 12), strings.Repeat("w", 13), strings.Repeat("v", 14),
		"a b  c", ".config", "two.dots.conf", "ümläut ΑΒΓ 文件", "UPPER.TXT", "UPPER.long", "lower.txt", "MiXeD.tXt", "no+such,name;in=8.[3]", "x~1", "plus~1.a",
	} {
		name := "/EFI/" + base
		more[name] = []byte(fmt.Sprint(i))
		o.edits = append(o.edits, write(name, more[name]))
	}
	return o
}

// TestEveryOperationOnEveryShape has fsck.vfat judge the volume, and mtools read all
// of it, after each operation.
func TestEveryOperationOnEveryShape(t *testing.T) {
	var clean, refused atomic.Int32
	t.Run("shapes", func(t *testing.T) {
		for _, s := range shapes() {
			t.Run(s.String(), func(t *testing.T) {
				t.Parallel() // most of the time goes into waiting for the disk
				s.runAll(t, &clean, &refused)
			})
		}
	})
	done := clean.Load() + refused.Load()
	t.Logf("%d operations over %d feature sets: %d clean, %d refused", done, len(shapes()), clean.Load(), refused.Load())
	if want := int32(18 * 21); done != want || clean.Load() < want*8/10 || refused.Load() < 18 {
		t.Errorf("%d operations, %d clean, %d refused: want %d, most of them clean, no space refused everywhere", done, clean.Load(), refused.Load(), want)
	}
}

func (s shape) runAll(t *testing.T, clean, refused *atomic.Int32) {
	img := s.make(t)
	want := img.populate(t)
	img.fsck(t)
	if v := img.open(t).Volume(); v.Bits != s.bits || v.SectorSize != int64(s.sector) || v.ClusterSize != int64(s.sector*s.perCluster) || v.Label != "ESP" || v.UUID() == "" {
		t.Fatalf("volume is %+v, want %v with label ESP", v, s)
	}
	for _, o := range operations(s) {
		if run(t, img, o, want) {
			clean.Add(1)
		} else {
			refused.Add(1)
		}
	}
}

// run carries an operation out and judges it; it says whether it was not refused.
func run(t *testing.T, img image, o operation, want tree) (clean bool) {
	t.Helper()
	before := img.sum(t)
	err := img.edit(o.edits...)
	switch {
	case err == nil && o.full:
		t.Errorf("%s: no error, want one about space", o.name)
	case err == nil:
		o.change(want)
	case errors.Is(err, ErrNoSpace) && (o.mayFill || o.full):
		if after := img.sum(t); after != before {
			t.Errorf("%s: refused, but the image has changed: %v", o.name, err)
		}
	default:
		t.Fatalf("%s: %v", o.name, err)
	}
	img.fsck(t)
	want.compare(t, img)
	if t.Failed() {
		t.Fatalf("that was %s", o.name)
	}
	return err == nil
}
