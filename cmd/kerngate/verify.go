package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kerngate/kerngate/builder"
	"github.com/kerngate/kerngate/builder/checker"
)

func newVerify(u *ui) *cobra.Command {
	flags := &targetFlags{}
	cmd := &cobra.Command{
		Use:   "verify --profile PROFILE TARGET",
		Short: "Hold an image or directory against a profile; exit 1 if it does not conform",
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
			v, err := builder.Verify(target.Tree(), profile, tool(), checker.Binary)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if err := showVerification(u, args[0], v); err != nil {
				return err
			}
			if !v.Conforms {
				return exit(exitNot)
			}
			return nil
		},
	}
	flags.add(cmd, true)
	return cmd
}

func showVerification(u *ui, target string, v *builder.Verification) error {
	if u.json {
		return u.encode(struct {
			Schema int    `json:"schema"`
			Target string `json:"target"`
			*builder.Verification
		}{builder.ReportSchema, target, v})
	}
	for _, w := range v.Warnings {
		u.warn(w)
	}
	failed := 0
	for _, c := range v.Checks {
		mark := "ok  "
		if !c.OK {
			mark = "FAIL"
			failed++
		}
		u.printf("%s  %s  %s\n", mark, c.What, c.Text)
	}
	for _, open := range v.Open {
		u.printf("open  %s\n", open)
	}
	if v.Conforms {
		u.printf("%s conforms to profile %s: %s\n", target, v.Profile, counted(len(v.Checks), "check"))
		return nil
	}
	u.printf("%s does not conform to profile %s: %d of %s failed\n", target, v.Profile, failed, counted(len(v.Checks), "check"))
	said := map[string]bool{"": true}
	for _, c := range v.Checks {
		if !said[c.Hint] {
			u.say("hint: " + c.Hint)
			said[c.Hint] = true
		}
	}
	return nil
}
