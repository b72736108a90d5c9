package fat

import (
	"errors"
	"fmt"
)

// ErrNotFAT is met where no FAT boot sector begins at byte 0.
var ErrNotFAT = errors.New("no FAT boot sector")

// ErrUnsupported is wrapped by every [UnsupportedError].
var ErrUnsupported = errors.New("not supported")

// ErrNoSpace is wrapped by every [NoSpaceError].
var ErrNoSpace = errors.New("not enough room in the file system")

// CorruptError is a place in the volume that contradicts the format.
type CorruptError struct {
	What   string // "boot sector", "FAT entry 12", "directory entry"
	Byte   int64  // offset from the start of the volume
	Detail string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("fat: %s at byte %#x: %s", e.What, e.Byte, e.Detail)
}

// Hint says what the user can do.
func (e *CorruptError) Hint() string {
	return "fsck.vfat of the package dosfstools repairs FAT volumes; run it on a copy"
}

func corrupt(what string, at int64, format string, args ...any) error {
	return &CorruptError{What: what, Byte: at, Detail: fmt.Sprintf(format, args...)}
}

// UnsupportedError names what FAT, or this package, cannot hold.
type UnsupportedError struct {
	What string // "symbolic links"
}

func (e *UnsupportedError) Error() string { return fmt.Sprintf("fat: %s: %v", e.What, ErrUnsupported) }

func (e *UnsupportedError) Unwrap() error { return ErrUnsupported }

// NoSpaceError says what the edits would need; nothing was written.
type NoSpaceError struct {
	Resource string // "clusters", "entries of the root directory" or "entries of a directory"
	Got      uint64 // free
	Want     uint64
}

func (e *NoSpaceError) Error() string {
	return fmt.Sprintf("fat: free %s are %d, want %d: %v", e.Resource, e.Got, e.Want, ErrNoSpace)
}

func (e *NoSpaceError) Unwrap() error { return ErrNoSpace }
