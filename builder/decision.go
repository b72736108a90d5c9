package builder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/kerngate/kerngate/builder/bootentry"
	"github.com/kerngate/kerngate/builder/kernel"
	"github.com/kerngate/kerngate/builder/packages"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/initcheck"
	"github.com/kerngate/kerngate/initcheck/advisory"
	"github.com/kerngate/kerngate/initcheck/policy"
	"github.com/kerngate/kerngate/initcheck/probe"
	"github.com/kerngate/kerngate/profiles"
	"github.com/kerngate/kerngate/profiles/advisories"
)

// GateVerdict is what the gate will say of one kernel of the image, by the checker's own
// code. It holds for a boot in which nothing loads a module that the policy names.
type GateVerdict struct {
	Kernel string   `json:"kernel"` // its release
	Pass   bool     `json:"pass"`   // with every command line of the boot entries
	Why    []string `json:"why"`    // what refuses; where nothing does, the words on release and advisories

	passable bool // with some command line it passes
}

// gate decides for every kernel of the tree, once.
func (s *surrounding) gate(p profiles.Profile) ([]GateVerdict, error) {
	if len(p.Gate.Units) == 0 {
		return nil, nil
	}
	if s.verdicts != nil {
		return s.verdicts, nil
	}
	for _, k := range s.kernels {
		v, err := s.verdict(p, k)
		if err != nil {
			return nil, err
		}
		s.verdicts = append(s.verdicts, v)
	}
	return s.verdicts, nil
}

// verdict decides for one kernel.
func (s *surrounding) verdict(p profiles.Profile, k kernel.Kernel) (GateVerdict, error) {
	rules, want := Policy(p), s.cmdlineWant(p)
	v := GateVerdict{Kernel: k.Release, Pass: true}
	for _, line := range s.linesOf(k) {
		facts, err := s.factsAtBoot(k, checkerLine(line, want), rules)
		if err != nil {
			return v, err
		}
		v.add(initcheck.Decide(facts, rules))
	}
	return v, nil
}

// add takes in the verdict for one command line; the first that refuses gives the reasons.
func (v *GateVerdict) add(verdict initcheck.Verdict) {
	v.passable = v.passable || verdict.Pass
	if !v.Pass || verdict.Pass && len(v.Why) > 0 {
		return
	}
	v.Pass, v.Why = verdict.Pass, []string{}
	for _, f := range verdict.Findings {
		ofKernel := f.Rule == "floor" || strings.HasPrefix(f.Rule, "advisory ")
		if verdict.Pass && ofKernel || !verdict.Pass && f.Outcome != initcheck.Pass {
			v.Why = append(v.Why, f.Text)
		}
	}
}

// linesOf gives the command lines with which boot entries can start a kernel, each once: the
// empty one where nothing in the image starts it.
func (s *surrounding) linesOf(k kernel.Kernel) []string {
	var out []string
	for _, e := range s.boot.Entries {
		if !e.Template && (e.Release == k.Release || e.Release == "") && !slices.Contains(out, e.CommandLine) {
			out = append(out, e.CommandLine)
		}
	}
	if len(out) == 0 {
		out = append(out, "")
	}
	return out
}

// checkerLine is as much of a command line as the checker's rules heed, with what the build
// puts on it. A break-glass on it is not heeded here.
func checkerLine(line string, want bootentry.Want) string {
	var all bootentry.Want
	all.Modules, all.Initcalls = bootentry.Effective(line)
	all = all.Union(want)
	return "module_blacklist=" + blacklist(all.Modules) + " initcall_blacklist=" + blacklist(all.Initcalls) + "\n"
}

// blacklist joins names for an argument without quotes. One that would need them is no name
// of anything.
func blacklist(names []string) string {
	return strings.Join(slices.DeleteFunc(names, func(name string) bool {
		return strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' })
	}), ",")
}

// factsAtBoot has the checker read the image as if a kernel of it ran that was started with a
// command line, and had loaded nothing yet. The package database counts only where the kernel
// does not say what it is.
func (s *surrounding) factsAtBoot(k kernel.Kernel, line string, rules policy.Policy) (initcheck.Facts, error) {
	config, err := k.Config(s.tree)
	if err != nil {
		return initcheck.Facts{}, fmt.Errorf("cannot read the configuration of kernel %s: %w", k.Release, err)
	}
	itself, err := s.itself(k)
	if err != nil {
		return initcheck.Facts{}, err
	}
	view := bootView{s.tree, map[string]string{"proc/cmdline": line, "proc/modules": ""}}
	if itself.Signature != "" {
		view.files["proc/version_signature"] = itself.Signature + "\n"
	}
	f := probe.Read(view, probe.Uname{Release: itself.Release, Version: itself.Version})
	f.Kernel = probe.ReadKernel(view, itself.Release, s.now)
	if functions := f.InitcallsOf(rules); len(functions) > 0 {
		view.files["proc/kallsyms"] = symbolsOf(config, functions)
		f.Initcalls = probe.ReadInitcalls(view, functions)
	}
	if itself.Version == "" {
		owner, err := s.owner(k)
		if err != nil {
			return initcheck.Facts{}, err
		}
		f.Kernel.Package = owner.Version
	}
	return f, nil
}

