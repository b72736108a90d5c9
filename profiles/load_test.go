package profiles

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/kerngate/kerngate/initcheck/kver"
)

const head = "schema = 1\nname = \"p\"\ndescription = \"a profile\"\n"

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("dir.toml", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo("fifo.toml", 0o644); err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", "socket.toml")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if err := os.Symlink("fifo.toml", "link.toml"); err != nil {
		t.Fatal(err)
	}
	shippedNames := "; shipped are copy-fail, dirty-frag, fragnesia, llm-kube, llm-node, llm-node-patched, page-cache-family; a path has a slash or ends in .toml"
	for name, want := range map[string]string{
		"dir.toml":     "profile dir.toml is a directory, want a regular file",
		"./fifo.toml":  "profile ./fifo.toml is a fifo, want a regular file",
		"link.toml":    "profile link.toml is a fifo, want a regular file",
		"socket.toml":  "profile socket.toml is a socket, want a regular file",
		"/dev/zero":    "profile /dev/zero is a device, want a regular file",
		"none.toml":    "cannot read profile: stat none.toml: no such file or directory",
		"./":           "profile ./ is a directory, want a regular file",
		"llm_node":     `no shipped profile is called "llm_node" (did you mean "llm-node"?)` + shippedNames,
		"modules":      `no shipped profile is called "modules"` + shippedNames,
		"":             `no shipped profile is called ""` + shippedNames,
		"modules\x1b[": `no shipped profile is called "modules\x1b["` + shippedNames,
	} {
		_, err := Load(name)
		if err == nil || err.Error() != want {
			t.Errorf("Load(%q): %v\nwant %s", name, err, want)
		}
		if findingsIn(err) != nil {
			t.Errorf("Load(%q) gives findings, want another error", name)
		}
	}
}

// TestLoadPaths wants what has a slash or the ending read as a file, with extends
// relative to it.
func TestLoadPaths(t *testing.T) {
	t.Chdir(t.TempDir())
	writeFile(t, "sub/llm-node", head+`extends = ["../base.toml", "copy-fail"]`)
	writeFile(t, "base.toml", head+"[gate]\nunits = [\"a.service\"]")
	abs, err := filepath.Abs("base.toml")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, "abs.toml", head+fmt.Sprintf("extends = [%q]", abs))
	for _, name := range []string{"sub/llm-node", "./sub/llm-node", "base.toml", "abs.toml"} {
		p, err := Load(name)
		if err != nil {
			t.Errorf("Load(%q): %v", name, err)
			continue
		}
		if p.Source != name || !slices.Equal(p.Gate.Units, []string{"a.service"}) {
			t.Errorf("Load(%q) has source %q and units %v, want the path and [a.service]", name, p.Source, p.Gate.Units)
		}
	}
}

