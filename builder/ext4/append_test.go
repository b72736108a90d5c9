package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// Appends see what earlier edits of the list made of the file.
func TestAppendsInARow(t *testing.T) {
	fix := newFixtures(t)
	image := fix.copyOf(t, setNamed(t, "default_4k"))
	big := contentOf(t, openImage(t, image, 0), "/bin/big")
	tail := randomBytes(80, 10_000)
	must(t, Edit(context.Background(), image, 0, []rootfs.Edit{
		appendEdit("/bin/big", 2<<20, tail),
		{Op: rootfs.SetAttributes, Path: "/bin/big", Mode: 0o755, ModTime: stamp()},
		appendEdit("/bin/big", 2<<20+5000, []byte("middle")),
		appendEdit("/bin/big", 2<<20+5003, []byte("end")),
		writeEdit("/etc/new", 0o644, []byte("new")), appendEdit("/etc/new", 2, []byte("xt")), appendEdit("/etc/new", 4, nil),
		{Op: rootfs.SetAttributes, Path: "/etc/hosts", Mode: 0o600, ModTime: stamp()},
		appendEdit("/etc/hosts-too", 9, []byte(" too\n")), appendEdit("/etc/hosts", 9, []byte("\n")),
	}))
	f := openImage(t, image, 0)
	for name, want := range map[string][]byte{
		"/bin/big":       slices.Concat(big[:2<<20], tail[:5000], []byte("midend")),
		"/etc/new":       []byte("next"),
		"/etc/hosts-too": []byte("127.0.0.1 too\n"),
		"/etc/hosts":     []byte("127.0.0.1\n"),
	} {
		if got := contentOf(t, f, name); !bytes.Equal(got, want) {
			t.Errorf("%s has %d bytes %.40q, want %d bytes %.40q", name, len(got), got, len(want), want)
		}
	}
	if out, code := e2tool(t, "e2fsck", "-fn", image); code != 0 {
		t.Errorf("e2fsck -fn exits with %d: %s", code, out)
	}
}

// longFile puts a file of size bytes into a new image.
func longFile(t *testing.T, size, imageSize int64) (image, source string) {
	t.Helper()
	dir := t.TempDir()
	image, source = filepath.Join(dir, "image"), filepath.Join(dir, "source")
	must(t, os.Mkdir(source, 0o755))
	file, err := os.Create(filepath.Join(source, "long"))
	must(t, err)
	defer file.Close()
	for at := int64(0); at < size; at += contentStep {
		_, err := file.Write(randomBytes(uint64(at/contentStep), contentStep))
		must(t, err)
	}
	if out, code := e2tool(t, "mke2fs", "-q", "-F", "-t", "ext4", "-O", "^orphan_file", "-b", "4096", "-d", source, image, fmt.Sprintf("%dk", imageSize>>10)); code != 0 {
		t.Fatal(out)
	}
	return image, file.Name()
}

