package command_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/kerngate/kerngate/initcheck/command"
	"github.com/kerngate/kerngate/initcheck/notify"
	"github.com/kerngate/kerngate/initcheck/policy"
	"github.com/kerngate/kerngate/initcheck/probe"
)

const (
	newKernel = "7.2.12+deb14-cloud-amd64"
	oldKernel = "6.1.0-56-cloud-amd64"
	bootID    = "6f1f4c1e-5d0e-4a57-9f55-0d4f5b8c2a11"
	policyAt  = "usr/lib/kerngate/policy.toml"
	builtinAt = "lib/modules/" + newKernel + "/modules.builtin"
)

// machine is a whole system: a tree to read, a /run to write, and logs.
type machine struct {
	*command.Program
	t        *testing.T
	root     fstest.MapFS
	run      string
	out, err bytes.Buffer
	messages []string
	states   []string
}

// newMachine is a machine that passes.
func newMachine(t *testing.T) *machine {
	rules, err := policy.Encode(policy.Policy{
		Schema: policy.Schema, Profile: "llm-node", Floor: "7.0.6",
		Modules: []policy.Module{{Name: "algif_hash", RefuseIf: []policy.Condition{policy.Loaded, policy.BuiltIn}, Reason: "CVE-2026-31431"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, run: filepath.Join(t.TempDir(), "initcheck"), root: fstest.MapFS{
		policyAt:                         {Data: rules},
		"proc/modules":                   {Data: []byte("virtio_net 81920 0 - Live 0x0000000000000000\n")},
		"proc/net/protocols":             {Data: []byte("protocol  size sockets\nUDP 1 0\n")},
		"proc/sys/kernel/random/boot_id": {Data: []byte(bootID + "\n")},
		"proc/uptime":                    {Data: []byte("4.25 1.00\n")},
		"sys/module/virtio_net/refcnt":   {Data: []byte("0\n")},
		builtinAt:                        {Data: []byte("kernel/drivers/block/loop.ko\n")},
	}}
	kmsg := filepath.Join(t.TempDir(), "kmsg")
	if err := os.WriteFile(kmsg, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m.Program = &command.Program{
		Version: "v1.2.3",
		Policy:  policy.File,
		Root:    m.root,
		Uname:   func() (probe.Uname, error) { return probe.Uname{Release: newKernel, Version: "#1 SMP"}, nil },
		Stamp:   notify.Stamp{Path: filepath.Join(m.run, "pass")},
		Report:  notify.ReportFile{Path: filepath.Join(m.run, "report.json")},
		Notices: notify.Notices{Metrics: filepath.Join(m.run, "initcheck.prom"), Features: filepath.Join(m.run, "features"), Motd: filepath.Join(m.run, "motd")},
		Kmsg:    notify.Kmsg{Path: kmsg},
		Journal: notify.Journal{Send: func(message string, _ journal.Priority, _ map[string]string) error {
			m.messages = append(m.messages, message)
			return nil
		}},
		Manager:      notify.Manager{Notify: func(state string) error { m.states = append(m.states, state); return nil }},
		Catch:        func() <-chan os.Signal { return nil },
		Deadline:     10 * time.Second,
		TellDeadline: 10 * time.Second,
		Now:          func() time.Time { return time.Date(2026, 11, 22, 1, 2, 3, 4, time.UTC) },
		Stdout:       &m.out,
		Stderr:       &m.err,
	}
	return m
}

func (m *machine) write(name, text string) { m.root[name] = &fstest.MapFile{Data: []byte(text)} }

func (m *machine) kernel(release string) {
	m.Uname = func() (probe.Uname, error) { return probe.Uname{Release: release}, nil }
}

// leaveStamp puts a stamp there, as an earlier pass would have.
func (m *machine) leaveStamp() {
	m.t.Helper()
	if err := m.Stamp.Create(notify.Report{Verdict: "pass"}); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) wantCode(want int, args ...string) {
	m.t.Helper()
	m.out.Reset()
	m.err.Reset()
	if got := m.Run(args); got != want {
		m.t.Errorf("initcheck %s: exit code is %d, want %d\nstdout: %s\nstderr: %s", strings.Join(args, " "), got, want, &m.out, &m.err)
	}
}

func (m *machine) wantStamp(want bool) {
	m.t.Helper()
	if _, err := os.Lstat(m.Stamp.Path); (err == nil) != want {
		m.t.Errorf("stamp exists is %v, want %v (%v)", err == nil, want, err)
	}
}

func (m *machine) wantOutput(where *bytes.Buffer, want ...string) {
	m.t.Helper()
	for _, w := range want {
		if !strings.Contains(where.String(), w) {
			m.t.Errorf("output lacks %q:\n%s", w, where)
		}
	}
}

// permitting gives the machine a policy that permits the break-glass, and a command line.
func (m *machine) permitting(cmdline string) {
	m.t.Helper()
	rules, err := policy.Decode(m.root[policyAt].Data)
	if err != nil {
		m.t.Fatal(err)
	}
	rules.Override = true
	data, err := policy.Encode(rules)
	if err != nil {
		m.t.Fatal(err)
	}
	m.write(policyAt, string(data))
	m.write("proc/cmdline", cmdline)
}

// wantReport wants a report with this verdict and this text in some refusal.
func (m *machine) wantReport(verdict, text string) notify.Report {
	m.t.Helper()
	r, err := m.Report.Read()
	if err != nil {
		m.t.Fatal(err)
	}
	found := text == ""
	for _, f := range r.Refusals() {
		found = found || strings.Contains(f.Text, text)
	}
	if r.Verdict != verdict || !found {
		m.t.Errorf("report is %+v, want verdict %s with %q", r, verdict, text)
	}
	return r
}

// damage is one thing wrong with a machine, and what the refusal must say.
type damage struct {
	name string
	do   func(*machine)
	want string
}

func damages() []damage {
	rewrite := func(change func(string) string) func(*machine) {
		return func(m *machine) { m.write(policyAt, change(string(m.root[policyAt].Data))) }
	}
	return []damage{
		{"below the floor", func(m *machine) {
			m.kernel(oldKernel)
			m.write("lib/modules/"+oldKernel+"/modules.builtin", "a/b.ko\n")
		}, "kernel 6.1.0-56-cloud-amd64 is below the floor 7.0.6"},
		{"module loaded", func(m *machine) { m.write("proc/modules", "algif_hash 1 0 - Live 0x0\n") }, "module algif_hash is loaded (CVE-2026-31431)"},
		{"module built in", func(m *machine) { m.write(builtinAt, "kernel/crypto/algif_hash.ko\n") }, "module algif_hash is built into the kernel (CVE-2026-31431)"},
		{"no /proc", func(m *machine) { delete(m.root, "proc/modules") }, "cannot tell whether module algif_hash is loaded: /proc/modules: file does not exist"},
		{"/proc/modules cut short", func(m *machine) { m.write("proc/modules", "algif_") }, "cut short"},
		{"no modules.builtin", func(m *machine) { delete(m.root, builtinAt) }, "cannot tell whether module algif_hash is built into the kernel: /" + builtinAt + ": file does not exist"},
		{"no policy", func(m *machine) { delete(m.root, policyAt) }, "cannot read policy /usr/lib/kerngate/policy.toml: file does not exist"},
		{"policy empty", rewrite(func(string) string { return "" }), "/usr/lib/kerngate/policy.toml: cannot decode policy: it is empty"},
		{"policy cut short", rewrite(func(s string) string { return s[:len(s)/2] }), "it is cut short or was edited"},
		{"policy edited", rewrite(func(s string) string { return strings.Replace(s, "7.0.6", "6.0.6", 1) }), "it was edited or is damaged"},
		{"policy too large", rewrite(func(s string) string { return s + strings.Repeat("#", policy.Limit) }), "more than 1048576 bytes"},
		{"policy of a newer schema", rewrite(func(s string) string { return seal(strings.Replace(s, "schema = 1", "schema = 2", 1)) }), "update /usr/sbin/initcheck"},
		{"policy is a directory", func(m *machine) { delete(m.root, policyAt); m.write(policyAt+"/x", "") }, "cannot read policy"},
		{"uname fails", func(m *machine) {
			m.Uname = func() (probe.Uname, error) { return probe.Uname{}, errors.New("no uname") }
		}, "no uname"},
		{"uname is empty", func(m *machine) { m.kernel("") }, "cannot tell which kernel runs"},
		{"a read that panics", func(m *machine) { m.Root = panicFS{} }, "internal error: boom"},
		{"a read that hangs", func(m *machine) { m.Root, m.Deadline = hangFS{}, time.Millisecond }, "could not be read within 1ms"},
		{"every read fails", func(m *machine) { m.Root = brokenFS{} }, "input/output error"},
	}
}

// seal gives a changed policy an end line that fits, by the tools of a forger.
func seal(text string) string {
	body := text[:strings.LastIndex(text, "# end sha256=")]
	return fmt.Sprintf("%s# end sha256=%x\n", body, sha256.Sum256([]byte(body)))
}

func TestCheckPasses(t *testing.T) {
	m := newMachine(t)
	m.wantCode(0, "check")
	m.wantStamp(true)
	const line = "initcheck: pass: kernel " + newKernel + ", 3 rules"
	r := m.wantReport("pass", "")
	if r.Profile != "llm-node" || r.PolicySchema != 1 || r.BootID != bootID || r.Uptime != 4.25 || r.Version != "v1.2.3" || r.Verb != "check" || r.Kernel != newKernel || len(r.Findings) != 3 {
		t.Errorf("report is %+v", r)
	}
	if kmsg, _ := os.ReadFile(m.Kmsg.Path); string(kmsg) != "<5>"+line+"\n" {
		t.Errorf("kernel log has %q", kmsg)
	}
	if m.err.String() != line+"\n" || m.out.Len() != 0 {
		t.Errorf("stderr is %q, stdout %q, want %q and nothing", &m.err, &m.out, line)
	}
	if len(m.messages) != 1 || m.messages[0] != line || len(m.states) != 1 || m.states[0] != "STATUS=pass: kernel "+newKernel+", 3 rules" {
		t.Errorf("journal has %q, the service manager %q", m.messages, m.states)
	}
	m.wantCode(0, "recheck")
	if m.out.Len()+m.err.Len() != 0 || len(m.messages) != 1 {
		t.Errorf("recheck is not silent: %q %q %q", &m.out, &m.err, m.messages)
	}
	m.wantStamp(true)
}

// refusals are the exit codes to refuse with. Of a unit with SuccessExitStatus=1
// systemd 252 and 262 took a recheck that exits with 1 for a pass, and started it.
var refusals = map[string]int{"check": 1, "recheck": 77, "breach": 1}

// lineOf is how the line of a refusal by a verb begins and ends.
func lineOf(verb string) (head, tail string) {
	if verb == "breach" {
		return "initcheck: breach: ", "inference units are stopped"
	}
	return "initcheck: refuse: ", "inference units stay off"
}

// TestRefuse damages a machine in each way and runs the verbs on it, with a stamp
// left from before.
func TestRefuse(t *testing.T) {
	for verb := range refusals {
		head, tail := lineOf(verb)
		for _, d := range damages() {
			t.Run(verb+"/"+d.name, func(t *testing.T) {
				m := newMachine(t)
				m.leaveStamp()
				d.do(m)
				m.wantCode(refusals[verb], verb)
				m.wantStamp(false)
				if r := m.wantReport("refuse", d.want); r.Verb != verb {
					t.Errorf("report is by %q, want %q", r.Verb, verb)
				}
				m.wantOutput(&m.err, head, tail, d.want)
				kmsg, _ := os.ReadFile(m.Kmsg.Path)
				if !strings.HasPrefix(string(kmsg), "<2>"+head) || strings.Count(string(kmsg), "\n") != 1 {
					t.Errorf("kernel log has %q, want one line that refuses", kmsg)
				}
				if len(m.messages) != 1 || len(m.states) != 1 {
					t.Errorf("journal has %q, the service manager %q, want one of each", m.messages, m.states)
				}
				m.wantCode(77, "recheck")
				m.Root = m.root
				m.wantCode(1, "status")
			})
		}
	}
}

// TestToldToEnd: a signal that comes while a read hangs is a refusal. That of a re-check
// holds back one unit and touches nothing.
func TestToldToEnd(t *testing.T) {
	const why = "told to end (terminated) before the facts were read"
	for verb := range refusals {
		t.Run(verb, func(t *testing.T) {
			m := newMachine(t)
			m.wantCode(0, "check")
			m.Root, m.Deadline = hangFS{}, time.Hour
			told := make(chan os.Signal, 1)
			told <- syscall.SIGTERM
			m.Catch = func() <-chan os.Signal { return told }
			m.wantCode(refusals[verb], verb)
			if verb == "recheck" {
				if want := "initcheck: refuse: " + why + "; this unit does not start\n"; m.err.String() != want {
					t.Errorf("stderr is %q, want %q", &m.err, want)
				}
				m.wantStamp(true)
				m.wantReport("pass", "")
				m.wantLeft("features initcheck.prom pass report.json")
				return
			}
			head, tail := lineOf(verb)
			m.wantOutput(&m.err, head+why+"; "+tail)
			m.wantStamp(false)
			m.wantReport("refuse", why)
			m.wantInFile(m.Notices.Metrics, "initcheck_pass 0\n")
		})
	}
}

// TestSignalsAreLeftAlone by what decides nothing.
func TestSignalsAreLeftAlone(t *testing.T) {
	m := newMachine(t)
	m.wantCode(0, "check")
	m.Catch = func() <-chan os.Signal { t.Error("signals are caught"); return nil }
	for _, args := range [][]string{{"breach", "--report"}, {"status"}, {"explain"}, {"version"}, {"help"}} {
		m.wantCode(0, args...)
	}
}

func TestRecheckNeedsTheStamp(t *testing.T) {
	m := newMachine(t)
	m.wantCode(77, "recheck")
	m.wantOutput(&m.err, "initcheck: refuse: there is no stamp at "+m.Stamp.Path)
	if _, err := m.Report.Read(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("recheck without a stamp wrote a report: %v", err)
	}
	m.kernel(oldKernel)
	m.wantCode(1, "check")
	before := m.wantReport("refuse", "below the floor")
	m.wantCode(77, "recheck")
	m.wantOutput(&m.err, "the last report says: refuse: kernel "+oldKernel+" is below the floor 7.0.6")
	if after := m.wantReport("refuse", "below the floor"); after.Verb != before.Verb {
		t.Errorf("recheck replaced the report by %q", after.Verb)
	}
}

// TestModuleLoadedLater is what recheck is for.
func TestModuleLoadedLater(t *testing.T) {
	m := newMachine(t)
	m.wantCode(0, "check")
	m.write("proc/modules", "algif_hash 1 0 - Live 0x0\n")
	m.wantCode(77, "recheck")
	m.wantStamp(false)
	m.wantReport("refuse", "module algif_hash is loaded")
	m.write("proc/modules", "")
	m.wantCode(77, "recheck")
	m.wantCode(0, "check")
	m.wantStamp(true)
}

// TestBreach: without a stamp, too, it says what it finds, and it never sets one.
func TestBreach(t *testing.T) {
	m := newMachine(t)
	m.wantCode(0, "breach")
	m.wantStamp(false)
	m.wantCode(0, "check")
	m.wantCode(0, "breach")
	m.wantStamp(true)
	if m.out.Len()+m.err.Len() != 0 || len(m.messages) != 1 {
		t.Errorf("breach that passes is not silent: %q %q %q", &m.out, &m.err, m.messages)
	}
	m.write("proc/modules", "algif_hash 1 0 - Live 0x0\n")
	m.wantCode(1, "breach")
	m.wantStamp(false)
	m.wantCode(1, "breach")
	m.wantReport("refuse", "module algif_hash is loaded")
}

// TestReportedBreach changes nothing but the report.
func TestReportedBreach(t *testing.T) {
	for _, d := range damages() {
		t.Run(d.name, func(t *testing.T) {
			m := newMachine(t)
			m.wantCode(0, "check")
			m.wantCode(0, "breach", "--report")
			if m.out.Len()+m.err.Len() != 0 || len(m.messages) != 1 {
				t.Errorf("breach --report that passes is not silent: %q %q %q", &m.out, &m.err, m.messages)
			}
			d.do(m)
			m.wantCode(0, "breach", "--report")
			m.wantStamp(true)
			m.wantOutput(&m.err, "initcheck: breach: ", "; reported only", d.want)
			if r := m.wantReport("refuse", d.want); !r.ReportOnly || r.Verb != "breach" || len(m.messages) != 2 {
				t.Errorf("report is %+v, the journal has %q", r, m.messages)
			}
			m.Root = m.root
			m.wantCode(1, "status")
		})
	}
	m := newMachine(t)
	m.leaveStamp()
	m.kernel(oldKernel)
	m.Now = func() time.Time { panic("no clock") }
	m.wantCode(0, "breach", "--report")
	m.wantStamp(true)
	m.wantOutput(&m.err, "initcheck: breach: internal error: no clock; reported only")
}

func TestRunIsNotWritable(t *testing.T) {
	t.Run("report directory is a file", func(t *testing.T) {
		m := newMachine(t)
		if err := os.WriteFile(m.run, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		m.wantCode(1, "check")
		m.wantOutput(&m.err, "initcheck: refuse: ", "cannot write report", "cannot remove the stamp")
	})
	t.Run("report cannot be replaced", func(t *testing.T) {
		m := newMachine(t)
		mkdir(t, filepath.Join(m.Report.Path, "x"))
		m.wantCode(1, "check")
		m.wantStamp(false)
		m.wantOutput(&m.err, "initcheck: refuse: cannot write report")
		m.wantCode(1, "status")
	})
	t.Run("stamp cannot be created", func(t *testing.T) {
		m := newMachine(t)
		m.Stamp.Path = filepath.Join(m.run, "missing", "deeper", "pass")
		m.wantCode(1, "check")
		m.wantReport("refuse", "cannot create the stamp")
		m.wantOutput(&m.err, "initcheck: refuse: cannot create the stamp")
	})
	t.Run("stamp cannot be removed", func(t *testing.T) {
		m := newMachine(t)
		mkdir(t, filepath.Join(m.Stamp.Path, "x"))
		m.wantCode(1, "check")
		m.wantReport("refuse", "cannot remove the stamp")
		m.kernel(oldKernel)
		m.wantCode(77, "recheck")
		m.wantOutput(&m.err, "below the floor", "cannot remove the stamp")
		m.wantCode(1, "status")
	})
}

func TestLogsThatFail(t *testing.T) {
	for _, release := range []string{newKernel, oldKernel} {
		m := newMachine(t)
		m.kernel(release)
		m.Kmsg.Path = filepath.Join(t.TempDir(), "gone")
		m.Journal.Send = func(string, journal.Priority, map[string]string) error { return errors.New("no journald") }
		m.Manager.Notify = func(string) error { return errors.New("no manager") }
		want := 0
		if release == oldKernel {
			want = 1
		}
		m.wantCode(want, "check")
		m.wantStamp(want == 0)
		m.wantOutput(&m.err, "initcheck: cannot write to the kernel log", "initcheck: cannot write to the journal: no journald", "initcheck: cannot notify the service manager: no manager")
	}
}

// TestVerdictStandsOnceInTheJournal: under systemd stderr ends up in the journal too.
func TestVerdictStandsOnceInTheJournal(t *testing.T) {
	m := newMachine(t)
	m.kernel(oldKernel)
	m.write("lib/modules/"+oldKernel+"/modules.builtin", "a/b.ko\n")
	m.StderrIsJournal = true
	m.wantCode(1, "check")
	if m.err.Len() != 0 || len(m.messages) != 1 {
		t.Errorf("stderr has %q and the journal %q, want one line in the journal alone", &m.err, m.messages)
	}
	m.Journal.Send = func(string, journal.Priority, map[string]string) error { return errors.New("no journald") }
	m.wantCode(1, "check")
	m.wantOutput(&m.err, "below the floor", "no journald")
}

func TestLogsThatHangOrPanic(t *testing.T) {
	for name, send := range map[string]func(string, journal.Priority, map[string]string) error{
		"took longer than": func(string, journal.Priority, map[string]string) error { select {} },
		"internal error":   func(string, journal.Priority, map[string]string) error { panic("boom") },
	} {
		m := newMachine(t)
		m.kernel(oldKernel)
		m.leaveStamp()
		m.Journal.Send, m.TellDeadline = send, 50*time.Millisecond
		m.wantCode(1, "check")
		m.wantStamp(false)
		m.wantOutput(&m.err, "below the floor", name)
	}
}

// TestPanicOutsideTheDecision breaks the program itself.
func TestPanicOutsideTheDecision(t *testing.T) {
	for verb := range refusals {
		m := newMachine(t)
		m.leaveStamp()
		m.kernel(oldKernel)
		m.Now = func() time.Time { panic("no clock") }
		m.wantCode(refusals[verb], verb)
		m.wantStamp(false)
		m.wantOutput(&m.err, "initcheck: refuse: internal error: no clock; inference units stay off")
	}
}

// TestPanicAfterTheStamp breaks the program at the last moment, when the stamp of a
// pass is already there.
func TestPanicAfterTheStamp(t *testing.T) {
	m := newMachine(t)
	now := m.Now
	m.Now = func() time.Time {
		if exists, _ := m.Stamp.Exists(); exists {
			panic("no clock")
		}
		return now()
	}
	m.wantCode(1, "check")
	m.wantStamp(false)
	m.wantOutput(&m.err, "internal error: no clock")
}

func TestStatus(t *testing.T) {
	m := newMachine(t)
	m.wantCode(1, "status")
	m.wantOutput(&m.out, "initcheck has not run in this boot", m.Report.Path, "journalctl -b -u initcheck.service", "inference units stay off")

	m.wantCode(0, "check")
	m.write("proc/uptime", "64.25 1.00\n")
	m.wantCode(0, "status")
	want := `verdict  pass
kernel   7.2.12+deb14-cloud-amd64
profile  llm-node
when     2026-11-22T01:02:03Z, 4.2 s after boot, by initcheck v1.2.3 check
age      1m0s
pass     kernel 7.2.12+deb14-cloud-amd64 is not below the floor 7.0.6
pass     module algif_hash is not loaded
pass     module algif_hash is not built in
stamp    ` + m.Stamp.Path + ` is there: inference units may start
`
	if m.out.String() != want {
		t.Errorf("status is\n%s\nwant\n%s", &m.out, want)
	}

	if err := m.Stamp.Remove(); err != nil {
		t.Fatal(err)
	}
	m.wantCode(1, "status")
	m.wantOutput(&m.out, "verdict  pass", "is not there: inference units stay off")

	m.kernel(oldKernel)
	m.wantCode(1, "check")
	m.leaveStamp()
	m.wantCode(1, "status")
	m.wantOutput(&m.out, "verdict  refuse", "refuse   kernel "+oldKernel+" is below the floor 7.0.6", "no verdict stands behind it")

	m.write("proc/sys/kernel/random/boot_id", "another\n")
	m.wantCode(1, "status")
	m.wantOutput(&m.out, "initcheck has not run in this boot", "is of boot "+bootID+", and this is another")

	if err := os.WriteFile(m.Report.Path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.wantCode(1, "status")
	m.wantOutput(&m.out, "cannot read report")
}

func TestStatusAfterTheDeadline(t *testing.T) {
	m := newMachine(t)
	m.Root, m.Deadline = hangFS{}, time.Millisecond
	m.wantCode(1, "check")
	m.Root = m.root
	m.wantCode(1, "status")
	m.wantOutput(&m.out, "verdict  refuse", "kernel   unknown", "could not be read within 1ms")
}

func TestStatusJSON(t *testing.T) {
	type answer struct {
		Schema      int
		Open, Stamp bool
		Error       string
		Age_seconds *float64
		Report      *notify.Report
	}
	ask := func(m *machine, code int) (a answer) {
		m.wantCode(code, "status", "--json")
		dec := json.NewDecoder(&m.out)
		dec.DisallowUnknownFields()
		if err := dec.Decode(&a); err != nil {
			t.Fatal(err)
		}
		return a
	}
	m := newMachine(t)
	if a := ask(m, 1); a.Schema != 1 || a.Open || a.Stamp || a.Report != nil || !strings.Contains(a.Error, "has not run") {
		t.Errorf("before the check: %+v", a)
	}
	m.wantCode(0, "check")
	if a := ask(m, 0); a.Age_seconds == nil || *a.Age_seconds != 0 || !a.Open || !a.Stamp || a.Error != "" || a.Report == nil || a.Report.Kernel != newKernel {
		t.Errorf("after pass: %+v", a)
	}
	m.kernel(oldKernel)
	m.wantCode(77, "recheck")
	if a := ask(m, 1); a.Open || a.Stamp || a.Error != "" || a.Report == nil || a.Report.Verb != "recheck" {
		t.Errorf("after refuse: %+v", a)
	}
}

func TestUsage(t *testing.T) {
	cases := []struct {
		args     []string
		code     int
		out, err string
	}{
		{nil, 2, "", "Usage: initcheck VERB"},
		{[]string{"explode"}, 2, "", `verb "explode" is unknown`},
		{[]string{"check", "now"}, 2, "", `check takes no argument, and got "now"`},
		{[]string{"check", "--json"}, 2, "", "-json"},
		{[]string{"recheck", "--force"}, 2, "", "-force"},
		{[]string{"recheck", "--report"}, 2, "", "-report"},
		{[]string{"breach", "--json"}, 2, "", "-json"},
		{[]string{"breach", "algif_hash"}, 2, "", `breach takes no argument, and got "algif_hash"`},
		{[]string{"--help"}, 0, "Usage: initcheck VERB", ""},
		{[]string{"help"}, 0, "Usage: initcheck VERB", ""},
		{[]string{"status", "--help"}, 0, "Usage: initcheck VERB", ""},
		{[]string{"version"}, 0, "initcheck v1.2.3 (policy schema 1)\n", ""},
	}
	for _, c := range cases {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			m := newMachine(t)
			m.leaveStamp()
			m.wantCode(c.code, c.args...)
			m.wantOutput(&m.out, c.out)
			m.wantOutput(&m.err, c.err)
			if c.out == "" && m.out.Len() != 0 || c.err == "" && m.err.Len() != 0 {
				t.Errorf("stdout is %q, stderr %q", &m.out, &m.err)
			}
			m.wantStamp(true)
		})
	}
}

// TestHostileText sees that nothing a file can hold reaches a terminal raw.
func TestHostileText(t *testing.T) {
	m := newMachine(t)
	m.write(policyAt, "x\x1b[2J\ny")
	m.write("proc/modules", "\x1b]0;evil\a\n")
	m.wantCode(1, "check")
	m.wantCode(1, "status")
	for _, text := range []string{m.err.String(), m.out.String(), strings.Join(m.messages, "")} {
		if strings.ContainsAny(text, "\x1b\a") {
			t.Errorf("raw control characters in %q", text)
		}
	}
}

type panicFS struct{}

func (panicFS) Open(string) (fs.File, error) { panic("boom") }

type hangFS struct{}

func (hangFS) Open(string) (fs.File, error) { select {} }

type brokenFS struct{}

func (brokenFS) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("input/output error")}
}

func mkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}
