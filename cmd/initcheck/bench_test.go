package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/kerngate/kerngate/builder"
	"github.com/kerngate/kerngate/initcheck/policy"
	"github.com/kerngate/kerngate/initcheck/probe"
	"github.com/kerngate/kerngate/profiles"
)

// rounds is how often each program runs in one round of the benchmark.
const rounds = 60

// racers are the programs of the benchmark as they are called in the chroot, the
// checker first; testdata/bench/README.md tells what they are. A recheck writes nothing
// on pass: of the two it does what the rivals do.
var racers = []struct {
	name string
	args []string
}{
	{"check", []string{policy.Binary, "check"}},
	{"recheck", []string{policy.Binary, "recheck"}},
	{"c", []string{"/bench/check"}},
	{"builtins", []string{"/bin/dash", "/bench/builtins.sh"}},
	{"piped", []string{"/bin/dash", "/bench/piped.sh"}},
}

// BenchmarkChecker races the checker against a C program and two shell scripts, in turn and in
// one run. Read the ratios of the medians, not the seconds.
func BenchmarkChecker(b *testing.B) {
	root := benchRoot(b)
	runs := race(b, root, 1)
	for i, r := range racers {
		if got := runs[i][0].code; got != 0 {
			b.Fatalf("%s ends with %d on the node as it is, want 0", r.name, got)
		}
	}
	refused(b, root)
	runs = nil
	for b.Loop() {
		for i, list := range race(b, root, rounds) {
			if i == len(runs) {
				runs = append(runs, nil)
			}
			runs[i] = append(runs[i], list...)
		}
	}
	wall := map[string]float64{}
	for i, r := range racers {
		wall[r.name] = median(runs[i], func(r lap) float64 { return r.wall })
		b.ReportMetric(wall[r.name]*1e3, r.name+"-ms")
		b.ReportMetric(median(runs[i], func(r lap) float64 { return r.rss }), r.name+"-MiB")
	}
	for _, rival := range []string{"c", "builtins", "piped"} {
		b.ReportMetric(wall["check"]/wall[rival], "check/"+rival)
		b.ReportMetric(wall["recheck"]/wall[rival], "recheck/"+rival)
	}
	b.ReportMetric(0, "ns/op") // a sum over all programs tells nothing
}

// refused sees that each program looks at all: with a blocked module loaded, each
// refuses.
func refused(b *testing.B, root string) {
	b.Helper()
	name := filepath.Join(root, "proc/modules")
	before, err := os.ReadFile(name)
	if err != nil {
		b.Fatal(err)
	}
	write(b, name, append([]byte("algif_hash 20480 0 - Live 0x0000000000000000\n"), before...), 0o644)
	for i, list := range race(b, root, 1) {
		if list[0].code == 0 {
			b.Fatalf("%s passes with a blocked module loaded", racers[i].name)
		}
	}
	write(b, name, before, 0o644)
}

