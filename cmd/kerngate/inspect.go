package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kerngate/kerngate/builder"
	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/inference"
	"github.com/kerngate/kerngate/builder/kernel"
	"github.com/kerngate/kerngate/initcheck/advisory"
	"github.com/kerngate/kerngate/profiles"
)

func newInspect(u *ui) *cobra.Command {
	flags := &targetFlags{}
	var paths, cves bool
	cmd := &cobra.Command{
		Use:   "inspect TARGET",
		Short: "Show what an image or directory holds, and judge nothing",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			target, err := image.Open(args[0], image.Options{Root: flags.root})
			if err != nil {
				return err
			}
			defer target.Close()
			if err := target.CheckCurrent(); err != nil {
				u.warn(err.Error())
			}
			facts, err := builder.Inspect(target)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if u.json {
				return u.encode(struct {
					Schema int `json:"schema"`
					*builder.Facts
				}{builder.ReportSchema, facts})
			}
			showFacts(u, facts)
			showCVEs(u, facts, cves)
			showModules(u, facts)
			if paths {
				showPaths(u, facts)
			}
			showSideEffects(u, facts)
			return nil
		},
	}
	flags.add(cmd, false)
	cmd.Flags().BoolVar(&cves, "cves", false, "list what is known of each CVE on each kernel, and what decided")
	cmd.Flags().BoolVar(&paths, "paths", false, "list every way to load each module of interest, and what closes it")
	return cmd
}

func showFacts(u *ui, f *builder.Facts) {
	u.printf("target        %s (%s)\n", f.Target, f.Kind)
	if f.Kind == image.Disk {
		u.printf("size          %d bytes, partition table %s\n", f.Size, f.Scheme)
		for _, v := range f.Volumes {
			u.printf("partition %-3d %-8s %-5s at byte %d, %d bytes%s\n", v.Number, v.FS, v.Role, v.Offset, v.Size, names(v))
		}
	}
	for _, w := range f.Warnings {
		u.warn(w)
	}
	u.printf("system        %s, %s\n", f.System, f.Architecture)
	u.printf("systemd       %s\n", orNone(f.Systemd))
	if f.NeedsRecovery {
		u.warn("a journal waits to be replayed: the image was not shut down")
	}
	for _, k := range f.Kernels {
		u.printf("kernel        %s, %s, image %s, %d loadable and %d built-in modules\n", k.Release, makeOf(k), orNone(k.Image), k.Loadable, k.BuiltIn)
	}
	for _, m := range f.Mismatches {
		u.printf("mismatch      %s: %s\n", m.Path, m.Why)
	}
	if len(f.Kernels) == 0 {
		u.printf("kernel        none\n")
	}
	showBoot(u, f)
	for _, unit := range f.Units {
		u.printf("unit          %s\n", unitText(unit))
	}
	if f.Kerngate == nil {
		u.printf("kerngate      not in it\n")
	} else {
		u.printf("kerngate      %s, profile %s (%s)\n", f.Kerngate.Tool, f.Kerngate.Profile, f.Kerngate.Digest)
	}
}

// unitText says of a unit whether something holds it back, what it is, how that shows, and
// whether it starts by itself.
func unitText(f builder.UnitFacts) string {
	state := "not gated"
	switch {
	case f.Gated:
		state = "gated"
	case f.Masked:
		state = "masked"
	case f.Class != profiles.ClassInference:
		state = "not gated (" + string(f.Class) + ")"
	}
	starts := "not enabled"
	if len(f.EnabledBy) > 0 {
		starts = "enabled"
	}
	what := string(f.Kind)
	if f.Manager == inference.User {
		what = "user " + what
	}
	return fmt.Sprintf("%s, %s: %s %s, %s, %s (%s)", f.Path, state, what, f.Name, starts, f.Server, strings.Join(f.Evidence, "; "))
}

// makeOf is who built a kernel, and from which package it is.
func makeOf(k builder.KernelFacts) string {
	out := "of unknown make"
	if k.Maker != "" {
		out = strings.TrimSpace(k.Maker + " " + k.Version)
	}
	if k.Stream != "" {
		out += " (stream " + k.Stream + ")"
	}
	if k.Package != "" {
		out += ", package " + k.Package + " " + k.PackageVersion
	}
	return out
}

// showCVEs prints for each kernel how many CVEs of the family are closed and which are
// not, or a line for each.
func showCVEs(u *ui, f *builder.Facts, all bool) {
	for _, k := range f.Kernels {
		by := map[advisory.Status][]string{}
		for _, c := range f.Findings {
			if c.Kernel == k.Release {
				by[c.Status] = append(by[c.Status], c.CVE)
			}
		}
		u.printf("CVEs          %s: %d fixed, %d mitigated, %d vulnerable%s, %d unknown%s\n", k.Release, len(by[advisory.Fixed]), len(by[advisory.Mitigated]),
			len(by[advisory.Vulnerable]), listed(by[advisory.Vulnerable]), len(by[advisory.Unknown]), listed(by[advisory.Unknown]))
	}
	if !all {
		return
	}
	var rows [][]string
	for _, c := range f.Findings {
		rows = append(rows, []string{c.Kernel, c.CVE, string(c.Status), c.Rule, c.Source, c.Needs})
	}
	showTable(u, []string{"KERNEL", "CVE", "STATUS", "BECAUSE", "SOURCE", "NEEDS"}, rows)
}

func listed(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return " (" + strings.Join(names, ", ") + ")"
}

