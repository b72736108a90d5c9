package ext4

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/rootfs"
)

func TestReadAgreesWithSourceAndDebugfs(t *testing.T) {
	fix := newFixtures(t)
	files, judged := 0, 0
	for _, set := range featureSets() {
		t.Run(set.name, func(t *testing.T) {
			image := fix.image(t, set)
			f := openImage(t, image, 0)
			files += compareWithSource(t, f, fix.source(set))
			if set.refused != "" {
				return
			}
			judged += compareWithDebugfs(t, f, image)
			checkUnwritten(t, f, fix.source(set))
			if set.xattrs() {
				checkXattrs(t, f, set)
			}
		})
	}
	t.Logf("%d feature sets: %d names agree with the source, %d with debugfs", len(featureSets()), files, judged)
	if want := (len(featureSets()) - 1) * fewNames; files < want || judged < want {
		t.Errorf("compared %d names with the source and %d with debugfs, want at least %d", files, judged, want)
	}
}

func TestReadAtOffset(t *testing.T) {
	fix := newFixtures(t)
	image := filepath.Join(t.TempDir(), "disk.img")
	copySparse(t, fix.image(t, featureSets()[0]), image, 1<<20)
	if n := compareWithSource(t, openImage(t, image, 1<<20), fix.many); n < manyNames {
		t.Errorf("compared %d names, want at least %d", n, manyNames)
	}
}

// compareWithSource compares every name, both ways, and gives their number.
func compareWithSource(t *testing.T, f *FS, source string) int {
	t.Helper()
	n := 0
	must(t, filepath.WalkDir(source, func(name string, d fs.DirEntry, err error) error {
		must(t, err)
		inside := "/" + strings.TrimPrefix(strings.TrimPrefix(name, source), "/")
		compareName(t, f, inside, name)
		n++
		if !d.IsDir() {
			return nil
		}
		want, err := os.ReadDir(name)
		must(t, err)
		got, err := f.ReadDir(inside)
		must(t, err)
		got = slices.DeleteFunc(got, func(e rootfs.Entry) bool { return inside == "/" && e.Name == "lost+found" })
		if len(got) != len(want) {
			t.Errorf("%s: %d names, want %d", inside, len(got), len(want))
			return nil
		}
		for i := range want {
			if got[i].Name != want[i].Name() || got[i].Type != want[i].Type() {
				t.Errorf("%s: entry %d is %v, want %v", inside, i, got[i], want[i])
			}
		}
		return nil
	}))
	return n
}

func compareName(t *testing.T, f *FS, inside, outside string) {
	t.Helper()
	want, err := os.Lstat(outside)
	must(t, err)
	got, err := f.Lstat(inside)
	if err != nil {
		t.Error(err)
		return
	}
	if got.Mode != want.Mode() {
		t.Errorf("%s: mode is %v, want %v", inside, got.Mode, want.Mode())
	}
	switch {
	case want.Mode().Type() == fs.ModeSymlink:
		link, err := os.Readlink(outside)
		must(t, err)
		if got, err := f.Readlink(inside); err != nil || got != link {
			t.Errorf("%s: target is %q, want %q (%v)", inside, got, link, err)
		}
	case want.Mode().IsRegular() && inside != "/unwritten":
		data, err := os.ReadFile(outside)
		must(t, err)
		if got.Size != want.Size() || got.ModTime.Unix() != want.ModTime().Unix() {
			t.Errorf("%s: size %d of %v, want %d of %v", inside, got.Size, got.ModTime, want.Size(), want.ModTime())
		}
		if got, want := sumOf(t, f, inside), sha256.Sum256(data); got != want {
			t.Errorf("%s: SHA-256 is %x, want %x", inside, got, want)
		}
	}
}

func sumOf(t *testing.T, f *FS, name string) (sum [32]byte) {
	t.Helper()
	return sha256.Sum256(contentOf(t, f, name))
}

// contentOf reads in odd steps, so that reads begin and end inside blocks.
func contentOf(t *testing.T, f *FS, name string) []byte {
	t.Helper()
	file, err := f.Open(name)
	must(t, err)
	defer file.Close()
	var data bytes.Buffer
	step := make([]byte, 65537)
	_, err = io.CopyBuffer(struct{ io.Writer }{&data}, struct{ io.Reader }{io.NewSectionReader(file, 0, file.Size())}, step)
	must(t, err)
	return data.Bytes()
}

// compareWithDebugfs compares all there is to every name and gives their number.
func compareWithDebugfs(t *testing.T, f *FS, image string) int {
	t.Helper()
	want, err := imgtest.ReadWithDebugfs(image, 0, t.TempDir())
	must(t, err)
	got, err := imgtest.ReadTree(f)
	must(t, err)
	for _, line := range imgtest.Differences(got, want) {
		t.Error(line)
	}
	return len(want)
}

