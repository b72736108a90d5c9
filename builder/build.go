package builder

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/modprobe"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/builder/unit"
	"github.com/kerngate/kerngate/initcheck/policy"
	"github.com/kerngate/kerngate/profiles"
)

// Request is one build.
type Request struct {
	Target  string // path of a raw disk image or a directory
	Output  string // path of the patched image; empty: in place
	Root    int    // partition number of the root; 0: find it
	Profile profiles.Profile
	Tool    string    // "kerngate VERSION", for the manifest
	Time    time.Time // modification time of what is written
	Checker CheckerSource
	Step    func(text string) // told what happens, for a person; may be nil
	// Progress is told of the copy of a disk, in bytes; may be nil.
	Progress func(done, total int64)

	taking *removal // not nil: take out what an earlier build put in
	first  *Plan    // of the target itself, before anything was copied; nil where there is none
}

// plan compares a tree with what is asked for.
func (r Request) plan(t rootfs.Tree) (*Plan, error) {
	if r.taking != nil {
		return r.taking.plan(t)
	}
	return NewPlan(t, r.Profile, r.Tool, r.Checker)
}

// planDraft plans for a draft of the target. What was planned for the target holds for it as
// long as nobody wrote to the target, and no journal was replayed in the draft.
func (r Request) planDraft(target *image.Target, draft rootfs.Tree) (*Plan, error) {
	if r.first != nil && !target.NeedsRecovery() && target.Unchanged() {
		return r.first, nil
	}
	return r.plan(draft)
}

// Result is what a build did.
type Result struct {
	Output       string        `json:"output"`
	Plan         *Plan         `json:"plan"`
	Verification *Verification `json:"verification,omitempty"` // none of a revert
}

func (r Request) step(format string, args ...any) {
	if r.Step != nil {
		r.Step(fmt.Sprintf(format, args...))
	}
}

// Apply carries out a build. On error nothing is left and the target is as it was. An
// edit in place that was interrupted before is taken back first.
func Apply(ctx context.Context, r Request) (*Result, error) {
	if r.Output == "" {
		outcome, err := image.Recover(r.Target)
		if err != nil {
			return nil, err
		}
		if outcome.Restored {
			r.step("took back an edit of %s that was interrupted", r.Target)
		}
	}
	target, err := image.Open(r.Target, image.Options{Root: r.Root})
	if err != nil {
		return nil, err
	}
	defer target.Close()
	if r.taking != nil {
		err = r.taking.check(target)
	} else {
		err = CheckTarget(target, r.Profile)
	}
	if err != nil {
		return nil, err
	}
	apply := applyDisk
	if target.Kind == image.Directory {
		apply = applyDirectory
	}
	result, err := apply(ctx, r, target)
	if err != nil {
		return nil, err
	}
	result.Plan.Locate(target)
	return result, nil
}

// CheckTarget refuses a target in which what a build writes would not be seen by the
// system that boots from it. With the command line set elsewhere, boot entries may
// well lie elsewhere, too.
func CheckTarget(target *image.Target, p profiles.Profile) error {
	names := []string{modprobe.File, policy.Binary, policy.File, ManifestPath, unit.GatePath, unit.EnableLink, unit.RulePath}
	if !slices.Contains(p.Accept, profiles.AcceptExternalCmdline) {
		names = append(names, "/boot/initrd.img")
	}
	return target.CheckVisible(names)
}

// applyDirectory edits a directory in place; the edits are taken back if the
// result does not verify.
func applyDirectory(ctx context.Context, r Request, target *image.Target) (*Result, error) {
	if r.Output != "" {
		return nil, problem("copy the directory first (cp -a) and give --in-place", "%s: it is a directory, which is patched in place only", r.Target)
	}
	plan, err := r.plan(target.Tree())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.Target, err)
	}
	r.step("edit %s: %d changes", r.Target, len(plan.Changes))
	var verification *Verification
	err = target.Edit(ctx, plan.Edits(r.Time), func() error {
		if verification, err = mustConform(target.Tree(), r); err != nil {
			return err
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.Target, err)
	}
	return &Result{Output: r.Target, Plan: plan, Verification: verification}, nil
}