// benchRoot makes the directory that is root to all programs.
func benchRoot(b *testing.B) string {
	b.Helper()
	if os.Geteuid() != 0 {
		b.Fatal("the programs run in a chroot, which is root's: as another user, unshare --map-root-user make bench")
	}
	root := inMemory(b)
	for _, dir := range []string{"bench", filepath.Dir(policy.Binary), filepath.Dir(policy.Stamp)} {
		makeDir(b, filepath.Join(root, dir))
	}
	node(b, root)
	for _, name := range []string{"check", "race"} {
		if _, err := exec.LookPath("cc"); err != nil {
			b.Fatal("no C compiler to make the rivals with: apt-get install gcc libc6-dev")
		}
		tool(b, "cc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-o", filepath.Join(root, "bench", name), "testdata/bench/"+name+".c")
	}
	for _, name := range []string{"builtins.sh", "piped.sh"} {
		copyFile(b, "testdata/bench/"+name, filepath.Join(root, "bench", name))
	}
	for _, name := range []string{"dash", "cut", "grep", "head", "ls", "lsmod", "paste", "rm", "sed", "sort", "tr", "uname"} {
		copyProgram(b, root, name)
	}
	tool(b, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", filepath.Join(root, policy.Binary), ".")
	profile, err := profiles.Load("llm-node")
	if err != nil {
		b.Fatal(err)
	}
	rules := builder.Policy(profile)
	rules.Floor = "4.19" // this machine's kernel is to pass
	text, err := policy.Encode(rules)
	if err != nil {
		b.Fatal(err)
	}
	write(b, filepath.Join(root, policy.File), text, 0o644)
	write(b, filepath.Join(root, "dev/kmsg"), nil, 0o644)
	swallow(b, filepath.Join(root, "run/systemd/journal/socket"))
	swallow(b, filepath.Join(root, "run/systemd/notify"))
	return root
}

// inMemory makes a directory in memory, as /run is on a node, if programs may run there.
func inMemory(b *testing.B) string {
	b.Helper()
	const memory, noexec = "/dev/shm", 8 // ST_NOEXEC of statfs(2)
	var fs syscall.Statfs_t
	if err := syscall.Statfs(memory, &fs); err != nil || fs.Flags&noexec != 0 {
		b.Logf("%s has no room for programs: what the checker writes goes to a disk", memory)
		return b.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "kerngate-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// node lays down what a real node shows of itself, with its modules under the name of
// the kernel that runs here.
func node(b *testing.B, root string) {
	b.Helper()
	archive, err := txtar.ParseFile("testdata/bench/node.txtar")
	if err != nil {
		b.Fatal(err)
	}
	running, err := probe.LiveUname()
	if err != nil {
		b.Fatal(err)
	}
	files := map[string][]byte{
		"proc/sys/kernel/random/boot_id": []byte("5f0c4d4e-3c1c-4d0b-9d6e-3f1a2b4c5d6e\n"),
		"proc/sys/kernel/osrelease":      []byte(running.Release + "\n"),
		"proc/uptime":                    []byte("12.34 10.00\n"),
		"proc/cmdline":                   []byte("root=/dev/vda2 ro console=ttyS0\n"),
	}
	for _, f := range archive.Files {
		files[f.Name] = f.Data
	}
	for _, name := range strings.Fields(string(files["sys/module"])) {
		makeDir(b, filepath.Join(root, "sys/module", name))
	}
	delete(files, "sys/module")
	for line := range strings.Lines(string(files["proc/modules"])) {
		fields := strings.Fields(line) // lsmod wants these
		dir := filepath.Join("sys/module", fields[0])
		files[dir+"/coresize"], files[dir+"/refcnt"] = []byte(fields[1]+"\n"), []byte(fields[2]+"\n")
		makeDir(b, filepath.Join(root, dir, "holders"))
	}
	files["usr/lib/modules/"+running.Release+"/modules.builtin"] = files["modules.builtin"]
	delete(files, "modules.builtin")
	for name, data := range files {
		write(b, filepath.Join(root, name), data, 0o644)
	}
}

// lap is one run of a program.
type lap struct {
	code int
	wall float64 // seconds
	rss  float64 // MiB at the most
}

// race runs every program some times, in turn, and gives the laps of each.
func race(b *testing.B, root string, times int) [][]lap {
	b.Helper()
	args := []string{strconv.Itoa(times), "PATH=/bin", "NOTIFY_SOCKET=/run/systemd/notify"}
	for _, r := range racers {
		args = append(append(args, "--"), r.args...)
	}
	said, err := os.CreateTemp(b.TempDir(), "said")
	if err != nil {
		b.Fatal(err)
	}
	defer said.Close()
	cmd := exec.Command("/bench/race", args...)
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{said}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	out, err := cmd.Output()
	if err != nil {
		b.Fatalf("race: %v: %s", err, stderrOf(err))
	}
	laps := make([][]lap, len(racers))
	for line := range strings.Lines(string(out)) {
		var place, code int
		var wall, cpu, rss float64
		if _, err := fmt.Sscan(line, &place, &code, &wall, &cpu, &rss); err != nil || place >= len(racers) {
			b.Fatalf("race says %q, want place, exit code, two times and a size", line)
		}
		laps[place] = append(laps[place], lap{code, wall / 1e9, rss / 1024})
	}
	for i, list := range laps {
		if len(list) != times {
			b.Fatalf("%s ran %d times, want %d", racers[i].name, len(list), times)
		}
	}
	return laps
}

func median(laps []lap, of func(lap) float64) float64 {
	values := make([]float64, len(laps))
	for i, l := range laps {
		values[i] = of(l)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// swallow listens where the checker sends its journal entries and its status, and
// forgets them.
func swallow(b *testing.B, name string) {
	b.Helper()
	makeDir(b, filepath.Dir(name))
	// The name may be too long for a socket's address; relative to its directory it is not.
	b.Chdir(filepath.Dir(name))
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Base(name), Net: "unixgram"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	go io.Copy(io.Discard, conn)
}

// copyProgram puts a program of this system into the root, with its libraries.
func copyProgram(b *testing.B, root, name string) {
	b.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		b.Fatalf("the scripts need %s: %v", name, err)
	}
	for _, word := range strings.Fields(tool(b, "ldd", path)) {
		if strings.HasPrefix(word, "/") {
			copyFile(b, word, filepath.Join(root, word))
		}
	}
	copyFile(b, path, filepath.Join(root, "bin", name))
}

func copyFile(b *testing.B, from, to string) {
	b.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		b.Fatal(err)
	}
	write(b, to, data, 0o755)
}

func write(b *testing.B, name string, data []byte, mode os.FileMode) {
	b.Helper()
	makeDir(b, filepath.Dir(name))
	if err := os.WriteFile(name, data, mode); err != nil {
		b.Fatal(err)
	}
}

func makeDir(b *testing.B, name string) {
	b.Helper()
	if err := os.MkdirAll(name, 0o755); err != nil {
		b.Fatal(err)
	}
}

func tool(b *testing.B, name string, args ...string) string {
	b.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		b.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, stderrOf(err))
	}
	return string(out)
}

func stderrOf(err error) []byte {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return bytes.TrimSpace(exit.Stderr)
	}
	return nil
}
