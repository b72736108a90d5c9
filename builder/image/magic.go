package image

import (
	"bytes"
	"io"

	"github.com/kerngate/kerngate/builder/ext4"
)

// magics are the signatures by which a volume that we do not edit is named. The
// offsets are those of blkid (util-linux, libblkid/src/superblocks).
var magics = []struct {
	name   string
	offset int64
	bytes  []byte
}{
	{"xfs", 0, []byte("XFSB")},
	{"btrfs", 0x10040, []byte("_BHRfS_M")},
	{"LUKS", 0, []byte("LUKS\xba\xbe")},
	{"LVM", 536, []byte("LVM2 001")},
	{"squashfs", 0, []byte("hsqs")},
	{"erofs", 1024, []byte{0xe2, 0xe1, 0xf5, 0xe0}},
	{"f2fs", 1024, []byte{0x10, 0x20, 0xf5, 0xf2}},
	{"FAT", 54, []byte("FAT")},
	{"FAT", 82, []byte("FAT32")},
	{"NTFS", 3, []byte("NTFS    ")},
	{"swap", 4086, []byte("SWAPSPACE2")},
	{"ISO 9660", 0x8001, []byte("CD001")},
}

// containers are formats that wrap a disk; their signature lies at byte 0.
var containers = []struct {
	name  string
	bytes []byte
	via   string // qemu-img's name for the format
}{
	{"qcow2", []byte("QFI\xfb"), "qcow2"},
	{"VMDK", []byte("KDMV"), "vmdk"},
	{"VHDX", []byte("vhdxfile"), "vhdx"},
	{"VHD", []byte("conectix"), "vpc"},
	{"VDI", []byte("<<< "), "vdi"},
	{"gzip", []byte("\x1f\x8b"), ""},
	{"xz", []byte("\xfd7zXZ\x00"), ""},
	{"zstd", []byte("\x28\xb5\x2f\xfd"), ""},
}

// identify names the file system of a volume, or "unknown".
func identify(r io.ReaderAt) string {
	if ext4.Probe(r) {
		return "ext4"
	}
	for _, m := range magics {
		got := make([]byte, len(m.bytes))
		if _, err := r.ReadAt(got, m.offset); err == nil && bytes.Equal(got, m.bytes) {
			return m.name
		}
	}
	return "unknown"
}
