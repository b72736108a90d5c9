package fat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// small makes a populated volume of 2 MiB; FAT32 then has fewer clusters than
// Microsoft wants, as on many a small system partition.
func small(t testing.TB, bits int) (image, tree) {
	t.Helper()
	size := int64(2 << 20)
	if bits == 16 {
		size = 4 << 20
	}
	img := shape{bits, 512, 1, size}.make(t)
	if bits == 32 { // mtools does not take it: so with ours
		edits := []rootfs.Edit{mkdir("/EFI"), write("/EFI/file", random(5, 3000)), mkdir("/EFI/a long directory name"), write("/empty.txt", nil)}
		must(t, img.edit(edits...))
		return img, tree{"/EFI": nil, "/EFI/file": random(5, 3000), "/EFI/a long directory name": nil, "/empty.txt": {}}
	}
	return img, img.populate(t)
}

// poke changes bytes of the volume behind everybody's back.
func (i image) poke(t testing.TB, off int64, b ...byte) {
	t.Helper()
	f, err := os.OpenFile(i.file, os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	_, err = f.WriteAt(b, volumeAt+off)
	must(t, err)
}

// peek reads bytes of the volume, or around it.
func (i image) peek(t testing.TB, off int64, n int) []byte {
	t.Helper()
	f, err := os.Open(i.file)
	must(t, err)
	defer f.Close()
	b := make([]byte, n)
	_, err = f.ReadAt(b, volumeAt+off)
	must(t, err)
	return b
}

// slotOf is where the entry of a name is.
func slotOf(t testing.TB, f *FS, name string) *entry {
	t.Helper()
	_, e, err := f.lookup("test", name)
	must(t, err)
	return e
}

func TestRefusedLeavesTheImageAlone(t *testing.T) {
	img, _ := small(t, 12)
	with := func(e rootfs.Edit, change func(*rootfs.Edit)) rootfs.Edit {
		change(&e)
		return e
	}
	file, ok := write("/f", []byte("x")), write("/fine.txt", random(9, 3000))
	before := img.sum(t)
	for _, c := range []struct {
		name string
		edit rootfs.Edit
		is   error
		want string
	}{
		{"symbolic link", rootfs.Edit{Op: rootfs.Symlink, Path: "/l", Target: "f", ModTime: at}, ErrUnsupported, "symbolic links"},
		{"extended attributes", with(file, func(e *rootfs.Edit) { e.Xattrs = map[string][]byte{"user.x": nil} }), ErrUnsupported, "extended attributes"},
		{"owner", with(file, func(e *rootfs.Edit) { e.UID = 1000 }), ErrUnsupported, "owner 1000:0"},
		{"group", with(file, func(e *rootfs.Edit) { e.GID = 5 }), ErrUnsupported, "owner 0:5"},
		{"set-uid bit", with(file, func(e *rootfs.Edit) { e.Mode |= fs.ModeSetuid }), ErrUnsupported, "mode u"},
		{"sticky directory", with(mkdir("/d"), func(e *rootfs.Edit) { e.Mode |= fs.ModeSticky }), ErrUnsupported, "mode t"},
		{"time before 1980", with(file, func(e *rootfs.Edit) { e.ModTime = time.Unix(0, 0) }), nil, "time is 1970-01-01T00:00:00Z, FAT knows the years 1980 to 2107"},
		{"time after 2107", with(file, func(e *rootfs.Edit) { e.ModTime = time.Date(2108, 1, 1, 0, 0, 0, 0, time.UTC) }), nil, "2108"},
		{"no time", with(file, func(e *rootfs.Edit) { e.ModTime = time.Time{} }), nil, "time is 0001"},
		{"unknown operation", with(file, func(e *rootfs.Edit) { e.Op = "link" }), nil, `operation is "link"`},
		{"escape", write("/../f", nil), fs.ErrInvalid, "rooted and clean"},
		{"escape inside", write("/EFI/../../f", nil), fs.ErrInvalid, "rooted and clean"},
		{"not rooted", write("f", nil), fs.ErrInvalid, "rooted and clean"},
		{"backslash", write(`/EFI\f`, nil), fs.ErrInvalid, `'\\'`},
		{"colon", write("/a:b", nil), fs.ErrInvalid, "':'"},
		{"question mark", mkdir("/a?"), fs.ErrInvalid, "'?'"},
		{"star", write("/*", nil), fs.ErrInvalid, "'*'"},
		{"quote", write(`/"`, nil), fs.ErrInvalid, `'"'`},
		{"line break", write("/a\nb", nil), fs.ErrInvalid, `'\n'`},
		{"zero byte", write("/a\x00", nil), fs.ErrInvalid, `'\x00'`},
		{"not UTF-8", write("/\xff", nil), fs.ErrInvalid, "not UTF-8"},
		{"dot at the end", write("/a.", nil), fs.ErrInvalid, "ends in a dot"},
		{"space at the end", mkdir("/a "), fs.ErrInvalid, "ends in a dot or a space"},
		{"bad character in a parent", write("/a|b/f", nil), fs.ErrInvalid, "'|'"},
		{"name of 256 characters", write("/"+strings.Repeat("ü", 256), nil), fs.ErrInvalid, "256 characters"},
		{"name of 256 code units", write("/"+strings.Repeat("🐧", 128), nil), fs.ErrInvalid, "256 characters"},
		{"no parent", write("/none/f", nil), fs.ErrNotExist, "/none"},
		{"parent is a file", write("/hidden.sys/f", nil), syscall.ENOTDIR, "/hidden.sys"},
		{"write over a directory", write("/EFI", nil), fs.ErrExist, "holds a directory"},
		{"mkdir over a file", mkdir("/hidden.sys"), fs.ErrExist, "a regular file"},
		{"remove nothing", remove("/none"), fs.ErrNotExist, "cannot remove /none"},
		{"remove a full directory", remove("/EFI"), syscall.ENOTEMPTY, "it holds BOOT"},
		{"remove the root", remove("/"), nil, "root directory"},
		{"write the root", write("/", nil), nil, "root directory"},
		{"append to nothing", grow("/none", 0, nil), fs.ErrNotExist, "cannot append /none"},
		{"append to a directory", grow("/EFI", 0, nil), nil, "it is a directory"},
		{"keep more than there is", grow("/fine.txt", 3001, nil), nil, "3001 bytes shall stay, the file has 3000"},
		{"keep less than nothing", grow("/fine.txt", -1, nil), nil, "-1 bytes shall stay"},
		{"append 4 GiB", grow("/fine.txt", 1<<32, nil), ErrUnsupported, "a file of 4294967296 bytes"},
		{"append too much", grow("/fine.txt", 3000, make([]byte, 2<<20)), ErrNoSpace, "not enough room"},
		{"too large", write("/f", make([]byte, 2<<20)), ErrNoSpace, ", want 4096: not enough room"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := img.edit(ok, c.edit)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "cannot edit the FAT volume at byte 1048576: cannot ") {
				t.Errorf("error is %v, want one with %q", err, c.want)
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("error is %v, want %v", err, c.is)
			}
			if img.sum(t) != before {
				t.Fatal("the image has changed")
			}
		})
	}
	if err := Edit(img.file, volumeAt, 1<<30, []rootfs.Edit{ok}); err == nil || !strings.Contains(err.Error(), "are asked for") {
		t.Errorf("size beyond the image: %v, want an error", err)
	}
	if err := Edit(img.file, 0, img.size, []rootfs.Edit{ok}); !errors.Is(err, ErrNotFAT) {
		t.Errorf("no volume there: %v, want %v", err, ErrNotFAT)
	}
	if err := img.edit(); err != nil || img.sum(t) != before {
		t.Errorf("no edits: %v, or the image has changed", err)
	}
}

