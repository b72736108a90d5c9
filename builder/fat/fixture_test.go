package fat

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kerngate/kerngate/builder/rootfs"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tool runs an outside program and gives all it said, and its exit code.
func tool(t testing.TB, debianPackage, name string, args ...string) (string, int) {
	t.Helper()
	file, err := exec.LookPath(name)
	if err != nil {
		file = filepath.Join("/usr/sbin", name)
	}
	cmd := exec.Command(file, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC", "SOURCE_DATE_EPOCH=1700000000")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("cannot run %s (apt-get install %s): %v", name, debianPackage, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// mustTool fails unless the program is content.
func mustTool(t testing.TB, debianPackage, name string, args ...string) string {
	t.Helper()
	out, code := tool(t, debianPackage, name, args...)
	if code != 0 {
		t.Fatalf("%s %q: exit code %d: %s", name, args, code, out)
	}
	return out
}

// volumeAt is where volumes begin in the images of the tests, in bytes.
const volumeAt = 1 << 20

// image is a disk image with a volume in it.
type image struct {
	file string
	size int64 // of the volume
}

// mtools runs a program of mtools on the volume.
func (i image) mtools(t testing.TB, name string, args ...string) string {
	t.Helper()
	return mustTool(t, "mtools", name, append([]string{"-i", fmt.Sprintf("%s@@%d", i.file, volumeAt)}, args...)...)
}

// makeImage makes a volume of size bytes inside a larger sparse image. Bytes before
// and behind it are not zero.
func makeImage(t testing.TB, size int64, args ...string) image {
	t.Helper()
	i := image{file: filepath.Join(t.TempDir(), "disk.img"), size: size}
	f, err := os.Create(i.file)
	must(t, err)
	defer f.Close()
	must(t, f.Truncate(volumeAt+size+4096))
	for _, at := range []int64{volumeAt - 8, volumeAt + size} {
		_, err = f.WriteAt([]byte("neighbor"), at)
		must(t, err)
	}
	sector := int64(512)
	if at := slices.Index(args, "-S"); at >= 0 {
		_, err := fmt.Sscan(args[at+1], &sector)
		must(t, err)
	}
	args = append(args, "--invariant", fmt.Sprintf("--offset=%d", volumeAt/sector), i.file, fmt.Sprint(size/1024))
	mustTool(t, "dosfstools", "mkfs.vfat", args...)
	return i
}

// extents calls do for what the image holds between two places, holes left out.
func extents(t testing.TB, f *os.File, from, to int64, do func(at, n int64)) {
	t.Helper()
	for from < to {
		data, err := unix.Seek(int(f.Fd()), from, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return
		}
		must(t, err)
		hole, err := unix.Seek(int(f.Fd()), data, unix.SEEK_HOLE)
		must(t, err)
		if data >= to {
			return
		}
		from = min(hole, to)
		do(data, from-data)
	}
}

// extract copies the volume, holes left out, to a file of its own.
func (i image) extract(t testing.TB) string {
	t.Helper()
	in, err := os.Open(i.file)
	must(t, err)
	defer in.Close()
	name := filepath.Join(t.TempDir(), "volume")
	out, err := os.Create(name)
	must(t, err)
	defer out.Close()
	must(t, out.Truncate(i.size))
	extents(t, in, volumeAt, volumeAt+i.size, func(at, n int64) {
		_, err := io.Copy(io.NewOffsetWriter(out, at-volumeAt), io.NewSectionReader(in, at, n))
		must(t, err)
	})
	return name
}

// fsck judges the volume: exit code 0, and nothing said but the two usual lines.
func (i image) fsck(t testing.TB) {
	t.Helper()
	volume := i.extract(t)
	out, code := tool(t, "dosfstools", "fsck.vfat", "-n", volume)
	must(t, os.Remove(volume))
	if strings.HasPrefix(out, "Warning: Filesystem is FAT32 according to") { // but has few clusters
		_, out, _ = strings.Cut(out, "some systems.\n")
	}
	if lines := strings.Split(strings.TrimSpace(out), "\n"); code != 0 || len(lines) != 2 {
		t.Errorf("fsck.vfat -n: exit code %d:\n%s", code, out)
	}
}

// sum is a hash of the whole image, holes told from zeros.
func (i image) sum(t testing.TB) string {
	t.Helper()
	f, err := os.Open(i.file)
	must(t, err)
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	must(t, err)
	h := sha256.New()
	extents(t, f, 0, end, func(at, n int64) {
		fmt.Fprintln(h, at, n)
		_, err := io.Copy(h, io.NewSectionReader(f, at, n))
		must(t, err)
	})
	return fmt.Sprintf("%d %x", end, h.Sum(nil))
}

// open opens the volume for reading, until the test ends.
func (i image) open(t testing.TB) *FS {
	t.Helper()
	in, err := os.Open(i.file)
	must(t, err)
	t.Cleanup(func() { in.Close() })
	f, err := Open(io.NewSectionReader(in, volumeAt, i.size), i.size)
	must(t, err)
	return f
}

func (i image) edit(edits ...rootfs.Edit) error { return Edit(i.file, volumeAt, i.size, edits) }

// at is the time that all edits of the tests carry, one second after what FAT can
// hold.
var at = time.Date(2026, 2, 3, 4, 5, 7, 0, time.UTC)

func write(name string, data []byte) rootfs.Edit {
	return rootfs.Edit{Op: rootfs.WriteFile, Path: name, Mode: 0o644, ModTime: at, Data: data}
}

func grow(name string, keep int64, data []byte) rootfs.Edit {
	e := write(name, data)
	e.Op, e.Keep = rootfs.Append, keep
	return e
}

func mkdir(name string) rootfs.Edit {
	return rootfs.Edit{Op: rootfs.Mkdir, Path: name, Mode: 0o755, ModTime: at}
}

func remove(name string) rootfs.Edit { return rootfs.Edit{Op: rootfs.Remove, Path: name} }

func random(seed byte, n int) []byte {
	r := rand.NewChaCha8([32]byte{seed})
	data := make([]byte, n)
	_, _ = r.Read(data)
	return data
}

// tree is what a volume shall hold: content by name, nil for a directory.
type tree map[string][]byte

// populate fills a fresh volume through mtools, a writer that is not ours.
func (i image) populate(t testing.TB) tree {
	t.Helper()
	dir := t.TempDir()
	want := tree{
		"/EFI":                     nil,
		"/EFI/BOOT":                nil,
		"/EFI/BOOT/BOOTX64.EFI":    random(1, 30_000),
		"/EFI/BOOT/grub.cfg":       []byte("set timeout=1\n"),
		"/EFI/Long Name Directory": nil,
		"/EFI/Long Name Directory/some file + more.conf": random(2, 5_000),
		"/empty.txt":       {},
		"/hidden.sys":      random(3, 700),
		"/Größe 日本語 €.txt": []byte("unicode"),
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if want[name] == nil {
			i.mtools(t, "mmd", "::"+name)
			continue
		}
		host := filepath.Join(dir, "file")
		must(t, os.WriteFile(host, want[name], 0o644))
		i.mtools(t, "mcopy", "-o", host, "::"+name)
	}
	i.mtools(t, "mattrib", "+h", "+s", "+r", "::/hidden.sys")
	return want
}

// compareTree says where a directory on the host differs.
func (w tree) compareHost(t testing.TB, dir string) {
	t.Helper()
	seen := 0
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || file == dir {
			return err
		}
		name := strings.TrimPrefix(file, dir)
		data, ok := w[name]
		seen++
		switch {
		case !ok:
			t.Errorf("mtools finds %q, which should not be there", name)
		case d.IsDir() != (data == nil):
			t.Errorf("mtools finds %q: directory %v, want %v", name, d.IsDir(), data == nil)
		case !d.IsDir():
			got, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if !bytes.Equal(got, data) {
				t.Errorf("mtools reads %q: %d bytes, not the %d bytes written", name, len(got), len(data))
			}
		}
		return nil
	})
	must(t, err)
	if seen != len(w) {
		t.Errorf("mtools finds %d names, want %d", seen, len(w))
	}
}

