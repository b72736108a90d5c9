package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kerngate/kerngate/builder/rootfs"
)

func TestChecksumErrorsNameTheByte(t *testing.T) {
	image := newFixtures(t).image(t, setNamed(t, "default_1k"))
	data, err := os.ReadFile(image)
	must(t, err)
	f := openImage(t, image, 0)
	hosts, err := f.lookup("test", "/etc/hosts")
	must(t, err)
	etc, err := f.lookup("test", "/etc")
	must(t, err)
	shadow, err := f.lookup("test", "/etc/shadow")
	must(t, err)
	many, err := f.lookup("test", "/many")
	must(t, err)
	manyFile, err := f.content(many)
	must(t, err)
	root, err := manyFile.run(0)
	must(t, err)
	etcFile, err := f.content(etc)
	must(t, err)
	leaf, err := etcFile.run(0)
	must(t, err)
	tree, index := fragmented(t, f)
	for _, c := range []struct {
		name, open string
		flip, want int64 // byte to spoil, byte to be named
		what       string
	}{
		{"superblock", "", 1024 + 0x50, 1024, "superblock"},
		{"group descriptor", "", f.sb.descriptorByte(0) + 0x10, f.sb.descriptorByte(0), "group descriptor 0"},
		{"inode", "/etc/hosts", hosts.at + 2, hosts.at, fmt.Sprintf("inode %d", hosts.number)},
		{"directory leaf", "/etc/hosts", int64(leaf.phys)*1024 + 40, int64(leaf.phys) * 1024, fmt.Sprintf("directory block of inode %d", etc.number)},
		{"directory index", "/many/name-0001", int64(root.phys)*1024 + 0x28, int64(root.phys) * 1024, fmt.Sprintf("directory block of inode %d", many.number)},
		{"attribute block", "/etc/shadow", int64(shadow.xattrs)*1024 + 40, int64(shadow.xattrs)*1024 + 0x10, fmt.Sprintf("attribute block of inode %d", shadow.number)},
		{"extent block", tree, index + 20, index, "extent block of inode"},
	} {
		t.Run(c.name, func(t *testing.T) {
			spoiled := bytes.Clone(data)
			spoiled[c.flip] ^= 0x40
			err := readName(spoiled, c.open)
			var corrupt *CorruptError
			if !errors.As(err, &corrupt) || corrupt.Byte != c.want || !strings.HasPrefix(corrupt.What, c.what) {
				t.Fatalf("error is %v, want %s at byte %#x", err, c.what, c.want)
			}
			if !strings.Contains(err.Error(), fmt.Sprintf("at byte %#x: ", c.want)) || !strings.Contains(err.Error(), ", want ") {
				t.Errorf("error %q lacks the byte, or got and want", err)
			}
			if err := readName(data, c.open); err != nil {
				t.Errorf("without the flip: %v", err)
			}
		})
	}
}

// fragmented gives a file with an extent block, and that block's byte. The names
// of /many have been added one by one, so the directory is in pieces.
func fragmented(t *testing.T, f *FS) (name string, at int64) {
	t.Helper()
	for _, name := range []string{"/sparse", "/many", "/bin/big"} {
		n, err := f.lookup("test", name)
		must(t, err)
		if depth := binary.LittleEndian.Uint16(n.block()[6:]); n.flags&flagExtents != 0 && depth > 0 {
			return name, int64(binary.LittleEndian.Uint32(n.block()[extentSize+4:])) * f.sb.BlockSize
		}
	}
	t.Fatal("no file of the fixture has an extent block")
	return "", 0
}

// readName opens an image and reads all there is to a name.
func readName(data []byte, name string) error {
	f, err := Open(bytes.NewReader(data), int64(len(data)))
	if err != nil || name == "" {
		return err
	}
	info, err := f.Lstat(name)
	if err != nil {
		return err
	}
	if _, err := f.Xattrs(name); err != nil {
		return err
	}
	if !info.Mode.IsRegular() {
		return nil
	}
	file, err := f.Open(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, io.NewSectionReader(file, 0, file.Size()))
	return err
}

