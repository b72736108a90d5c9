package builder

import (
	"fmt"
	"strings"

	"github.com/kerngate/kerngate/builder/kernel"
	"github.com/kerngate/kerngate/builder/modprobe"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/builder/unit"
	"github.com/kerngate/kerngate/initcheck/kver"
	"github.com/kerngate/kerngate/profiles"
)

// surroundings finds what in the rest of the tree would take away the effect of
// what we write, and what the user should know.
func surroundings(t rootfs.Tree, p profiles.Profile) (found []obstacle, warnings []string, err error) {
	kernels, err := kernel.List(t)
	if err != nil {
		return nil, nil, err
	}
	blocks := blocksOf(p)
	found = append(found, builtIns(kernels, blocks)...)
	lines, err := modprobe.Read(t)
	if err != nil {
		return nil, nil, err
	}
	for _, c := range modprobe.Conflicts(lines, blocks) {
		found = append(found, obstacle{c.Module, fmt.Sprintf("%s (%s)", c.Why, c.Line), "remove the line from the image"})
	}
	if len(p.Gate.Units) > 0 {
		conflicts, err := unit.Conflicts(t, p.Gate.Units)
		if err != nil {
			return nil, nil, err
		}
		for _, c := range conflicts {
			found = append(found, obstacle{c.Path, c.Why, "remove the file from the image"})
		}
		warnings = floorWarnings(kernels, p.Kernel.Floor)
	}
	return found, warnings, nil
}

// builtIns are blocked modules that some kernel has built in: modprobe.d cannot
// keep those out.
func builtIns(kernels []kernel.Kernel, blocks []modprobe.Block) []obstacle {
	var out []obstacle
	for _, k := range kernels {
		for _, b := range blocks {
			if k.State(b.Module) == kernel.BuiltIn {
				out = append(out, obstacle{b.Module, "it is built into kernel " + k.Release + ", where modprobe.d cannot keep it out",
					"use a kernel that has it as a module or not at all; this version does not write kernel command lines"})
			}
		}
	}
	return out
}

// floorWarnings says which kernels the gate will refuse.
func floorWarnings(kernels []kernel.Kernel, floor string) []string {
	if len(kernels) == 0 {
		return []string{"no kernel in the image: nothing is known of the one that it will run on"}
	}
	lowest, err := kver.Parse(floor)
	if floor == "" || err != nil {
		return nil
	}
	var below []string
	for _, k := range kernels {
		if got, err := kver.Parse(k.Release); err != nil || kver.Compare(got, lowest) < 0 {
			below = append(below, k.Release)
		}
	}
	switch {
	case len(below) == 0:
		return nil
	case len(below) == len(kernels):
		return []string{fmt.Sprintf("no kernel at or above the floor %s: the gate will refuse on %s", floor, strings.Join(below, ", "))}
	default:
		return []string{fmt.Sprintf("the gate will refuse on kernels below the floor %s: %s", floor, strings.Join(below, ", "))}
	}
}
