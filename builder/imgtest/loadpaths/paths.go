//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// path is one way to have a module loaded. Its load tells what went wrong, "" if
// nothing did; whether the module is loaded is looked up by who calls it.
type path struct {
	name string
	load func(m *machine, module module) string
}

// modulesLoadFile is a configuration for systemd-modules-load(8) alone.
const modulesLoadFile = "/run/load-paths.conf"

// paths are those that make sense for a module.
func (mod module) paths() []path {
	list := []path{{"autoload", autoload}}
	if mod.nobody {
		list = append(list, path{"autoload-nobody", autoloadNobody})
	}
	list = append(list,
		path{"modprobe", func(_ *machine, m module) string { return status("modprobe", m.name) }},
		path{"modprobe-alias", byAlias},
		path{"modprobe-i", func(_ *machine, m module) string { return status("modprobe", "-i", m.name) }},
		path{"insmod", insmod},
	)
	if mod.dependant != "" {
		list = append(list, path{"dependency", func(_ *machine, m module) string { return status("modprobe", m.dependant) }})
	}
	return append(list, path{"modules-load", modulesLoad})
}

// status runs a program and tells how it failed.
func status(name string, args ...string) string {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err == nil {
		return ""
	}
	return strings.Join(append([]string{err.Error()}, strings.Fields(string(out))...), " ")
}

// byAlias asks for every alias, as the kernel does: request_module calls
// "modprobe -q -- ALIAS".
func byAlias(_ *machine, mod module) string {
	var failed []string
	for _, alias := range mod.aliases {
		if why := status("modprobe", "-q", "--", alias); why != "" {
			failed = append(failed, alias+": "+why)
		}
	}
	return strings.Join(failed, "; ")
}

// insmod inserts the module's file, and before it those of what it needs.
func insmod(m *machine, mod module) string {
	order, why := insertion(m, mod.name, nil)
	if why != "" {
		return why
	}
	var failed []string
	for _, name := range order {
		if already, err := loaded(); err == nil && slices.Contains(already, name) {
			continue
		}
		if why := status("insmod", m.file(name)); why != "" {
			failed = append(failed, name+": "+why)
		}
	}
	return strings.Join(failed, "; ")
}

// insertion lists a module behind all that it needs, and that is not built in.
func insertion(m *machine, name string, order []string) ([]string, string) {
	if slices.Contains(order, name) || m.builtin[name] {
		return order, ""
	}
	file := m.file(name)
	if file == "" {
		return nil, name + " has no file"
	}
	out, err := exec.Command("modinfo", "-F", "depends", file).Output()
	if err != nil {
		return nil, fmt.Sprintf("modinfo %s: %v", file, err)
	}
	for need := range strings.FieldsFuncSeq(string(out), func(r rune) bool { return r == ',' || r == '\n' }) {
		var why string
		if order, why = insertion(m, strings.ReplaceAll(need, "-", "_"), order); why != "" {
			return nil, why
		}
	}
	return append(order, name), ""
}

func modulesLoad(_ *machine, mod module) string {
	if err := os.WriteFile(modulesLoadFile, []byte(mod.name+"\n"), 0o644); err != nil {
		return err.Error()
	}
	return status("/usr/lib/systemd/systemd-modules-load", modulesLoadFile)
}