func TestTruncatedImage(t *testing.T) {
	data, err := os.ReadFile(newFixtures(t).image(t, setNamed(t, "default_4k")))
	must(t, err)
	for _, size := range []int{0, 1, 1023, 1024, 1080, 2047, 2048, 4096, len(data) / 2, len(data) - 1} {
		if _, err := Open(bytes.NewReader(data[:size]), int64(size)); err == nil {
			t.Errorf("%d of %d bytes: no error", size, len(data))
		}
	}
	if _, err := Open(bytes.NewReader(data), int64(len(data))); err != nil {
		t.Errorf("all bytes: %v", err)
	}
}

// Limits of a walk through a hostile image: what a test has patience for.
const (
	walkNames = 3000
	walkBytes = 1 << 20
	walkTime  = time.Minute
)

// walk reads everything below the root within limits, and gives the names met.
func walk(f *FS) int {
	names, queue := 0, []string{"/"}
	for len(queue) > 0 && names < walkNames {
		dir := queue[0]
		queue = queue[1:]
		entries, err := f.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			names++
			name := path.Join(dir, e.Name)
			info, err := f.Lstat(name)
			_, _ = f.Xattrs(name)
			switch {
			case err != nil:
			case info.Mode.IsDir():
				queue = append(queue, name)
			case info.Mode.Type() == fs.ModeSymlink:
				_, _ = f.Readlink(name)
				_, _ = rootfs.Resolve(f, name)
			case info.Mode.IsRegular():
				readSome(f, name)
			}
		}
	}
	_, _, _ = f.Free()
	return names
}

// readSome reads the beginning and the end of a file.
func readSome(f *FS, name string) {
	file, err := f.Open(name)
	if err != nil {
		return
	}
	part := make([]byte, min(file.Size(), walkBytes))
	_, _ = file.ReadAt(part, 0)
	_, _ = file.ReadAt(part, max(0, file.Size()-int64(len(part))))
}

// smallImage makes an image of 2 MiB without checksums, so that damage gets past
// them, with something of everything in it.
func smallImage(t testing.TB, args string) []byte {
	t.Helper()
	dir := t.TempDir()
	source, image := filepath.Join(dir, "source"), filepath.Join(dir, "image")
	must(t, os.MkdirAll(filepath.Join(source, "a/b/c"), 0o755))
	must(t, os.MkdirAll(filepath.Join(source, "many"), 0o755))
	writeTestFile(t, filepath.Join(source, "a/file"), randomBytes(60, 30000), 0o644)
	writeTestFile(t, filepath.Join(source, "a/b/c/tiny"), []byte("tiny"), 0o644)
	sparse := make([]byte, 200_000)
	for at := 0; at < len(sparse); at += 20_000 {
		copy(sparse[at:], randomBytes(61, 1500))
	}
	writeTestFile(t, filepath.Join(source, "sparse"), sparse, 0o644)
	must(t, os.Symlink("a/file", filepath.Join(source, "fast")))
	must(t, os.Symlink(strings.Repeat("slow/", 60), filepath.Join(source, "slow")))
	for i := range 60 {
		writeTestFile(t, filepath.Join(source, fmt.Sprintf("many/a-name-of-some-length-%04d", i)), nil, 0o644)
	}
	full := append([]string{"-q", "-F", "-U", "c0ffee00-0000-4000-8000-000000000001", "-E", "hash_seed=00000000-1111-2222-3333-444444444444",
		"-N", "128", "-d", source}, strings.Fields(args)...)
	if out, code := e2tool(t, "mke2fs", append(full, image, "2M")...); code != 0 {
		t.Fatalf("mke2fs %s: %s", args, out)
	}
	writeTestFile(t, filepath.Join(dir, "value"), randomBytes(62, 700), 0o644)
	debugfsScript(t, image, fmt.Sprintf("ea_set -f %s/value /a/file user.big", dir), "ea_set /a/file user.small x", "ea_set /a security.selinux label")
	if out, code := e2tool(t, "e2fsck", "-fyD", image); code > 1 {
		t.Fatalf("e2fsck -fyD: %s", out)
	}
	data, err := os.ReadFile(image)
	must(t, err)
	return data
}

