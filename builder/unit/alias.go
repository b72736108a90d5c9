package unit

import (
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// Limits on links that give units other names.
const (
	// maxAliases bounds the other names of gated units; a unit has one or two.
	maxAliases = 1024
	// maxAliasSteps bounds a chain of such links, as systemd does (FOLLOW_MAX in
	// src/shared/unit-file.c).
	maxAliasSteps = 8
)

// unitLink is a link in a directory of units: another name of what it leads to.
type unitLink struct{ file, name, target string }

// addAliases notes the other names of gated units, on both ends of a link: systemd reads
// the drop-ins of all names of a unit. No unit of ours has one.
func (s *scope) addAliases(t rootfs.Tree, all []listing) ([]Conflict, error) {
	links, err := unitLinks(t, all)
	if err != nil {
		return nil, err
	}
	var out []Conflict
	for _, l := range links {
		if slices.Contains(s.gates, l.target) {
			out = append(out, Conflict{l.file, "it gives " + gateName(l.target) + " another name, and what changes that changes the gate"})
		}
	}
	known := map[string]bool{}
	gated := func(name string) bool {
		_, own := match(name, s.units)
		return own || known[name]
	}
	for range maxAliasSteps {
		before := len(known)
		for _, l := range links {
			name, target := gated(l.name), gated(l.target)
			if name && !target {
				known[l.target] = true
			} else if target && !name {
				known[l.name] = true
			}
		}
		if len(known) > maxAliases {
			return nil, fmt.Errorf("%s: gated units have more than %d other names", s.dir, maxAliases)
		}
		if len(known) == before {
			break
		}
	}
	for name := range known {
		s.aliases = append(s.aliases, name)
	}
	slices.Sort(s.aliases)
	return out, nil
}

// unitLinks lists the links of the directories that lead to another name of the same type.
func unitLinks(t rootfs.Tree, all []listing) ([]unitLink, error) {
	var out []unitLink
	for _, l := range all {
		for _, e := range l.entries {
			if e.Type != fs.ModeSymlink {
				continue
			}
			file := path.Join(l.literal, e.Name)
			target, err := t.Readlink(file)
			if err != nil {
				return nil, err
			}
			base := path.Base(target)
			if kind := path.Ext(base); kind != "" && kind != ".d" && kind == path.Ext(e.Name) && base != e.Name {
				out = append(out, unitLink{file, e.Name, base})
			}
		}
	}
	return out, nil
}
