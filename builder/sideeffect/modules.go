package sideeffect

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/profiles"
)

// loaders finds files that ask for a blocked module at boot: modules-load.d(5),
// /etc/modules of Debian and Alpine, initramfs-tools(7).
func (f *finder) loaders() error {
	for _, glob := range []string{
		"/etc/modules-load.d/*.conf", "/usr/local/lib/modules-load.d/*.conf", "/usr/lib/modules-load.d/*.conf", "/lib/modules-load.d/*.conf",
		"/etc/modules", "/etc/initramfs-tools/modules", "/usr/share/initramfs-tools/modules.d/*",
	} {
		names, err := f.search.glob(glob)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := f.loader(name); err != nil {
				return fmt.Errorf("cannot read %s: %w", name, err)
			}
		}
	}
	return nil
}

func (f *finder) loader(name string) error {
	literal, err := f.search.follow(name)
	if err != nil || literal == "" || f.loaded[literal] {
		return err
	}
	f.loaded[literal] = true
	if info, err := f.tree.Lstat(literal); err != nil || !info.Mode.IsRegular() {
		return err
	}
	text, err := rootfs.ReadFile(f.tree, literal, maxConfig)
	if err != nil {
		return err
	}
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		// The word is whole: a comment sign in front of it makes it no module.
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		module := strings.ReplaceAll(words[0], "-", "_")
		if slices.Contains(f.query.Blocked, module) {
			f.add(module, Effect{
				Certain: true, Who: "modules loaded at boot", Evidence: []string{fmt.Sprintf("%s:%d", name, number)},
				Breaks: "the module is asked for at boot and is not there: " + f.family(module).Breaks,
			})
		}
	}
	return nil
}

// add takes an effect on a module, or joins it to one on the same user that is there.
func (f *finder) add(module string, e Effect) {
	e.Accept, e.Modules = f.family(module).Accept, []string{module}
	for i, old := range f.effects {
		if old.Who == e.Who && old.Accept == e.Accept && old.Breaks == e.Breaks {
			if !slices.Contains(old.Modules, module) {
				f.effects[i].Modules = append(old.Modules, module)
				slices.Sort(f.effects[i].Modules)
			}
			if len(old.Evidence) < maxEvidence && !slices.Contains(old.Evidence, e.Evidence[0]) {
				f.effects[i].Evidence = append(old.Evidence, e.Evidence...)
			}
			return
		}
	}
	f.effects = append(f.effects, e)
}

// dependants finds the modules that load a blocked one first: they cannot be loaded any
// more. It is uncertain whether anybody wants to.
func (f *finder) dependants() error {
	kernels := 0
	done := map[string]bool{}
	for _, glob := range []string{"/usr/lib/modules/*/modules.dep", "/lib/modules/*/modules.dep"} {
		names, err := f.search.glob(glob)
		if err != nil {
			return err
		}
		for _, name := range names {
			literal, err := f.search.follow(name)
			if err != nil {
				return err
			}
			if literal == "" || done[literal] {
				continue
			}
			done[literal] = true
			if kernels++; kernels > maxKernels {
				return fmt.Errorf("more than %d kernels", maxKernels)
			}
			if err := f.dependantsOf(literal); err != nil {
				return fmt.Errorf("cannot read %s: %w", literal, err)
			}
		}
	}
	return nil
}

// dependantsOf reads lines "MODULE: DEPENDENCY …", where the dependencies are all of
// them, not only the direct ones: depmod(8).
func (f *finder) dependantsOf(file string) error {
	text, err := rootfs.ReadFile(f.tree, file, maxDep)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	number := 0
	for line := range bytes.Lines(text) {
		number++
		head, rest, _ := bytes.Cut(line, []byte(":"))
		module := moduleName(string(head))
		if slices.Contains(f.query.Blocked, module) {
			continue
		}
		for _, dep := range strings.Fields(string(rest)) {
			if blocked := moduleName(dep); slices.Contains(f.query.Blocked, blocked) {
				f.dependant(module, blocked, fmt.Sprintf("%s:%d", file, number))
			}
		}
		if len(f.effects) > maxEffects {
			return fmt.Errorf("more than %d side effects", maxEffects)
		}
	}
	return nil
}

func (f *finder) dependant(module, blocked, evidence string) {
	if known, ok := profiles.Lookup(module); ok && known.Family == f.familyName(blocked) {
		// esp4_offload without esp4: no loss of its own.
		return
	}
	f.add(blocked, Effect{
		Who: "module " + module, Evidence: []string{evidence},
		Breaks: "the module cannot be loaded, nor what needs it: it loads a blocked one first",
	})
}

func (f *finder) familyName(module string) string {
	known, _ := profiles.Lookup(module)
	return known.Family
}

// moduleName is the name in /proc/modules of a module file.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}
