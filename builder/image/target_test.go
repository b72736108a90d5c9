package image_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// root makes a small Linux root whose os-release says name.
func root(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	if err := imgtest.WriteRoot(dir, "6.1.0-1-amd64"); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "boot")); err != nil { // tests say what is in it
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "etc/os-release"), []byte("ID="+name+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func disk(t *testing.T, scheme string, parts ...imgtest.Part) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk.raw")
	if err := imgtest.WriteDisk(file, scheme, parts...); err != nil {
		t.Fatal(err)
	}
	return file
}

func part(kind, dir string) imgtest.Part {
	return imgtest.Part{Dir: dir, FS: kind, Size: 4 * imgtest.MiB, Type: "L"}
}

func open(t *testing.T, file string, opts image.Options) *image.Target {
	t.Helper()
	target, err := image.Open(file, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := target.Close(); err != nil {
			t.Error(err)
		}
	})
	return target
}

// id reads which root it is.
func id(t *testing.T, target *image.Target) string {
	t.Helper()
	data, err := rootfs.ReadFile(target.Tree(), "/etc/os-release", 100)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

func TestOpen(t *testing.T) {
	a, b, plain := root(t, "a"), root(t, "b"), t.TempDir()
	if err := os.WriteFile(filepath.Join(plain, "data"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, scheme string
		parts        []imgtest.Part
		root, want   int // partition asked for, and found
		volumes, id  string
	}{
		{"GPT with ESP and swap", "gpt", []imgtest.Part{part("vfat", ""), part("", ""), part("ext4", a)}, 0, 3, "FAT unknown ext4", "ID=a"},
		{"GPT with data beside the root", "gpt", []imgtest.Part{part("ext4", plain), part("ext3", a), part("ext4", "")}, 0, 2, "ext4 ext3 ext4", "ID=a"},
		{"MBR", "mbr", []imgtest.Part{part("vfat", ""), part("ext2", b)}, 0, 2, "FAT ext2", "ID=b"},
		{"no table", "none", []imgtest.Part{part("ext4", a)}, 0, 0, "ext4", "ID=a"},
		{"two roots, the first asked for", "gpt", []imgtest.Part{part("ext4", a), part("ext4", b)}, 1, 1, "ext4 ext4", "ID=a"},
		{"two roots, the second asked for", "gpt", []imgtest.Part{part("ext4", a), part("ext4", b)}, 2, 2, "ext4 ext4", "ID=b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := disk(t, c.scheme, c.parts...)
			target := open(t, file, image.Options{Root: c.root})
			var kinds []string
			for _, v := range target.Volumes {
				kinds = append(kinds, v.FS)
				if (v.Role == "root") != (v.Number == c.want) {
					t.Errorf("partition %d has role %q", v.Number, v.Role)
				}
			}
			if got := strings.Join(kinds, " "); got != c.volumes || id(t, target) != c.id || target.Root().Number != c.want {
				t.Errorf("volumes %s, root %d with %s, want %s, %d with %s", got, target.Root().Number, id(t, target), c.volumes, c.want, c.id)
			}
			if info, err := os.Stat(file); err != nil || target.Size != info.Size() || target.Kind != image.Disk || target.Scheme != c.scheme {
				t.Errorf("target is %s %s of %d bytes, want a disk, %s", target.Kind, target.Scheme, target.Size, c.scheme)
			}
		})
	}
}

func TestOpenDirectory(t *testing.T) {
	dir := root(t, "tree")
	target := open(t, dir, image.Options{})
	if target.Kind != image.Directory || id(t, target) != "ID=tree" || target.Root().FS != "directory" || target.NeedsRecovery() || target.CheckEditor() != nil {
		t.Errorf("target is %+v", target)
	}
	edits := []rootfs.Edit{{Op: rootfs.WriteFile, Path: "/etc/new", Mode: 0o644, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), ModTime: time.Unix(1, 0)}}
	no := errors.New("no")
	if err := target.Edit(t.Context(), edits, func() error { return no }); !errors.Is(err, no) {
		t.Errorf("edit with a failing check: %v, want no", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "etc/new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the edit was not taken back: %v", err)
	}
	if err := target.Edit(t.Context(), edits, nil); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "etc/new")); err != nil {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	a, b := root(t, "a"), root(t, "b")
	dir := t.TempDir()
	write := func(data string) func(*testing.T) string {
		return func(t *testing.T) string {
			file := filepath.Join(t.TempDir(), "disk.raw")
			if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
			return file
		}
	}
	on := func(scheme string, parts ...imgtest.Part) func(*testing.T) string {
		return func(t *testing.T) string { return disk(t, scheme, parts...) }
	}
	for _, c := range []struct {
		name  string
		make  func(t *testing.T) string
		root  int
		fault string
		hint  string
	}{
		{"missing", func(*testing.T) string { return filepath.Join(dir, "nope") }, 0, "no such file", "path of a raw disk image"},
		{"FIFO", func(t *testing.T) string {
			name := filepath.Join(t.TempDir(), "pipe")
			if err := syscall.Mkfifo(name, 0o600); err != nil {
				t.Fatal(err)
			}
			return name
		}, 0, "it is a special file, want a disk image, a block device or a directory", "raw disk image"},
		{"character device", func(*testing.T) string { return "/dev/null" }, 0, "it is a special file", "raw disk image"},
		{"directory without Linux", func(*testing.T) string { return dir }, 0, "it holds no Linux root file system: no os-release", "etc and usr"},
		{"directory and a partition", func(*testing.T) string { return a }, 2, "it is a directory and has no partition 2", "--root"},
		{"empty file", write(""), 0, "it is not a disk image", "raw disk image"},
		{"text", write(strings.Repeat("no image\n", 1000)), 0, "it is not a disk image", "raw disk image"},
		{"qcow2", write("QFI\xfb\x00\x00\x00\x03"), 0, "it is a qcow2 file", "qemu-img convert -f qcow2 -O raw"},
		{"VMDK", write("KDMV\x01\x00\x00\x00"), 0, "it is a VMDK file", "qemu-img convert -f vmdk -O raw"},
		{"VHDX", write("vhdxfile"), 0, "it is a VHDX file", "qemu-img convert -f vhdx -O raw"},
		{"VHD", write("conectix"), 0, "it is a VHD file", "qemu-img convert -f vpc -O raw"},
		{"VDI", write("<<< Oracle VM VirtualBox Disk Image >>>\n"), 0, "it is a VDI file", "qemu-img convert -f vdi -O raw"},
		{"gzip", write("\x1f\x8b\x08\x00"), 0, "it is a gzip file", "unpack it"},
		{"xz", write("\xfd7zXZ\x00\x00\x04"), 0, "it is a xz file", "unpack it"},
		{"zstd", write("\x28\xb5\x2f\xfd\x04"), 0, "it is a zstd file", "unpack it"},
		{"two bytes", write("QF"), 0, "it is not a disk image", "raw disk image"},
		{"two roots", on("gpt", part("ext4", a), part("ext4", b)), 0, "2 Linux roots: partition 1 (ext4, label \"\"), partition 2 (ext4, label \"\")", "--root 1"},
		{"no root", on("gpt", part("vfat", ""), part("ext4", "")), 0, "no Linux root file system: partition 1 is FAT, partition 2 is ext4", "os-release"},
		{"no such partition", on("gpt", part("vfat", ""), part("ext4", a)), 7, "no Linux root file system in partition 7: partition 1 is FAT, partition 2 is ext4", "os-release"},
		{"wrong partition", on("gpt", part("vfat", ""), part("ext4", a)), 1, "no Linux root file system in partition 1", "os-release"},
		{"no partitions", on("gpt"), 0, "the partition table is empty", "installed system"},
		{"too many file systems", func(t *testing.T) string {
			tiny := imgtest.Part{FS: "ext2", Size: imgtest.MiB, Type: "L"}
			return disk(t, "gpt", append([]imgtest.Part{part("ext4", a)}, slices.Repeat([]imgtest.Part{tiny}, 64)...)...)
		}, 0, "more than 64 file systems", "sgdisk -v"},
		{"bare FAT", on("none", part("vfat", "")), 0, "no Linux root file system: file system is FAT", "os-release"},
		{"truncated file system", func(t *testing.T) string {
			file := disk(t, "none", part("ext4", a))
			if err := os.Truncate(file, 3*imgtest.MiB); err != nil {
				t.Fatal(err)
			}
			return file
		}, 0, "file system: ", "checksum"},
		{"truncated disk", func(t *testing.T) string {
			file := disk(t, "gpt", part("ext4", a), part("ext4", ""))
			if err := os.Truncate(file, 8*imgtest.MiB); err != nil {
				t.Fatal(err)
			}
			return file
		}, 0, "partition 2 ends at byte 9437184, the image ends at byte 8388608: it is truncated", "checksum"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := c.make(t)
			target, err := image.Open(file, image.Options{Root: c.root})
			if err == nil {
				target.Close()
				t.Fatalf("opened %+v, want an error", target.Volumes)
			}
			var fact *image.Error
			if !errors.As(err, &fact) || !strings.Contains(fact.Hint(), c.hint) {
				t.Errorf("advice of %v is missing or has no %q", err, c.hint)
			}
			if text := err.Error(); !strings.HasPrefix(text, file+": ") || !strings.Contains(text, c.fault) || strings.Contains(text, "\n") {
				t.Errorf("error is %q, want the file's name and %q in one line", text, c.fault)
			}
		})
	}
}

