// Package ext4 reads ext2, ext3 and ext4 file systems by itself and edits them
// through e2fsprogs.
//
// # Reading
//
// [Open] gives a [rootfs.Tree]. The layout is that of the kernel's
// Documentation/filesystems/ext4. Block maps and extents, holes, unwritten
// extents (zeros), inline data, linear and indexed directories (read linearly),
// all block and inode sizes, flex_bg, meta_bg, bigalloc, 64bit and extended
// attributes in the inode, in a block or in inodes of their own are understood.
// The checksums of metadata_csum and gdt_csum are verified on everything that
// is read, except the two bitmaps, which are never read, and the values held in
// attribute inodes.
//
// An image is hostile input: no number found in it sizes an allocation or a
// loop before it was held against the size of the file system and the constants
// in limits.go, and a directory is reachable by one name only, so a walk ends.
//
// [Open] does not look at the journal: while [FS.NeedsRecovery] is true its tree may
// show stale or half-written content. [OpenReplayed] shows the tree as it will be:
// blocks that wait in the journal are read from there, as jbd2 would replay them
// (revocations, checksums of all kinds, 64bit, asynchronous commits). Nothing is
// written, and none of it is kept in memory but the numbers of the blocks.
//
// Encrypted directories and files, external journals, fast commits that wait,
// compression and features newer than this package are refused by name.
//
// # Editing
//
// [Edit] is e2fsprogs' work: replay of the journal, one debugfs script, one
// e2fsck, then everything is read back by the reader and compared. It changes
// the file in place and is no transaction: callers hand it a private copy. A
// journal inside a larger image is refused with [ErrJournal]: [Replay] it first.
// Parent directories keep their times. Given the same image, edits and e2fsprogs
// version the resulting bytes are the same: all times come from the edits and
// the superblock, never from the clock.
package ext4
