package profiles

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// exceptForm is a unit's name, or a glob of * and ? over them.
var exceptForm = regexp.MustCompile(`^[a-zA-Z0-9:_.\\@*?-]+\.(service|socket)$`)

func checkExcept(s string) string {
	switch {
	case len(s) > maxUnit:
		return fmt.Sprintf("is %d bytes long, want at most %d", len(s), maxUnit)
	case !exceptForm.MatchString(s):
		return fmt.Sprintf("%s is no name of a .service or .socket, nor a glob of * and ? over them", quote(s))
	case strings.Trim(strings.TrimSuffix(s, path.Ext(s)), "*?@-") == "":
		return fmt.Sprintf("%s stands for any unit", quote(s))
	}
	return ""
}

// Excepts says whether a unit may start whatever the gate says. A unit that Units names
// is gated all the same.
func (g Gate) Excepts(name string) bool {
	for _, word := range g.Except {
		if excepts(word, name) {
			return true
		}
	}
	return false
}

func excepts(word, name string) bool {
	// A backslash is part of a unit's name, and no escape.
	ok, err := path.Match(strings.ReplaceAll(word, `\`, `\\`), name)
	return err == nil && ok
}

// vainExcepts reports words of the loaded file's except that take nothing out of the gate,
// because the file, or one that it extends, gates the unit. Of two files the one that gates
// is the stricter, so that only the word can be wrong.
func (f *loaded) vainExcepts(units []string) {
	for _, e := range f.gate.excepts {
		for _, u := range units {
			if excepts(e.text, u) || holds(u, e.text) {
				f.findings = append(f.findings, Finding{f.shown, e.line, "gate.except",
					fmt.Sprintf("%s does nothing: %s is among the units", quote(e.text), quote(u))})
				break
			}
		}
	}
}

// holds says whether a template or prefix among the units stands for a unit.
func holds(unit, name string) bool {
	stem := strings.TrimSuffix(unit, path.Ext(unit))
	open := strings.HasSuffix(stem, "-") || strings.HasSuffix(stem, "@")
	return open && strings.HasPrefix(name, stem) && path.Ext(name) == path.Ext(unit)
}
