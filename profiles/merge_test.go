package profiles

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/initcheck/policy"
)

// loadWith loads top extending base, both without their heads.
func loadWith(t *testing.T, base, top string) Profile {
	t.Helper()
	t.Chdir(t.TempDir())
	writeFile(t, "base.toml", head+base)
	writeFile(t, "top.toml", "schema = 1\nname = \"top\"\ndescription = \"d\"\nextends = [\"base.toml\"]\n"+top)
	p, err := Load("top.toml")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestWeaken wants an extending file to add and never to take away.
func TestWeaken(t *testing.T) {
	both := []policy.Condition{policy.Loaded, policy.BuiltIn}
	loaded := []policy.Condition{policy.Loaded}
	module := func(lines string) string { return "[[module]]\nname = \"esp4\"\nreason = \"r\"\n" + lines }
	gate := func(line string) string { return "[gate]\nunits = [\"a.service\"]\n" + line }
	cases := map[string]struct {
		base, top string
		floor     string
		block     []Block
		refuseIf  []policy.Condition
		recheck   string
	}{
		"lower floor":             {base: "kernel.floor = \"7.0.6\"", top: "kernel.floor = \"6.12\"", floor: "7.0.6", recheck: "start"},
		"candidate of the floor":  {base: "kernel.floor = \"7.1\"", top: "kernel.floor = \"7.1-rc7\"", floor: "7.1", recheck: "start"},
		"no floor":                {base: "kernel.floor = \"7.0.6\"", top: "[kernel]", floor: "7.0.6", recheck: "start"},
		"higher floor":            {base: "kernel.floor = \"7.0.6\"", top: "kernel.floor = \"7.0.10\"", floor: "7.0.10", recheck: "start"},
		"first floor":             {base: "", top: "kernel.floor = \"7.0.10\"", floor: "7.0.10", recheck: "start"},
		"block taken away":        {base: module(""), top: module("block = []"), block: allBlocks(), refuseIf: both, recheck: "start"},
		"refuse_if taken away":    {base: module(""), top: module("refuse_if = []"), block: allBlocks(), refuseIf: both, recheck: "start"},
		"refuse_if made narrower": {base: module(""), top: module("refuse_if = [\"loaded\"]"), block: allBlocks(), refuseIf: both, recheck: "start"},
		"refuse_if made wider":    {base: module("refuse_if = [\"loaded\"]"), top: module("block = []\nrefuse_if = [\"builtin\"]"), block: allBlocks(), refuseIf: both, recheck: "start"},
		"block added":             {base: module("block = []\nrefuse_if = [\"loaded\"]"), top: module("refuse_if = []"), block: allBlocks(), refuseIf: loaded, recheck: "start"},
		"by a glob":               {base: module(""), top: strings.ReplaceAll(module("block = []"), "esp4", "esp?"), block: allBlocks(), refuseIf: both, recheck: "start"},
		"recheck boot":            {base: gate("recheck = \"start\""), top: gate("recheck = \"boot\""), recheck: "start"},
		"recheck not said below":  {base: gate(""), top: gate("recheck = \"boot\""), recheck: "boot"},
		"recheck not said above":  {base: gate("recheck = \"boot\""), top: gate(""), recheck: "boot"},
		"recheck start":           {base: gate("recheck = \"boot\""), top: gate("recheck = \"start\""), recheck: "start"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p := loadWith(t, c.base, c.top)
			if p.Name != "top" || p.Kernel.Floor != c.floor || p.Gate.Recheck != c.recheck {
				t.Errorf("%s has floor %q and recheck %q, want top, %q and %q", p.Name, p.Kernel.Floor, p.Gate.Recheck, c.floor, c.recheck)
			}
			if c.block == nil {
				return
			}
			if m := p.Modules[0]; m.Name != "esp4" || !slices.Equal(m.Block, c.block) || !slices.Equal(m.RefuseIf, c.refuseIf) {
				t.Errorf("module %s has block %q and refuse_if %q, want esp4, %q and %q", m.Name, m.Block, m.RefuseIf, c.block, c.refuseIf)
			}
		})
	}
}