// compareOurs says where our reader differs.
func (w tree) compareOurs(t testing.TB, f *FS) {
	t.Helper()
	seen := 0
	for queue := []string{"/"}; len(queue) > 0; queue = queue[1:] {
		list, err := f.ReadDir(queue[0])
		must(t, err)
		for _, e := range list {
			seen++
			name := path.Join(queue[0], e.Name)
			data, ok := w[name]
			if !ok || e.Type.IsDir() != (data == nil) {
				t.Errorf("we find %q of type %v, which should not be there", name, e.Type)
				continue
			}
			if e.Type.IsDir() {
				queue = append(queue, name)
				continue
			}
			got, err := rootfs.ReadFile(f, name, 1<<30)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("we read %q: %d bytes, %v, not the %d bytes written", name, len(got), err, len(data))
			}
		}
	}
	if seen != len(w) {
		t.Errorf("we find %d names, want %d", seen, len(w))
	}
}

// compare reads the volume with mtools and with ours.
func (w tree) compare(t testing.TB, i image) {
	t.Helper()
	dir := t.TempDir()
	if len(w) > 0 {
		i.mtools(t, "mcopy", "-s", "-b", "-n", "::/*", dir)
	}
	w.compareHost(t, dir)
	w.compareOurs(t, i.open(t))
}
