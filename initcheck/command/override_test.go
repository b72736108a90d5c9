package command_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/kerngate/kerngate/initcheck/notify"
	"github.com/kerngate/kerngate/initcheck/policy"
	"github.com/kerngate/kerngate/initcheck/probe"
)

const breakGlass = `ro quiet initcheck.override="ticket 4711"` + "\n"

// heals tells which damages a break-glass lets pass: rules that refuse and facts in doubt,
// never a fault of the checker's own.
func heals(name string) bool {
	return slices.Contains([]string{
		"below the floor", "module loaded", "module built in", "no /proc", "/proc/modules cut short", "no modules.builtin", "uname is empty",
	}, name)
}

// TestOverride damages a machine in each way, with a break-glass that the policy permits.
func TestOverride(t *testing.T) {
	healed := 0
	for verb, refusal := range refusals {
		for _, d := range damages() {
			t.Run(verb+"/"+d.name, func(t *testing.T) {
				m := newMachine(t)
				m.permitting(breakGlass)
				m.leaveStamp()
				d.do(m)
				if !heals(d.name) {
					m.wantCode(refusal, verb)
					m.wantStamp(false)
					if r := m.wantReport("refuse", d.want); r.Override != "" {
						t.Errorf("report is %+v, want no override", r)
					}
					return
				}
				healed++
				m.wantCode(0, verb)
				m.wantStamp(true)
				const head = "initcheck: OVERRIDE: ticket 4711: would refuse: "
				m.wantOutput(&m.err, head, d.want)
				if r := m.wantReport("pass", d.want); r.Override != "ticket 4711" || r.Verb != verb {
					t.Errorf("report is %+v, want the override in it", r)
				}
				kmsg, _ := os.ReadFile(m.Kmsg.Path)
				if !strings.HasPrefix(string(kmsg), "<2>"+head) || len(m.messages) != 1 || !strings.HasPrefix(m.messages[0], head) ||
					len(m.states) != 1 || !strings.HasPrefix(m.states[0], "STATUS=OVERRIDE: ticket 4711: would refuse: ") {
					t.Errorf("kernel log has %q, the journal %q, the service manager %q", kmsg, m.messages, m.states)
				}
				m.wantCode(0, "status")
				m.wantOutput(&m.out, "verdict  pass", "OVERRIDE ticket 4711", d.want)
				m.wantCode(0, "explain")
				m.wantOutput(&m.out, "OVERRIDE ticket 4711", "  change ")
				m.wantCode(0, "breach", "--report")
				m.wantOutput(&m.err, head)
			})
		}
	}
	if healed != 3*7 {
		t.Errorf("damages healed: %d, want 7 by each of 3 verbs", healed)
	}
}

func TestOverrideUnheeded(t *testing.T) {
	const permitted = "the profile does not permit it: want override = true in [gate]"
	for _, c := range []struct {
		name, cmdline string
		permit        bool
		want          string
	}{
		{"not permitted", breakGlass, false, permitted},
		{"no reason", "initcheck.override=\n", true, "it gives no reason: want initcheck.override=REASON"},
		{"a reason, and then none", "initcheck.override=a initcheck.override=\"\"\n", true, "it gives no reason"},
		{"no reason, not permitted", "initcheck.override=\n", false, permitted},
		{"command line too long", strings.Repeat("x", 1<<17), true, "cannot read /proc/cmdline: it has more than 65536 bytes"},
	} {
		for verb, refusal := range refusals {
			t.Run(c.name+"/"+verb, func(t *testing.T) {
				m := newMachine(t)
				if m.write("proc/cmdline", c.cmdline); c.permit {
					m.permitting(c.cmdline)
				}
				m.leaveStamp()
				m.write("proc/modules", "algif_hash 1 0 - Live 0x0\n")
				m.wantCode(refusal, verb)
				m.wantStamp(false)
				m.wantOutput(&m.err, "module algif_hash is loaded (CVE-2026-31431)", "; initcheck.override= is not heeded; inference units ",
					"initcheck: initcheck.override= on the kernel command line is not heeded: "+c.want)
				if r := m.wantReport("refuse", "algif_hash is loaded"); r.Override != "" || !strings.HasPrefix(r.Unheeded, c.want) {
					t.Errorf("report is %+v, want in it why the override does not count", r)
				}
				m.wantCode(1, "status")
				m.wantOutput(&m.out, "override not heeded: "+c.want)
				m.wantCode(1, "explain")
				m.wantOutput(&m.out, "override not heeded: "+c.want)
			})
		}
	}
}

// TestOverrideNotNeeded: where nothing refuses, a break-glass changes nothing.
func TestOverrideNotNeeded(t *testing.T) {
	for _, permit := range []bool{true, false} {
		m := newMachine(t)
		if m.write("proc/cmdline", breakGlass); permit {
			m.permitting(breakGlass)
		}
		m.wantCode(0, "check")
		if r := m.wantReport("pass", ""); r.Override+r.Unheeded != "" || m.err.String() != "initcheck: pass: kernel "+newKernel+", 3 rules\n" {
			t.Errorf("report is %+v, stderr %q, want a plain pass", r, &m.err)
		}
		m.wantCode(0, "recheck")
		if m.err.Len() > 0 {
			t.Errorf("recheck says %q", &m.err)
		}
		m.wantCode(0, "explain")
		if permit {
			m.wantOutput(&m.out, "override not needed: ticket 4711\n")
		}
	}
}

