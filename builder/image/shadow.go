package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/builder/undo"
)

// Shadow is a disk image as it will be: private drafts of those volumes that are edited,
// above the image, which is only read until [Shadow.Commit] writes what differs into it.
// A draft's file has no name, so nothing of it outlives the process.
//
// A draft of an ext volume may be a sketch: it has the metadata only, and contents of
// files are read from the image.
type Shadow struct {
	target *Target
	sketch bool // sketches are allowed
	drafts map[int]draft
}

// draft is one volume of a shadow.
type draft interface {
	// replay writes what waits in the journal into its place.
	replay(ctx context.Context) error
	// edit changes the draft. After an error it is good for nothing.
	edit(ctx context.Context, edits []rootfs.Edit) error
	// tree reads the draft afresh.
	tree(ctx context.Context) (rootfs.Tree, error)
	// changes lists where the draft differs from the image, in bytes of the image,
	// ascending, neighbours joined.
	changes(ctx context.Context) ([]undo.Range, error)
	// ReadAt gives the bytes of the changes by their place in the image.
	io.ReaderAt
	// check looks at the volume in the image, when the changes have been written.
	check(ctx context.Context, image string) error
	close() error
}

// ErrSketch is met where a sketch turns out to be not enough: take a shadow without.
var ErrSketch = errors.New("a copy of the metadata is not enough to tell what was changed")

// Shadow begins one, of the image as it was when the target was opened. Sketch allows
// sketches, which are taken where they are known to work.
func (t *Target) Shadow(sketch bool) *Shadow {
	return &Shadow{target: t, sketch: sketch, drafts: map[int]draft{}}
}

// draft gives the draft of a volume, and makes it if there is none.
func (s *Shadow) draft(ctx context.Context, i int) (d draft, err error) {
	if d, ok := s.drafts[i]; ok {
		return d, nil
	}
	if v := s.target.Volumes[i]; v.FS == "FAT" {
		d = &fatDraft{target: s.target, index: i, volume: v}
	} else if d, err = s.draftExt(ctx, i); err != nil {
		return nil, err
	}
	s.drafts[i] = d
	return d, nil
}

// Replay writes what waits in journals into its place.
func (s *Shadow) Replay(ctx context.Context) error {
	for _, i := range s.target.waiting() {
		d, err := s.draft(ctx, i)
		if err == nil {
			err = d.replay(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Edit carries out edits, whose names are those of the target's tree. After an error
// the shadow is good for nothing.
func (s *Shadow) Edit(ctx context.Context, edits []rootfs.Edit) error {
	parts, err := s.target.split(edits)
	if err != nil {
		return err
	}
	for _, p := range parts {
		d, err := s.draft(ctx, p.volume)
		if err == nil {
			err = d.edit(ctx, p.edits)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Tree reads the tree afresh as it will be.
func (s *Shadow) Tree(ctx context.Context) (rootfs.Tree, error) {
	if err := s.checkUnchanged(); err != nil {
		return nil, err
	}
	return s.target.compose(func(i int) (rootfs.Tree, error) {
		if d, ok := s.drafts[i]; ok {
			return d.tree(ctx)
		}
		return s.target.openVolume(i)
	})
}

// checkUnchanged refuses to go on when somebody else wrote to the image since it was opened:
// the target keeps what it has read.
func (s *Shadow) checkUnchanged() error { return checkUnchanged(s.target.before, s.target.Path) }

// inOrder are the drafted volumes as they lie in the image.
func (s *Shadow) inOrder() []int {
	at := s.target.indexes(func(i int) bool { return s.drafts[i] != nil })
	slices.SortFunc(at, func(a, b int) int {
		if s.target.Volumes[a].Offset < s.target.Volumes[b].Offset {
			return -1
		}
		return 1
	})
	return at
}

// Changes lists where the shadow differs from the image, in bytes of the image,
// ascending.
func (s *Shadow) Changes(ctx context.Context) ([]undo.Range, error) {
	if err := s.checkUnchanged(); err != nil {
		return nil, err
	}
	var all []undo.Range
	for _, i := range s.inOrder() {
		list, err := s.drafts[i].changes(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

// ReadAt gives new bytes by their place in the image; a change lies in one volume.
func (s *Shadow) ReadAt(p []byte, off int64) (int, error) {
	for i, d := range s.drafts {
		if v := s.target.Volumes[i]; off >= v.Offset && off < v.Offset+v.Size {
			return d.ReadAt(p, off)
		}
	}
	return 0, fmt.Errorf("byte %#x is in no volume that was edited", off)
}

// Commit writes the changes into the image, with a way back; see [undo.Site.Apply]. Check
// looks at the tree as it is in the image then.
func (s *Shadow) Commit(ctx context.Context, changes []undo.Range, check func(rootfs.Tree) error) error {
	if err := s.checkUnchanged(); err != nil {
		return err
	}
	if s.target.Device {
		if err := makeDurable(filepath.Dir(s.target.site.Journal)); err != nil {
			return err
		}
	}
	return s.target.site.Apply(ctx, changes, s, func() error {
		for _, i := range s.inOrder() {
			if err := s.drafts[i].check(ctx, s.target.site.Image); err != nil {
				return s.target.inVolume(i, err)
			}
		}
		tree, err := s.target.compose(func(i int) (rootfs.Tree, error) { return s.target.openFrom(s.target.file, i) })
		if err != nil {
			return err
		}
		return check(tree)
	})
}

// Close removes the drafts.
func (s *Shadow) Close() error {
	var err error
	for _, d := range s.drafts {
		err = errors.Join(err, d.close())
	}
	return err
}
