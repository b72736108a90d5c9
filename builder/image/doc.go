// Package image opens what a user hands over, finds the Linux root in it, and
// commits an edited copy.
//
// Targets are a directory, and a raw disk image or a block device that nothing uses:
// GPT, MBR with logical partitions, or a bare file system. GPT follows UEFI 2.10 section 5, MBR the
// layout that Linux reads (block/partitions/msdos.c). The tables themselves are
// parsed by go-diskfs; this package bounds what it is given, walks the chain of
// logical partitions that it leaves out, and checks every partition against the
// size of the file.
//
// The volumes beside the root get their roles by the root's fstab(5), by partition
// type (UAPI.2, Discoverable Partitions Specification), or by content. Those that we read
// are part of one tree, mounted as the running system has them; edits of the tree are
// carried out on the volumes that its names lie on.
//
// A block device edited in place has its undo journal in the directory for state, named
// by what sysfs says of the device.
//
// It leaves out image formats with their own mapping (qcow2, VMDK, VHD) and roots other
// than ext2, ext3 and ext4: those are named and refused.
// An MBR is taken to count sectors of 512 bytes.
package image
