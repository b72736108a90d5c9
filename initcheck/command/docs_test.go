package command

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// TestDocsNameAll wants every key of status --json in docs/report.md, and every verb of the
// checker in one of the pages.
func TestDocsNameAll(t *testing.T) {
	var pages strings.Builder
	for _, name := range []string{"gate.md", "report.md"} {
		text, err := os.ReadFile("../../docs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		pages.Write(text)
	}
	_, text, _ := strings.Cut(pages.String(), "\n`initcheck status --json` gives ")
	text, _, _ = strings.Cut(text, "\n\n")
	for i := range reflect.TypeFor[statusJSON]().NumField() {
		key := "`" + reflect.TypeFor[statusJSON]().Field(i).Tag.Get("json") + "`"
		if !strings.Contains(text, key) {
			t.Errorf("docs/report.md says that initcheck status --json gives %s, and lacks %s", text, key)
		}
	}
	verbs := regexp.MustCompile(`(?m)^  ([a-z]+) `).FindAllStringSubmatch(usage, -1)
	for _, verb := range verbs {
		if !strings.Contains(pages.String(), "initcheck "+verb[1]) {
			t.Errorf("neither docs/gate.md nor docs/report.md has initcheck %s", verb[1])
		}
	}
	if len(verbs) < 6 {
		t.Errorf("the usage has the verbs %q, want all", verbs)
	}
}
