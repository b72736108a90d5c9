package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// ui holds all talk. Standard output carries the result and nothing else, so that
// it can be piped; standard error carries steps, warnings, errors and hints, each
// line with the program's name. Texts are lower case without a full stop. What
// comes from an image may hold anything and is printed with its control characters
// replaced.
type ui struct {
	stdout io.Writer
	stderr io.Writer
	json   bool  // print results as JSON
	quiet  bool  // print no steps
	err    error // the first one that writing the result met

	unfinished bool      // the cursor stands behind a line of progress
	shown      time.Time // when that was last written
}

// printf prints a part of the result. Texts among the arguments stay on their line,
// so that a name in an image cannot add lines to the result.
func (u *ui) printf(format string, args ...any) {
	for i, arg := range args {
		switch text := arg.(type) {
		case string:
			args[i] = oneLine(text)
		case fmt.Stringer:
			args[i] = oneLine(text.String())
		}
	}
	u.write(fmt.Sprintf(format, args...))
}

func (u *ui) write(text string) {
	if u.err == nil {
		_, u.err = io.WriteString(u.stdout, text)
	}
}

// step says what happens now.
func (u *ui) step(text string) {
	if !u.quiet {
		u.say(text)
	}
}

// warn says what the user should know although nothing stops.
func (u *ui) warn(text string) { u.say("warning: " + text) }

// say prints a line on standard error.
func (u *ui) say(text string) {
	if u.unfinished {
		fmt.Fprintln(u.stderr)
		u.unfinished = false
	}
	fmt.Fprintf(u.stderr, "kerngate: %s\n", oneLine(text))
}

// progressEvery keeps a fast copy from being slowed down by a slow terminal.
const progressEvery = 100 * time.Millisecond

// progress shows how much of a copy is made, in one line that is written over. It is
// for people: where standard error is no terminal nothing is written.
func (u *ui) progress(done, total int64) {
	if u.quiet || !isTerminal(u.stderr) || (done < total && time.Since(u.shown) < progressEvery) {
		return
	}
	const MiB = 1 << 20
	fmt.Fprintf(u.stderr, "\rkerngate: %d of %d MiB copied", done/MiB, total/MiB)
	u.unfinished, u.shown = true, time.Now()
	if done == total {
		fmt.Fprintln(u.stderr)
		u.unfinished = false
	}
}

// live shows what goes on now: a terminal has one line that is written over, all else
// gets a line where there is something new to say.
func (u *ui) live(text string, fresh bool) {
	switch {
	case u.quiet:
	case isTerminal(u.stderr):
		line := []rune("kerngate: " + oneLine(text))
		fmt.Fprintf(u.stderr, "\r\x1b[K%s", string(line[:min(len(line), columns(u.stderr)-1)]))
		u.unfinished = true
	case fresh:
		u.say(text)
	}
}

// columns is the width of a terminal: a longer line could not be written over.
func columns(w io.Writer) int {
	const usual = 80
	f, ok := w.(*os.File)
	if !ok {
		return usual
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 {
		return usual
	}
	return int(size.Col)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// fail prints an error, one line for each part of it, and the hint that goes with
// it.
func (u *ui) fail(err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		u.say("error: " + line)
	}
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) && hinted.Hint() != "" {
		u.say("hint: " + hinted.Hint())
	}
}

// encode prints a result as JSON.
func (u *ui) encode(v any) error {
	var text strings.Builder
	enc := json.NewEncoder(&text)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	u.write(text.String())
	return nil
}

// oneLine replaces control characters, so that a name in an image cannot drive the
// terminal; what ends a line or a column becomes a blank.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsPrint(r) && r != unicode.ReplacementChar:
			return r
		default:
			return '?'
		}
	}, text)
}
