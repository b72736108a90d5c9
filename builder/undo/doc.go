// Package undo changes bytes of a file so that a crash at any moment leaves a way
// back: what the bytes were is written beside the file and made durable before the
// first of them is changed.
//
// # Order of a change
//
// [Site.Apply] writes the journal under a name of its own, fsyncs it, gives it the name
// IMAGE.kerngate-undo (rename(2)), that of a block device one in a directory for state, and
// fsyncs the directory. Then it writes the new bytes, fsyncs the image, lets the caller look
// at it, removes the journal and fsyncs the directory again. So a journal under its name is
// complete and its image may hold any mixture of old and new bytes; without one the image is
// as it was, or finished.
// [Site.Recover] writes the old bytes back; interrupted, it can run again.
//
// # Format
//
// All numbers are little endian.
//
//	header   "KGUNDO\r\n", version (4 bytes), number of extents (8), size of the
//	         image (8), identity of the image (32), CRC32C of the header so far (4)
//	extent   offset in the image (8), length (4), CRC32C of both and the bytes (4),
//	         the bytes; extents ascend and do not overlap
//	trailer  "KGUNDO.\n", SHA-256 of everything before the trailer (32)
//
// The identity is the SHA-256 of the first and the last MiB of the image as they were
// before the change: with the old bytes laid over them it comes out the same however
// far a change got, and it differs for another image of the same size.
//
// The package leaves out locks: who calls it holds one on the image. A journal belongs
// to a name: an image that is reached by another hard link is not known to have one.
package undo
