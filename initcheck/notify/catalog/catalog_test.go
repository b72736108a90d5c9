package catalog

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/kerngate/kerngate/initcheck/notify"
)

// TestJournalctlReadsIt has journalctl compile the catalog, and gets each entry back.
func TestJournalctlReadsIt(t *testing.T) {
	root := t.TempDir()
	for name, data := range map[string][]byte{Path: Text(), "/var/lib/systemd/catalog/.dir": nil} {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	journalctl(t, "--update-catalog", "--root="+root)
	if len(entries) != 4 {
		t.Fatalf("entries: %d, want one for each of 4 MESSAGE_IDs", len(entries))
	}
	for _, e := range entries {
		got := journalctl(t, "--dump-catalog", "--root="+root, e.id)
		for _, want := range []string{"-- " + e.id, "Subject: " + e.subject, "Defined-By: kerngate", strings.TrimSpace(e.text)} {
			if !strings.Contains(got, want) {
				t.Errorf("journalctl reads\n%s\nwant in it\n%s", got, want)
			}
		}
	}
}

// TestFieldsAreSent wants every @FIELD@ among those that the checker sends.
func TestFieldsAreSent(t *testing.T) {
	var sent map[string]string
	j := notify.Journal{Send: func(_ string, _ journal.Priority, fields map[string]string) error {
		sent = fields
		return nil
	}}
	if err := j.Write(notify.Report{}); err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`@[^@]*@`).FindAllString(string(Text()), -1)
	if len(named) < 8 {
		t.Fatalf("fields in the catalog are %q, want 8 at least", named)
	}
	for _, field := range slices.Compact(slices.Sorted(slices.Values(named))) {
		if _, known := sent[strings.Trim(field, "@")]; !known {
			t.Errorf("the catalog names %s, which the checker does not send", field)
		}
	}
}

func journalctl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("journalctl", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("journalctl %s: %v\n%s(it is in the package systemd)", strings.Join(args, " "), err, out)
	}
	return string(out)
}