func checkUnwritten(t *testing.T, f *FS, source string) {
	t.Helper()
	written, err := os.ReadFile(filepath.Join(source, "unwritten"))
	must(t, err)
	got := contentOf(t, f, "/unwritten")
	if len(got) < 100000 {
		t.Fatalf("/unwritten has %d bytes, want 100000 or more", len(got))
	}
	if !bytes.Equal(got, append(written, make([]byte, len(got)-len(written))...)) {
		t.Error("/unwritten: the unwritten extent does not read as zeros")
	}
}

func checkXattrs(t *testing.T, f *FS, set featureSet) {
	t.Helper()
	got, err := f.Xattrs("/etc/labelled")
	must(t, err)
	if want := fixtureXattrs(); !maps.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("/etc/labelled: attributes are %q, want %q", got, want)
	}
	want := map[string][]byte{"user.big": randomBytes(20, bigXattrBytes)}
	if set.name == "ea_inode" {
		want["user.huge"] = randomBytes(21, hugeXattrBytes)
	}
	if got, err = f.Xattrs("/etc/shadow"); err != nil || !maps.EqualFunc(got, want, bytes.Equal) {
		for name := range got {
			t.Errorf("/etc/shadow: %s is %d bytes %.40q, want %d bytes %.40q (%v)", name, len(got[name]), got[name], len(want[name]), want[name], err)
		}
	}
	if n, err := f.lookup("test", "/etc/shadow"); err != nil || n.xattrs == 0 && set.name != "inode_1024" {
		t.Errorf("/etc/shadow: attribute block is %d (%v), want one", n.xattrs, err)
	}
	if got, err = f.Xattrs("/etc/hosts"); err != nil || len(got) != 0 {
		t.Errorf("/etc/hosts: attributes are %q (%v), want none", got, err)
	}
}

func TestFixturesHaveWhatTheyAreFor(t *testing.T) {
	fix := newFixtures(t)
	for set, check := range map[string]func(f *FS) (bool, error){
		"default_1k": func(f *FS) (bool, error) {
			n, err := f.lookup("test", "/many")
			return n != nil && n.flags&flagIndex != 0, err
		},
		"inline_data": func(f *FS) (bool, error) {
			n, err := f.lookup("test", "/etc/inline100")
			d, err2 := f.lookup("test", "/links")
			return n != nil && d != nil && n.flags&d.flags&flagInlineData != 0, errors.Join(err, err2)
		},
		"default_4k": func(f *FS) (bool, error) {
			n, err := f.lookup("test", "/bin/big")
			return n != nil && n.flags&flagExtents != 0, err
		},
		"no_extents": func(f *FS) (bool, error) {
			n, err := f.lookup("test", "/bin/big")
			return n != nil && n.flags&flagExtents == 0, err
		},
		"meta_bg": func(f *FS) (bool, error) { return f.HasFeature("meta_bg") && f.sb.groups > 1, nil },
	} {
		f := openImage(t, fix.image(t, setNamed(t, set)), 0)
		if ok, err := check(f); !ok || err != nil {
			t.Errorf("%s: the image lacks what it should have (%v)", set, err)
		}
	}
}

func setNamed(t testing.TB, name string) featureSet {
	t.Helper()
	for _, set := range featureSets() {
		if set.name == name {
			return set
		}
	}
	t.Fatalf("no feature set %q", name)
	return featureSet{}
}

func TestNames(t *testing.T) {
	fix := newFixtures(t)
	f := openImage(t, fix.image(t, setNamed(t, "default_4k")), 0)
	for _, c := range []struct {
		name string
		want error
	}{
		{"/absent", fs.ErrNotExist},
		{"/absent/below", fs.ErrNotExist},
		{"/links/fast/below", rootfs.ErrSymlink},
		{"relative", fs.ErrInvalid},
		{"/etc/../etc", fs.ErrInvalid},
		{"/etc/", fs.ErrInvalid},
		{"", fs.ErrInvalid},
	} {
		if _, err := f.Lstat(c.name); !errors.Is(err, c.want) {
			t.Errorf("Lstat(%q): error is %v, want %v", c.name, err, c.want)
		}
	}
	if info, err := f.Lstat("/etc/hosts"); err != nil || info.Links != 2 {
		t.Errorf("/etc/hosts has %d links (%v), want 2", info.Links, err)
	}
	if _, err := f.Lstat("/etc/hosts/below"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Lstat below a file: error is %v, want not a directory", err)
	}
	for _, name := range []string{"/etc", "/links/fast"} {
		if _, err := f.Open(name); err == nil {
			t.Errorf("Open(%s) worked, want an error", name)
		}
	}
	if _, err := f.ReadDir("/etc/hosts"); err == nil {
		t.Error("ReadDir of a file worked, want an error")
	}
	if _, err := f.Readlink("/etc/hosts"); err == nil {
		t.Error("Readlink of a file worked, want an error")
	}
	if data, err := rootfs.ReadFile(f, "/links/fast", 100); err != nil || string(data) != "127.0.0.1 localhost\n" {
		t.Errorf("ReadFile through a link gives %q (%v)", data, err)
	}
}

