//go:build linux

package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A module may be in use after its user has gone: the kernel takes network name spaces
// and states down behind our back.
const (
	patience  = 10 * time.Second // for any module; what then stays and is of no interest has no way out
	longerFor = 5 * time.Minute  // for those of interest, on a machine that is slow and has other work
)

// machine is the system that the tries run on.
type machine struct {
	release  string
	builtin  map[string]bool
	baseline []string // modules that are loaded between tries
}

func newMachine(release string) (*machine, error) {
	m := &machine{release: release, builtin: map[string]bool{}}
	list, err := os.ReadFile(filepath.Join("/lib/modules", release, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	for _, file := range strings.Fields(string(list)) {
		m.builtin[moduleName(file)] = true
	}
	// What the boot has loaded of ours is taken out, with what keeps it in.
	before, err := loaded()
	if err != nil {
		return nil, err
	}
	for _, name := range before {
		if !ofInterest(name) {
			m.baseline = append(m.baseline, name)
		}
	}
	return m, m.clear()
}

// try loads a module on one path, and tells in words what came of it.
func (m *machine) try(module module, path path) (string, error) {
	detail := path.load(m, module)
	open := detail == ""
	if !m.builtin[module.name] {
		now, err := loaded()
		if err != nil {
			return "", err
		}
		open = slices.Contains(now, module.name)
	}
	if detail == "" {
		detail = "done"
	}
	outcome := "closed " + detail
	if open {
		outcome = "open " + detail
	}
	return outcome, m.clear()
}

// clear takes out all modules that were not there before. One that stays is an error
// if it is of interest; others, which have no way out, belong to the baseline then.
func (m *machine) clear() error {
	for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		now, err := loaded()
		if err != nil {
			return err
		}
		now = slices.DeleteFunc(now, func(name string) bool { return slices.Contains(m.baseline, name) })
		passed, wanted := time.Since(start), slices.ContainsFunc(now, ofInterest)
		switch {
		case len(now) == 0:
			return nil
		case passed > patience && !wanted:
			m.baseline = append(m.baseline, now...)
			return nil
		case passed > longerFor:
			return fmt.Errorf("%v cannot be taken out again", now)
		}
		// The newest stand first, and dependants are newer than what they need. One
		// that is in use is tried again.
		for _, name := range now {
			_ = unix.DeleteModule(name, unix.O_NONBLOCK)
		}
	}
}

// ofInterest tells whether a module is one that is tried, or would keep one in.
func ofInterest(name string) bool {
	return slices.ContainsFunc(modules, func(m module) bool { return m.name == name || m.dependant == name })
}

// loaded lists the modules of /proc/modules.
func loaded() ([]string, error) {
	text, err := os.ReadFile("/proc/modules")
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		names = append(names, strings.Fields(line)[0])
	}
	return names, nil
}

// file finds the file of a module in the tree of the running kernel; "" if there is
// none. It does not ask modules.dep, which may have been edited.
func (m *machine) file(name string) string {
	found := ""
	root := filepath.Join("/lib/modules", m.release)
	filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && strings.Contains(entry.Name(), ".ko") && moduleName(file) == name {
			found = file
			return filepath.SkipAll
		}
		return nil // an unreadable directory holds nothing to load
	})
	return found
}

// moduleName gives the name in /proc/modules of a module's file.
func moduleName(file string) string {
	base, _, _ := strings.Cut(filepath.Base(file), ".ko")
	return strings.ReplaceAll(base, "-", "_")
}
