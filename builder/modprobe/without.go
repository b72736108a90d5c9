package modprobe

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Without gives the index files, by name, as depmod writes them once the files of
// some modules are deleted: the text files and the binary ones, of those that are
// there; what does not change is left out. Names may have dashes or underscores. A
// module that is not there, or that one which stays needs, is an error.
//
// Modules.order and modules.builtin are the kernel's own: depmod only reads them. Two
// things cannot be known from an index: the order of modules that do not need each
// other in a line of modules.dep, which stays as it was, and a second module that
// exports a symbol of a deleted one.
func (i *Index) Without(modules []string) (map[string][]byte, error) {
	gone := map[string]bool{}
	for _, m := range modules {
		name := moduleName(m)
		if _, found := i.text.deps[name]; !found {
			return nil, fmt.Errorf("%s: no module %s", i.Dir, name)
		}
		gone[name] = true
	}
	if err := i.checkNeeds(gone); err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for name, data := range i.files {
		changed, err := i.fileWithout(name, data, gone)
		if err != nil {
			return nil, fmt.Errorf("cannot rewrite %s/%s: %w", i.Dir, name, err)
		}
		if !bytes.Equal(changed, data) {
			out[name] = changed
		}
	}
	return out, nil
}

// Dependants gives the modules that need a module, in alphabetical order.
func (i *Index) Dependants(module string) []string {
	var out []string
	for name := range i.text.deps {
		if _, needs, _ := i.text.dependencies(name); slices.ContainsFunc(needs, func(need string) bool { return fileModule(need) == moduleName(module) }) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func (i *Index) checkNeeds(gone map[string]bool) error {
	for _, name := range slices.Sorted(maps.Keys(gone)) {
		var stay []string
		for _, user := range i.Dependants(name) {
			if !gone[user] {
				stay = append(stay, user)
			}
		}
		if len(stay) > 0 {
			return fmt.Errorf("%s: %s is needed by %s", i.Dir, name, strings.Join(stay, ", "))
		}
	}
	return nil
}

// fileWithout rewrites one file.
func (i *Index) fileWithout(name string, data []byte, gone map[string]bool) ([]byte, error) {
	word := func(n int) func(string) bool {
		return func(line string) bool {
			words := strings.Fields(line)
			return len(words) > n && line[0] != '#' && gone[words[n]]
		}
	}
	switch name {
	case fileDep:
		return linesWithout(data, func(line string) bool {
			file, _, found := strings.Cut(line, ":")
			return found && gone[fileModule(file)]
		}), nil
	case fileAlias, fileSymbols:
		return linesWithout(data, word(2)), nil
	case fileSoftdep, fileWeakdep:
		return linesWithout(data, word(1)), nil
	case fileDevname:
		data = linesWithout(data, word(0))
		if bytes.HasPrefix(data, []byte("#")) && bytes.Count(data, []byte("\n")) == 1 {
			return nil, nil // the heading goes with the last line
		}
		return data, nil
	case fileDep + binarySuffix:
		return i.trieWithout(data, gone, func(e entry) string { return e.key })
	case fileAlias + binarySuffix, fileSymbols + binarySuffix:
		return i.trieWithout(data, gone, func(e entry) string { return e.value })
	default:
		return data, nil
	}
}

func linesWithout(data []byte, drop func(line string) bool) []byte {
	var out []byte
	for line := range strings.Lines(string(data)) {
		if !drop(line) {
			out = append(out, line...)
		}
	}
	return out
}

// trieWithout rewrites a binary index. Priorities are places in modules.dep: behind a
// module that is gone all move up.
func (i *Index) trieWithout(data []byte, gone map[string]bool, module func(entry) string) ([]byte, error) {
	if len(data) == 0 {
		return data, nil
	}
	entries, placed, err := parseTrie(data)
	if err != nil {
		return nil, err
	}
	places, err := i.places(gone)
	if err != nil {
		return nil, err
	}
	entries = slices.DeleteFunc(entries, func(e entry) bool { return gone[module(e)] })
	for n := range entries {
		before, _ := slices.BinarySearch(places, entries[n].priority)
		entries[n].priority -= uint32(before)
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	return writeTrie(entries, placed)
}

// places gives where the modules that go stood in modules.dep, in order.
func (i *Index) places(gone map[string]bool) ([]uint32, error) {
	entries := depEntries(i.files[fileDep])
	if data := i.files[fileDep+binarySuffix]; data != nil {
		var err error
		if entries, _, err = parseTrie(data); err != nil {
			return nil, err
		}
	}
	var out []uint32
	for _, e := range entries {
		if gone[e.key] {
			out = append(out, e.priority)
		}
	}
	slices.Sort(out)
	return out, nil
}
