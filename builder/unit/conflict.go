package unit

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/builder/unitfile"
)

// maxFile bounds a drop-in; real ones have a few lines.
const maxFile = 1 << 20

// Conflict is a file of somebody else that takes away what ours does.
type Conflict struct {
	Path string
	Why  string
}

func (c Conflict) String() string { return c.Path + ": " + c.Why }

// scope is one service manager's part of a tree: the system's, or that of users.
type scope struct {
	dir     string   // where our files are
	others  []string // directories that win over it, or that it has as another name: systemd.unit(5)
	gates   []string // units of ours, which nobody else may change
	units   []string // units that have drop-ins of ours
	aliases []string // their other names, whose drop-ins count for them, too
	dropIns []string // their file names
	deny    []string // families that they are denied
}

// scopes are those in which a configuration writes. /run is empty when a machine starts.
func scopes(c Config) []scope {
	system := scope{
		dir:    Dir,
		others: []string{"/lib/systemd/system", "/etc/systemd/system.control", "/etc/systemd/system", "/etc/systemd/system.attached", "/usr/local/lib/systemd/system"},
		gates:  []string{Gate}, units: c.Units, dropIns: []string{DropIn}, deny: c.Deny,
	}
	if len(c.Watch) > 0 {
		system.gates = append(system.gates, Breach, Breached)
	}
	if c.BootAssessment {
		system.units = append(slices.Clone(c.Units), bootComplete)
	}
	if len(c.Deny) > 0 {
		system.dropIns = append(system.dropIns, HardenDropIn)
	}
	users := scope{
		dir:    UserDir,
		others: []string{"/lib/systemd/user", "/etc/systemd/user", "/etc/xdg/systemd/user", "/usr/local/lib/systemd/user", "/usr/local/share/systemd/user", "/usr/share/systemd/user"},
		units:  c.Units, dropIns: []string{DropIn},
	}
	return []scope{system, users}
}

// Conflicts finds what masks, overrides or resets the gate, its watcher and the drop-ins
// of the gated units, and what makes a unit start in spite of them: in the tree, and in the
// extensions that lie in it.
func Conflicts(t rootfs.Tree, c Config) ([]Conflict, error) {
	judge := newRuleJudge(c)
	out, err := conflictsIn(t, c, judge)
	if err != nil {
		return nil, err
	}
	extended, err := extensionConflicts(t, c, judge, out)
	return append(out, extended...), err
}

