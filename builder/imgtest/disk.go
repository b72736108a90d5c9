package imgtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// MiB is the unit of sizes of small disks.
const MiB = 1 << 20

// Part is one file system of a small disk.
type Part struct {
	Dir    string // directory that fills it; empty: an empty file system
	FS     string // "ext2", "ext3", "ext4", "vfat", or "" for bytes that mean nothing
	Size   int64  // bytes, a multiple of MiB
	Type   string // type as sfdisk(8) takes it: "L", "U", "83", a GUID
	Number int    // partition number; 0: that of its place
	Name   string // of the partition, GPT only
	Label  string // of the file system
	UUID   string // of the file system; of vfat 8 hex digits
}

// WriteDisk makes a disk image from parts. Scheme is "gpt", "gpt-4096" for sectors
// of that size, "mbr", or "none" for one file system without a table. It needs no
// root: mke2fs -d fills ext volumes, mcopy the others. The root directory of an ext
// volume belongs to root, the rest to who runs the test.
func WriteDisk(file, scheme string, parts ...Part) error {
	if scheme == "none" {
		if len(parts) != 1 {
			return fmt.Errorf("a disk without a table has 1 part, not %d", len(parts))
		}
		if err := truncate(file, parts[0].Size); err != nil {
			return err
		}
		return format(file, 0, parts[0])
	}
	size := int64(2 * MiB) // the tables before and behind
	for _, p := range parts {
		size += p.Size
	}
	if err := truncate(file, size); err != nil {
		return err
	}
	if err := writeTable(file, scheme, parts); err != nil {
		return err
	}
	offset := int64(MiB)
	for _, p := range parts {
		if err := format(file, offset, p); err != nil {
			return err
		}
		offset += p.Size
	}
	return nil
}

func writeTable(file, scheme string, parts []Part) error {
	label := map[string]string{"gpt": "gpt", "gpt-4096": "gpt", "mbr": "dos"}[scheme]
	sector := int64(512)
	if scheme == "gpt-4096" {
		sector = 4096
	}
	script, offset := "label: "+label+"\n", int64(MiB)
	for i, p := range parts {
		number := p.Number
		if number == 0 {
			number = i + 1
		}
		script += fmt.Sprintf("%d: start=%d, size=%d, type=%s", number, offset/sector, p.Size/sector, p.Type)
		if p.Name != "" {
			script += fmt.Sprintf(", name=%q", p.Name)
		}
		script, offset = script+"\n", offset+p.Size
	}
	if sector == 512 {
		return tool(strings.NewReader(script), "fdisk", "sfdisk", "--quiet", file)
	}
	// sfdisk asks the kernel for the size of sectors, fdisk can be told.
	list := file + ".sfdisk"
	if err := os.WriteFile(list, []byte(script), 0o600); err != nil {
		return err
	}
	defer os.Remove(list)
	return tool(strings.NewReader("I\n"+list+"\nw\n"), "fdisk", "fdisk", "--sector-size", fmt.Sprint(sector), "--wipe", "never", file)
}

func truncate(file string, size int64) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Truncate(size)
}

// format makes one file system at an offset of the image.
func format(file string, offset int64, p Part) error {
	switch p.FS {
	case "":
		return nil
	case "vfat":
		return formatFAT(file, offset, p)
	default:
		args := []string{"-q", "-F", "-t", p.FS, "-E", fmt.Sprintf("offset=%d,root_owner=0:0", offset)}
		if p.Dir != "" {
			args = append(args, "-d", p.Dir)
		}
		if p.Label != "" {
			args = append(args, "-L", p.Label)
		}
		if p.UUID != "" {
			args = append(args, "-U", p.UUID)
		}
		return tool(nil, "e2fsprogs", "mke2fs", append(args, file, fmt.Sprintf("%dk", p.Size/1024))...)
	}
}

func formatFAT(file string, offset int64, p Part) error {
	args := []string{fmt.Sprintf("--offset=%d", offset/512)}
	if p.Label != "" {
		args = append(args, "-n", p.Label)
	}
	if p.UUID != "" {
		args = append(args, "-i", p.UUID)
	}
	if err := tool(nil, "dosfstools", "mkfs.vfat", append(args, file, fmt.Sprint(p.Size/1024))...); err != nil || p.Dir == "" {
		return err
	}
	names, err := filepath.Glob(filepath.Join(p.Dir, "*"))
	if err != nil {
		return err
	}
	return tool(nil, "mtools", "mcopy", append(append([]string{"-s", "-i", fmt.Sprintf("%s@@%d", file, offset)}, names...), "::/")...)
}

// tool runs an outside program and says what it said when it did not work.
func tool(stdin *strings.Reader, packageName, name string, args ...string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		for _, dir := range []string{"/usr/sbin", "/sbin"} {
			if _, statErr := os.Stat(filepath.Join(dir, name)); statErr == nil {
				path, err = filepath.Join(dir, name), nil
			}
		}
	}
	if err != nil {
		return fmt.Errorf("%s is not installed: apt-get install %s", name, packageName)
	}
	cmd := exec.Command(path, args...)
	if stdin != nil {
		cmd.Stdin = stdin
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out.Bytes()))
	}
	return nil
}

// WriteRoot makes, in the directory dir, the smallest tree that counts as a Debian
// root: os-release, an init for amd64, /bin/false, and one kernel whose modules
// include those that the shipped profiles block.
func WriteRoot(dir, release string) error {
	modules := "usr/lib/modules/" + release + "/"
	var deps strings.Builder
	for _, m := range []string{"crypto/af_alg", "crypto/algif_aead", "crypto/algif_hash", "net/ipv4/esp4", "net/ipv6/esp6", "net/rxrpc/rxrpc"} {
		fmt.Fprintf(&deps, "kernel/%s.ko.xz:\n", m)
	}
	files := []struct {
		name, text string
		mode       os.FileMode
	}{
		{"etc/os-release", "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n", 0o644},
		{"usr/bin/false", "#!/bin/sh\nexit 1\n", 0o755},
		{"usr/sbin/.keep", "", 0o644},
		{"usr/lib/systemd/systemd", amd64Header, 0o755},
		{"usr/lib/systemd/libsystemd-shared-252.so", "", 0o644},
		{"usr/lib/systemd/system/vllm.service", "[Service]\nExecStart=/bin/sleep infinity\n", 0o644},
		{"usr/lib/systemd/system/sysinit.target.wants/.keep", "", 0o644},
		{"boot/loader/entries/debian.conf", "title Debian\nlinux /boot/vmlinuz-" + release + "\noptions root=LABEL=root ro quiet\n", 0o644},
		{"etc/modprobe.d/distribution.conf", "options loop max_loop=8\n", 0o644},
		{modules + "modules.dep", deps.String(), 0o644},
		{modules + "modules.builtin", "kernel/fs/ext4/ext4.ko\n", 0o644},
	}
	for _, f := range files {
		name := filepath.Join(dir, f.name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(f.text), f.mode); err != nil {
			return err
		}
	}
	for _, link := range []string{"bin", "sbin", "lib"} {
		if err := os.Symlink("usr/"+link, filepath.Join(dir, link)); err != nil {
			return err
		}
	}
	return nil
}

// amd64Header is as much of an ELF header as tells the architecture: magic,
// 64 bits, little endian, version 1, then ET_EXEC and EM_X86_64 (elf(5)).
const amd64Header = "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00"
