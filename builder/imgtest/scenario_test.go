//go:build boot

package imgtest

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// scenario is one boot: testdata/boot/*.txtar; its README describes the form.
type scenario struct {
	image     string            // a name that mkimage knows
	kernel    string            // as in DebianImage.Kernel
	soak      bool              // for make soak alone
	firmware  bool              // boot through the image's own boot loader
	entry     string            // the entry of systemd-boot; empty: its choice
	tries     string            // for its boot counting: the tries that each entry has left; empty: it does not count
	ends      *regexp.Regexp    // the last console line of a machine that ends before a report; nil: it reports
	append    []string          // kernel arguments, without the boot loader
	profile   string            // name, or a file of the archive; empty: not patched
	accept    string            // a word for --accept
	predict   bool              // load paths must be as kerngate verify says
	packages  []string          // of Debian, unpacked for edit in directories of their names
	edit      string            // debugfs commands run on the root after apply
	console   []expectation     // held against every console line
	report    []expectation     // held against every line of the report
	loadPaths loadExpectations  // held against the prober's table
	files     map[string][]byte // for profile and edit
}

// probes tells whether the prober is put into the image.
func (s *scenario) probes() bool { return s.predict || len(s.loadPaths) > 0 }

// expectation is a regular expression that some line must match, or none may.
type expectation struct {
	re   *regexp.Regexp
	none bool
}

// loadExpectation is what is expected of some load paths.
type loadExpectation struct {
	module, path string // globs
	open         bool
}

// loadExpectations are for every cell of a table. Of those that are for a cell the
// last holds.
type loadExpectations []loadExpectation

// differences tells which cells are not as expected, which expectations are for no
// cell, and which cells nobody expects.
func (list loadExpectations) differences(cells Cells) []string {
	var wrong []string
	if len(list) == 0 {
		return nil
	}
	used := make([]bool, len(list))
	for _, cell := range cells.Sorted() {
		last := -1
		for i, e := range list {
			module, _ := path.Match(e.module, cell.Module)
			way, _ := path.Match(e.path, cell.Path)
			if module && way {
				last, used[i] = i, true
			}
		}
		switch {
		case last < 0:
			wrong = append(wrong, fmt.Sprintf("%s: %s, and nothing is expected of it", cell, cells[cell]))
		case list[last].open != cells[cell].Open:
			wrong = append(wrong, fmt.Sprintf("%s: %s, want %s", cell, cells[cell], Outcome{Open: list[last].open}))
		}
	}
	for i, e := range list {
		if !used[i] {
			wrong = append(wrong, fmt.Sprintf("no load path is called %s %s", e.module, e.path))
		}
	}
	return wrong
}

// readScenario reads a scenario strictly: what is misspelt must not go unchecked.
func readScenario(t *testing.T, name string) *scenario {
	t.Helper()
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	s := &scenario{files: map[string][]byte{}}
	for _, line := range textLines(archive.Comment) {
		key, value, _ := strings.Cut(line, ": ")
		if !s.set(key, value) {
			t.Fatalf("%s: unknown line %q", name, line)
		}
	}
	for _, f := range archive.Files {
		switch f.Name {
		case "edit":
			s.edit = string(f.Data)
		case "console":
			s.console = expectations(t, f.Data)
		case "report":
			s.report = expectations(t, f.Data)
		case "load-paths":
			s.loadPaths = readLoadExpectations(t, f.Data)
		default:
			s.files[f.Name] = f.Data
		}
	}
	switch {
	case s.image == "" || s.kernel == "" || (len(s.report) == 0) == (s.ends == nil):
		t.Fatalf("%s: needs image, kernel and report, or in place of the last ends", name)
	case s.predict && s.profile == "":
		t.Fatalf("%s: a prediction needs a profile", name)
	case s.firmware && len(s.append) > 0, !s.firmware && s.entry != "", s.tries != "" && s.entry == "":
		t.Fatalf("%s: arguments are for a kernel that is booted directly, an entry is for a boot loader, tries are for an entry", name)
	}
	return s
}

// set takes a line of the head; false if there is no such line.
func (s *scenario) set(key, value string) bool {
	switch {
	case key == "image":
		s.image = value
	case key == "kernel":
		s.kernel = value
	case key == "profile":
		s.profile = value
	case key == "accept":
		s.accept = value
	case key == "append":
		s.append = strings.Fields(value)
	case key == "packages":
		s.packages = strings.Fields(value)
	case key == "entry":
		s.entry = value
	case key == "when" && value == "soak":
		s.soak = true
	case key == "tries":
		s.tries = value
	case key == "ends":
		re, err := regexp.Compile(value)
		s.ends = re
		return err == nil
	case key == "bootloader" && value == "own":
		s.firmware = true
	case key == "load-paths" && value == "as verified":
		s.predict = true
	default:
		return false
	}
	return true
}

// readLoadExpectations reads lines "MODULE PATH open" or "MODULE PATH closed"; the
// first two are globs.
func readLoadExpectations(t *testing.T, text []byte) loadExpectations {
	t.Helper()
	var list loadExpectations
	for _, line := range textLines(text) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[2] != "open" && fields[2] != "closed" {
			t.Fatalf("line of load-paths is %q, want MODULE PATH open|closed", line)
		}
		list = append(list, loadExpectation{fields[0], fields[1], fields[2] == "open"})
	}
	if len(list) == 0 {
		t.Fatal("load-paths expects nothing")
	}
	return list
}

func expectations(t *testing.T, text []byte) []expectation {
	t.Helper()
	var list []expectation
	for _, line := range textLines(text) {
		expr, none := strings.CutPrefix(line, "! ")
		re, err := regexp.Compile(expr)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, expectation{re, none})
	}
	return list
}

// textLines are the lines of a text without comments and empty lines.
func textLines(text []byte) []string {
	var lines []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimRight(line, "\n"); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}
