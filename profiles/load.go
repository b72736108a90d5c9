package profiles

import (
	"embed"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

//go:embed *.toml
var shipped embed.FS

const suffix = ".toml"

// tables are the embedded files that are no profiles.
var tables = []string{"inference", "modules", "sideeffects"}

// Limits of extends.
const (
	maxDepth = 8  // files in one chain, the loaded one included: deeper is a mistake, and nobody could follow it
	maxFiles = 16 // files in all: bounds what one profile can make us read
)

// Names lists the shipped profiles, sorted.
func Names() []string {
	entries, err := shipped.ReadDir(".")
	if err != nil {
		panic("BUG: the embedded directory does not read: " + err.Error())
	}
	var names []string
	for _, e := range entries {
		if name := strings.TrimSuffix(e.Name(), suffix); !slices.Contains(tables, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names) // by file name llm-node.toml comes after llm-node-patched.toml
	return names
}

// Load reads a profile with everything that it extends. A word with a slash or with
// the ending .toml is the path of a regular file, any other the name of a shipped profile.
//
// Faults in the files come back as Findings, all at once.
func Load(nameOrPath string) (Profile, error) {
	l := &loader{}
	f, err := l.load(nameOrPath, location{})
	if err != nil {
		return Profile{}, err
	}
	return l.profile(f)
}

// LoadBytes is Load for a profile that is in memory. File is what findings call it.
// It can extend shipped profiles only: it has no place that a path could be relative to.
func LoadBytes(file string, data []byte) (Profile, error) {
	l := &loader{}
	f, err := l.add(location{shown: file, source: file, inMemory: true}, data)
	if err != nil {
		return Profile{}, err
	}
	return l.profile(f)
}

// location is where a file is from.
type location struct {
	shown    string // in findings
	source   string // Profile.Source
	inMemory bool   // shipped, or given as bytes: paths lead nowhere from here
	identity fs.FileInfo
}

func (a location) same(b location) bool {
	if a.identity != nil && b.identity != nil {
		return os.SameFile(a.identity, b.identity)
	}
	return a.identity == nil && b.identity == nil && a.shown == b.shown
}

// loaded is a file in the graph of extends.
type loaded struct {
	*file
	location
	open  bool     // on the path from the loaded profile to the file being read
	chain []string // longest chain of extends that starts here, this file first
}

// loader reads a graph of files, each once.
type loader struct {
	files []*loaded // in the order of reading
	bases []*loaded // what is extended before what extends it
}

// load reads a reference that stands in the file at from; for the zero location, on
// the command line.
func (l *loader) load(ref string, from location) (*loaded, error) {
	if !isPath(ref) {
		return l.loadShipped(ref)
	}
	ref, err := from.path(ref, "profile")
	if err != nil {
		return nil, err
	}
	data, info, err := readRegular(ref)
	if err != nil {
		return nil, err
	}
	return l.add(location{shown: ref, source: ref, identity: info}, data)
}

func (l *loader) loadShipped(name string) (*loaded, error) {
	names := Names()
	if !slices.Contains(names, name) {
		return nil, fmt.Errorf("no shipped profile is called %s%s; shipped are %s; a path has a slash or ends in %s",
			quote(name), didYouMean(name, names), strings.Join(names, ", "), suffix)
	}
	data, err := shipped.ReadFile(name + suffix)
	if err != nil {
		panic("BUG: an embedded file does not read: " + err.Error())
	}
	return l.add(location{shown: name + suffix, source: name, inMemory: true}, data)
}

func isPath(ref string) bool {
	return strings.Contains(ref, "/") || strings.HasSuffix(ref, suffix)
}

// readRegular reads at most one byte more than a profile may have. It looks before it
// opens, since opening a device can do something, and asks the open file again, since
// the path can have changed by then; without O_NONBLOCK a fifo would hang.
func readRegular(path string) ([]byte, fs.FileInfo, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("profile %s is a %s, want a regular file", path, typeOf(info))
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read profile: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read profile: %w", err)
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, nil, fmt.Errorf("cannot read profile: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("profile %s is a %s, want a regular file", path, typeOf(info))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read profile: %w", err)
	}
	return data, info, nil
}

func typeOf(info fs.FileInfo) string {
	switch mode := info.Mode(); {
	case mode.IsDir():
		return "directory"
	case mode&fs.ModeNamedPipe != 0:
		return "fifo"
	case mode&fs.ModeSocket != 0:
		return "socket"
	}
	return "device"
}

// cycleError is a file that is reached from itself.
type cycleError struct{ chain []string }

func (e cycleError) Error() string {
	return "extends itself: " + strings.Join(e.chain, " -> ")
}

// add takes a file into the graph, and everything that it extends.
func (l *loader) add(at location, data []byte) (*loaded, error) {
	for _, f := range l.files {
		switch {
		case !f.same(at):
		case f.open:
			return nil, l.cycle(f)
		default:
			return f, nil
		}
	}
	if len(l.files) == maxFiles {
		return nil, fmt.Errorf("extends more than %d files in all", maxFiles-1)
	}
	f := &loaded{file: parseFile(at.shown, data), location: at, open: true}
	l.files = append(l.files, f)
	for _, base := range f.extends {
		l.extend(f, base)
	}
	f.loadAdvisories()
	f.open = false
	f.chain = append([]string{at.shown}, f.chain...)
	l.bases = append(l.bases, f)
	return f, nil
}

// extend follows one entry of f's extends; what goes wrong there is a finding in f.
func (l *loader) extend(f *loaded, entry mention) {
	base, err := l.load(entry.text, f.location)
	if err != nil {
		f.findings = append(f.findings, Finding{f.shown, entry.line, "extends", printable(err.Error())})
		return
	}
	if len(base.chain) > len(f.chain) {
		f.chain = base.chain
	}
}

// path is the path of a profile or an advisory that stands in the file, from where
// kerngate runs.
func (a location) path(ref, of string) (string, error) {
	if a.inMemory {
		return "", fmt.Errorf("cannot follow the path %s: %s is no file, name a shipped %s", quote(ref), a.shown, of)
	}
	if a.shown != "" && !filepath.IsAbs(ref) {
		ref = filepath.Join(filepath.Dir(a.shown), ref)
	}
	return ref, nil
}

// cycle names the files from f, which is open, to the one being read, and f again.
func (l *loader) cycle(f *loaded) error {
	var e cycleError
	for _, g := range l.files[slices.Index(l.files, f):] {
		if g.open {
			e.chain = append(e.chain, g.shown)
		}
	}
	e.chain = append(e.chain, f.shown)
	return e
}

// profile merges the graph, if nothing in it has findings.
func (l *loader) profile(root *loaded) (Profile, error) {
	if n := len(root.chain); n > maxDepth {
		root.findings = append(root.findings, Finding{root.shown, root.extends[0].line, "extends",
			fmt.Sprintf("makes a chain of %d files, want at most %d: %s", n, maxDepth, strings.Join(root.chain, " -> "))})
	}
	p := l.merge(root)
	if len(p.Gate.Units) > maxUnits && len(root.gate.Units) <= maxUnits {
		root.findings = append(root.findings, Finding{root.shown, root.gate.line, "gate.units",
			fmt.Sprintf("are %d with those of extends, want at most %d", len(p.Gate.Units), maxUnits)})
	}
	root.idle(p.Kernel)
	root.vainExcepts(p.Gate.Units)
	if root.gate.lacksUnits && len(p.Gate.Units) == 0 {
		root.findings = append(root.findings, Finding{root.shown, root.gate.line, "gate.units", "is required"})
	}
	var all Findings
	for _, f := range l.files {
		f.findings.sortByLine()
		all = append(all, f.findings...)
	}
	if len(all) > 0 {
		return Profile{}, all
	}
	return p, nil
}