// TestMergeRemoveAndAccept wants the module removed if any file says so, and every side
// effect that any file accepts.
func TestMergeRemoveAndAccept(t *testing.T) {
	rds := "[[module]]\nname = \"rds\"\nreason = \"r\"\n"
	for name, c := range map[string]struct {
		base, top string
		remove    bool
		accept    []Accept
	}{
		"neither": {rds, rds, false, []Accept{}},
		"below":   {"accept = [\"rds\", \"ipsec\"]\n" + rds + "remove = true", rds + "remove = false", true, []Accept{AcceptIPsec, AcceptRDS}},
		"above":   {"accept = [\"ipsec\"]\n" + rds, "accept = [\"external-cmdline\", \"ipsec\"]\n" + rds + "remove = true", true, []Accept{AcceptExternalCmdline, AcceptIPsec}},
	} {
		t.Run(name, func(t *testing.T) {
			p := loadWith(t, c.base, c.top)
			if p.Modules[0].Remove != c.remove || !slices.Equal(p.Accept, c.accept) || p.Accept == nil {
				t.Errorf("remove is %v and accept %v, want %v and %v", p.Modules[0].Remove, p.Accept, c.remove, c.accept)
			}
		})
	}
}

// TestRemovedOnly has a module that is neither blocked nor watched, and is gone.
func TestRemovedOnly(t *testing.T) {
	p, err := LoadBytes("p", []byte(head+"[[module]]\nname = \"rds\"\nreason = \"r\"\nblock = []\nrefuse_if = []\nremove = true"))
	if err != nil {
		t.Fatal(err)
	}
	if m := p.Modules[0]; !m.Remove || len(m.Block) != 0 || len(m.RefuseIf) != 0 {
		t.Errorf("got %+v, want only remove", m)
	}
}

// TestAcceptsSorted is what the order of Profile.Accept rests on.
func TestAcceptsSorted(t *testing.T) {
	if all := Accepts(); len(all) < 11 || !slices.IsSorted(all) || len(slices.Compact(all)) != len(Accepts()) {
		t.Errorf("Accepts() is %v, want them sorted, each once", Accepts())
	}
}

// TestMergeOrder has a diamond: units and reasons come in first-seen order, the extended
// files' first, each once.
func TestMergeOrder(t *testing.T) {
	t.Chdir(t.TempDir())
	part := func(extends, reason, units string) string {
		return head + "extends = [" + extends + "]\n[[module]]\nname = \"rds\"\nreason = \"" + reason + "\"\n[gate]\nunits = [" + units + "]\n"
	}
	writeFile(t, "root.toml", part("", "CVE-2026-0001, policy", `"z.service"`))
	writeFile(t, "left.toml", part(`"root.toml"`, "CVE-2026-0002", `"b.service", "z.service"`))
	writeFile(t, "right.toml", part(`"root.toml"`, "policy, CVE-2026-0003", `"a.service", "b.service"`))
	writeFile(t, "top.toml", part(`"left.toml", "right.toml"`, "CVE-2026-0001", `"y.socket", "a.service"`))
	p, err := Load("top.toml")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"z.service", "b.service", "a.service", "y.socket"}; !slices.Equal(p.Gate.Units, want) {
		t.Errorf("units are %v, want %v", p.Gate.Units, want)
	}
	if got, want := p.Modules[0].Reason, "CVE-2026-0001, policy, CVE-2026-0002, CVE-2026-0003"; len(p.Modules) != 1 || got != want {
		t.Errorf("reason is %q, want %q", got, want)
	}
	if got, want := p.CVEs(), []string{"CVE-2026-0001", "CVE-2026-0002", "CVE-2026-0003"}; !slices.Equal(got, want) {
		t.Errorf("CVEs are %v, want %v", got, want)
	}
}

