package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// layouts are the ways to put segments together that generators have.
func layouts(t testing.TB, codec Codec, main []byte) map[string][]byte {
	packed := compress(t, codec, main)
	return map[string][]byte{
		"alone":          packed,
		"microcode":      append(microcode(), packed...),
		"zeros behind":   append(bytes.Clone(packed), make([]byte, 777)...),
		"two main parts": slices.Concat(packed, make([]byte, 4-len(packed)&3+4), compress(t, codec, newc(dir("more"), file("more/file", "x")))),
	}
}

// TestListsAsUnmkinitramfs has lsinitramfs, which finds the segments and runs the
// compressors and cpio, as the judge of names; of plain archives alone, which it does
// not take, cpio.
func TestListsAsUnmkinitramfs(t *testing.T) {
	main := newc(mainRecords()...)
	images, names := 0, 0
	hold := func(name string, image []byte, want string) {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, e := range open(t, image).Entries {
				got = append(got, e.Name)
			}
			if want := strings.Fields(want); !slices.Equal(got, want) {
				t.Errorf("got %d names %q, want %d: %q", len(got), got, len(want), want)
			}
			images++
			names += len(got)
		})
	}
	for _, c := range compressors[1:] {
		for _, layout := range []string{"alone", "microcode"} {
			if layout == "microcode" && c.codec != Zstd && c.codec != Gzip {
				continue // lsinitramfs is slow with them
			}
			image := layouts(t, c.codec, main)[layout]
			hold(string(c.codec)+", "+layout, image, judge(t, image, "initramfs-tools-core", "lsinitramfs"))
		}
	}
	list := func(image []byte) string { return string(filter(t, "cpio", image, "cpio", "--quiet", "-t")) }
	hold("none, alone", main, list(main))
	hold("none, microcode", append(microcode(), main...), list(microcode())+list(main))
	t.Logf("%d images, %d names: all agree with lsinitramfs and cpio", images, names)
}

// TestSegments holds offsets, sizes and codecs against what was put together.
func TestSegments(t *testing.T) {
	for _, c := range compressors {
		for layout, image := range layouts(t, c.codec, newc(mainRecords()...)) {
			t.Run(fmt.Sprintf("%s, %s", c.codec, layout), func(t *testing.T) {
				// An archive ends with the zero byte of its trailer's name.
				bare := func(b []byte) int64 { return int64(len(bytes.TrimRight(b, "\x00"))) + 1 }
				packed := compress(t, c.codec, newc(mainRecords()...))
				main, last := int64(len(packed)), int64(len(image))
				if c.codec == None {
					main, last = bare(packed), bare(image)
				}
				early := Segment{0, bare(microcode()), None, 5}
				n := len(mainRecords())
				want := []Segment{{0, main, c.codec, n}}
				switch layout {
				case "microcode":
					want = []Segment{early, {int64(len(microcode())), main, c.codec, n}}
				case "two main parts":
					start := int64(len(packed) + 8 - len(packed)&3)
					want = append(want, Segment{start, last - start, c.codec, 2})
				}
				img := open(t, image)
				if !slices.Equal(img.Segments, want) {
					t.Errorf("segments are %v, want %v", img.Segments, want)
				}
				if facts, err := img.Facts(); err != nil || facts.Microcode != (layout == "microcode") {
					t.Errorf("microcode is %v, %v", facts.Microcode, err)
				}
			})
		}
	}
}

