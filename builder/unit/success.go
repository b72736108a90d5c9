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
	counts := func(word string) bool { return slices.Contains(refusedStatus, word) }
	for key, value := range assignments(data) {
		if key == "SuccessExitStatus" && slices.ContainsFunc(strings.Fields(value), counts) {
			return key + "=" + value
		}
	}
	return ""
}

// unitConflicts looks at the unit files of gated units in one directory.
func (s scope) unitConflicts(t rootfs.Tree, dir string, entries []rootfs.Entry) ([]Conflict, error) {
	var out []Conflict
	for _, e := range entries {
		name, gated := match(e.Name, s.units)
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
		if line, why := s.hardenLine(data, false); line != "" {
			out = append(out, Conflict{file, fmt.Sprintf("its line %q %s %s", line, why, name)})
		}
	}
	return out, nil
}