func TestAttributesAndTimesAreKept(t *testing.T) {
	img, _ := small(t, 12)
	img.mtools(t, "mattrib", "-a", "::/hidden.sys")
	f := img.open(t)
	hidden, other, dir := *slotOf(t, f, "/hidden.sys"), *slotOf(t, f, "/EFI/BOOT/BOOTX64.EFI"), *slotOf(t, f, "/EFI/BOOT")
	readOnly := write("/EFI/BOOT/read only", []byte("r"))
	readOnly.Mode = 0o444
	must(t, img.edit(write("/hidden.sys", []byte("new")), write("/EFI/BOOT/neighbour", nil), readOnly, mkdir("/made")))
	if out := img.mtools(t, "mattrib", "::/hidden.sys"); !strings.HasPrefix(strings.TrimSpace(out), "A  SHR") {
		t.Errorf("attributes of the replaced file are %q, want A, S, H and R", out)
	}
	f = img.open(t)
	if now := slotOf(t, f, "/hidden.sys").raw; !bytes.Equal(now[:11], hidden.raw[:11]) || !bytes.Equal(now[12:18], hidden.raw[12:18]) {
		t.Errorf("replaced entry is % x, want name and creation time of % x", now, hidden.raw)
	}
	if attr := slotOf(t, f, "/EFI/BOOT/neighbour").raw[11]; attr != attrArchive {
		t.Errorf("attributes of the new file are %#x, want %#x", attr, attrArchive)
	}
	for name, before := range map[string]entry{"/EFI/BOOT/BOOTX64.EFI": other, "/EFI/BOOT": dir} {
		if now := slotOf(t, f, name); now.raw != before.raw || now.at != before.at {
			t.Errorf("entry of %s is % x at %#x, want it untouched", name, now.raw, now.at)
		}
	}
	want := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	for name, mode := range map[string]fs.FileMode{"/hidden.sys": 0o444, "/EFI/BOOT/neighbour": 0o644, "/EFI/BOOT/read only": 0o444, "/made": fs.ModeDir | 0o755} {
		if info, err := f.Lstat(name); err != nil || !info.ModTime.Equal(want) || info.Mode != mode {
			t.Errorf("%s is %v of %v, %v, want %v of %v", name, info.Mode, info.ModTime, err, mode, want)
		}
	}
	if out := img.mtools(t, "mdir", "-a", "::/EFI/BOOT"); !strings.Contains(out, "2026-02-03   4:05  neighbour") {
		t.Errorf("mdir does not show the time 2026-02-03 4:05 in UTC:\n%s", out)
	}
	if got := string(img.peek(t, -8, 8)) + string(img.peek(t, img.size, 8)); got != "neighborneighbor" {
		t.Errorf("bytes around the volume are %q, want them untouched", got)
	}
}

