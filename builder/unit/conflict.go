package unit

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// overrides are the directories of a tree that win over Dir (systemd.unit(5)).
// /run is empty when a machine starts.
var overrides = []string{"/etc/systemd/system.control", "/etc/systemd/system", "/etc/systemd/system.attached", "/usr/local/lib/systemd/system"}

// maxFile bounds a drop-in; real ones have a few lines.
const maxFile = 1 << 20

// Conflict is a file of somebody else that takes away what ours does.
type Conflict struct {
	Path string
	Why  string
}

func (c Conflict) String() string { return c.Path + ": " + c.Why }

// Conflicts finds what masks, overrides or resets the gate and the drop-ins of
// the gated units, and what makes a unit start in spite of them.
func Conflicts(t rootfs.Tree, units []string) ([]Conflict, error) {
	var out []Conflict
	for _, dir := range overrides {
		found, err := rootfs.ResolveParent(t, path.Join(dir, Gate))
		if err == nil {
			out = append(out, Conflict{found, "it masks or overrides the gate"})
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	seen := map[string]bool{}
	for _, dir := range append([]string{Dir, "/lib/systemd/system"}, overrides...) {
		literal, entries, err := readDir(t, dir)
		if err != nil {
			return nil, err
		}
		if seen[literal] {
			continue
		}
		seen[literal] = true
		own, err := unitConflicts(t, literal, entries, units)
		if err != nil {
			return nil, err
		}
		out = append(out, own...)
		for _, e := range entries {
			more, err := dropInConflicts(t, path.Join(literal, e.Name), dir == Dir, units)
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		}
	}
	return out, nil
}

// readDir lists the directory that name leads to; what is missing is empty.
func readDir(t rootfs.Tree, name string) (literal string, entries []rootfs.Entry, err error) {
	literal, err = rootfs.Resolve(t, name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	if entries, err = t.ReadDir(literal); err == nil && len(entries) > maxUnits {
		err = fmt.Errorf("%s: %d entries, limit is %d", name, len(entries), maxUnits)
	}
	return literal, entries, err
}

// dropInConflicts looks at the foreign drop-ins of one directory, if it is one for
// the gate or applies to a gated unit. Of equally named drop-ins of a unit systemd
// reads one, so that one with our name takes ours away unless it is ours.
func dropInConflicts(t rootfs.Tree, dir string, vendor bool, units []string) ([]Conflict, error) {
	name, isDropIns := strings.CutSuffix(path.Base(dir), ".d")
	applies := func(u string) bool { return appliesTo(name, u) }
	if !isDropIns || (name != Gate && !slices.ContainsFunc(units, applies)) {
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
		case e.Name == DropIn && name != Gate:
			if !vendor {
				out = append(out, Conflict{file, "it masks the gate's drop-in for " + name})
			}
		default:
			why, err := dropInWhy(t, file, name)
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

// appliesTo says whether systemd reads the drop-ins of dir, without its ".d", for a
// gated unit, or for one that a gated template or prefix stands for: the unit's own
// name, its template or instance, the name cut off behind a dash, or its type.
func appliesTo(dir, gated string) bool {
	kind := path.Ext(gated)
	if dir == strings.TrimPrefix(kind, ".") {
		return true
	}
	_, down := match(dir, []string{gated})
	_, up := match(gated, []string{dir})
	return down || up
}

// dropInWhy says what a foreign drop-in spoils, or nothing.
func dropInWhy(t rootfs.Tree, file, name string) (string, error) {
	info, err := rootfs.Stat(t, file)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && !info.Mode.IsRegular()) {
		return "", nil // a mask of some other drop-in
	}
	if err != nil {
		return "", err
	}
	if name == Gate {
		return "it changes the gate", nil
	}
	data, err := rootfs.ReadFile(t, file, maxFile)
	if err != nil {
		return "", err
	}
	if line := resetLine(path.Base(file), data); line != "" {
		return fmt.Sprintf("its line %q takes away what holds back %s", line, name), nil
	}
	if line := successLine(data); line != "" {
		return fmt.Sprintf("its line %q lets %s start although the gate refused", line, name), nil
	}
	return "", nil
}

// resetLine finds an assignment of nothing to a setting of ours, in a drop-in
// that systemd reads after ours (drop-ins are read in the order of their names).
func resetLine(base string, data []byte) string {
	if base < DropIn {
		return ""
	}
	joined := strings.ReplaceAll(string(data), "\\\n", " ") // systemd.syntax(7)
	for line := range strings.SplitSeq(joined, "\n") {
		key, value, ok := strings.Cut(line, "=")
		key = strings.TrimSpace(key)
		if !ok || strings.TrimSpace(value) != "" {
			continue
		}
		// Any empty Assert…= drops all asserts of the unit, not only its own kind.
		if strings.HasPrefix(key, "Assert") || key == "ExecCondition" {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
