// Package initramfs reads initramfs images as the kernel unpacks them, and makes the
// tail that keeps modules out of one.
//
// # Format
//
// An image is what Documentation/driver-api/early-userspace/buffer-format.rst of the
// kernel describes and init/initramfs.c takes: newc and crc cpio archives (070701,
// 070702), plain or compressed, one behind the other, with zero bytes between. Plain
// archives start at a multiple of four. [Open] reads all of it once, as a stream, and
// keeps names and the content of few small files; what a file holds otherwise is
// unpacked again when it is asked for.
//
// The merged view is what the kernel's root file system would hold: later entries
// win, links in the parents of a name are followed, an entry without a parent is
// lost, hard links share their content, and an entry of another type replaces what
// was there, unless that is a directory with something in it.
//
// # Writing
//
// [Block] gives the bytes behind an image that add one plain archive: zeros up to a
// multiple of 512, at least four of them, because the kernel's decoder for LZ4 takes
// what follows directly for more data. The archive has the modprobe.d file, and an
// empty file in the place of every module that must not be loaded: finit_module(2)
// refuses a file of no bytes. A marker file in it tells where the original image
// ends, so that the next Block replaces it and [Unblock] takes it off.
//
// Whatever the kernel would not unpack to the end is an error: it goes on in silence
// with what it has, so that the files of an appended archive would be missing.
//
// # Generators
//
// [GeneratorFiles] gives the files that make the programs which write initramfs
// images keep the block when they write the next one.
//
// # Left out
//
// LZO; BCJ filters in xz; boot configurations at the end of an image (they are
// refused); the archive that is built into the kernel; changing or removing entries
// of archives that are there; extended attributes, which newc does not have.
package initramfs
