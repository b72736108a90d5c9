package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// Edit carries edits out, in order, on the file system that starts at byte offset
// of the file image, and reads them back. The image is untouched where the error
// is [ErrNoE2fsprogs], [ErrNoSpace], [ErrUnsupported], [ErrNotExt4] or about an
// edit that cannot be done, but for the replay of a journal that needed it. After
// any other error the image may hold part of the edits: throw it away.
//
// A replaced file is a new inode; other hard links keep the old one. A replaced
// inode's attributes go over to a symbolic link only as far as Linux allows them
// there. Of an existing directory Mkdir sets mode, owner, times and, where given,
// all attributes. SetAttributes leaves the inode in its place; the edit's time becomes
// its change time.
func Edit(ctx context.Context, image string, offset int64, edits []rootfs.Edit) error {
	return edit(ctx, searchDirs(), image, offset, nil, edits)
}

// EditSketch is Edit for a file that [CopyMetadata] wrote. The beginnings of files that
// an Append keeps are not in it: they are read from whole, the tree as it is with the
// earlier edits of the sketch.
func EditSketch(ctx context.Context, volume string, whole rootfs.Tree, edits []rootfs.Edit) error {
	return edit(ctx, searchDirs(), volume, 0, whole, edits)
}

// edit reads from whole what files hold; nil stands for the image itself.
func edit(ctx context.Context, dirs []string, image string, offset int64, whole rootfs.Tree, edits []rootfs.Edit) error {
	progs, err := findPrograms(dirs)
	if err != nil {
		return err
	}
	now, err := inspect(image, offset, edits)
	if err != nil {
		return fmt.Errorf("cannot edit the file system at byte %d: %w", offset, err)
	}
	w, err := newWorkspace(progs, image, offset, now)
	if err != nil {
		return err
	}
	if err := w.edit(ctx, image, offset, whole, edits); err != nil {
		return errors.Join(fmt.Errorf("cannot edit the file system at byte %d: %w", offset, err), w.remove())
	}
	return w.remove()
}

// inspect refuses what cannot be edited at all and gives the time that the
// programs shall believe in: the latest of what superblock and edits name, since
// e2fsck takes superblock times in the future for a broken clock.
func inspect(image string, offset int64, edits []rootfs.Edit) (int64, error) {
	var now int64
	err := withFS(image, offset, func(f *FS) error {
		now = f.sb.WriteTime
		return f.sb.checkEditable()
	})
	for _, e := range edits {
		if e.Op != rootfs.Remove {
			now = max(now, e.ModTime.Unix())
		}
	}
	return max(now, 1), err // 0 would mean no time given
}

func (sb *Superblock) checkEditable() error {
	if names := featureNames(sb.compat&^editableCompat, sb.incompat&^uint32(editableIncompat), sb.roCompat&^editableRoCompat); names != nil {
		return &UnsupportedError{Features: names, Action: "edit"}
	}
	return nil
}

func withFS(image string, offset int64, do func(*FS) error) error {
	file, err := os.Open(image)
	if err != nil {
		return err
	}
	defer file.Close()
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if offset < 0 || offset > size {
		return fmt.Errorf("offset is %d, the image has %d bytes", offset, size)
	}
	f, err := Open(io.NewSectionReader(file, offset, size-offset), size-offset)
	if err != nil {
		return err
	}
	return do(f)
}

func (w *workspace) edit(ctx context.Context, image string, offset int64, whole rootfs.Tree, edits []rootfs.Edit) error {
	if err := w.makeClean(ctx, image, offset); err != nil {
		return err
	}
	var p *plan
	err := withFS(image, offset, func(f *FS) (err error) {
		contents := whole
		if contents == nil {
			contents = f
		}
		if p, err = newPlan(f, contents, edits); err != nil {
			return err
		}
		return p.script.write(ctx, w)
	})
	if err != nil {
		return err
	}
	if p.script.text.Len() == 0 {
		return nil
	}
	if err := w.debugfs(ctx, p.script.text.String()); err != nil {
		return err
	}
	if err := w.fsck(ctx, "-f", "-p"); err != nil {
		return err
	}
	return withFS(image, offset, func(f *FS) error { return p.verify(f, w) })
}

// makeClean replays the journal, because debugfs ignores it, and has an unclean
// file system checked, because debugfs believes its bitmaps.
func (w *workspace) makeClean(ctx context.Context, image string, offset int64) error {
	var replay, check bool
	state := func(f *FS) error {
		replay, check = f.NeedsRecovery(), !f.sb.Clean
		return nil
	}
	if err := withFS(image, offset, state); err != nil {
		return err
	}
	if replay && offset != 0 {
		return ErrJournal
	}
	if replay {
		if err := w.fsck(ctx, "-E", "journal_only", "-p"); err != nil {
			return fmt.Errorf("cannot replay the journal: %w", err)
		}
		if err := withFS(image, offset, state); err != nil {
			return err
		}
		if replay {
			return errors.New("journal still needs recovery after e2fsck replayed it")
		}
	}
	if !check {
		return nil
	}
	return w.fsck(ctx, "-f", "-p")
}

// verify compares every name that was edited with what a fresh reader finds.
func (p *plan) verify(f *FS, w *workspace) error {
	for _, name := range slices.Sorted(maps.Keys(p.names)) {
		if e := p.names[name]; e.edited {
			if err := e.verify(f, w, name); err != nil {
				return fmt.Errorf("cannot confirm %s: %w", name, err)
			}
		}
	}
	return nil
}

func (e *entry) verify(f *FS, w *workspace, name string) error {
	n, err := f.lookup("lookup", name)
	if e.kind == 0 {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err == nil:
			return errors.New("name is still there")
		}
		return err
	}
	if err != nil {
		return err
	}
	mode := e.kind | storedMode(e.edit.Mode)
	if e.kind == typeSymlink {
		mode = e.kind | 0o777
	}
	switch {
	case n.mode != mode:
		return fmt.Errorf("mode is %#o, want %#o", n.mode, mode)
	case n.uid != e.edit.UID || n.gid != e.edit.GID:
		return fmt.Errorf("owner is %d:%d, want %d:%d", n.uid, n.gid, e.edit.UID, e.edit.GID)
	case !n.mtime.Equal(e.mtime):
		return fmt.Errorf("modification time is %v, want %v", n.mtime, e.mtime)
	}
	if err := e.verifyContent(f, w, n); err != nil {
		return err
	}
	xattrs, err := f.Xattrs(name)
	if err != nil {
		return err
	}
	if !maps.EqualFunc(xattrs, e.xattrs, bytes.Equal) {
		return fmt.Errorf("attributes are %q, want %q", xattrs, e.xattrs)
	}
	return nil
}

func (e *entry) verifyContent(f *FS, w *workspace, n *inode) error {
	if e.kept {
		if old := e.inode; n.number != old.number || n.size != old.size {
			return fmt.Errorf("it is inode %d with %d bytes, want inode %d with %d", n.number, n.size, old.number, old.size)
		}
		return nil
	}
	switch e.kind {
	case typeSymlink:
		target, err := f.target(n)
		if err != nil {
			return err
		}
		if target != e.edit.Target {
			return fmt.Errorf("link target is %q, want %q", target, e.edit.Target)
		}
	case typeRegular:
		c, err := f.content(n)
		if err != nil {
			return err
		}
		return e.holds.verify(c, w.file(e.stored))
	}
	return nil
}
