package inference

import (
	"path"
	"slices"
	"strings"
)

// unitName is a unit's name in its parts: prefix@instance.suffix.
type unitName struct {
	prefix   string
	instance string
	at       bool // there is an @: a template if instance is empty
	suffix   string
}

func splitName(name string) unitName {
	suffix := path.Ext(name)
	stem := strings.TrimSuffix(name, suffix)
	prefix, instance, at := strings.Cut(stem, "@")
	return unitName{prefix, instance, at, suffix}
}

func (n unitName) String() string {
	if !n.at {
		return n.prefix + n.suffix
	}
	return n.prefix + "@" + n.instance + n.suffix
}

func (n unitName) template() unitName {
	n.instance = ""
	return n
}

func (n unitName) isInstance() bool { return n.instance != "" }

// maxDashes bounds the prefixes of one name: a file name has at most 255 bytes.
const maxDashes = 128

// DropInNames gives the names whose drop-in directories, with ".d", systemd reads for a
// unit, nearest first: its own, its template's, and those of its name cut off behind each
// dash (systemd.unit(5); unit_file_find_dirs in src/shared/dropin.c). The directories for
// all units of a type come last in systemd and are not among them.
func DropInNames(name string) []string {
	var out []string
	var add func(n unitName, left int)
	add = func(n unitName, left int) {
		if left == 0 || slices.Contains(out, n.String()) {
			return
		}
		out = append(out, n.String())
		if n.isInstance() {
			add(n.template(), left-1)
		}
		if shorter, ok := cutAtDash(n.prefix); ok {
			n.prefix = shorter
			n.at = n.isInstance() // of a template the shorter name is a plain one
			add(n, left-1)
		}
	}
	add(splitName(name), maxDashes)
	return out
}

// cutAtDash cuts a prefix off behind its last dash that does not end it.
func cutAtDash(prefix string) (string, bool) {
	dash := strings.LastIndexByte(strings.TrimSuffix(prefix, "-"), '-')
	if dash <= 0 {
		return "", false
	}
	return prefix[:dash+1], true
}
