//go:build boot

package bootentry_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/bootentry"
	"github.com/kerngate/kerngate/builder/imgtest"
)

// An image's kernel gets a second entry under another name, which says so on the
// command line. Which of the two a boot loader starts is seen by that.
const (
	oldRelease = "9.9.9-old"
	oldMarker  = "kerngate.old"
)

// TestBootGrub boots by GRUB what Promote leaves, and before that what it found.
func TestBootGrub(t *testing.T) {
	image := imgtest.Image(t, "trixie-grub")
	t.Parallel()
	release := image.Kernels[len(image.Kernels)-1]
	dir := t.TempDir()
	disk := copyDisk(t, dir, image.Disk)
	volume := disk + "?offset=" + fmt.Sprint(partitionStart(t, disk, 3))
	tool(t, dir, "debugfs", "-R", "dump /grub/grub.cfg grub.cfg", volume)
	cfg := string(mustRead(t, filepath.Join(dir, "grub.cfg")))
	entry := regexp.MustCompile(`(?ms)^menuentry .*?^}\n`).FindString(cfg)
	old := strings.NewReplacer("vmlinuz-"+release, "vmlinuz-"+oldRelease, "gnulinux-simple", "gnulinux-old", " ro ", " ro "+oldMarker+" ").Replace(entry)
	if entry == "" || !strings.Contains(old, oldMarker) || !strings.Contains(old, oldRelease) {
		t.Fatalf("grub.cfg has no entry to copy:\n%s", cfg)
	}
	tree := t.TempDir()
	files := map[string]string{"boot/grub/grub.cfg": strings.Replace(cfg, entry, old+entry, 1), "boot/vmlinuz-" + release: "k", "boot/vmlinuz-" + oldRelease: "k"}
	writeTree(t, tree, files)
	kernel, _, err := image.Kernel(release)
	if err != nil {
		t.Fatal(err)
	}
	put := func() {
		tool(t, dir, "debugfs", "-w", "-R", "rm /grub/grub.cfg", volume)
		tool(t, dir, "debugfs", "-w", "-R", "write "+filepath.Join(tree, "boot/grub/grub.cfg")+" /grub/grub.cfg", volume)
	}
	tool(t, dir, "debugfs", "-w", "-R", "write "+kernel+" /vmlinuz-"+oldRelease, volume)
	put()
	bootBoth(t, disk, kernel, tree, release, bootentry.RemoveEntries, put)
}

// TestBootSystemdBoot is the same for systemd-boot, where the entry stays.
func TestBootSystemdBoot(t *testing.T) {
	image := imgtest.Image(t, "forky-sdboot")
	t.Parallel()
	release := image.Kernels[len(image.Kernels)-1]
	dir, tree := t.TempDir(), t.TempDir()
	disk := copyDisk(t, dir, image.Disk)
	esp := disk + "@@" + fmt.Sprint(partitionStart(t, disk, 1))
	if err := os.Mkdir(filepath.Join(tree, "efi"), 0o755); err != nil {
		t.Fatal(err)
	}
	tool(t, tree, "mcopy", "-s", "-i", esp, "::/EFI", "::/loader", "::/debian", "efi")
	entry := mustRead(t, filepath.Join(tree, "efi/loader/entries/debian-"+release+".conf"))
	old := strings.NewReplacer(release+"/linux", oldRelease+"/linux", "options ", "options "+oldMarker+" ").Replace(string(entry))
	old = regexp.MustCompile(`(?m)^(version\s+).*$`).ReplaceAllString(old, "${1}"+oldRelease)
	if !strings.Contains(old, oldMarker) || !strings.Contains(old, oldRelease+"/linux") {
		t.Fatalf("the entry cannot be copied:\n%s", entry)
	}
	file := filepath.Join(tree, "efi/debian", release, "linux")
	kernel := mustRead(t, file)
	writeTree(t, tree, map[string]string{"efi/loader/entries/debian-" + oldRelease + ".conf": old, "efi/debian/" + oldRelease + "/linux": string(kernel)})
	tool(t, tree, "mcopy", "-s", "-i", esp, "efi/debian/"+oldRelease, "::/debian/")
	put := func() {
		tool(t, tree, "mcopy", "-o", "-s", "-i", esp, "efi/loader", "::/")
	}
	put()
	bootBoth(t, disk, file, tree, release, bootentry.DemoteEntries, put)
}

