package fat

// Limits of the format and on what a volume can ask of us.
const (
	minSector = 512
	maxSector = 4096

	slotBytes = 32 // one directory entry

	// maxDirSlots is FAT_MAX_DIR_ENTRIES of include/uapi/linux/msdos_fs.h.
	maxDirSlots = 65536

	maxNameUnits = 255 // UTF-16 code units of a long name
	unitsPerSlot = 13  // of them in one entry
	maxNameSlots = 20

	maxFileBytes = 1<<32 - 1

	// Numbers of clusters, MAX_FAT12 to MAX_FAT32 of include/uapi/linux/msdos_fs.h:
	// above them lie the marks for bad clusters and ends of chains.
	maxClusters12 = 0xFF4
	maxClusters16 = 0xFFF4
	maxClusters32 = 0x0FFFFFF6

	// tablePage is what is read of a FAT at once: a multiple of 3 and of 4 bytes, so
	// that no entry lies across two pages, and of all sector sizes.
	tablePage = 3 * maxSector

	// maxTablePages bounds the memory for pages that only were read, to 6 MB: the
	// whole FAT of an EFI system partition.
	maxTablePages = 512

	// maxCachedSlots bounds the directories kept, to some 50 MB; it is more than one
	// directory can have.
	maxCachedSlots = 2 * maxDirSlots

	// copyBytes is what is compared or written at once.
	copyBytes = 1 << 20
)
