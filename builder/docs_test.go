package builder

import (
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDocsNameEveryWay compares the first table of docs/blocking.md with what closes which
// way to load a module.
func TestDocsNameEveryWay(t *testing.T) {
	page, err := os.ReadFile("../docs/blocking.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "\n| way |")
	table, _, _ = strings.Cut(table, "\n\n")
	got, want := map[string]string{}, map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|.*\\| `([^`]+)` \\|$").FindAllStringSubmatch(table, -1) {
		got[row[1]] = row[2]
	}
	for block, ways := range closedBy {
		for _, way := range ways {
			want[way] = string(block)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("docs/blocking.md says what closes a way: %v, want %v", got, want)
	}
}
