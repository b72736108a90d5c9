package builder

import (
	"context"
	"errors"
	"fmt"

	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// applyInPlace edits drafts of volumes, verifies them, and writes into the image what
// differs. Until then the image is only read; from then on an undo
// journal lies beside it.
func applyInPlace(ctx context.Context, r Request, target *image.Target) (*Result, error) {
	if err := target.Lock(); err != nil {
		return nil, err
	}
	result, err := editInPlace(ctx, r, target, true)
	if errors.Is(err, image.ErrSketch) {
		return editInPlace(ctx, r, target, false)
	}
	return result, err
}

func editInPlace(ctx context.Context, r Request, target *image.Target, sketch bool) (*Result, error) {
	shadow := target.Shadow(sketch)
	defer shadow.Close()
	result, err := editShadow(ctx, r, target, shadow)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.Target, err)
	}
	changes, err := shadow.Changes(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot compare the edited volumes with the image: %w", err)
	}
	bytes := int64(0)
	for _, c := range changes {
		bytes += c.Length
	}
	if target.Device {
		r.step("undo journal: %s", target.Journal())
	}
	r.step("write %d bytes in %d places of %s", bytes, len(changes), r.Target)
	err = shadow.Commit(ctx, changes, func(t rootfs.Tree) error {
		result.Verification, err = mustConform(t, r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot write into the image: %w", err)
	}
	return result, nil
}

// editShadow plans, edits and verifies the drafts.
func editShadow(ctx context.Context, r Request, target *image.Target, shadow *image.Shadow) (*Result, error) {
	if err := shadow.Replay(ctx); err != nil {
		return nil, err
	}
	tree, err := shadow.Tree(ctx)
	if err != nil {
		return nil, err
	}
	plan, err := r.planDraft(target, tree)
	if err != nil {
		return nil, err
	}
	r.step("edit a copy: %d changes", len(plan.Changes))
	if !plan.Empty() {
		if err := shadow.Edit(ctx, plan.Edits(r.Time)); err != nil {
			return nil, err
		}
	}
	r.step("verify it")
	if tree, err = shadow.Tree(ctx); err != nil {
		return nil, err
	}
	if _, err := mustConform(tree, r); err != nil {
		return nil, err
	}
	return &Result{Output: r.Target, Plan: plan}, nil
}
