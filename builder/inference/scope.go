package inference

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/builder/unitfile"
)

// systemDirs are the directories of the system's units in a tree that is not running,
// strongest first: systemd.unit(5), "Unit File Load Path".
var systemDirs = []string{
	"/etc/systemd/system.control", "/etc/systemd/system", "/etc/systemd/system.attached",
	"/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
}

// userDirs are those of all users.
var userDirs = []string{
	"/etc/systemd/user", "/usr/local/share/systemd/user", "/usr/share/systemd/user",
	"/usr/local/lib/systemd/user", "/usr/lib/systemd/user", "/lib/systemd/user",
}

// homeDirs are those of one user, below the home directory.
var homeDirs = []string{
	".config/systemd/user.control", ".config/systemd/user", ".local/share/systemd/user",
}

// reader reads a tree within limits.
type reader struct {
	tree    rootfs.Tree
	entries int                       // in lists
	lists   map[string][]rootfs.Entry // by literal path: each manager looks at those of all users again
	bytes   int                       // read so far

	followed map[string]place // by name: each script asks for echo, along the whole path
	kept     int              // bytes of names in it
}

// place is where a name leads.
type place struct {
	literal string
	found   bool
}

func newReader(t rootfs.Tree) *reader {
	return &reader{tree: t, lists: map[string][]rootfs.Entry{}, followed: map[string]place{}}
}

// list gives the entries of a directory, links followed; what is missing or no directory
// has none.
func (r *reader) list(dir string) (literal string, entries []rootfs.Entry, err error) {
	literal, found, err := r.follow(dir)
	if err != nil || !found {
		return "", nil, err
	}
	if entries, known := r.lists[literal]; known {
		return literal, entries, nil
	}
	if info, err := r.tree.Lstat(literal); err != nil || !info.Mode.IsDir() {
		return "", nil, err
	}
	if entries, err = r.tree.ReadDir(literal); err != nil {
		return "", nil, err
	}
	r.lists[literal] = entries
	if r.entries += len(entries); r.entries > maxEntries {
		return "", nil, fmt.Errorf("%s: more than %d entries in all unit directories", dir, maxEntries)
	}
	return literal, entries, err
}

// follow gives the literal path of a name; what is missing, or a link in a circle, is not
// found: systemd does not load it either. The tree is asked once for a name.
func (r *reader) follow(name string) (literal string, found bool, err error) {
	if known, ok := r.followed[name]; ok {
		return known.literal, known.found, nil
	}
	literal, found, err = r.ask(name)
	if n := len(name) + len(literal); err == nil && r.kept+n <= maxKept {
		r.kept += n
		// A name may be a few bytes of a script, all of which it would keep.
		r.followed[strings.Clone(name)] = place{strings.Clone(literal), found}
	}
	return literal, found, err
}

func (r *reader) ask(name string) (literal string, found bool, err error) {
	literal, err = rootfs.Resolve(r.tree, name)
	switch {
	case err == nil:
		return literal, true, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return "", false, nil
	}
	if parent, parentErr := rootfs.ResolveParent(r.tree, name); parentErr == nil {
		if info, statErr := r.tree.Lstat(parent); statErr == nil && info.Mode.Type() == fs.ModeSymlink {
			return "", false, nil
		}
	}
	return "", false, err
}

// read gives a regular file up to a limit. What is missing, of another type or larger is
// not read: ok is false.
func (r *reader) read(name string, limit int64) (data []byte, ok bool, err error) {
	literal, found, err := r.follow(name)
	if err != nil || !found {
		return nil, false, err
	}
	info, err := r.tree.Lstat(literal)
	if err != nil || !info.Mode.IsRegular() || info.Size > limit {
		return nil, false, err
	}
	data, err = r.content(literal, limit)
	return data, err == nil, err
}

// content reads a file by its literal path, within what may be read in all.
func (r *reader) content(literal string, limit int64) ([]byte, error) {
	data, err := rootfs.ReadFile(r.tree, literal, limit)
	if r.bytes += len(data); err == nil && r.bytes > maxBytes {
		err = fmt.Errorf("%s: more than %d bytes in all unit files and what they run", literal, maxBytes)
	}
	return data, err
}

// unitFile is what a name of a unit leads to.
type unitFile struct {
	path   string // literal, links to it not followed
	masked bool
	alias  string // the name of the same unit that counts; empty: this one
	quad   *quadlet
}

// scope is one service manager's view: the system's, or a user's.
type scope struct {
	*reader
	manager string
	dirs    []string            // literal, strongest first
	files   map[string]unitFile // by name
	pulled  map[string][]string // paths of links that start a unit, by its name
	dropIns map[string][]string // directories of drop-ins, by their path without ".d"
}

