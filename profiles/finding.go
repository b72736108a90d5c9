package profiles

import (
	"fmt"
	"slices"
	"strings"
)

// Finding is one fault of a profile file.
type Finding struct {
	File    string `json:"file"`          // as given, or relative to it; a shipped profile is NAME.toml
	Line    int    `json:"line"`          // from 1
	Key     string `json:"key,omitempty"` // dotted: "gate.units"; empty if the fault has no key
	Message string `json:"message"`
}

func (f Finding) String() string {
	if f.Key == "" {
		return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Message)
	}
	return fmt.Sprintf("%s:%d: %s: %s", f.File, f.Line, f.Key, f.Message)
}

// Findings are all faults of a profile and of everything that it extends. Files
// stand in the order they were read, faults of one file in the order of lines.
type Findings []Finding

// Error gives one finding a line.
func (fs Findings) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// sortByLine keeps the order of findings on the same line: it is the order of the
// schema, so that one file always gives one text.
func (fs Findings) sortByLine() {
	slices.SortStableFunc(fs, func(a, b Finding) int { return a.Line - b.Line })
}
