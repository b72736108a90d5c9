package checker_test

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/checker"
	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// tree makes a tree of files; content "-> TARGET" makes a link.
func tree(t *testing.T, files map[string]string) *rootfs.Dir {
	t.Helper()
	return imgtest.Tree(t, 0o755, files)
}

// program is as much of an ELF file as tells the machine: 20 bytes (elf(5)).
func program(class elf.Class, order elf.Data, machine elf.Machine) string {
	high, low := byte(machine>>8), byte(machine)
	if order == elf.ELFDATA2LSB {
		high, low = low, high
	}
	return elf.ELFMAG + string([]byte{byte(class), byte(order), 1, 15: 0}[:12]) + string([]byte{2, 0, high, low})
}

func TestArchitecture(t *testing.T) {
	amd64 := program(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64)
	arm64 := program(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_AARCH64)
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
		fault string
	}{
		{"amd64", map[string]string{"usr/lib/systemd/systemd": amd64}, "amd64", ""},
		{"arm64", map[string]string{"usr/lib/systemd/systemd": arm64}, "arm64", ""},
		{"lib of its own", map[string]string{"lib/systemd/systemd": arm64}, "arm64", ""},
		{"init by a link", map[string]string{"sbin/init": "-> /opt/init", "opt/init": amd64}, "amd64", ""},
		{"shell", map[string]string{"bin/sh": "-> busybox", "bin/busybox": arm64}, "arm64", ""},
		{"systemd goes before the shell", map[string]string{"usr/lib/systemd/systemd": amd64, "bin/sh": arm64}, "amd64", ""},
		{"dangling link", map[string]string{"sbin/init": "-> /gone", "bin/sh": amd64}, "amd64", ""},
		{"no program", map[string]string{"etc/hosts": ""}, "", "cannot tell the architecture: none of [/usr/lib/systemd/systemd"},
		{"i386", map[string]string{"bin/sh": program(elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_386)}, "", "architecture of /bin/sh is EM_386, want EM_X86_64 or EM_AARCH64"},
		{"big endian", map[string]string{"bin/sh": program(elf.ELFCLASS64, elf.ELFDATA2MSB, elf.EM_S390)}, "", "architecture of /bin/sh is EM_S390"},
		{"arm64, big endian", map[string]string{"bin/sh": program(elf.ELFCLASS64, elf.ELFDATA2MSB, elf.EM_AARCH64)}, "", "want a 64-bit little-endian program"},
		{"x32", map[string]string{"bin/sh": program(elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_X86_64)}, "", "want a 64-bit little-endian program"},
		{"script", map[string]string{"sbin/init": "#!/bin/sh\nexec /lib/systemd/systemd\n"}, "", "cannot tell the architecture by /sbin/init: its first bytes are 23212f62, want 7f454c46"},
		{"short", map[string]string{"sbin/init": amd64[:19]}, "", "cannot tell the architecture by /sbin/init: size is 19 bytes, want 20 or more"},
		{"empty", map[string]string{"sbin/init": ""}, "", "size is 0 bytes, want 20 or more"},
		{"directory", map[string]string{"sbin/init/x": ""}, "", "it is a directory, want a regular file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := checker.Architecture(tree(t, c.files))
			if got != c.want || (err == nil) != (c.fault == "") || (err != nil && !strings.Contains(err.Error(), c.fault)) {
				t.Errorf("got %q, %v, want %q, error %q", got, err, c.want, c.fault)
			}
		})
	}
}

func TestBinaryMissing(t *testing.T) {
	for _, arch := range []string{"riscv64", "", "../checker.go", "README"} {
		data, err := checker.Binary(arch)
		if !errors.Is(err, checker.ErrMissing) || data != nil || !strings.Contains(err.Error(), "architecture "+arch) {
			t.Errorf("checker for %q is %d bytes, %v, want ErrMissing", arch, len(data), err)
		}
	}
}

// TestBinary looks at the checkers that this test was built with; make test builds
// them first, a bare go test on a clean clone has none.
func TestBinary(t *testing.T) {
	digests := checker.Digests()
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		data, err := checker.Binary(arch)
		if errors.Is(err, checker.ErrMissing) {
			if digest, found := digests[arch]; found {
				t.Errorf("no checker for %s, and yet the digest %s", arch, digest)
			}
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		sum := sha256.Sum256(data)
		if want := hex.EncodeToString(sum[:]); digests[arch] != want {
			t.Errorf("digest for %s is %s, want %s", arch, digests[arch], want)
		}
		file, err := elf.NewFile(bytes.NewReader(data))
		if err != nil {
			t.Errorf("checker for %s: %v", arch, err)
			continue
		}
		if libraries, err := file.ImportedLibraries(); file.Machine != machine || len(libraries) > 0 || err != nil {
			t.Errorf("checker for %s is for %v and needs %v, %v, want a static one for %v", arch, file.Machine, libraries, err, machine)
		}
	}
	if len(digests) > 2 {
		t.Errorf("digests are %v, want those of amd64 and arm64", digests)
	}
}
