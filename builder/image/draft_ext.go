package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"

	"golang.org/x/sys/unix"

	"github.com/kerngate/kerngate/builder/ext4"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/builder/undo"
)

// extDraft is a private copy of a volume of the ext family.
type extDraft struct {
	target *Target
	index  int
	volume Volume
	file   *os.File
	sketch bool
	known  []undo.Range // of a sketch: the data it began with, in bytes of the volume
	edited bool
}

// draftExt copies a volume into the image's directory or, where there is no room, into
// that for temporary files. The copy shares the image's extents where the file system
// can (ioctl_ficlonerange(2)). Else it is a sketch, where one is allowed and known to
// work; else data is copied and holes stay holes.
func (s *Shadow) draftExt(ctx context.Context, i int) (*extDraft, error) {
	var refused error
	for _, dir := range s.target.draftDirs() {
		d := &extDraft{target: s.target, index: i, volume: s.target.Volumes[i]}
		err := d.fill(ctx, dir, s.sketch)
		if err == nil {
			return d, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		refused = errors.Join(refused, fmt.Errorf("cannot copy %s into %s: %w", d.volume.name(), dir, err))
	}
	return nil, refused
}

// draftDirs are the directories that may hold drafts. That of a device is in memory.
func (t *Target) draftDirs() []string {
	if t.Device {
		return []string{os.TempDir(), "/var/tmp"}
	}
	return []string{filepath.Dir(t.site.Image), os.TempDir()}
}

func (d *extDraft) fill(ctx context.Context, dir string, sketch bool) (err error) {
	if d.file, err = nameless(dir); err != nil {
		return err
	}
	if !cloneVolume(d.file, d.target.file, d.volume) {
		if sketch {
			d.sketch, err = d.drawSketch(ctx)
		}
		if err == nil && !d.sketch {
			err = copyVolume(ctx, d.file, d.target.file, d.volume, dir)
		}
	}
	if err != nil {
		return errors.Join(err, d.file.Close())
	}
	return nil
}

// drawSketch copies the metadata alone, and says whether that is right: where holes are
// coarse, data would seem to be in places that nobody wrote.
func (d *extDraft) drawSketch(ctx context.Context) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(d.file.Fd()), &st); err != nil || st.Blksize > piece {
		return false, err
	}
	ok, err := ext4.CopyMetadata(ctx, d.target.Path, d.volume.Offset, pathOf(d.file))
	if err == nil && ok {
		err = errors.Join(d.file.Truncate(d.volume.Size), d.file.Sync())
	}
	if err == nil && ok {
		d.sketch = true
		err = eachData(d.file, 0, d.volume.Size, func(from, to int64) error {
			d.known = append(d.known, undo.Range{Offset: from, Length: to - from})
			return nil
		})
	}
	if err == nil && ok {
		var changes []undo.Range
		changes, err = d.changes(ctx)
		ok = len(changes) == 0
	}
	if err != nil || !ok {
		return false, errors.Join(err, d.file.Truncate(0))
	}
	return true, nil
}

// nameless makes a file and takes its name away: the kernel removes it with the last
// handle, however the process ends. (O_TMPFILE does the same on fewer file systems.)
func nameless(dir string) (*os.File, error) {
	file, err := os.CreateTemp(dir, ".kerngate-draft-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func cloneVolume(dst, disk *os.File, v Volume) bool {
	return unix.IoctlFileCloneRange(int(dst.Fd()), &unix.FileCloneRange{
		Src_fd: int64(disk.Fd()), Src_offset: uint64(v.Offset), Src_length: uint64(v.Size),
	}) == nil
}

func copyVolume(ctx context.Context, dst, disk *os.File, v Volume, dir string) error {
	if err := dst.Truncate(v.Size); err != nil {
		return err
	}
	if info, err := disk.Stat(); err != nil || isDevice(info) {
		return errors.Join(err, copyNonzero(ctx, dst, io.NewSectionReader(disk, v.Offset, v.Size), func(int64, int64) {}))
	}
	if err := checkRoom(dst, disk, v, dir); err != nil {
		return err
	}
	return eachData(disk, v.Offset, v.Offset+v.Size, func(from, to int64) error {
		return copyRange(ctx, dst, disk, from, to, -v.Offset)
	})
}

// checkRoom compares the data of a volume with what is free where its copy goes.
func checkRoom(dst, disk *os.File, v Volume, dir string) error {
	need := int64(0)
	err := eachData(disk, v.Offset, v.Offset+v.Size, func(from, to int64) error {
		need += to - from
		return nil
	})
	if err != nil {
		return err
	}
	var have unix.Statfs_t
	if err := unix.Fstatfs(int(dst.Fd()), &have); err != nil {
		return err
	}
	return enoughSpace(need, int64(have.Bavail)*have.Bsize, dir)
}

// pathOf is how other programs open a file without a name; proc(5), /proc/pid/fd.
func pathOf(f *os.File) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()) }

func (d *extDraft) replay(ctx context.Context) error {
	d.edited = true
	return d.target.inVolume(d.index, ext4.Replay(ctx, pathOf(d.file)))
}