// TestNamesForeignVolumes puts the signature of each known kind into a volume.
func TestNamesForeignVolumes(t *testing.T) {
	for name, c := range map[string]struct {
		offset int64
		bytes  string
		engine bool // the advice speaks of what this version cannot edit
	}{
		"xfs":      {0, "XFSB", true},
		"btrfs":    {0x10040, "_BHRfS_M", true},
		"LUKS":     {0, "LUKS\xba\xbe\x00\x02", true},
		"LVM":      {512 + 24, "LVM2 001", true},
		"squashfs": {0, "hsqs", false},
		"erofs":    {1024, "\xe2\xe1\xf5\xe0", false},
		"f2fs":     {1024, "\x10\x20\xf5\xf2", false},
		"FAT":      {54, "FAT16   ", false},
		"NTFS":     {3, "NTFS    ", false},
		"swap":     {4096 - 10, "SWAPSPACE2", false},
		"ISO 9660": {0x8001, "CD001", false},
		"unknown":  {0, "mystery", false},
	} {
		t.Run(name, func(t *testing.T) {
			file := disk(t, "gpt", part("vfat", ""), part("", ""))
			f, err := os.OpenFile(file, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.WriteAt([]byte(c.bytes), 5*imgtest.MiB+c.offset)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
			_, err = image.Open(file, image.Options{})
			if want := fmt.Sprintf("partition 1 is FAT, partition 2 is %s", name); err == nil || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("error is %v, want %q at the end", err, want)
			}
			var fact *image.Error
			if errors.As(err, &fact) && strings.Contains(fact.Hint(), "ext2, ext3 and ext4 roots only") != c.engine {
				t.Errorf("advice is %q", fact.Hint())
			}
		})
	}
}
