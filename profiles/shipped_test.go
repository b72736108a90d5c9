package profiles

import (
	"encoding/json"
	"flag"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestShipped compares each shipped profile, flattened, with testdata/NAME.json.
func TestShipped(t *testing.T) {
	if got, want := Names(), []string{"copy-fail", "dirty-frag", "fragnesia", "llm-kube", "llm-node", "llm-node-patched", "page-cache-family"}; !slices.Equal(got, want) {
		t.Fatalf("Names() is %v, want %v", got, want)
	}
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			p, err := Load(name)
			if err != nil {
				t.Fatal(err)
			}
			if p.Name != name || p.Source != name {
				t.Errorf("name %q and source %q, want both %q", p.Name, p.Source, name)
			}
			golden := filepath.Join("testdata", name+".json")
			got := dump(t, p)
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(want) {
				t.Errorf("differs from %s (go test -update writes it anew):\n%s", golden, got)
			}
		})
	}
}

func dump(t *testing.T, p Profile) []byte {
	t.Helper()
	text, err := json.MarshalIndent(struct {
		Profile
		CVEs   []string `json:"cves"`
		Digest string   `json:"digest"`
	}{p, p.CVEs(), p.Digest()}, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	return append(text, '\n')
}

// TestNodesGateTheSame wants one list of units in both profiles of nodes, which cannot share
// it: what extends the one has its floor without exceptions.
func TestNodesGateTheSame(t *testing.T) {
	node, err := Load("llm-node")
	if err != nil {
		t.Fatal(err)
	}
	patched, err := Load("llm-node-patched")
	if err != nil {
		t.Fatal(err)
	}
	if len(node.Gate.Units) == 0 || !slices.Equal(node.Gate.Units, patched.Gate.Units) || node.Gate.Recheck != patched.Gate.Recheck {
		t.Errorf("llm-node gates %v, llm-node-patched %v", node.Gate, patched.Gate)
	}
	if node.Kernel.Floor != patched.Kernel.Floor || node.Kernel.AcceptFixed || !patched.Kernel.AcceptFixed {
		t.Errorf("llm-node wants %+v, llm-node-patched %+v", node.Kernel, patched.Kernel)
	}
}

// TestShippedExtendShipped wants no path in a shipped profile: it is not in a directory.
func TestShippedExtendShipped(t *testing.T) {
	for _, name := range Names() {
		text, err := shipped.ReadFile(name + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := LoadBytes(name, text); err != nil {
			t.Errorf("%s does not load from memory: %v", name, err)
		}
		for _, word := range []string{"# Closes ", "# For ", "# May break "} {
			if !strings.Contains(string(text), word) {
				t.Errorf("the head of %s has no paragraph %q", name, word)
			}
		}
	}
}

// familyCVEs are the faults of this family, from the records of the kernel's CVE
// numbering authority of 2026-08-21.
var familyCVEs = []string{
	"CVE-2026-31431", "CVE-2026-31635", "CVE-2026-31677", "CVE-2026-43033", "CVE-2026-43077", "CVE-2026-43284",
	"CVE-2026-43494", "CVE-2026-43500", "CVE-2026-43503", "CVE-2026-46028", "CVE-2026-46033", "CVE-2026-46300",
	"CVE-2026-46331", "CVE-2026-46333", "CVE-2026-52943", "CVE-2026-53266", "CVE-2026-53363", "CVE-2026-63830",
	"CVE-2026-63831", "CVE-2026-64026", "CVE-2026-64566", "CVE-2026-74578",
}

// TestShippedNameKnownCVEs catches a digit that is wrong, in any word of the data.
func TestShippedNameKnownCVEs(t *testing.T) {
	entries, err := shipped.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, e := range entries {
		text, err := shipped.ReadFile(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range regexp.MustCompile(`CVE-[0-9-]*`).FindAllString(string(text), -1) {
			found++
			if !slices.Contains(familyCVEs, id) {
				t.Errorf("%s names %s, which is no fault of this family", e.Name(), id)
			}
		}
	}
	if found < 50 {
		t.Errorf("%d identifiers found, want those of all profiles and of the table", found)
	}
}

// TestShippedReasons wants the head of a profile to name each fault for which it blocks a
// module, and the table to connect the two.
func TestShippedReasons(t *testing.T) {
	for _, name := range Names() {
		text, err := shipped.ReadFile(name + suffix)
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := strings.Cut(string(text), "schema = 1")
		f := parseFile(name, text)
		for _, m := range f.modules {
			if !slices.Equal(m.Block, allBlocks()) {
				t.Errorf("%s blocks %s by %v, want every mechanism", name, m.Name, m.Block)
			}
			for _, id := range cve.FindAllString(m.Reason, -1) {
				if !strings.Contains(head, id) {
					t.Errorf("%s blocks %s for %s, which its head does not name", name, m.Name, id)
				}
				if !slices.ContainsFunc(append(m.Known.Depends, m.Known.Dependants...), func(near string) bool {
					other, _ := Lookup(near)
					return slices.Contains(other.CVEs, id)
				}) && !slices.Contains(m.Known.CVEs, id) {
					t.Errorf("%s blocks %s for %s, which the table connects neither with it nor with its neighbours", name, m.Name, id)
				}
			}
		}
	}
}

// TestPackageCommentExample loads the example in the package comment.
func TestPackageCommentExample(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var examples []string
	for _, block := range new(comment.Parser).Parse(file.Doc.Text()).Content {
		if code, ok := block.(*comment.Code); ok {
			examples = append(examples, code.Text)
		}
	}
	if len(examples) != 1 {
		t.Fatalf("the package comment has %d examples, want 1", len(examples))
	}
	p, err := LoadBytes("doc.go", []byte(examples[0]))
	if err != nil {
		t.Fatal(err)
	}
	if missing := notShown(examples[0], schema, ""); len(missing) > 0 {
		t.Errorf("the example does not show the keys %q", missing)
	}
	if p.Kernel.Floor != "7.0.10" || len(p.Modules) != 8+3+3 {
		t.Errorf("floor %q and %d modules, want 7.0.10 and 14", p.Kernel.Floor, len(p.Modules))
	}
}
