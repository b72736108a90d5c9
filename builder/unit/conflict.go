package unit

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// overrides are the directories of a tree that win over Dir (systemd.unit(5)).
// /run is empty when a machine starts.
var overrides = []string{"/etc/systemd/system", "/usr/local/lib/systemd/system"}

// maxFile bounds a drop-in; real ones have a few lines.
const maxFile = 1 << 20

// Conflict is a file of somebody else that takes away what ours does.
type Conflict struct {
	Path string
	Why  string
}

func (c Conflict) String() string { return c.Path + ": " + c.Why }

// Conflicts finds what masks, overrides or resets the gate and the drop-ins of
// the gated units.
func Conflicts(t rootfs.Tree, units []string) ([]Conflict, error) {
	var out []Conflict
	for _, dir := range overrides {
		found, err := rootfs.ResolveParent(t, path.Join(dir, Gate))
		if err == nil {
			out = append(out, Conflict{found, "it masks or overrides the gate"})
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, name := range units {
			found, err := rootfs.ResolveParent(t, path.Join(dir, name+".d", DropIn))
			if err == nil {
				out = append(out, Conflict{found, "it masks the gate's drop-in for " + name})
			} else if !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
	}
	for _, dir := range append([]string{Dir}, overrides...) {
		more, err := dropInConflicts(t, dir, units)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out, nil
}

// dropInConflicts looks at the foreign drop-ins of one directory: any for the
// gate, and those for gated units, or for all services, that reset what ours set.
func dropInConflicts(t rootfs.Tree, dir string, units []string) ([]Conflict, error) {
	out, err := eachDropIn(t, path.Join(dir, Gate+".d"), func(string, []byte) string {
		return "it changes the gate"
	})
	if err != nil {
		return nil, err
	}
	for _, name := range append([]string{"service", "socket"}, units...) {
		more, err := eachDropIn(t, path.Join(dir, name+".d"), func(base string, data []byte) string {
			if line := resetLine(base, data); line != "" {
				return fmt.Sprintf("its line %q takes away what holds back %s", line, name)
			}
			return ""
		})
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out, nil
}

// eachDropIn asks about every foreign drop-in of a directory.
func eachDropIn(t rootfs.Tree, dir string, why func(base string, data []byte) string) ([]Conflict, error) {
	literal, err := rootfs.Resolve(t, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	entries, err := t.ReadDir(literal)
	if err != nil {
		return nil, err
	}
	var out []Conflict
	for _, e := range entries {
		name := path.Join(literal, e.Name)
		if e.Name == DropIn || !strings.HasSuffix(e.Name, ".conf") {
			continue
		}
		info, err := rootfs.Stat(t, name)
		if errors.Is(err, fs.ErrNotExist) || (err == nil && !info.Mode.IsRegular()) {
			continue // a mask of some other drop-in
		}
		if err != nil {
			return nil, err
		}
		data, err := rootfs.ReadFile(t, name, maxFile)
		if err != nil {
			return nil, err
		}
		if reason := why(e.Name, data); reason != "" {
			out = append(out, Conflict{name, reason})
		}
	}
	return out, nil
}

// resetLine finds an assignment of nothing to a setting of ours, in a drop-in
// that systemd reads after ours (drop-ins are read in the order of their names).
func resetLine(base string, data []byte) string {
	if base < DropIn {
		return ""
	}
	for line := range strings.SplitSeq(string(data), "\n") {
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
