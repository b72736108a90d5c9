package builder

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/bootentry"
	"github.com/kerngate/kerngate/builder/kernel"
	"github.com/kerngate/kerngate/builder/modprobe"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/profiles"
)

// The ways to have a module loaded. Each was tried by booting: see docs/blocking.md.
const (
	pathBuiltIn      = "built-in"           // it is part of the kernel and starts with it
	pathAutoload     = "autoload"           // the kernel asks for it, by name or alias
	pathNobody       = "autoload-nobody"    // the same for a process without privileges
	pathModprobe     = "modprobe"           // modprobe NAME
	pathAlias        = "modprobe-alias"     // modprobe ALIAS
	pathIgnore       = "modprobe-i"         // modprobe -i NAME
	pathInsmod       = "insmod"             // insmod FILE
	pathDependency   = "dependency"         // modprobe of a module that needs it
	pathModulesLoad  = "modules-load"       // systemd-modules-load(8)
	pathDiskModprobe = "initramfs-modprobe" // modprobe NAME in an initramfs
	pathDiskInsmod   = "initramfs-insmod"   // insmod of a file that an initramfs has
)

// closedBy says which mechanism closes which paths by itself. The command line closes
// all of them; that a profile asks for it is held against those that nothing else does.
var closedBy = map[profiles.Block][]string{
	profiles.BlockModprobe:  {pathAutoload, pathNobody, pathModprobe, pathAlias, pathDependency, pathModulesLoad},
	profiles.BlockInitramfs: {pathDiskModprobe, pathDiskInsmod},
	profiles.BlockCmdline:   {pathIgnore, pathInsmod},
	profiles.BlockInitcall:  {pathBuiltIn},
}

// LoadPath is one way to have one module loaded by one kernel.
type LoadPath struct {
	Kernel string `json:"kernel"`
	Module string `json:"module"`
	Path   string `json:"path"`
	State  string `json:"state"`  // "open" or "closed"
	By     string `json:"by"`     // what closes it, or how it is open
	Wanted bool   `json:"wanted"` // the profile wants it closed
}

// Open says whether the module can be loaded in this way.
func (l LoadPath) Open() bool { return l.State == "open" }

// machine is one kernel of a tree with all that decides what it loads.
type machine struct {
	kernel   kernel.Kernel
	resolver modprobe.Resolver
	busybox  bool     // the tree's modprobe is busybox's
	lines    []string // command lines of the boot entries that can start it
	skips    bool     // initcall_blacklist= holds for what is built in
	disks    []diskView
}

// ask says what the tree's modprobe does.
func (m *machine) ask(req modprobe.Request) ([]modprobe.Step, error) {
	if m.busybox {
		return m.resolver.Busybox(req)
	}
	return m.resolver.Kmod(req)
}

// diskView is an initramfs that the kernel may be started with.
type diskView struct {
	*ramdisk
	resolver modprobe.Resolver
	indexed  bool // it has an index for this kernel, by which modprobe finds modules
}