// TestTreeAsCpio unpacks a real tree with hard links, which find and cpio have
// packed, and compares every file with the directory it came from.
func TestTreeAsCpio(t *testing.T) {
	src := t.TempDir()
	if err := os.CopyFS(filepath.Join(src, "etc"), os.DirFS("/usr/share/initramfs-tools")); err != nil {
		t.Fatalf("%v: apt-get install initramfs-tools-core", err)
	}
	for _, err := range []error{
		os.WriteFile(filepath.Join(src, "one"), bytes.Repeat([]byte("one "), 100_000), 0o755), os.Link(filepath.Join(src, "one"), filepath.Join(src, "two")),
		os.Symlink("etc", filepath.Join(src, "link")), os.Mkdir(filepath.Join(src, "empty dir"), 0o700), os.WriteFile(filepath.Join(src, "none"), nil, 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, format := range []string{"newc", "crc"} {
		packed := filter(t, "cpio", nil, "sh", "-c", "cd '"+src+"' && find . | LC_ALL=C sort | cpio --quiet -o -H "+format)
		for _, c := range compressors {
			tree := open(t, compress(t, c.codec, packed)).Tree()
			if got, want := listing(t, tree), listing(t, imgtest.OpenDir(t, src)); !maps.Equal(got, want) {
				t.Errorf("%s %s: tree is\n%v\nwant\n%v", format, c.codec, got, want)
			}
		}
	}
	t.Logf("%d names, 2 formats, %d codecs: all agree with the directory", len(listing(t, imgtest.OpenDir(t, src))), len(compressors))
}

// listing describes every name of a tree, content included.
func listing(t testing.TB, tree rootfs.Tree) map[string]string {
	t.Helper()
	out := map[string]string{}
	for todo := []string{"/"}; len(todo) > 0; todo = todo[1:] {
		entries, err := tree.ReadDir(todo[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name := rootfs.Clean(todo[0] + "/" + e.Name)
			out[name] = describe(t, tree, name)
			if e.Type.IsDir() {
				todo = append(todo, name)
			}
		}
	}
	return out
}

func describe(t testing.TB, tree rootfs.Tree, name string) string {
	t.Helper()
	info, err := tree.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case info.Mode.IsRegular():
		f, err := tree.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		data, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
		if err != nil || int64(len(data)) != info.Size {
			t.Fatalf("%s: read %d of %d bytes: %v", name, len(data), info.Size, err)
		}
		return fmt.Sprintf("%v %d links %q", info.Mode, info.Links, data)
	case info.Mode.IsDir():
		return info.Mode.String()
	}
	target, _ := tree.Readlink(name) // a device has none
	return fmt.Sprintf("%v %q", info.Mode, target)
}

// TestMerge has the cases of unpacking; TestBootUnpacks has the kernel do the same.
func TestMerge(t *testing.T) {
	for _, c := range mergeCases() {
		t.Run(c.name, func(t *testing.T) {
			var image []byte
			for _, a := range c.archives {
				image = append(image, newc(a...)...)
			}
			img := open(t, image)
			if got := shortListing(t, img.Tree()); got != c.want {
				t.Errorf("tree is %s, want %s", got, c.want)
			}
			if (len(img.Warnings) > 0) != c.warned {
				t.Errorf("warnings are %q, want some: %v", img.Warnings, c.warned)
			}
		})
	}
}

// shortListing is a tree in one line: directories with a slash, files with = and
// content, links with ->.
func shortListing(t testing.TB, tree rootfs.Tree) string {
	t.Helper()
	var out []string
	for name := range listing(t, tree) {
		info, err := tree.Lstat(name)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case info.Mode.IsDir():
			name += "/"
		case info.Mode.IsRegular():
			data, err := rootfs.ReadFile(tree, name, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			name += "=" + string(data)
		case info.Mode.Type() == os.ModeSymlink:
			target, err := tree.Readlink(name)
			if err != nil {
				t.Fatal(err)
			}
			name += "->" + target
		default:
			name += "|" + info.Mode.Type().String()
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

type mergeCase struct {
	name     string
	archives [][]record
	want     string
	warned   bool
}

// mergeCases lie each below a directory of its own, so that one boot has them all.
func mergeCases() []mergeCase {
	one := func(r ...record) [][]record { return [][]record{r} }
	return []mergeCase{
		{"later archive wins", [][]record{{dir("a"), file("a/f", "1")}, {file("a/f", "22")}}, "/a/ /a/f=22", false},
		{"later entry wins", one(dir("b"), file("b/f", "333"), file("b/f", "4")), "/b/ /b/f=4", false},
		{"link takes a file's place", one(dir("c"), file("c/f", "1"), symlink("c/f", "g")), "/c/ /c/f->g", false},
		{"file takes a link's place", one(dir("d"), file("d/g", "old"), symlink("d/f", "g"), file("d/f", "new")), "/d/ /d/f=new /d/g=old", false},
		{"directory takes a link's place", one(dir("e"), dir("e/real"), file("e/real/f", "1"), symlink("e/l", "real"), dir("e/l"), file("e/l/g", "2")), "/e/ /e/l/ /e/l/g=2 /e/real/ /e/real/f=1", false},
		{"file takes an empty directory's place", one(dir("g"), dir("g/d"), file("g/d", "1")), "/g/ /g/d=1", false},
		{"file in the place of a full directory", one(dir("h"), dir("h/d"), file("h/d/f", "1"), file("h/d", "lost")), "/h/ /h/d/ /h/d/f=1", true},
		{"link in the place of a full directory", one(dir("i"), dir("i/d"), file("i/d/f", "1"), symlink("i/d", "lost")), "/i/ /i/d/ /i/d/f=1", true},
		{"parent is a link", one(dir("j"), dir("j/usr"), dir("j/usr/lib"), symlink("j/lib", "usr/lib"), file("j/lib/f", "1")), "/j/ /j/lib->usr/lib /j/usr/ /j/usr/lib/ /j/usr/lib/f=1", false},
		{"parent is an absolute link", one(dir("k"), dir("k/d"), symlink("k/l", "/k/d"), file("k/l/f", "1")), "/k/ /k/d/ /k/d/f=1 /k/l->/k/d", false},
		{"parent is a link that climbs", one(dir("l"), dir("l/d"), symlink("l/d/up", "../../../.."), file("l/d/up/l/f", "1")), "/l/ /l/d/ /l/d/up->../../../.. /l/f=1", false},
		{"no parent", one(dir("m"), file("m/none/f", "lost")), "/m/", true},
		{"parent is a file", one(dir("n"), file("n/f", "1"), file("n/f/g", "lost")), "/n/ /n/f=1", true},
		{"parent links to itself", one(dir("o"), symlink("o/l", "l"), file("o/l/f", "lost")), "/o/ /o/l->l", true},
		{"hard links, content last", one(dir("p"), linked("p/1", ""), linked("p/2", "both")), "/p/ /p/1=both /p/2=both", false},
		{"hard links, content first", one(dir("q"), linked("q/1", "both"), linked("q/2", "")), "/q/ /q/1=both /q/2=both", false},
		{"hard links end with their archive", [][]record{{dir("r"), linked("r/1", "one")}, {linked("r/2", "two")}}, "/r/ /r/1=one /r/2=two", false},
		{"writing to one hard link writes to all", one(dir("s"), linked("s/1", ""), linked("s/2", "old"), file("s/1", "new")), "/s/ /s/1=new /s/2=new", false},
		{"hard link to its own name", one(dir("t"), linked("t/1", "one"), linked("t/1", "lost")), "/t/", true},
		{"hard link over another file", one(dir("u"), linked("u/1", "one"), file("u/2", "old"), linked("u/2", "")), "/u/ /u/1=one /u/2=one", false},
		{"hard link to a name that became a directory", one(dir("v"), linked("v/1", "one"), dir("v/1"), linked("v/2", "lost")), "/v/ /v/1/", true},
		{"dots and slashes", one(dir("./w"), file("/w//./f", "1"), file("w/../w/g", "2"), dir("w/d/")), "/w/ /w/d/ /w/f=1 /w/g=2", false},
		{"dots cannot leave the root", one(dir("x"), file("../../x/f", "1")), "/x/ /x/f=1", false},
		{"special files", one(dir("y"), special("y/p", 0o010000), special("y/s", 0o140000), file("y/p", "1")), "/y/ /y/p=1 /y/s|S---------", false},
		{"special file twice", one(dir("z"), special("z/p", 0o010000), special("z/p", 0o010000)), "/z/ /z/p|p---------", false},
		{"name of 255 bytes and more", one(dir("aa"), file("aa/"+strings.Repeat("n", 255), "1"), file("aa/"+strings.Repeat("n", 256), "lost")), "/aa/ /aa/" + strings.Repeat("n", 255) + "=1", true},
	}
}

// TestRefused has what the kernel stops at; it would go on in silence.
func TestRefused(t *testing.T) {
	main := newc(mainRecords()...)
	cut := main[:bytes.Index(main, []byte(trailer))-headerBytes]
	long := newc(file("x", "x"))
	edit := func(at int, with string) []byte {
		b := bytes.Clone(long)
		copy(b[at:], with)
		return b
	}
	for _, c := range []struct {
		name  string
		image []byte
		want  string
		is    error
	}{
		{"nothing", nil, "no archive", ErrTruncated},
		{"zeros", make([]byte, 4096), "no archive", ErrTruncated},
		{"text", []byte("hello, world"), "bytes are 0x68 0x65", nil},
		{"no trailer", cut, "ends too early", ErrTruncated},
		{"no trailer, compressed", compress(t, Gzip, cut), "ends too early", ErrTruncated},
		{"garbage behind", append(bytes.Clone(main), "garbage"...), "bytes are 0x67 0x61", nil},
		{"garbage behind, compressed", append(compress(t, Zstd, main), "garbage"...), "bytes are 0x67 0x61", nil},
		{"garbage within", compress(t, Gzip, append(bytes.Clone(main), "garbage"...)), "no archive", nil},
		{"old cpio", edit(0, "070707"), `magic of a record is "070707"`, nil},
		{"unaligned archive", append(append(compress(t, Gzip, main), make([]byte, 3-len(compress(t, Gzip, main))&3+4)...), main...), "want a cpio archive at a multiple of 4", nil},
		{"unaligned archive within", compress(t, Gzip, slices.Concat(main, []byte{0}, main)), "no multiple of 4", nil},
		{"unaligned compressed part", slices.Concat(main, []byte{0}, compress(t, Gzip, main)), "no multiple of 4", nil},
		{"plain behind LZ4", slices.Concat(compress(t, LZ4, pad4(t, LZ4, main)), main), "four zero bytes", nil},
		{"xz with CRC64", filter(t, "xz-utils", main, "xz", "-c"), "check is CRC64", ErrUnsupported},
		{"xz with SHA-256", filter(t, "xz-utils", main, "xz", "-c", "--check=sha256"), "check is SHA-256", ErrUnsupported},
		{"xz with BCJ", filter(t, "xz-utils", main, "xz", "-c", "--check=crc32", "--x86", "--lzma2"), "LZMA2", ErrUnsupported},
		{"LZO", []byte("\x89LZO\x00\r\n"), "LZO", ErrUnsupported},
		{"LZ4 of today", filter(t, "lz4", main, "lz4", "-c"), "bytes are 0x04 0x22", nil},
		{"bad number", edit(6+8, "0000zzzz"), "field 1 of a record", nil},
		{"name of no bytes", edit(6+8*11, "00000000"), "name of a record has 0 bytes", nil},
		{"name too long", edit(6+8*11, "FFFFFFFF"), "name of a record has 4294967295 bytes", nil},
		{"name without end", edit(headerBytes, "xy"), "does not end in a zero byte", nil},
		{"directory with content", newc(record{name: "d", mode: modeDir, content: "x"}), "1 bytes of content", nil},
		{"target too long", newc(symlink("l", strings.Repeat("t", 4096))), "target of link l has 4096 bytes", nil},
		{"wrong checksum", []byte(strings.Replace(string(long), magicNewc, magicCRC, 1)), "checksum of x is 00000078, want 00000000", nil},
		{"boundless", compress(t, Zstd, append(newc(record{name: "f", mode: modeRegular, content: strings.Repeat("\x00", 200<<20)}), 0)), "too many for so few packed", ErrLimit},
	} {
		t.Run(c.name, func(t *testing.T) {
			img, err := Open(bytes.NewReader(c.image), int64(len(c.image)))
			if err == nil {
				t.Fatalf("no error, segments %v", img.Segments)
			}
			var format *FormatError
			if !errors.As(err, &format) || !strings.Contains(err.Error(), c.want) || (c.is != nil && !errors.Is(err, c.is)) {
				t.Errorf("got %v, want a FormatError with %q, %v", err, c.want, c.is)
			}
		})
	}
}

// pad4 lengthens an archive until its compressed form ends at a multiple of four.
func pad4(t *testing.T, codec Codec, data []byte) []byte {
	t.Helper()
	for range 2000 {
		if len(compress(t, codec, data))&3 == 0 {
			return data
		}
		data = append(newc(file("pad", string(data[:len(data)%97]))), data...)
	}
	t.Fatal("no length fits")
	return nil
}

// TestTruncated cuts images everywhere: what is left is never taken for whole.
func TestTruncated(t *testing.T) {
	main := newc(dir("d"), file("d/f", "some content"), symlink("l", "d"))
	cuts := 0
	for _, c := range compressors {
		image := compress(t, c.codec, main)
		end := open(t, image).Segments[0].end()
		for n := range end {
			if _, err := Open(bytes.NewReader(image[:n]), n); err == nil {
				t.Errorf("%s: cut to %d of %d bytes: no error", c.codec, n, end)
			}
			cuts++
		}
	}
	t.Logf("%d cuts of %d images: all refused", cuts, len(compressors))
}

func TestFacts(t *testing.T) {
	modules := "/usr/lib/modules/" + release
	facts, err := open(t, newc(mainRecords()...)).Facts()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range facts.Modules {
		got = append(got, fmt.Sprintf("%s %s %s %d", strings.TrimPrefix(m.Path, modules+"/kernel/"), m.Name, m.Release, m.Size))
	}
	want := []string{
		"af_alg.ko.xz af_alg " + release + " 3500", "algif_aead.ko algif_aead " + release + " 35000",
		"esp4.ko esp4 " + release + " 4", "esp40.ko esp40 " + release + " 5", "xfrm-user.ko.zst xfrm_user " + release + " 6",
	}
	if !slices.Equal(got, want) {
		t.Errorf("modules are %q, want %q", got, want)
	}
	if facts.Modprobe != Kmod || facts.Generator != InitramfsTools || !slices.Equal(facts.Releases, []string{release}) || !slices.Equal(facts.Config, []string{"/etc/modprobe.d/other.conf"}) {
		t.Errorf("facts are %+v", facts)
	}
}

func TestLoader(t *testing.T) {
	for _, c := range []struct {
		name    string
		records []record
		want    Loader
	}{
		{"link to kmod", []record{dir("bin"), dir("sbin"), file("bin/kmod", ""), symlink("sbin/modprobe", "/bin/kmod")}, Kmod},
		{"link to busybox", []record{dir("bin"), dir("sbin"), file("bin/busybox", ""), symlink("sbin/modprobe", "../bin/busybox")}, Busybox},
		{"busybox by another name", []record{dir("sbin"), file("sbin/modprobe", "...BusyBox v1.36.1 (Debian)...")}, Busybox},
		{"kmod as a hard link", []record{dir("sbin"), linked("sbin/depmod", ""), linked("sbin/modprobe", "..kmod version %s..")}, Kmod},
		{"a script", []record{dir("sbin"), file("sbin/modprobe", "#!/bin/sh\n")}, Other},
		{"dangling", []record{dir("sbin"), symlink("sbin/modprobe", "kmod")}, NoLoader},
		{"none", []record{dir("sbin")}, NoLoader},
	} {
		facts, err := open(t, compress(t, Gzip, newc(c.records...))).Facts()
		if err != nil || facts.Modprobe != c.want {
			t.Errorf("%s: got %q, %v, want %q", c.name, facts.Modprobe, err, c.want)
		}
	}
}
