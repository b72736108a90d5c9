package builder

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kerngate/kerngate/builder/bootentry"
	"github.com/kerngate/kerngate/builder/kernel"
	"github.com/kerngate/kerngate/builder/modprobe"
	"github.com/kerngate/kerngate/builder/packages"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/builder/sideeffect"
	"github.com/kerngate/kerngate/builder/unit"
	"github.com/kerngate/kerngate/profiles"
)

// surrounding is what the tree holds beside what we write, as far as it decides what a
// kernel of the tree loads.
type surrounding struct {
	tree     rootfs.Tree
	kernels  []kernel.Kernel
	config   *modprobe.Config
	boot     *bootentry.Config
	disks    []*ramdisk
	bad      []obstacle // initramfs images that cannot be read
	unseen   []string   // what is known of images that cannot be seen into
	external bool       // the kernel command line comes from elsewhere
	indexes  map[string]*modprobe.Index
	owners   map[string]packages.Package // by module directory
	verdicts []GateVerdict               // see gate
	now      time.Time                   // by which advisories have their age: the boot's is not known
	// own are files of ours that depend on what else is in the tree; see splices.
	own []wanted
	// pinWarnings are what the room of pins says of the tree, menuNotes what that of boot
	// entries says of the menus.
	pinWarnings, menuNotes []string
}

// look reads the surroundings of a build. The caller closes them.
func look(t rootfs.Tree, p profiles.Profile) (s *surrounding, err error) {
	s = &surrounding{
		tree: t, indexes: map[string]*modprobe.Index{}, owners: map[string]packages.Package{}, now: time.Now(),
		external: slices.Contains(p.Accept, profiles.AcceptExternalCmdline),
	}
	if s.kernels, err = kernel.List(t); err != nil {
		return nil, err
	}
	if s.config, err = modprobe.ReadConfig(t); err != nil {
		return nil, err
	}
	if s.boot, err = bootentry.Read(t); err != nil {
		return nil, fmt.Errorf("cannot read the boot entries: %w", err)
	}
	s.disks, s.bad, s.unseen, err = readRamdisks(t, s.boot.Entries)
	return s, err
}

func (s *surrounding) close() { closeRamdisks(s.disks) }

// index is the module index of a kernel, read once.
func (s *surrounding) index(k kernel.Kernel) (*modprobe.Index, error) {
	if known, found := s.indexes[k.Release]; found {
		return known, nil
	}
	index, err := modprobe.ReadIndex(s.tree, k.Modules)
	if loadable, _ := k.Count(); isMissing(err) && loadable == 0 {
		index, err = &modprobe.Index{Dir: k.Modules}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the module index of kernel %s: %w", k.Release, err)
	}
	s.indexes[k.Release] = index
	return index, nil
}

// obstacles finds what in the rest of the tree would take away the effect of what we
// write, and what the user should know.
func (s *surrounding) obstacles(p profiles.Profile) (found []obstacle, warnings []string, err error) {
	if len(blocksBy(p, profiles.BlockInitramfs)) > 0 {
		found = append(found, s.bad...)
	}
	builtIn, err := s.builtIns(p)
	if err != nil {
		return nil, nil, err
	}
	found = append(found, builtIn...)
	unheeded, err := s.busyboxObstacles(p)
	if err != nil {
		return nil, nil, err
	}
	found = append(found, unheeded...)
	found, warnings, err = s.modprobeObstacles(p, found)
	if err != nil {
		return nil, nil, err
	}
	if len(blocksBy(p, profiles.BlockInitramfs)) > 0 {
		warnings = append(warnings, s.unseen...)
	}
	more, notes, err := s.cmdlineObstacles(p)
	if err != nil {
		return nil, nil, err
	}
	warnings = append(warnings, notes...)
	found = append(found, more...)
	certain, possible, err := s.sideEffects(p)
	if err != nil {
		return nil, nil, err
	}
	found, warnings = append(found, certain...), append(warnings, possible...)
	warnings = append(warnings, s.pinWarnings...)
	if len(p.Gate.Units) > 0 {
		found = append(found, maskingEntries(s.boot.Entries)...)
		conflicts, err := unit.Conflicts(s.tree, unitConfig(p))
		if err != nil {
			return nil, nil, err
		}
		for _, c := range conflicts {
			found = append(found, obstacle{c.Path, c.Why, "remove the file from the image, or change it so that it no longer does that"})
		}
		unseen, err := unit.Unseen(s.tree)
		if err != nil {
			return nil, nil, err
		}
		warnings = append(warnings, unseen...)
		missed, excepted, err := ungated(s.tree, p)
		if err != nil {
			return nil, nil, err
		}
		found, warnings = append(found, missed...), append(warnings, excepted...)
		refused, notes, err := s.gateObstacles(p)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot tell what the gate will say: %w", err)
		}
		found, warnings = append(found, refused...), append(warnings, notes...)
		if notes, err = s.menuWarnings(p); err != nil {
			return nil, nil, err
		}
		warnings = append(warnings, notes...)
	}
	return found, warnings, nil
}

