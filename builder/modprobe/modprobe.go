// Package modprobe answers what loading a module does on a system that nobody has
// started, and writes the modprobe.d file that keeps modules out.
//
// A [Resolver] has the configuration of a tree and the module index of one kernel; it
// gives the modules that modprobe inserts and the commands that it runs for a name or
// an alias, in order. It follows modprobe.d(5), modprobe(8) and depmod(8), and what
// kmod 30 and 34 and busybox 1.35 to 1.38 were measured to do. An [Index] can be
// rewritten for a kernel that some modules are taken from. [Conflicts] finds the
// lines that undo a block.
//
// It leaves out removal (modprobe -r), names that are paths, requests that hold
// wildcards themselves, MODPROBE_OPTIONS, and depmod.d.
package modprobe

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// File is where the block is written. The name sorts before what distributions
// use, because the first install line wins, and no package owns it.
const File = "/etc/modprobe.d/00-kerngate.conf"

// Block is one module to keep out.
type Block struct {
	Module  string   // with underscores
	Reason  string   // one line, why
	Aliases []string // what the kernel asks for instead of the module's name
}

// Text is the content of File. False is the program that install lines run, a
// path that exists in the tree. Header is comment lines without a backslash.
func Text(header string, blocks []Block, false string) []byte {
	var b bytes.Buffer
	b.WriteString(header)
	for _, block := range blocks {
		fmt.Fprintf(&b, "\n# %s: %s\ninstall %s %s\nblacklist %s\n", block.Module, comment(block.Reason), block.Module, false, block.Module)
		for _, alias := range block.Aliases {
			fmt.Fprintf(&b, "alias %s off\n", alias)
		}
	}
	return b.Bytes()
}

// comment makes a reason safe in a comment line: kmod joins a line that ends in a
// backslash with the next one, and that one is the install line.
func comment(reason string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\\':
			return '/'
		case r < ' ':
			return ' '
		default:
			return r
		}
	}, reason)
}

// False finds the program that always fails in a tree. Scanners for hardening
// guides look for /bin/false literally, so it comes first.
func False(t rootfs.Tree) (string, error) {
	for _, name := range []string{"/bin/false", "/usr/bin/false"} {
		info, err := rootfs.Stat(t, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		if info.Mode.IsRegular() && info.Mode.Perm()&0o111 != 0 {
			return name, nil
		}
	}
	return "", errors.New("no executable /bin/false or /usr/bin/false: install lines would have nothing to run")
}