// TestAppendStaysInPlace: what is kept is neither moved nor written, and prepared edits
// write nothing before they are told to.
func TestAppendStaysInPlace(t *testing.T) {
	img, _ := small(t, 12)
	old := random(7, 100_000)
	must(t, img.edit(write("/initrd", old)))
	before, sum := img.peek(t, 0, int(img.size)), img.sum(t)
	was := *slotOf(t, img.open(t), "/initrd")
	in, err := os.Open(img.file)
	must(t, err)
	defer in.Close()
	const keep, added = 99_840, 30_000 // a sector that stays in part
	section := io.NewSectionReader(in, volumeAt, img.size)
	p, err := Prepare(section, img.size, []rootfs.Edit{grow("/initrd", keep+160, random(8, 50)), grow("/INITRD", keep, random(9, added))})
	must(t, err)
	if img.sum(t) != sum {
		t.Fatal("Prepare has changed the image")
	}
	after := make([]byte, img.size)
	must(t, readFull(p, after, 0))
	end, changed := int64(0), int64(0)
	p.Changes(func(at, n int64) {
		if at < end || !bytes.Equal(after[end:at], before[end:at]) {
			t.Errorf("change of %d bytes at %#x, after one that ends at %#x: it overlaps, or leaves something out", n, at, end)
		}
		end, changed = at+n, changed+n
	})
	if !bytes.Equal(after[end:], before[end:]) || changed > added+20_000 {
		t.Errorf("changes have %d bytes, want some %d; or something behind them differs", changed, added)
	}
	must(t, p.Write(img.file, volumeAt))
	if !bytes.Equal(img.peek(t, 0, int(img.size)), after) {
		t.Error("the volume is not what Prepared showed")
	}
	img.fsck(t)
	now := slotOf(t, img.open(t), "/initrd")
	if now.cluster != was.cluster || !bytes.Equal(now.raw[:11], was.raw[:11]) || !bytes.Equal(now.raw[12:18], was.raw[12:18]) {
		t.Errorf("entry is % x, want name, first cluster and creation time of % x", now.raw, was.raw)
	}
	if want := append(old[:keep:keep], random(9, added)...); img.mtools(t, "mtype", "::/initrd") != string(want) {
		t.Error("mtype does not show what is kept and appended")
	}
}

