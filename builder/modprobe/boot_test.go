//go:build boot

package modprobe_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/modprobe"
)

// suites are the Debian releases whose kernels and programs testdata/mktree fetches:
// 12 (kernel 6.1, kmod 30, busybox 1.35), 13 (6.12, 34, 1.37) and testing (7.2, 34, 1.38).
var suites = []string{"bookworm", "trixie", "forky"}

// suite is what mktree made of one release.
type suite struct {
	root, release string // of the modules
	tools         string // root of the programs and what they need to run
}

func fetched(t *testing.T, name string) suite {
	t.Helper()
	cmd := exec.Command("testdata/mktree", name)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("testdata/mktree %s: %v", name, err)
	}
	dir := strings.TrimSpace(string(out))
	releases, err := os.ReadDir(filepath.Join(dir, "modules/lib/modules"))
	if err != nil || len(releases) != 1 {
		t.Fatalf("%s holds %d kernels, %v, want one", dir, len(releases), err)
	}
	return suite{filepath.Join(dir, "modules"), releases[0].Name(), filepath.Join(dir, "tools")}
}

// kmod is the suite's own modprobe or depmod, run by the suite's own C library.
func (s suite) kmod(program string) []string {
	lib := filepath.Join(s.tools, "lib")
	return []string{filepath.Join(lib, "ld-linux-x86-64.so.2"), "--library-path", lib, "--argv0", program, filepath.Join(s.tools, "kmod")}
}

// sampled is how many configurations the boot tests take for each release; make soak has
// 1,500 and the same first ones.
const sampled = 250

// TestBootKmod has 750 configurations, 250 on each of three kernels, each with that
// release's own kmod.
func TestBootKmod(t *testing.T) { kmodAgrees(t, sampled) }

func kmodAgrees(t *testing.T, configs int) {
	t.Helper()
	for i, name := range suites {
		s := fetched(t, name)
		k := kmodProgram{command: s.kmod("modprobe"), version: map[string]int{"bookworm": 30}[name]}
		if k.version == 0 {
			k.version = 34
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := compare(t, k, s.root, s.release, uint64(2000*(i+1)), configs, 5)
			a.sparse(t)
			t.Logf("kmod %d, %s: %s", k.version, s.release, a)
		})
	}
}

// TestBootBusybox has the same configurations, in /etc alone and in one file, with
// each release's busybox; without a chroot it would read this machine's.
func TestBootBusybox(t *testing.T) { busyboxAgrees(t, sampled) }

func busyboxAgrees(t *testing.T, configs int) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("busybox takes no other directory than /: run as root, for chroot")
	}
	var uts syscall.Utsname
	if err := syscall.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	running := ""
	for _, c := range uts.Release {
		if c == 0 {
			break
		}
		running += string(rune(c))
	}
	for i, name := range suites {
		s := fetched(t, name)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := compareBusybox(t, s, running, uint64(2000*(i+1)), configs, 5)
			t.Logf("busybox, %s: %d configurations, %d requests: all agree (%d insertions, %d missing, %d blacklisted)", s.release, a.configs, a.requests, a.inserts, a.missing, a.blacklisted)
			if a.inserts < a.configs || a.missing < 100 || a.blacklisted < 5 {
				t.Error("too few of one kind: nothing was compared")
			}
		})
	}
}

func compareBusybox(t *testing.T, s suite, running string, seed uint64, configs, requests int) agreement {
	t.Helper()
	var a agreement
	root := t.TempDir()
	dir := filepath.Join(root, "lib/modules", running)
	index := filepath.Join(s.root, "lib/modules", s.release)
	for _, args := range [][]string{{"mkdir", "-p", dir, filepath.Join(root, "etc")}, {"cp", filepath.Join(s.tools, "busybox"), filepath.Join(root, "busybox")},
		{"sh", "-c", `cp "$1"/modules.* "$2"`, "sh", index, dir}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", args, err, out)
		}
	}
	names, aliases := interesting(t, index)
	resolved := readIndex(t, s.root, s.release)
	for i := range uint64(configs) {
		g := newGenerator(seed+i, names, aliases)
		var lines strings.Builder
		for range 12 {
			lines.WriteString(g.line() + "\n")
		}
		conf := filepath.Join(root, "etc/modprobe.d")
		if err := errors.Join(os.RemoveAll(conf), imgtest.WriteFiles(conf, 0o644, map[string]string{"it.conf": lines.String(), "it.alias": "blacklist af_alg", ".x.conf": "blacklist tun"})); err != nil {
			t.Fatal(err)
		}
		config, err := modprobe.ReadConfig(imgtest.OpenDir(t, root))
		if err != nil {
			t.Fatal(err)
		}
		a.configs++
		for range requests {
			req := g.request()
			steps, err := modprobe.Resolver{Config: config, Index: resolved}.Busybox(req)
			if err != nil && !errors.Is(err, modprobe.ErrNotFound) {
				t.Fatal(err)
			}
			got, ok := shownBusybox(steps)
			want, wantOK := busyboxDryRun(t, root, running, s.release, req)
			if skipBuiltIn(steps) {
				continue // with -D busybox goes on where a plain call ends
			}
			a.requests++
			if !slices.Equal(got, want) || ok != wantOK {
				t.Fatalf("seed %d, request %+v:\nwe say\n\t%s\n(%v), busybox says\n\t%s\n(%v) with\n%s", seed+i, req, strings.Join(got, "\n\t"), ok, strings.Join(want, "\n\t"), wantOK, lines.String())
			}
			a.count(steps, err)
		}
	}
	return a
}

