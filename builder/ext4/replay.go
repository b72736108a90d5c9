package ext4

import (
	"context"
	"errors"
	"fmt"
)

// ErrJournal is met by Edit where the journal of a file system inside a larger
// image waits to be replayed: e2fsck, up to 1.47 at least, forgets the offset when it
// opens the file system again after the replay. [Replay] the volume in a file of its
// own first.
var ErrJournal = errors.New("journal waits to be replayed")

// CheckPrograms says whether the programs that Edit and Replay need are there:
// nil, or an error that wraps [ErrNoE2fsprogs].
func CheckPrograms() error {
	_, err := findPrograms(searchDirs())
	return err
}

// Replay writes what waits in the journal into its place, if anything does, on the
// file system that the file volume holds from its first byte on.
func Replay(ctx context.Context, volume string) error {
	progs, err := findPrograms(searchDirs())
	if err != nil {
		return err
	}
	now, err := inspect(volume, 0, nil)
	if err != nil {
		return fmt.Errorf("cannot replay the journal: %w", err)
	}
	w, err := newWorkspace(progs, volume, 0, now)
	if err != nil {
		return err
	}
	return errors.Join(w.makeClean(ctx, volume, 0), w.remove())
}
