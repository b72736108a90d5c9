package profiles

import (
	"encoding/json"
	"flag"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestShipped compares each shipped profile, flattened, with testdata/NAME.json.
func TestShipped(t *testing.T) {
	if got, want := Names(), []string{"copy-fail", "dirty-frag", "llm-node"}; !slices.Equal(got, want) {
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
	for _, f := range schema {
		if !strings.Contains(examples[0], f.key) {
			t.Errorf("the example does not show the key %s", f.key)
		}
		for _, inner := range f.fields {
			if !strings.Contains(examples[0], inner.key+" = ") {
				t.Errorf("the example does not show the key %s.%s", f.key, inner.key)
			}
		}
	}
	if p.Kernel.Floor != "7.0.10" || len(p.Modules) != 8+3 {
		t.Errorf("floor %q and %d modules, want 7.0.10 and 11", p.Kernel.Floor, len(p.Modules))
	}
}
