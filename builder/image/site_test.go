package image

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/rootfs"
)

func TestDeviceIdentity(t *testing.T) {
	sys := t.TempDir()
	err := imgtest.WriteFiles(sys, 0o644, map[string]string{
		"devices/sda/device/wwid": "naa.5000c500\n", "devices/sda/sda2/partition": "2\n", "devices/sda/sda12/partition": "12\n",
		"devices/nvme0n1/wwid": "eui.0025\n", "devices/nvme0n1/serial": "S1\n",
		"devices/vda/serial": "\n", "devices/vdb/serial": "disk-b\n",
		"devices/loop3/loop/backing_file": "/srv/disk a.raw\n", "devices/dm-0/dm/uuid": "LVM-x\n",
		"dev/block/8:0": "-> ../../devices/sda", "dev/block/8:2": "-> ../../devices/sda/sda2", "dev/block/8:12": "-> ../../devices/sda/sda12",
		"dev/block/259:0": "-> ../../devices/nvme0n1", "dev/block/254:0": "-> ../../devices/vda", "dev/block/254:16": "-> ../../devices/vdb",
		"dev/block/7:3": "-> ../../devices/loop3", "dev/block/253:0": "-> ../../devices/dm-0",
	})
	if err != nil {
		t.Fatal(err)
	}
	journals := map[string]string{}
	for number, want := range map[string]string{
		"8:0": "device/wwid naa.5000c500 partition ", "8:2": "device/wwid naa.5000c500 partition 2", "8:12": "device/wwid naa.5000c500 partition 12",
		"259:0": "wwid eui.0025 partition ", "254:0": "name vda partition ", "254:16": "serial disk-b partition ",
		"7:3": "loop/backing_file /srv/disk a.raw partition ", "253:0": "dm/uuid LVM-x partition ",
	} {
		got, err := deviceIdentity(sys, number)
		if got != want || err != nil {
			t.Errorf("%s is %q, %v, want %q", number, got, err, want)
		}
		journal := deviceSite("/dev/x", "/state", got).Journal
		if other, taken := journals[journal]; taken || filepath.Dir(journal) != "/state" {
			t.Errorf("%s and %s have one journal %s, or it is elsewhere", number, other, journal)
		}
		journals[journal] = number
	}
	if _, err := deviceIdentity(sys, "1:1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a device that is not there: %v", err)
	}
}

func TestStateDir(t *testing.T) {
	for home, want := range map[string]string{"": "/var/lib/kerngate", "relative": "/var/lib/kerngate", "/home/x/.local/state": "/home/x/.local/state/kerngate"} {
		t.Setenv("XDG_STATE_HOME", home)
		if got := stateDir(); got != want {
			t.Errorf("with %q it is %s, want %s", home, got, want)
		}
	}
}

// TestJournalApart edits a disk whose journal lies elsewhere, as that of a device does,
// and recovers it by that journal.
func TestJournalApart(t *testing.T) {
	disk := bootDisk(t)
	before, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	target := openDisk(t, disk)
	target.Device, target.site = true, deviceSite(disk, filepath.Join(t.TempDir(), "state", "kerngate"), "a disk")
	shadow := target.Shadow(true)
	defer shadow.Close()
	if err := shadow.Edit(t.Context(), editsOfAll()); err != nil {
		t.Fatal(err)
	}
	changes, err := shadow.Changes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var journal []byte
	err = shadow.Commit(t.Context(), changes, func(tree rootfs.Tree) (err error) {
		if journal, err = os.ReadFile(target.Journal()); err == nil {
			err = guard(target.file, disk, target.site)
		}
		if err == nil || !strings.Contains(err.Error(), "its undo journal lies in "+target.Journal()) {
			t.Errorf("opened again half way: %v", err)
		}
		return holdsAll(tree)
	})
	if err != nil {
		t.Fatal(err)
	}
	if pending, err := target.site.Pending(); pending || err != nil {
		t.Errorf("after the edit a journal is there: %t, %v", pending, err)
	}
	beside, err := filepath.Glob(disk + "*")
	if err != nil || len(beside) != 1 {
		t.Errorf("beside the disk lie %v, %v", beside, err)
	}
	if err := os.WriteFile(target.Journal(), journal, 0o600); err != nil {
		t.Fatal(err)
	}
	outcome, err := target.site.Recover()
	if now, readErr := os.ReadFile(disk); err != nil || !outcome.Restored || readErr != nil || !bytes.Equal(now, before) {
		t.Errorf("recover: %+v, %v, %v; as before: %t", outcome, err, readErr, bytes.Equal(now, before))
	}
}