func TestFSInfoIsRight(t *testing.T) {
	img, _ := small(t, 32)
	boot := img.peek(t, 0, 512)
	for i, edits := range [][]rootfs.Edit{
		{write("/one", random(1, 5000))}, {mkdir("/two")}, {remove("/one")}, {remove("/EFI/file"), write("/three", random(2, 100))},
	} {
		img.poke(t, 512+488, 0x12, 0x34, 0, 0) // nobody may rely on the old count
		must(t, img.edit(edits...))
		f := img.open(t)
		free, first, err := f.fat.free()
		must(t, err)
		if len(f.infoSectors) != 2 {
			t.Fatalf("FSInfo sectors are %v, want two", f.infoSectors)
		}
		for _, sector := range f.infoSectors {
			b := img.peek(t, sector, 512)
			if gotFree, gotFirst := le32(b, 488), le32(b, 492); gotFree != free || gotFirst != first || first == 0 {
				t.Errorf("edit %d: FSInfo at %#x has %d free, first %d, want %d and %d", i, sector, gotFree, gotFirst, free, first)
			}
		}
		img.fsck(t)
	}
	if !bytes.Equal(boot, img.peek(t, 0, 512)) || !bytes.Equal(boot, img.peek(t, 6*512, 512)) {
		t.Error("boot sectors have changed, or differ")
	}
}

// TestFullVolume fills FAT32 to the last cluster: there is no next free one then.
func TestFullVolume(t *testing.T) {
	img, _ := small(t, 32)
	free, err := img.open(t).Free()
	must(t, err)
	must(t, img.edit(write("/EFI/file", nil)))
	grown, err := img.open(t).Free()
	must(t, err)
	if grown != free+6 {
		t.Fatalf("free clusters are %d, want %d", grown, free+6)
	}
	must(t, img.edit(write("/fill", make([]byte, int(grown)*512))))
	img.fsck(t)
	if b := img.peek(t, 512+488, 8); le32(b, 0) != 0 || le32(b, 4) != 0xFFFFFFFF {
		t.Errorf("FSInfo has % x, want no free cluster and none to start at", b)
	}
	var full *NoSpaceError
	if err := img.edit(write("/one more", []byte("x"))); !errors.As(err, &full) || full.Got != 0 || full.Want != 1 {
		t.Errorf("error is %v, want one about 1 cluster of 0", err)
	}
	must(t, img.edit(remove("/fill"), write("/one more", []byte("x"))))
	img.fsck(t)
}

// TestSameBytes makes the same volume twice, and repeats edits on it.
func TestSameBytes(t *testing.T) {
	edits := []rootfs.Edit{
		write("/EFI/BOOT/BOOTX64.EFI", random(7, 50_000)), mkdir("/loader"), write("/loader/a long name.conf", []byte("x")),
		remove("/hidden.sys"), write("/empty.txt", nil),
	}
	var sums [2]string
	for i := range sums {
		img := shape{16, 512, 2, 6 << 20}.make(t)
		must(t, img.edit(mkdir("/EFI"), mkdir("/EFI/BOOT"), write("/EFI/BOOT/BOOTX64.EFI", nil), write("/hidden.sys", random(1, 9999))))
		must(t, img.edit(edits...))
		sums[i] = img.sum(t)
		must(t, img.edit(append(edits[:3:3], edits[4])...))
		if again := img.sum(t); again != sums[i] {
			t.Errorf("edits made again change the image")
		}
	}
	if sums[0] != sums[1] {
		t.Error("same volume and edits, other bytes")
	}
}

