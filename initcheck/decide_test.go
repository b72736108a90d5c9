package initcheck_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/initcheck"
	"github.com/kerngate/kerngate/initcheck/policy"
)

// clean is a system on which nothing is wrong.
func clean() initcheck.Facts {
	return initcheck.Facts{
		Release:   "7.2.12+deb14-cloud-amd64",
		Version:   "#1 SMP PREEMPT_DYNAMIC Debian 7.2.12-1 (2026-11-10)",
		Loaded:    initcheck.NewSet("/proc/modules", "virtio_net", "ext4"),
		BuiltIn:   initcheck.NewSet("/lib/modules/R/modules.builtin", "loop"),
		Present:   initcheck.NewSet("/sys/module", "virtio_net", "ext4", "loop", "printk"),
		Protocols: initcheck.NewSet("/proc/net/protocols", "protocol", "UDP", "TCP"),
	}
}

func unread(source string) initcheck.Set {
	return initcheck.Unread(source, errors.New("permission denied"))
}

func module(name string, refuseIf ...policy.Condition) policy.Module {
	return policy.Module{Name: name, RefuseIf: refuseIf, Reason: "CVE-2026-31431"}
}

func modules(m ...policy.Module) policy.Policy {
	return policy.Policy{Schema: policy.Schema, Profile: "test", Modules: m}
}

func floor(release string) policy.Policy {
	return policy.Policy{Schema: policy.Schema, Profile: "test", Floor: release}
}

const (
	loaded  = policy.Loaded
	builtin = policy.BuiltIn
)

// startedBy is af_alg with functions that start it where it is built in.
func startedBy(functions ...string) policy.Module {
	m := module("af_alg", loaded, builtin)
	m.Initcalls = functions
	return m
}

// keptOut has af_alg built in, with a directory in /sys/module, and af_alg_init in
// initcall_blacklist=.
func keptOut(change func(*initcheck.Facts)) func(*initcheck.Facts) {
	return func(f *initcheck.Facts) {
		f.BuiltIn = initcheck.NewSet("/lib/modules/R/modules.builtin", "af_alg")
		f.Present = initcheck.NewSet("/sys/module", "af_alg")
		f.Initcalls = initcheck.Initcalls{Skipped: initcheck.NewSet("/proc/cmdline", "af_alg_init"), Known: initcheck.NewSet("/proc/kallsyms", "af_alg_init", "other_init")}
		if change != nil {
			change(f)
		}
	}
}