func conflictsIn(t rootfs.Tree, c Config, judge *ruleJudge) ([]Conflict, error) {
	out, err := ruleConflicts(t, c, judge)
	if err != nil {
		return nil, err
	}
	deaf, err := maskedUdev(t, c)
	if err != nil {
		return nil, err
	}
	elsewhere, err := environmentConflicts(t)
	if err != nil {
		return nil, err
	}
	out = slices.Concat(out, deaf, elsewhere)
	for _, s := range scopes(c) {
		found, err := s.conflicts(t)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// masks finds files of a name in directories that win over ours.
func masks(t rootfs.Tree, dirs []string, name, why string) ([]Conflict, error) {
	var out []Conflict
	for _, dir := range dirs {
		found, err := rootfs.ResolveParent(t, path.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, Conflict{found, why})
	}
	return out, nil
}

func (s *scope) conflicts(t rootfs.Tree) ([]Conflict, error) {
	var out []Conflict
	for _, gate := range s.gates {
		found, err := masks(t, s.others[1:], gate, "it masks or overrides "+gateName(gate))
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	all, err := s.list(t)
	if err != nil {
		return nil, err
	}
	named, err := s.addAliases(t, all)
	if err != nil {
		return nil, err
	}
	out = append(out, named...)
	for _, l := range all {
		own, err := s.unitConflicts(t, l.literal, l.entries)
		if err != nil {
			return nil, err
		}
		out = append(out, own...)
		for _, e := range l.entries {
			more, err := s.dropInConflicts(t, path.Join(l.literal, e.Name), l.vendor)
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		}
	}
	return out, nil
}

// listing is a directory of units.
type listing struct {
	literal string
	entries []rootfs.Entry
	vendor  bool // ours are in it
}

// list reads the directories of a scope, each once.
func (s scope) list(t rootfs.Tree) ([]listing, error) {
	var out []listing
	for _, dir := range append([]string{s.dir}, s.others...) {
		literal, entries, err := readDir(t, dir)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(out, func(l listing) bool { return l.literal == literal }) {
			out = append(out, listing{literal, entries, dir == s.dir})
		}
	}
	return out, nil
}

func gateName(unit string) string {
	if unit == Gate {
		return "the gate"
	}
	return unit
}

// readDir lists the directory that name leads to; what is missing, or is none, is empty.
func readDir(t rootfs.Tree, name string) (literal string, entries []rootfs.Entry, err error) {
	literal, err = rootfs.Resolve(t, name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	if info, err := t.Lstat(literal); err != nil || !info.Mode.IsDir() {
		return literal, nil, err
	}
	if entries, err = t.ReadDir(literal); err == nil && len(entries) > maxUnits {
		err = fmt.Errorf("%s: %d entries, limit is %d", name, len(entries), maxUnits)
	}
	return literal, entries, err
}

// dropInConflicts looks at the foreign drop-ins of one directory, if it is one for
// the gate or applies to a gated unit. Of equally named drop-ins of a unit systemd
// reads one, so that one with our name takes ours away unless it is ours.
func (s scope) dropInConflicts(t rootfs.Tree, dir string, vendor bool) ([]Conflict, error) {
	name, isDropIns := strings.CutSuffix(path.Base(dir), ".d")
	applies := func(u string) bool { return appliesTo(name, u) }
	if !isDropIns || (!s.changesGate(name) && !s.forTypeOfWatcher(name) && !slices.ContainsFunc(slices.Concat(s.units, s.aliases), applies)) {
		return nil, nil
	}
	info, err := rootfs.Stat(t, dir)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && !info.Mode.IsDir()) {
		return nil, nil // a dangling link, or a mask of the whole directory
	}
	if err != nil {
		return nil, err
	}
	literal, entries, err := readDir(t, dir)
	if err != nil {
		return nil, err
	}
	var out []Conflict
	for _, e := range entries {
		file := path.Join(literal, e.Name)
		switch {
		case !strings.HasSuffix(e.Name, ".conf"):
		case slices.Contains(s.dropIns, e.Name) && !s.changesGate(name):
			// A nearer one takes ours away for that unit, also where ours is for a prefix.
			if !vendor || !slices.Contains(s.units, name) {
				out = append(out, Conflict{file, "it masks the gate's drop-in for " + name})
			}
		default:
			why, err := s.dropInWhy(t, file, name)
			if err != nil {
				return nil, err
			}
			if why != "" {
				out = append(out, Conflict{file, why})
			}
		}
	}
	return out, nil
}

// changesGate says whether the drop-ins of dir, without its ".d", are for a unit of ours.
// What is for all units of a type can only keep the gate from passing; of the watcher see
// watcherLine.
func (s scope) changesGate(dir string) bool {
	return slices.ContainsFunc(s.gates, func(gate string) bool {
		return dir == gate || strings.HasSuffix(strings.TrimSuffix(dir, path.Ext(dir)), "-") && appliesTo(dir, gate)
	})
}

// appliesTo says whether systemd reads the drop-ins of dir, without its ".d", for a
// gated unit, or for one that a gated template or prefix stands for: the unit's own
// name, its template or instance, the name cut off behind a dash, or its type.
func appliesTo(dir, gated string) bool {
	kind := path.Ext(gated)
	if dir == strings.TrimPrefix(kind, ".") {
		return true
	}
	if path.Ext(dir) != kind {
		return false
	}
	near, nearInstance, nearAt := strings.Cut(strings.TrimSuffix(dir, kind), "@")
	far, farInstance, farAt := strings.Cut(strings.TrimSuffix(gated, kind), "@")
	prefix := !farAt && strings.HasSuffix(far, "-") // of units with an @, too
	switch {
	case nearAt && !farAt && !prefix,
		nearInstance != "" && farInstance != "" && nearInstance != farInstance:
		return false
	case near == far:
		return nearAt == farAt || prefix
	}
	return strings.HasSuffix(near, "-") && strings.HasPrefix(far, near) || prefix && strings.HasPrefix(near, far)
}

// dropInWhy says what a foreign drop-in spoils, or nothing.
func (s scope) dropInWhy(t rootfs.Tree, file, name string) (string, error) {
	info, err := rootfs.Stat(t, file)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && !info.Mode.IsRegular()) {
		return "", nil // a mask of some other drop-in
	}
	if err != nil {
		return "", err
	}
	if s.changesGate(name) {
		return "it changes the gate", nil
	}
	data, err := rootfs.ReadFile(t, file, maxFile)
	if err != nil {
		return "", err
	}
	if line := s.watcherLine(name, data); line != "" {
		return fmt.Sprintf("its line %q changes what a breach does", line), nil
	}
	if line := resetLine(path.Base(file), data); line != "" {
		return fmt.Sprintf("its line %q takes away what holds back %s", line, name), nil
	}
	if line, did := successLine(data); line != "" {
		return fmt.Sprintf("its line %q lets %s start although the gate %s", line, name, did), nil
	}
	if line, why := s.hardenLine(data, path.Base(file) > HardenDropIn); line != "" {
		return fmt.Sprintf("its line %q %s %s", line, why, name), nil
	}
	return "", nil
}

// resetLine finds an assignment of nothing to a setting of ours, in a drop-in
// that systemd reads after ours (drop-ins are read in the order of their names).
func resetLine(base string, data []byte) string {
	if base < DropIn {
		return ""
	}
	for key, value := range assignments(data) {
		// Any empty Assert…= drops all asserts of the unit, not only its own kind.
		if value == "" && (strings.HasPrefix(key, "Assert") || key == "ExecCondition") {
			return key + "="
		}
	}
	return ""
}

// assignments are the settings of a unit file or drop-in in their order.
func assignments(data []byte) iter.Seq2[string, string] {
	return func(yield func(key, value string) bool) {
		for _, s := range unitfile.Parse("", data) {
			if !yield(s.Key, s.Value) {
				return
			}
		}
	}
}
