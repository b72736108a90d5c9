package initcheck_test

import (
	"strings"
	"testing"
	"time"

	"github.com/kerngate/kerngate/initcheck"
	"github.com/kerngate/kerngate/initcheck/advisory"
	"github.com/kerngate/kerngate/initcheck/kver"
	"github.com/kerngate/kerngate/initcheck/policy"
)

const (
	esp   = "CVE-2026-43284"
	rxrpc = "CVE-2026-43500"
	frag  = "CVE-2026-46300"
)

// listing is a policy of the floor 7.0.6 and three advisories, of which the last has no
// module to close.
func listing(change func(*policy.Policy)) policy.Policy {
	row := func(version string) []advisory.Row {
		return []advisory.Row{{Distribution: "debian", Stream: "6.12", State: advisory.RowFixed, Version: version, Source: "DSA"}}
	}
	releases := func(patch7 int) []kver.Release {
		return []kver.Release{{Major: 7, Patch: patch7}, {Major: 7, Minor: 1}}
	}
	since := []kver.Release{{Major: 4, Minor: 11}}
	p := policy.Policy{Schema: policy.Schema, Profile: "test", Floor: "7.0.6", Advisories: []advisory.Advisory{
		{CVE: esp, Date: "2026-08-21", Source: "CNA", Modules: []string{"esp4", "esp6"}, Introduced: since, Fixed: releases(5), Rows: row("6.12.86-1")},
		{CVE: rxrpc, Date: "2026-08-21", Source: "CNA", Modules: []string{"rxrpc"}, Introduced: since, Fixed: releases(6), Rows: row("6.12.86-1")},
		{CVE: frag, Date: "2026-08-21", Source: "CNA", Introduced: since, Fixed: releases(10), Rows: row("6.12.90-1")},
	}}
	if change != nil {
		change(&p)
	}
	return p
}

func accepting(p *policy.Policy) { p.AcceptFixed = true }

// running is a clean system with a kernel of Debian's, or of nobody's.
func running(release, version string) initcheck.Facts {
	f := clean()
	f.Release, f.Version = release, "#1 SMP"
	if version != "" {
		f.Version = "#1 SMP PREEMPT_DYNAMIC Debian " + version + " (2026-11-10)"
	}
	f.Kernel = initcheck.KernelFacts{
		ID: "debian", Now: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC),
		Denied:    initcheck.NewSet("/proc/cmdline"),
		Available: initcheck.NewSet("/lib/modules/R/modules.dep", "esp4", "esp6", "rxrpc"),
	}
	return f
}

// kernelCase is a kernel, a policy, and the outcome of every rule.
type kernelCase struct {
	name   string
	facts  initcheck.Facts
	policy policy.Policy
	want   string // rule=outcome of each rule, in order
	texts  []string
	change []string
}

func with(f initcheck.Facts, change func(*initcheck.Facts)) initcheck.Facts {
	change(&f)
	return f
}

var (
	debian90 = running("6.12.90+deb13-amd64", "6.12.90-1")
	debian86 = running("6.12.86+deb13-amd64", "6.12.86-1")
	stock706 = running("7.0.6", "")
	acme     = running("6.12.90-acme", "")
	denied   = with(stock706, func(f *initcheck.Facts) { f.Kernel.Denied = initcheck.NewSet("/proc/cmdline", "esp4", "esp6", "rxrpc") })
)

