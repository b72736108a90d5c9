package modprobe

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/fnmatch"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// Index is what depmod(8) wrote for one kernel, and the kernel's own lists of what
// is built in. Kmod reads the binary files, busybox the text; of a file that has one
// form only both answers come from that.
type Index struct {
	Dir string // literal path of the module directory

	tree       rootfs.Tree
	files      map[string][]byte // by name, those that exist
	kmod, text tables
	softdep    []Line // modules.softdep
}

// tables are the contents of the index files, ready to be asked.
type tables struct {
	deps         map[string]string // module: its line of modules.dep
	aliases      patterns
	symbols      patterns
	builtIn      map[string]bool
	builtInAlias patterns
}

// The files of a module directory, without the suffix of the binary form.
const (
	fileDep          = "modules.dep"
	fileAlias        = "modules.alias"
	fileSymbols      = "modules.symbols"
	fileSoftdep      = "modules.softdep"
	fileWeakdep      = "modules.weakdep"
	fileDevname      = "modules.devname"
	fileBuiltIn      = "modules.builtin"
	fileBuiltInAlias = "modules.builtin.alias"
	fileBuiltInInfo  = "modules.builtin.modinfo"
	binarySuffix     = ".bin"
)

// ReadIndex reads the index of the module directory dir, such as
// "/lib/modules/6.1.0-56-amd64".
func ReadIndex(t rootfs.Tree, dir string) (*Index, error) {
	literal, err := rootfs.Resolve(t, dir)
	if err != nil {
		return nil, err
	}
	i := &Index{Dir: literal, tree: t, files: map[string][]byte{}}
	for _, name := range []string{fileDep, fileAlias, fileSymbols, fileSoftdep, fileWeakdep, fileDevname, fileBuiltIn, fileBuiltInAlias, fileBuiltInInfo} {
		for _, form := range []string{name, name + binarySuffix} {
			data, err := rootfs.ReadFile(t, path.Join(literal, form), maxIndex)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			i.files[form] = data
		}
	}
	if i.files[fileDep] == nil && i.files[fileDep+binarySuffix] == nil {
		return nil, fmt.Errorf("%s: neither %s nor %s%s: %w", literal, fileDep, fileDep, binarySuffix, fs.ErrNotExist)
	}
	if err := i.fill(); err != nil {
		return nil, fmt.Errorf("cannot read the module index %s: %w", literal, err)
	}
	return i, nil
}

func (i *Index) fill() error {
	i.softdep = parse(path.Join(i.Dir, fileSoftdep), i.files[fileSoftdep])
	text, both := i.textEntries(busyboxSpelling), i.textEntries(underscores)
	for name := range text {
		data, found := i.files[name+binarySuffix]
		if !found {
			continue
		}
		if len(data) == 0 { // depmod leaves one where the kernel's own list is missing
			both[name] = nil
			continue
		}
		parsed, _, err := parseTrie(data)
		if err != nil {
			return fmt.Errorf("%s%s: %w", name, binarySuffix, err)
		}
		both[name] = parsed
		if _, found := i.files[name]; !found && name != fileBuiltInAlias {
			text[name] = parsed
		}
	}
	i.kmod, i.text = newTables(both), newTables(text)
	return nil
}

// textEntries reads the text files. Spell is how their reader spells an alias.
func (i *Index) textEntries(spell func(string) (string, bool)) map[string][]entry {
	return map[string][]entry{
		fileDep: depEntries(i.files[fileDep]), fileBuiltIn: builtInEntries(i.files[fileBuiltIn]),
		fileAlias: aliasEntries(i.files[fileAlias], spell), fileSymbols: aliasEntries(i.files[fileSymbols], spell),
		fileBuiltInAlias: i.builtInAliases(spell),
	}
}

func busyboxSpelling(alias string) (string, bool) { return busyboxModule(alias), true }

