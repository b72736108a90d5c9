package profiles

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// notShown lists the keys that an example of a profile does not have.
func notShown(example string, fields []field, above string) []string {
	var out []string
	for _, f := range fields {
		form := `(?m)^` + f.key + ` = `
		if len(f.fields) > 0 {
			form = `(?m)^\[+` + regexp.QuoteMeta(above+f.key) + `\]`
		}
		if !regexp.MustCompile(form).MatchString(example) {
			out = append(out, above+f.key)
		}
		out = append(out, notShown(example, f.fields, above+f.key+".")...)
	}
	return out
}

func profilePage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../docs/profile.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// TestDocsExample loads the example of docs/profile.md, and wants every key in it.
func TestDocsExample(t *testing.T) {
	_, example, _ := strings.Cut(profilePage(t), "\n```toml\n")
	example, _, found := strings.Cut(example, "\n```\n")
	if !found {
		t.Fatal("docs/profile.md has no example")
	}
	if _, err := LoadBytes("profile.md", []byte(example)); err != nil {
		t.Error(err)
	}
	if missing := notShown(example, schema, ""); len(missing) > 0 {
		t.Errorf("the example does not show the keys %q", missing)
	}
}

// TestDocsTables wants each shipped profile and each word of accept and block in a table of
// docs/profile.md, and no others.
func TestDocsTables(t *testing.T) {
	page := profilePage(t)
	for head, want := range map[string][]string{
		"| shipped |":  Names(),
		"| `accept` |": words(Accepts()),
		"| `block` |":  words(allBlocks()),
	} {
		_, table, _ := strings.Cut(page, "\n"+head)
		table, _, _ = strings.Cut(table, "\n\n")
		var got []string
		for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(table, -1) {
			got = append(got, row[1])
		}
		slices.Sort(got)
		if want = slices.Sorted(slices.Values(want)); !slices.Equal(got, want) {
			t.Errorf("the table %s has %q, want %q", head, got, want)
		}
	}
}

// TestHeadsExplainKeys wants each key of a table in the comment at its head.
func TestHeadsExplainKeys(t *testing.T) {
	for _, name := range []string{"modules.toml", "sideeffects.toml", "inference.toml"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		head, rest, _ := strings.Cut(string(text), "\n\n")
		seen := map[string]bool{}
		for _, found := range regexp.MustCompile(`(?m)^([a-z_]+) = `).FindAllStringSubmatch(rest, -1) {
			key := found[1]
			if !seen[key] && !regexp.MustCompile(`(?m)^# *`+key+`\s`).MatchString(head) {
				t.Errorf("the head of %s does not explain %s", name, key)
			}
			seen[key] = true
		}
		if len(seen) < 5 {
			t.Errorf("%s has the keys %v, want some", name, seen)
		}
	}
}
