package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/kerngate/kerngate/builder"
)

func newRevert(u *ui) *cobra.Command {
	flags, to := &targetFlags{}, &destination{}
	cmd := &cobra.Command{
		Use:   "revert (-o OUT | --in-place) TARGET",
		Short: "Take out of an image or directory what apply put in, and only that",
		Long: `revert takes out what the manifest in the target lists: files and directories of
kerngate, its arguments on kernel command lines, and what it put behind initramfs images.
All else stays, byte for byte. A file of kerngate that was changed since is an error, and
nothing is changed then. Module files that a profile removed cannot be put back; a warning
names them. OUT and --in-place are as for apply, with the same promises.

Exit codes: 0 done; 1 there is no manifest, so nothing to take out; 2 usage; 3 error,
nothing was changed.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := to.check(); err != nil {
				return err
			}
			at, err := buildTime()
			if err != nil {
				return err
			}
			result, err := builder.Revert(cmd.Context(), builder.Request{
				Target: args[0], Output: to.output, Root: flags.root,
				Tool: tool(), Time: at, Step: u.step, Progress: u.progress,
			})
			if errors.As(err, &builder.NotPatchedError{}) {
				result, err = nil, nil
			}
			if err != nil {
				return err
			}
			return showReverted(u, args[0], result)
		},
	}
	flags.add(cmd, false)
	to.add(cmd)
	return cmd
}

// showReverted takes no result for a target without anything of ours.
func showReverted(u *ui, target string, r *builder.Result) error {
	plan := &builder.Plan{Changes: []builder.Change{}, Warnings: []string{}}
	output := ""
	if r != nil {
		plan, output = r.Plan, r.Output
	}
	if u.json {
		err := u.encode(struct {
			Schema   int    `json:"schema"`
			Target   string `json:"target"`
			Output   string `json:"output"`
			Reverted bool   `json:"reverted"`
			*builder.Plan
		}{builder.ReportSchema, target, output, r != nil, plan})
		if err == nil && r == nil {
			err = exit(exitNot)
		}
		return err
	}
	if r == nil {
		u.printf("%s: nothing of kerngate in it\n", target)
		return exit(exitNot)
	}
	for _, w := range plan.Warnings {
		u.warn(w)
	}
	u.printf("%s: %s, profile %s is taken out\n", output, counted(len(plan.Changes), "change"), plan.Profile)
	return nil
}