func TestCaseAndAliases(t *testing.T) {
	img, want := small(t, 12)
	must(t, img.edit(write("/EFI/long name directory/SOME FILE + MORE.CONF", []byte("1")), mkdir("/efi/boot")))
	want["/EFI/Long Name Directory/some file + more.conf"] = []byte("1")
	want.compare(t, img)
	f := img.open(t)
	alias := slotOf(t, f, "/EFI/Long Name Directory").short
	if alias == "LONG NAME DIRECTORY" || !strings.Contains(alias, "~") {
		t.Fatalf("alias is %q, want one with a tail", alias)
	}
	if info, err := f.Lstat("/efi/" + strings.ToLower(alias)); err != nil || !info.Mode.IsDir() {
		t.Errorf("by alias: %v, %v, want the directory", info, err)
	}
	must(t, img.edit(write("/GRÖSSE 日本語 €.TXT", []byte("no match: ß is no SS")), write("/GRÖßE 日本語 €.TXT", []byte("2"))))
	want["/Größe 日本語 €.txt"], want["/GRÖSSE 日本語 €.TXT"] = []byte("2"), []byte("no match: ß is no SS")
	want.compare(t, img)
	img.fsck(t)
}

// TestTwoNamesOfOneFold has two files as Linux may leave them, which differ in the
// case of a letter outside of ASCII.
func TestTwoNamesOfOneFold(t *testing.T) {
	img, _ := small(t, 12)
	must(t, img.edit(write("/é twin", []byte("lower")), write("/è twin", []byte("upper"))))
	e := slotOf(t, img.open(t), "/è twin")
	img.poke(t, e.at-slotBytes+1, 'É', 0)
	f := img.open(t)
	for name, want := range map[string]string{"/é twin": "lower", "/É twin": "upper", "/é TWIN": "lower"} {
		if got, err := rootfs.ReadFile(f, name, 100); string(got) != want || err != nil {
			t.Errorf("%s holds %q, %v, want %q", name, got, err, want)
		}
	}
	if err := img.edit(write("/É twin", nil)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("error is %v, want that the name stands for two files", err)
	}
}

// TestSurrogates has names outside of the basic plane, which mtools cuts off.
func TestSurrogates(t *testing.T) {
	img, want := small(t, 12)
	for _, name := range []string{"/🐧.txt", "/" + strings.Repeat("🐧", 127) + "x"} {
		want[name] = []byte(name)
		must(t, img.edit(write(name, want[name])))
	}
	img.fsck(t)
	want.compareOurs(t, img.open(t))
}

// TestClusterOfAnEmptyFile has what go-diskfs leaves: an empty file with a cluster.
func TestClusterOfAnEmptyFile(t *testing.T) {
	for name, edit := range map[string]rootfs.Edit{
		"remove": remove("/one"), "replace by empty": write("/one", nil), "replace": write("/one", []byte("x")),
	} {
		t.Run(name, func(t *testing.T) {
			img, want := small(t, 12)
			must(t, img.edit(write("/one", []byte("1"))))
			img.poke(t, slotOf(t, img.open(t), "/one").at+28, 0)
			if data, err := rootfs.ReadFile(img.open(t), "/one", 10); err != nil || len(data) != 0 {
				t.Errorf("file holds %q, %v, want nothing", data, err)
			}
			must(t, img.edit(edit))
			if edit.Op != rootfs.Remove {
				want["/one"] = append([]byte{}, edit.Data...)
			}
			img.fsck(t)
			want.compare(t, img)
		})
	}
}