func TestDecide(t *testing.T) {
	both := modules(module("af_alg", loaded, builtin))
	cases := []struct {
		name   string
		change func(*initcheck.Facts)
		policy policy.Policy
		want   []initcheck.Finding
	}{
		{"above the floor", nil, floor("7.0.6"), []initcheck.Finding{
			{"floor", initcheck.Pass, "kernel 7.2.12+deb14-cloud-amd64 is not below the floor 7.0.6"}}},
		{"at the floor", func(f *initcheck.Facts) { f.Release = "7.0.6-1-default" }, floor("7.0.6"), []initcheck.Finding{
			{"floor", initcheck.Pass, "kernel 7.0.6-1-default is not below the floor 7.0.6"}}},
		{"below the floor", func(f *initcheck.Facts) { f.Release = "6.1.0-56-cloud-amd64" }, floor("7.0.6"), []initcheck.Finding{
			{"floor", initcheck.Refuse, "kernel 6.1.0-56-cloud-amd64 is below the floor 7.0.6"}}},
		{"candidate of the floor", func(f *initcheck.Facts) { f.Release = "7.1.0-rc3-1-default" }, floor("7.1"), []initcheck.Finding{
			{"floor", initcheck.Refuse, "kernel 7.1.0-rc3-1-default is below the floor 7.1"}}},
		{"candidate that hides in the version", func(f *initcheck.Facts) {
			f.Release, f.Version = "7.3-amd64", "#1 SMP Debian 7.3~rc1-1~exp1 (2026-11-02)"
		}, floor("7.3"), []initcheck.Finding{
			{"floor", initcheck.Refuse, "kernel 7.3-amd64, which is 7.3-rc1, is below the floor 7.3"}}},
		{"release unknown", func(f *initcheck.Facts) { f.Release = "" }, floor("7.0.6"), []initcheck.Finding{
			{"floor", initcheck.Doubt, `cannot tell which kernel runs: kernel release "": is empty`}}},
		{"release senseless", func(f *initcheck.Facts) { f.Release = "linux" }, floor("7.0.6"), []initcheck.Finding{
			{"floor", initcheck.Doubt, `cannot tell which kernel runs: kernel release "linux": does not start with a number, want the form 7.0.6`}}},
		{"floor senseless", nil, floor("new"), []initcheck.Finding{
			{"floor", initcheck.Doubt, `cannot read the floor of the policy: kernel release "new": does not start with a number, want the form 7.0.6`}}},

		{"module absent", nil, both, []initcheck.Finding{
			{"module af_alg loaded", initcheck.Pass, "module af_alg is not loaded"},
			{"module af_alg builtin", initcheck.Pass, "module af_alg is not built in"}}},
		{"module loaded", func(f *initcheck.Facts) {
			f.Loaded = initcheck.NewSet("/proc/modules", "af_alg")
			f.Present = initcheck.NewSet("/sys/module", "af_alg")
			f.Protocols = initcheck.NewSet("/proc/net/protocols", "ALG")
		}, both, []initcheck.Finding{
			{"module af_alg loaded", initcheck.Refuse, "module af_alg is loaded (CVE-2026-31431)"},
			{"module af_alg builtin", initcheck.Pass, "module af_alg is loaded, not built in"}}},
		{"module loaded, dash in the list", func(f *initcheck.Facts) { f.Loaded = initcheck.NewSet("/proc/modules", "af-alg") },
			modules(module("af_alg", loaded)), []initcheck.Finding{
				{"module af_alg loaded", initcheck.Refuse, "module af_alg is loaded (CVE-2026-31431)"}}},
		{"module loaded, dash in the policy", func(f *initcheck.Facts) { f.Loaded = initcheck.NewSet("/proc/modules", "af_alg") },
			modules(policy.Module{Name: "af-alg", RefuseIf: []policy.Condition{loaded}}), []initcheck.Finding{
				{"module af-alg loaded", initcheck.Refuse, "module af-alg is loaded"}}},
		{"only a namesake loaded", func(f *initcheck.Facts) { f.Loaded = initcheck.NewSet("/proc/modules", "af_alg2", "xaf_alg") }, both, []initcheck.Finding{
			{"module af_alg loaded", initcheck.Pass, "module af_alg is not loaded"},
			{"module af_alg builtin", initcheck.Pass, "module af_alg is not built in"}}},
		{"module built in", func(f *initcheck.Facts) {
			f.BuiltIn = initcheck.NewSet("/lib/modules/R/modules.builtin", "af_alg")
			f.Protocols = initcheck.NewSet("/proc/net/protocols", "ALG")
		}, both, []initcheck.Finding{
			{"module af_alg loaded", initcheck.Pass, "module af_alg is built in, not loaded"},
			{"module af_alg builtin", initcheck.Refuse, "module af_alg is built into the kernel (CVE-2026-31431)"}}},
		{"module built in and kept out", keptOut(nil), modules(startedBy("af_alg_init")), []initcheck.Finding{
			{"module af_alg loaded", initcheck.Pass, "module af_alg is built in, not loaded"},
			{"module af_alg builtin", initcheck.Pass, "module af_alg is built in, and initcall_blacklist= keeps it from starting"}}},
		{"module built in, one function of two kept out", keptOut(nil), modules(startedBy("af_alg_init", "other_init")), []initcheck.Finding{
			{"module af_alg loaded", initcheck.Pass, "module af_alg is built in, not loaded"},
			{"module af_alg builtin", initcheck.Refuse, "module af_alg is built into the kernel, and initcall_blacklist= does not have other_init (CVE-2026-31431)"}}},
		{"module built in and kept out, of which the policy does not know", keptOut(nil), modules(module("af_alg", builtin)), []initcheck.Finding{
			{"module af_alg builtin", initcheck.Refuse, "module af_alg is built into the kernel (CVE-2026-31431)"}}},
		{"module built in and kept out, and yet alive", keptOut(func(f *initcheck.Facts) { f.Protocols = initcheck.NewSet("/proc/net/protocols", "ALG") }), modules(startedBy("af_alg_init")), []initcheck.Finding{
			{"module af_alg loaded", initcheck.Pass, "module af_alg is built in, not loaded"},
			{"module af_alg builtin", initcheck.Refuse, "module af_alg is built into the kernel, and it runs although initcall_blacklist= has af_alg_init: /proc/net/protocols has its protocol ALG (CVE-2026-31431)"}}},
		{"module built in, and the function is called something else", keptOut(func(f *initcheck.Facts) { f.Initcalls.Known = initcheck.NewSet("/proc/kallsyms") }), modules(startedBy("af_alg_init")), []initcheck.Finding{
			{"module af_alg loaded", initcheck.Pass, "module af_alg is built in, not loaded"},
			{"module af_alg builtin", initcheck.Refuse, "module af_alg is built into the kernel, and the kernel has no af_alg_init that initcall_blacklist= could keep it from calling (CVE-2026-31431)"}}},
		{"module built in, command line unreadable", keptOut(func(f *initcheck.Facts) { f.Initcalls.Skipped = unread("/proc/cmdline") }), modules(startedBy("af_alg_init")), []initcheck.Finding{
			{"module af_alg loaded", initcheck.Pass, "module af_alg is built in, not loaded"},
			{"module af_alg builtin", initcheck.Refuse, "module af_alg is built into the kernel, and cannot tell whether initcall_blacklist= has af_alg_init: /proc/cmdline: permission denied (CVE-2026-31431)"}}},
		{"module built in, kallsyms unreadable", keptOut(func(f *initcheck.Facts) { f.Initcalls.Known = unread("/proc/kallsyms") }), modules(startedBy("af_alg_init")), []initcheck.Finding{
			{"module af_alg loaded", initcheck.Pass, "module af_alg is built in, not loaded"},
			{"module af_alg builtin", initcheck.Refuse, "module af_alg is built into the kernel, and cannot tell whether the kernel has af_alg_init, which initcall_blacklist= names: /proc/kallsyms: permission denied (CVE-2026-31431)"}}},
		{"module built in, only sysfs tells, and kept out", keptOut(func(f *initcheck.Facts) { f.BuiltIn = initcheck.NewSet("/lib/modules/R/modules.builtin", "loop") }), modules(startedBy("af_alg_init")), []initcheck.Finding{
			{"module af_alg loaded", initcheck.Doubt, "module af_alg is not in /proc/modules, but /sys/module has it (CVE-2026-31431)"},
			{"module af_alg builtin", initcheck.Refuse, "module af_alg is built into the kernel: it is in /sys/module and not in /proc/modules (CVE-2026-31431)"}}},
		{"module built in, only sysfs tells", func(f *initcheck.Facts) { f.Present = initcheck.NewSet("/sys/module", "af_alg") }, both, []initcheck.Finding{
			{"module af_alg loaded", initcheck.Doubt, "module af_alg is not in /proc/modules, but /sys/module has it (CVE-2026-31431)"},
			{"module af_alg builtin", initcheck.Refuse, "module af_alg is built into the kernel: it is in /sys/module and not in /proc/modules (CVE-2026-31431)"}}},
		{"module there, only its protocol tells", func(f *initcheck.Facts) { f.Protocols = initcheck.NewSet("/proc/net/protocols", "ALG") }, both, []initcheck.Finding{
			{"module af_alg loaded", initcheck.Doubt, "module af_alg is not in /proc/modules, but /proc/net/protocols has its protocol ALG (CVE-2026-31431)"},
			{"module af_alg builtin", initcheck.Doubt, "module af_alg is not in /lib/modules/R/modules.builtin, but /proc/net/protocols has its protocol ALG (CVE-2026-31431)"}}},
		{"rxrpc there, only its protocol tells", func(f *initcheck.Facts) { f.Protocols = initcheck.NewSet("/proc/net/protocols", "RXRPC") },
			modules(module("rxrpc", loaded), module("algif_aead", loaded)), []initcheck.Finding{
				{"module rxrpc loaded", initcheck.Doubt, "module rxrpc is not in /proc/modules, but /proc/net/protocols has its protocol RXRPC (CVE-2026-31431)"},
				{"module algif_aead loaded", initcheck.Pass, "module algif_aead is not loaded"}}},

		{"/proc/modules unreadable", func(f *initcheck.Facts) { f.Loaded = unread("/proc/modules") }, both, []initcheck.Finding{
			{"module af_alg loaded", initcheck.Doubt, "cannot tell whether module af_alg is loaded: /proc/modules: permission denied"},
			{"module af_alg builtin", initcheck.Pass, "module af_alg is not built in"}}},
		{"/proc/modules unreadable, sysfs has it", func(f *initcheck.Facts) {
			f.Loaded, f.Present = unread("/proc/modules"), initcheck.NewSet("/sys/module", "af_alg")
		}, both, []initcheck.Finding{
			{"module af_alg loaded", initcheck.Doubt, "cannot tell whether module af_alg is loaded: /proc/modules: permission denied"},
			{"module af_alg builtin", initcheck.Doubt, "module af_alg is not in /lib/modules/R/modules.builtin, but /sys/module has it (CVE-2026-31431)"}}},
		{"modules.builtin unreadable", func(f *initcheck.Facts) { f.BuiltIn = unread("/lib/modules/R/modules.builtin") }, both, []initcheck.Finding{
			{"module af_alg loaded", initcheck.Pass, "module af_alg is not loaded"},
			{"module af_alg builtin", initcheck.Doubt, "cannot tell whether module af_alg is built into the kernel: /lib/modules/R/modules.builtin: permission denied"}}},
		{"modules.builtin unreadable, module loaded", func(f *initcheck.Facts) {
			f.BuiltIn, f.Loaded = unread("/lib/modules/R/modules.builtin"), initcheck.NewSet("/proc/modules", "af_alg")
		}, both, []initcheck.Finding{
			{"module af_alg loaded", initcheck.Refuse, "module af_alg is loaded (CVE-2026-31431)"},
			{"module af_alg builtin", initcheck.Doubt, "cannot tell whether module af_alg is built into the kernel: /lib/modules/R/modules.builtin: permission denied"}}},
		{"modules.builtin unreadable, no rule needs it", func(f *initcheck.Facts) { f.BuiltIn = unread("/lib/modules/R/modules.builtin") },
			modules(module("af_alg", loaded)), []initcheck.Finding{
				{"module af_alg loaded", initcheck.Pass, "module af_alg is not loaded"}}},
		{"extra sources unreadable", func(f *initcheck.Facts) {
			f.Present, f.Protocols = unread("/sys/module"), unread("/proc/net/protocols")
		}, both, []initcheck.Finding{
			{"module af_alg loaded", initcheck.Pass, "module af_alg is not loaded"},
			{"module af_alg builtin", initcheck.Pass, "module af_alg is not built in"}}},
		{"nothing known", func(f *initcheck.Facts) { *f = initcheck.Facts{} }, both, []initcheck.Finding{
			{"module af_alg loaded", initcheck.Doubt, "cannot tell whether module af_alg is loaded: its source was never read"},
			{"module af_alg builtin", initcheck.Doubt, "cannot tell whether module af_alg is built into the kernel: its source was never read"}}},

		{"policy that decides nothing", nil, policy.Policy{}, []initcheck.Finding{
			{"policy", initcheck.Doubt, "the policy decides nothing: it has neither a floor nor a module"}}},
		{"module without a condition", nil, modules(module("af_alg")), []initcheck.Finding{
			{"module af_alg", initcheck.Doubt, `the policy names module "af_alg" but no condition to refuse on`}}},
		{"condition unknown", nil, modules(module("af_alg", "present")), []initcheck.Finding{
			{"module af_alg present", initcheck.Doubt, `the policy refuses on "present", which this initcheck does not know`}}},
		{"one of several refuses", func(f *initcheck.Facts) { f.Loaded = initcheck.NewSet("/proc/modules", "rxrpc") },
			policy.Policy{Floor: "7.0.6", Modules: []policy.Module{module("esp4", loaded), module("rxrpc", loaded), module("esp6", loaded)}}, []initcheck.Finding{
				{"floor", initcheck.Pass, "kernel 7.2.12+deb14-cloud-amd64 is not below the floor 7.0.6"},
				{"module esp4 loaded", initcheck.Pass, "module esp4 is not loaded"},
				{"module rxrpc loaded", initcheck.Refuse, "module rxrpc is loaded (CVE-2026-31431)"},
				{"module esp6 loaded", initcheck.Pass, "module esp6 is not loaded"}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			facts := clean()
			if c.change != nil {
				c.change(&facts)
			}
			got := initcheck.Decide(facts, c.policy)
			if !reflect.DeepEqual(got.Findings, c.want) {
				t.Errorf("findings are\n%s\nwant\n%s", show(got.Findings), show(c.want))
			}
			wantPass := true
			for _, f := range c.want {
				wantPass = wantPass && f.Outcome == initcheck.Pass
			}
			if got.Pass != wantPass {
				t.Errorf("pass is %v, want %v", got.Pass, wantPass)
			}
		})
	}
}