func TestLoadBytesFollowsNoPath(t *testing.T) {
	t.Chdir(t.TempDir())
	writeFile(t, "base.toml", head)
	_, err := LoadBytes("stdin", []byte(head+`extends = ["base.toml"]`))
	want := `stdin:4: extends: cannot follow the path "base.toml": stdin is no file, name a shipped profile`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// TestHostileText wants no byte of a file on the terminal that could steer it.
func TestHostileText(t *testing.T) {
	for text, want := range map[string]string{
		head + "a = \"\xff\"":                 "p.toml:1: is not UTF-8",
		"\xff\xfes\x00":                       "p.toml:1: is not UTF-8",
		"\"\u202e\" = 1\n\"\u202e\" = 2":      "p.toml:2: is not TOML: Key '\"?\"' has already been defined",
		head + "\"\\u001b[2J\" = 1":           `p.toml:4: "\x1b[2J": is no key of schema 1`,
		head + "extends = [\"\\u001b.toml\"]": "p.toml:4: extends: has the character U+001B at byte 0, want one line of printable text",
		"\ufeff" + head + "\nx = 1":           "p.toml:5: x: is no key of schema 1",
	} {
		if _, err := LoadBytes("p.toml", []byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

// TestLimits has each limit reached, which is fine, and passed by one.
func TestLimits(t *testing.T) {
	units := func(n int) string {
		var b strings.Builder
		b.WriteString(head + "[gate]\nunits = [")
		for i := range n {
			fmt.Fprintf(&b, "\"u%d.service\",", i)
		}
		return b.String() + "]"
	}
	modules := func(n int) string {
		return head + strings.Repeat("[[module]]\nname = \"esp4\"\nreason = \"r\"\n", n)
	}
	text := func(n int) string {
		return "schema = 1\nname = \"p\"\ndescription = \"" + strings.Repeat("x", n) + "\""
	}
	cases := map[string]struct {
		text func(int) string
		most int
		want string // finding of one more; the modules have others, being equal
	}{
		"bytes":       {func(n int) string { return head + strings.Repeat("#", n-len(head)) }, maxFile, "p.toml:1: is larger than 65536 bytes"},
		"units":       {units, maxUnits, "p.toml:5: gate.units: has 513 elements, want at most 512"},
		"modules":     {modules, maxModules, "p.toml:4: module: has 257 elements, want at most 256"},
		"description": {text, maxText, "p.toml:3: description: is 201 bytes long, want at most 200"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := LoadBytes("p.toml", []byte(c.text(c.most))); err != nil && strings.Contains(err.Error(), "at most") {
				t.Errorf("%d: %v", c.most, err)
			}
			_, err := LoadBytes("p.toml", []byte(c.text(c.most+1)))
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%d: got %.200v, want %s", c.most+1, err, c.want)
			}
		})
	}
}

// TestUnitNameLength has the limit of systemd.unit(5).
func TestUnitNameLength(t *testing.T) {
	longest := strings.Repeat("u", maxUnit-len(".service")) + ".service"
	if wrong := checkUnit(longest); wrong != "" {
		t.Errorf("255 bytes: %s", wrong)
	}
	if wrong := checkUnit("u" + longest); wrong != "is 256 bytes long, want at most 255" {
		t.Errorf("256 bytes: %q", wrong)
	}
}

// chain writes n files, each extending the next, and names the first.
func chain(t *testing.T, n int) string {
	t.Helper()
	for i := 1; i < n; i++ {
		writeFile(t, fmt.Sprintf("%d.toml", i), head+fmt.Sprintf("extends = [\"%d.toml\"]", i+1))
	}
	writeFile(t, fmt.Sprintf("%d.toml", n), head)
	return "1.toml"
}

func TestDepth(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := Load(chain(t, maxDepth)); err != nil {
		t.Errorf("a chain of %d: %v", maxDepth, err)
	}
	_, err := Load(chain(t, maxDepth+1))
	want := "1.toml:4: extends: makes a chain of 9 files, want at most 8: " +
		"1.toml -> 2.toml -> 3.toml -> 4.toml -> 5.toml -> 6.toml -> 7.toml -> 8.toml -> 9.toml"
	if err == nil || err.Error() != want {
		t.Errorf("a chain of %d: %v\nwant %s", maxDepth+1, err, want)
	}
	// The same files, reached first by a short way, are still too deep.
	writeFile(t, "1.toml", head+`extends = ["5.toml", "2.toml"]`)
	if _, err := Load("1.toml"); err == nil || err.Error() != want {
		t.Errorf("a chain of %d with a short cut: %v\nwant %s", maxDepth+1, err, want)
	}
	// One chain too long by far is stopped while reading.
	_, err = Load(chain(t, 3*maxFiles))
	if err == nil || !strings.Contains(err.Error(), "16.toml:4: extends: extends more than 15 files in all") {
		t.Errorf("a chain of %d: %v", 3*maxFiles, err)
	}
}

// TestSameFileByOtherNames wants links recognised, as a way around the check for cycles.
func TestSameFileByOtherNames(t *testing.T) {
	t.Chdir(t.TempDir())
	writeFile(t, "a.toml", head+`extends = ["d/a.toml"]`)
	if err := os.Symlink(".", "d"); err != nil {
		t.Fatal(err)
	}
	_, err := Load("a.toml")
	if want := "a.toml:4: extends: extends itself: a.toml -> a.toml"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// FuzzLoad wants a profile that keeps its promises, or findings in lines of the text.
func FuzzLoad(f *testing.F) {
	seeds := []string{head, head + "kernel.floor = \"7.1-rc2\"", head + "module = [{name=\"xt_*\",reason=\"r\",block=[]}]"}
	for _, name := range Names() {
		text, err := shipped.ReadFile(name + suffix)
		if err != nil {
			f.Fatal(err)
		}
		seeds = append(seeds, string(text))
	}
	for _, seed := range seeds {
		if _, err := LoadBytes("p.toml", []byte(seed)); err != nil {
			f.Fatalf("a seed does not load: %v", err)
		}
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := LoadBytes("p.toml", data)
		if err == nil {
			checkPromises(t, p)
			return
		}
		findings := findingsIn(err)
		if len(findings) == 0 {
			t.Fatalf("LoadBytes gives %v, want findings", err)
		}
		lines := 1 + strings.Count(string(data), "\n")
		for _, finding := range findings {
			if finding.Line < 1 || finding.Line > lines || finding.Message == "" || printable(finding.String()) != finding.String() {
				t.Errorf("finding %q in a text of %d lines", finding, lines)
			}
		}
	})
}

func checkPromises(t *testing.T, p Profile) {
	t.Helper()
	if !nameForm.MatchString(p.Name) || p.Description == "" || printable(p.Description) != p.Description {
		t.Errorf("name %q, description %q", p.Name, p.Description)
	}
	if _, err := kver.ParseFloor(p.Kernel.Floor); p.Kernel.Floor != "" && err != nil {
		t.Error(err)
	}
	if !slices.IsSortedFunc(p.Modules, func(a, b Module) int { return strings.Compare(a.Name, b.Name) }) {
		t.Errorf("modules are not sorted: %v", p.Modules)
	}
	for _, m := range p.Modules {
		if m.Name != m.Known.Name || m.Reason == "" || len(m.Block)+len(m.RefuseIf) == 0 {
			t.Errorf("module %+v", m)
		}
	}
	if len(p.Gate.Units) > maxUnits || p.Gate.Recheck != RecheckBoot && p.Gate.Recheck != RecheckStart {
		t.Errorf("gate %+v", p.Gate)
	}
}
