package image

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/builder/undo"
)

// bootDisk makes a disk with a root, an ext4 /boot and a FAT ESP on /boot/efi.
func bootDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	initrd := strings.Repeat("initramfs ", 60_000)
	err := errors.Join(
		imgtest.WriteRoot(dir+"/root", "6.1.0-1-amd64"),
		imgtest.WriteFiles(dir+"/root", 0o644, map[string]string{"etc/fstab": "LABEL=boot /boot ext4\nLABEL=ESP /boot/efi vfat\n"}),
		imgtest.WriteFiles(dir+"/boot", 0o644, map[string]string{"vmlinuz-6.1": "kernel", "initrd.img-6.1": initrd, "grub/grub.cfg": "linux /vmlinuz\n", "efi/hidden": "x", "gone": "x"}),
		imgtest.WriteFiles(dir+"/efi", 0o644, map[string]string{"EFI/BOOT/BOOTX64.EFI": "loader", "loader/entries/a.conf": "options quiet\n", "initrd": initrd, "gone.txt": "x"}),
		imgtest.WriteDisk(dir+"/disk.raw", "gpt",
			imgtest.Part{FS: "vfat", Dir: dir + "/efi", Size: 8 * imgtest.MiB, Type: "U", Number: 15, Label: "ESP"},
			imgtest.Part{FS: "ext4", Dir: dir + "/root", Size: 16 * imgtest.MiB, Type: "L", Number: 1},
			imgtest.Part{FS: "ext4", Dir: dir + "/boot", Size: 8 * imgtest.MiB, Type: "L", Number: 16, Label: "boot"}))
	if err != nil {
		t.Fatal(err)
	}
	return dir + "/disk.raw"
}

// editsOfAll are edits of all three volumes, in no order, with what FAT cannot hold.
func editsOfAll() []rootfs.Edit {
	label := map[string][]byte{"security.selinux": []byte("system_u:object_r:boot_t:s0\x00")}
	at := time.Unix(1750000000, 0)
	return []rootfs.Edit{
		{Op: rootfs.WriteFile, Path: "/boot/efi/loader/entries/a.conf", Data: []byte("options quiet module_blacklist=x\n"), Mode: 0o600, UID: 1000, GID: 1000, Xattrs: label},
		{Op: rootfs.WriteFile, Path: "/etc/new", Data: []byte("new\n"), Mode: 0o644, ModTime: at},
		{Op: rootfs.Append, Path: "/boot/initrd.img-6.1", Keep: 599_040, Data: bytes.Repeat([]byte("segment "), 20_000), Mode: 0o600, ModTime: at},
		{Op: rootfs.Mkdir, Path: "/boot/efi/loader/new", Mode: 0o755 | os.ModeSticky, ModTime: at, Xattrs: label},
		{Op: rootfs.WriteFile, Path: "/boot/grub/grub.cfg", Data: []byte("linux /vmlinuz module_blacklist=x\n"), Mode: 0o644, ModTime: at, Xattrs: label},
		{Op: rootfs.Append, Path: "/boot/efi/initrd", Keep: 600_000, Data: bytes.Repeat([]byte("segment "), 20_000), Mode: 0o644, ModTime: at},
		{Op: rootfs.WriteFile, Path: "/boot/efi/loader/new/b.conf", Data: []byte("new\n"), Mode: 0o644, ModTime: time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)},
		{Op: rootfs.Symlink, Path: "/etc/link", Target: "/boot/efi/loader", ModTime: at},
		{Op: rootfs.SetAttributes, Path: "/boot/efi/loader/new/b.conf", Mode: 0o600, UID: 5, ModTime: at, Xattrs: label},
		{Op: rootfs.Remove, Path: "/boot/efi/gone.txt"},
		{Op: rootfs.Remove, Path: "/boot/gone"},
	}
}