func TestSuperblock(t *testing.T) {
	fix := newFixtures(t)
	image := fix.image(t, setNamed(t, "default_1k"))
	f := openImage(t, image, 0)
	sb := f.Superblock()
	if sb.BlockSize != 1024 || f.Size() != fixtureBytes || sb.Label != "fixture" || !sb.Clean || f.NeedsRecovery() {
		t.Errorf("superblock is %+v", sb)
	}
	if got := fmt.Sprintf("%x", sb.UUID); got != "c0ffee00000040008000000000000001" {
		t.Errorf("UUID is %s", got)
	}
	blocks, inodes, err := f.Free()
	must(t, err)
	out, _ := e2tool(t, "dumpe2fs", "-h", image)
	for _, want := range []string{fmt.Sprintf("Free blocks:              %d\n", blocks), fmt.Sprintf("Free inodes:              %d\n", inodes),
		"Filesystem features:      " + featureOrder(out)} {
		if !strings.Contains(out, want) {
			t.Errorf("dumpe2fs lacks %q:\n%s", want, out)
		}
	}
	if got, want := slices.Sorted(slices.Values(sb.Features)), slices.Sorted(slices.Values(strings.Fields(featureOrder(out)))); !slices.Equal(got, want) {
		t.Errorf("features are %v, dumpe2fs says %v", got, want)
	}
	if Probe(bytes.NewReader(make([]byte, 4096))) || Probe(strings.NewReader("short")) {
		t.Error("Probe finds a superblock in nothing")
	}
	file, err := os.Open(image)
	must(t, err)
	defer file.Close()
	if !Probe(file) {
		t.Error("Probe does not find the superblock")
	}
}

func featureOrder(dump string) string {
	_, rest, _ := strings.Cut(dump, "Filesystem features:")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

// TestFarBlocks reaches the third level of the block map, and sizes beyond 32 bits.
func TestFarBlocks(t *testing.T) {
	for _, c := range []struct {
		set   string
		size  int64
		pages []int64
	}{
		{"no_extents", 80 << 20, []int64{0, 11 << 10, 12 << 10, 267 << 10, 268 << 10, (268 + 40*256) << 10, 65803 << 10, 65804 << 10, 80<<20 - 1024}},
		{"default_1k", 5<<30 + 1024, []int64{0, 1 << 20, 4<<30 - 1024, 4 << 30, 5 << 30}},
	} {
		t.Run(c.set, func(t *testing.T) {
			image := newFixtures(t).copyOf(t, setNamed(t, c.set))
			source := filepath.Join(t.TempDir(), "far")
			file, err := os.Create(source)
			must(t, err)
			defer file.Close()
			must(t, file.Truncate(c.size))
			for i, at := range c.pages {
				_, err := file.WriteAt(randomBytes(uint64(70+i), 1024), at)
				must(t, err)
			}
			debugfsScript(t, image, "write "+source+" far")
			f := openImage(t, image, 0)
			far, err := f.Open("/far")
			must(t, err)
			if far.Size() != c.size {
				t.Fatalf("size is %d, want %d", far.Size(), c.size)
			}
			for i, at := range c.pages {
				// A kilobyte before and after, which other pages may fill.
				got, want := make([]byte, 3072), make([]byte, 3072)
				from := min(max(at-1024, 0), c.size-3072)
				_, err := far.ReadAt(got, from)
				must(t, err)
				_, err = file.ReadAt(want, from)
				must(t, err)
				if !bytes.Equal(got, want) {
					t.Errorf("page %d at byte %d differs", i, at)
				}
			}
			part := make([]byte, 10)
			if n, err := far.ReadAt(part, c.size-4); n != 4 || err != io.EOF {
				t.Errorf("ReadAt over the end gives %d bytes and %v, want 4 and EOF", n, err)
			}
			if n, err := far.ReadAt(part, c.size); n != 0 || err != io.EOF {
				t.Errorf("ReadAt at the end gives %d bytes and %v, want 0 and EOF", n, err)
			}
		})
	}
}
