package ext4

// Limits on what an image can ask of us. Those of the format itself are named
// after their place in fs/ext4/ext4.h.
const (
	minBlockSize = 1 << 10
	maxBlockSize = 1 << 16 // EXT4_MAX_BLOCK_SIZE
	minInodeSize = 128     // EXT4_GOOD_OLD_INODE_SIZE
	minDescSize  = 32      // EXT4_MIN_DESC_SIZE
	maxDescSize  = 1 << 10 // EXT4_MAX_DESC_SIZE
	maxNameLen   = 255     // EXT4_NAME_LEN

	// maxExtentDepth is EXT4_MAX_EXTENT_DEPTH: deeper trees cannot be needed for 2^32 blocks.
	maxExtentDepth = 5

	// maxDirBytes holds millions of names of usual length; a directory has no
	// holes, so the size of the file system limits it too.
	maxDirBytes = 256 << 20

	// maxDirNames bounds the memory for one directory, to some 100 MB.
	maxDirNames = 1 << 20

	// maxXattrValue is XATTR_SIZE_MAX of include/uapi/linux/limits.h, and
	// maxXattrTotal bounds what all attributes of one inode may add up to.
	maxXattrValue = 64 << 10
	maxXattrTotal = 1 << 20

	// maxCachedNames bounds the names kept of directories that were looked at; it is
	// more than one directory can have, so that reading the largest in order is fast.
	maxCachedNames = 2 * maxDirNames

	// maxCachedGroups is the groups of half a terabyte, in blocks of 4 KiB.
	maxCachedGroups = 4096

	// maxJournalBlocks is a gigabyte in the smallest blocks: mke2fs makes no larger journal
	// by itself. It bounds what is remembered of a log, to some 100 MB.
	maxJournalBlocks = 1 << 20

	// maxSymlink is PATH_MAX, which the kernel demands of targets as well.
	maxSymlink = 4096
)