// builtIns are modules that a profile keeps out in some way, and that some kernel has
// built in, where only the command line keeps them from starting, or not even that.
func (s *surrounding) builtIns(p profiles.Profile) ([]obstacle, error) {
	var out []obstacle
	for _, k := range s.kernels {
		for _, m := range p.Modules {
			if len(m.Block) == 0 && !m.Remove || k.State(m.Name) != kernel.BuiltIn {
				continue
			}
			if !slices.Contains(m.Block, profiles.BlockInitcall) {
				out = append(out, obstacle{m.Name, "it is built into kernel " + k.Release + ", where only initcall_blacklist= on its command line keeps it out",
					"add \"initcall\" to the module's block list, or use a kernel that has it as a module or not at all"})
				continue
			}
			config, err := k.Config(s.tree)
			if err != nil {
				return nil, fmt.Errorf("cannot read the configuration of kernel %s: %w", k.Release, err)
			}
			if !config.SkipsInitcalls() {
				out = append(out, obstacle{m.Name, "it is built into kernel " + k.Release + ", where initcall_blacklist= does not keep it out: " + config.Path + " is without KALLSYMS, or has LTO_CLANG",
					"use a kernel that has it as a module or not at all"})
			}
		}
	}
	return out, nil
}

// busyboxObstacles are modules that modprobe.d is to keep out of a root whose modprobe is
// busybox's, and would not: it runs no install command, and heeds aliases off for other
// names than the module's own alone. Asked is the modprobe.d that the build will leave.
func (s *surrounding) busyboxObstacles(p profiles.Profile) ([]obstacle, error) {
	busybox, err := s.hasBusybox()
	blocks := blocksOf(p)
	if err != nil || !busybox || len(blocks) == 0 {
		return nil, err
	}
	falsePath, err := modprobe.False(s.tree)
	if err != nil {
		return nil, err
	}
	over, after := rootfs.NewOverlay(s.tree), *s
	over.Write(modprobe.File, modprobe.Text(header(p), blocks, falsePath))
	after.disks = nil
	if after.config, err = modprobe.ReadConfig(over); err != nil {
		return nil, err
	}
	machines, err := after.machines()
	if err != nil {
		return nil, err
	}
	var out []obstacle
	for _, m := range p.Modules {
		if slices.Contains(m.Block, profiles.BlockCmdline) || m.Remove || !slices.Contains(m.Block, profiles.BlockModprobe) {
			continue // something else keeps it out
		}
		for _, k := range machines {
			paths, err := k.paths(m.Known)
			if err != nil {
				return nil, err
			}
			i := slices.IndexFunc(paths, func(l LoadPath) bool {
				return l.Open() && slices.Contains(closedBy[profiles.BlockModprobe], l.Path)
			})
			if i >= 0 {
				out = append(out, obstacle{m.Name, fmt.Sprintf("modprobe in the image is busybox's, and modprobe.d does not close %s on kernel %s to it: %s", paths[i].Path, paths[i].Kernel, paths[i].By),
					`add "cmdline" to the module's block list, or install kmod in the image`})
			}
		}
	}
	return out, nil
}

// modprobeObstacles finds lines of modprobe.d, and of the kernels' own soft
// dependencies, that undo a block.
func (s *surrounding) modprobeObstacles(p profiles.Profile, found []obstacle) (_ []obstacle, warnings []string, err error) {
	lines, blocks := s.config.Lines(), blocksOf(p)
	if len(blocks) == 0 {
		return found, nil, nil
	}
	for _, k := range s.kernels {
		index, err := s.index(k)
		if err != nil {
			return nil, nil, err
		}
		lines = append(lines, index.Softdeps()...)
	}
	for _, c := range modprobe.Conflicts(lines, blocks) {
		found = append(found, obstacle{c.Module, fmt.Sprintf("%s (%s)", c.Why, c.Line), "remove the line from the image"})
	}
	for _, m := range s.config.MaskedBlock() {
		warnings = append(warnings, fmt.Sprintf("%s has no effect: %s has the same name and hides it", m.File, m.By))
	}
	for _, n := range modprobe.Notes(lines, blocks) {
		warnings = append(warnings, n.String())
	}
	return found, warnings, nil
}

// sideEffects finds who would miss a blocked module: as obstacles those who certainly
// will and whom nobody gave up, as warnings the others.
func (s *surrounding) sideEffects(p profiles.Profile) (certain []obstacle, possible []string, err error) {
	report, err := s.effects(p)
	if err != nil {
		return nil, nil, err
	}
	refused := report.Refused(p.Accept)
	for _, e := range report.Effects {
		text := fmt.Sprintf("%s needs %s (%s): %s", e.Who, strings.Join(e.Modules, ", "), strings.Join(e.Evidence, "; "), e.Breaks)
		isRefused := slices.ContainsFunc(refused, func(r sideeffect.Effect) bool { return r.Who == e.Who && r.Accept == e.Accept && e.Certain })
		if !isRefused {
			possible = append(possible, text)
			continue
		}
		certain = append(certain, obstacle{e.Who, text, fmt.Sprintf("give --accept %s if that is meant, or take the modules out of the profile", e.Accept)})
	}
	for _, unread := range report.Unread {
		possible = append(possible, "not looked into for users of blocked modules: "+unread)
	}
	return certain, possible, nil
}

func (s *surrounding) effects(p profiles.Profile) (sideeffect.Report, error) {
	query := sideeffect.Query{}
	for _, m := range p.Modules {
		if len(m.Block) > 0 || m.Remove {
			query.Blocked = append(query.Blocked, m.Name)
		}
	}
	for _, e := range s.boot.Entries {
		query.CommandLines = append(query.CommandLines, sideeffect.CommandLine{Where: e.String(), Text: e.CommandLine})
	}
	report, err := sideeffect.Find(s.tree, profiles.KnownSideEffects(), query)
	if err != nil {
		return report, fmt.Errorf("cannot look for users of blocked modules: %w", err)
	}
	return report, nil
}