// names is what tells a volume from others.
func names(v image.Volume) string {
	label := v.FSLabel
	if label == "" {
		label = v.Label
	}
	var out string
	at := "mounted at"
	if v.Unmounted {
		at = "mounted nowhere, shown at"
	}
	for _, n := range []struct{ what, value string }{{at, v.Mount}, {"label", label}, {"UUID", v.UUID}} {
		if n.value != "" {
			out += fmt.Sprintf(", %s %s", n.what, n.value)
		}
	}
	return out
}

// showModules prints the table of modules that some kernel has or some line names.
func showModules(u *ui, f *builder.Facts) {
	var rows [][]string
	header := []string{"MODULE"}
	for _, k := range f.Kernels {
		header = append(header, k.Release)
	}
	for _, m := range f.Modules {
		shown := len(m.Modprobe) > 0
		row := []string{m.Name}
		for _, k := range f.Kernels {
			state, ways := m.States[k.Release], m.Ways[k.Release]
			shown = shown || ways.Total > 0 || (state != kernel.Absent && state != kernel.NotBuilt)
			row = append(row, stateText(state, ways))
		}
		if shown {
			rows = append(rows, append(row, orNone(strings.Join(m.Modprobe, "; "))))
		}
	}
	showTable(u, append(header, "MODPROBE.D"), rows)
}

// stateText is a module's state on one kernel, with what is left open of it.
func stateText(state kernel.State, ways builder.Ways) string {
	switch {
	case ways.Total == 0:
		return string(state)
	case state == kernel.BuiltIn && ways.Open == 0:
		return "built in, blocked"
	case state == kernel.BuiltIn:
		return string(state)
	case state == kernel.Loadable && ways.Open == 0:
		return "blocked"
	case state == kernel.Loadable:
		return fmt.Sprintf("loadable, %d of %d ways open", ways.Open, ways.Total)
	default: // its file is gone, or was never there
		return fmt.Sprintf("in an initramfs only, %d of %d ways open", ways.Open, ways.Total)
	}
}

// showPaths prints a line for each way to load a module.
func showPaths(u *ui, f *builder.Facts) {
	var rows [][]string
	for _, l := range f.LoadPaths {
		rows = append(rows, []string{l.Kernel, l.Module, l.Path, l.State, l.By})
	}
	showTable(u, []string{"KERNEL", "MODULE", "PATH", "STATE", "BY"}, rows)
}

// showSideEffects prints who would miss modules; kernel modules that miss the same ones
// share a line.
func showSideEffects(u *ui, f *builder.Facts) {
	var rows [][]string
	shared := map[string]int{}
	for _, e := range f.SideEffects {
		use := "may be used"
		if e.Certain {
			use = "in use"
		}
		row := []string{e.Who, use, string(e.Accept), strings.Join(e.Modules, ", "), strings.Join(e.Evidence, "; ")}
		name, isModule := strings.CutPrefix(e.Who, "module ")
		if isModule {
			key := strings.Join(row[1:4], "\n")
			if at, found := shared[key]; found {
				rows[at][4] += ", " + name
				continue
			}
			shared[key], row[0], row[4] = len(rows), "other modules", name
		}
		rows = append(rows, row)
	}
	if len(rows) > 0 {
		showTable(u, []string{"NEEDED BY", "USE", "ACCEPT", "MODULES", "EVIDENCE"}, rows)
	}
}

// showTable prints an empty line and a table.
func showTable(u *ui, header []string, rows [][]string) {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w)
	for _, row := range append([][]string{header}, rows...) {
		for i, cell := range row {
			row[i] = oneLine(cell)
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	w.Flush()
	u.write(text.String())
}

// showBoot prints what kernels are started with.
func showBoot(u *ui, f *builder.Facts) {
	for _, i := range f.Initramfs {
		if i.Fault != "" {
			u.printf("initramfs     %s, %d bytes, cannot be read\n", i.Path, i.Size)
			continue
		}
		blocked := "not blocked"
		if i.Blocked {
			blocked = "blocked"
		}
		u.printf("initramfs     %s, %d bytes (%s), by %s, kernels %s, modprobe %s, %s, %s\n",
			i.Path, i.Size, codecs(i), i.Generator, orNone(strings.Join(i.Releases, " ")), i.Modprobe, inside(i), blocked)
		for _, w := range i.Warnings {
			u.warn(i.Path + ": " + w)
		}
	}
	for _, e := range f.BootEntries {
		what := "boot entry   "
		if e.Template {
			what = "boot template"
		}
		u.printf("%s %s: %s\n", what, entryName(e), orNone(strings.TrimSpace(e.CommandLine)))
	}
	for _, p := range f.BootProblems {
		u.warn("boot configuration: " + p.Path + ": " + p.Why)
	}
	for _, n := range f.BootNotes {
		u.warn("boot configuration: " + n)
	}
}

// codecs names how an image is packed, from its first archive to its last.
func codecs(i builder.InitramfsFacts) string {
	var out []string
	for _, s := range i.Segments {
		out = append(out, string(s.Codec))
	}
	return strings.Join(slices.Compact(out), ", ")
}

// inside counts the modules of interest in an image.
func inside(i builder.InitramfsFacts) string {
	empty := 0
	for _, m := range i.Modules {
		if m.Size == 0 {
			empty++
		}
	}
	text := fmt.Sprintf("%d modules of interest", len(i.Modules))
	if empty > 0 {
		text += fmt.Sprintf(" (%d emptied)", empty)
	}
	return text
}

// entryName is where a command line stands and what it is for.
func entryName(e builder.EntryFacts) string {
	out := e.Path
	if e.Line > 0 {
		out += fmt.Sprintf(":%d", e.Line)
	}
	if e.Title != "" {
		out += " (" + e.Title + ")"
	}
	if e.Release != "" {
		out += ", kernel " + e.Release
	}
	if e.Signed {
		out += ", signed"
	}
	return out
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}
