package builder_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/kerngate/kerngate/builder/imgtest"
)

// The kernels of the richer fixtures: one with the index that depmod wrote for a Debian
// kernel, under a release that the gate lets through, and one that has algif_aead built in.
const (
	indexRelease   = "6.1.0-50-cloud-amd64" // whose index it is
	debianRelease  = "7.2.12+deb14-cloud-amd64"
	builtInRelease = "5.14.0-427.el9.x86_64"
)

// moduleFiles are the modules of the Debian kernel whose files the fixtures hold.
var moduleFiles = []string{"crypto/af_alg", "crypto/algif_aead", "crypto/algif_hash", "crypto/algif_rng", "crypto/algif_skcipher",
	"net/ipv4/esp4", "net/ipv4/esp4_offload", "net/ipv6/esp6", "net/ipv6/esp6_offload", "net/xfrm/xfrm_algo"}

// need gives an outside program, or says how to get it.
func need(t *testing.T, program, pack string) string {
	t.Helper()
	for _, dir := range []string{"/usr/bin", "/usr/sbin", "/bin", "/sbin"} {
		if _, err := os.Stat(filepath.Join(dir, program)); err == nil {
			return filepath.Join(dir, program)
		}
	}
	t.Fatalf("%s is not installed: apt-get install %s", program, pack)
	return ""
}

// write puts files below a directory; content "-> TARGET" makes a link.
func write(t *testing.T, dir string, mode os.FileMode, files map[string]string) {
	t.Helper()
	if err := imgtest.WriteFiles(dir, mode, files); err != nil {
		t.Fatal(err)
	}
}

// debianRoot is a tree with the index and some module files of a Debian kernel, and no
// boot entry.
func debianRoot(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "root")
	if err := imgtest.WriteRoot(dir, debianRelease); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "boot/loader")); err != nil {
		t.Fatal(err)
	}
	addModules(t, dir)
	return dir
}

