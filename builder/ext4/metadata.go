package ext4

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// What CopyMetadata may meet. Left out is what keeps data of another kind in blocks of
// files (ea_inode, quota, orphan files, verity), maps blocks in another way (bigalloc,
// meta_bg, inline_data) or moves the backups (sparse_super2).
const (
	sketchCompat   = 0x4 | compatExtAttr | 0x10 | 0x20
	sketchIncompat = incompatFiletype | incompatExtents | incompat64bit | incompatFlexBG | incompatCsumSeed
	sketchRoCompat = roCompatSparseSuper | 0x2 | 0x8 | roCompatGDTCsum | 0x20 | 0x40 | roCompatMetadataCsum

	// sketchBlock is the least block size: a page of a sparse file must not be filled
	// in part.
	sketchBlock = 4096
)

// CopyMetadata writes what e2fsprogs read of a file system, which begins at byte offset
// of the file image, to the same places of the empty file volume; contents of files are
// left as holes. Edit works on such a file as on the whole; only what it finds in files
// it did not write is wrong. False means that the file system is of a kind for which
// this is not known to be enough, or e2image is not installed, and volume is useless.
func CopyMetadata(ctx context.Context, image string, offset int64, volume string) (bool, error) {
	progs, err := findPrograms(searchDirs())
	if err != nil {
		return false, err
	}
	e2image := filepath.Join(filepath.Dir(progs.debugfs), "e2image")
	if _, err := os.Stat(e2image); err != nil {
		return false, nil
	}
	var sb *Superblock
	err = withFS(image, offset, func(f *FS) error {
		sb = f.sb
		return nil
	})
	if err != nil || !sb.sketchable() {
		return false, err
	}
	w, err := newWorkspace(progs, image, offset, sb.WriteTime)
	if err != nil {
		return false, err
	}
	err = w.sketch(ctx, e2image, offset, volume)
	if err := errors.Join(err, w.remove()); err != nil {
		return false, err
	}
	return true, copyBackups(image, offset, volume, sb)
}

func (sb *Superblock) sketchable() bool {
	return sb.compat&^sketchCompat == 0 && sb.incompat&^sketchIncompat == 0 && sb.roCompat&^sketchRoCompat == 0 &&
		sb.BlockSize >= sketchBlock && sb.Clean
}

func (w *workspace) sketch(ctx context.Context, e2image string, offset int64, volume string) error {
	if err := os.Symlink(volume, w.file("volume")); err != nil {
		return err
	}
	_, stderr, code, err := w.run(ctx, e2image, "-r", "-o", fmt.Sprint(offset), "fs", "volume")
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("e2image: exit code is %d: %s", code, excerpt(strings.TrimSpace(stderr)))
	}
	return nil
}

// copyBackups copies the superblocks and descriptors that e2image leaves out and e2fsck
// would make anew.
func copyBackups(image string, offset int64, volume string, sb *Superblock) error {
	src, err := os.Open(image)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(volume, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	descriptors := (int64(sb.groups)*int64(sb.descSize) + sb.BlockSize - 1) / sb.BlockSize
	for group := range sb.groups {
		if !sb.hasBackup(group) {
			continue
		}
		first := sb.firstDataBlock + group*sb.perGroup
		count := min(1+descriptors, int64(sb.Blocks-first))
		at := int64(first) * sb.BlockSize
		from := io.NewSectionReader(src, offset+at, count*sb.BlockSize)
		if _, err := io.Copy(io.NewOffsetWriter(dst, at), from); err != nil {
			return errors.Join(err, dst.Close())
		}
	}
	return dst.Close()
}

// Check has e2fsck look at the file system that begins at byte offset of the file
// image, without changing it.
func Check(ctx context.Context, image string, offset int64) error {
	progs, err := findPrograms(searchDirs())
	if err != nil {
		return err
	}
	now, err := inspect(image, offset, nil)
	if err != nil {
		return err
	}
	w, err := newWorkspace(progs, image, offset, now)
	if err != nil {
		return err
	}
	return errors.Join(w.fsck(ctx, "-f", "-n"), w.remove())
}
