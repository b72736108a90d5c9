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

// dirs are the directories that kmod reads, strongest first. /run is empty when a
// machine starts.
var dirs = []string{"/etc/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"}

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

// parse splits a file into logical lines as kmod does (libkmod-config.c and
// getline_wrapped in libkmod-util.c): a backslash before the newline joins with
// nothing in between, any other backslash is dropped; a line ends at a zero byte;
// words are parted by blanks and tabs alone; # begins a comment at the very start.
func parse(name string, data []byte) []Line {
	var out []Line
	var line []byte
	number, start := 1, 1
	end := func() {
		text, _, _ := bytes.Cut(line, []byte{0})
		words := strings.FieldsFunc(string(text), func(r rune) bool { return r == ' ' || r == '\t' })
		if len(words) > 0 && text[0] != '#' {
			out = append(out, Line{File: name, Number: start, Words: words})
		}
		line = line[:0]
	}
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '\n':
			end()
			number++
			start = number
		case c == '\\' && i+1 < len(data):
			if i++; data[i] == '\n' {
				number++
			} else {
				line = append(line, data[i])
			}
		case c != '\\': // one at the very end escapes nothing
			line = append(line, c)
		}
	}
	end()
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

// sameModule says whether a name or glob of modprobe.d stands for a module.
func sameModule(pattern, module string) bool {
	// What only fnmatch(3) knows, classes and the like, counts as a match: nobody
	// needs it, and a wrong guess would leave the block without effect.
	for _, special := range []string{"[:", "[.", "[="} {
		if strings.Contains(pattern, special) {
			return true
		}
	}
	pattern = strings.ReplaceAll(underscores(pattern), "[!", "[^")
	matched, err := path.Match(pattern, module)
	return matched || (err != nil && pattern == module)
}

// underscores is how kmod spells a module's name: a dash stays one inside
// brackets only (underscores in libkmod-util.c).
func underscores(pattern string) string {
	bracket := false
	return strings.Map(func(r rune) rune {
		switch {
		case r == '[':
			bracket = true
		case r == ']':
			bracket = false
		case r == '-' && !bracket:
			return '_'
		}
		return r
	}, pattern)
}
