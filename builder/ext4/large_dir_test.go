package ext4

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// countingReader counts what the reader asks of the image.
type countingReader struct {
	io.ReaderAt
	reads int
	bytes int64
}

func (c *countingReader) ReadAt(p []byte, off int64) (int, error) {
	c.reads++
	c.bytes += int64(len(p))
	return c.ReaderAt.ReadAt(p, off)
}

// largeDirectory makes an image whose directory /large has this many names. Adding
// them one by one takes e2fsprogs a time that grows with the square; so a linear
// directory is laid out here, as hard links to a few files, and e2fsck makes the
// index, the checksums and the link counts.
func largeDirectory(t *testing.T, names int) string {
	t.Helper()
	const targets, block = 16, 4096 // an inode has at most 65000 names
	dir := t.TempDir()
	image, content := filepath.Join(dir, "image"), filepath.Join(dir, "directory")
	if out, code := e2tool(t, "mke2fs", "-q", "-F", "-t", "ext4", "-b", fmt.Sprint(block), "-N", "64", image, "64M"); code != 0 {
		t.Fatalf("mke2fs: %s", out)
	}
	writeTestFile(t, content, nil, 0o644)
	var commands []string
	for i := range targets {
		commands = append(commands, fmt.Sprintf("write %s target-%d", content, i))
	}
	debugfsScript(t, image, append(commands, fmt.Sprintf("write %s large", content))...)
	f := openImage(t, image, 0)
	number := func(name string) uint32 {
		n, err := f.lookup("test", name)
		must(t, err)
		return n.number
	}
	var data, last []byte // last: the entry that takes the rest of its block
	add := func(inode uint32, kind byte, name string) {
		size := (direntHeader + len(name) + 3) &^ 3
		if rest := block - len(data)%block; rest < size {
			binary.LittleEndian.PutUint16(last[4:], binary.LittleEndian.Uint16(last[4:])+uint16(rest))
			data = data[:len(data)+rest]
		}
		at := len(data)
		data = data[:at+size]
		last = data[at:]
		binary.LittleEndian.PutUint32(last, inode)
		binary.LittleEndian.PutUint16(last[4:], uint16(size))
		last[6], last[7] = byte(len(name)), kind
		copy(last[direntHeader:], name)
	}
	data = make([]byte, 0, names*40+block)
	add(number("/large"), 2, ".")
	add(rootInode, 2, "..")
	for i := range names {
		add(number(fmt.Sprintf("/target-%d", i%targets)), 1, largeName(i))
	}
	rest := (block - len(data)%block) % block
	binary.LittleEndian.PutUint16(last[4:], binary.LittleEndian.Uint16(last[4:])+uint16(rest))
	writeTestFile(t, content, data[:len(data)+rest], 0o644)
	debugfsScript(t, image, "rm large", "write "+content+" large", "sif large mode 040755", "sif large links_count 2")
	for range 2 {
		if out, code := e2tool(t, "e2fsck", "-fyD", image); code > 1 {
			t.Fatalf("e2fsck -fyD: %s", out)
		}
	}
	return image
}

func largeName(i int) string { return fmt.Sprintf("a-name-%06d", i) }

// TestLargeDirectory reads a directory of 100000 names and looks each of them up. The
// aim is below a second; what is asserted is the number of reads, which no busy
// machine changes.
func TestLargeDirectory(t *testing.T) {
	const names = 100_000
	image := largeDirectory(t, names)
	file, err := os.Open(image)
	must(t, err)
	defer file.Close()
	counter := &countingReader{ReaderAt: file}
	start := time.Now()
	f, err := Open(counter, 64<<20)
	must(t, err)
	large, err := f.lookup("test", "/large")
	must(t, err)
	if large.flags&flagIndex == 0 {
		t.Error("/large has no index")
	}
	counter.reads, counter.bytes = 0, 0
	list, err := f.ReadDir("/large")
	must(t, err)
	listed := time.Since(start)
	if len(list) != names || list[0].Name != largeName(0) || list[names-1].Name != largeName(names-1) {
		t.Fatalf("names are %d, want %d", len(list), names)
	}
	const spare = 100 // superblock, group, inodes, extent blocks, the root
	if blocks := large.size / 4096; counter.reads > int(blocks)+spare || counter.bytes > large.size+spare*4096 {
		t.Errorf("listing took %d reads of %d bytes, the directory has %d blocks", counter.reads, counter.bytes, blocks)
	}
	counter.reads = 0
	for i := range names {
		if _, err := f.Lstat("/large/" + largeName(i)); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d names: listed in %v, then looked up in %v", names, listed.Round(time.Millisecond), (time.Since(start) - listed).Round(time.Millisecond))
	if limit := 3*names + spare; counter.reads > limit { // the inodes of root, directory and file
		t.Errorf("looking up took %d reads, want at most %d", counter.reads, limit)
	}
}
