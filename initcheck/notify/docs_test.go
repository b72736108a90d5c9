package notify

import (
	"os"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/kerngate/kerngate/initcheck/policy"
)

// section is what stands below a heading of docs/report.md.
func section(t *testing.T, title string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/report.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(page), "\n## "+title+"\n")
	if !found {
		t.Fatalf("docs/report.md has no section %q", title)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// keys are the names of a type's fields in JSON.
func keys(of reflect.Type) []string {
	var out []string
	for i := range of.NumField() {
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		out = append(out, name)
	}
	return out
}

// journalFields are the names of the fields of an entry that are our own.
func journalFields(t *testing.T) []string {
	t.Helper()
	var out []string
	j := Journal{Send: func(_ string, _ journal.Priority, fields map[string]string) error {
		for name := range fields {
			if strings.HasPrefix(name, "KERNGATE_") {
				out = append(out, name)
			}
		}
		return nil
	}}
	if err := j.Write(Report{}); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestDocsNameAll holds docs/report.md against what the checker writes: fleets go by it.
func TestDocsNameAll(t *testing.T) {
	metric := regexp.MustCompile(`(?m)^initcheck_[a-z_]+`).FindAllString(metrics(Report{}), -1)
	feature := regexp.MustCompile(`(?m)^initcheck\.[a-z]+`).FindAllString(features(Report{}), -1)
	for _, c := range []struct {
		title, form string // what a name looks like in the section
		want        []string
	}{
		{"Files", "(?m)^\\| `([^`]+)` \\|", []string{path.Base(policy.Stamp), path.Base(policy.Report), path.Base(policy.Metrics), path.Base(policy.Features), path.Base(policy.Motd)}},
		{"report.json", "[ |]`([a-z_]+)`[, |]", slices.Concat(keys(reflect.TypeFor[Report]()), keys(reflect.TypeFor[Finding]()))},
		{"initcheck.prom", "`(initcheck_[a-z_]+)[`{]", metric},
		{"features", "`(initcheck\\.[a-z]+)`", feature},
		{"Journal", "(?m)^\\| `([0-9a-f]{32})` \\|", []string{MessagePass, MessageRefuse, MessageBreach, MessageOverride}},
		{"Journal", "`(KERNGATE_[A-Z_]+)`", journalFields(t)},
	} {
		var got []string
		for _, found := range regexp.MustCompile(c.form).FindAllStringSubmatch(section(t, c.title), -1) {
			got = append(got, found[1])
		}
		for _, name := range c.want {
			if !slices.Contains(got, name) {
				t.Errorf("docs/report.md, %s: no word of %s, only of %q", c.title, name, got)
			}
		}
		if c.title == "report.json" {
			continue // it names values and other keys, too
		}
		for _, name := range got {
			if !slices.Contains(c.want, name) {
				t.Errorf("docs/report.md, %s: %s is none of %q", c.title, name, c.want)
			}
		}
	}
}
