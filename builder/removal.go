package builder

import (
	"fmt"
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
	reason := "remove " + strings.Join(names, ", ")
	for _, k := range s.kernels {
		if len(names) == 0 {
			break
		}
		more, why, err := s.removedFrom(k, names, reason)
		if err != nil {
			return nil, nil, err
		}
		if why != "" {
			bad = append(bad, obstacle{k.Modules, why, "remove the modules that need it as well, or do not remove it"})
		}
		out = append(out, more...)
	}
	before, err := gone(s.tree, old, out)
	return append(out, before...), bad, err
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
		one := splice{path: literal, op: opDrop, reason: reason, missed: "it is there", edit: &rootfs.Edit{Op: rootfs.Remove}}
		if isMissing(err) {
			one.edit, err = nil, nil // the index is out of date
		}
		if err != nil {
			return nil, "", err
		}
		out = append(out, one)
	}
	shadowed, err := s.unlisted(k, names, out)
	if err != nil {
		return nil, "", err
	}
	for _, file := range shadowed {
		out = append(out, splice{path: file, op: opDrop, reason: reason, missed: "it is there", edit: &rootfs.Edit{Op: rootfs.Remove}})
	}
	if len(there) == 0 {
		return out, "", nil
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

// maxModuleFiles bounds what is looked through in one module directory; a distribution
// kernel has some 7000 files there.
const maxModuleFiles = 1 << 18

// unlisted finds files of the modules that the index does not name, beside known: one in
// updates hides the kernel's own, which the next depmod would bring back.
func (s *surrounding) unlisted(k kernel.Kernel, names []string, known []splice) (out []string, err error) {
	seen := 0
	for dirs := []string{k.Modules}; len(dirs) > 0; dirs = dirs[1:] {
		entries, err := s.tree.ReadDir(dirs[0])
		if err != nil {
			return nil, err
		}
		if seen += len(entries); seen > maxModuleFiles {
			return nil, fmt.Errorf("%s: more than %d files", k.Modules, maxModuleFiles)
		}
		for _, e := range entries {
			file := path.Join(dirs[0], e.Name)
			switch {
			case e.Type.IsDir():
				dirs = append(dirs, file)
			case !strings.Contains(e.Name, ".ko") || !slices.Contains(names, kernel.ModuleName(e.Name)):
			case !slices.ContainsFunc(known, func(one splice) bool { return one.path == file }):
				out = append(out, file)
			}
		}
	}
	return out, nil
}

// gone are the files that an earlier build removed, as far as nobody brought them back,
// or rewrote for that. They stay in the manifest, whatever the profile says now.
func gone(t rootfs.Tree, old *Manifest, again []splice) ([]splice, error) {
	var out []splice
	lost, err := lostModules(t, old)
	if err != nil {
		return nil, err
	}
	for _, e := range old.entries() {
		isLost := func(name string) bool { return name == e.Path || rootfs.Below(name, path.Dir(e.Path)) }
		if e.Op != opDrop || !slices.ContainsFunc(lost, isLost) || (isModuleFile(e.Path) && !slices.Contains(lost, e.Path)) {
			continue
		}
		if !slices.ContainsFunc(again, func(s splice) bool { return s.path == e.Path }) {
			out = append(out, splice{path: e.Path, op: opDrop, reason: e.Reason})
		}
	}
	return out, nil
}

// lostModules lists the module files that an earlier build removed from kernels which
// are still there.
func lostModules(t rootfs.Tree, old *Manifest) ([]string, error) {
	var out []string
	for _, e := range old.entries() {
		if e.Op != opDrop || !isModuleFile(e.Path) {
			continue
		}
		there, err := rootfs.Exists(t, e.Path)
		if err != nil {
			return nil, err
		}
		kernel, err := rootfs.Exists(t, moduleDir(e.Path))
		if err != nil {
			return nil, err
		}
		if !there && kernel {
			out = append(out, e.Path)
		}
	}
	return out, nil
}

func isModuleFile(name string) bool { return strings.Contains(path.Base(name), ".ko") }

// moduleDir is the directory of the kernel that a file below /lib/modules is for.
func moduleDir(name string) string {
	at := strings.Index(name, "/modules/")
	release, _, _ := strings.Cut(name[at+len("/modules/"):], "/")
	return path.Join(name[:at], "modules", release)
}
