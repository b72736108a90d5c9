// Package modprobe writes the modprobe.d file that keeps modules out, and reads
// the modprobe.d files of a tree for what would undo it.
//
// It follows modprobe.d(5) and what kmod 30 and 34 were measured to do: of two
// install lines for one module the first in file-name order over all directories
// wins, a softdep line overrides the install line of its own module, and
// blacklist alone stops only aliases. It leaves out the module indexes, busybox,
// and the kernel command line: it does not answer what a given request loads.
package modprobe

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// File is where the block is written. The name sorts before what distributions
// use, because the first install line wins, and no package owns it.
const File = "/etc/modprobe.d/00-kerngate.conf"

// dirs are the directories that kmod reads, strongest first.
var dirs = []string{"/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"}

// Limits on configuration: real trees have a few dozen short files.
const (
	maxFile  = 1 << 20
	maxFiles = 4096
)

// Block is one module to keep out.
type Block struct {
	Module  string   // with underscores
	Reason  string   // one line, why
	Aliases []string // what the kernel asks for instead of the module's name
}

// Text is the content of File. False is the program that install lines run, a
// path that exists in the tree.
func Text(header string, blocks []Block, false string) []byte {
	var b bytes.Buffer
	b.WriteString(header)
	for _, block := range blocks {
		fmt.Fprintf(&b, "\n# %s: %s\ninstall %s %s\nblacklist %s\n", block.Module, block.Reason, block.Module, false, block.Module)
		for _, alias := range block.Aliases {
			fmt.Fprintf(&b, "alias %s off\n", alias)
		}
	}
	return b.Bytes()
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

// Line is one logical line of the configuration, continuation lines joined.
type Line struct {
	File   string // literal path
	Number int    // of its first physical line, from 1
	Words  []string
}

func (l Line) String() string {
	return fmt.Sprintf("%s:%d: %s", l.File, l.Number, strings.Join(l.Words, " "))
}

// Read gives the lines that kmod would heed, in the order it reads them.
func Read(t rootfs.Tree) ([]Line, error) {
	names, err := files(t)
	if err != nil {
		return nil, err
	}
	var out []Line
	for _, name := range names {
		info, err := rootfs.Stat(t, name)
		if errors.Is(err, fs.ErrNotExist) || (err == nil && !info.Mode.IsRegular()) {
			continue // a dangling link, or a mask to /dev/null
		}
		if err != nil {
			return nil, err
		}
		data, err := rootfs.ReadFile(t, name, maxFile)
		if err != nil {
			return nil, err
		}
		out = append(out, parse(name, data)...)
	}
	return out, nil
}

// files lists the files in force, by base name; of equal names the strongest
// directory's stands.
func files(t rootfs.Tree) ([]string, error) {
	chosen := map[string]string{}
	for _, dir := range dirs {
		literal, err := rootfs.Resolve(t, dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		entries, err := t.ReadDir(literal)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if _, taken := chosen[e.Name]; !taken && strings.HasSuffix(e.Name, ".conf") {
				chosen[e.Name] = path.Join(literal, e.Name)
			}
		}
		if len(chosen) > maxFiles {
			return nil, fmt.Errorf("%s: more than %d files", dir, maxFiles)
		}
	}
	var bases []string
	for base := range chosen {
		bases = append(bases, base)
	}
	slices.Sort(bases)
	out := make([]string, 0, len(bases))
	for _, base := range bases {
		out = append(out, chosen[base])
	}
	return out, nil
}

// parse splits a file into logical lines as kmod does: a backslash before the
// newline joins, a line that starts with # is a comment.
func parse(name string, data []byte) []Line {
	var out []Line
	number, start, joined := 0, 1, ""
	for raw := range strings.SplitSeq(string(data), "\n") {
		number++
		if joined == "" {
			start = number
		}
		if rest, ok := strings.CutSuffix(raw, "\\"); ok {
			joined += rest + " "
			continue
		}
		words := strings.Fields(joined + raw)
		joined = ""
		if len(words) > 0 && !strings.HasPrefix(words[0], "#") {
			out = append(out, Line{File: name, Number: start, Words: words})
		}
	}
	if words := strings.Fields(joined); len(words) > 0 && !strings.HasPrefix(words[0], "#") {
		out = append(out, Line{File: name, Number: start, Words: words})
	}
	return out
}

// Conflict is a line of somebody else that undoes the block of a module.
type Conflict struct {
	Module string
	Line   Line
	Why    string
}

func (c Conflict) String() string { return fmt.Sprintf("%s: %s (%s)", c.Module, c.Why, c.Line) }

// Conflicts finds the lines that would keep our install lines from taking effect.
func Conflicts(lines []Line, blocks []Block) []Conflict {
	var out []Conflict
	for _, block := range blocks {
		for _, l := range lines {
			if l.File == File || len(l.Words) < 2 || !sameModule(l.Words[1], block.Module) {
				continue
			}
			switch {
			case l.Words[0] == "softdep":
				out = append(out, Conflict{block.Module, l, "a softdep line overrides the install line of its own module"})
			case l.Words[0] == "install" && path.Base(l.File) < path.Base(File):
				out = append(out, Conflict{block.Module, l, "an earlier install line wins over ours"})
			}
		}
	}
	return out
}

// sameModule compares a name or glob of modprobe.d with a module.
func sameModule(pattern, module string) bool {
	pattern = strings.ReplaceAll(pattern, "-", "_")
	matched, err := path.Match(pattern, module)
	return matched || (err != nil && pattern == module)
}
