package undo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Range is a piece of an image, in bytes.
type Range struct{ Offset, Length int64 }

// Suffix is what the name of a journal adds to that of its image.
const Suffix = ".kerngate-undo"

// unfinished is added to the name of a journal while it is written.
const unfinished = ".part"

// chunk bounds what is held in memory at a time, and the length of an extent.
const chunk = 1 << 20

// Site is what is changed and where its journal lies, each by its own name and not by a
// link to it.
type Site struct {
	Image   string // a regular file or a block device
	Journal string
}

// Beside is the site of an image whose journal lies beside it.
func Beside(image string) Site { return Site{image, image + Suffix} }

// Pending says whether there is a journal: a change was interrupted.
func (s Site) Pending() (bool, error) {
	_, err := os.Lstat(s.Journal)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Apply writes into the image the bytes that source has at the same offsets, ranges
// ascending. Check, which may be nil, then looks at the image; if it does not like it,
// or a write meets an error, the old bytes are put back. On error the image is as it
// was, or the error says that its journal is still there.
func (s Site) Apply(ctx context.Context, ranges []Range, source io.ReaderAt, check func() error) error {
	return s.apply(ctx, system{}, ranges, source, check)
}

func (s Site) apply(ctx context.Context, l layer, ranges []Range, source io.ReaderAt, check func() error) (err error) {
	f, err := l.open(s.Image, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := s.writeJournal(ctx, l, f, ranges); err != nil {
		return fmt.Errorf("cannot write the undo journal: %w", err)
	}
	// From here on an interrupt is not looked at: going back takes as long.
	if err := change(f, ranges, source, check); err != nil {
		if _, undone := s.restore(l); undone != nil {
			return fmt.Errorf("%w; %w", err, &StillThereError{Journal: s.Journal, Err: undone})
		}
		return err
	}
	return s.dropJournal(l)
}

// StillThereError says that an image could not be brought to an end, neither forward
// nor back: its journal is left for [Site.Recover].
type StillThereError struct {
	Journal string
	Err     error
}

func (e *StillThereError) Error() string {
	return fmt.Sprintf("undo journal %s is left: %v", e.Journal, e.Err)
}

func (e *StillThereError) Unwrap() error { return e.Err }

// Hint says what the user can do next.
func (e *StillThereError) Hint() string {
	return "the image may be half changed; when the cause is gone, run kerngate recover on it"
}

func (s Site) dropJournal(l layer) error {
	if err := errors.Join(l.remove(s.Journal), l.syncDir(s.Journal)); err != nil {
		return &StillThereError{Journal: s.Journal, Err: err}
	}
	return nil
}

// change writes and looks at the result.
func change(f file, ranges []Range, source io.ReaderAt, check func() error) error {
	err := eachChunk(ranges, func(r Range, data []byte) error {
		if _, err := source.ReadAt(data, r.Offset); err != nil {
			return fmt.Errorf("cannot read %d new bytes for byte %#x: %w", r.Length, r.Offset, err)
		}
		_, err := f.WriteAt(data, r.Offset)
		return err
	})
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if check == nil {
		return nil
	}
	return check()
}

// eachChunk cuts ranges into pieces of bounded length and hands a buffer for each.
func eachChunk(ranges []Range, do func(Range, []byte) error) error {
	buffer := make([]byte, chunk)
	for _, r := range ranges {
		for at, end := r.Offset, r.Offset+r.Length; at < end; at += chunk {
			n := min(chunk, end-at)
			if err := do(Range{at, n}, buffer[:n]); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkRanges demands ranges that ascend inside the image, and counts the pieces that
// they are cut into.
func checkRanges(ranges []Range, size int64) (pieces uint64, err error) {
	end := int64(0)
	for _, r := range ranges {
		if r.Offset < end || r.Length <= 0 || r.Length > size || r.Offset > size-r.Length {
			return 0, fmt.Errorf("range of %d bytes at %#x: want it between %#x and the image's end at %#x", r.Length, r.Offset, end, size)
		}
		end = r.Offset + r.Length
		pieces += uint64((r.Length + chunk - 1) / chunk)
	}
	return pieces, nil
}
