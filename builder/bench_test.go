package builder_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/kerngate/kerngate/builder"
	"github.com/kerngate/kerngate/builder/checker"
	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/profiles"
)

// spent is what a piece of work took: seconds of wall time and of processor time,
// child processes included.
type spent struct{ wall, cpu float64 }

func measure(b *testing.B, work func()) spent {
	b.Helper()
	start, before := time.Now(), processorTime(b)
	work()
	return spent{time.Since(start).Seconds(), (processorTime(b) - before).Seconds()}
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var total time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		total += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return total
}

// BenchmarkPatch patches the real Debian image of the boot tests (2.5 GiB, sparse)
// and sets it beside a plain copy of the same image and, if it is installed, beside
// virt-customize making the same writes on such a copy. All in one run: read the
// ratios, not the seconds.
func BenchmarkPatch(b *testing.B) {
	disk := imgtest.Image(b, "bookworm").Disk
	dir := b.TempDir()
	var copied, patched spent
	add := func(sum *spent, s spent) { sum.wall += s.wall; sum.cpu += s.cpu }
	out := filepath.Join(dir, "copy.raw")
	// Once before it counts, so that the image is in the page cache for both.
	runTool(b, "cp", "--sparse=auto", disk, out)
	remove(b, out)
	for b.Loop() {
		add(&copied, measure(b, func() { runTool(b, "cp", "--sparse=auto", disk, out) }))
		remove(b, out)
		add(&patched, measure(b, func() { apply(b, disk, out) }))
		remove(b, out)
	}
	n := float64(b.N)
	b.ReportMetric(copied.cpu/n, "copy-cpu-s/op")
	b.ReportMetric(patched.cpu/n, "patch-cpu-s/op")
	b.ReportMetric((patched.cpu-copied.cpu)/n, "cpu-over-copy-s/op")
	b.ReportMetric(patched.wall/copied.wall, "wall-patch/copy")
	if _, err := exec.LookPath("virt-customize"); err != nil {
		b.Log("virt-customize is not installed (apt-get install libguestfs-tools): no comparison with it")
		return
	}
	virt := measure(b, func() { virtCustomize(b, disk, filepath.Join(dir, "virt.raw")) })
	b.ReportMetric(virt.wall/(patched.wall/n), "wall-virt-customize/patch")
}

// virtCustomize makes the same writes on a copy, once: it takes a minute without KVM,
// which it is not let near, because a /dev/kvm that is there may hang.
func virtCustomize(b *testing.B, disk, out string) {
	b.Helper()
	b.Setenv("LIBGUESTFS_BACKEND", "direct")
	b.Setenv("LIBGUESTFS_BACKEND_SETTINGS", "force_tcg")
	tree := writesOf(b, disk)
	runTool(b, "cp", "--sparse=auto", disk, out)
	runTool(b, "virt-customize", "-q", "--no-network", "-a", out, "--copy-in", filepath.Join(tree, "etc")+":/", "--copy-in", filepath.Join(tree, "usr")+":/")
	remove(b, out)
}

// benchProfile is for an image without a boot loader.
func benchProfile(b *testing.B) profiles.Profile {
	b.Helper()
	profile, err := profiles.Load("llm-node")
	if err == nil {
		profile, err = profile.Accepting([]string{"external-cmdline"})
	}
	if err != nil {
		b.Fatal(err)
	}
	return profile
}

func apply(b *testing.B, disk, out string) {
	b.Helper()
	_, err := builder.Apply(b.Context(), builder.Request{
		Target: disk, Output: out, Profile: benchProfile(b), Tool: "kerngate bench", Time: time.Unix(1750000000, 0), Checker: checker.Binary,
	})
	if err != nil {
		b.Fatal(err)
	}
}

// writesOf lays the files of the plan into a directory, for a tool that copies one.
func writesOf(b *testing.B, disk string) string {
	b.Helper()
	target, err := image.Open(disk, image.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer target.Close()
	profile := benchProfile(b)
	plan, err := builder.NewPlan(target.Tree(), profile, "kerngate bench", checker.Binary)
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	for _, e := range plan.Edits(time.Unix(1750000000, 0)) {
		name := filepath.Join(dir, e.Path)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			b.Fatal(err)
		}
		switch {
		case e.Target != "":
			err = os.Symlink(e.Target, name)
		case e.Data != nil:
			err = os.WriteFile(name, e.Data, e.Mode)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	return dir
}

func runTool(b *testing.B, name string, args ...string) {
	b.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		b.Fatalf("%s: %v: %s", name, err, out)
	}
}

func remove(b *testing.B, name string) {
	b.Helper()
	if err := os.Remove(name); err != nil {
		b.Fatal(err)
	}
}
