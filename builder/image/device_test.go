package image

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

// sysfs is a machine with a disk of two partitions, of which the second is part of a
// volume group, and a disk without any.
func sysfs() fstest.MapFS {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	return fstest.MapFS{
		"dev/block/8:0/uevent":              file("MAJOR=8\nMINOR=0\nDEVNAME=sda\nDEVTYPE=disk\n"),
		"dev/block/8:0/queue/rotational":    file("1\n"),
		"dev/block/8:0/holders":             {Mode: fs.ModeDir | 0o755},
		"dev/block/8:0/sda1/partition":      file("1\n"),
		"dev/block/8:0/sda1/dev":            file("8:1\n"),
		"dev/block/8:0/sda1/uevent":         file("DEVNAME=sda1\nDEVTYPE=partition\n"),
		"dev/block/8:0/sda1/holders":        {Mode: fs.ModeDir | 0o755},
		"dev/block/8:0/sda2/partition":      file("2\n"),
		"dev/block/8:0/sda2/dev":            file("259:5\n"),
		"dev/block/8:0/sda2/uevent":         file("DEVNAME=sda2\n"),
		"dev/block/8:1/uevent":              file("DEVNAME=sda1\n"),
		"dev/block/8:16/uevent":             file("DEVNAME=sdb\n"),
		"dev/block/8:16/sdb1/partition":     file("1\n"),
		"dev/block/8:16/sdb1/dev":           file("8:17\n"),
		"dev/block/8:16/sdb1/uevent":        file("DEVNAME=sdb1\n"),
		"dev/block/8:16/sdb1/holders/dm-0":  file(""),
		"dev/block/8:16/sdb1/holders/dm-10": file(""),
		"dev/block/7:0/uevent":              file("MAJOR=7\n"),
	}
}

func TestUserOf(t *testing.T) {
	const others = "25 30 0:23 / /sys rw,relatime shared:7 - sysfs sysfs rw\n" +
		"30 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,discard\n" +
		"31 1 8:1\n" // cut short
	for _, c := range []struct {
		name, mounts string
		minor        uint32
		want         string
	}{
		{"free", others, 0, ""},
		{"partition mounted", others + "40 30 8:1 / /mnt/a\\040b rw master:1 - ext4 /dev/sda1 rw\n", 0, `sda1 is mounted on "/mnt/a b"`},
		{"partition with an extended number mounted", others + "40 30 259:5 / /mnt rw - vfat /dev/sda2 rw\n", 0, `sda2 is mounted on "/mnt"`},
		{"disk mounted", others + "40 30 8:0 / /mnt rw - ext4 /dev/disk/by-uuid/x rw\n", 0, `sda is mounted on "/mnt"`},
		{"another partition mounted", others + "40 30 8:0 /mnt rw - ext4\n40 30 8:17 / /mnt rw - ext4 /dev/sdb1 rw\n", 0, ""},
		{"the partition itself mounted", others + "40 30 8:1 / /mnt rw - ext4 /dev/sda1 rw\n", 1, `sda1 is mounted on "/mnt"`},
		{"the partition beside it mounted", others + "40 30 259:5 / /mnt rw - ext4 /dev/sda2 rw\n", 1, ""},
		{"btrfs has a number of its own", others + "40 30 0:44 /@ /mnt rw - btrfs /dev/sda2 rw,subvol=/@\n", 0, `sda2 is mounted on "/mnt"`},
		{"part of other devices", others, 16, "sdb1 is part of dm-0, dm-10"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := userOf(sysfs(), c.mounts, 8, c.minor)
			if got != c.want || err != nil {
				t.Errorf("user is %q, %v, want %q", got, err, c.want)
			}
		})
	}
	if got, err := userOf(sysfs(), "40 30 7:0 / /mnt rw - ext4 /dev/loop0 rw\n", 7, 0); got != `device 7:0 is mounted on "/mnt"` || err != nil {
		t.Errorf("device without a name: %q, %v", got, err)
	}
	if got, err := userOf(sysfs(), "", 9, 9); err == nil || !strings.Contains(err.Error(), "dev/block/9:9") {
		t.Errorf("device that sysfs does not show: %q, %v, want an error", got, err)
	}
}

func TestReadMountinfo(t *testing.T) {
	got, err := readMountinfo()
	if err != nil || !strings.Contains(got, " - ") {
		t.Errorf("mountinfo is %q, %v", got, err)
	}
}