func newScope(r *reader, manager string, dirs []string) (*scope, error) {
	s := &scope{
		reader: r, manager: manager,
		files: map[string]unitFile{}, pulled: map[string][]string{}, dropIns: map[string][]string{},
	}
	type listing struct {
		dir     string
		entries []rootfs.Entry
	}
	var all []listing
	for _, dir := range dirs {
		literal, entries, err := r.list(dir)
		if err != nil {
			return nil, err
		}
		if literal == "" || slices.Contains(s.dirs, literal) {
			continue
		}
		s.dirs = append(s.dirs, literal)
		all = append(all, listing{literal, entries})
	}
	for _, l := range all {
		for _, e := range l.entries {
			if err := s.entry(l.dir, e); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// entry takes one name of a unit directory.
func (s *scope) entry(dir string, e rootfs.Entry) error {
	name := path.Join(dir, e.Name)
	switch ext := path.Ext(e.Name); ext {
	case ".wants", ".requires", ".upholds":
		return s.links(name)
	case ".d":
		stem := strings.TrimSuffix(name, ext)
		s.dropIns[stem] = append(s.dropIns[stem], name)
	case ".service", ".socket", ".timer", ".path":
		if _, stronger := s.files[e.Name]; stronger || e.Type == fs.ModeDir {
			return nil
		}
		file, err := s.file(name, e)
		s.files[e.Name] = file
		return err
	}
	return nil
}

// file looks at one unit file, or at the link that stands for one.
func (s *scope) file(name string, e rootfs.Entry) (unitFile, error) {
	info, err := s.tree.Lstat(name)
	if err != nil {
		return unitFile{}, err
	}
	f := unitFile{path: name, masked: info.Mode.IsRegular() && info.Size == 0}
	if info.Mode.Type() != fs.ModeSymlink {
		return f, nil
	}
	target, err := s.tree.Readlink(name)
	if err != nil {
		return f, err
	}
	if !path.IsAbs(target) {
		target = path.Join(path.Dir(name), target)
	}
	target = rootfs.Clean(target)
	if target == "/dev/null" {
		f.masked = true
		return f, nil
	}
	// A link into the search path is another name; one that leads elsewhere is the unit.
	literal, err := rootfs.ResolveParent(s.tree, target)
	if err == nil && slices.Contains(s.dirs, path.Dir(literal)) && path.Base(literal) != e.Name {
		f.alias = path.Base(literal)
	}
	if data, ok, err := s.read(name, 0); err != nil || ok && len(data) == 0 {
		f.masked = true
	}
	return f, nil
}

// links notes what a unit pulls in. A link's own name counts, not its target's.
func (s *scope) links(dir string) error {
	literal, entries, err := s.list(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		s.pulled[e.Name] = append(s.pulled[e.Name], path.Join(literal, e.Name))
	}
	return nil
}

// resolve follows aliases, and takes an instance that has no file of its own to its
// template. Name is then the one that counts.
func (s *scope) resolve(name string) (canonical string, f unitFile, ok bool) {
	for range maxAliases {
		f, ok = s.files[name]
		if n := splitName(name); !ok && n.isInstance() {
			if f, ok = s.files[n.template().String()]; ok && f.alias != "" {
				// An alias of a template: the instance keeps its name behind the @.
				to := splitName(f.alias)
				to.instance = n.instance
				name = to.String()
				continue
			}
			return name, f, ok
		}
		if !ok || f.alias == "" {
			return name, f, ok
		}
		name = f.alias
	}
	return name, unitFile{}, false
}

// dropInFiles lists the drop-ins of a unit with some names, in the order in which they are
// read, which is by file name. Of equal file names one counts: by the unit's names in turn,
// by the directory of units, by how near the name is; those for all units of a type last.
func (s *scope) dropInFiles(names []string, kind string) ([]string, error) {
	var dirs []string
	for _, name := range names {
		near := DropInNames(name)
		for _, parent := range s.dirs {
			for _, n := range near {
				dirs = append(dirs, s.dropIns[path.Join(parent, n)]...)
			}
		}
	}
	for _, parent := range s.dirs {
		dirs = append(dirs, s.dropIns[path.Join(parent, kind)]...)
	}
	byName := map[string]string{}
	for _, dir := range dirs {
		literal, entries, err := s.list(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if _, stronger := byName[e.Name]; !stronger && strings.HasSuffix(e.Name, ".conf") {
				byName[e.Name] = path.Join(literal, e.Name)
			}
		}
	}
	out := make([]string, 0, len(byName))
	for _, file := range byName {
		out = append(out, file)
	}
	slices.SortFunc(out, func(a, b string) int { return cmp.Compare(path.Base(a), path.Base(b)) })
	return out, nil
}

// load reads a unit file with its drop-ins.
func (s *scope) load(file string, dropIns []string) ([]setting, error) {
	var all []setting
	for _, name := range append([]string{file}, dropIns...) {
		literal, found, err := s.follow(name)
		if err != nil || !found {
			continue // a mask of a drop-in, or a link that leads nowhere
		}
		if info, err := s.tree.Lstat(literal); err != nil || !info.Mode.IsRegular() {
			continue
		}
		data, err := s.content(literal, maxUnitFile)
		if err != nil {
			return nil, fmt.Errorf("cannot read unit file %s: %w", name, err)
		}
		if all = append(all, unitfile.Parse(name, data)...); len(all) > maxSettings {
			return nil, fmt.Errorf("unit file %s: more than %d settings with those before it", name, maxSettings)
		}
	}
	return all, nil
}
