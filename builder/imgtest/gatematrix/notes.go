//go:build linux

package main

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Limits of what is told of a state: the console is slow, and a reader reads no more.
const (
	maxNotes = 16
	maxNote  = 240 // bytes
)

// telling are the lines of the journal that may tell why a stand-in was held back.
var telling = regexp.MustCompile(`initcheck|kernel policy|inference|ollama|vllm\.service|AssertPathExists`)

// cursor tells what is new in the journal since the last time.
func (g *guest) cursor() (string, error) {
	return output(nil, "journalctl", "--quiet", "--boot", "--output=cat", "--cursor-file="+filepath.Join(home, "cursor"))
}

// notes are what somebody sees who asks why nothing runs: the status of the gate and
// of the unit that was started by hand, what systemctl said, and the journal.
func (g *guest) notes(kind string, s state) []string {
	var out []string
	note := func(where, text string) {
		line := fmt.Sprintf("%s %s %s: %.*s", kind, s.name, where, maxNote, strings.TrimSpace(text))
		if !slices.Contains(out, line) && len(out) < maxNotes {
			out = append(out, line)
		}
	}
	properties := command("systemctl", "show", "-p", "Id,LoadState,ActiveState,Result,StatusText", "initcheck.service", "ollama.service")
	for unit := range strings.SplitSeq(properties, "\n\n") {
		note("show", strings.Join(strings.Fields(unit), " "))
	}
	for _, line := range g.said {
		if telling.MatchString(line) {
			note("systemctl", line)
		}
	}
	journal, err := g.cursor()
	if err != nil {
		note("journal", err.Error())
	}
	for line := range strings.Lines(journal) {
		if telling.MatchString(line) {
			note("journal", line)
		}
	}
	return out
}