func smallImages(t testing.TB) [][]byte {
	t.Helper()
	var images [][]byte
	for _, args := range []string{
		"-t ext4 -b 1024 -O ^metadata_csum,^uninit_bg,^has_journal",
		"-t ext2 -b 1024",
		"-t ext4 -b 1024 -O ^metadata_csum,^uninit_bg,^has_journal,inline_data,^64bit",
		"-t ext4 -b 4096 -O ^metadata_csum,^uninit_bg,^has_journal,ea_inode,^filetype",
	} {
		images = append(images, smallImage(t, args))
	}
	return images
}

func checkSmallImage(t testing.TB, data []byte) {
	t.Helper()
	f, err := Open(bytes.NewReader(data), int64(len(data)))
	must(t, err)
	if names := walk(f); names != 5+2+1+1+60 && names != 5+2+1+1+60+1 { // ".", with or without lost+found
		t.Fatalf("undamaged image has %d names, want 69 or 70", names)
	}
}

// TestRandomDamage spoils what matters; nothing may panic or take long.
func TestRandomDamage(t *testing.T) {
	trials, opened := 0, 0
	for i, clean := range smallImages(t) {
		checkSmallImage(t, clean)
		f, err := Open(bytes.NewReader(clean), int64(len(clean)))
		must(t, err)
		random := rand.New(rand.NewPCG(uint64(i), 1))
		for _, region := range damageRegions(t, f) {
			for range 60 {
				data := bytes.Clone(clean)
				for range 1 + random.IntN(8) {
					data[region[0]+random.Int64N(region[1])] = byte(random.Uint32())
				}
				start := time.Now()
				if f, err := Open(bytes.NewReader(data), int64(len(data))); err == nil {
					walk(f)
					opened++
				}
				if took := time.Since(start); took > walkTime {
					t.Errorf("image %d, region %v: walk took %v", i, region, took)
				}
				trials++
			}
		}
	}
	t.Logf("%d trials, %d images opened", trials, opened)
	if trials < 500 || opened < trials/4 {
		t.Errorf("%d trials with %d images opened, want 500 and a quarter of them", trials, opened)
	}
}

// damageRegions gives start and length of superblock, group descriptors, used
// inodes, and the blocks of a directory, of a sparse file's map and of attributes.
func damageRegions(t *testing.T, f *FS) [][2]int64 {
	t.Helper()
	g, err := f.group(0)
	must(t, err)
	bs := f.sb.BlockSize
	regions := [][2]int64{
		{superblockOffset, 0x180},
		{f.sb.descriptorByte(0), int64(f.sb.descSize)},
		{int64(g.inodeTable)*bs + int64(f.sb.InodeSize), int64(f.sb.InodeSize)},
		{int64(g.inodeTable) * bs, 90 * int64(f.sb.InodeSize)},
	}
	for _, name := range []string{"/", "/many", "/a", "/a/file"} {
		n, err := f.lookup("test", name)
		must(t, err)
		regions = append(regions, [2]int64{n.at, int64(f.sb.InodeSize)})
		if n.xattrs != 0 {
			regions = append(regions, [2]int64{int64(n.xattrs) * bs, bs})
		}
		if !n.isDir() || n.flags&flagInlineData != 0 {
			continue
		}
		c, err := f.content(n)
		must(t, err)
		for i := range uint64(min(n.size/bs, 3)) {
			r, err := c.run(i)
			must(t, err)
			regions = append(regions, [2]int64{int64(r.phys+i-r.first) * bs, bs})
		}
	}
	return regions
}

