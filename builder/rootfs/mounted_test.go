package rootfs_test

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// planted makes a tree of its own.
func planted(t *testing.T, lines ...string) *rootfs.Dir {
	t.Helper()
	dir := t.TempDir()
	plant(t, dir, lines...)
	return open(t, dir)
}

// mounted is a root with /boot, an EFI system partition below it, and a volume on a
// directory that is not there.
func mounted(t *testing.T) *rootfs.Mounted {
	t.Helper()
	return rootfs.NewMounted(
		planted(t, "etc/x = root", "boot/hidden = root", "bootstrap = root", "loader -> boot/efi/loader", "srv/x = root", "vmlinuz -> /boot/vmlinuz"),
		rootfs.Mount{Dir: "/boot", Tree: planted(t, "vmlinuz -> vmlinuz-6.1", "vmlinuz-6.1 = boot", "up -> ../etc/x", "out -> /etc/x", "efi/hidden = boot")},
		rootfs.Mount{Dir: "/boot/efi", Tree: planted(t, "loader/entries/a.conf = esp", "up -> ../../../../boot/../etc/x")},
		rootfs.Mount{Dir: "/mnt/a/b", Tree: planted(t, "x = mnt")},
		rootfs.Mount{Dir: "/srv", Tree: planted(t, "first = srv")},
		rootfs.Mount{Dir: "/srv", Tree: planted(t, "second = srv")},
	)
}

// TestMountedIsOneTree lists all of it and reads every file.
func TestMountedIsOneTree(t *testing.T) {
	tree := mounted(t)
	var got []string
	inodes := map[uint64]string{}
	var walk func(dir string)
	walk = func(dir string) {
		entries, err := tree.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name := path.Join(dir, e.Name)
			info, err := tree.Lstat(name)
			if err != nil || info.Mode.Type() != e.Type {
				t.Errorf("%s: type is %v, %v, its directory says %v", name, info.Mode.Type(), err, e.Type)
			}
			if other, taken := inodes[info.Inode]; taken && info.Inode != 0 {
				t.Errorf("%s and %s have one inode number", name, other)
			}
			inodes[info.Inode] = name
			switch {
			case info.Mode.IsDir():
				if _, err := tree.Xattrs(name); err != nil {
					t.Error(err)
				}
				got = append(got, name+"/")
				walk(name)
			case info.Mode.IsRegular():
				data, err := rootfs.ReadFile(tree, name, 100)
				if err != nil {
					t.Error(err)
				}
				got = append(got, name+" = "+string(data))
			default:
				target, err := tree.Readlink(name)
				if err != nil {
					t.Error(err)
				}
				got = append(got, name+" -> "+target)
			}
		}
	}
	walk("/")
	want := `/boot/
/boot/efi/
/boot/efi/loader/
/boot/efi/loader/entries/
/boot/efi/loader/entries/a.conf = esp
/boot/efi/up -> ../../../../boot/../etc/x
/boot/out -> /etc/x
/boot/up -> ../etc/x
/boot/vmlinuz -> vmlinuz-6.1
/boot/vmlinuz-6.1 = boot
/bootstrap = root
/etc/
/etc/x = root
/loader -> boot/efi/loader
/mnt/
/mnt/a/
/mnt/a/b/
/mnt/a/b/x = mnt
/srv/
/srv/first = srv
/vmlinuz -> /boot/vmlinuz`
	if strings.Join(got, "\n") != want {
		t.Errorf("tree is\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}

func TestResolveAcrossMounts(t *testing.T) {
	tree := mounted(t)
	for name, want := range map[string]string{
		"/vmlinuz":                          "/boot/vmlinuz-6.1",
		"/boot/up":                          "/etc/x",
		"/boot/out":                         "/etc/x",
		"/loader/entries/a.conf":            "/boot/efi/loader/entries/a.conf",
		"/loader/../../vmlinuz":             "/boot/vmlinuz-6.1",
		"/boot/efi/up":                      "/etc/x",
		"/boot/efi/../../mnt/a/b/../b/x":    "/mnt/a/b/x",
		"/mnt/a/b":                          "/mnt/a/b",
		"/loader/entries/../entries/a.conf": "/boot/efi/loader/entries/a.conf",
	} {
		if got, err := rootfs.Resolve(tree, name); got != want || err != nil {
			t.Errorf("%s resolves to %s, %v, want %s", name, got, err, want)
		}
	}
	for _, hidden := range []string{"/boot/hidden", "/boot/efi/hidden", "/srv/x", "/srv/second", "/mnt/x", "/mnt/a/x"} {
		if _, err := tree.Lstat(hidden); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want not exist", hidden, err)
		}
		if _, err := rootfs.Resolve(tree, hidden); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s resolves with %v, want not exist", hidden, err)
		}
	}
	if _, err := tree.Lstat("/loader/entries"); !errors.Is(err, rootfs.ErrSymlink) {
		t.Errorf("a name through a link: %v, want ErrSymlink", err)
	}
	if info, err := tree.Lstat("/mnt"); err != nil || !info.Mode.IsDir() {
		t.Errorf("the directory above a mount point: %+v, %v, want a directory", info, err)
	}
}
