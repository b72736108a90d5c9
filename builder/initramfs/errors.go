package initramfs

import (
	"errors"
	"fmt"
)

// ErrTruncated is wrapped where an image ends inside of something.
var ErrTruncated = errors.New("image ends too early")

// ErrUnsupported is wrapped where the kernel, or this package, has no decoder.
var ErrUnsupported = errors.New("not supported")

// ErrLimit is wrapped where an image asks for more than the limits allow.
var ErrLimit = errors.New("too large")

// ErrRefused is wrapped where a block cannot be put into an image.
var ErrRefused = errors.New("cannot be blocked")

// FormatError is a place in an image that the kernel would stop at.
type FormatError struct {
	Segment int64 // where the segment begins, from the start of the image
	Codec   Codec // of the segment
	Byte    int64 // in the unpacked segment; for None from the start of the image
	Err     error
}

func (e *FormatError) Error() string {
	if e.Codec == None {
		return fmt.Sprintf("initramfs: byte %#x: %v", e.Byte, e.Err)
	}
	return fmt.Sprintf("initramfs: segment at byte %#x (%s), unpacked byte %#x: %v", e.Segment, e.Codec, e.Byte, e.Err)
}

func (e *FormatError) Unwrap() error { return e.Err }

func refuse(format string, args ...any) error {
	return fmt.Errorf("initramfs %w: %s", ErrRefused, fmt.Sprintf(format, args...))
}