// TestLessKnowledgeNeverPasses takes sources away from systems that refuse, and
// from one that passes the sources that its rules rest on.
func TestLessKnowledgeNeverPasses(t *testing.T) {
	p := policy.Policy{Floor: "7.0.6", Modules: []policy.Module{module("af_alg", loaded, builtin)}}
	if !initcheck.Decide(clean(), p).Pass {
		t.Fatal("the clean system does not pass")
	}
	take := map[string]func(*initcheck.Facts){
		"release":         func(f *initcheck.Facts) { f.Release = "" },
		"loaded modules":  func(f *initcheck.Facts) { f.Loaded = initcheck.Set{} },
		"builtin modules": func(f *initcheck.Facts) { f.BuiltIn = initcheck.Set{} },
	}
	for name, without := range take {
		f := clean()
		without(&f)
		if v := initcheck.Decide(f, p); v.Pass {
			t.Errorf("passes without the %s:\n%s", name, show(v.Findings))
		}
	}
}

func TestZeroVerdictRefuses(t *testing.T) {
	var v initcheck.Verdict
	if v.Pass || v.Add(initcheck.Finding{Outcome: initcheck.Pass}).Pass {
		t.Error("a verdict that was never made passes")
	}
}

// TestOverridden: a break-glass turns what rules refuse to pass, keeps their findings, and
// falls with the first fault behind it.
func TestOverridden(t *testing.T) {
	old := clean()
	old.Release = "6.1.0"
	refused := initcheck.Decide(old, floor("7.0.6"))
	v := refused.Overridden("ticket")
	if !v.Pass || v.Override != "ticket" || !reflect.DeepEqual(v.Findings, refused.Findings) || refused.Pass {
		t.Errorf("overridden: %+v, of %+v", v, refused)
	}
	if more := v.Add(initcheck.Finding{Rule: "r", Outcome: initcheck.Pass}); !more.Pass || more.Override != "ticket" {
		t.Errorf("with one more that passes: %+v", more)
	}
	if more := v.Add(initcheck.Finding{Rule: "report", Outcome: initcheck.Doubt}); more.Pass || more.Override != "" {
		t.Errorf("with a fault: %+v", more)
	}
	if v := refused.Overridden(""); v.Pass {
		t.Errorf("without a reason: %+v", v)
	}
	if v := initcheck.Decide(clean(), floor("7.0.6")).Overridden("ticket"); !v.Pass || v.Override != "" {
		t.Errorf("where nothing refuses: %+v", v)
	}
	if v := (initcheck.Verdict{}).Overridden("ticket"); v.Pass {
		t.Errorf("where nothing was decided: %+v", v)
	}
}

