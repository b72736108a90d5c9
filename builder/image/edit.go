package image

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/kerngate/kerngate/builder/ext4"
	"github.com/kerngate/kerngate/builder/fat"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// Edit changes the volumes of the target in place; names are those of its tree. Of a
// disk the caller hands it a private copy. A directory takes its edits back if one of
// them fails, or check does, which looks at the result and may be nil.
func (t *Target) Edit(ctx context.Context, edits []rootfs.Edit, check func() error) error {
	if check == nil {
		check = func() error { return nil }
	}
	if t.Kind == Directory {
		return t.dir.Apply(edits, check)
	}
	if err := t.editVolumes(ctx, edits); err != nil {
		return err
	}
	return check()
}

// editVolumes writes when nothing is left that could be refused, in any volume.
func (t *Target) editVolumes(ctx context.Context, edits []rootfs.Edit) error {
	parts, err := t.split(edits)
	if err != nil {
		return err
	}
	prepared := map[int]*fat.Prepared{}
	for _, p := range parts {
		if v := t.Volumes[p.volume]; v.FS == "FAT" {
			prepared[p.volume], err = t.prepareFAT(p.volume, p.edits)
		} else {
			err = t.inVolume(p.volume, ext4.CheckEdits(t.Path, v.Offset, p.edits))
		}
		if err != nil {
			return err
		}
	}
	for _, p := range parts {
		v := t.Volumes[p.volume]
		if volume := prepared[p.volume]; volume != nil {
			err = volume.Write(t.Path, v.Offset)
		} else {
			err = ext4.Edit(ctx, t.Path, v.Offset, p.edits)
		}
		if err != nil {
			return t.inVolume(p.volume, err)
		}
	}
	return nil
}

// inVolume says whose file system an error is about.
func (t *Target) inVolume(i int, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", t.Volumes[i].name(), err)
}

// volumeEdits are edits of one volume, with its own names.
type volumeEdits struct {
	volume int
	edits  []rootfs.Edit
}

// split sorts edits by volume, those of the root first; within a volume their order
// stays.
func (t *Target) split(edits []rootfs.Edit) ([]volumeEdits, error) {
	byVolume := map[int][]rootfs.Edit{}
	for _, e := range edits {
		var i int
		i, e.Path = t.locate(e.Path)
		byVolume[i] = append(byVolume[i], e)
	}
	var parts []volumeEdits
	for _, i := range append([]int{t.root}, t.indexes(func(i int) bool { return i != t.root })...) {
		if list := byVolume[i]; list != nil {
			parts = append(parts, volumeEdits{i, list})
		}
	}
	return parts, t.checkApart(parts)
}

// checkApart refuses volumes that share bytes: an edit of one would be damage to the
// other.
func (t *Target) checkApart(parts []volumeEdits) error {
	for n, p := range parts {
		for _, q := range parts[n+1:] {
			if a, b := t.Volumes[p.volume], t.Volumes[q.volume]; a.Offset < b.Offset+b.Size && b.Offset < a.Offset+a.Size {
				return &Error{Fact: fmt.Sprintf("%s and %s overlap", a.name(), b.name()), Advice: "look at the table with sgdisk -v; both would have to be edited"}
			}
		}
	}
	return nil
}

// prepareFAT makes edits of a FAT volume in memory.
func (t *Target) prepareFAT(i int, edits []rootfs.Edit) (*fat.Prepared, error) {
	v := t.Volumes[i]
	p, err := fat.Prepare(io.NewSectionReader(t.file, v.Offset, v.Size), v.Size, forFAT(edits))
	return p, t.inVolume(i, err)
}

// The times that FAT can hold; others become the nearest.
var (
	firstFATTime = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	lastFATTime  = time.Date(2107, 12, 31, 23, 59, 58, 0, time.UTC)
)

// forFAT leaves out what FAT has no place for and Linux makes up when it mounts one:
// owners, permissions but that to write, attributes, and times of other centuries.
func forFAT(edits []rootfs.Edit) []rootfs.Edit {
	var out []rootfs.Edit
	for _, e := range edits {
		if e.Op == rootfs.SetAttributes {
			continue
		}
		e.UID, e.GID, e.Xattrs = 0, 0, nil
		e.Mode &^= fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
		if e.ModTime.Before(firstFATTime) {
			e.ModTime = firstFATTime
		} else if e.ModTime.After(lastFATTime) {
			e.ModTime = lastFATTime
		}
		out = append(out, e)
	}
	return slices.Clip(out)
}