// FuzzOpen takes an image and changes to it, five bytes each: place and value.
func FuzzOpen(f *testing.F) {
	images := smallImages(f)
	for i, data := range images {
		checkSmallImage(f, data)
		f.Add(uint8(i), []byte{})
		f.Add(uint8(i), []byte{0x04, 0x18, 0, 0, 6})
	}
	f.Fuzz(func(t *testing.T, which uint8, changes []byte) {
		data := bytes.Clone(images[int(which)%len(images)])
		for ; len(changes) >= 5; changes = changes[5:] {
			data[int(binary.LittleEndian.Uint32(changes))%len(data)] = changes[4]
		}
		start := time.Now()
		if tree, err := Open(bytes.NewReader(data), int64(len(data))); err == nil {
			walk(tree)
		}
		if took := time.Since(start); took > walkTime {
			t.Errorf("walk took %v", took)
		}
	})
}

// TestHostileTrees patches directory entries so that a trusting reader would walk
// in circles or be told two things.
func TestHostileTrees(t *testing.T) {
	clean := smallImage(t, "-t ext4 -b 1024 -O ^metadata_csum,^uninit_bg,^has_journal")
	f, err := Open(bytes.NewReader(clean), int64(len(clean)))
	must(t, err)
	number := func(name string) uint32 {
		n, err := f.lookup("test", name)
		must(t, err)
		return n.number
	}
	// entry gives where the directory entry of a name is.
	entry := func(name string) int {
		dir, err := f.lookup("test", path.Dir(name))
		must(t, err)
		c, err := f.content(dir)
		must(t, err)
		r, err := c.run(0)
		must(t, err)
		block := int(r.phys) * 1024
		at := bytes.Index(clean[block:block+1024], []byte(path.Base(name)))
		if at < 0 {
			t.Fatalf("%s is not in the first block of its directory", name)
		}
		return block + at - direntHeader
	}
	point := func(name string, inode uint32) func([]byte) {
		return func(data []byte) { binary.LittleEndian.PutUint32(data[entry(name):], inode) }
	}
	for _, c := range []struct {
		name   string
		change func(data []byte)
		read   string
		want   string
	}{
		{"child is its grandparent", point("/a/b/c", number("/a")), "/a/b/c", "more than one name"},
		{"child is its parent", point("/a/b", number("/a")), "/a/b", "more than one name"},
		{"child is the root", point("/a/b", rootInode), "/a/b", "more than one name"},
		{"directory has two names", func(data []byte) {
			point("/a/file", number("/a/b"))(data)
			data[entry("/a/file")+7] = 2
		}, "/a/b", "more than one name"},
		{"entry of another type", func(data []byte) { data[entry("/a/file")+7] = 7 }, "/a/file", "says type L"},
		{"same name twice", func(data []byte) {
			at := entry("/slow")
			copy(data[at+direntHeader:], "fast")
		}, "/fast", "twice"},
		{"slash in a name", func(data []byte) { data[entry("/fast")+direntHeader] = '/' }, "/slow", "no file name"},
		{"dots in the wrong place", func(data []byte) {
			at := entry("/fast")
			data[at+6], data[at+direntHeader], data[at+direntHeader+1] = 2, '.', '.'
		}, "/slow", "wrong place"},
		{"inode beyond the last", point("/fast", 1<<30), "/slow", "want 11 to"},
		{"reserved inode", point("/fast", 8), "/slow", "want 11 to"},
		{"deleted inode", point("/fast", f.sb.Inodes), "/fast", "not in use"},
		{"entry of no length", func(data []byte) { data[entry("/fast")+4], data[entry("/fast")+5] = 0, 0 }, "/slow", "entry length is 0"},
		{"entry beyond the block", func(data []byte) { data[entry("/fast")+5] = 0xFC }, "/slow", "bytes are left"},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := bytes.Clone(clean)
			c.change(data)
			f, err := Open(bytes.NewReader(data), int64(len(data)))
			must(t, err)
			if _, err = f.Lstat(c.read); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Lstat(%s): error is %v, want one with %q", c.read, err, c.want)
			}
			walk(f)
		})
	}
}
