package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// ui holds all talk. Standard output carries the result and nothing else, so that
// it can be piped; standard error carries steps, warnings, errors and hints, each
// line with the program's name. Texts are lower case without a full stop. What
// comes from an image may hold anything and is printed with its control characters
// replaced.
type ui struct {
	stdout io.Writer
	stderr io.Writer
	json   bool // print results as JSON
	quiet  bool // print no steps
}

// printf prints a part of the result.
func (u *ui) printf(format string, args ...any) {
	fmt.Fprint(u.stdout, printable(fmt.Sprintf(format, args...)))
}

// step says what happens now.
func (u *ui) step(text string) {
	if !u.quiet {
		fmt.Fprintf(u.stderr, "kerngate: %s\n", oneLine(text))
	}
}

// warn says what the user should know although nothing stops.
func (u *ui) warn(text string) { fmt.Fprintf(u.stderr, "kerngate: warning: %s\n", oneLine(text)) }

// fail prints an error, one line for each part of it, and the hint that goes with
// it.
func (u *ui) fail(err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(u.stderr, "kerngate: error: %s\n", oneLine(line))
	}
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) && hinted.Hint() != "" {
		fmt.Fprintf(u.stderr, "kerngate: hint: %s\n", oneLine(hinted.Hint()))
	}
}

// encode prints a result as JSON.
func (u *ui) encode(v any) error {
	enc := json.NewEncoder(u.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printable replaces control characters but newline and tab, so that a name in an
// image cannot drive the terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || (unicode.IsPrint(r) && r != unicode.ReplacementChar) || r == ' ' {
			return r
		}
		return '?'
	}, text)
}

func oneLine(text string) string { return strings.ReplaceAll(printable(text), "\n", " ") }
