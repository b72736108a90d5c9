package builder

import (
	"fmt"

	"github.com/kerngate/kerngate/builder/bootentry"
	"github.com/kerngate/kerngate/builder/initramfs"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/builder/sideeffect"
	"github.com/kerngate/kerngate/profiles"
)

// EntryFacts is one place that holds a kernel command line.
type EntryFacts struct {
	Source      bootentry.Source `json:"source"`
	Path        string           `json:"path"`
	Line        int              `json:"line,omitempty"` // from 1
	Title       string           `json:"title,omitempty"`
	Kernel      string           `json:"kernel,omitempty"` // path of its image
	Initrds     []string         `json:"initrds"`
	Release     string           `json:"release,omitempty"` // of the kernel; empty: not known
	CommandLine string           `json:"command_line"`
	Template    bool             `json:"template"` // boot entries are made from it; it starts nothing
	Signed      bool             `json:"signed"`
}

// ProblemFacts is a boot configuration that was found and not understood.
type ProblemFacts struct {
	Path string `json:"path"`
	Why  string `json:"why"`
}

// InitramfsFacts is one initramfs image.
type InitramfsFacts struct {
	Path      string              `json:"path"`
	Fault     string              `json:"fault,omitempty"` // why it cannot be read; what follows is then unknown
	Size      int64               `json:"size"`            // bytes
	Segments  []SegmentFacts      `json:"segments"`
	Releases  []string            `json:"releases"` // of kernels whose modules it has
	Modules   []InitramfsModule   `json:"modules"`  // of interest
	Modprobe  initramfs.Loader    `json:"modprobe,omitempty"`
	Config    []string            `json:"config"` // modprobe.d files inside
	Generator initramfs.Generator `json:"generator,omitempty"`
	Microcode bool                `json:"microcode"`
	Blocked   bool                `json:"blocked"` // an earlier build put a block behind it
	Warnings  []string            `json:"warnings"`
}

// SegmentFacts is one archive of an initramfs image.
type SegmentFacts struct {
	Offset int64           `json:"offset"`
	Size   int64           `json:"size"` // bytes in the image
	Codec  initramfs.Codec `json:"codec"`
}

// InitramfsModule is a module file in an initramfs image.
type InitramfsModule struct {
	Name    string `json:"name"`
	Path    string `json:"path"` // in the initramfs
	Release string `json:"release,omitempty"`
	Size    int64  `json:"size"` // bytes; one of no bytes cannot be loaded
}

// Ways counts the load paths of one module on one kernel.
type Ways struct {
	Open  int `json:"open"`
	Total int `json:"total"` // 0: there is none, or they cannot be told
}

// readBoot says what starts kernels.
func (f *Facts) readBoot(s *surrounding) error {
	for _, e := range s.boot.Entries {
		f.BootEntries = append(f.BootEntries, EntryFacts{
			e.Source, e.Path, e.Line, e.Title, e.Kernel, append([]string{}, e.Initrds...), e.Release, e.CommandLine, e.Template, e.Signed,
		})
	}
	for _, p := range s.boot.Problems {
		f.BootProblems = append(f.BootProblems, ProblemFacts{p.Path, p.Why})
	}
	f.BootNotes = append(f.BootNotes, s.boot.Notes...)
	for _, d := range s.disks {
		f.Initramfs = append(f.Initramfs, initramfsFacts(d))
	}
	for _, b := range s.bad {
		info, err := s.tree.Lstat(b.what)
		if err != nil {
			return err
		}
		f.Initramfs = append(f.Initramfs, unreadInitramfs(b, info))
		f.Warnings = append(f.Warnings, b.String())
	}
	f.Warnings = append(f.Warnings, s.unseen...)
	return nil
}

func initramfsFacts(r *ramdisk) InitramfsFacts {
	out := InitramfsFacts{
		Path: r.path, Size: r.image.Size(), Releases: append([]string{}, r.facts.Releases...), Modules: []InitramfsModule{},
		Modprobe: r.facts.Modprobe, Config: append([]string{}, r.facts.Config...), Generator: r.facts.Generator,
		Microcode: r.facts.Microcode, Blocked: r.image.Blocked(), Warnings: append([]string{}, r.image.Warnings...),
	}
	for _, s := range r.image.Segments {
		out.Segments = append(out.Segments, SegmentFacts{s.Offset, s.Size, s.Codec})
	}
	for _, m := range r.facts.Modules {
		if _, known := profiles.Lookup(m.Name); known {
			out.Modules = append(out.Modules, InitramfsModule{m.Name, m.Path, m.Release, m.Size})
		}
	}
	return out
}

func unreadInitramfs(b obstacle, info rootfs.Info) InitramfsFacts {
	return InitramfsFacts{
		Path: b.what, Fault: b.why, Size: info.Size, Segments: []SegmentFacts{}, Releases: []string{},
		Modules: []InitramfsModule{}, Config: []string{}, Warnings: []string{},
	}
}

// readLoadPaths resolves every way to load a module of interest. What cannot be told is
// a warning: nothing is judged by it.
func (f *Facts) readLoadPaths(s *surrounding) {
	for i := range s.kernels {
		m, err := f.machine(s, i)
		if err != nil {
			f.Warnings = append(f.Warnings, fmt.Sprintf("cannot tell what loads modules: %v", err))
			continue
		}
		for j, info := range profiles.KnownModules() {
			paths, err := m.paths(info)
			if err != nil {
				f.Warnings = append(f.Warnings, fmt.Sprintf("kernel %s: cannot tell all that loads %s: %v", m.kernel.Release, info.Name, err))
			}
			f.Modules[j].Ways[m.kernel.Release] = count(paths)
			f.LoadPaths = append(f.LoadPaths, paths...)
		}
		known, _ := s.known(m.kernel) // a fault is among the warnings already
		f.Findings = append(f.Findings, m.findings(known, s.now)...)
	}
}

// machine is one kernel with those initramfs images that can be looked into.
func (f *Facts) machine(s *surrounding, i int) (*machine, error) {
	alone := *s
	alone.kernels, alone.disks = s.kernels[i:i+1], nil
	list, err := alone.machines()
	if err != nil {
		return nil, err
	}
	m := &list[0]
	for _, d := range s.disks {
		if err := m.addDisks([]*ramdisk{d}); err != nil {
			f.Warnings = append(f.Warnings, fmt.Sprintf("cannot tell what the initramfs loads: %v", err))
		}
	}
	return m, nil
}

// count counts open ways.
func count(paths []LoadPath) Ways {
	out := Ways{Total: len(paths)}
	for _, l := range paths {
		if l.Open() {
			out.Open++
		}
	}
	return out
}

// readSideEffects looks for who would miss any module of interest.
func (f *Facts) readSideEffects(s *surrounding) {
	var all profiles.Profile
	for _, info := range profiles.KnownModules() {
		all.Modules = append(all.Modules, profiles.Module{Name: info.Name, Block: []profiles.Block{profiles.BlockModprobe}, Known: info})
	}
	report, err := s.effects(all)
	if err != nil {
		f.Warnings = append(f.Warnings, err.Error())
	}
	f.SideEffects = append([]sideeffect.Effect{}, report.Effects...)
	for _, unread := range report.Unread {
		f.Warnings = append(f.Warnings, "not looked into for users of modules: "+unread)
	}
}
