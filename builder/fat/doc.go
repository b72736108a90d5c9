// Package fat reads and edits FAT12, FAT16 and FAT32 volumes, such as the EFI
// system partition, with the long names of VFAT.
//
// # Format
//
// The layout is that of Microsoft's "FAT32 File System Specification" (1.03); where
// systems differ from it, that of Linux's fs/fat: a volume is FAT32 when its 16-bit
// FAT size is zero, whatever the number of clusters, and FAT12 below 4085 clusters.
// Sectors have 512 to 4096 bytes. Names are found without regard to case, by long
// name or by 8.3 alias; bytes above 127 in an alias are code page 437, as Linux takes
// them. Times have no zone on the disk and are taken for UTC.
//
// # Reading
//
// [Open] gives a [rootfs.Tree]. FAT knows neither owners nor permissions: files
// are 0644, or 0444 with the read-only attribute, directories 0755, all of root.
//
// A volume is hostile input: no number found in it sizes an allocation or a loop
// before it was held against the size of the volume and the constants in limits.go.
// A directory is entered by one name only, the one its ".." agrees with, so a walk
// ends.
//
// # Editing
//
// [Edit] makes all changes in memory, above the volume as it is, then checks the
// result as a whole and reads it back; only then is the first byte written. So
// whatever is refused has changed nothing. The bytes written follow from the volume
// and the edits alone, never from the clock. It is no transaction against a crash:
// callers hand it a private copy, or keep an undo journal.
//
// # Why not go-diskfs
//
// Its FAT code (v1.9.4) was the first choice. What stands against it cannot be
// mended from outside: it writes while it works, so that a refusal comes after
// changes; it takes the number of clusters from the length of the FAT and so
// allocates beyond the last one; it takes two FATs for granted; Remove keeps the
// file's clusters; a new file has a cluster even when it is empty; FSInfo is never
// updated; all entries of a directory are written anew, without what it does not
// know of them; and a damaged boot sector makes it allocate until memory ends.
// Mending would mean our own FAT, directory and check code beside it, and two views
// of one volume.
//
// # Left out
//
// exFAT; making a volume; renaming; lost clusters (they stay lost); repair: a
// volume that contradicts itself is not edited.
package fat