func newTables(entries map[string][]entry) tables {
	t := tables{deps: map[string]string{}, builtIn: map[string]bool{}}
	for _, e := range entries[fileDep] {
		if _, found := t.deps[e.key]; !found {
			t.deps[e.key] = e.value
		}
	}
	for _, e := range entries[fileBuiltIn] {
		t.builtIn[e.key] = true
	}
	t.aliases, t.symbols, t.builtInAlias = newPatterns(entries[fileAlias]), newPatterns(entries[fileSymbols]), newPatterns(entries[fileBuiltInAlias])
	return t
}

// depEntries reads the text of modules.dep: "path: path path" a line.
func depEntries(data []byte) []entry {
	var out []entry
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		if file, _, found := strings.Cut(line, ":"); found {
			out = append(out, entry{fileModule(file), line, uint32(len(out))})
		}
	}
	return out
}

// aliasEntries reads the text of modules.alias or modules.symbols, whose lines are
// in the order of modules.dep.
func aliasEntries(data []byte, spell func(string) (string, bool)) []entry {
	var out []entry
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		if len(words) != 3 || words[0] != "alias" {
			continue
		}
		if name, valid := spell(words[1]); valid {
			out = append(out, entry{name, words[2], uint32(len(out))})
		}
	}
	return out
}

// builtInEntries reads modules.builtin: one path a line.
func builtInEntries(data []byte) []entry {
	var out []entry
	for line := range strings.Lines(string(data)) {
		if name := fileModule(strings.TrimSpace(line)); name != "" && name != "/" {
			out = append(out, entry{key: name})
		}
	}
	return out
}

// builtInAliases reads the aliases of modules.builtin.modinfo, "module.key=value"
// with zero bytes between, or of modules.builtin.alias where some distributions
// have that.
func (i *Index) builtInAliases(spell func(string) (string, bool)) []entry {
	out := aliasEntries(i.files[fileBuiltInAlias], spell)
	for field := range bytes.SplitSeq(i.files[fileBuiltInInfo], []byte{0}) {
		module, rest, dotted := strings.Cut(string(field), ".")
		if alias, found := strings.CutPrefix(rest, "alias="); found && dotted {
			if name, valid := spell(alias); valid {
				out = append(out, entry{key: name, value: module})
			}
		}
	}
	return out
}

// fileModule gives the name of the module in a file.
func fileModule(file string) string { return moduleName(path.Base(file)) }

// exists says whether the file of a module is there.
func (i *Index) exists(file string) (bool, error) {
	return rootfs.Exists(i.tree, path.Join(i.Dir, file))
}

// dependencies gives the path of a module and those of the modules it needs, in the
// order of modules.dep: what is inserted first stands last.
func (t tables) dependencies(module string) (file string, needs []string, found bool) {
	line, found := t.deps[module]
	if !found {
		return "", nil, false
	}
	file, rest, _ := strings.Cut(line, ":")
	return file, strings.FieldsFunc(rest, isBlank), true
}

// isWild says whether a byte begins something other than itself in a pattern.
func isWild(c byte) bool { return strings.IndexByte(wildcards, c) >= 0 }

const wildcards = "*?[\\"

// patterns are keys that may hold wildcards.
type patterns struct {
	literal map[string][]entry
	wild    []entry
}

func newPatterns(entries []entry) patterns {
	p := patterns{literal: map[string][]entry{}}
	for _, e := range entries {
		if strings.ContainsAny(e.key, wildcards) {
			p.wild = append(p.wild, e)
		} else {
			p.literal[e.key] = append(p.literal[e.key], e)
		}
	}
	return p
}

// modules gives the values of all keys that match a name, lowest priority first.
func (p patterns) modules(name string) []string {
	found := slices.Clone(p.literal[name])
	for _, e := range p.wild {
		// Nearly all patterns begin with a literal letter, and another one.
		if name != "" && e.key[0] != name[0] && !isWild(e.key[0]) {
			continue
		}
		if fnmatch.Match(e.key, name) {
			found = append(found, e)
		}
	}
	slices.SortStableFunc(found, func(a, b entry) int { return int(int64(a.priority) - int64(b.priority)) })
	out := make([]string, 0, len(found))
	for _, e := range found {
		out = append(out, e.value)
	}
	return out
}
