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

// RootDraft is a private copy of the root volume of a disk image, to be edited
// instead of it. Its file has no name, so nothing of it outlives the process. What
// differs in the end is written into the image by [RootDraft.Commit].
//
// A draft may be a sketch: it has the metadata only, and contents of files are read
// from the image.
type RootDraft struct {
	target *Target
	volume Volume
	file   *os.File
	before os.FileInfo // of the image
	sketch bool
	known  []undo.Range // of a sketch: the data it began with, in bytes of the volume
}

// ErrSketch is met where a sketch turns out to be not enough: take a whole draft.
var ErrSketch = errors.New("a copy of the metadata is not enough to tell what was changed")

// DraftRoot copies the root volume of a disk into the image's directory or, where
// there is no room, into that for temporary files. The copy shares the image's
// extents where the file system can (ioctl_ficlonerange(2)). Else it is a sketch, where
// one is allowed and known to work; else data is copied and holes stay holes.
func (t *Target) DraftRoot(ctx context.Context, sketch bool) (*RootDraft, error) {
	real, err := filepath.EvalSymlinks(t.Path)
	if err != nil {
		return nil, err
	}
	before, err := t.file.Stat()
	if err != nil {
		return nil, err
	}
	var refused error
	for _, dir := range []string{filepath.Dir(real), os.TempDir()} {
		d := &RootDraft{target: t, volume: t.Root(), before: before}
		err := d.fill(ctx, dir, sketch)
		if err == nil {
			return d, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		refused = errors.Join(refused, fmt.Errorf("cannot copy the root volume into %s: %w", dir, err))
	}
	return nil, refused
}

func (d *RootDraft) fill(ctx context.Context, dir string, sketch bool) (err error) {
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
func (d *RootDraft) drawSketch(ctx context.Context) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(d.file.Fd()), &st); err != nil || st.Blksize > piece {
		return false, err
	}
	ok, err := ext4.CopyMetadata(ctx, d.target.Path, d.volume.Offset, d.path())
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
		changes, err = d.Changes(ctx)
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
	if err := checkRoom(dst, disk, v, dir); err != nil {
		return err
	}
	if err := dst.Truncate(v.Size); err != nil {
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

// path is how other programs open the draft; proc(5), /proc/pid/fd.
func (d *RootDraft) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), d.file.Fd()) }

// Replay writes what waits in the journal into its place.
func (d *RootDraft) Replay(ctx context.Context) error {
	return d.renamed(ext4.Replay(ctx, d.path()))
}

// Edit changes the draft. After an error it is good for nothing.
func (d *RootDraft) Edit(ctx context.Context, edits []rootfs.Edit) error {
	return d.renamed(ext4.Edit(ctx, d.path(), 0, edits))
}

// renamed says whose file system an error is about.
func (d *RootDraft) renamed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", d.volume.name(), err)
}

// checkUnchanged refuses to go on when somebody else wrote to the image.
func (d *RootDraft) checkUnchanged() error { return checkUnchanged(d.before, d.target.Path) }

// Tree reads the draft afresh.
func (d *RootDraft) Tree(ctx context.Context) (rootfs.Tree, error) {
	if !d.sketch {
		return openTree(d.file, 0, d.volume)
	}
	changes, err := d.Changes(ctx)
	if err != nil {
		return nil, err
	}
	return openTree(overlay{d, changes}, d.volume.Offset, d.volume)
}

// overlay is an image as it will be when the changes of a draft are written.
type overlay struct {
	draft   *RootDraft
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
		if _, err := o.draft.source().ReadAt(p[from-off:to-off], from); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// source gives the bytes of the draft by their place in the image.
func (d *RootDraft) source() io.ReaderAt { return shifted{d.file, d.volume.Offset} }

func openTree(r io.ReaderAt, offset int64, v Volume) (rootfs.Tree, error) {
	fsys, err := ext4.Open(io.NewSectionReader(r, offset, v.Size), v.Size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", v.name(), err)
	}
	return fsys, nil
}

// piece is the unit in which draft and image are compared, the size of a page and of
// most blocks.
const piece = 4096

// Changes lists where the draft differs from the image, in bytes of the image,
// ascending, neighbours joined.
func (d *RootDraft) Changes(ctx context.Context) ([]undo.Range, error) {
	if err := d.checkUnchanged(); err != nil {
		return nil, err
	}
	data, err := d.eitherData()
	if err != nil {
		return nil, err
	}
	var changes []undo.Range
	const step = 256 * piece
	ours, theirs := make([]byte, step), make([]byte, step)
	for _, r := range data {
		for at, end := r.Offset, r.Offset+r.Length; at < end; at += step {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			n := min(step, end-at)
			if _, err := d.file.ReadAt(ours[:n], at); err != nil {
				return nil, err
			}
			if _, err := d.target.file.ReadAt(theirs[:n], d.volume.Offset+at); err != nil {
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
func (d *RootDraft) doubt(at int64, data []byte) error {
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
func (d *RootDraft) knew(at int64) bool {
	i := sort.Search(len(d.known), func(i int) bool { return d.known[i].Offset+d.known[i].Length > at })
	return i < len(d.known) && d.known[i].Offset <= at
}

// eitherData lists, in bytes of the volume, where draft or image have data, in whole
// pieces: between them both are zero. Of a sketch its own data is all that counts.
func (d *RootDraft) eitherData() ([]undo.Range, error) {
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

// appendRange adds a range that does not begin before the last one, joined to it
// where they touch.
func appendRange(list []undo.Range, r undo.Range) []undo.Range {
	if n := len(list) - 1; n >= 0 && list[n].Offset+list[n].Length >= r.Offset {
		list[n].Length = max(list[n].Length, r.Offset+r.Length-list[n].Offset)
		return list
	}
	return append(list, r)
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

// Commit writes the changes into the image, with a way back; see [undo.Apply]. Check
// looks at the root as it is in the image then.
func (d *RootDraft) Commit(ctx context.Context, changes []undo.Range, check func(rootfs.Tree) error) error {
	real, err := filepath.EvalSymlinks(d.target.Path)
	if err != nil {
		return err
	}
	if err := d.checkUnchanged(); err != nil {
		return err
	}
	return undo.Apply(ctx, real, changes, d.source(), func() error {
		if d.sketch {
			if err := ext4.Check(ctx, real, d.volume.Offset); err != nil {
				return err
			}
		}
		tree, err := openTree(d.target.file, d.volume.Offset, d.volume)
		if err != nil {
			return err
		}
		return check(tree)
	})
}

// shifted is a file whose byte 0 is called by.
type shifted struct {
	io.ReaderAt
	by int64
}

func (s shifted) ReadAt(p []byte, off int64) (int, error) { return s.ReaderAt.ReadAt(p, off-s.by) }

// Close removes the draft.
func (d *RootDraft) Close() error { return d.file.Close() }