// An initramfs may have hundreds of megabytes: they must not pass through memory.
func TestAppendToALongFileTakesLittleMemory(t *testing.T) {
	const size, limit = 96 << 20, 16 << 20
	image, source := longFile(t, size, 300<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	must(t, Edit(context.Background(), image, 0, []rootfs.Edit{appendEdit("/long", size, []byte("end"))}))
	runtime.ReadMemStats(&after)
	taken := after.TotalAlloc - before.TotalAlloc
	t.Logf("3 bytes behind %d MiB: %d KiB of memory", size>>20, taken>>10)
	if taken > limit {
		t.Errorf("memory taken is %d bytes, limit is %d", taken, limit)
	}
	want, err := os.Open(source)
	must(t, err)
	defer want.Close()
	got, err := openImage(t, image, 0).Open("/long")
	must(t, err)
	if got.Size() != size+3 {
		t.Fatalf("size is %d, want %d", got.Size(), size+3)
	}
	a, b := make([]byte, contentStep), make([]byte, contentStep)
	for at := int64(0); at < size; at += contentStep {
		_, err := got.ReadAt(a, at)
		must(t, err)
		_, err = want.ReadAt(b, at)
		must(t, err)
		if !bytes.Equal(a, b) {
			t.Fatalf("bytes from %d on differ", at)
		}
	}
	if n, err := got.ReadAt(a[:4], size); n != 3 || err != io.EOF || string(a[:3]) != "end" {
		t.Errorf("the end is %q (%v), want end", a[:n], err)
	}
}

// The whole new file must find room while the old one may be held by another name.
func TestAppendCountsTheWholeFile(t *testing.T) {
	image, _ := longFile(t, 30<<20, 50<<20)
	debugfsScript(t, image, "ln /long /other", "sif /long links_count 2")
	hash := hashFile(t, image)
	var space *NoSpaceError
	err := Edit(context.Background(), image, 0, []rootfs.Edit{appendEdit("/long", 30<<20, nil)})
	if !errors.As(err, &space) || space.Resource != "blocks" || space.Want < 30<<20/4096 {
		t.Errorf("error is %v, want a NoSpaceError for 7680 blocks or more", err)
	}
	if hashFile(t, image) != hash {
		t.Error("the image changed")
	}
	must(t, Edit(context.Background(), image, 0, []rootfs.Edit{{Op: rootfs.Remove, Path: "/other"}, appendEdit("/long", 30<<20, []byte("fits"))}))
}

// A read-back that compares with anything but the old content would not notice.
func TestAppendedContentIsReadBack(t *testing.T) {
	progs, err := findPrograms(searchDirs())
	must(t, err)
	for name, spoil := range map[string]string{"kept part": "printf X | dd of=data0 bs=1 seek=100 conv=notrunc", "appended part": "printf X | dd of=data0 bs=1 seek=3145800 conv=notrunc"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			// Debugfs gets a spoiled file, which is put right again behind it.
			body := fmt.Sprintf("cp data0 right; %s 2>/dev/null; %s \"$@\"; code=$?; cp right data0; exit $code", spoil, progs.debugfs)
			writeTestFile(t, filepath.Join(dir, "debugfs"), []byte("#!/bin/sh\n"+body+"\n"), 0o755)
			must(t, os.Symlink(progs.e2fsck, filepath.Join(dir, "e2fsck")))
			image := newFixtures(t).copyOf(t, setNamed(t, "default_4k"))
			err := edit(context.Background(), []string{dir}, image, 0, nil, []rootfs.Edit{appendEdit("/bin/big", 3<<20+17, randomBytes(81, 1000))})
			if err == nil || !bytes.Contains([]byte(err.Error()), []byte("cannot confirm /bin/big: content differs")) {
				t.Errorf("error is %v, want content that differs", err)
			}
		})
	}
}

// Of a sketch only the metadata is there: what stays of a file comes from the whole.
func TestAppendToASketch(t *testing.T) {
	image := newFixtures(t).copyOf(t, setNamed(t, "default_4k"))
	sketch := filepath.Join(t.TempDir(), "sketch")
	writeTestFile(t, sketch, nil, 0o600)
	ok, err := CopyMetadata(context.Background(), image, 0, sketch)
	must(t, err)
	if !ok {
		t.Fatal("no sketch of the default features")
	}
	must(t, os.Truncate(sketch, fixtureBytes))
	whole := openImage(t, image, 0)
	want := slices.Concat(contentOf(t, whole, "/bin/big")[:5000], []byte("end"))
	must(t, EditSketch(context.Background(), sketch, whole, []rootfs.Edit{appendEdit("/bin/big", 5000, []byte("end"))}))
	if got := contentOf(t, openImage(t, sketch, 0), "/bin/big"); !bytes.Equal(got, want) {
		t.Errorf("/bin/big has %d bytes %.20q, want %d bytes %.20q", len(got), got, len(want), want)
	}
	other := openImage(t, newFixtures(t).image(t, setNamed(t, "default_1k")), 0)
	must(t, Edit(context.Background(), image, 0, []rootfs.Edit{writeEdit("/etc/hosts", 0o644, []byte("short"))}))
	if err := EditSketch(context.Background(), image, other, []rootfs.Edit{appendEdit("/etc/hosts", 5, nil)}); err == nil {
		t.Error("a whole that is of another tree was taken")
	}
}
