package builder

import (
	"fmt"
	"slices"

	"github.com/kerngate/kerngate/builder/bootentry"
	"github.com/kerngate/kerngate/builder/kernel"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// deafTo are the symbols of a kernel that takes its own command line and heeds no boot
// loader's: x86 and MIPS have the first, the other architectures the second.
var deafTo = []string{"CMDLINE_OVERRIDE", "CMDLINE_FORCE"}

// deafKernels are those on which no boot entry has any effect.
func (s *surrounding) deafKernels() ([]obstacle, error) {
	var out []obstacle
	for _, k := range s.kernels {
		config, err := k.Config(s.tree)
		if err != nil {
			return nil, fmt.Errorf("cannot read the configuration of kernel %s: %w", k.Release, err)
		}
		if i := slices.IndexFunc(deafTo, config.Has); i >= 0 {
			out = append(out, obstacle{config.Path, fmt.Sprintf("kernel %s has CONFIG_%s and heeds no command line but its own", k.Release, deafTo[i]),
				"use a kernel that takes a command line, or remove this one from the image"})
		}
	}
	return out, nil
}

// strangers are boot entries whose kernel is in the tree and whose modules are not: what
// it has built in nobody knows.
func (s *surrounding) strangers() []bootentry.Entry {
	var out []bootentry.Entry
	for _, e := range s.boot.Entries {
		known := slices.ContainsFunc(s.kernels, func(k kernel.Kernel) bool { return k.Release == e.Release })
		if e.Template || known || (e.Release == "" && len(s.kernels) > 0) {
			continue
		}
		if there, err := rootfs.Exists(s.tree, e.Kernel); err == nil && there {
			out = append(out, e)
		}
	}
	return out
}

// strangerNotes are words on them, one for each kernel.
func (s *surrounding) strangerNotes() []string {
	var out []string
	var told []string
	for _, e := range s.strangers() {
		if !slices.Contains(told, e.Kernel) {
			told = append(told, e.Kernel)
			out = append(out, fmt.Sprintf("%s: it starts a kernel whose list of modules is not in the image: what %s has built in is not known", e, e.Kernel))
		}
	}
	return out
}
