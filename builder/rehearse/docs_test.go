package rehearse

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDocsNameEveryField compares the table of docs/rehearse.md with a result's JSON.
func TestDocsNameEveryField(t *testing.T) {
	page, err := os.ReadFile("../../docs/rehearse.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "\n## JSON\n")
	rows := regexp.MustCompile("(?m)^\\| (`[a-z_`, ]+`) \\|").FindAllStringSubmatch(table, -1)
	var got, want []string
	for _, row := range rows {
		got = append(got, strings.Split(strings.Trim(row[1], "`"), "`, `")...)
	}
	for i := range reflect.TypeFor[Result]().NumField() {
		name, _, _ := strings.Cut(reflect.TypeFor[Result]().Field(i).Tag.Get("json"), ",")
		want = append(want, name)
	}
	slices.Sort(want)
	if got = slices.Sorted(slices.Values(append(got, "schema"))); !slices.Equal(got, want) {
		t.Errorf("docs/rehearse.md has the fields\n%q, want\n%q", got, want)
	}
	for _, of := range []reflect.Type{reflect.TypeFor[Unit](), reflect.TypeFor[Boot]()} {
		for i := range of.NumField() {
			name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			if name != "" && !strings.Contains(table, "`"+name+"`") {
				t.Errorf("docs/rehearse.md lacks the field %s of %s", name, of)
			}
		}
	}
	for _, word := range watching("amd64") {
		if !strings.Contains(string(page), "`"+word+"`") {
			t.Errorf("docs/rehearse.md does not say that %s comes to the command line", word)
		}
	}
}
