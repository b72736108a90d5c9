package ext4

import (
	"context"
	"fmt"
)

// CheckPrograms says whether the programs that Edit and Replay need are there:
// nil, or an error that wraps [ErrNoE2fsprogs].
func CheckPrograms() error {
	_, err := findPrograms(searchDirs())
	return err
}

// Replay writes what waits in the journal into its place, if anything does, on the
// file system that starts at byte offset of the file image.
func Replay(ctx context.Context, image string, offset int64) error {
	progs, err := findPrograms(searchDirs())
	if err != nil {
		return err
	}
	now, err := inspect(image, offset, nil)
	if err != nil {
		return fmt.Errorf("cannot replay the journal at byte %d: %w", offset, err)
	}
	w, err := newWorkspace(progs, image, offset, now)
	if err != nil {
		return err
	}
	defer w.remove()
	return w.makeClean(ctx, image, offset)
}
