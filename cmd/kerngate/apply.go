package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/kerngate/kerngate/builder"
	"github.com/kerngate/kerngate/builder/checker"
)

func newApply(u *ui) *cobra.Command {
	flags, to := &targetFlags{}, &destination{}
	cmd := &cobra.Command{
		Use:   "apply --profile PROFILE (-o OUT | --in-place) TARGET",
		Short: "Patch an image or directory; on error nothing is changed",
		Long: `apply patches a copy of the image, verifies it, and only then gives it the name
OUT. With --in-place copies of the volumes that change are patched and verified; what
differs is then written into the image, with an undo journal beside it
(IMAGE.kerngate-undo) until that is done. That of a block device, which nothing may use,
lies in $XDG_STATE_HOME/kerngate, or /var/lib/kerngate where the variable is not set. An
interrupted run is taken back by the next one or by kerngate recover.
A directory is patched in place; its changes are taken back if one of them fails.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := to.check(); err != nil {
				return err
			}
			profile, err := flags.loadProfile()
			if err != nil {
				return err
			}
			at, err := buildTime()
			if err != nil {
				return err
			}
			result, err := builder.Apply(cmd.Context(), builder.Request{
				Target: args[0], Output: to.output, Root: flags.root, Profile: profile,
				Tool: tool(), Time: at, Checker: checker.Binary, Step: u.step, Progress: u.progress,
			})
			if err != nil {
				return err
			}
			return showResult(u, result)
		},
	}
	flags.add(cmd, true)
	to.add(cmd)
	return cmd
}

// destination says where a changed target goes.
type destination struct {
	output  string
	inPlace bool
}

func (d *destination) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&d.output, "output", "o", "", "file for the changed image; must not exist")
	cmd.Flags().BoolVar(&d.inPlace, "in-place", false, "change the target itself")
}

func (d *destination) check() error {
	if (d.output == "") == !d.inPlace {
		return usageError{errors.New("where to: give either -o OUT or --in-place")}
	}
	if d.output == "-" {
		return usageError{&hinted{errors.New("a disk image does not go to standard output"), "give the name of a file, -o OUT; -o ./- names a file that is called -"}}
	}
	return nil
}

func showResult(u *ui, r *builder.Result) error {
	if u.json {
		return u.encode(struct {
			Schema int `json:"schema"`
			*builder.Result
		}{builder.ReportSchema, r})
	}
	for _, w := range r.Plan.Warnings {
		u.warn(w)
	}
	u.printf("%s: %s, conforms to profile %s\n", r.Output, counted(len(r.Plan.Changes), "change"), r.Plan.Profile)
	return nil
}