// symbolsOf is what the kernel will say of functions by which built-in modules start. That
// it has them by these names an image does not tell; that it knows no names, its
// configuration does.
func symbolsOf(config kernel.Config, functions []string) string {
	if config.Path != "" && !config.Has("KALLSYMS") {
		return ""
	}
	var b strings.Builder
	if !config.SkipsInitcalls() {
		b.WriteString("0000000000000000 T __initstub__\n")
	}
	for _, name := range functions {
		b.WriteString("0000000000000000 t " + name + "\n")
	}
	return b.String()
}

// itself is what a kernel will say of itself and its system, once it runs.
func (s *surrounding) itself(k kernel.Kernel) (advisory.Kernel, error) {
	config, err := k.Config(s.tree)
	if err != nil {
		return advisory.Kernel{}, fmt.Errorf("cannot read the configuration of kernel %s: %w", k.Release, err)
	}
	system := probe.ReadKernel(bootView{tree: s.tree}, "", s.now)
	return advisory.Kernel{
		Release: orElse(k.ImageRelease, k.Release), Version: k.Version(), Signature: config.Signature,
		ID: system.ID, VersionID: system.VersionID,
	}, nil
}

// known is all that the image tells of a kernel. The version of its package stands beside
// what the kernel says of itself, and can contradict it. Where the kernel does not say that
// its distribution built it, the package is another's work.
func (s *surrounding) known(k kernel.Kernel) (advisory.Kernel, error) {
	out, err := s.itself(k)
	if err != nil {
		return out, err
	}
	owner, err := s.owner(k)
	out.Package = owner.Version
	mark, marked := map[string]string{"debian": " Debian ", "ubuntu": "-Ubuntu "}[out.ID]
	out.Foreign = marked && out.Version != "" && !strings.Contains(out.Version, mark)
	return out, err
}

// owner is the package of a kernel, the zero value where none is known. It is looked up once.
func (s *surrounding) owner(k kernel.Kernel) (packages.Package, error) {
	if p, found := s.owners[k.Modules]; found {
		return p, nil
	}
	installed, err := packages.List(s.tree)
	if err != nil {
		return packages.Package{}, err
	}
	p, err := k.Owner(s.tree, installed)
	if err != nil && !errors.Is(err, kernel.ErrNoOwner) {
		return p, fmt.Errorf("cannot tell the package of kernel %s: %w", k.Release, err)
	}
	s.owners[k.Modules] = p
	return p, nil
}

// bootView shows a tree to the checker as the root of a machine that has just started:
// nothing in /proc but the files that are given, and nothing in /sys.
type bootView struct {
	tree  rootfs.Tree
	files map[string]string
}

// Open serves [probe], which reads files only.
func (v bootView) Open(name string) (fs.File, error) {
	if text, found := v.files[name]; found {
		return openFile{Reader: strings.NewReader(text)}, nil
	}
	top, _, _ := strings.Cut(name, "/")
	if top == "proc" || top == "sys" {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	literal, err := rootfs.Resolve(v.tree, "/"+name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	f, err := v.tree.Open(literal)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return openFile{io.NewSectionReader(f, 0, f.Size()), f}, nil
}

// openFile is a file that is read from its beginning.
type openFile struct {
	io.Reader
	closer io.Closer // nil: nothing to close
}

func (f openFile) Close() error {
	if f.closer == nil {
		return nil
	}
	return f.closer.Close()
}

func (f openFile) Stat() (fs.FileInfo, error) {
	return nil, errors.New("the state of a file in an image is not told here")
}

// brokenGlass finds the command lines of an image that have a break-glass which the policy
// heeds: it is for one boot, and there it would be for all.
func (s *surrounding) brokenGlass(p profiles.Profile) ([]obstacle, error) {
	if !p.Gate.Override {
		return nil, nil
	}
	var out []obstacle
	for _, e := range s.boot.Entries {
		reason, given, err := probe.ReadOverride(bootView{s.tree, map[string]string{"proc/cmdline": e.CommandLine + "\n"}})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e, err)
		}
		if given && reason != "" {
			out = append(out, obstacle{e.String(), fmt.Sprintf("it has initcheck.override=%q, which opens the gate in every boot whatever refuses", reason),
				"take it off, and give it by hand at the boot that needs it"})
		}
	}
	return out, nil
}