// TestBootMenusAgainstBootctl compares the order of entries with bootctl's, which has the
// boot loader's. It insists on the root of a file system, so it gets a tmpfs of its own.
func TestBootMenusAgainstBootctl(t *testing.T) {
	names, err := filepath.Glob("testdata/menu/sdboot-*.txtar")
	if err != nil || len(names) < 4 {
		t.Fatalf("%d trees (%v), want at least 4", len(names), err)
	}
	entries := 0
	for _, name := range names {
		tree := makeDir(t, archiveFiles(t, name))
		script := "{ mount --make-rprivate / 2>/dev/null || :; } && mount -t tmpfs t mnt && cp -r efi/. mnt && SYSTEMD_RELAX_ESP_CHECKS=1 bootctl list --esp-path=$PWD/mnt --json=short"
		if err := os.Mkdir(filepath.Join(tree, "mnt"), 0o755); err != nil {
			t.Fatal(err)
		}
		own := []string{"--mount", "--propagation", "unchanged", "sh", "-ec", script}
		if os.Getuid() != 0 {
			own = append([]string{"--user", "--map-root-user"}, own...)
		}
		out := tool(t, tree, "unshare", own...)
		var want []string
		for _, found := range regexp.MustCompile(`"path":"[^"]*/([^"/]*)"`).FindAllStringSubmatch(out, -1) {
			want = append(want, found[1])
		}
		for _, l := range menuOf(t, read(t, imgtest.OpenDir(t, tree))).Loaders {
			var got []string
			for _, i := range l.Items {
				got = append(got, i.ID)
			}
			if entries += len(got); !slices.Equal(got, want) {
				t.Errorf("%s: order is %q, bootctl's %q", name, got, want)
			}
		}
	}
	t.Logf("%d entries in %d trees: as bootctl orders them unless said", entries, len(names))
}

// bootBoth boots a disk as it is, where the old entry starts, and after Promote.
func bootBoth(t *testing.T, disk, kernel, tree, release string, mode bootentry.Mode, put func()) {
	t.Helper()
	c := read(t, imgtest.OpenDir(t, tree))
	for _, l := range menuOf(t, c).Loaders {
		for _, n := range l.Default {
			if got := l.Items[n].Releases; len(got) != 1 || got[0] != oldRelease {
				t.Errorf("before: %s starts %v, want %s", l.Loader, l.Items[n], oldRelease)
			}
		}
	}
	if line := cmdlineOf(t, disk, kernel); !strings.Contains(line, oldMarker) {
		t.Fatalf("before: it booted with %q, want %s in it", line, oldMarker)
	}
	p := promote(t, c, bootentry.Wish{Allowed: []string{release}, Barred: []string{oldRelease}, Mode: mode})
	if len(p.Edits) == 0 || len(p.Refusals) > 0 {
		t.Fatalf("edits %v, refusals %v", p.Edits, p.Refusals)
	}
	apply(t, tree, p.Edits)
	put()
	if line := cmdlineOf(t, disk, kernel); strings.Contains(line, oldMarker) {
		t.Errorf("after: it booted with %q, want no %s in it", line, oldMarker)
	} else {
		t.Logf("after: %s", line)
	}
}

// cmdlineOf boots a disk by its own boot loader.
func cmdlineOf(t *testing.T, disk, kernel string) string {
	t.Helper()
	m := imgtest.Start(t, imgtest.MachineOptions{Disk: disk, Firmware: true, Kernel: kernel})
	defer m.Close()
	report, err := m.Report(imgtest.DefaultTimeout)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(report.Text) {
		if rest, found := strings.CutPrefix(line, "cmdline: "); found {
			return strings.TrimSpace(rest)
		}
	}
	t.Fatalf("the report has no command line:\n%s", report.Text)
	return ""
}

func copyDisk(t *testing.T, dir, original string) string {
	t.Helper()
	disk := filepath.Join(dir, "disk.raw")
	tool(t, dir, "cp", "--sparse=always", "--reflink=auto", original, disk)
	return disk
}

// partitionStart is where a partition begins, in bytes.
func partitionStart(t *testing.T, disk string, partition int) int64 {
	t.Helper()
	out := tool(t, ".", "sgdisk", "-i", fmt.Sprint(partition), disk)
	found := regexp.MustCompile(`First sector: (\d+)`).FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("sgdisk names no first sector:\n%s", out)
	}
	n, err := strconv.ParseInt(found[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n * 512
}

func tool(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func writeTree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), fs.FileMode(0o755)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
