package builder

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/bootentry"
	"github.com/kerngate/kerngate/builder/kernel"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/profiles"
)

// cmdlineWant is what every kernel command line must name: the modules, and of the
// ones that some kernel has built in, or may have, the functions that start them.
func (s *surrounding) cmdlineWant(p profiles.Profile) bootentry.Want {
	unknown := len(s.strangers()) > 0
	w := bootentry.Want{Header: header(p)}
	for _, m := range p.Modules {
		if slices.Contains(m.Block, profiles.BlockCmdline) {
			w.Modules = append(w.Modules, m.Name)
		}
		if slices.Contains(m.Block, profiles.BlockInitcall) && (unknown || builtInSomewhere(s.kernels, m.Name)) {
			w.Initcalls = append(w.Initcalls, m.Known.Initcall)
		}
	}
	return w
}

func builtInSomewhere(kernels []kernel.Kernel, module string) bool {
	return slices.ContainsFunc(kernels, func(k kernel.Kernel) bool { return k.State(module) == kernel.BuiltIn })
}

// words gives the arguments that say what w says, with blanks between.
func words(w bootentry.Want) string {
	var out []string
	if len(w.Modules) > 0 {
		out = append(out, "module_blacklist="+strings.Join(w.Modules, ","))
	}
	if len(w.Initcalls) > 0 {
		out = append(out, "initcall_blacklist="+strings.Join(w.Initcalls, ","))
	}
	return strings.Join(out, " ")
}

// parseWords is the inverse of words, for what a manifest says. Other words are
// nothing of ours.
func parseWords(text string) (w bootentry.Want) {
	for word := range strings.FieldsSeq(text) {
		if names, ok := strings.CutPrefix(word, "module_blacklist="); ok {
			w.Modules = strings.Split(names, ",")
		} else if names, ok := strings.CutPrefix(word, "initcall_blacklist="); ok {
			w.Initcalls = strings.Split(names, ",")
		}
	}
	return w
}

// bootSplices change what boot loaders read: first which entries there are and which one
// starts, then the kernel command lines of those that are left.
func (s *surrounding) bootSplices(p profiles.Profile, old *Manifest) ([]splice, []obstacle, error) {
	menu, err := s.editMenus(p, old)
	if err != nil {
		return nil, nil, err
	}
	lines, bad, err := s.cmdlineSplices(p, old, menu)
	if err != nil {
		return nil, nil, err
	}
	out, err := menu.splicesOf(s, lines)
	return out, append(menu.bad, bad...), err
}

// cmdlineSplices puts what a profile wants on every command line. Where anything is to
// change, all that an earlier build added goes first, so that the order of names does not
// tell of earlier profiles.
func (s *surrounding) cmdlineSplices(p profiles.Profile, old *Manifest, menu *menuEdit) ([]splice, []obstacle, error) {
	want, ours := s.cmdlineWant(p), oldWords(old)
	if len(gaps(menu.boot, want)) == 0 && !hasStale(ours, want) {
		return unchangedLines(menu.boot, ours), nil, nil
	}
	touched, refusals, err := withoutOurs(menu.boot, ours, menu.over)
	if err != nil {
		return nil, nil, err
	}
	boot, err := bootentry.Read(menu.over)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the boot entries: %w", err)
	}
	added := gaps(boot, want)
	edits, more, err := boot.Splice(want)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot change the kernel command lines: %w", err)
	}
	for _, e := range edits {
		menu.over.Write(e.Path, e.Data)
		touched[e.Path] = true
	}
	out, err := s.lineSplices(touched, menu.over, added, gaps(s.boot, want))
	return out, lineObstacles(append(refusals, more...), want), err
}

// gaps gives what command lines lack, by the file they are in.
func gaps(boot *bootentry.Config, want bootentry.Want) map[string]bootentry.Want {
	out := map[string]bootentry.Want{}
	if want.Empty() {
		return out
	}
	for _, gap := range boot.Missing(want) {
		all := out[gap.Entry.Path].Union(gap.Want)
		slices.Sort(all.Modules)
		slices.Sort(all.Initcalls)
		out[gap.Entry.Path] = all
	}
	return out
}

// oldWords is what an earlier build added, by file.
func oldWords(old *Manifest) map[string]bootentry.Want {
	out := map[string]bootentry.Want{}
	if old != nil {
		for _, e := range old.Entries {
			if e.Op == opSplice {
				out[e.Path] = parseWords(e.Added)
			}
		}
	}
	return out
}

