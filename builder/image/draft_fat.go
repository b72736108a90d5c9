package image

import (
	"bytes"
	"context"
	"io"

	"github.com/kerngate/kerngate/builder/fat"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/builder/undo"
)

// fatDraft is a FAT volume whose edits are in memory.
type fatDraft struct {
	target   *Target
	index    int
	volume   Volume
	edits    []rootfs.Edit
	prepared *fat.Prepared
}

func (d *fatDraft) replay(context.Context) error { return nil } // FAT has no journal

// edit makes all edits anew, so that they lie above the image and not above each other.
func (d *fatDraft) edit(_ context.Context, edits []rootfs.Edit) (err error) {
	d.edits = append(d.edits, edits...)
	d.prepared, err = d.target.prepareFAT(d.index, d.edits)
	return err
}

func (d *fatDraft) tree(context.Context) (rootfs.Tree, error) {
	tree, err := fat.Open(d.prepared, d.volume.Size)
	return tree, d.target.inVolume(d.index, err)
}

func (d *fatDraft) changes(context.Context) (list []undo.Range, err error) {
	d.prepared.Changes(func(at, length int64) {
		for end := at + length; at < end && err == nil; at += compareStep {
			n := min(compareStep, end-at)
			ours, theirs := make([]byte, n), make([]byte, n)
			if err = readBoth(ours, d.prepared, theirs, d.target.file, at, d.volume.Offset); err == nil {
				list = appendDifferences(list, d.volume.Offset+at, ours, theirs)
			}
		}
	})
	return list, err
}

// ReadAt gives the bytes of the draft by their place in the image.
func (d *fatDraft) ReadAt(p []byte, off int64) (int, error) {
	return d.prepared.ReadAt(p, off-d.volume.Offset)
}

func (d *fatDraft) check(context.Context, string) error { return nil }

func (d *fatDraft) close() error { return nil }

// readBoth reads the same place of a draft and of the image.
func readBoth(ours []byte, draft io.ReaderAt, theirs []byte, image io.ReaderAt, at, offset int64) error {
	if _, err := draft.ReadAt(ours, at); err != nil {
		return err
	}
	_, err := image.ReadAt(theirs, offset+at)
	return err
}

// appendDifferences adds the pieces in which two buffers, which belong at offset,
// differ.
func appendDifferences(list []undo.Range, offset int64, a, b []byte) []undo.Range {
	for at := 0; at < len(a); at += piece {
		end := min(at+piece, len(a))
		if !bytes.Equal(a[at:end], b[at:end]) {
			list = appendRange(list, undo.Range{Offset: offset + int64(at), Length: int64(end - at)})
		}
	}
	return list
}

// appendRange adds a range that does not begin before the last one, joined to it
// where they touch.
func appendRange(list []undo.Range, r undo.Range) []undo.Range {
	if n := len(list) - 1; n >= 0 && list[n].Offset+list[n].Length >= r.Offset {
		list[n].Length = max(list[n].Length, r.Offset+r.Length-list[n].Offset)
		return list
	}
	return append(list, r)
}
