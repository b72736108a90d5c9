package builder

import (
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/kernel"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/profiles"
)

// removedModules deletes the files of modules and what the index says of them.
func (s *surrounding) removedModules(p profiles.Profile, old *Manifest) (out []splice, bad []obstacle, err error) {
	var names []string
	for _, m := range p.Modules {
		if m.Remove {
			names = append(names, m.Name)
		}
	}
	if len(names) == 0 {
		return nil, nil, nil
	}
	reason := "remove " + strings.Join(names, ", ")
	for _, k := range s.kernels {
		more, why, err := s.removedFrom(k, names, reason)
		if err != nil {
			return nil, nil, err
		}
		if why != "" {
			bad = append(bad, obstacle{k.Modules, why, "remove the modules that need it as well, or do not remove it"})
		}
		out = append(out, more...)
	}
	return append(out, gone(s.tree, old, out)...), bad, nil
}

func (s *surrounding) removedFrom(k kernel.Kernel, names []string, reason string) (out []splice, why string, err error) {
	index, err := s.index(k)
	if err != nil {
		return nil, "", err
	}
	var there []string
	for _, name := range names {
		file, found := index.File(name)
		if !found {
			continue
		}
		there = append(there, name)
		literal, err := rootfs.Resolve(s.tree, file)
		if isMissing(err) {
			continue // the index is out of date
		}
		if err != nil {
			return nil, "", err
		}
		out = append(out, splice{path: literal, op: opDrop, reason: reason, missed: "it is there", edit: &rootfs.Edit{Op: rootfs.Remove}})
	}
	if len(there) == 0 {
		return nil, "", nil
	}
	files, refused := index.Without(there)
	if refused != nil {
		return nil, refused.Error(), nil
	}
	for name, data := range files {
		out = append(out, splice{path: path.Join(index.Dir, name), op: opDrop, reason: reason, missed: "it names removed modules", edit: &rootfs.Edit{Op: rootfs.WriteFile, Data: data}})
	}
	return out, "", nil
}

// gone are the files that an earlier build removed or rewrote for that.
func gone(t rootfs.Tree, old *Manifest, again []splice) []splice {
	if old == nil {
		return nil
	}
	var out []splice
	for _, e := range old.Entries {
		if e.Op == opDrop && !slices.ContainsFunc(again, func(s splice) bool { return s.path == e.Path }) {
			out = append(out, splice{path: e.Path, op: opDrop, reason: e.Reason})
		}
	}
	return out
}
