package builder_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/imgtest"
)

// cost is what one run of a program took, its own children included.
type cost struct {
	cpu           float64 // seconds
	rss           float64 // MiB, at the most
	read, written float64 // MiB that went through read(2), write(2) and copy_file_range(2)
}

func (c *cost) add(o cost) {
	c.cpu, c.rss, c.read, c.written = c.cpu+o.cpu, max(c.rss, o.rss), c.read+o.read, c.written+o.written
}

// BenchmarkSize runs bin/kerngate apply, which opens, plans, edits and verifies, on
// the Debian image of 2.5 GiB and on the same grown to 20 GiB, sparse. What is empty
// must cost next to nothing: read the ratio.
func BenchmarkSize(b *testing.B) {
	kerngate, err := filepath.Abs("../bin/kerngate")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := os.Stat(kerngate); err != nil {
		b.Fatalf("%v: make build first", err)
	}
	small := imgtest.Image(b, "bookworm").Disk
	large := grown(b, small, 20<<30)
	out := filepath.Join(b.TempDir(), "out.raw")
	run := func(disk string) (patch, copied cost) {
		copied = costOf(b, "cp", "--sparse=auto", disk, out)
		remove(b, out)
		patch = costOf(b, kerngate, "apply", "--profile", "llm-node", "--accept", "external-cmdline", "-o", out, disk)
		remove(b, out)
		return patch, copied
	}
	run(small) // once before it counts: the page cache
	var patch, copied [2]cost
	for b.Loop() {
		for i, disk := range []string{small, large} {
			p, c := run(disk)
			patch[i].add(p)
			copied[i].add(c)
		}
	}
	n := float64(b.N)
	for i, size := range []string{"2.5GiB", "20GiB"} {
		b.ReportMetric(patch[i].cpu/n, size+"-cpu-s/op")
		b.ReportMetric((patch[i].cpu-copied[i].cpu)/n, size+"-cpu-over-copy-s/op")
		b.ReportMetric(patch[i].rss, size+"-peak-MiB")
		b.ReportMetric(patch[i].read/n, size+"-read-MiB/op")
		b.ReportMetric(patch[i].written/n, size+"-written-MiB/op")
	}
	b.ReportMetric(patch[1].cpu/patch[0].cpu, "cpu-20GiB/2.5GiB")
}

// costOf runs a program. It looks at /proc/PID/io between the end of the process and
// the wait that takes it away.
func costOf(b *testing.B, name string, args ...string) cost {
	b.Helper()
	cmd := exec.Command(name, args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		b.Fatal(err)
	}
	io, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		b.Fatalf("%s: %v: %s", name, err, said.String())
	}
	const mib = 1 << 20
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	c := cost{cpu: (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(), rss: float64(usage.Maxrss) / 1024}
	for field, to := range map[string]*float64{"rchar": &c.read, "wchar": &c.written} {
		found := regexp.MustCompile(`(?m)^` + field + `: (\d+)$`).FindSubmatch(io)
		if found == nil {
			b.Fatalf("/proc/PID/io has no %s: %s", field, io)
		}
		bytes, err := strconv.ParseFloat(string(found[1]), 64)
		if err != nil {
			b.Fatal(err)
		}
		*to = bytes / mib
	}
	return c
}

// grown makes a copy of a disk whose last partition, the root, fills a larger one.
// Every step keeps it sparse.
func grown(b *testing.B, disk string, size int64) string {
	b.Helper()
	b.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	target, err := image.Open(disk, image.Options{})
	if err != nil {
		b.Fatal(err)
	}
	root := target.Root()
	target.Close()
	const mib = 1 << 20
	if root.Offset%mib != 0 || root.Size%mib != 0 {
		b.Fatalf("root is at byte %d with %d, want whole MiB", root.Offset, root.Size)
	}
	dir := b.TempDir()
	volume, out := filepath.Join(dir, "volume"), filepath.Join(dir, "large.raw")
	room := size - root.Offset - mib // the backup table
	runTool(b, "dd", "status=none", "bs=1M", "conv=sparse", "if="+disk, "of="+volume, fmt.Sprintf("skip=%d", root.Offset/mib), fmt.Sprintf("count=%d", root.Size/mib))
	runTool(b, "truncate", "-s", fmt.Sprint(room), volume)
	runTool(b, "e2fsck", "-fp", volume)
	runTool(b, "resize2fs", volume)
	runTool(b, "dd", "status=none", "bs=1M", "if="+disk, "of="+out, fmt.Sprintf("count=%d", root.Offset/mib))
	runTool(b, "truncate", "-s", fmt.Sprint(size), out)
	runTool(b, "sgdisk", "-e", out)
	cmd := exec.Command("sfdisk", "--quiet", "-N", fmt.Sprint(root.Number), out)
	cmd.Stdin = strings.NewReader(fmt.Sprintf(", %dKiB\n", room/1024))
	if text, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("sfdisk: %v: %s", err, text)
	}
	runTool(b, "dd", "status=none", "bs=1M", "conv=sparse,notrunc", "if="+volume, "of="+out, fmt.Sprintf("seek=%d", root.Offset/mib))
	remove(b, volume)
	return out
}
