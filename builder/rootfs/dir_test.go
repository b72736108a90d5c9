package rootfs_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kerngate/kerngate/builder/rootfs"
)

func TestDirIsLiteral(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, "usr/lib/os = x", "lib -> usr/lib", "file = x")
	tree := open(t, dir)
	for name, call := range map[string]func(string) error{
		"Lstat":    func(n string) error { _, err := tree.Lstat(n); return err },
		"Open":     func(n string) error { _, err := tree.Open(n); return err },
		"ReadDir":  func(n string) error { _, err := tree.ReadDir(n); return err },
		"Readlink": func(n string) error { _, err := tree.Readlink(n); return err },
		"Xattrs":   func(n string) error { _, err := tree.Xattrs(n); return err },
	} {
		if err := call("/lib/os"); !errors.Is(err, rootfs.ErrSymlink) {
			t.Errorf("%s below a link: %v, want ErrSymlink", name, err)
		}
		if err := call("/file/os"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s below a file: %v, want not exist", name, err)
		}
		if err := call("/usr/nope"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s of nothing: %v, want not exist", name, err)
		}
	}
	if info, err := tree.Lstat("/lib"); err != nil || info.Mode.Type() != fs.ModeSymlink || info.Size != int64(len("usr/lib")) {
		t.Errorf("a link in the last place is %+v, %v, want a symbolic link of 7 bytes", info, err)
	}
	if target, err := tree.Readlink("/lib"); target != "usr/lib" || err != nil {
		t.Errorf("target is %q, %v, want usr/lib", target, err)
	}
}

func TestDirInfo(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, "one = 12345")
	file := filepath.Join(dir, "one")
	at := time.Unix(1_700_000_000, 5)
	err := errors.Join(os.Link(file, filepath.Join(dir, "two")), os.Chmod(file, 0o750|fs.ModeSetuid), os.Chtimes(file, at, at))
	if err != nil {
		t.Fatal(err)
	}
	got, err := open(t, dir).Lstat("/one")
	if err != nil {
		t.Fatal(err)
	}
	want := rootfs.Info{Mode: 0o750 | fs.ModeSetuid, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Size: 5, ModTime: got.ModTime, Links: 2, Inode: got.Inode}
	if got != want || !got.ModTime.Equal(at) || got.Inode == 0 {
		t.Errorf("got %+v, want %+v at %v", got, want, at)
	}
}

func TestReadDirSorted(t *testing.T) {
	dir := t.TempDir()
	var want []rootfs.Entry
	for i := range 300 {
		name := fmt.Sprintf("%03d", (i*7)%300)
		plant(t, dir, name+" = x")
		want = append(want, rootfs.Entry{Name: fmt.Sprintf("%03d", i)})
	}
	plant(t, dir, "Z/", "a -> b", ".hidden = x")
	want = append([]rootfs.Entry{{Name: ".hidden"}}, append(want, rootfs.Entry{Name: "Z", Type: fs.ModeDir}, rootfs.Entry{Name: "a", Type: fs.ModeSymlink})...)
	got, err := open(t, dir).ReadDir("/")
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

// TestSpecialFiles has a FIFO that nobody writes to: opening it the plain way would
// never return.
func TestSpecialFiles(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	tree := open(t, dir)
	done := make(chan error, 1)
	go func() {
		_, err := rootfs.ReadFile(tree, "/pipe", 10)
		_, dirErr := tree.ReadDir("/pipe")
		_, xattrErr := tree.Xattrs("/pipe")
		if dirErr == nil {
			dirErr = errors.New("a FIFO was listed")
		} else {
			dirErr = nil
		}
		done <- errors.Join(err, dirErr, xattrErr)
	}()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "it is a special file, want a regular file") || strings.Contains(err.Error(), "\n") {
			t.Errorf("error is %v, want one about a special file", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("reading a FIFO hangs")
	}
}

func TestOpenReads(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, "f = 0123456789")
	f, err := open(t, dir).Open("/f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, 4)
	if n, err := f.ReadAt(got, 8); n != 2 || !errors.Is(err, io.EOF) || string(got[:n]) != "89" || f.Size() != 10 {
		t.Errorf("read %d bytes %q, %v of %d, want 2 bytes 89, EOF of 10", n, got[:n], err, f.Size())
	}
}

// label sets a user attribute, which needs no privilege; a file system that has
// none, such as some tmpfs, leaves nothing to test.
func label(t *testing.T, file, key, value string) (supported bool) {
	t.Helper()
	err := unix.Lsetxattr(file, key, []byte(value), 0)
	if errors.Is(err, unix.ENOTSUP) {
		t.Logf("%s has no user attributes", filepath.Dir(file))
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}

func TestXattrs(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, "f = x", "d/", "l -> f")
	if !label(t, filepath.Join(dir, "f"), "user.one", "1") {
		return
	}
	label(t, filepath.Join(dir, "f"), "user.empty", "")
	label(t, filepath.Join(dir, "d"), "user.dir", strings.Repeat("v", 1000))
	tree := open(t, dir)
	for name, want := range map[string]map[string]string{
		"/f": {"user.one": "1", "user.empty": ""},
		"/d": {"user.dir": strings.Repeat("v", 1000)},
		"/l": {},
	} {
		got, err := tree.Xattrs(name)
		ours := map[string]string{}
		for key, value := range got {
			if strings.HasPrefix(key, "user.") { // others may come from the host
				ours[key] = string(value)
			}
		}
		if err != nil || fmt.Sprint(ours) != fmt.Sprint(want) {
			t.Errorf("%s has %v, %v, want %v", name, ours, err, want)
		}
	}
}

func TestOpenDirRefuses(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, "f = x")
	if d, err := rootfs.OpenDir(filepath.Join(dir, "f")); err == nil {
		d.Close()
		t.Error("a file was opened as a tree")
	}
	if d, err := rootfs.OpenDir(filepath.Join(dir, "nope")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opened %v, %v, want not exist", d, err)
	}
}

func TestDump(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, "etc/hosts = 127.0.0.1", "lib -> usr/lib", "odd = x", "run/")
	err := errors.Join(
		os.Rename(filepath.Join(dir, "odd"), filepath.Join(dir, "odd name\n")),
		os.Chmod(filepath.Join(dir, "run"), 0o777|fs.ModeSticky),
		os.Chmod(dir, 0o755),
		syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	got, err := rootfs.Dump(open(t, dir), false)
	want := strings.ReplaceAll(`/ directory 0755 U
/etc directory 0755 U
/etc/hosts file 0644 U 9 bytes sha256:12ca17b49af22894
/lib symlink U -> usr/lib
"/odd name\n" file 0644 U 1 bytes sha256:2d711642b726b044
/pipe special prw------- U
/run directory 1777 U
`, "U", fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid()))
	if err != nil || got != want {
		t.Errorf("dump is\n%s%v\nwant\n%s", got, err, want)
	}
}

func readLabel(t *testing.T, file string) string {
	t.Helper()
	buf := make([]byte, 100)
	n, err := unix.Lgetxattr(file, "security.selinux", buf)
	if err != nil {
		t.Errorf("label of %s: %v", file, err)
		return ""
	}
	return string(buf[:n])
}