func skipBuiltIn(steps []modprobe.Step) bool {
	return len(steps) == 1 && steps[0].Kind == modprobe.BuiltIn && steps[0].Why == modprobe.Requested
}

func shownBusybox(steps []modprobe.Step) (lines []string, ok bool) {
	ok = true
	for _, s := range steps {
		switch s.Kind {
		case modprobe.Insert:
			lines = append(lines, strings.TrimRight("insmod "+s.Path+" "+s.Options, " "))
		case modprobe.Missing, modprobe.BuiltIn:
			ok = false
		}
	}
	return lines, ok
}

func busyboxDryRun(t *testing.T, root, running, release string, req modprobe.Request) (lines []string, ok bool) {
	t.Helper()
	args := []string{"modprobe", "-D", "-q"}
	if req.UseBlacklist {
		args = append(args, "-b")
	}
	cmd := exec.Command("/busybox", append(append(args, req.Name), strings.Fields(req.Options)...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	cmd.Dir = "/"
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var failed *exec.ExitError
	if err != nil && (!errors.As(err, &failed) || failed.ExitCode() != 1) {
		t.Fatalf("busybox: %v\n%s", err, stderr.String())
	}
	for line := range strings.Lines(stdout.String()) {
		line = strings.Replace(strings.TrimRight(line, " \n"), "/lib/modules/"+running+"/", "/lib/modules/"+release+"/", 1)
		lines = append(lines, line)
	}
	return lines, err == nil
}

// TestBootWithout deletes modules from each kernel, and has the release's own depmod
// as the judge of the index.
func TestBootWithout(t *testing.T) {
	for _, name := range suites {
		s := fetched(t, name)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sets := map[string]int{"bookworm": 60}[name] + 12 // Debian 12 alone does not compress: depmod is quick
			d := compareWithout(t, s.kmod("depmod"), s.root, s.release, sets)
			t.Logf("%s: %s", s.release, d)
		})
	}
}

// TestBootCommandLine has kmod read our command lines in place of this machine's.
func TestBootCommandLine(t *testing.T) {
	for _, name := range suites {
		s := fetched(t, name)
		for _, c := range commandLines {
			file, empty := filepath.Join(t.TempDir(), "cmdline"), t.TempDir()
			if err := os.WriteFile(file, []byte(c.cmdline), 0o644); err != nil {
				t.Fatal(err)
			}
			// Inside a chroot unshare cannot make the mounts private itself.
			args := append([]string{"--mount", "--propagation", "unchanged", "sh", "-c", `mount --make-private /proc && mount --bind "$0" /proc/cmdline && exec "$@"`, file}, s.kmod("modprobe")...)
			out, err := exec.Command("unshare", append(args, "--showconfig", "-C", empty, "-d", empty, "-S", "0.0.0")...).CombinedOutput()
			if err != nil {
				t.Fatalf("unshare: %v\n%s", err, out)
			}
			text, _, _ := strings.Cut(string(out), "\n# End of configuration files")
			var want []string
			for line := range strings.Lines(text) {
				if !strings.HasPrefix(line, "libkmod: ") {
					want = append(want, strings.TrimSpace(line))
				}
			}
			if got := ourCommandLine(t, c.cmdline); got != strings.Join(want, "|") {
				t.Errorf("%s, %s: we read %s, kmod reads %s", name, c.name, got, strings.Join(want, "|"))
			}
		}
		t.Logf("%s: %d command lines agree", name, len(commandLines))
	}
}
