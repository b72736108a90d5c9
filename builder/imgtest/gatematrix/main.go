//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/kerngate/kerngate/builder/imgtest/console"
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
		err = errors.Join(err, console.Say(failed+" "+strings.ReplaceAll(err.Error(), "\n", "; ")+"\n"))
	}
	if err := errors.Join(err, console.Say(fmt.Sprintf("%s %d\n", end, lines))); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run prints the lines of each state when it is through, and counts them.
func run() (lines int, err error) {
	if err := console.Say("\n" + begin + "\n"); err != nil {
		return 0, err
	}
	text, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return 0, err
	}
	arguments := strings.Fields(string(text))
	wanted, err := wantedStates(arguments)
	if err == nil && slices.Contains(arguments, "matrix.control") {
		err = useControl()
	}
	if err != nil {
		return 0, err
	}
	g, err := newGuest()
	if err != nil {
		return 0, err
	}
	for _, s := range wanted {
		start := time.Now()
		found, err := g.measure(s)
		if err != nil {
			return lines, fmt.Errorf("state %s: %w", s.name, err)
		}
		found = append(found, fmt.Sprintf("TIME %s %.1f", s.name, time.Since(start).Seconds()))
		lines += len(found)
		if err := console.Say(strings.Join(found, "\n") + "\n"); err != nil {
			return lines, err
		}
	}
	return lines, nil
}

// wantedStates are all, or those that the kernel command line names.
func wantedStates(arguments []string) ([]state, error) {
	for _, word := range arguments {
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
