//go:build boot

package image_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kerngate/kerngate/builder/ext4"
	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// TestBootReaderOnDebianImages compares all names of real images.
func TestBootReaderOnDebianImages(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"bookworm", "forky"} {
		t.Run(name, func(t *testing.T) {
			n := len(agreeWithDebugfs(t, imgtest.Image(t, name).Disk))
			t.Logf("%d names agree with debugfs", n)
			if n < 5000 {
				t.Errorf("image has %d names, want a Debian system", n)
			}
		})
	}
}

// agreeWithDebugfs gives what the root of a disk image holds.
func agreeWithDebugfs(t *testing.T, disk string) map[string]imgtest.Object {
	t.Helper()
	target, err := image.Open(disk, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if target.NeedsRecovery() {
		t.Fatal("journal needs recovery")
	}
	// The root alone: the tree of the target shows the other volumes in it.
	file, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	root := target.Root()
	tree, err := ext4.Open(io.NewSectionReader(file, root.Offset, root.Size), root.Size)
	if err != nil {
		t.Fatal(err)
	}
	got, err := imgtest.ReadTree(tree)
	if err != nil {
		t.Fatal(err)
	}
	want, err := imgtest.ReadWithDebugfs(disk, target.Root().Offset, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range imgtest.Differences(got, want) {
		t.Error(line)
	}
	return got
}

// TestBootKernelWrites lets a booted kernel write to a copy of an image and kills it.
// Its own listing judges the reader, and debugfs does after the replay of the journal.
func TestBootKernelWrites(t *testing.T) {
	t.Parallel()
	debian := imgtest.Image(t, "bookworm")
	disk := filepath.Join(t.TempDir(), "disk.raw")
	copyOf(t, debian.Disk, disk)
	plant(t, disk, "/write-as-kernel", "testdata/write-as-kernel")
	digest := bootAndKill(t, debian, disk)

	before, err := image.Open(disk, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	stale := before.NeedsRecovery()
	before.Close()
	if !stale {
		t.Fatal("journal needs no recovery: the guest left nothing in it")
	}
	if err := image.Replay(t.Context(), disk, image.Options{}); err != nil {
		t.Fatal(err)
	}
	all := agreeWithDebugfs(t, disk)
	agreeWithKernel(t, disk, all, digest)
	for name, there := range map[string]bool{"/late/1": false, "/late/1500": true, "/late/very-last": true, "/usr/share/doc": false} {
		if _, found := all[name]; found != there {
			t.Errorf("%s is there: %t, want %t", name, found, there)
		}
	}
	t.Logf("%d names agree with debugfs", len(all))
}

func copyOf(t *testing.T, in, out string) {
	t.Helper()
	draft, err := image.NewDraft(t.Context(), in, out, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer draft.Discard()
	if err := draft.Commit(); err != nil {
		t.Fatal(err)
	}
}

// plant puts a program into the root of a disk image.
func plant(t *testing.T, disk, name, source string) {
	t.Helper()
	data, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	target, err := image.Open(disk, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	edit := rootfs.Edit{Op: rootfs.WriteFile, Path: name, Mode: 0o755, ModTime: time.Unix(1_700_000_000, 0), Data: data}
	if err := target.Edit(t.Context(), []rootfs.Edit{edit}, nil); err != nil {
		t.Fatal(err)
	}
}

// bootAndKill gives the SHA-256 of the guest's listing, from its console.
func bootAndKill(t *testing.T, debian imgtest.DebianImage, disk string) string {
	t.Helper()
	vmlinuz, initrd, err := debian.Kernel(imgtest.Newest)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	m, err := imgtest.Boot(context.WithoutCancel(t.Context()), imgtest.MachineOptions{
		Disk: disk, Writable: true, Kernel: vmlinuz, Initrd: initrd, Append: []string{"rw", "quiet", "init=/write-as-kernel"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	line, err := m.Expect("^@@WRITTEN ", imgtest.DefaultTimeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("booted, wrote and killed in %.1f s", time.Since(start).Seconds())
	return strings.Fields(line)[1]
}

// agreeWithKernel compares what is below /written with the guest's own listing.
func agreeWithKernel(t *testing.T, disk string, all map[string]imgtest.Object, digest string) {
	t.Helper()
	var got []string
	for name, o := range all {
		rest, inside := strings.CutPrefix(name, "/written")
		if !inside || rest != "" && rest[0] != '/' {
			continue
		}
		got = append(got, found("."+rest, o))
		if o.Mode.IsRegular() {
			got = append(got, fmt.Sprintf("%x  .%s", o.SHA256, rest))
		}
	}
	slices.Sort(got)
	if len(got) < 2500 {
		t.Errorf("/written has %d lines to compare, want 2500", len(got))
	}
	text := strings.Join(got, "\n") + "\n"
	if fmt.Sprintf("%x", sha256.Sum256([]byte(text))) == digest {
		t.Logf("%d lines about /written agree with the kernel", len(got))
		return
	}
	t.Errorf("listing of /written is not the kernel's, %s", digest)
	target, err := image.Open(disk, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	want, err := rootfs.ReadFile(target.Tree(), "/listing", 8<<20)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSuffix(string(want), "\n"), "\n") {
		if i >= len(got) || got[i] != line {
			t.Fatalf("line %d is %q, want %q", i+1, got[min(i, len(got)-1)], line)
		}
	}
}

// found writes a name as find(1) does with -printf '%p %y %m %U %G %n %T@ %l'.
func found(name string, o imgtest.Object) string {
	letter := map[fs.FileMode]string{0: "f", fs.ModeDir: "d", fs.ModeSymlink: "l", fs.ModeNamedPipe: "p", fs.ModeDevice | fs.ModeCharDevice: "c"}[o.Mode.Type()]
	bits := uint32(o.Mode.Perm())
	for flag, bit := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if o.Mode&flag != 0 {
			bits |= bit
		}
	}
	return fmt.Sprintf("%s %s %o %d %d %d %d.%09d0 %s", name, letter, bits, o.UID, o.GID, o.Links, o.ModTime.Unix(), o.ModTime.Nanosecond(), o.Target)
}
