// Package ext4 reads ext2, ext3 and ext4 file systems by itself and edits them
// through e2fsprogs.
package ext4
