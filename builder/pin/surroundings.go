package pin

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// surroundings warns of what no file of a package manager reaches, and of modules that
// have to be built for each kernel.
func (p *planner) surroundings() error {
	if p.want.Mode == None {
		return nil
	}
	ostree, err := rootfs.Exists(p.tree, "/usr/bin/rpm-ostree")
	if err != nil {
		return err
	}
	if ostree {
		p.warn("/usr/bin/rpm-ostree: the kernel comes with the commit of the system, which no pin reaches")
	}
	if len(p.out.Managers) == 0 {
		p.warn("no package manager that is known is in the tree: nothing to pin")
	}
	modules, err := p.dkms()
	if err != nil || len(modules) == 0 {
		return err
	}
	why := "every kernel in " + p.bounds.String() + " needs them built, and a series that their sources are too old for leaves the machine without them"
	if p.want.Mode == Exact {
		why = "they need the headers of " + p.bounds.low.String() + ", which repositories drop when they have something newer"
	}
	p.warn("modules from DKMS: %s: %s", listed(modules), why)
	return nil
}

// dkms gives the modules that DKMS knows, with their version where the name has it:
// dkms(8).
func (p *planner) dkms() ([]string, error) {
	var out []string
	sources, err := p.list("/usr/src")
	if err != nil {
		return nil, err
	}
	for _, name := range sources {
		here, err := rootfs.Exists(p.tree, path.Join("/usr/src", name, "dkms.conf"))
		if err != nil {
			return nil, err
		}
		if here {
			out = append(out, name)
		}
	}
	built, err := p.list("/var/lib/dkms")
	if err != nil {
		return nil, err
	}
	for _, name := range built {
		known := func(source string) bool { return source == name || strings.HasPrefix(source, name+"-") }
		if !slices.ContainsFunc(out, known) {
			out = append(out, name)
		}
	}
	return out, nil
}

// list gives the names of the directories in one, and of links there.
func (p *planner) list(name string) ([]string, error) {
	literal, err := rootfs.Resolve(p.tree, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	entries, err := p.tree.ReadDir(literal)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries[:min(len(entries), maxFiles)] {
		if !e.Type.IsRegular() {
			out = append(out, e.Name)
		}
	}
	return out, nil
}