func hasStale(ours map[string]bootentry.Want, want bootentry.Want) bool {
	for _, w := range ours {
		if !w.Without(want).Empty() {
			return true
		}
	}
	return false
}

// withoutOurs takes off every line what an earlier build added to it.
func withoutOurs(boot *bootentry.Config, ours map[string]bootentry.Want, over *rootfs.Overlay) (touched map[string]bool, refusals []bootentry.Refusal, err error) {
	edits, refusals, err := boot.Remove(ours)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot change the kernel command lines: %w", err)
	}
	touched = map[string]bool{}
	for _, e := range edits {
		touched[e.Path] = true
		if e.Delete {
			over.Remove(e.Path)
		} else {
			over.Write(e.Path, e.Data)
		}
	}
	return touched, refusals, nil
}

// lineSplices are the changes that lead to the files of over.
func (s *surrounding) lineSplices(touched map[string]bool, over *rootfs.Overlay, added, lacking map[string]bootentry.Want) ([]splice, error) {
	var out []splice
	for name := range touched {
		one := splice{path: name, op: opSplice, added: words(added[name])}
		one.reason, one.missed = "kernel command line: "+one.added, "its kernel command line lacks "+words(lacking[name])
		if one.added == "" {
			one.reason, one.missed = "the profile no longer asks for it", "its kernel command line has what the profile does not ask for"
		}
		edit, err := s.editTo(over, name)
		if err != nil {
			return nil, err
		}
		one.edit = edit
		out = append(out, one)
	}
	return out, nil
}

// maxBootFile bounds a file with command lines that is rewritten: a unified kernel image
// with an initramfs of all modules has some hundred megabytes.
const maxBootFile = 1 << 30

func lineObstacles(refusals []bootentry.Refusal, want bootentry.Want) []obstacle {
	var out []obstacle
	advice := "put on it by hand: " + words(want)
	if want.Empty() {
		advice = "take off it by hand what the plan of the build put there"
	}
	for _, r := range refusals {
		out = append(out, obstacle{r.Entry.String(), "its kernel command line cannot be changed: " + r.Why, orElse(r.Hint, advice)})
	}
	return out
}

// unchangedLines are the files that have all that an earlier build added.
func unchangedLines(boot *bootentry.Config, ours map[string]bootentry.Want) []splice {
	var out []splice
	for name, w := range ours {
		if slices.ContainsFunc(boot.Entries, func(b bootentry.Entry) bool { return b.Path == name }) {
			out = append(out, splice{path: name, op: opSplice, added: words(w), reason: "kernel command line: " + words(w)})
		}
	}
	return out
}

// cmdlineObstacles finds boot loaders whose command lines nobody can see to.
func (s *surrounding) cmdlineObstacles(p profiles.Profile) (found []obstacle, warnings []string, err error) {
	want := s.cmdlineWant(p)
	if want.Empty() {
		return nil, nil, nil
	}
	deaf, err := s.deafKernels()
	if err != nil {
		return nil, nil, err
	}
	found, warnings = s.entryObstacles(want)
	return append(found, deaf...), append(warnings, s.strangerNotes()...), nil
}

// entryObstacles are those of the boot entries.
func (s *surrounding) entryObstacles(want bootentry.Want) (found []obstacle, warnings []string) {
	for _, problem := range s.boot.Problems {
		found = append(found, obstacle{problem.Path, problem.Why, "put on the kernel command lines that it holds: " + words(want)})
	}
	must := "the kernel command line must have: " + words(want)
	switch starts := slices.ContainsFunc(s.boot.Entries, func(e bootentry.Entry) bool { return !e.Template }); {
	case s.external:
		for _, o := range found {
			warnings = append(warnings, o.String())
		}
		return nil, append(warnings, must)
	case starts:
		return found, s.boot.Notes
	case len(s.kernels) == 0:
		return found, append(warnings, "no boot entry in the image; wherever its kernel is started, "+must)
	case len(found) == 0:
		found = append(found, obstacle{"boot entries", "there is none in the image, and root can load any module with insmod unless the kernel command line forbids it",
			"where this image's kernel is started, put on its command line: " + words(want) + "; then give --accept external-cmdline"})
	}
	return found, warnings
}