func TestInitcallsOf(t *testing.T) {
	p := modules(startedBy("af_alg_init"), policy.Module{Name: "rxrpc", RefuseIf: []policy.Condition{builtin}, Initcalls: []string{"af_rxrpc_init"}})
	f := clean()
	if got := f.InitcallsOf(p); len(got) != 0 {
		t.Errorf("with nothing built in: %q", got)
	}
	f.BuiltIn = initcheck.NewSet("modules.builtin", "af_alg")
	if got := f.InitcallsOf(p); !reflect.DeepEqual(got, []string{"af_alg_init"}) {
		t.Errorf("with af_alg built in: %q", got)
	}
}

func TestAddKeepsTheFirst(t *testing.T) {
	v := initcheck.Decide(clean(), floor("7.0.6"))
	a := v.Add(initcheck.Finding{Rule: "a", Outcome: initcheck.Doubt})
	b := v.Add(initcheck.Finding{Rule: "b", Outcome: initcheck.Pass})
	if !v.Pass || len(v.Findings) != 1 || a.Pass || a.Findings[1].Rule != "a" || !b.Pass {
		t.Errorf("after Add: %+v, %+v, %+v", v, a, b)
	}
}

func show(findings []initcheck.Finding) string {
	var b strings.Builder
	for _, f := range findings {
		b.WriteString("  " + string(f.Outcome) + "\t" + f.Rule + "\t" + f.Text + "\n")
	}
	return b.String()
}
