package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kerngate/kerngate/builder"
	"github.com/kerngate/kerngate/builder/checker"
	"github.com/kerngate/kerngate/builder/rootfs"
)

func newPlan(u *ui) *cobra.Command {
	flags := &targetFlags{}
	var exitCode, diff bool
	cmd := &cobra.Command{
		Use:   "plan --profile PROFILE TARGET",
		Short: "Show the changes that apply would make",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			profile, err := flags.loadProfile()
			if err != nil {
				return err
			}
			target, err := flags.open(args[0], profile)
			if err != nil {
				return err
			}
			defer target.Close()
			plan, err := builder.NewPlan(target.Tree(), profile, tool(), checker.Binary)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			plan.Locate(target)
			if err := showPlan(u, args[0], plan, diff); err != nil {
				return err
			}
			if exitCode && !plan.Empty() {
				return exit(exitChanges)
			}
			return nil
		},
	}
	flags.add(cmd, true)
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 4 when there are changes")
	cmd.Flags().BoolVar(&diff, "diff", false, "show the content of text files too")
	return cmd
}

func showPlan(u *ui, target string, plan *builder.Plan, diff bool) error {
	if u.json {
		return u.encode(struct {
			Schema int    `json:"schema"`
			Target string `json:"target"`
			*builder.Plan
		}{builder.ReportSchema, target, plan})
	}
	for _, w := range plan.Warnings {
		u.warn(w)
	}
	for _, c := range plan.Changes {
		showChange(u, c, diff)
	}
	u.printf("%s for profile %s\n", counted(len(plan.Changes), "change"), plan.Profile)
	return nil
}

func showChange(u *ui, c builder.Change, diff bool) {
	switch {
	case c.Before.Type == "absent":
		u.printf("+ %s  %s  (%s)\n", c.Path, c.After, c.Reason)
	case c.Op == rootfs.Remove:
		u.printf("- %s  %s  (%s)\n", c.Path, c.Before, c.Reason)
	default:
		u.printf("~ %s  %s -> %s  (%s)\n", c.Path, c.Before, c.After, c.Reason)
	}
	if text, ok := c.Text(); ok && diff {
		for line := range strings.Lines(text) {
			u.printf("    + %s\n", strings.TrimSuffix(line, "\n"))
		}
	}
}

// counted gives a number with its noun in the right form.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
