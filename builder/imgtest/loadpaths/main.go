//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kerngate/kerngate/builder/imgtest/console"
)

// initramfsResults is where the script in the initramfs leaves its lines.
const initramfsResults = "/run/load-paths"

func main() {
	if len(os.Args) == 3 {
		os.Exit(child(os.Args[1], os.Args[2]))
	}
	if err := run(); err != nil {
		// The harness waits for the end mark, so it is told here.
		console.Say("@@BEGIN load-paths\n@@ERROR load-paths " + err.Error() + "\n@@END load-paths 0\n")
		os.Exit(1)
	}
}

func run() error {
	var system unix.Utsname
	if err := unix.Uname(&system); err != nil {
		return err
	}
	release := unix.ByteSliceToString(system.Release[:])
	m, err := newMachine(release)
	if err != nil {
		return err
	}
	lines, err := initramfsLines()
	if err != nil {
		return err
	}
	for _, module := range modules {
		for _, path := range module.paths() {
			outcome, err := m.try(module, path)
			if err != nil {
				return fmt.Errorf("%s by %s: %w", module.name, path.name, err)
			}
			lines = append(lines, fmt.Sprintf("%s %s %s %s", release, module.name, path.name, outcome))
		}
	}
	return console.Say(fmt.Sprintf("\n@@BEGIN load-paths\n%s\n@@END load-paths %d\n", strings.Join(lines, "\n"), len(lines)))
}

func initramfsLines() ([]string, error) {
	text, err := os.ReadFile(initramfsResults)
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimRight(string(text), "\n"), "\n"), nil
}