// TestOneFAT has volumes with one FAT, and with one of two in use.
func TestOneFAT(t *testing.T) {
	one := makeImage(t, 2<<20, "-F", "12", "-s", "1", "-f", "1")
	want := one.populate(t)
	must(t, one.edit(write("/EFI/BOOT/BOOTX64.EFI", []byte("x"))))
	want["/EFI/BOOT/BOOTX64.EFI"] = []byte("x")
	one.fsck(t)
	want.compare(t, one)

	img, want := small(t, 32)
	f := img.open(t)
	first := img.peek(t, f.fatStart, int(f.fatBytes))
	img.poke(t, 40, 0x81) // not mirrored, the second is active
	img.poke(t, f.fatStart+12, 0xFF, 0xFF, 0xFF, 0xFF)
	first[12], first[13], first[14], first[15] = 0xFF, 0xFF, 0xFF, 0xFF
	must(t, img.edit(write("/EFI/more", random(3, 4000))))
	want["/EFI/more"] = random(3, 4000)
	want.compareOurs(t, img.open(t))
	if !bytes.Equal(first, img.peek(t, f.fatStart, int(f.fatBytes))) {
		t.Error("the FAT that is not in use has changed")
	}
}

// TestBeyondTheEndMark has old entries behind the end of a directory: they must not
// come back when the end moves on.
func TestBeyondTheEndMark(t *testing.T) {
	img, want := small(t, 12)
	f := img.open(t)
	root, err := f.directory(0)
	must(t, err)
	for slot := root.end + 1; slot < root.end+20; slot++ {
		ghost := makeShort(fmt.Sprintf("GHOST%d", slot), "")
		img.poke(t, f.byteAt(root, slot), append(ghost[:], attrArchive)...)
	}
	must(t, img.edit(write("/A", []byte("a")), write("/B", []byte("b")), mkdir("/a longer name")))
	want["/A"], want["/B"], want["/a longer name"] = []byte("a"), []byte("b"), nil
	img.fsck(t)
	want.compare(t, img)
}

// TestReservedBits has bits set in FAT32 entries that are not ours.
func TestReservedBits(t *testing.T) {
	img, _ := small(t, 32)
	f := img.open(t)
	_, first, err := f.fat.free()
	must(t, err)
	for n := range int64(2) {
		at := f.fatStart + n*f.fatBytes + int64(first)*4
		img.poke(t, at+3, 0xA0)
	}
	must(t, img.edit(write("/x", []byte("x"))))
	if got := le32(img.peek(t, f.fatStart+int64(first)*4, 4), 0); got != 0xAFFFFFFF {
		t.Errorf("entry is %#x, want 0xafffffff", got)
	}
}

// TestBadClusters are never given to a file.
func TestBadClusters(t *testing.T) {
	for _, bits := range []int{12, 16, 32} {
		img, want := small(t, bits)
		in := img.open(t)
		_, first, err := in.fat.free()
		must(t, err)
		o := newOverlay(in.r, 512)
		must(t, in.fat.set(first, markBad))
		must(t, in.fat.flush(o))
		out, err := os.OpenFile(img.file, os.O_WRONLY, 0)
		must(t, err)
		must(t, o.flush(out, volumeAt))
		must(t, out.Close())
		must(t, img.edit(write("/x", random(1, 2000))))
		want["/x"] = random(1, 2000)
		f := img.open(t)
		want.compareOurs(t, f)
		if v, err := f.fat.get(first); v != markBad&f.fat.mask() || err != nil {
			t.Errorf("FAT%d: entry of the bad cluster is %#x, %v", bits, v, err)
		}
	}
}

// TestLargestDirectory meets the limit of a directory's length.
func TestLargestDirectory(t *testing.T) {
	img := shape{32, 512, 8, 8 << 20}.make(t)
	must(t, img.edit(mkdir("/d"), write("/d/f", nil)))
	in := img.open(t)
	d, err := in.directory(slotOf(t, in, "/d").cluster)
	must(t, err)
	for len(d.raw) < maxDirSlots*slotBytes { // as if all entries were in use
		d.raw = append(d.raw, d.raw[2*slotBytes:][:slotBytes]...)
	}
	d.end = maxDirSlots
	ed := &editor{FS: in, free: 100, scan: 2}
	var full *NoSpaceError
	if _, err := ed.room(d, 2); !errors.As(err, &full) || full.Resource != "entries of a directory" {
		t.Errorf("error is %v, want one about the entries of a directory", err)
	}
}