// TestMergedUnits has too many units only once two files are merged.
func TestMergedUnits(t *testing.T) {
	t.Chdir(t.TempDir())
	list := func(prefix string) string {
		var b strings.Builder
		for i := range maxUnits/2 + 1 {
			fmt.Fprintf(&b, "%q,", fmt.Sprint(prefix, i, ".service"))
		}
		return "[gate]\nunits = [" + b.String() + "]"
	}
	writeFile(t, "base.toml", head+list("b"))
	writeFile(t, "top.toml", head+"extends = [\"base.toml\"]\n"+list("t"))
	_, err := Load("top.toml")
	if want := "top.toml:5: gate.units: are 514 with those of extends, want at most 512"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestPolicyFits wants the largest policy that the limits allow within policy.Limit: every
// file of a chain giving a reason of full length for every module.
func TestPolicyFits(t *testing.T) {
	const row = 200 // the longest module name, keys and punctuation
	if size := len(KnownModules()) * (maxFiles*(maxText+len(", ")) + row); size > policy.Limit {
		t.Errorf("a policy can have %d bytes, want at most %d", size, policy.Limit)
	}
}

func TestDigest(t *testing.T) {
	t.Chdir(t.TempDir())
	base := head + "[[module]]\nname = \"esp?\"\nreason = \"r\"\n[gate]\nunits = [\"a.service\", \"b.service\"]\n"
	digest := func(text string) string {
		writeFile(t, "p.toml", text)
		p, err := Load("p.toml")
		if err != nil {
			t.Fatal(err)
		}
		return p.Digest()
	}
	want := digest(base)
	if !strings.HasPrefix(want, "sha256:") || len(want) != len("sha256:")+64 {
		t.Errorf("digest is %q, want sha256: and 64 digits", want)
	}
	fromBytes, err := LoadBytes("elsewhere", []byte(base))
	if err != nil {
		t.Fatal(err)
	}
	if got := fromBytes.Digest(); got != want {
		t.Errorf("from memory: %s, want %s", got, want)
	}
	for name, c := range map[string]struct {
		old, new string
		same     bool
	}{
		"comment":      {"[gate]", "# text\n[gate]", true},
		"unit order":   {`"a.service", "b.service"`, `"b.service", "a.service"`, true},
		"defaults":     {"[gate]", "block = [\"initcall\", \"initramfs\", \"modprobe\", \"cmdline\"]\nremove = false\nrefuse_if = [\"builtin\", \"loaded\"]\n[gate]\nrecheck = \"start\"", true},
		"glob spelled": {"[[module]]\nname = \"esp?\"\n", "[[module]]\nname = \"esp4\"\nreason = \"r\"\n[[module]]\nname = \"esp6\"\n", true},
		"name":         {`"p"`, `"q"`, false},
		"floor":        {"[gate]", "[kernel]\nfloor = \"7.0.6\"\n[gate]", false},
		"reason":       {`"r"`, `"s"`, false},
		"watched only": {"[gate]", "block = []\n[gate]", false},
		"one block":    {"[gate]", "block = [\"modprobe\"]\n[gate]", false},
		"remove":       {"[gate]", "remove = true\n[gate]", false},
		"accept":       {"[[module]]", "accept = [\"ipsec\"]\n[[module]]", true},
		"accept none":  {"[[module]]", "accept = []\n[[module]]", true},
		"refuse_if":    {"[gate]", "refuse_if = [\"loaded\"]\n[gate]", false},
		"one unit":     {`, "b.service"`, "", false},
		"recheck":      {"[gate]", "[gate]\nrecheck = \"boot\"", false},
		"gate said":    {"[gate]", "[gate]\nharden = true\nbreach = \"stop\"\non_refuse = \"block\"\nboot_assessment = false\noverride = false", true},
		"harden":       {"[gate]", "[gate]\nharden = false", false},
		"breach":       {"[gate]", "[gate]\nbreach = \"report\"", false},
		"on_refuse":    {"[gate]", "[gate]\non_refuse = \"reboot\"", false},
		"assessment":   {"[gate]", "[gate]\nboot_assessment = true", false},
		"override":     {"[gate]", "[gate]\noverride = true", false},
	} {
		text := strings.Replace(base, c.old, c.new, 1)
		if text == base {
			t.Fatalf("%s: the case changes nothing", name)
		}
		if got := digest(text); (got == want) != c.same {
			t.Errorf("%s: digest %s against %s, want the same: %v", name, got, want, c.same)
		}
	}
}
