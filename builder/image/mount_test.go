package image_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// rooted makes a root with further files; a name that ends in / is a directory.
func rooted(t *testing.T, fstab string, names ...string) string {
	t.Helper()
	dir := rootWith(t, "a", fstab)
	for _, name := range names {
		var err error
		if link, target, ok := strings.Cut(name, " -> "); ok {
			err = errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, link)), 0o755), os.Symlink(target, filepath.Join(dir, link)))
		} else if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(filepath.Join(dir, name), 0o755)
		} else {
			err = errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755), os.WriteFile(filepath.Join(dir, name), []byte("root"), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// splitUsr moves /usr of a root away, and gives both.
func splitUsr(t *testing.T, root string) (rest, usr string) {
	t.Helper()
	usr = filepath.Join(t.TempDir(), "usr")
	err := errors.Join(
		os.Rename(filepath.Join(root, "etc/os-release"), filepath.Join(root, "usr/lib/os-release")),
		os.Symlink("../usr/lib/os-release", filepath.Join(root, "etc/os-release")),
		os.Rename(filepath.Join(root, "usr"), usr),
		os.Mkdir(filepath.Join(root, "usr"), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	return root, usr
}

// TestTree asks for names of volumes beside the root: by their mounts, and by none.
func TestTree(t *testing.T) {
	const boot, esp = "vmlinuz-6.1", "EFI/x"
	efi, kernels := with(t, esp, "loader/entries/a.conf"), with(t, boot, "grub/grub.cfg")
	splitRoot, usr := splitUsr(t, root(t, "split"))
	listedRoot, listedUsr := splitUsr(t, rootWith(t, "listed", "/dev/sda2 /usr ext4 ro 0 1\n"))
	noUsr, _ := splitUsr(t, root(t, "none"))
	for _, c := range []struct {
		name, scheme string
		parts        []imgtest.Part
		want         string // names that are there and on which volume: "/boot/x=2:/x"; absent ones: "!/x"
		mounts       string
		warnings     []string
		err          string
	}{
		{"by fstab", "gpt", []imgtest.Part{part("ext4", rooted(t, "/dev/sda2 /boot ext4\n/dev/sda3 /boot/efi vfat\n", "boot/hidden")), part("ext4", kernels), part("vfat", efi)},
			"/etc/fstab=1:/etc/fstab /boot=2:/ /boot/vmlinuz-6.1=2:/vmlinuz-6.1 /boot/efi=3:/ /boot/efi/EFI/x=3:/EFI/x !/boot/hidden !/efi", "1:root 2:boot@/boot 3:esp@/boot/efi", nil, ""},
		{"by fstab, the inner one first, through a link", "gpt", []imgtest.Part{part("ext4", rooted(t, "/dev/sda3 /esp vfat\n/dev/sda2 /boot ext4\n", "esp -> boot/efi")), part("ext4", kernels), part("vfat", efi)},
			"/boot/vmlinuz-6.1=2:/vmlinuz-6.1 /esp=1:/esp", "1:root 2:boot@/boot 3:esp@/esp", nil, ""},
		{"other volumes", "gpt", []imgtest.Part{part("ext4", rooted(t, "/dev/sda2 /var/lib ext2 nofail\n", "var/lib/")), part("ext2", with(t, "dpkg/status"))},
			"/var/lib/dpkg/status=2:/dpkg/status", "1:root 2:@/var/lib", nil, ""},
		{"ESP on /efi", "gpt", []imgtest.Part{part("ext4", rooted(t, "", "efi/", "boot/x")), typed("vfat", efi, typeESP)},
			"/efi/EFI/x=2:/EFI/x /boot/x=1:/boot/x", "1:root 2:esp@/efi", nil, ""},
		{"ESP on /efi, XBOOTLDR on /boot", "gpt", []imgtest.Part{part("ext4", rooted(t, "", "efi/", "boot/")), typed("vfat", efi, typeESP), typed("vfat", kernels, typeXBOOTLDR)},
			"/efi/EFI/x=2:/EFI/x /boot/vmlinuz-6.1=3:/vmlinuz-6.1", "1:root 2:esp@/efi 3:boot@/boot", nil, ""},
		{"ESP on /boot", "gpt", []imgtest.Part{part("ext4", rooted(t, "", "boot/")), typed("vfat", efi, typeESP)},
			"/boot/EFI/x=2:/EFI/x !/efi", "1:root 2:esp@/boot", nil, ""},
		{"ESP that is mounted nowhere", "gpt", []imgtest.Part{part("ext4", rooted(t, "", "boot/x")), typed("vfat", efi, typeESP)},
			"/boot/x=1:/boot/x /efi/loader/entries/a.conf=2:/loader/entries/a.conf", "1:root 2:esp~/efi", nil, ""},
		{"ESP of an MBR", "mbr", []imgtest.Part{part("ext4", rooted(t, "", "efi/")), typed("vfat", efi, "ef")},
			"/efi/EFI/x=2:/EFI/x", "1:root 2:esp~/efi", nil, ""},
		{"ESP with no place", "gpt", []imgtest.Part{part("ext4", rooted(t, "tmpfs /efi tmpfs\n", "boot/x")), typed("vfat", efi, typeESP)},
			"!/efi", "1:root 2:esp", []string{"partition 2 is the esp volume, and there is no place for it in the tree"}, ""},
		{"XBOOTLDR beside kernels of the root", "gpt", []imgtest.Part{part("ext4", rooted(t, "", "boot/vmlinuz-5")), typed("ext4", kernels, typeXBOOTLDR)},
			"/boot/vmlinuz-5=1:/boot/vmlinuz-5", "1:root 2:boot", []string{"partition 2 is the boot volume, and there is no place for it in the tree"}, ""},
		{"boot volume by content", "mbr", []imgtest.Part{part("ext4", rooted(t, "")), typed("ext3", kernels, "83")},
			"/boot/vmlinuz-6.1=2:/vmlinuz-6.1", "1:root 2:boot~/boot", nil, ""},
		{"/usr by type", "gpt", []imgtest.Part{part("ext4", splitRoot), typed("ext4", usr, typeUsr64)},
			"/usr/bin/false=2:/bin/false /usr/lib/os-release=2:/lib/os-release", "1:root 2:usr@/usr", nil, ""},
		{"/usr by fstab", "mbr", []imgtest.Part{part("ext4", listedRoot), part("ext3", listedUsr)},
			"/usr/bin/false=2:/bin/false", "1:root 2:usr@/usr", nil, ""},
		{"/usr that is not there", "gpt", []imgtest.Part{part("ext4", noUsr)}, "", "", nil, "no Linux root file system: os-release of partition 1 is a link that leads nowhere"},
		{"on a file", "gpt", []imgtest.Part{part("ext4", rooted(t, "/dev/sda2 /boot ext4\n", "boot")), part("ext4", kernels)},
			"/boot=1:/boot", "1:root 2:boot@/boot", []string{"partition 2 cannot be mounted on /boot: it is a regular file"}, ""},
		{"the same twice", "gpt", []imgtest.Part{part("ext4", rooted(t, "/dev/sda2 /boot ext4\n/dev/sda3 /boot ext4\n/dev/sda2 /srv ext4\n")), part("ext4", kernels), part("ext4", "")},
			"/boot/vmlinuz-6.1=2:/vmlinuz-6.1 /srv/vmlinuz-6.1=2:/vmlinuz-6.1", "1:root 2:@/boot 3:@/boot", []string{"2 volumes may be the boot volume"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			target, err := image.Open(disk(t, c.scheme, c.parts...), image.Options{})
			if err != nil {
				if c.err == "" || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error is %v, want %q", err, c.err)
				}
				return
			}
			defer target.Close()
			if got := roles(target); got != c.mounts {
				t.Errorf("roles are %q, want %q", got, c.mounts)
			}
			checkWarnings(t, target, c.warnings)
			for want := range strings.FieldsSeq(c.want) {
				if absent, ok := strings.CutPrefix(want, "!"); ok {
					if _, err := target.Tree().Lstat(absent); !errors.Is(err, fs.ErrNotExist) {
						t.Errorf("%s: %v, want not exist", absent, err)
					}
					continue
				}
				name, place, _ := strings.Cut(want, "=")
				if _, err := target.Tree().Lstat(name); err != nil {
					t.Error(err)
				}
				v, inside := target.VolumeOf(name)
				number, wantInside, _ := strings.Cut(place, ":")
				if inside != wantInside || number != string(rune('0'+v.Number)) {
					t.Errorf("%s lies on partition %d as %s, want %s", name, v.Number, inside, place)
				}
			}
		})
	}
}

func TestCheckVisible(t *testing.T) {
	fstab := "tmpfs /tmp tmpfs\nLABEL=elsewhere /boot xfs\n/dev/sda2 /boot/efi vfat\nserver:/usr /usr/share nfs\n/dev/sda3 /usr/share/own ext4\n/data /opt none bind\n"
	target := open(t, disk(t, "gpt", part("ext4", rooted(t, fstab)), part("vfat", ""), part("ext4", "")), image.Options{})
	for name, why := range map[string]string{
		"/etc/x": "", "/boot": "/boot would be hidden: /etc/fstab mounts LABEL=elsewhere there", "/boot/x": "/boot would be hidden", "/bootx": "",
		"/boot/efi/x": "", "/usr/lib/x": "", "/usr/share/x": "/usr/share would be hidden: /etc/fstab mounts server:/usr there", "/usr/share/own/x": "",
		"/opt/x": "/opt would be hidden: /etc/fstab mounts /data there", "/tmp/x": "/tmp would be hidden",
	} {
		err := target.CheckVisible([]string{"/etc/hosts", name})
		if (err == nil) != (why == "") || err != nil && !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want %q", name, err, why)
		}
	}
	luks := disk(t, "gpt", part("ext4", rooted(t, "")), typed("", "", typeUsr64), typed("", "", typeXBOOTLDR))
	target = open(t, luks, image.Options{})
	for _, name := range []string{"/usr/bin/x", "/boot/x"} {
		if err := target.CheckVisible([]string{name}); err == nil || !strings.Contains(err.Error(), "(unknown) is mounted there") {
			t.Errorf("%s below a volume that cannot be read: %v", name, err)
		}
	}
	if data, err := rootfs.ReadFile(target.Tree(), "/etc/os-release", 100); err != nil || string(data) != "ID=a\n" {
		t.Errorf("os-release: %q, %v", data, err)
	}
}

// TestJournalThatCannotBeRead: the target opens with the files as they are, and says so.
func TestJournalThatCannotBeRead(t *testing.T) {
	file := disk(t, "none", part("ext2", root(t, "a")))
	if target := open(t, file, image.Options{}); target.NeedsRecovery() || target.CheckCurrent() != nil {
		t.Fatal("a journal waits where there is none")
	}
	if out, err := exec.Command("/usr/sbin/debugfs", "-w", "-R", "feature needs_recovery", file).CombinedOutput(); err != nil {
		t.Fatalf("debugfs: %v: %s (apt-get install e2fsprogs)", err, out)
	}
	target := open(t, file, image.Options{})
	if err := target.CheckCurrent(); !target.NeedsRecovery() || err == nil || !strings.Contains(err.Error(), "the journal of file system waits to be replayed") {
		t.Errorf("needs recovery: %t, %v", target.NeedsRecovery(), err)
	}
	if got := id(t, target); got != "ID=a" {
		t.Errorf("root is %s", got)
	}
}