// TestDamageIsNotEdited has volumes that contradict themselves, which reading may
// not notice.
func TestDamageIsNotEdited(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(img image, f *FS)
		want   string
	}{
		{"FATs differ", func(img image, f *FS) {
			img.poke(t, f.fatStart+f.fatBytes+5, 0x77)
		}, "FAT 2 at byte"},
		{"two files share clusters", func(img image, f *FS) {
			start := make([]byte, 2)
			binary.LittleEndian.PutUint16(start, uint16(slotOf(t, f, "/hidden.sys").cluster))
			img.poke(t, slotOf(t, f, "/EFI/BOOT/grub.cfg").at+26, start...)
		}, "belongs to another name"},
		{"chain shorter than the file", func(img image, f *FS) {
			img.poke(t, slotOf(t, f, "/EFI/BOOT/BOOTX64.EFI").at+30, 1)
		}, "its chain has 59"},
		{"chain longer than the file", func(img image, f *FS) {
			img.poke(t, slotOf(t, f, "/EFI/BOOT/BOOTX64.EFI").at+28, 1, 0)
		}, "want 1 clusters, its chain has 59"},
	} {
		t.Run(c.name, func(t *testing.T) {
			img, _ := small(t, 12)
			c.damage(img, img.open(t))
			before := img.sum(t)
			err := img.edit(write("/x", []byte("x")))
			var damage *CorruptError
			if !errors.As(err, &damage) || !strings.Contains(err.Error(), c.want) || !strings.Contains(damage.Hint(), "fsck.vfat") {
				t.Errorf("error is %v, want one with %q", err, c.want)
			}
			if img.sum(t) != before {
				t.Error("the image has changed")
			}
		})
	}
}

// TestHighClusters has files and directories that start above cluster 65535.
func TestHighClusters(t *testing.T) {
	img := shape{32, 512, 1, 40 << 20}.make(t)
	want := tree{"/fill": make([]byte, 65_600*512), "/high": random(1, 3000), "/dir": nil, "/dir/sub": nil, "/dir/sub/file": []byte("x")}
	must(t, img.edit(write("/fill", want["/fill"]), write("/high", want["/high"]), mkdir("/dir"), mkdir("/dir/sub"), write("/dir/sub/file", []byte("x"))))
	img.fsck(t)
	want.compare(t, img)
	if e := slotOf(t, img.open(t), "/dir/sub"); e.cluster < 1<<16 {
		t.Errorf("directory starts at cluster %d, want more than 65535", e.cluster)
	}
	must(t, img.edit(remove("/dir/sub/file"), remove("/dir/sub"), write("/high", nil)))
	delete(want, "/dir/sub/file")
	delete(want, "/dir/sub")
	want["/high"] = []byte{}
	img.fsck(t)
	want.compare(t, img)
}

// TestOverlay sees that what is given to write stays as it is, and is read back
// wherever reading starts.
func TestOverlay(t *testing.T) {
	base := random(1, 4096)
	o, want, given := newOverlay(bytes.NewReader(base), 512), bytes.Clone(base), random(2, 1300)
	keep := bytes.Clone(given)
	for _, w := range []struct {
		p  []byte
		at int
	}{{given, 512}, {[]byte("abc"), 600}, {[]byte("de"), 1023}, {[]byte("f"), 0}, {given[:512], 0}, {[]byte("g"), 4095}} {
		must(t, o.write(w.p, int64(w.at)))
		copy(want[w.at:], w.p)
	}
	if !bytes.Equal(given, keep) {
		t.Error("what was given to write has changed")
	}
	for from := 0; from < len(want); from += 97 {
		for _, n := range []int{1, 100, 700, 5000} {
			got := make([]byte, n)
			k, _ := o.ReadAt(got, int64(from))
			if k != min(n, len(want)-from) || !bytes.Equal(got[:k], want[from:from+k]) {
				t.Fatalf("%d bytes at %d: %d bytes read, or not those written", n, from, k)
			}
		}
	}
}