// holdsAll reads back what editsOfAll wrote, through our own tree.
func holdsAll(tree rootfs.Tree) error {
	var faults []error
	for _, e := range editsOfAll() {
		switch e.Op {
		case rootfs.Remove:
			if _, err := tree.Lstat(e.Path); !errors.Is(err, os.ErrNotExist) {
				faults = append(faults, fmt.Errorf("%s is still there: %v", e.Path, err))
			}
		case rootfs.WriteFile, rootfs.Append:
			want := append([]byte(strings.Repeat("initramfs ", 60_000)[:e.Keep]), e.Data...)
			if got, err := rootfs.ReadFile(tree, e.Path, 1<<20); err != nil || !bytes.Equal(got, want) {
				faults = append(faults, fmt.Errorf("%s holds %d bytes, %v, want %d as written", e.Path, len(got), err, len(want)))
			}
		}
	}
	if got, err := rootfs.ReadFile(tree, "/etc/link/entries/a.conf", 100); err != nil || !bytes.Contains(got, []byte("module_blacklist")) {
		faults = append(faults, fmt.Errorf("through the link: %q, %v", got, err))
	}
	return errors.Join(faults...)
}

// judgeAll asks e2fsck, fsck.vfat, sgdisk, debugfs and mtools.
func judgeAll(t *testing.T, target *Target, disk string) {
	t.Helper()
	esp, _ := target.VolumeOf("/boot/efi")
	root, _ := target.VolumeOf("/")
	boot, _ := target.VolumeOf("/boot")
	apart := filepath.Join(t.TempDir(), "esp")
	data, err := os.ReadFile(disk)
	if err == nil {
		err = os.WriteFile(apart, data[esp.Offset:esp.Offset+esp.Size], 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ pkg, want, name, args string }{
		{"gdisk", "No problems found", "sgdisk", "-v " + disk},
		{"e2fsprogs", "", "/usr/sbin/e2fsck", fmt.Sprintf("-fn %s?offset=%d", disk, root.Offset)},
		{"e2fsprogs", "", "/usr/sbin/e2fsck", fmt.Sprintf("-fn %s?offset=%d", disk, boot.Offset)},
		{"e2fsprogs", "linux /vmlinuz module_blacklist=x\n", "/usr/sbin/debugfs", fmt.Sprintf("-R|cat /grub/grub.cfg|%s?offset=%d", disk, boot.Offset)},
		{"e2fsprogs", "object_r:boot_t", "/usr/sbin/debugfs", fmt.Sprintf("-R|ea_list /grub/grub.cfg|%s?offset=%d", disk, boot.Offset)},
		{"dosfstools", "", "/usr/sbin/fsck.vfat", "-n " + apart},
		{"mtools", "options quiet module_blacklist=x\n", "mtype", "-i " + apart + " ::/loader/entries/a.conf"},
		{"mtools", "1980-01-01", "mdir", "-i " + apart + " ::/loader/entries/a.conf"},
		{"mtools", "2107-12-31", "mdir", "-i " + apart + " ::/loader/new/b.conf"},
		{"mtools", "segment segment ", "mtype", "-i " + apart + " ::/initrd"},
	} {
		args := strings.Fields(c.args)
		if strings.Contains(c.args, "|") {
			args = strings.Split(c.args, "|")
		}
		out, err := exec.Command(c.name, args...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s %s: %v, want %q (apt-get install %s): %.2000s", c.name, c.args, err, c.want, c.pkg, out)
		}
	}
}

func openDisk(t *testing.T, disk string) *Target {
	t.Helper()
	target, err := Open(disk, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() }) // once more does no harm
	return target
}

func TestEditOfAllVolumes(t *testing.T) {
	disk := bootDisk(t)
	if err := openDisk(t, disk).Edit(t.Context(), editsOfAll(), nil); err != nil {
		t.Fatal(err)
	}
	target := openDisk(t, disk)
	if err := holdsAll(target.Tree()); err != nil {
		t.Error(err)
	}
	judgeAll(t, target, disk)
}

