package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestReadmeHasEveryVerb: the table of verbs names each command, with its subcommands,
// and no other.
func TestReadmeHasEveryVerb(t *testing.T) {
	data, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(data), "\n| verb |")
	table, _, _ = strings.Cut(table, "\n\n")
	var got, want []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z]+)( [a-z|\\\\]+)?").FindAllStringSubmatch(table, -1) {
		got = append(got, row[1]+strings.ReplaceAll(row[2], `\|`, "|"))
	}
	for _, cmd := range newRoot(&ui{}).Commands() {
		var below []string
		for _, sub := range cmd.Commands() {
			below = append(below, sub.Name())
		}
		slices.Sort(below)
		want = append(want, strings.TrimSpace(cmd.Name()+" "+strings.Join(below, "|")))
	}
	for i, verb := range got {
		name, below, _ := strings.Cut(verb, " ")
		subs := strings.Split(below, "|")
		slices.Sort(subs)
		got[i] = strings.TrimSpace(name + " " + strings.Join(subs, "|"))
	}
	slices.Sort(got)
	slices.Sort(want)
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("README has the verbs %q, want %q", got, want)
	}
}
