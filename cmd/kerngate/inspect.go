package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kerngate/kerngate/builder"
	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/kernel"
)

func newInspect(u *ui) *cobra.Command {
	flags := &targetFlags{}
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
			return nil
		},
	}
	flags.add(cmd, false)
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
		u.printf("kernel        %s, image %s, %d loadable and %d built-in modules\n", k.Release, orNone(k.Image), k.Loadable, k.BuiltIn)
		if k.ImageRelease != "" && k.ImageRelease != k.Release {
			u.warn(fmt.Sprintf("%s says that it is %s, its modules are those of %s", k.Image, k.ImageRelease, k.Release))
		}
	}
	if len(f.Kernels) == 0 {
		u.printf("kernel        none\n")
	}
	for _, unit := range f.Units {
		state := "not gated"
		if unit.Gated {
			state = "gated"
		}
		u.printf("unit          %s, %s\n", unit.Path, state)
	}
	if f.Kerngate == nil {
		u.printf("kerngate      not in it\n")
	} else {
		u.printf("kerngate      %s, profile %s (%s)\n", f.Kerngate.Tool, f.Kerngate.Profile, f.Kerngate.Digest)
	}
	showModules(u, f)
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
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "\nMODULE")
	for _, k := range f.Kernels {
		fmt.Fprintf(w, "\t%s", oneLine(k.Release))
	}
	fmt.Fprint(w, "\tMODPROBE.D\n")
	for _, m := range f.Modules {
		shown := len(m.Modprobe) > 0
		for _, state := range m.States {
			shown = shown || state != kernel.Absent
		}
		if !shown {
			continue
		}
		fmt.Fprint(w, m.Name)
		for _, k := range f.Kernels {
			fmt.Fprintf(w, "\t%s", m.States[k.Release])
		}
		fmt.Fprintf(w, "\t%s\n", orNone(oneLine(strings.Join(m.Modprobe, "; "))))
	}
	w.Flush()
	u.write(text.String())
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}
