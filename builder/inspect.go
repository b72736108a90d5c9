package builder

import (
	"fmt"
	"strings"

	"github.com/kerngate/kerngate/builder/checker"
	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/kernel"
	"github.com/kerngate/kerngate/builder/modprobe"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/builder/unit"
	"github.com/kerngate/kerngate/profiles"
)

// ReportSchema is the version of the JSON that the verbs print. Fields are only
// ever added to one version.
const ReportSchema = 1

// Facts is what a target holds, as far as it matters here.
type Facts struct {
	Target        string           `json:"target"`
	Kind          image.Kind       `json:"kind"`
	Scheme        string           `json:"partition_table,omitempty"`
	Size          int64            `json:"size,omitempty"` // bytes
	Volumes       []image.Volume   `json:"volumes"`
	Warnings      []string         `json:"warnings"`       // what is odd about the layout
	NeedsRecovery bool             `json:"needs_recovery"` // the journal waits to be replayed
	System        string           `json:"system"`         // PRETTY_NAME of os-release
	Architecture  string           `json:"architecture"`   // "amd64", "arm64", or why it is unknown
	Systemd       string           `json:"systemd"`        // version; empty: none found
	Kernels       []KernelFacts    `json:"kernels"`
	Modules       []ModuleFacts    `json:"modules"`
	Units         []unit.Installed `json:"units"` // inference units
	Kerngate      *BuildFacts      `json:"kerngate,omitempty"`
}

// KernelFacts is one installed kernel.
type KernelFacts struct {
	Release      string `json:"release"`
	Image        string `json:"image,omitempty"`
	ImageRelease string `json:"image_release,omitempty"` // from the image's own header
	Loadable     int    `json:"loadable_modules"`
	BuiltIn      int    `json:"builtin_modules"`
}

// ModuleFacts is one module of interest.
type ModuleFacts struct {
	Name     string                  `json:"name"`
	CVEs     []string                `json:"cves"`
	States   map[string]kernel.State `json:"states"`   // by kernel release
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
		Warnings: append([]string{}, target.Warnings...),
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
	if err := f.readKernels(t); err != nil {
		return nil, err
	}
	if f.Units, err = inferenceUnits(t); err != nil {
		return nil, err
	}
	old, err := readManifest(t)
	if old != nil {
		f.Kerngate = &BuildFacts{Tool: old.Tool, Profile: old.Profile, Digest: old.Digest}
	}
	return f, err
}

func (f *Facts) readKernels(t rootfs.Tree) error {
	kernels, err := kernel.List(t)
	if err != nil {
		return err
	}
	for _, k := range kernels {
		loadable, builtIn := k.Count()
		f.Kernels = append(f.Kernels, KernelFacts{k.Release, k.Image, k.ImageRelease, loadable, builtIn})
	}
	lines, err := modprobe.Read(t)
	if err != nil {
		return err
	}
	for _, info := range profiles.KnownModules() {
		m := ModuleFacts{Name: info.Name, CVEs: info.CVEs, States: map[string]kernel.State{}, Modprobe: []string{}}
		for _, k := range kernels {
			m.States[k.Release] = k.State(info.Name)
		}
		for _, l := range lines {
			if len(l.Words) > 1 && kernel.ModuleName(l.Words[1]) == info.Name {
				m.Modprobe = append(m.Modprobe, l.String())
			}
		}
		f.Modules = append(f.Modules, m)
	}
	return nil
}

// inferenceUnits looks for the units that the shipped node profile gates.
func inferenceUnits(t rootfs.Tree) ([]unit.Installed, error) {
	p, err := profiles.Load("llm-node")
	if err != nil {
		return nil, fmt.Errorf("cannot load the shipped profile: %w", err)
	}
	return unit.FindInstalled(t, p.Gate.Units)
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