// machines gives every kernel of the tree.
func (s *surrounding) machines() ([]machine, error) {
	var out []machine
	busybox, err := s.hasBusybox()
	if err != nil {
		return nil, err
	}
	for _, k := range s.kernels {
		index, err := s.index(k)
		if err != nil {
			return nil, err
		}
		// A configuration that does not read closes nothing; who needs it says so.
		config, err := k.Config(s.tree)
		m := machine{kernel: k, busybox: busybox, skips: err == nil && config.SkipsInitcalls()}
		for _, e := range s.boot.Entries {
			if !e.Template && (e.Release == k.Release || e.Release == "") {
				m.lines = append(m.lines, e.CommandLine)
			}
		}
		m.resolver = modprobe.Resolver{Config: s.config.WithCommandLine(inAll(m.lines)), Index: index}
		if err := m.addDisks(s.disks); err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// inAll gives the words that all of some command lines have: kmod reads arguments of
// modprobe from the one that was booted with.
func inAll(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(slices.DeleteFunc(strings.Fields(lines[0]), func(word string) bool {
		return slices.ContainsFunc(lines, func(line string) bool { return !slices.Contains(strings.Fields(line), word) })
	}), " ")
}

// hasBusybox says whether the program that the kernel calls, and everybody, is busybox: it
// heeds other lines than kmod does.
func (s *surrounding) hasBusybox() (bool, error) {
	for _, name := range []string{"/sbin/modprobe", "/usr/sbin/modprobe"} {
		literal, err := rootfs.Resolve(s.tree, name)
		if isMissing(err) {
			continue
		}
		return err == nil && strings.HasPrefix(path.Base(literal), "busybox"), err
	}
	return false, nil
}

func (m *machine) addDisks(disks []*ramdisk) error {
	for _, d := range disks {
		if !d.isFor(m.kernel.Release) {
			continue
		}
		view := diskView{ramdisk: d}
		tree := d.image.Tree()
		config, err := modprobe.ReadConfig(tree)
		if err != nil {
			return fmt.Errorf("%s: %w", d.path, err)
		}
		index, err := modprobe.ReadIndex(tree, path.Join("/lib/modules", m.kernel.Release))
		if err == nil {
			view.indexed, view.resolver = true, modprobe.Resolver{Config: config, Index: index}
		} else if !isMissing(err) {
			return fmt.Errorf("%s: %w", d.path, err)
		}
		m.disks = append(m.disks, view)
	}
	return nil
}

// paths gives the load paths of a module, none where the kernel does not have it.
func (m *machine) paths(info profiles.ModuleInfo) ([]LoadPath, error) {
	add := adder{kernel: m.kernel.Release, module: info.Name}
	switch m.kernel.State(info.Name) {
	case kernel.Absent:
		// Its file may be gone and still lie in an initramfs.
		if slices.ContainsFunc(m.disks, func(d diskView) bool { return d.has(info.Name, m.kernel.Release) }) {
			err := m.diskPaths(&add, info)
			return add.out, err
		}
		return nil, nil
	case kernel.BuiltIn:
		by, closed := m.refuses(info, "")
		add.put(pathBuiltIn, !closed, orElse(by, "it is part of the kernel"))
		return add.out, nil
	}
	if err := m.rootPaths(&add, info); err != nil {
		return nil, err
	}
	err := m.diskPaths(&add, info)
	return add.out, err
}

// adder gathers load paths of one module.
type adder struct {
	kernel, module string
	out            []LoadPath
}

func (a *adder) put(path string, open bool, by string) {
	state := "closed"
	if open {
		state = "open"
	}
	a.out = append(a.out, LoadPath{Kernel: a.kernel, Module: a.module, Path: path, State: state, By: by})
}

// orElse is the first text that is not empty.
func orElse(text, other string) string {
	if text != "" {
		return text
	}
	return other
}

// rootPaths are those that read the root file system.
func (m *machine) rootPaths(add *adder, info profiles.ModuleInfo) error {
	ask := func(requests ...modprobe.Request) (open bool, by string, err error) {
		return m.any(m.ask, info, requests)
	}
	aliases := requestsFor(info.Aliases)
	asked := requestsFor(askedFor(info))
	for _, p := range []struct {
		path     string
		requests []modprobe.Request
	}{
		{pathAutoload, asked},
		{pathNobody, asked},
		{pathModprobe, requestsFor([]string{info.Name})},
		{pathAlias, aliases},
		{pathIgnore, []modprobe.Request{{Name: info.Name, IgnoreInstall: true}}},
		{pathDependency, requestsFor(m.resolver.Index.Dependants(info.Name))},
		{pathModulesLoad, []modprobe.Request{{Name: info.Name, UseBlacklist: true}}},
	} {
		if len(p.requests) == 0 || (p.path == pathNobody && !unprivileged(info)) {
			continue
		}
		open, by, err := ask(p.requests...)
		if err != nil {
			return err
		}
		if open && (p.path == pathAutoload || p.path == pathNobody) {
			if open, by, err = m.socketOpens(info, by); err != nil {
				return err
			}
		}
		add.put(p.path, open, by)
	}
	open, by := m.inserts(info, m.resolver.Index)
	add.put(pathInsmod, open, by)
	return nil
}

// askedFor lists the names by which the kernel asks for a module. Actions of tc were
// asked for by the module's own name until Linux 6.7.
func askedFor(info profiles.ModuleInfo) []string {
	if !unprivileged(info) {
		return append([]string{info.Name}, info.Aliases...)
	}
	return info.Aliases
}

// unprivileged says whether a user without privileges can have the kernel ask for the
// module, in a user name space if need be. Actions of tc need the real CAP_NET_ADMIN.
func unprivileged(info profiles.ModuleInfo) bool {
	return !slices.ContainsFunc(info.Aliases, func(a string) bool { return strings.HasPrefix(a, "net-act-") })
}

func requestsFor(names []string) []modprobe.Request {
	var out []modprobe.Request
	for _, name := range names {
		out = append(out, modprobe.Request{Name: name})
	}
	return out
}

// socketOpens looks at what the kernel must load before it asks for a module: without
// a socket of AF_ALG nobody can bind a type to one.
func (m *machine) socketOpens(info profiles.ModuleInfo, openBy string) (open bool, by string, err error) {
	for _, need := range info.Depends {
		known, ok := profiles.Lookup(need)
		if !ok || m.kernel.State(need) != kernel.Loadable || !slices.ContainsFunc(known.Aliases, isSocket) {
			continue
		}
		if open, by, err := m.any(m.ask, known, requestsFor(known.Aliases)); err != nil || !open {
			return false, by, err
		}
	}
	return true, openBy, nil
}

func isSocket(alias string) bool { return strings.HasPrefix(alias, "net-pf-") }

// diskPaths are those of the initramfs images; open if one of them is.
func (m *machine) diskPaths(add *adder, info profiles.ModuleInfo) error {
	modprobeOpen, insmodOpen := false, false
	modprobeBy, insmodBy := "no initramfs holds it", "no initramfs holds it"
	for _, d := range m.disks {
		if !d.has(info.Name, m.kernel.Release) {
			continue
		}
		if open, by := d.inserts(m, info); !insmodOpen {
			insmodOpen, insmodBy = open, by
		}
		open, by, err := d.loads(m, info)
		if err != nil {
			return fmt.Errorf("%s: %w", d.path, err)
		}
		if !modprobeOpen {
			modprobeOpen, modprobeBy = open, by
		}
	}
	add.put(pathDiskModprobe, modprobeOpen, modprobeBy)
	add.put(pathDiskInsmod, insmodOpen, insmodBy)
	return nil
}

// loads asks the modprobe of an initramfs.
func (d diskView) loads(m *machine, info profiles.ModuleInfo) (open bool, by string, err error) {
	if !d.holds(info.Name, m.kernel.Release) {
		return false, d.path + " holds an empty file in its place", nil
	}
	if !d.indexed {
		open, by := d.inserts(m, info)
		return open, by, nil
	}
	ask := d.resolver.Kmod
	if d.facts.Modprobe == "busybox" {
		ask = d.resolver.Busybox
	}
	return m.any(ask, info, append(requestsFor([]string{info.Name}), requestsFor(info.Aliases)...))
}

// inserts says whether insmod would take one of the image's files.
func (d diskView) inserts(m *machine, info profiles.ModuleInfo) (open bool, by string) {
	if !d.holds(info.Name, m.kernel.Release) {
		return false, d.path + " holds an empty file in its place"
	}
	if by, closed := m.refusesAny(info.Name, info.Depends); closed {
		return false, by
	}
	return true, d.path + " holds it"
}

// inserts says whether the kernel would take the module's file.
func (m *machine) inserts(info profiles.ModuleInfo, index *modprobe.Index) (open bool, by string) {
	needs, found := index.Needs(info.Name)
	if !found {
		return false, "it has no file"
	}
	if by, closed := m.refusesAny(info.Name, needs); closed {
		return false, by
	}
	return true, "root may insert any file"
}

// refusesAny says whether the kernel refuses a module, or one without whose symbols it
// cannot be linked.
func (m *machine) refusesAny(name string, needs []string) (by string, closed bool) {
	for _, n := range append([]string{name}, needs...) {
		info, _ := profiles.Lookup(n)
		info.Name = n
		if by, closed := m.refuses(info, ""); closed {
			return by, true
		}
	}
	return "", false
}

// refuses says whether the kernel refuses a module in every boot entry.
func (m *machine) refuses(info profiles.ModuleInfo, by string) (string, bool) {
	for _, line := range m.lines {
		why, refused := modprobe.KernelRefuses(line, info.Name, info.Initcall)
		if m.kernel.State(info.Name) == kernel.BuiltIn {
			_, initcalls := bootentry.Effective(line)
			why, refused = "initcall_blacklist="+info.Initcall, m.skips && slices.Contains(initcalls, info.Initcall)
		}
		if !refused {
			return "", false
		}
		by = why + " on the kernel command line"
	}
	return by, len(m.lines) > 0
}

// any says whether one of the requests inserts the module.
func (m *machine) any(ask func(modprobe.Request) ([]modprobe.Step, error), info profiles.ModuleInfo, requests []modprobe.Request) (open bool, by string, err error) {
	for _, req := range requests {
		steps, err := ask(req)
		if errors.Is(err, modprobe.ErrNotFound) {
			by = orElse(by, "nothing is called "+req.Name)
			continue
		}
		if err != nil {
			return false, "", err
		}
		open, why := m.outcome(steps, info)
		if open {
			return true, req.Name + " " + why, nil
		}
		by = orElse(why, by)
	}
	return false, by, nil
}

// outcome says whether steps insert the module.
func (m *machine) outcome(steps []modprobe.Step, info profiles.ModuleInfo) (open bool, by string) {
	var needs []string
	for _, s := range steps {
		switch {
		case s.Kind == modprobe.Insert && s.Module == info.Name:
			if why, closed := m.refusesAny(info.Name, needs); closed {
				return false, why
			}
			if !s.Idle {
				return true, "loads it"
			}
		case s.Kind == modprobe.Insert && s.Why == modprobe.Dependency:
			needs = append(needs, s.Module)
		case s.Kind == modprobe.Run && s.Module == info.Name && !s.Idle && !loadsNothing(s.Command):
			return true, "runs " + s.Command
		case s.Kind == modprobe.Run || s.Kind == modprobe.Blacklisted:
			by = orElse(by, s.By.String())
		}
	}
	return false, orElse(by, "modprobe does not insert it")
}

// loadsNothing says whether a command is one that for certain loads no module.
func loadsNothing(command string) bool {
	words := strings.Fields(command)
	return len(words) > 0 && slices.Contains([]string{"false", "true"}, path.Base(words[0])) && !strings.ContainsAny(command, ";&|`$()")
}

// wants marks the paths that a profile wants closed. What only a command line closes it
// cannot want of a kernel that nothing in the image starts.
func (m *machine) wants(list []LoadPath, module profiles.Module) {
	for i := range list {
		l := &list[i]
		for _, block := range module.Block {
			byLine := block == profiles.BlockCmdline || block == profiles.BlockInitcall
			l.Wanted = l.Wanted || (slices.Contains(closedBy[block], l.Path) && (!byLine || len(m.lines) > 0))
		}
		l.Wanted = l.Wanted || (module.Remove && l.Path != pathBuiltIn)
	}
}
