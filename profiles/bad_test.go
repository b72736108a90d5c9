package profiles

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestBadProfiles loads profile.toml of each archive in testdata/bad and wants the
// findings that its file "want" lists, all of them and in this order.
func TestBadProfiles(t *testing.T) {
	archives, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil || len(archives) < 15 {
		t.Fatalf("testdata/bad has %d archives (%v), want at least 15", len(archives), err)
	}
	for _, path := range archives {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			want := extract(t, archive)
			if want == "" {
				t.Fatal("the archive wants no finding")
			}
			_, err := Load("profile.toml")
			findings := findingsIn(err)
			if findings == nil {
				t.Fatalf("Load gives %v, want findings", err)
			}
			if got := findings.Error() + "\n"; got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// findingsIn is nil for an error of another kind, such as a file that cannot be read.
func findingsIn(err error) Findings {
	var findings Findings
	errors.As(err, &findings)
	return findings
}

// extract changes to a new directory with the archive's files, and returns its "want".
func extract(t *testing.T, archive *txtar.Archive) (want string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, f := range archive.Files {
		if f.Name == "want" {
			want = string(f.Data)
			continue
		}
		writeFile(t, f.Name, string(f.Data))
	}
	return want
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
