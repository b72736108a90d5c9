package ext4

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNotExt4 is met where the superblock's magic number is absent.
var ErrNotExt4 = errors.New("no ext2, ext3 or ext4 superblock")

// ErrNoE2fsprogs is met where debugfs or e2fsck is not installed.
var ErrNoE2fsprogs = errors.New("e2fsprogs is not installed")

// ErrNoSpace is wrapped by every [NoSpaceError].
var ErrNoSpace = errors.New("not enough room in the file system")

// ErrUnsupported is wrapped by every [UnsupportedError].
var ErrUnsupported = errors.New("not supported")

// CorruptError is a place in the image that contradicts the format or its own
// checksum.
type CorruptError struct {
	What   string // "superblock", "inode 12", "extent block of inode 12"
	Byte   int64  // offset from the start of the file system
	Detail string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("ext4: %s at byte %#x: %s", e.What, e.Byte, e.Detail)
}

// UnsupportedError names features, as tune2fs does, that stand in the way.
type UnsupportedError struct {
	Features []string
	Action   string // "read", "edit" or "replay"
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("ext4: cannot %s a file system that uses %s", e.Action, strings.Join(e.Features, ", "))
}

func (e *UnsupportedError) Unwrap() error { return ErrUnsupported }

// NoSpaceError says what the edits would need; nothing was written.
type NoSpaceError struct {
	Resource string // "blocks" or "inodes"
	Got      uint64 // free in the file system
	Want     uint64 // needed by the edits, margin included
}

func (e *NoSpaceError) Error() string {
	return fmt.Sprintf("ext4: free %s are %d, want %d: %v", e.Resource, e.Got, e.Want, ErrNoSpace)
}

func (e *NoSpaceError) Unwrap() error { return ErrNoSpace }
