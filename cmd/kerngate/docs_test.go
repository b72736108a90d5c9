package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// documents are the pages that people read, by their names from the top.
func documents(t *testing.T) map[string]string {
	t.Helper()
	pages := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "testdata/*/*.md", "cmd/*/testdata/*/*.md"} {
		names, err := filepath.Glob("../../" + pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %d pages (%v), want some", pattern, len(names), err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			pages[strings.TrimPrefix(name, "../../")] = string(text)
		}
	}
	return pages
}

// manual is all that tells users what the program does: README.md and docs.
func manual(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	for name, page := range documents(t) {
		if name == "README.md" || strings.HasPrefix(name, "docs/") {
			text.WriteString(page)
		}
	}
	return text.String()
}

var (
	link    = regexp.MustCompile(`\]\(([^)#]*)(#[^)]*)?\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
)

// anchor is what a heading becomes: letters, digits and dashes, as GitHub makes them.
func anchor(text string) string {
	return "#" + regexp.MustCompile(`[^a-z0-9_-]`).ReplaceAllString(strings.ReplaceAll(strings.ToLower(text), " ", "-"), "")
}

func TestLinksLeadSomewhere(t *testing.T) {
	pages, links := documents(t), 0
	for name, text := range pages {
		for _, found := range link.FindAllStringSubmatch(text, -1) {
			links++
			to := filepath.Join(filepath.Dir(name), found[1])
			if found[1] == "" {
				to = name
			}
			if _, err := os.Stat("../../" + to); err != nil {
				t.Errorf("%s: the link %s leads nowhere: %v", name, found[0], err)
			}
			var anchors []string
			for _, h := range heading.FindAllStringSubmatch(pages[to], -1) {
				anchors = append(anchors, anchor(h[1]))
			}
			if found[2] != "" && !slices.Contains(anchors, found[2]) {
				t.Errorf("%s: %s has the headings %q, not the one of %s", name, to, anchors, found[0])
			}
		}
	}
	if links < 20 {
		t.Errorf("%d links found, want all", links)
	}
}

// everyCommand calls do for each command that is ours.
func everyCommand(do func(*cobra.Command)) {
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		do(cmd)
		for _, below := range cmd.Commands() {
			walk(below)
		}
	}
	walk(newRoot(&ui{}))
}

func TestManualNamesEveryFlag(t *testing.T) {
	text, flags := manual(t), 0
	everyCommand(func(cmd *cobra.Command) {
		cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			flags++
			form := "--" + f.Name + `\b`
			if f.Shorthand != "" {
				form += "| -" + f.Shorthand + " [A-Z]"
			}
			if !regexp.MustCompile(form).MatchString(text) {
				t.Errorf("no page names --%s of %s", f.Name, cmd.CommandPath())
			}
		})
	})
	if flags < 20 {
		t.Errorf("%d flags found, want all", flags)
	}
}

var (
	shownBlock = regexp.MustCompile(`(?m)^(?:    )+(kerngate .*)$`)
	shownWord  = regexp.MustCompile("`(kerngate [a-z][^`]*)`")
	shownUsage = regexp.MustCompile(`(?m)^  (kerngate .*)$`)
)

// TestShownCommandsAreUnderstood parses each command line that a page or a help text shows.
func TestShownCommandsAreUnderstood(t *testing.T) {
	shown := map[string]string{}
	collect := func(where, text string, forms ...*regexp.Regexp) {
		for _, form := range forms {
			for _, found := range form.FindAllStringSubmatch(text, -1) {
				line, _, _ := strings.Cut(found[1], "  ") // what stands behind it is said of it
				shown[line] = where
			}
		}
	}
	for name, text := range documents(t) {
		collect(name, strings.ReplaceAll(text, "\n", "  \n"), shownBlock, shownWord)
	}
	everyCommand(func(cmd *cobra.Command) { collect(cmd.CommandPath()+" --help", cmd.Example, shownUsage) })
	for line, where := range shown {
		if err := understood(strings.Fields(line)[1:]); err != nil {
			t.Errorf("%s: %s: %v", where, line, err)
		}
	}
	if len(shown) < 20 {
		t.Errorf("%d command lines found, want all: %q", len(shown), shown)
	}
}

func understood(args []string) error {
	if args[0] == "completion" { // cobra adds it when a command line runs
		return nil
	}
	for i, arg := range args {
		args[i], _, _ = strings.Cut(arg, "|")
	}
	cmd, rest, err := newRoot(&ui{}).Find(args)
	if err != nil {
		return err
	}
	if cmd.HasSubCommands() && len(rest) > 0 {
		return fmt.Errorf("%s has no verb %q", cmd.CommandPath(), rest[0])
	}
	return cmd.ParseFlags(rest)
}

var (
	codeRow  = regexp.MustCompile(`(?m)^\| ([0-9]) \| (.*) \|$`)
	codeText = regexp.MustCompile(`(?:^|[ ;:])([0-9]) ([^;.]*)`)
	saysNo   = regexp.MustCompile(`exit 1 |; 1 `) // in the help of a verb
)

// TestExitCodesAgree compares README's table with what --help says and with the constants,
// and wants each verb whose help tells of exit code 1 to stand with it.
func TestExitCodesAgree(t *testing.T) {
	var table, help, want []string
	rows := map[string]string{}
	for _, row := range codeRow.FindAllStringSubmatch(documents(t)["README.md"], -1) {
		table, rows[row[1]] = append(table, row[1]), row[2]
	}
	_, text, _ := strings.Cut(newRoot(&ui{}).Long, "Exit codes: ")
	helped := map[string]string{}
	for _, found := range codeText.FindAllStringSubmatch(text, -1) {
		help, helped[found[1]] = append(help, found[1]), found[2]
	}
	for _, code := range []int{exitOK, exitNot, exitUsage, exitError, exitChanges} {
		want = append(want, fmt.Sprint(code))
	}
	if !slices.Equal(table, want) || !slices.Equal(help, want) {
		t.Errorf("README has the exit codes %q, --help %q, want %q", table, help, want)
	}
	verbs := 0
	everyCommand(func(cmd *cobra.Command) {
		if !cmd.HasParent() || !saysNo.MatchString(cmd.Short+cmd.Long) {
			return
		}
		verbs++
		name := strings.TrimPrefix(cmd.CommandPath(), "kerngate ")
		if !strings.Contains(rows["1"], "`"+name+"`") || !strings.Contains(helped["1"], name) {
			t.Errorf("%s can exit with 1: README says of that %q, --help %q", name, rows["1"], helped["1"])
		}
	})
	if verbs < 5 {
		t.Errorf("%d verbs with exit code 1 found, want all", verbs)
	}
}

// TestHackingNamesDependencies compares the list with what go.mod requires directly, tools
// among it.
func TestHackingNamesDependencies(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, found := range regexp.MustCompile(`(?m)^(?:\t(\S+) v\S+|tool (\S+)/cmd/\S+)$`).FindAllStringSubmatch(string(mod), -1) {
		want = append(want, strings.TrimPrefix(found[1]+found[2], "github.com/"))
	}
	_, list, _ := strings.Cut(documents(t)["HACKING.md"], "\n## Dependencies\n")
	for _, found := range regexp.MustCompile(`(?m)^- ([^:]+): `).FindAllStringSubmatch(list, -1) {
		got = append(got, strings.Split(found[1], ", ")...)
	}
	slices.Sort(want)
	slices.Sort(got)
	if len(want) < 5 || !slices.Equal(got, want) {
		t.Errorf("HACKING.md has the dependencies %q, want %q", got, want)
	}
}

// TestHackingNamesRooms compares its tree with the packages; programs for tests are not in it.
func TestHackingNamesRooms(t *testing.T) {
	_, tree, _ := strings.Cut(documents(t)["HACKING.md"], "\n## Rooms\n")
	tree, _, _ = strings.Cut(tree, "\nDirections")
	var got, above []string
	for _, row := range regexp.MustCompile(`(?m)^    ( *)(\S+)/ `).FindAllStringSubmatch(tree, -1) {
		above = append(above[:len(row[1])/2], row[2])
		got = append(got, strings.Join(above, "/"))
	}
	want := []string{"testdata"}
	for room := range mayImport {
		if !strings.HasPrefix(room, "builder/imgtest/") {
			want = append(want, room)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("HACKING.md has the rooms\n%q, want\n%q", got, want)
	}
}
