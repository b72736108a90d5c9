package image_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/imgtest"
)

// Types of partitions.
const (
	typeRoot64   = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
	typeRootARM  = "B921B045-1DF0-41C3-AF44-4C6F280D3FAE"
	typeUsr64    = "8484680C-9521-48C6-9C11-B0720656F69E"
	typeXBOOTLDR = "BC13C2FF-59E6-4262-A352-B275FD6F7172"
	typeESP      = "U"
)

const (
	uuidA = "0a0a0a0a-1111-4222-8333-444455556666"
	uuidB = "0b0b0b0b-1111-4222-8333-444455556666"
)

// rootWith makes a root with an fstab.
func rootWith(t *testing.T, name, fstab string) string {
	t.Helper()
	dir := root(t, name)
	if err := os.WriteFile(filepath.Join(dir, "etc/fstab"), []byte(fstab), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// with makes a directory that holds files without content.
func with(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// typed is a part of a type of its own.
func typed(kind, dir, partType string) imgtest.Part {
	p := part(kind, dir)
	p.Type = partType
	return p
}

// roles writes what was found: "2:root 1:esp@/boot/efi", "1:esp~/efi" where no mount is
// known of.
func roles(target *image.Target) string {
	var out []string
	for _, v := range target.Volumes {
		if v.Role == "" && v.Mount == "" {
			continue
		}
		text := fmt.Sprintf("%d:%s", v.Number, v.Role)
		if v.Mount != "" {
			text += map[bool]string{false: "@", true: "~"}[v.Unmounted] + v.Mount
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

func TestRoles(t *testing.T) {
	plain := root(t, "a")
	kernels := with(t, "vmlinuz-6.1.0-1-amd64", "grub/grub.cfg")
	efi := with(t, "EFI/BOOT/BOOTX64.EFI")
	ownKernels := root(t, "own")
	if err := os.MkdirAll(filepath.Join(ownKernels, "boot"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(ownKernels, "boot/vmlinuz-6.1"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	identified := func(p imgtest.Part, uuid, label, name string) imgtest.Part {
		p.UUID, p.Label, p.Name = uuid, label, name
		return p
	}
	numbered := func(p imgtest.Part, n int) imgtest.Part {
		p.Number = n
		return p
	}
	for _, c := range []struct {
		name, scheme, fstab string // fstab: of the root, which the part ROOT holds
		parts               []imgtest.Part
		want                string
		warnings            []string // each a part of one warning, in order
	}{
		{"Debian's cloud layout", "gpt", "PARTUUID=x-none / ext4 defaults 0 1\n",
			[]imgtest.Part{numbered(typed("ext4", "ROOT", typeRoot64), 1), numbered(typed("", "", "21686148-6449-6E6F-744E-656564454649"), 14), numbered(typed("vfat", efi, typeESP), 15)},
			"1:root 15:esp~/efi", []string{"/etc/fstab mounts / from PARTUUID=x-none, which is not in the image"}},
		{"Ubuntu's cloud layout", "gpt", "LABEL=cloudimg-rootfs\t/\text4\tdefaults\t0 1\nLABEL=BOOT /boot ext4 defaults 0 2\nLABEL=UEFI /boot/efi vfat umask=0077 0 1\n",
			[]imgtest.Part{numbered(identified(part("ext4", "ROOT"), "", "cloudimg-rootfs", ""), 1), numbered(part("", ""), 14), numbered(identified(part("vfat", ""), "", "UEFI", ""), 15), numbered(identified(part("ext4", kernels), "", "BOOT", ""), 16)},
			"1:root@/ 15:esp@/boot/efi 16:boot@/boot", nil},
		{"by UUID, in other case", "gpt", "UUID=" + strings.ToUpper(uuidB) + " /boot ext2 ro 0 2\nUUID=1234-abcd /efi vfat ro 0 2\n",
			[]imgtest.Part{identified(part("vfat", ""), "1234ABCD", "", ""), identified(part("ext2", ""), uuidB, "", ""), part("ext4", "ROOT")},
			"1:esp@/efi 2:boot@/boot 3:root", nil},
		{"by partition label with a blank, and quoted", "gpt", "PARTLABEL=my\\040boot /boot ext4 ro 0 2\nPARTLABEL=\"esp\" /boot/efi vfat ro 0 2\n",
			[]imgtest.Part{identified(part("vfat", ""), "", "", "esp"), identified(part("ext4", ""), "", "", "my boot"), part("ext4", "ROOT")},
			"1:esp@/boot/efi 2:boot@/boot 3:root", nil},
		{"by links of udev", "gpt", "/dev/disk/by-uuid/" + uuidB + " /boot ext4 ro 0 2\n/dev/disk/by-label/MY\\x20ESP /boot/efi vfat ro 0 2\n",
			[]imgtest.Part{identified(part("vfat", ""), "", "MY ESP", ""), identified(part("ext4", ""), uuidB, "", ""), part("ext4", "ROOT")},
			"1:esp@/boot/efi 2:boot@/boot 3:root", nil},
		{"by device", "mbr", "/dev/vda2 /boot ext4 ro 0 2\n/dev/nvme0n1p1 /boot/efi vfat ro 0 2\n/dev/sdb3 /data ext4 ro 0 2\n",
			[]imgtest.Part{typed("vfat", "", "c"), typed("ext3", "", "83"), typed("ext4", "ROOT", "83")},
			"1:esp@/boot/efi 2:boot@/boot 3:root", []string{"/etc/fstab mounts /data from /dev/sdb3, which is not in the image"}},
		{"fstab before type and content", "gpt", "UUID=" + uuidB + " /boot ext4 ro 0 2\n",
			[]imgtest.Part{typed("ext4", kernels, typeXBOOTLDR), identified(part("ext4", ""), uuidB, "", ""), part("ext4", "ROOT")},
			"2:boot@/boot 3:root", nil},
		{"by GPT type", "gpt", "",
			[]imgtest.Part{typed("vfat", "", typeESP), typed("ext4", "", typeXBOOTLDR), part("ext4", "ROOT")},
			"1:esp~/efi 2:boot@/boot 3:root", nil},
		{"type before content", "gpt", "",
			[]imgtest.Part{typed("vfat", "", typeESP), part("vfat", efi), part("ext4", kernels), typed("ext4", "", typeXBOOTLDR), part("ext4", "ROOT")},
			"1:esp~/efi 4:boot@/boot 5:root", nil},
		{"by MBR type", "mbr", "",
			[]imgtest.Part{typed("vfat", "", "ef"), typed("vfat", "", "ea"), typed("ext4", "ROOT", "83")},
			"1:esp~/efi 2:boot~/boot 3:root", nil},
		{"by content", "mbr", "# nothing\n",
			[]imgtest.Part{typed("vfat", efi, "c"), typed("ext4", kernels, "83"), typed("ext4", "ROOT", "83")},
			"1:esp~/efi 2:boot~/boot 3:root", nil},
		{"kernels beside those of the root", "gpt", "OWN", []imgtest.Part{part("ext4", kernels), part("ext4", "ROOT")}, "2:root", nil},
		{"ESP on /boot", "gpt", "PARTLABEL=boot /boot vfat ro 0 2\n",
			[]imgtest.Part{identified(typed("vfat", "", typeESP), "", "", "boot"), part("ext4", "ROOT")},
			"1:esp@/boot 2:root", nil},
		{"type that is not to be believed", "gpt", "",
			[]imgtest.Part{typed("vfat", "", typeESP+", attrs=\"GUID:63\""), part("ext4", "ROOT")}, "2:root", nil},
		{"two of each", "gpt", "",
			[]imgtest.Part{typed("vfat", "", typeESP), typed("vfat", "", typeESP), part("ext4", kernels), part("ext4", kernels), part("ext4", "ROOT")},
			"5:root", []string{
				`2 volumes may be the boot volume: partition 3 (ext4, label ""), partition 4 (ext4, label ""); none is taken for it`,
				`2 volumes may be the esp volume: partition 1 (FAT, label ""), partition 2 (FAT, label ""); none is taken for it`}},
		{"one UUID twice", "gpt", "UUID=" + uuidB + " /boot ext4 ro 0 2\n",
			[]imgtest.Part{identified(part("ext4", ""), uuidB, "", ""), identified(part("ext4", ""), uuidB, "", ""), part("ext4", "ROOT")},
			"3:root", []string{"/etc/fstab mounts /boot from UUID=" + uuidB + ", which names 2 volumes: partition 1"}},
		{"mounts that a boot does without", "gpt", "/dev/sr0 /media/cdrom0 iso9660 user,noauto 0 0\nLABEL=usb /mnt ext4 rw,nofail 0 0\ntmpfs /tmp tmpfs\nproc /proc proc\n/swapfile none swap sw\n//server/share /srv cifs\n/dev/root / ext4\n",
			[]imgtest.Part{part("ext4", "ROOT")}, "1:root", nil},
		{"the root by another name", "gpt", "UUID=" + uuidB + " / ext4 rw 0 1\n",
			[]imgtest.Part{part("ext4", "ROOT"), identified(part("ext4", ""), uuidB, "", "")},
			"1:root", []string{"/etc/fstab mounts / from UUID=" + uuidB + ", which is partition 2, not the root that is read"}},
		{"/usr of its own", "gpt", "", []imgtest.Part{typed("ext4", "", typeUsr64), part("ext4", "ROOT")},
			"1:usr@/usr 2:root", nil},
		{"no table", "none", "/dev/sda1 / ext4\n", []imgtest.Part{part("ext4", "ROOT")}, "0:root", nil},
		{"sectors of 4096 bytes", "gpt-4096", "", []imgtest.Part{numbered(typed("vfat", efi, typeESP), 15), numbered(part("ext4", "ROOT"), 3)}, "3:root 15:esp~/efi", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := plain
			switch {
			case c.fstab == "OWN":
				dir = ownKernels
			case c.fstab != "":
				dir = rootWith(t, "a", c.fstab)
			}
			for i := range c.parts {
				if c.parts[i].Dir == "ROOT" {
					c.parts[i].Dir = dir
				}
			}
			target := open(t, disk(t, c.scheme, c.parts...), image.Options{})
			if got := roles(target); got != c.want {
				t.Errorf("roles are %q, want %q", got, c.want)
			}
			checkWarnings(t, target, c.warnings)
		})
	}
}

func checkWarnings(t *testing.T, target *image.Target, want []string) {
	t.Helper()
	if len(target.Warnings) != len(want) {
		t.Fatalf("warnings are %q, want %q", target.Warnings, want)
	}
	for i, w := range want {
		if !strings.Contains(target.Warnings[i], w) {
			t.Errorf("warning is %q, want %q", target.Warnings[i], w)
		}
	}
}

// TestIdentity holds names of volumes against those that the makers were given.
func TestIdentity(t *testing.T) {
	parts := []imgtest.Part{part("vfat", ""), part("ext2", ""), part("ext3", root(t, "a")), part("ext4", ""), part("vfat", "")}
	parts[0].UUID, parts[0].Label, parts[0].Name = "DEADBEEF", "EFI SYS", "esp"
	parts[1].UUID, parts[1].Label = uuidA, "a label of 16 by"
	parts[3].UUID, parts[3].Name = uuidB, "ünï"
	var got []string
	for _, v := range open(t, disk(t, "gpt", parts...), image.Options{}).Volumes {
		if v.PartUUID == "" || v.UUID == "" {
			t.Errorf("partition %d: PARTUUID %q, UUID %q, want some", v.Number, v.PartUUID, v.UUID)
		}
		if v.Number == 3 || v.Number == 5 { // those were made up
			v.UUID = ""
		}
		got = append(got, fmt.Sprintf("%s|%s|%s|%s", v.FS, v.UUID, v.FSLabel, v.Label))
	}
	want := "FAT|DEAD-BEEF|EFI SYS|esp\next2|" + uuidA + "|a label of 16 by|\next3|||\next4|" + uuidB + "||ünï\nFAT|||"
	if strings.Join(got, "\n") != want {
		t.Errorf("volumes are\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}

// breakVolume damages the superblock of the ext volume that starts at an offset.
func breakVolume(t *testing.T, file string, offset int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("broken"), offset+1024+0x68); err != nil { // the UUID, which is summed
		t.Fatal(err)
	}
}

func TestManyRoots(t *testing.T) {
	a, b := root(t, "a"), root(t, "b")
	withUUID := func(p imgtest.Part, uuid string) imgtest.Part {
		p.UUID = uuid
		return p
	}
	const MiB = imgtest.MiB
	for _, c := range []struct {
		name   string
		parts  []imgtest.Part
		broken []int64 // offsets
		root   int
		want   string // os-release, or a part of the error
		warn   []string
	}{
		{"one by type", []imgtest.Part{part("ext4", a), typed("ext4", b, typeRoot64)}, nil, 0, "ID=b",
			[]string{`partition 2 (ext4, label ""), partition 1 (ext4, label ""): the first is taken, for its partition type is that of a root; --root N takes another`}},
		{"one by type and fstab", []imgtest.Part{part("ext4", a), withUUID(typed("ext4", rootWith(t, "b", "UUID="+uuidB+" / ext4\n"), typeRootARM), uuidB)}, nil, 0, "ID=b",
			[]string{"the first is taken"}},
		{"one by type, another by its fstab", []imgtest.Part{withUUID(part("ext4", rootWith(t, "a", "UUID="+uuidA+" / ext4\n")), uuidA), typed("ext4", b, typeRoot64)}, nil, 0,
			`2 Linux roots: partition 1 (ext4, label ""), partition 2`, nil},
		{"two by type", []imgtest.Part{typed("ext4", a, typeRoot64), typed("ext4", b, typeRoot64)}, nil, 0, "2 Linux roots", nil},
		{"two by type, of two architectures", []imgtest.Part{typed("ext4", a, typeRoot64), typed("ext4", b, typeRootARM)}, nil, 0, "2 Linux roots", nil},
		{"two by type, one asked for", []imgtest.Part{typed("ext4", a, typeRoot64), typed("ext4", b, typeRoot64)}, nil, 2, "ID=b", nil},
		{"one by a type that is not to be believed", []imgtest.Part{part("ext4", a), typed("ext4", b, typeRoot64+", attrs=\"GUID:63\"")}, nil, 0, "2 Linux roots", nil},
		{"a type without a root in it", []imgtest.Part{part("ext4", a), typed("ext4", "", typeRoot64)}, nil, 0, "ID=a", nil},
		{"broken beside the root", []imgtest.Part{part("ext4", a), part("ext4", b)}, []int64{5 * MiB}, 0, "ID=a",
			[]string{"partition 2 cannot be read and is left alone: ext4: superblock at byte 0x400: checksum is"}},
		{"broken with the type of a root", []imgtest.Part{part("ext4", a), typed("ext4", b, typeRoot64)}, []int64{5 * MiB}, 0,
			`Linux root: partition 1 (ext4, label ""); the root may as well be partition 2 (ext4, label "", cannot be read)`, nil},
		{"broken and the root of the other's fstab", []imgtest.Part{part("ext4", rootWith(t, "a", "/dev/sda2 / ext4\n")), part("ext4", b)}, []int64{5 * MiB}, 0,
			`the root may as well be partition 2 (ext4, label "", cannot be read)`, nil},
		{"foreign with the type of a root", []imgtest.Part{part("ext4", a), typed("vfat", "", typeRoot64)}, nil, 0, "ID=a", nil},
		{"broken with the type of a root, the other asked for", []imgtest.Part{part("ext4", a), typed("ext4", b, typeRoot64)}, []int64{5 * MiB}, 1, "ID=a", []string{"partition 2 cannot be read"}},
		{"broken and asked for", []imgtest.Part{part("ext4", a), part("ext4", b)}, []int64{5 * MiB}, 2, "partition 2: ext4: superblock at byte 0x400", nil},
		{"broken and alone", []imgtest.Part{part("vfat", ""), part("ext4", b)}, []int64{5 * MiB}, 0, "partition 2: ext4: superblock at byte 0x400", nil},
		{"FAT broken beside the root", []imgtest.Part{typed("vfat", "", typeESP), part("ext4", b)}, []int64{MiB - 1024 - 0x68 + 11}, 0, "ID=b", []string{"partition 1 cannot be read"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := disk(t, "gpt", c.parts...)
			for _, at := range c.broken {
				breakVolume(t, file, at)
			}
			target, err := image.Open(file, image.Options{Root: c.root})
			if err != nil {
				if !strings.Contains(err.Error(), c.want) || strings.HasPrefix(c.want, "ID=") {
					t.Errorf("error is %v, want %q", err, c.want)
				}
				return
			}
			defer target.Close()
			if got := id(t, target); got != c.want {
				t.Fatalf("root is %s, want %q", got, c.want)
			}
			checkWarnings(t, target, c.warn)
		})
	}
}
