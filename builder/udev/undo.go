package udev

import (
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/fnmatch"
)

// Watch is a rule that gives the devices of modules the tag "systemd" and a unit to start.
type Watch struct {
	File    string   // base name of the file that has the rule and no other
	Unit    string   // in ENV{SYSTEMD_WANTS}
	Modules []string // names in /sys/module
}

// Finding is an assignment that keeps the unit of a [Watch] from starting.
type Finding struct {
	Line int
	Text string // the assignment as written
	Why  string
}

// Undoing finds in a file of rules, by its base name, the first assignment that may be run for
// a module that was loaded, and that keeps the unit from starting. Files are read in the
// order of their base names.
func Undoing(base string, data []byte, w Watch) (first Finding, found bool) {
	after := base > w.File
	rules := parse(data)
	labels := labelsBelow(rules)
	for _, module := range w.Modules {
		for i := 0; i < len(rules); {
			holds := rules[i].matches(module)
			if f, bad := w.undone(rules[i], after); bad && holds != no {
				if !found || f.Line < first.Line {
					first, found = f, true
				}
				break
			}
			to, known := labels[i]
			if i++; known && holds == yes {
				i = to
			}
		}
	}
	return first, found
}

// labelsBelow says which rule the GOTO of a rule leads to: the first below with the
// label. Without one there is no jump (rule_resolve_goto).
func labelsBelow(rules []rule) map[int]int {
	out, below := map[int]int{}, map[string]int{}
	for i, r := range slices.Backward(rules) {
		if to, known := below[r.jump]; known && r.jump != "" {
			out[i] = to
		}
		if r.label != "" {
			below[r.label] = i
		}
	}
	return out
}

// undone finds the assignment of a rule that takes away what the watch's rule does.
func (w Watch) undone(r rule, after bool) (Finding, bool) {
	for _, k := range r.tokens {
		if why := w.undoes(k, after); why != "" && !k.isMatch() {
			return Finding{r.line, k.text, why}, true
		}
	}
	return Finding{}, false
}

// undoes says what an assignment does. TAG and ENV know no final assignment, := is = to
// them; only a rule behind can take away what a rule gave. Whether systemd takes a device
// for ready it asks at the end: device_is_ready in src/core/device.c.
func (w Watch) undoes(k token, after bool) string {
	substituted := strings.ContainsAny(k.value, "$%")
	switch {
	case k.key == "TAG" && after && k.op == "-=" && (k.value == "systemd" || substituted),
		k.key == "TAG" && after && (k.op == "=" || k.op == ":=") && k.value != "systemd":
		return "takes the tag \"systemd\" from loaded modules, and systemd does not hear of them"
	case k.key != "ENV":
	case k.attr == "SYSTEMD_WANTS" && after && k.op != "+=" && !w.keeps(k.value):
		return "keeps systemd from starting " + w.Unit + " for loaded modules"
	case k.attr == "SYSTEMD_READY" && (substituted || isFalse(k.value)),
		(k.attr == "ID_RENAMING" || k.attr == "ID_PROCESSING") && k.value != "":
		return "has systemd take loaded modules for not ready, and it does not hear of them"
	}
	return ""
}

// keeps says whether an assignment to SYSTEMD_WANTS has the unit in it, or what was assigned
// before.
func (w Watch) keeps(value string) bool {
	return slices.Contains(strings.Fields(value), w.Unit) || strings.Contains(value, "$env{SYSTEMD_WANTS}") || strings.Contains(value, "%E{SYSTEMD_WANTS}")
}

// isFalse is what parse_boolean of systemd takes for no.
func isFalse(value string) bool {
	return slices.Contains([]string{"0", "no", "n", "false", "f", "off"}, strings.ToLower(value))
}

// answer is whether a rule is run for a module.
type answer int

const (
	no answer = iota
	maybe
	yes
)

// matches says whether a rule is run when a module of a name was loaded: the least of what
// its matches say.
func (r rule) matches(module string) answer {
	out := yes
	for _, k := range r.tokens {
		out = min(out, k.matches(module))
	}
	return out
}

// attributes are the files of /sys/module/NAME and its directories: kernel/module/sysfs.c
// and kernel/params.c of Linux.
var attributes = []string{
	"coresize", "datasize", "initsize", "initstate", "refcnt", "srcversion", "taint", "uevent", "version", "scmversion", "import_ns",
	"drivers", "holders", "notes", "parameters", "sections",
}

// matches says whether one match holds. A module has neither driver nor parents, so that
// KERNELS and the like ask of itself.
func (k token) matches(module string) answer {
	properties := map[string]string{"ACTION": "add", "DEVPATH": "/module/" + module, "SUBSYSTEM": "module", "DRIVER": ""}
	switch k.key {
	case "PROGRAM", "IMPORT":
		return maybe // whatever the operator
	}
	if !k.isMatch() {
		return yes
	}
	switch k.key {
	case "ACTION", "DEVPATH", "SUBSYSTEM", "DRIVER":
		return k.is(properties[k.key])
	case "SUBSYSTEMS", "DRIVERS":
		return k.is(properties[strings.TrimSuffix(k.key, "S")])
	case "KERNEL", "KERNELS":
		return k.is(module)
	case "ENV":
		// Others than these a rule or a program may have set.
		if value, known := properties[k.attr]; known || slices.Contains([]string{"DEVNAME", "DEVTYPE", "IFINDEX", "MAJOR", "MINOR"}, k.attr) {
			return k.is(value)
		}
	case "ATTR", "ATTRS":
		first, _, _ := strings.Cut(k.attr, "/")
		if !strings.ContainsAny(k.attr, "$%[") && !slices.Contains(attributes, first) {
			return no // of an attribute that is missing != does not hold either
		}
	}
	return maybe
}

// is compares with the alternatives of a match, of which an empty one stands for an empty
// value (token_match_string).
func (k token) is(value string) answer {
	pattern := k.value
	if k.fold {
		pattern, value = strings.ToLower(pattern), strings.ToLower(value)
	}
	found := slices.ContainsFunc(strings.Split(pattern, "|"), func(p string) bool { return fnmatch.Match(p, value) })
	if strings.Contains(pattern, "[.") || strings.Contains(pattern, "[=") || found && strings.Contains(pattern, "[:") {
		return maybe // glibc has ways of its own with what is not closed, and with unknown classes
	}
	if found == (k.op == "==") {
		return yes
	}
	return no
}
