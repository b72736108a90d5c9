package main

import (
	"bufio"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/kerngate/kerngate/builder/unit"
	"github.com/kerngate/kerngate/initcheck/notify"
)

// sizeBudget is what the stripped checker may weigh: it is read from disk at each
// boot, and the builder embeds one for each architecture.
const sizeBudget = 3 << 20

// allowed are the packages outside the standard library that the checker may link.
func allowed(pkg string) bool {
	return slices.Contains([]string{
		"github.com/coreos/go-systemd/v22/daemon",
		"github.com/coreos/go-systemd/v22/journal",
		"github.com/kerngate/kerngate/cmd/initcheck",
		"github.com/kerngate/kerngate/initcheck",
		"github.com/kerngate/kerngate/initcheck/advisory",
		"github.com/kerngate/kerngate/initcheck/command",
		"github.com/kerngate/kerngate/initcheck/kver",
		"github.com/kerngate/kerngate/initcheck/notify",
		"github.com/kerngate/kerngate/initcheck/pkgver",
		"github.com/kerngate/kerngate/initcheck/policy",
		"github.com/kerngate/kerngate/initcheck/probe",
		"golang.org/x/sys/unix", // by go-systemd's daemon
	}, pkg)
}

func TestDependencies(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		out := goTool(t, arch, "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".")
		packages := strings.Fields(out)
		if !slices.Contains(packages, "github.com/kerngate/kerngate/initcheck/policy") {
			t.Fatalf("%s: the list of dependencies is %q, want it to have the policy", arch, packages)
		}
		for _, pkg := range packages {
			if !allowed(pkg) {
				t.Errorf("%s: the checker links %s, which it may not", arch, pkg)
			}
		}
	}
}

func TestProgramIsSmallAndStatic(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		t.Run(arch, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "initcheck")
			goTool(t, arch, "build", "-trimpath", "-ldflags=-s -w", "-o", path, ".")
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if info.Size() > sizeBudget {
				t.Errorf("the checker has %d bytes, want at most %d", info.Size(), sizeBudget)
			}
			f, err := elf.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if f.Machine != machine {
				t.Errorf("machine is %v, want %v", f.Machine, machine)
			}
			for _, p := range f.Progs {
				if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
					t.Errorf("the checker has a %v segment, want it static", p.Type)
				}
			}
		})
	}
}

// TestProgram runs the real program with the verbs that change nothing.
func TestProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "initcheck")
	goTool(t, "", "build", "-ldflags=-X main.version=v9.8.7", "-o", path, ".")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"version"}, 0, "initcheck v9.8.7 (policy schema 1)\n"},
		{[]string{"help"}, 0, "Usage: initcheck VERB"},
		{nil, 2, "Usage: initcheck VERB"},
		{[]string{"unknown"}, 2, `verb "unknown" is unknown`},
	} {
		out, err := exec.Command(path, c.args...).CombinedOutput()
		code := 0
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			code = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if code != c.code || !strings.Contains(string(out), c.want) {
			t.Errorf("initcheck %q: exit code %d, output\n%s\nwant %d and %q", c.args, code, out, c.code, c.want)
		}
	}
}

// TestDeadlinesAreBelowTheUnits: whoever waits for too long is the checker itself, not the
// service manager.
func TestDeadlinesAreBelowTheUnits(t *testing.T) {
	_, after, found := strings.Cut(string(unit.GateText("", "")), "\nTimeoutStartSec=")
	value, _, _ := strings.Cut(after, "\n")
	limit, err := time.ParseDuration(value)
	if !found || err != nil {
		t.Fatalf("TimeoutStartSec of the gate is %q: %v", value, err)
	}
	if total := deadline + tellDeadline; 2*total > limit {
		t.Errorf("the checker may take %v, want at most half of the %v that its unit has", total, limit)
	}
}

// TestReaderGone: what cannot be said on stderr must not keep the program from going
// on, to the logs and to its own exit code.
func TestReaderGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "initcheck")
	goTool(t, "", "build", "-o", path, ".")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.Close()
	cmd := exec.Command(path, "unknown")
	cmd.Stderr = w
	if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != 2 {
		t.Errorf("with a reader that is gone the program ended with %q, want exit status 2", cmd.ProcessState)
	}
}

// endIn and endVerb tell a checker that is to be ended where to write and what to do; they
// are empty in a test of its own.
const endIn, endVerb = "INITCHECK_TEST_RUN", "INITCHECK_TEST_VERB"

// hungFS says when it is read, and hangs.
type hungFS struct{}

func (hungFS) Open(string) (fs.File, error) {
	fmt.Println("reading")
	select {}
}

// TestHungChecker is no test but the checker that TestToldToEnd ends.
func TestHungChecker(t *testing.T) {
	run := os.Getenv(endIn)
	if run == "" {
		return
	}
	p := program()
	p.Root, p.Deadline = hungFS{}, time.Hour
	p.Stamp.Path, p.Report.Path, p.Kmsg.Path = filepath.Join(run, "pass"), filepath.Join(run, "report.json"), os.DevNull
	p.Notices = notify.Notices{Metrics: filepath.Join(run, "metrics"), Features: filepath.Join(run, "features"), Motd: filepath.Join(run, "motd")}
	p.Journal.Send = func(string, journal.Priority, map[string]string) error { return nil }
	os.Exit(p.Run(strings.Fields(os.Getenv(endVerb))))
}

// TestToldToEnd sends signals to the program while it reads: what decides refuses, and the
// rest ends of them.
func TestToldToEnd(t *testing.T) {
	const byIt = -1 // as os.ProcessState says it
	for _, c := range []struct {
		verb  string
		code  int
		stamp bool
	}{
		{"check", 1, false},
		{"recheck", 77, true},
		{"breach", 1, false},
		{"breach --report", byIt, true},
		{"explain", byIt, true},
	} {
		signals := []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP}
		if c.code == byIt {
			signals = signals[:1] // a shell may have had the others ignored
		}
		for _, signal := range signals {
			t.Run(c.verb+" "+signal.String(), func(t *testing.T) {
				stamp := notify.Stamp{Path: filepath.Join(t.TempDir(), "initcheck", "pass")}
				if err := stamp.Create(notify.Report{Verdict: "pass"}); err != nil {
					t.Fatal(err)
				}
				said, ended := endHung(t, filepath.Dir(stamp.Path), c.verb, signal)
				if ended.ExitCode() != c.code {
					t.Errorf("the checker ended with %q, want exit code %d; it said\n%s", ended, c.code, said)
				}
				if line := "told to end (" + signal.String() + ")"; c.code != byIt && !strings.Contains(said, line) {
					t.Errorf("the checker said %q, want %q", said, line)
				}
				if exists, err := stamp.Exists(); exists != c.stamp || err != nil {
					t.Errorf("stamp exists is %v (%v), want %v", exists, err, c.stamp)
				}
			})
		}
	}
}

// endHung runs a checker that hangs, sends it a signal when it reads, and gives what it
// said and how it ended.
func endHung(t *testing.T, run, verb string, signal syscall.Signal) (said string, ended *os.ProcessState) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHungChecker$")
	cmd.Env = append(os.Environ(), endIn+"="+run, endVerb+"="+verb)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "reading\n" {
		t.Fatalf("the checker says %q (%v), want that it reads", line, err)
	}
	if err := cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		t.Fatalf("the checker ended with %v, want a code or a signal", err)
	}
	return stderr.String(), cmd.ProcessState
}

func goTool(t *testing.T, arch string, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if arch != "" {
		cmd.Env = append(cmd.Env, "GOARCH="+arch)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return string(out)
}