// TestOverrideNeedsTheReport: what cannot be told is not passed over.
func TestOverrideNeedsTheReport(t *testing.T) {
	for verb, refusal := range refusals {
		m := newMachine(t)
		m.permitting(breakGlass)
		m.leaveStamp()
		m.write("proc/modules", "algif_hash 1 0 - Live 0x0\n")
		mkdir(t, filepath.Join(m.Report.Path, "x"))
		m.wantCode(refusal, verb)
		m.wantStamp(false)
		m.wantOutput(&m.err, "module algif_hash is loaded", "cannot write report")
	}
}

// TestOverrideOpensNothing: a gate that refused for a fault of its own stays closed when a
// module is loaded later, and nobody is told of a pass.
func TestOverrideOpensNothing(t *testing.T) {
	for _, args := range [][]string{{"breach"}, {"breach", "--report"}} {
		m := newMachine(t)
		m.permitting(breakGlass)
		m.write("proc/modules", "algif_hash 1 0 - Live 0x0\n")
		mkdir(t, filepath.Join(m.Stamp.Path, "x"))
		m.wantCode(1, "check")
		if err := os.RemoveAll(m.Stamp.Path); err != nil {
			t.Fatal(err)
		}
		m.wantCode(0, args...)
		m.wantStamp(false)
		m.wantReport("refuse", "cannot remove the stamp")
		if metrics, err := os.ReadFile(m.Notices.Metrics); err != nil || !strings.Contains(string(metrics), "initcheck_pass 0\n") || m.err.Len() > 0 {
			t.Errorf("%q: metrics are %s, %v, stderr %q, want no pass and no word", args, metrics, err, &m.err)
		}
		m.wantCode(77, "recheck")
	}
}

// TestStampTakenMeanwhile: a recheck whose stamp another takes away while it decides is no
// pass, by override or without one.
func TestStampTakenMeanwhile(t *testing.T) {
	for name, modules := range map[string]string{"plain": "", "override": "algif_hash 1 0 - Live 0x0\n"} {
		m := newMachine(t)
		m.permitting(breakGlass)
		m.leaveStamp()
		m.write("proc/modules", modules)
		uname := m.Uname
		m.Uname = func() (probe.Uname, error) {
			if err := m.Stamp.Remove(); err != nil {
				t.Error(err)
			}
			return uname()
		}
		if code := m.Run([]string{"recheck"}); code != 77 || !strings.Contains(m.err.String(), "there is no stamp") {
			t.Errorf("%s: code is %d, stderr %q, want 77 for the stamp", name, code, &m.err)
		}
	}
}

// TestOverrideOfLogs: the journal entry has a MESSAGE_ID of its own, and a hostile reason
// drives no terminal and leaves room for what it overrides.
func TestOverrideOfLogs(t *testing.T) {
	m := newMachine(t)
	m.permitting("initcheck.override=\"\x1b[2J" + strings.Repeat("x", 3000) + "\"\n")
	m.write("proc/modules", "algif_hash 1 0 - Live 0x0\n")
	var fields map[string]string
	var priority journal.Priority
	m.Journal.Send = func(_ string, p journal.Priority, f map[string]string) error {
		priority, fields = p, f
		return nil
	}
	m.wantCode(0, "check")
	if fields["MESSAGE_ID"] != notify.MessageOverride || priority != journal.PriCrit || len(fields["KERNGATE_OVERRIDE"]) > 200 || !strings.HasPrefix(fields["KERNGATE_OVERRIDE"], `\x1b[2Jxxx`) {
		t.Errorf("journal has %q of priority %d", fields, priority)
	}
	kmsg, _ := os.ReadFile(m.Kmsg.Path)
	if len(kmsg) > 900 || !strings.Contains(string(kmsg), ": would refuse: module algif_hash is loaded (CVE-2026-31431)") || strings.Contains(string(kmsg), "\x1b") {
		t.Errorf("kernel log has %q", kmsg)
	}
}

// TestBuiltInAndKeptOut boots a kernel with a blocked module built in.
func TestBuiltInAndKeptOut(t *testing.T) {
	m := newMachine(t)
	rules, err := policy.Encode(policy.Policy{Schema: policy.Schema, Profile: "p", Modules: []policy.Module{{
		Name: "algif_hash", RefuseIf: []policy.Condition{policy.Loaded, policy.BuiltIn}, Initcalls: []string{"algif_hash_init"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	m.write(policyAt, string(rules))
	m.write(builtinAt, "kernel/crypto/algif_hash.ko\n")
	m.write("sys/module/algif_hash/uevent", "")
	m.write("proc/kallsyms", "0000000000000000 t algif_hash_init\n")
	m.write("proc/cmdline", "ro\n")
	m.wantCode(1, "check")
	m.wantReport("refuse", "module algif_hash is built into the kernel, and initcall_blacklist= does not have algif_hash_init")
	m.write("proc/cmdline", "ro initcall_blacklist=x,algif_hash_init\n")
	m.wantCode(0, "check")
	m.wantStamp(true)
	delete(m.root, "proc/kallsyms")
	m.wantCode(77, "recheck")
	m.wantReport("refuse", "cannot tell whether the kernel has algif_hash_init")
}
