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

// dirs are the directories that kmod reads, strongest first (modprobe.d(5)).
var dirs = []string{"/etc/modprobe.d", runDir, "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"}

const runDir = "/run/modprobe.d"

// newestKmod is the newest major version of kmod whose reading was compared.
const newestKmod = 34

// Reading says through whose eyes configuration is read.
type Reading struct {
	// Kmod is the major version of kmod, 0 for the newest known. Before 33 it reads
	// *.alias files as well, and a link to nowhere masks; both as measured with 30.
	Kmod int
	// AtBoot leaves out /run, which is empty when a machine starts.
	AtBoot bool
}

// Config is the modprobe.d configuration of a tree in the order in which kmod reads
// it, with what the kernel command line adds.
type Config struct {
	Masked []Masked // files that one of the same name hides

	sources     []source
	busybox     []Line // what busybox reads of it
	commandLine []Line // "options" and "blacklist" lines that stand for arguments
}

// source is one file of modprobe.d.
type source struct {
	base  string
	lines []Line
}

// Masked is a file that kmod does not read because a stronger directory has one of
// the same name.
type Masked struct{ File, By string }

// Line is one logical line of the configuration, continuation lines joined.
type Line struct {
	File   string // literal path; "/proc/cmdline" for the kernel command line
	Number int    // of its first physical line, from 1; 0 for the kernel command line
	Words  []string
	Text   string // the whole line, continuation lines joined
}

func (l Line) String() string {
	if l.Number == 0 {
		return l.File + ": " + strings.Join(l.Words, " ")
	}
	return fmt.Sprintf("%s:%d: %s", l.File, l.Number, strings.Join(l.Words, " "))
}

// ReadConfig reads the configuration of a tree as the newest kmod does on a running
// system.
func ReadConfig(t rootfs.Tree) (*Config, error) { return Reading{}.Config(t) }

// Read gives the lines that kmod heeds when a machine starts, in the order it reads
// them.
func Read(t rootfs.Tree) ([]Line, error) {
	c, err := Reading{AtBoot: true}.Config(t)
	if err != nil {
		return nil, err
	}
	return c.Lines(), nil
}

// Lines gives all lines in the order in which kmod reads them, those of the kernel
// command line last. The lines of a kernel's own modules.softdep are not among them.
func (c *Config) Lines() []Line {
	var out []Line
	for _, s := range c.sources {
		out = append(out, s.lines...)
	}
	return append(out, c.commandLine...)
}

// Config reads the configuration of a tree.
func (r Reading) Config(t rootfs.Tree) (*Config, error) {
	if r.Kmod == 0 {
		r.Kmod = newestKmod
	}
	chosen, masked, err := r.files(t)
	if err != nil {
		return nil, err
	}
	out := &Config{Masked: masked}
	for _, name := range chosen {
		data, err := readConfigFile(t, name)
		if err != nil {
			return nil, err
		}
		out.sources = append(out.sources, source{path.Base(name), parse(name, data)})
	}
	out.busybox, err = readBusybox(t)
	return out, err
}

// readConfigFile reads one file. One that is not there, such as a link to nowhere, or
// is no file, such as a mask to /dev/null, holds nothing.
func readConfigFile(t rootfs.Tree, name string) ([]byte, error) {
	info, err := rootfs.Stat(t, name)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && !info.Mode.IsRegular()) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return rootfs.ReadFile(t, name, maxFile)
}

// files lists the files in force, by base name; of equal names the strongest
// directory's stands.
func (r Reading) files(t rootfs.Tree) (chosen []string, masked []Masked, err error) {
	byBase, seen := map[string]string{}, map[string]bool{}
	for _, dir := range dirs {
		literal, err := rootfs.Resolve(t, dir)
		if errors.Is(err, fs.ErrNotExist) || seen[literal] || (dir == runDir && r.AtBoot) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		seen[literal] = true
		names, err := r.list(t, literal)
		if err != nil {
			return nil, nil, err
		}
		for _, name := range names {
			if stronger, taken := byBase[path.Base(name)]; taken {
				masked = append(masked, Masked{name, stronger})
			} else {
				byBase[path.Base(name)] = name
			}
		}
		if len(byBase) > maxFiles {
			return nil, nil, fmt.Errorf("%s: more than %d files", dir, maxFiles)
		}
	}
	for _, name := range byBase {
		chosen = append(chosen, name)
	}
	slices.SortFunc(chosen, func(a, b string) int { return strings.Compare(path.Base(a), path.Base(b)) })
	return chosen, masked, nil
}

// list gives the files of one directory that count as configuration.
func (r Reading) list(t rootfs.Tree, dir string) ([]string, error) {
	info, err := t.Lstat(dir)
	if err != nil || !info.Mode.IsDir() {
		return nil, err
	}
	entries, err := t.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if !r.isConfig(e.Name) {
			continue
		}
		name := path.Join(dir, e.Name)
		counts, err := r.counts(t, name)
		if err != nil {
			return nil, err
		}
		if counts {
			out = append(out, name)
		}
	}
	return out, nil
}

// isConfig says whether a file name is one of configuration: at least one byte
// before the suffix, no dot in front (conf_files_filter_out in libkmod-config.c).
func (r Reading) isConfig(name string) bool {
	if len(name) < 6 || name[0] == '.' {
		return false
	}
	return strings.HasSuffix(name, ".conf") || r.Kmod < 33 && strings.HasSuffix(name, ".alias")
}

// counts says whether a file takes its name from weaker directories: anything but a
// directory does, and a link to nowhere only in old versions.
func (r Reading) counts(t rootfs.Tree, name string) (bool, error) {
	literal, err := rootfs.Resolve(t, name)
	if errors.Is(err, fs.ErrNotExist) {
		// The device is missing in an image that nobody has started.
		return literal == "/dev/null" || r.Kmod < 33, nil
	}
	if err != nil {
		return false, err
	}
	info, err := t.Lstat(literal)
	return err == nil && !info.Mode.IsDir(), err
}

// parse splits a file into logical lines as kmod does (libkmod-config.c and
// freadline_wrapped in shared/util.c): a backslash before the newline joins with
// nothing in between, any other backslash is dropped; a line ends at a zero byte;
// words are parted by blanks and tabs alone; # begins a comment at the very start.
// A backslash that ends the file is dropped as kmod 34 does; 30 reads it as \xff.
func parse(name string, data []byte) []Line {
	var out []Line
	var line []byte
	number, start := 1, 1
	end := func() {
		text, _, _ := bytes.Cut(line, []byte{0})
		words := strings.FieldsFunc(string(text), isBlank)
		if len(words) > 0 && text[0] != '#' {
			out = append(out, Line{File: name, Number: start, Words: words, Text: string(text)})
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

func isBlank(r rune) bool { return r == ' ' || r == '\t' }
