package main

import (
	"github.com/spf13/cobra"

	"github.com/kerngate/kerngate/builder"
	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/undo"
)

func newRecover(u *ui) *cobra.Command {
	return &cobra.Command{
		Use:   "recover IMAGE",
		Short: "Take back an edit in place that was interrupted",
		Long: `recover brings an image back to what it was before an edit --in-place (apply, revert)
that was interrupted, from the undo journal IMAGE.kerngate-undo, a block device from that
in $XDG_STATE_HOME/kerngate or /var/lib/kerngate. Without a journal there is nothing to do.
A journal that is damaged or belongs to another image is an error and changes nothing. An
interrupted recover can be run again.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			outcome, err := image.Recover(args[0])
			if err != nil {
				return err
			}
			return showOutcome(u, args[0], outcome)
		},
	}
}

func showOutcome(u *ui, target string, o undo.Outcome) error {
	if u.json {
		return u.encode(struct {
			Schema int    `json:"schema"`
			Target string `json:"target"`
			undo.Outcome
		}{builder.ReportSchema, target, o})
	}
	switch {
	case o.Restored:
		u.printf("%s: is as it was before the interrupted edit: %d bytes put back in %s\n", target, o.Bytes, counted(int(o.Extents), "place"))
	case o.Removed:
		u.printf("%s: was not changed yet when its edit was interrupted; removed the unfinished journal\n", target)
	default:
		u.printf("%s: nothing to recover\n", target)
	}
	return nil
}
