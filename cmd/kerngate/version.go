package main

import (
	"maps"
	"runtime"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kerngate/kerngate/builder"
	"github.com/kerngate/kerngate/builder/checker"
)

func newVersion(u *ui) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version and the checkers built in",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			checkers := checker.Digests()
			if u.json {
				return u.encode(struct {
					Schema   int               `json:"schema"`
					Version  string            `json:"version"`
					Go       string            `json:"go"`
					Checkers map[string]string `json:"checkers"` // SHA-256 by architecture
				}{builder.ReportSchema, version, runtime.Version(), checkers})
			}
			u.printf("kerngate %s (%s)\n", version, runtime.Version())
			for _, arch := range slices.Sorted(maps.Keys(checkers)) {
				u.printf("checker for %s: sha256:%s\n", arch, checkers[arch])
			}
			if len(checkers) == 0 {
				u.warn(checker.ErrMissing.Error() + ": " + checker.Hint)
			}
			return nil
		},
	}
}