func (d *extDraft) edit(ctx context.Context, edits []rootfs.Edit) error {
	before, err := d.tree(ctx)
	if err != nil {
		return err
	}
	d.edited = true
	if d.sketch {
		err = ext4.EditSketch(ctx, pathOf(d.file), before, edits)
	} else {
		err = ext4.Edit(ctx, pathOf(d.file), 0, edits)
	}
	return d.target.inVolume(d.index, err)
}

func (d *extDraft) tree(ctx context.Context) (rootfs.Tree, error) {
	switch {
	case !d.edited:
		return d.target.openVolume(d.index)
	case !d.sketch:
		return d.open(io.NewSectionReader(d.file, 0, d.volume.Size))
	}
	changes, err := d.changes(ctx)
	if err != nil {
		return nil, err
	}
	return d.open(io.NewSectionReader(overlay{d, changes}, d.volume.Offset, d.volume.Size))
}

func (d *extDraft) open(r *io.SectionReader) (rootfs.Tree, error) {
	fsys, err := ext4.Open(r, d.volume.Size)
	return fsys, d.target.inVolume(d.index, err)
}

// overlay is an image as it will be when the changes of a draft are written.
type overlay struct {
	draft   *extDraft
	changes []undo.Range
}

func (o overlay) ReadAt(p []byte, off int64) (int, error) {
	n, err := o.draft.target.file.ReadAt(p, off)
	if err != nil {
		return n, err
	}
	end := off + int64(n)
	first := sort.Search(len(o.changes), func(i int) bool { return o.changes[i].Offset+o.changes[i].Length > off })
	for _, c := range o.changes[first:] {
		from, to := max(c.Offset, off), min(c.Offset+c.Length, end)
		if from >= to {
			break
		}
		if _, err := o.draft.ReadAt(p[from-off:to-off], from); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// ReadAt gives the bytes of the draft by their place in the image.
func (d *extDraft) ReadAt(p []byte, off int64) (int, error) {
	return d.file.ReadAt(p, off-d.volume.Offset)
}

// piece is the unit in which draft and image are compared, the size of a page and of
// most blocks.
const piece = 4096

// compareStep bounds what is compared at a time.
const compareStep = 256 * piece

func (d *extDraft) changes(ctx context.Context) ([]undo.Range, error) {
	data, err := d.eitherData()
	if err != nil {
		return nil, err
	}
	var changes []undo.Range
	ours, theirs := make([]byte, compareStep), make([]byte, compareStep)
	for _, r := range data {
		for at, end := r.Offset, r.Offset+r.Length; at < end; at += compareStep {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			n := min(compareStep, end-at)
			if err := readBoth(ours[:n], d.file, theirs[:n], d.target.file, at, d.volume.Offset); err != nil {
				return nil, err
			}
			if err := d.doubt(at, ours[:n]); err != nil {
				return nil, err
			}
			changes = appendDifferences(changes, d.volume.Offset+at, ours[:n], theirs[:n])
		}
	}
	return changes, nil
}

// doubt refuses zeros of a sketch in places where it had nothing: whether somebody wrote
// them, or the file system that holds the sketch made up data, cannot be told.
func (d *extDraft) doubt(at int64, data []byte) error {
	if !d.sketch {
		return nil
	}
	for i := 0; i < len(data); i += piece {
		part := data[i:min(i+piece, len(data))]
		if bytes.Count(part, []byte{0}) == len(part) && !d.knew(at+int64(i)) {
			return ErrSketch
		}
	}
	return nil
}

// knew says whether a sketch had data at a place when it was made.
func (d *extDraft) knew(at int64) bool {
	i := sort.Search(len(d.known), func(i int) bool { return d.known[i].Offset+d.known[i].Length > at })
	return i < len(d.known) && d.known[i].Offset <= at
}

// eitherData lists, in bytes of the volume, where draft or image have data, in whole
// pieces: between them both are zero. Of a sketch its own data is all that counts.
func (d *extDraft) eitherData() ([]undo.Range, error) {
	var all []undo.Range
	add := func(shift int64) func(from, to int64) error {
		return func(from, to int64) error {
			start := (from - shift) / piece * piece
			end := min((to-shift+piece-1)/piece*piece, d.volume.Size)
			all = append(all, undo.Range{Offset: start, Length: end - start})
			return nil
		}
	}
	err := eachData(d.file, 0, d.volume.Size, add(0))
	if err == nil && !d.sketch {
		err = eachData(d.target.file, d.volume.Offset, d.volume.Offset+d.volume.Size, add(d.volume.Offset))
	}
	slices.SortFunc(all, func(a, b undo.Range) int { return int(min(max(a.Offset-b.Offset, -1), 1)) })
	var joined []undo.Range
	for _, r := range all {
		joined = appendRange(joined, r)
	}
	return joined, err
}

// check has e2fsck look at what was written from a sketch, of which e2fsck has seen the
// metadata alone.
func (d *extDraft) check(ctx context.Context, image string) error {
	if !d.sketch {
		return nil
	}
	return ext4.Check(ctx, image, d.volume.Offset)
}

func (d *extDraft) close() error { return d.file.Close() }