func addModules(t *testing.T, dir string) {
	t.Helper()
	index, err := os.ReadDir(filepath.Join("modprobe/testdata/index", indexRelease))
	if err != nil || len(index) < 5 {
		t.Fatalf("index of %s has %d files (%v), want some", indexRelease, len(index), err)
	}
	files := map[string]string{}
	for _, e := range index {
		data, err := os.ReadFile(filepath.Join("modprobe/testdata/index", indexRelease, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files["usr/lib/modules/"+debianRelease+"/"+e.Name()] = string(data)
	}
	for _, name := range moduleFiles {
		files["usr/lib/modules/"+debianRelease+"/kernel/"+name+".ko"] = "module " + name + "\n"
	}
	write(t, dir, 0o644, files)
}

// addBuiltIn adds the kernel that has algif_aead built in.
func addBuiltIn(t *testing.T, dir string) {
	t.Helper()
	modules := "usr/lib/modules/" + builtInRelease + "/"
	write(t, dir, 0o644, map[string]string{
		modules + "modules.dep":           "kernel/net/ipv4/esp4.ko.xz:\nkernel/net/ipv4/esp40.ko.xz:\n",
		modules + "modules.builtin":       "kernel/crypto/af_alg.ko\nkernel/crypto/algif_aead.ko\n",
		modules + "kernel/net/ipv4/.keep": "",
		"boot/vmlinuz-" + builtInRelease:  "kernel\n",
	})
}

const grubConfig = `set default="0"
set timeout=5
menuentry 'Debian GNU/Linux' --class debian {
	search --no-floppy --fs-uuid --set=root 1234
	linux	/boot/vmlinuz-7.2.12+deb14-cloud-amd64 root=LABEL=root ro  quiet
	initrd	/boot/initrd.img-7.2.12+deb14-cloud-amd64
}
submenu 'Advanced options' {
	menuentry 'Debian, recovery mode' {
		linux	/boot/vmlinuz-7.2.12+deb14-cloud-amd64 root=LABEL=root ro single module_blacklist=pcspkr,snd-pcsp
		initrd	/boot/initrd.img-7.2.12+deb14-cloud-amd64
	}
}
`

// addGrub adds GRUB as Debian has it: a written menu, and what it is written from.
func addGrub(t *testing.T, dir string) {
	t.Helper()
	write(t, dir, 0o644, map[string]string{
		"boot/grub/grub.cfg": grubConfig,
		"etc/default/grub":   "# If you change this file, run update-grub.\nGRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nGRUB_CMDLINE_LINUX=\"console=ttyS0\"\n",
	})
	write(t, dir, 0o755, map[string]string{
		"usr/sbin/grub-mkconfig": "#!/bin/sh\nfor x in ${sysconfdir}/default/grub.d/*.cfg ; do . \"$x\"; done\n",
		"usr/sbin/mkinitramfs":   "#!/bin/sh\n# initramfs-tools\n",
	})
	write(t, dir, 0o644, map[string]string{"boot/vmlinuz-" + debianRelease: "kernel\n"})
}

// addBLS adds a boot loader entry for the Debian kernel.
func addBLS(t *testing.T, dir, name string) {
	t.Helper()
	write(t, dir, 0o644, map[string]string{
		name:                            "title Debian\nversion " + debianRelease + "\nlinux /boot/vmlinuz-" + debianRelease + "\ninitrd /boot/initrd.img-" + debianRelease + "\noptions root=LABEL=root ro quiet\n",
		"boot/vmlinuz-" + debianRelease: "kernel\n",
	})
}

// newInitramfs makes an image by cpio(1) and a compressor. Loader is "kmod" or
// "busybox"; codec is "gzip", "zstd" or "".
func newInitramfs(t *testing.T, loader, codec string) []byte {
	t.Helper()
	dir := t.TempDir()
	modules := "usr/lib/modules/" + debianRelease + "/"
	files := map[string]string{
		"bin": "-> usr/bin", "sbin": "-> usr/sbin", "lib": "-> usr/lib",
		"usr/sbin/modprobe": map[string]string{"kmod": "-> ../bin/kmod", "busybox": "-> ../bin/busybox"}[loader],
		"usr/bin/" + loader: "program\n",
		"init":              "#!/bin/sh\n",
		modules + "modules.dep": "kernel/crypto/af_alg.ko:\nkernel/crypto/algif_aead.ko: kernel/crypto/af_alg.ko\n" +
			"kernel/drivers/net/virtio_net.ko:\n",
		modules + "modules.alias":                    "alias algif-aead algif_aead\n",
		modules + "kernel/crypto/af_alg.ko":          "module af_alg\n",
		modules + "kernel/crypto/algif_aead.ko":      "module algif_aead\n",
		modules + "kernel/drivers/net/virtio_net.ko": "module virtio_net\n",
		"etc/modprobe.d/other.conf":                  "options loop max_loop=8\n",
		"usr/lib/initramfs-tools/bin/.keep":          "",
		"scripts/init-top/ORDER":                     "",
		"conf/initramfs.conf":                        "MODULES=most\n",
	}
	write(t, dir, 0o755, files)
	out := cpioOf(t, dir)
	if codec == "" {
		return out
	}
	compress := exec.Command(need(t, codec, codec), "-c", "-q")
	if codec == "gzip" {
		compress = exec.Command(need(t, codec, codec), "-c", "-n")
	}
	compress.Stdin = bytes.NewReader(out)
	return output(t, compress)
}

// cpioOf is a directory as a newc archive, always the same bytes.
func cpioOf(t *testing.T, dir string) []byte {
	t.Helper()
	cpio, find := need(t, "cpio", "cpio"), need(t, "find", "findutils")
	cmd := exec.Command("/bin/sh", "-c", find+` . -exec touch -h -d @0 {} + && `+find+` . | sort | `+cpio+` -o -H newc --quiet --reproducible -R 0:0`)
	cmd.Dir = dir
	return output(t, cmd)
}

func output(t *testing.T, cmd *exec.Cmd) []byte {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s%s", cmd, err, out, stderr.String())
	}
	return out
}

const initramfsPath = "boot/initrd.img-" + debianRelease

func addInitramfs(t *testing.T, dir, loader, codec string) {
	t.Helper()
	write(t, dir, 0o600, map[string]string{initramfsPath: string(newInitramfs(t, loader, codec))})
}

// grubRoot is a Debian-like tree that boots by GRUB with an initramfs.
func grubRoot(t *testing.T) string {
	t.Helper()
	dir := debianRoot(t)
	addGrub(t, dir)
	addInitramfs(t, dir, "kmod", "zstd")
	return dir
}

// blsRoot boots by a boot loader entry, with an initramfs of busybox.
func blsRoot(t *testing.T) string {
	t.Helper()
	dir := debianRoot(t)
	addBLS(t, dir, "boot/loader/entries/debian.conf")
	addInitramfs(t, dir, "busybox", "gzip")
	return dir
}

// threeVolumes is a disk with a FAT ESP that holds the boot entries, an ext4 /boot with
// the initramfs, and the root.
func threeVolumes(t *testing.T) string {
	t.Helper()
	root := debianRoot(t)
	boot, esp := t.TempDir(), t.TempDir()
	if err := os.Rename(filepath.Join(root, "boot"), boot+"/x"); err != nil {
		t.Fatal(err)
	}
	boot += "/x"
	write(t, root, 0o644, map[string]string{"boot/.keep": "", "efi/.keep": "",
		"etc/fstab": "LABEL=root / ext4 defaults 0 1\nLABEL=boot /boot ext4 defaults 0 2\nLABEL=ESP /efi vfat umask=0077 0 1\n"})
	write(t, boot, 0o600, map[string]string{"initrd.img-" + debianRelease: string(newInitramfs(t, "kmod", "zstd"))})
	write(t, boot, 0o644, map[string]string{"vmlinuz-" + debianRelease: "kernel\n"})
	write(t, esp, 0o644, map[string]string{"loader/entries/debian.conf": fmt.Sprintf("title Debian\nversion %s\nlinux /debian/%[1]s/linux\ninitrd /debian/%[1]s/initrd\noptions root=LABEL=root ro quiet\n", debianRelease),
		"debian/" + debianRelease + "/linux": "kernel\n", "debian/" + debianRelease + "/initrd": string(newInitramfs(t, "busybox", ""))})
	disk := filepath.Join(t.TempDir(), "disk.raw")
	err := imgtest.WriteDisk(disk, "gpt",
		imgtest.Part{FS: "vfat", Dir: esp, Size: 8 * imgtest.MiB, Type: "U", Label: "ESP", UUID: "12345678"},
		imgtest.Part{FS: "ext4", Dir: boot, Size: 8 * imgtest.MiB, Type: "L", Label: "boot"},
		imgtest.Part{FS: "ext4", Dir: root, Size: 24 * imgtest.MiB, Type: "L", Label: "root"})
	if err != nil {
		t.Fatal(err)
	}
	return disk
}