// TestEditRefusesBeforeItWrites: a fault in one volume's edits stops those of all.
func TestEditRefusesBeforeItWrites(t *testing.T) {
	disk := bootDisk(t)
	before, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		edit rootfs.Edit
		want string
	}{
		{"link on FAT", rootfs.Edit{Op: rootfs.Symlink, Path: "/boot/efi/link", Target: "x"}, "partition 15: cannot edit the FAT volume: cannot symlink /link: fat: symbolic links: not supported"},
		{"FAT full", rootfs.Edit{Op: rootfs.WriteFile, Path: "/boot/efi/large", Data: make([]byte, 9<<20)}, "partition 15: cannot edit the FAT volume: cannot write /large: fat: free clusters"},
		{"no parent on FAT", rootfs.Edit{Op: rootfs.WriteFile, Path: "/boot/efi/none/x"}, "partition 15: "},
		{"/boot full", rootfs.Edit{Op: rootfs.WriteFile, Path: "/boot/large", Data: bytes.Repeat([]byte("x"), 9<<20)}, "partition 16: cannot edit the file system"},
		{"no parent on /boot", rootfs.Edit{Op: rootfs.Remove, Path: "/boot/none/x"}, "partition 16: cannot edit the file system"},
		{"root full", rootfs.Edit{Op: rootfs.WriteFile, Path: "/large", Data: bytes.Repeat([]byte("x"), 20<<20)}, "partition 1: cannot edit the file system"},
	} {
		t.Run(c.name, func(t *testing.T) {
			edits := append(editsOfAll(), c.edit)
			edits[len(edits)-1].ModTime = time.Unix(1750000000, 0)
			err := openDisk(t, disk).Edit(t.Context(), edits, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
			if now, err := os.ReadFile(disk); err != nil || !bytes.Equal(now, before) {
				t.Errorf("the image was changed: %v", err)
			}
		})
	}
}

// TestCrashWhileAllVolumesChange stops an edit in place at each of its writes and in the
// middle of it. After recovery the image is bit for bit as before.
func TestCrashWhileAllVolumesChange(t *testing.T) {
	disk := bootDisk(t)
	before, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	target := openDisk(t, disk)
	shadow := target.Shadow(true)
	defer shadow.Close()
	if err := shadow.Edit(t.Context(), editsOfAll()); err != nil {
		t.Fatal(err)
	}
	tree, err := shadow.Tree(t.Context())
	if err == nil {
		err = holdsAll(tree)
	}
	if err != nil {
		t.Fatal(err)
	}
	changes, err := shadow.Changes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if now, err := os.ReadFile(disk); err != nil || !bytes.Equal(now, before) {
		t.Fatalf("the image was changed before Commit: %v", err)
	}
	var journal []byte
	err = shadow.Commit(t.Context(), changes, func(tree rootfs.Tree) (err error) {
		journal, err = os.ReadFile(disk + undo.Suffix)
		return errors.Join(err, holdsAll(tree))
	})
	if err != nil {
		t.Fatal(err)
	}
	target.Close()
	changed := openDisk(t, disk)
	judgeAll(t, changed, disk)
	changed.Close()
	after, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	crashes := crashAtEachWrite(t, disk, changes, before, after, journal)
	touched := map[int]bool{}
	for _, c := range changes {
		for i, v := range target.Volumes {
			touched[i] = touched[i] || c.Offset >= v.Offset && c.Offset < v.Offset+v.Size
		}
	}
	t.Logf("%d crashes over %d changes of %d bytes in %d volumes: image as before after each recovery", crashes, len(changes), len(before), len(touched))
	if crashes < 2*len(changes) || len(touched) != 3 {
		t.Errorf("crashes are %d, volumes %v, want two for each of %d changes, in three volumes", crashes, touched, len(changes))
	}
}

// crashAtEachWrite leaves the image as a crash after some writes does, and in the midst
// of the next one, and recovers.
func crashAtEachWrite(t *testing.T, disk string, changes []undo.Range, before, after, journal []byte) (crashes int) {
	t.Helper()
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(before, 0); err != nil {
		t.Fatal(err)
	}
	for stop := 0; stop <= 2*len(changes); stop++ {
		for i, c := range changes[:(stop+1)/2] {
			n := c.Length
			if i == stop/2 {
				n /= 2 // torn
			}
			if _, err := f.WriteAt(after[c.Offset:c.Offset+n], c.Offset); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(disk+undo.Suffix, journal, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(disk, Options{}); err == nil || !strings.Contains(err.Error(), "interrupted") {
			t.Fatalf("crash %d: the image opens: %v", stop, err)
		}
		if outcome, err := Recover(disk); err != nil || !outcome.Restored {
			t.Fatalf("crash %d: recover: %+v, %v", stop, outcome, err)
		}
		now := make([]byte, len(before))
		if _, err := io.ReadFull(io.NewSectionReader(f, 0, int64(len(now))), now); err != nil || !bytes.Equal(now, before) {
			t.Fatalf("crash %d: the image is not as before: %v", stop, err)
		}
		crashes++
	}
	return crashes
}
