package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kerngate/kerngate/builder"
	"github.com/kerngate/kerngate/profiles"
)

func newProfile(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "profile",
		Short: "List, show and check profiles",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newProfileList(u), newProfileShow(u), newProfileLint(u))
	return cmd
}

func newProfileList(u *ui) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the shipped profiles",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			type row struct {
				Name        string `json:"name"`
				Description string `json:"description"`
			}
			rows := []row{}
			for _, name := range profiles.Names() {
				p, err := profiles.Load(name)
				if err != nil {
					return err
				}
				rows = append(rows, row{p.Name, p.Description})
			}
			if u.json {
				return u.encode(struct {
					Schema   int   `json:"schema"`
					Profiles []row `json:"profiles"`
				}{builder.ReportSchema, rows})
			}
			for _, r := range rows {
				u.printf("%-18s %s\n", r.Name, r.Description)
			}
			return nil
		},
	}
}

func newProfileShow(u *ui) *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME|FILE",
		Short: "Show a profile with all that it extends merged in",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := profiles.Load(args[0])
			if err != nil {
				return err
			}
			if u.json {
				return u.encode(struct {
					Schema int    `json:"schema"`
					Digest string `json:"digest"`
					profiles.Profile
				}{builder.ReportSchema, p.Digest(), p})
			}
			showProfile(u, p)
			return nil
		},
	}
}

func showProfile(u *ui, p profiles.Profile) {
	u.printf("profile   %s (%s)\n", p.Name, p.Source)
	u.printf("          %s\n", p.Description)
	u.printf("digest    %s\n", p.Digest())
	u.printf("closes    %s\n", orNone(strings.Join(p.CVEs(), ", ")))
	u.printf("floor     %s\n", orNone(p.Kernel.Floor))
	showKernel(u, p.Kernel)
	showPin(u, p.Kernel.Pin)
	for _, m := range p.Modules {
		block := orNone(joined(m.Block))
		if m.Remove {
			block += ", removed"
		}
		u.printf("module    %-16s block %-38s refuse if %-16s %s\n", m.Name, block, orNone(joined(m.RefuseIf)), m.Reason)
	}
	u.printf("accepts   %s\n", orNone(joined(p.Accept)))
	showGate(u, p.Gate)
	showReport(u, p.Report)
}

func showGate(u *ui, g profiles.Gate) {
	u.printf("recheck   %s\n", g.Recheck)
	u.printf("harden    %s\n", yesNo(g.Harden))
	u.printf("breach    %s\n", g.Breach)
	u.printf("on refuse %s\n", g.OnRefuse)
	u.printf("bless     %s\n", map[bool]string{true: "only if the gate has passed", false: "not held back"}[g.BootAssessment])
	u.printf("override  %s\n", yesNo(g.Override))
	for _, unit := range g.Units {
		u.printf("unit      %s\n", unit)
	}
	for _, unit := range g.Except {
		u.printf("except    %s\n", unit)
	}
}

// showPin shows which kernels package managers may bring and boot loaders start.
func showPin(u *ui, p profiles.Pin) {
	pin := orDefault(p.Mode, profiles.PinNone)
	if p.Ceiling != "" {
		pin += ", below " + p.Ceiling
	}
	u.printf("pin       %s\n", pin)
	u.printf("boot menu %s\n", orDefault(p.BootBelowFloor, profiles.BootKeep))
}

// showReport shows who is told, if anybody is.
func showReport(u *ui, r profiles.Report) {
	for _, c := range []struct {
		name string
		on   bool
	}{{"motd", r.Motd}, {"node_problem_detector", r.NodeProblemDetector}, {"node_feature_discovery", r.NodeFeatureDiscovery}} {
		if c.on {
			u.printf("report    %s\n", c.name)
		}
	}
	for _, dir := range r.NodeExporter {
		u.printf("report    node_exporter in %s\n", dir)
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// showKernel shows what a profile says of advisories, if it does.
func showKernel(u *ui, k profiles.Kernel) {
	if len(k.Advisories) == 0 {
		return
	}
	for _, t := range k.Advisories {
		u.printf("advisory  %s of %s  %s\n", t.CVE, t.Date, nameOf(t))
	}
	below, mitigated := "refused", "open"
	if k.AcceptFixed {
		below = "passes where all are closed"
	}
	if k.AcceptMitigated {
		mitigated = "closed"
	}
	u.printf("below     %s\n", below)
	u.printf("mitigated %s\n", mitigated)
	u.printf("unknown   %s\n", orDefault(string(k.Unknown), "refuse"))
	if k.MaxAge > 0 {
		u.printf("max age   %d days, then %s\n", k.MaxAge, orDefault(string(k.Stale), "unknown"))
	}
}

func orDefault(word, otherwise string) string {
	if word == "" {
		return otherwise
	}
	return word
}

func joined[T ~string](words []T) string {
	var out []string
	for _, w := range words {
		out = append(out, string(w))
	}
	return strings.Join(out, ", ")
}

func newProfileLint(u *ui) *cobra.Command {
	return &cobra.Command{
		Use:   "lint NAME|FILE...",
		Short: "Check profiles and show all findings; exit 1 if there are any",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			all := profiles.Findings{}
			for _, name := range args {
				_, err := profiles.Load(name)
				var found profiles.Findings
				switch {
				case errors.As(err, &found):
					all = append(all, found...)
				case err != nil:
					return err
				}
			}
			return showFindings(u, all)
		},
	}
}

func showFindings(u *ui, all profiles.Findings) error {
	if u.json {
		err := u.encode(struct {
			Schema   int               `json:"schema"`
			Findings profiles.Findings `json:"findings"`
		}{builder.ReportSchema, all})
		if err != nil {
			return err
		}
	} else {
		for _, f := range all {
			u.printf("%s\n", f)
		}
	}
	if len(all) > 0 {
		return exit(exitNot)
	}
	return nil
}
