package ext4

import (
	"fmt"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// CheckEdits finds, without writing, what [Edit] would refuse before its first write: a
// file system that it cannot edit, an edit that cannot be done, want of space.
func CheckEdits(image string, offset int64, edits []rootfs.Edit) error {
	if _, err := inspect(image, offset, edits); err != nil {
		return fmt.Errorf("cannot edit the file system at byte %d: %w", offset, err)
	}
	err := withFS(image, offset, func(f *FS) error {
		_, err := newPlan(f, f, edits)
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot edit the file system at byte %d: %w", offset, err)
	}
	return nil
}