// applyDisk refuses what can be refused before anything is copied.
func applyDisk(ctx context.Context, r Request, target *image.Target) (*Result, error) {
	if err := target.CheckEditor(); err != nil {
		return nil, err
	}
	if target.CheckCurrent() == nil {
		plan, err := r.plan(target.Tree())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.Target, err)
		}
		if plan.Empty() && r.Output == "" {
			return nothingToDo(r, target, plan)
		}
		r.first = plan
	}
	if r.Output == "" {
		return applyInPlace(ctx, r, target)
	}
	return applyToCopy(ctx, r, target)
}

// applyToCopy edits a hidden copy and gives it its name when it has been verified.
func applyToCopy(ctx context.Context, r Request, target *image.Target) (*Result, error) {
	r.step("copy %s", r.Target)
	draft, err := image.NewDraft(ctx, r.Target, r.Output, r.Progress)
	if err != nil {
		return nil, err
	}
	defer draft.Discard()
	result, err := editDraft(ctx, r, target, draft.Path())
	if err != nil {
		// The copy's name means nothing to the user and is gone in a moment.
		return nil, renamed(err, draft.Path(), r.Target)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r.step("put %s in place", r.Output)
	if err := draft.Commit(); err != nil {
		return nil, err
	}
	result.Output = r.Output
	return result, nil
}

// nothingToDo is a build in place of an image that is as the profile wants it.
func nothingToDo(r Request, target *image.Target, plan *Plan) (*Result, error) {
	verification, err := mustConform(target.Tree(), r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.Target, err)
	}
	return &Result{Output: r.Target, Plan: plan, Verification: verification}, nil
}

// editDraft plans, edits and verifies the copy of a target at path.
func editDraft(ctx context.Context, r Request, from *image.Target, path string) (*Result, error) {
	if err := image.Replay(ctx, path, image.Options{Root: r.Root}); err != nil {
		return nil, err
	}
	target, err := image.Open(path, image.Options{Root: r.Root})
	if err != nil {
		return nil, err
	}
	defer target.Close()
	plan, err := r.planDraft(from, target.Tree())
	if err != nil {
		return nil, err
	}
	r.step("edit the copy: %d changes", len(plan.Changes))
	if !plan.Empty() {
		if err := target.Edit(ctx, plan.Edits(r.Time), nil); err != nil {
			return nil, err
		}
	}
	r.step("verify the copy")
	verification, err := verifyAgain(path, r)
	if err != nil {
		return nil, err
	}
	return &Result{Plan: plan, Verification: verification}, nil
}

// verifyAgain opens the edited copy afresh, so that nothing read before the edit
// vouches for it.
func verifyAgain(path string, r Request) (*Verification, error) {
	target, err := image.Open(path, image.Options{Root: r.Root})
	if err != nil {
		return nil, err
	}
	defer target.Close()
	return mustConform(target.Tree(), r)
}

func mustConform(t rootfs.Tree, r Request) (*Verification, error) {
	if r.taking != nil {
		return nil, r.taking.verify(t)
	}
	v, err := Verify(t, r.Profile, r.Tool, r.Checker)
	if err != nil {
		return nil, err
	}
	for _, c := range v.Checks {
		if !c.OK {
			return nil, problem("look at what the message names; if nothing there is yours, this is a fault of kerngate: please report it with the image's layout", "the edited image does not conform: %s: %s", c.What, c.Text)
		}
	}
	return v, nil
}

// renamedError is an error whose text speaks of one file by another's name.
type renamedError struct {
	err      error
	from, to string
}

func renamed(err error, from, to string) error { return &renamedError{err, from, to} }

func (e *renamedError) Error() string {
	text := strings.ReplaceAll(e.err.Error(), e.from, e.to)
	if !strings.HasPrefix(text, e.to) {
		text = e.to + ": " + text
	}
	return text
}

func (e *renamedError) Unwrap() error { return e.err }