var kernelCases = []kernelCase{
	{"above the floor, all fixed", running("7.2.12+deb14-amd64", "7.2.12-1"), listing(nil), "floor=pass 43284=pass 43500=pass 46300=pass", nil, nil},
	{"above the floor, one open", stock706, listing(nil), "floor=pass 43284=pass 43500=pass 46300=refuse",
		[]string{"CVE-2026-46300 is vulnerable: upstream 7.0.6: 7.0.10 has the fix [CNA]"}, []string{"upstream 7.0.10 or later of its branch, or 7.1"}},
	{"below the floor, all fixed, not accepted", debian90, listing(nil), "floor=refuse 43284=pass 43500=pass 46300=pass",
		[]string{"kernel 6.12.90+deb13-amd64 is below the floor 7.0.6"}, []string{"every listed CVE is closed in this one, and it would pass with accept_fixed = true in the profile"}},
	{"below the floor, all fixed, accepted", debian90, listing(accepting), "floor=pass 43284=pass 43500=pass 46300=pass",
		[]string{"kernel 6.12.90+deb13-amd64 is below the floor 7.0.6, and accepted because every listed CVE is closed in it",
			"CVE-2026-46300 is fixed: debian 6.12.90-1 (6.12) is at or above 6.12.90-1 [DSA]"}, nil},
	{"below the floor, one open, accepted", debian86, listing(accepting), "floor=refuse 43284=pass 43500=pass 46300=refuse",
		[]string{"not closed in it: CVE-2026-46300 (vulnerable)"}, []string{"boot a kernel at or above 7.0.6, or one with every listed CVE closed", "debian 6.12.90-1 or later of 6.12"}},
	{"below the floor, nothing listed", debian90, listing(func(p *policy.Policy) { p.AcceptFixed, p.Advisories = true, nil }), "floor=refuse", nil, []string{"boot a kernel at or above 7.0.6"}},
	{"no floor", debian90, listing(func(p *policy.Policy) { p.Floor = "" }), "43284=pass 43500=pass 46300=pass", nil, nil},
	{"floor senseless", debian90, listing(func(p *policy.Policy) { p.Floor, p.AcceptFixed = "new", true }), "floor=doubt 43284=pass 43500=pass 46300=pass", nil, []string{"run kerngate apply again"}},

	{"unknown", acme, listing(accepting), "floor=refuse 43284=doubt 43500=doubt 46300=doubt", []string{"not closed in it: CVE-2026-43284 (unknown)"}, []string{`unknown = "pass" in the profile`}},
	{"unknown may pass, but not below the floor", acme, listing(func(p *policy.Policy) { p.AcceptFixed, p.Unknown = true, policy.Pass }), "floor=refuse 43284=pass 43500=pass 46300=pass", nil, nil},
	{"unknown may pass above the floor", running("7.0.7-acme", ""), listing(func(p *policy.Policy) { p.Unknown = policy.Pass }), "floor=pass 43284=pass 43500=pass 46300=pass", []string{"CVE-2026-46300 is unknown"}, nil},
	{"unknown said to refuse", running("7.0.7-acme", ""), listing(func(p *policy.Policy) { p.Unknown = policy.Refuse }), "floor=pass 43284=pass 43500=pass 46300=doubt", nil, nil},
	{"vulnerable does not pass for unknown", stock706, listing(func(p *policy.Policy) { p.Unknown = policy.Pass }), "floor=pass 43284=pass 43500=pass 46300=refuse", nil, nil},
	{"release unknown", running("", ""), listing(accepting), "floor=doubt 43284=doubt 43500=doubt 46300=doubt", nil, nil},
	{"live patch on what is open", with(debian86, func(f *initcheck.Facts) { f.Kernel.LivePatched = true }), listing(accepting), "floor=refuse 43284=pass 43500=pass 46300=doubt", []string{"a live patch is loaded"}, nil},
	{"signature of Ubuntu", with(running("6.8.0-124-generic", ""), func(f *initcheck.Facts) {
		f.Kernel.ID, f.Kernel.Signature = "ubuntu", "Ubuntu 6.8.0-124.124-generic 6.8.12"
	}), listing(nil), "floor=refuse 43284=doubt 43500=doubt 46300=doubt", []string{"ubuntu 6.8.0-124.124 (linux 6.8)"}, nil},

	{"mitigated, not accepted", with(denied, func(f *initcheck.Facts) { f.Release = "7.0.4" }), listing(accepting), "floor=refuse 43284=refuse 43500=refuse 46300=refuse",
		[]string{"CVE-2026-43284 is mitigated: esp4: module_blacklist= keeps it out; esp6: module_blacklist= keeps it out [CNA]"}, []string{"or accept_mitigated = true in the profile"}},
	{"mitigated, accepted", with(denied, func(f *initcheck.Facts) { f.Release = "7.0.4" }),
		listing(func(p *policy.Policy) { p.AcceptFixed, p.AcceptMitigated, p.Advisories = true, true, p.Advisories[:2] }), "floor=pass 43284=pass 43500=pass", nil, nil},
	{"mitigated because absent", with(running("7.0.4", ""), func(f *initcheck.Facts) { f.Kernel.Available = initcheck.NewSet("/lib/modules/R/modules.dep", "ext4") }),
		listing(func(p *policy.Policy) { p.AcceptMitigated, p.Advisories = true, p.Advisories[:2] }), "floor=refuse 43284=pass 43500=pass", []string{"rxrpc: the kernel does not have it"}, nil},
	{"modules.dep unreadable", with(running("7.0.4", ""), func(f *initcheck.Facts) { f.Kernel.Available = unread("/lib/modules/R/modules.dep") }),
		listing(func(p *policy.Policy) { p.AcceptMitigated, p.Advisories = true, p.Advisories[:2] }), "floor=refuse 43284=refuse 43500=refuse", nil, nil},
	{"denied and yet loaded", with(denied, func(f *initcheck.Facts) {
		f.Release, f.Loaded = "7.0.4", initcheck.NewSet("/proc/modules", "esp6", "rxrpc")
	}), listing(func(p *policy.Policy) { p.AcceptMitigated, p.Advisories = true, p.Advisories[:2] }), "floor=refuse 43284=refuse 43500=refuse", nil, nil},
	{"denied and yet built in", with(denied, func(f *initcheck.Facts) {
		f.Release, f.BuiltIn = "7.0.4", initcheck.NewSet("modules.builtin", "esp4", "rxrpc")
	}), listing(func(p *policy.Policy) { p.AcceptMitigated, p.Advisories = true, p.Advisories[:2] }), "floor=refuse 43284=refuse 43500=refuse", nil, nil},
	{"built in and kept out", with(running("7.0.4", ""), espKeptOut), listing(espStarted), "floor=refuse 43284=pass 43500=refuse module esp4 builtin=pass module esp6 builtin=pass",
		[]string{"esp4: built in, and initcall_blacklist= keeps it from starting; esp6: built in"}, nil},
	{"built in, and one kept out", with(with(running("7.0.4", ""), espKeptOut), func(f *initcheck.Facts) { f.Initcalls.Skipped = initcheck.NewSet("/proc/cmdline", "esp4_init") }),
		listing(espStarted), "floor=refuse 43284=refuse 43500=refuse module esp4 builtin=pass module esp6 builtin=refuse", []string{"does not have esp6_init"}, []string{"boot with initcall_blacklist=esp6_init, or a kernel that does not have esp6 built in"}},
	{"built in and kept out, and loaded", with(with(running("7.0.4", ""), espKeptOut), func(f *initcheck.Facts) { f.Loaded = initcheck.NewSet("/proc/modules", "esp4") }),
		listing(espStarted), "floor=refuse 43284=refuse 43500=refuse module esp4 builtin=pass module esp6 builtin=pass", nil, nil},
	{"denied, and its protocol is there", with(denied, func(f *initcheck.Facts) {
		f.Release, f.Protocols = "7.0.4", initcheck.NewSet("/proc/net/protocols", "RXRPC")
	}), listing(func(p *policy.Policy) { p.AcceptMitigated, p.Advisories = true, p.Advisories[:2] }), "floor=refuse 43284=pass 43500=refuse", nil, nil},
	{"denied, /proc/modules unreadable", with(denied, func(f *initcheck.Facts) { f.Release, f.Loaded = "7.0.4", unread("/proc/modules") }),
		listing(func(p *policy.Policy) { p.AcceptMitigated, p.Advisories = true, p.Advisories[:1] }), "floor=refuse 43284=refuse", nil, nil},
	{"denied, modules.builtin unreadable", with(denied, func(f *initcheck.Facts) { f.Release, f.BuiltIn = "7.0.4", unread("modules.builtin") }),
		listing(func(p *policy.Policy) { p.AcceptMitigated, p.Advisories = true, p.Advisories[:1] }), "floor=refuse 43284=refuse", nil, nil},

	{"stale", debian90, listing(func(p *policy.Policy) { p.AcceptFixed, p.MaxAge = true, 30 }), "floor=refuse 43284=doubt 43500=doubt 46300=doubt", []string{"93 days ago, and holds for 30"}, []string{"a newer advisory"}},
	{"stale, warning", debian90, listing(func(p *policy.Policy) { p.AcceptFixed, p.MaxAge, p.Stale = true, 30, advisory.StaleWarn }), "floor=pass 43284=pass 43500=pass 46300=pass", []string{"; warning: the advisory is of 2026-08-21, 93 days ago"}, nil},
	{"young enough", debian90, listing(func(p *policy.Policy) { p.AcceptFixed, p.MaxAge = true, 93 }), "floor=pass 43284=pass 43500=pass 46300=pass", nil, nil},
}

