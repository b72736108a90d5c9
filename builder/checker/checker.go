// Package checker holds the checker programs that the builder puts into images,
// one per architecture, embedded at build time.
//
// The programs are made by make build before the builder is compiled. A builder
// compiled without them works, except that it cannot patch: [Binary] says so.
package checker

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"embed"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// The directory always holds its README, so that a clean clone compiles.
//
//go:embed bin
var embedded embed.FS

// Architectures that a checker is made for, by Go's names, with the ELF machine
// of their programs.
var machines = map[elf.Machine]string{
	elf.EM_X86_64:  "amd64",
	elf.EM_AARCH64: "arm64",
}

// ErrMissing is met by a builder that was compiled without the checkers.
var ErrMissing = errors.New("the checker was not built into this kerngate")

// Hint on ErrMissing.
const Hint = "build kerngate with make build, which makes the checkers first"

// Binary is the checker program for an architecture: "amd64" or "arm64".
func Binary(arch string) ([]byte, error) {
	data, err := embedded.ReadFile("bin/initcheck-" + arch)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w (architecture %s)", ErrMissing, arch)
	}
	return data, err
}

// Digests gives the SHA-256 of each checker built in, by architecture.
func Digests() map[string]string {
	out := map[string]string{}
	for _, arch := range machines {
		if data, err := Binary(arch); err == nil {
			sum := sha256.Sum256(data)
			out[arch] = hex.EncodeToString(sum[:])
		}
	}
	return out
}

// programs are what every system that we gate has; the first found tells the
// architecture of the tree.
var programs = []string{"/usr/lib/systemd/systemd", "/lib/systemd/systemd", "/sbin/init", "/bin/sh"}

// Architecture tells for which architecture the programs of a tree are made.
func Architecture(t rootfs.Tree) (string, error) {
	for _, name := range programs {
		machine, err := elfMachine(t, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("cannot tell the architecture by %s: %w", name, err)
		}
		arch, ok := machines[machine]
		if !ok {
			return "", fmt.Errorf("architecture of %s is %v, want EM_X86_64 or EM_AARCH64", name, machine)
		}
		return arch, nil
	}
	return "", fmt.Errorf("cannot tell the architecture: none of %v exists", programs)
}

// elfMachine reads e_machine of a program (elf(5)): the header alone, since the
// rest of a hostile file is none of our business.
func elfMachine(t rootfs.Tree, name string) (elf.Machine, error) {
	literal, err := rootfs.Resolve(t, name)
	if err != nil {
		return 0, err
	}
	f, err := t.Open(literal)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	header := make([]byte, 20)
	if f.Size() < int64(len(header)) {
		return 0, fmt.Errorf("size is %d bytes, want %d or more", f.Size(), len(header))
	}
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, f.Size()), header); err != nil {
		return 0, err
	}
	if !bytes.Equal(header[:4], []byte(elf.ELFMAG)) {
		return 0, fmt.Errorf("its first bytes are %x, want %x", header[:4], elf.ELFMAG)
	}
	order, machine := elf.Data(header[5]), binary.LittleEndian.Uint16(header[18:])
	if order == elf.ELFDATA2MSB {
		machine = binary.BigEndian.Uint16(header[18:])
	}
	// Machines that we have a checker for come in other kinds, too.
	if _, ours := machines[elf.Machine(machine)]; ours && (order != elf.ELFDATA2LSB || elf.Class(header[4]) != elf.ELFCLASS64) {
		return 0, fmt.Errorf("it is %v %v %v, want a 64-bit little-endian program", elf.Machine(machine), elf.Class(header[4]), order)
	}
	return elf.Machine(machine), nil
}