// gateObstacles says which kernels the gate will refuse: all of them is an obstacle. So is a
// break-glass in the image.
func (s *surrounding) gateObstacles(p profiles.Profile) (found []obstacle, warnings []string, err error) {
	if found, err = s.brokenGlass(p); err != nil {
		return nil, nil, err
	}
	if len(s.kernels) == 0 {
		return found, []string{"no kernel in the image: nothing is known of the one that it will run on"}, nil
	}
	verdicts, err := s.gate(p)
	if err != nil {
		return nil, nil, err
	}
	for _, v := range verdicts {
		if !v.Pass {
			warnings = append(warnings, fmt.Sprintf("the gate will refuse on kernel %s: %s", v.Kernel, strings.Join(v.Why, "; ")))
		}
	}
	passable := slices.ContainsFunc(verdicts, func(v GateVerdict) bool { return v.passable })
	if passable || slices.Contains(p.Accept, profiles.AcceptUnbootableGate) {
		return found, warnings, nil
	}
	return append(found, obstacle{"kernels", "the gate would hold its units back whatever kernel of the image is started: " + strings.Join(warnings, "; "), gateAdvice(p, verdicts)}), nil, nil
}

func gateAdvice(p profiles.Profile, verdicts []GateVerdict) string {
	const accept = "or give --accept " + string(profiles.AcceptUnbootableGate) + " if one comes later"
	byFloorAlone := func(v GateVerdict) bool { return len(v.Why) == 1 && strings.Contains(v.Why[0], " is below the floor ") }
	if !p.Kernel.AcceptFixed && slices.ContainsFunc(verdicts, byFloorAlone) {
		return "install a kernel at or above " + p.Kernel.Floor + "; or let kernels pass that their distribution has fixed, with accept_fixed and advisories in the profile, as llm-node-patched does; " + accept
	}
	return "install a kernel that passes; " + accept
}

// mismatches finds what of the installed kernels does not fit together.
func (s *surrounding) mismatches() ([]kernel.Mismatch, error) {
	out, err := kernel.Mismatches(s.tree, s.kernels)
	if err != nil {
		return nil, err
	}
	var lacking []kernel.Kernel
	for _, k := range s.kernels {
		named := slices.ContainsFunc(s.boot.Entries, func(e bootentry.Entry) bool { return e.Release == k.Release && len(e.Initrds) > 0 })
		if !named && !slices.ContainsFunc(s.disks, func(d *ramdisk) bool { return d.isFor(k.Release) }) {
			lacking = append(lacking, k)
		}
	}
	if len(lacking) == len(s.kernels) {
		return out, nil // an image that starts without one
	}
	for _, k := range lacking {
		out = append(out, kernel.Mismatch{Path: k.Modules, Why: "kernel " + k.Release + " has no initramfs, and others have one"})
	}
	return out, nil
}

// CVEFinding is what is known of one CVE on one kernel.
type CVEFinding struct {
	Kernel  string          `json:"kernel"` // its release
	CVE     string          `json:"cve"`
	Name    string          `json:"name,omitempty"` // what people call it
	Status  advisory.Status `json:"status"`
	Rule    string          `json:"rule"`             // what decided, in words
	Source  string          `json:"source,omitempty"` // whose word that rests on
	Needs   string          `json:"needs,omitempty"`  // what would make it fixed
	Modules []string        `json:"modules"`          // that hold the flaw; none: it is in the core
}

// findings answers for one kernel and every CVE of the tables.
func (m *machine) findings(k advisory.Kernel, now time.Time) []CVEFinding {
	var out []CVEFinding
	for _, t := range advisories.Shipped() {
		closed := advisory.Closed{}
		for _, name := range t.Modules {
			closed[name] = m.closes(name)
		}
		f := advisory.Table{Advisories: []advisory.Advisory{t.Advisory}}.Decide(k, closed, now)[0]
		out = append(out, CVEFinding{m.kernel.Release, f.CVE, t.Name, f.Status, f.Rule, f.Source, f.Needs, append([]string{}, t.Modules...)})
	}
	return out
}

// closes tells what keeps a module out on every way to load it; empty where one is open, or
// cannot be told. The way that is hardest to close speaks for all: a file that root inserts.
func (m *machine) closes(module string) string {
	info, found := profiles.Lookup(module)
	if !found {
		return ""
	}
	paths, err := m.paths(info)
	if err != nil || slices.ContainsFunc(paths, LoadPath.Open) {
		return ""
	}
	if len(paths) == 0 {
		return "the kernel does not have it"
	}
	by := paths[len(paths)-1].By
	for _, l := range paths {
		if l.Path == pathInsmod || l.Path == pathBuiltIn {
			by = l.By
		}
	}
	return fmt.Sprintf("ways to load it: %d, all closed, the last by %s", len(paths), by)
}