// espKeptOut has esp4 and esp6 built in, and their starts blocked.
func espKeptOut(f *initcheck.Facts) {
	f.BuiltIn = initcheck.NewSet("modules.builtin", "esp4", "esp6")
	names := []string{"esp4_init", "esp6_init"}
	f.Initcalls = initcheck.Initcalls{Skipped: initcheck.NewSet("/proc/cmdline", names...), Known: initcheck.NewSet("/proc/kallsyms", names...)}
}

// espStarted names in a policy the functions that start them.
func espStarted(p *policy.Policy) {
	p.AcceptMitigated, p.Advisories = true, p.Advisories[:2]
	for _, name := range []string{"esp4", "esp6"} {
		p.Modules = append(p.Modules, policy.Module{Name: name, RefuseIf: []policy.Condition{builtin}, Initcalls: []string{name + "_init"}})
	}
}

func TestKernelRules(t *testing.T) {
	for _, c := range kernelCases {
		t.Run(c.name, func(t *testing.T) {
			explained := initcheck.Explain(c.facts, c.policy)
			var got, texts, changes []string
			for _, e := range explained {
				got = append(got, strings.TrimPrefix(e.Rule, "advisory CVE-2026-")+"="+string(e.Outcome))
				texts, changes = append(texts, e.Text), append(changes, e.Change)
				if (e.Outcome == initcheck.Pass) != (e.Change == "") && e.Text != "" {
					t.Errorf("%s is %s, and what would change it is %q", e.Rule, e.Outcome, e.Change)
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("outcomes are %s, want %s\n%s", strings.Join(got, " "), c.want, strings.Join(texts, "\n"))
			}
			all := strings.Join(texts, "\n")
			for _, want := range c.texts {
				if !strings.Contains(all, want) {
					t.Errorf("no text has %q:\n%s", want, all)
				}
			}
			all = strings.Join(changes, "\n")
			for _, want := range c.change {
				if !strings.Contains(all, want) {
					t.Errorf("no change has %q:\n%s", want, all)
				}
			}
			v := initcheck.Decide(c.facts, c.policy)
			if refused := strings.Contains(c.want, "=refuse") || strings.Contains(c.want, "=doubt"); v.Pass == refused || len(v.Findings) != len(explained) {
				t.Errorf("verdict is %+v", v)
			}
		})
	}
}

func TestExplainModules(t *testing.T) {
	f := clean()
	f.Loaded = initcheck.NewSet("/proc/modules", "rxrpc")
	f.BuiltIn = initcheck.NewSet("modules.builtin", "esp4")
	p := modules(module("rxrpc", loaded, builtin), module("esp4", loaded, builtin), module("af_alg"))
	var got []string
	for _, e := range initcheck.Explain(f, p) {
		got = append(got, e.Rule+": "+e.Change)
	}
	want := []string{
		"module rxrpc loaded: unload rxrpc, or boot with module_blacklist=rxrpc; then: systemctl restart initcheck.service",
		"module rxrpc builtin: ",
		"module esp4 loaded: ",
		"module esp4 builtin: boot a kernel that does not have esp4 built in",
		"module af_alg: run kerngate apply again, with the kerngate of this checker",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("Explain gives\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if v := initcheck.Sum(nil); v.Pass {
		t.Error("the sum of nothing passes")
	}
}
