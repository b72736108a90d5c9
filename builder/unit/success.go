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

// refusedStatus is how the re-check's exit code 77 may stand in SuccessExitStatus=:
// as a number, or by its name (systemd.exec(5), "Process Exit Codes").
var refusedStatus = []string{"77", "NOPERM"}

// successLine finds the line that makes a refusal of the re-check count as success,
// so that the unit starts all the same.
func successLine(data []byte) string {
	joined := strings.ReplaceAll(string(data), "\\\n", " ") // systemd.syntax(7)
	for line := range strings.SplitSeq(joined, "\n") {
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.TrimSpace(key) != "SuccessExitStatus" {
			continue
		}
		counts := func(word string) bool { return slices.Contains(refusedStatus, word) }
		if slices.ContainsFunc(strings.Fields(value), counts) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// unitConflicts looks at the unit files of gated units in one directory.
func unitConflicts(t rootfs.Tree, dir string, entries []rootfs.Entry, units []string) ([]Conflict, error) {
	var out []Conflict
	for _, e := range entries {
		name, gated := match(e.Name, units)
		if !gated || e.Type == fs.ModeDir {
			continue
		}
		file := path.Join(dir, e.Name)
		info, err := rootfs.Stat(t, file)
		if errors.Is(err, fs.ErrNotExist) || (err == nil && !info.Mode.IsRegular()) {
			continue // a mask, or an alias of a unit elsewhere
		}
		if err != nil {
			return nil, err
		}
		data, err := rootfs.ReadFile(t, file, maxFile)
		if err != nil {
			return nil, err
		}
		if line := successLine(data); line != "" {
			out = append(out, Conflict{file, fmt.Sprintf("its line %q lets the unit start although the gate of %s refused", line, name)})
		}
	}
	return out, nil
}
