package command_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kerngate/kerngate/initcheck/notify"
)

// left are the files that a run leaves in the directory.
func (m *machine) left() string {
	m.t.Helper()
	entries, err := os.ReadDir(m.run)
	if err != nil {
		m.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func (m *machine) wantLeft(want string) {
	m.t.Helper()
	if got := m.left(); got != want {
		m.t.Errorf("files are %q, want %q", got, want)
	}
}

func (m *machine) wantInFile(path string, want ...string) {
	m.t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, w := range want {
		if !strings.Contains(string(data), w) {
			m.t.Errorf("%s is\n%s\nwant in it %q", filepath.Base(path), data, w)
		}
	}
}

// TestNotices follows the files through the states of a machine.
func TestNotices(t *testing.T) {
	m := newMachine(t)
	m.wantCode(0, "check")
	m.wantLeft("features initcheck.prom pass report.json")
	m.wantInFile(m.Notices.Metrics, "initcheck_pass 1\n", `initcheck_findings{outcome="pass"} 3`, `kernel="`+newKernel+`"`)
	m.wantInFile(m.Notices.Features, "initcheck.pass=true\n", "initcheck.profile=llm-node\n")

	m.write("proc/modules", "algif_hash 1 0 - Live 0x0\n")
	m.wantCode(0, "breach", "--report")
	m.wantLeft("features initcheck.prom motd pass report.json")
	m.wantInFile(m.Notices.Metrics, "initcheck_pass 0\n", "initcheck_breach 1\n")
	m.wantCode(1, "status")
	m.wantOutput(&m.out, "breach   found when a module was loaded", "is there: the breach was reported only; the next recheck refuses")
	m.wantCode(77, "recheck")
	m.wantLeft("features initcheck.prom motd report.json")
	m.wantInFile(m.Notices.Metrics, "initcheck_pass 0\n", "initcheck_breach 0\n")
	m.wantInFile(m.Notices.Features, "initcheck.pass=false\n")
	m.wantInFile(m.Notices.Motd, "initcheck: refuse: module algif_hash is loaded")
	m.wantCode(1, "breach")
	m.wantInFile(m.Notices.Motd, "initcheck: breach: module algif_hash is loaded (CVE-2026-31431); inference units are stopped\n")

	m.permitting(breakGlass)
	m.wantCode(0, "check")
	m.wantLeft("features initcheck.prom motd pass report.json")
	m.wantInFile(m.Notices.Metrics, "initcheck_pass 1\n", "initcheck_override 1\n")
	m.wantInFile(m.Notices.Features, "initcheck.pass=true\n", "initcheck.override=true\n")
	m.wantInFile(m.Notices.Motd, "initcheck: OVERRIDE: ticket 4711: would refuse: ")

	m.write("proc/modules", "")
	m.wantCode(0, "check")
	m.wantLeft("features initcheck.prom pass report.json")
}

// TestNoticesChangeNoVerdict: what cannot be written is said.
func TestNoticesChangeNoVerdict(t *testing.T) {
	for _, release := range []string{newKernel, oldKernel} {
		m := newMachine(t)
		m.kernel(release)
		for _, path := range []string{m.Notices.Metrics, m.Notices.Features, m.Notices.Motd} {
			mkdir(t, filepath.Join(path, "x"))
		}
		want := 0
		if release == oldKernel {
			want = 1
		}
		m.wantCode(want, "check")
		m.wantStamp(want == 0)
		m.wantOutput(&m.err, "initcheck: cannot write the metrics: ", "initcheck: cannot write the features: ", "the message of the day: ")
	}
}

// TestPanicForgets: no file tells of a pass that a panic took back.
func TestPanicForgets(t *testing.T) {
	for verb, refusal := range refusals {
		m := newMachine(t)
		m.wantCode(0, "check")
		m.kernel(oldKernel)
		m.Now = func() time.Time { panic("no clock") }
		m.wantCode(refusal, verb)
		m.wantLeft("")
	}
}

// runIn is where a checker that hangs is to run; empty in a test of its own.
const runIn = "INITCHECK_TEST_RUN"

// TestHangingChecker is no test but the checker that TestKilled kills.
func TestHangingChecker(t *testing.T) {
	run := os.Getenv(runIn)
	if run == "" {
		return
	}
	m := newMachine(t)
	m.place(run)
	m.Root, m.Deadline = hangFS{}, time.Hour
	m.Run([]string{"check"})
	t.Error("the checker came to an end")
}

// place puts what the machine writes into another directory.
func (m *machine) place(run string) {
	m.run = run
	m.Stamp.Path, m.Report.Path = filepath.Join(run, "pass"), filepath.Join(run, "report.json")
	m.Notices = notify.Notices{Metrics: filepath.Join(run, "initcheck.prom"), Features: filepath.Join(run, "features"), Motd: filepath.Join(run, "motd")}
}

// TestKilled kills a checker while it reads, after an earlier one that passed: nothing may
// tell of that pass any more.
func TestKilled(t *testing.T) {
	m := newMachine(t)
	m.wantCode(0, "check")
	m.wantLeft("features initcheck.prom pass report.json")
	cmd := exec.Command(os.Args[0], "-test.run=^TestHangingChecker$")
	cmd.Env = append(os.Environ(), runIn+"="+m.run)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Lstat(m.Notices.Features); errors.Is(err, fs.ErrNotExist) {
			break // the last one that goes
		}
		if time.Now().After(deadline) {
			t.Error("the checker takes nothing away")
			break
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != -1 {
		t.Errorf("the checker ended with %v, want it killed", cmd.ProcessState)
	}
	m.wantLeft("")
	m.wantCode(1, "status")
	m.wantCode(77, "recheck")
}

func TestStatusShort(t *testing.T) {
	m := newMachine(t)
	want := func(code int, line string) {
		t.Helper()
		m.wantCode(code, "status", "--short")
		if m.out.String() != line+"\n" || len(line) > 80 {
			t.Errorf("status --short is %q, want %q", &m.out, line)
		}
	}
	want(1, "refuse: initcheck has not run in this boot")
	m.wantCode(0, "check")
	want(0, "pass: kernel "+newKernel+", 3 rules")
	if err := m.Stamp.Remove(); err != nil {
		t.Fatal(err)
	}
	want(1, "refuse: the stamp is gone: see initcheck status")
	m.write("proc/modules", "algif_hash 1 0 - Live 0x0\n")
	m.wantCode(1, "breach")
	want(1, "breach: module algif_hash is loaded (CVE-2026-31431)")
	m.permitting(breakGlass)
	m.wantCode(0, "check")
	want(0, "OVERRIDE: ticket 4711")
	m.write("proc/sys/kernel/random/boot_id", "another\n")
	want(1, "refuse: initcheck has not run in this boot")
	if err := os.WriteFile(m.Report.Path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	want(1, "refuse: the last report counts for nothing: see initcheck status")
	m.wantCode(2, "status", "--short", "--json")
	m.wantOutput(&m.err, "status takes one of --json and --short")
}
