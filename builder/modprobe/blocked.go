package modprobe

import (
	"errors"
	"slices"
	"strings"
)

// Blocked says whether a call of kmod's modprobe leaves a module out, and by what: the
// configuration line that decides, "file:line: words", or in words. A command that is
// not known to do nothing counts as one that inserts the module if it is that of the
// module or names it.
func (r Resolver) Blocked(req Request, module string) (by string, blocked bool, err error) {
	steps, err := r.Kmod(req)
	return verdict(steps, err, moduleName(module))
}

// BlockedBusybox is the same for busybox's modprobe.
func (r Resolver) BlockedBusybox(req Request, module string) (by string, blocked bool, err error) {
	steps, err := r.Busybox(req)
	return verdict(steps, err, moduleName(module))
}

func verdict(steps []Step, err error, module string) (by string, blocked bool, _ error) {
	if err != nil && !errors.Is(err, ErrNotFound) {
		return "", false, err
	}
	decided := ""
	for _, s := range steps {
		switch {
		case s.Idle:
		case s.Kind == Insert && s.Module == module:
			return "", false, nil
		case s.Kind == BuiltIn && s.Module == module:
			return "", false, nil
		case s.Kind == Run && !harmless(s.Command) && (s.Module == module || names(s.Command, module)):
			return "", false, nil
		case s.By.File != "" && (decided == "" || s.Module == module):
			decided = s.By.String()
		case s.Kind == Missing && decided == "":
			decided = "the file of " + s.Module + " is not there"
		}
	}
	switch {
	case decided != "":
		return decided, true, nil
	case err != nil:
		return ErrNotFound.Error(), true, nil
	default:
		return "nothing in this request leads to it", true, nil
	}
}

// harmless says whether a command inserts no module whatever the system is like.
func harmless(command string) bool {
	return slices.Contains([]string{":", "true", "/bin/true", "/usr/bin/true"}, plainProgram(command)) || alwaysFails(command)
}

// names says whether a command has a module's name in it, in any spelling.
func names(command, module string) bool {
	return strings.Contains(strings.ReplaceAll(command, "-", "_"), module)
}
