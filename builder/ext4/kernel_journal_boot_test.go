//go:build boot

package ext4

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// TestBootReplayedKernelJournal lets a booted kernel write to a copy of a Debian image
// and kills it: what waits in its journal is read as e2fsck replays it.
func TestBootReplayedKernelJournal(t *testing.T) {
	t.Parallel()
	debian := imgtest.Image(t, "bookworm")
	dir := t.TempDir()
	disk, volume := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "volume")
	copyFile(t, "cp", "--sparse=always", debian.Disk, disk)
	offset := rootOffset(t, disk)
	program, err := os.ReadFile("../image/testdata/write-as-kernel")
	must(t, err)
	must(t, Edit(t.Context(), disk, offset, []rootfs.Edit{{Op: rootfs.WriteFile, Path: "/write-as-kernel", Mode: 0o755, ModTime: time.Unix(1_700_000_000, 0), Data: program}}))
	bootUntilWritten(t, debian, disk)

	file, err := os.Open(disk)
	must(t, err)
	defer file.Close()
	size := openImage(t, disk, offset).Size()
	section := io.NewSectionReader(file, offset, size)
	stale, err := Open(section, size)
	must(t, err)
	if !stale.NeedsRecovery() {
		t.Fatal("journal needs no recovery: the guest left nothing in it")
	}
	f, err := OpenReplayed(section, size)
	must(t, err)
	got, err := imgtest.ReadTree(f)
	must(t, err)

	copySparseFrom(t, section, size, volume)
	if out, code := e2tool(t, "e2fsck", "-E", "journal_only", "-p", volume); code > fsckCorrected {
		t.Fatalf("e2fsck exits with %d: %s", code, out)
	}
	want, err := imgtest.ReadWithDebugfs(volume, 0, t.TempDir())
	must(t, err)
	for _, line := range imgtest.Differences(got, want) {
		t.Error(line)
	}
	before, err := imgtest.ReadTree(stale)
	t.Logf("%d names read through the kernel's journal as after e2fsck's replay; without it %d names (%v)", len(got), len(before), err)
	if len(got) < 5000 || err == nil && len(imgtest.Differences(before, want)) == 0 {
		t.Errorf("%d names and a journal that changes something are wanted", len(got))
	}
}

func copyFile(t *testing.T, program string, args ...string) {
	t.Helper()
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", program, err, out)
	}
}

// copySparseFrom writes what is not zero of a volume to a file.
func copySparseFrom(t *testing.T, from io.ReaderAt, size int64, to string) {
	t.Helper()
	out, err := os.Create(to)
	must(t, err)
	defer out.Close()
	must(t, out.Truncate(size))
	step, zero := make([]byte, contentStep), make([]byte, contentStep)
	for at := int64(0); at < size; at += contentStep {
		part := step[:min(contentStep, size-at)]
		_, err := from.ReadAt(part, at)
		must(t, err)
		if string(part) != string(zero[:len(part)]) {
			_, err := out.WriteAt(part, at)
			must(t, err)
		}
	}
}

func bootUntilWritten(t *testing.T, debian imgtest.DebianImage, disk string) {
	t.Helper()
	vmlinuz, initrd, err := debian.Kernel(imgtest.Newest)
	must(t, err)
	m, err := imgtest.Boot(context.WithoutCancel(t.Context()), imgtest.MachineOptions{
		Disk: disk, Writable: true, Kernel: vmlinuz, Initrd: initrd, Append: []string{"rw", "quiet", "init=/write-as-kernel"},
	})
	must(t, err)
	defer m.Close()
	_, err = m.Expect("^@@WRITTEN ", imgtest.DefaultTimeout)
	must(t, err)
}
