package builder

import (
	"fmt"
	"strings"

	"github.com/kerngate/kerngate/builder/checker"
	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/kernel"
	"github.com/kerngate/kerngate/builder/modprobe"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/builder/sideeffect"
	"github.com/kerngate/kerngate/builder/unit"
	"github.com/kerngate/kerngate/profiles"
)

// ReportSchema is the version of the JSON that the verbs print. Fields are only
// ever added to one version.
const ReportSchema = 1

// Facts is what a target holds, as far as it matters here.
type Facts struct {
	Target        string              `json:"target"`
	Kind          image.Kind          `json:"kind"`
	Scheme        string              `json:"partition_table,omitempty"`
	Size          int64               `json:"size,omitempty"` // bytes
	Volumes       []image.Volume      `json:"volumes"`
	Warnings      []string            `json:"warnings"`       // what is odd about the layout
	NeedsRecovery bool                `json:"needs_recovery"` // the journal waits to be replayed
	System        string              `json:"system"`         // PRETTY_NAME of os-release
	Architecture  string              `json:"architecture"`   // "amd64", "arm64", or why it is unknown
	Systemd       string              `json:"systemd"`        // version; empty: none found
	Kernels       []KernelFacts       `json:"kernels"`
	Mismatches    []kernel.Mismatch   `json:"kernel_mismatches"`
	Findings      []CVEFinding        `json:"findings"` // of all shipped advisories, by kernel
	Modules       []ModuleFacts       `json:"modules"`
	BootEntries   []EntryFacts        `json:"boot_entries"`
	BootProblems  []ProblemFacts      `json:"boot_problems"`
	BootNotes     []string            `json:"boot_notes"`
	Initramfs     []InitramfsFacts    `json:"initramfs"`
	LoadPaths     []LoadPath          `json:"load_paths"`   // of all modules of interest, by kernel and module
	SideEffects   []sideeffect.Effect `json:"side_effects"` // who would miss a module of interest
	Units         []UnitFacts         `json:"units"`        // inference servers, and what starts containers and pods
	Kerngate      *BuildFacts         `json:"kerngate,omitempty"`
}

// KernelFacts is one installed kernel.
type KernelFacts struct {
	Release      string `json:"release"`
	Image        string `json:"image,omitempty"`
	ImageRelease string `json:"image_release,omitempty"` // from the image's own header
	Loadable     int    `json:"loadable_modules"`
	BuiltIn      int    `json:"builtin_modules"`
	Config       string `json:"config,omitempty"` // path of its configuration
	Banner       string `json:"banner,omitempty"` // all that the image says of itself
	Package      string `json:"package,omitempty"`
	// PackageVersion is as the database has it.
	PackageVersion string `json:"package_version,omitempty"`
	// Maker, Stream and Version are whose kernel it turns out to be: "debian", "6.12", "6.12.117-1".
	Maker   string `json:"maker,omitempty"`
	Stream  string `json:"stream,omitempty"`
	Version string `json:"version,omitempty"`
}

// ModuleFacts is one module of interest.
type ModuleFacts struct {
	Name     string                  `json:"name"`
	CVEs     []string                `json:"cves"`
	States   map[string]kernel.State `json:"states"`   // by kernel release
	Ways     map[string]Ways         `json:"ways"`     // load paths, by kernel release
	Modprobe []string                `json:"modprobe"` // lines of modprobe.d that name it
}

// BuildFacts is what an earlier build left behind.
type BuildFacts struct {
	Tool    string `json:"tool"`
	Profile string `json:"profile"`
	Digest  string `json:"profile_digest"`
}

