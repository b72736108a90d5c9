//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The marks around the table.
const (
	begin  = "@@BEGIN gate-matrix"
	failed = "@@ERROR gate-matrix"
	end    = "@@END gate-matrix"
)

func main() {
	lines, err := run()
	if err != nil {
		// The harness waits for the end mark, so it is told here.
		lines = []string{failed + " " + strings.ReplaceAll(err.Error(), "\n", "; ")}
	}
	text := fmt.Sprintf("\n%s\n%s\n%s %d\n", begin, strings.Join(lines, "\n"), end, len(lines))
	if err := errors.Join(err, say(text)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() ([]string, error) {
	wanted, err := wantedStates()
	if err != nil {
		return nil, err
	}
	g, err := newGuest()
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, s := range wanted {
		start := time.Now()
		found, err := g.measure(s)
		if err != nil {
			return nil, fmt.Errorf("state %s: %w", s.name, err)
		}
		lines = append(lines, found...)
		if err := say(fmt.Sprintf("gate-matrix: %s took %.1f s\n", s.name, time.Since(start).Seconds())); err != nil {
			return nil, err
		}
	}
	return lines, nil
}

// wantedStates are all, or those that the kernel command line names.
func wantedStates() ([]state, error) {
	text, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	for _, word := range strings.Fields(string(text)) {
		names, limited := strings.CutPrefix(word, "matrix.states=")
		if !limited {
			continue
		}
		var some []state
		for _, name := range strings.Split(names, ",") {
			at := slices.IndexFunc(states, func(s state) bool { return s.name == name })
			if at < 0 {
				return nil, fmt.Errorf("no state is called %q", name)
			}
			some = append(some, states[at])
		}
		return some, nil
	}
	return states, nil
}

// say writes to the console in one go, with kernel messages kept away, which would
// break its lines.
func say(text string) error {
	const consoleOff = 6 // SYSLOG_ACTION_CONSOLE_OFF of syslog(2)
	if _, err := unix.Klogctl(consoleOff, nil); err != nil {
		return err
	}
	console, err := os.OpenFile("/dev/console", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = console.WriteString(text)
	return errors.Join(err, console.Close())
}