// Inspect reads the facts of a target and judges nothing.
func Inspect(target *image.Target) (*Facts, error) {
	t := target.Tree()
	f := &Facts{
		Target: target.Path, Kind: target.Kind, Scheme: target.Scheme, Size: target.Size,
		Volumes: target.Volumes, NeedsRecovery: target.NeedsRecovery(), Kernels: []KernelFacts{}, Modules: []ModuleFacts{},
		Warnings: append([]string{}, target.Warnings...), BootEntries: []EntryFacts{}, BootProblems: []ProblemFacts{}, BootNotes: []string{},
		Initramfs: []InitramfsFacts{}, LoadPaths: []LoadPath{}, SideEffects: []sideeffect.Effect{},
		Mismatches: []kernel.Mismatch{}, Findings: []CVEFinding{},
	}
	var err error
	if f.System, err = systemName(t); err != nil {
		return nil, err
	}
	if f.Architecture, err = checker.Architecture(t); err != nil {
		f.Architecture = "unknown: " + err.Error()
	}
	if f.Systemd, err = unit.SystemdVersion(t); err != nil {
		return nil, err
	}
	if err := f.readSurrounding(t); err != nil {
		return nil, err
	}
	if f.Units, err = readUnits(t); err != nil {
		return nil, err
	}
	old, err := readManifest(t)
	if old != nil {
		f.Kerngate = &BuildFacts{Tool: old.Tool, Profile: old.Profile, Digest: old.Digest}
	}
	return f, err
}

// readSurrounding reads all that decides what kernels load.
func (f *Facts) readSurrounding(t rootfs.Tree) error {
	s, err := look(t, profiles.Profile{})
	if err != nil {
		return err
	}
	defer s.close()
	if err := f.readKernels(s); err != nil {
		return err
	}
	if err := f.readBoot(s); err != nil {
		return err
	}
	f.readLoadPaths(s)
	f.readSideEffects(s)
	return nil
}

func (f *Facts) readKernels(s *surrounding) error {
	lines, err := modprobe.Read(s.tree)
	if err != nil {
		return err
	}
	for _, info := range profiles.KnownModules() {
		m := ModuleFacts{Name: info.Name, CVEs: info.CVEs, States: map[string]kernel.State{}, Ways: map[string]Ways{}, Modprobe: []string{}}
		for _, l := range lines {
			if len(l.Words) > 1 && kernel.ModuleName(l.Words[1]) == info.Name {
				m.Modprobe = append(m.Modprobe, l.String())
			}
		}
		f.Modules = append(f.Modules, m)
	}
	for _, k := range s.kernels {
		f.addKernel(s, k)
	}
	found, err := s.mismatches()
	f.Mismatches = append(f.Mismatches, found...)
	return err
}

// addKernel adds a kernel and its states of the modules.
func (f *Facts) addKernel(s *surrounding, k kernel.Kernel) {
	config, err := k.Config(s.tree)
	if err != nil {
		f.Warnings = append(f.Warnings, fmt.Sprintf("cannot read the configuration of kernel %s: %v", k.Release, err))
	}
	loadable, builtIn := k.Count()
	facts := KernelFacts{
		Release: k.Release, Image: k.Image, ImageRelease: k.ImageRelease, Loadable: loadable, BuiltIn: builtIn,
		Config: config.Path, Banner: k.Banner,
	}
	known, err := s.known(k)
	if err != nil {
		f.Warnings = append(f.Warnings, fmt.Sprintf("not all is known of kernel %s: %v", k.Release, err))
	}
	facts.Package, facts.PackageVersion = s.owners[k.Modules].Name, s.owners[k.Modules].Version
	facts.Maker, facts.Stream, facts.Version = known.Make()
	f.Kernels = append(f.Kernels, facts)
	for i, info := range profiles.KnownModules() {
		f.Modules[i].States[k.Release] = k.StateBy(config, info.Name, info.Config)
	}
}

// maxOSRelease bounds os-release, which has a dozen short lines.
const maxOSRelease = 64 << 10

// systemName is the system's name for people: os-release(5), PRETTY_NAME.
func systemName(t rootfs.Tree) (string, error) {
	for _, name := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		data, err := rootfs.ReadFile(t, name, maxOSRelease)
		if isMissing(err) {
			continue
		}
		if err != nil {
			return "", err
		}
		for line := range strings.SplitSeq(string(data), "\n") {
			if value, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
				return strings.Trim(strings.TrimSpace(value), `"'`), nil
			}
		}
	}
	return "unknown", nil
}
