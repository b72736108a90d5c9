package initcheck

import (
	"fmt"
	"strings"

	"github.com/kerngate/kerngate/initcheck/advisory"
	"github.com/kerngate/kerngate/initcheck/kver"
	"github.com/kerngate/kerngate/initcheck/policy"
)

// kernel decides what is about the running kernel: its release, and the fixes it has.
func (f Facts) kernel(p policy.Policy) []Explanation {
	table := advisory.Table{Advisories: p.Advisories, MaxAge: p.MaxAge, Stale: p.Stale}
	found := table.Decide(f.running(), f.closed(p), f.Kernel.Now)
	var out []Explanation
	if p.Floor != "" {
		out = append(out, f.floor(p, found))
	}
	for i, a := range found {
		out = append(out, explainAdvisory(p, p.Advisories[i], a))
	}
	return out
}

// running is the kernel as package advisory knows kernels.
func (f Facts) running() advisory.Kernel {
	return advisory.Kernel{
		Release: f.Release, Version: f.Version, Signature: f.Kernel.Signature,
		ID: f.Kernel.ID, VersionID: f.Kernel.VersionID, Package: f.Kernel.Package, LivePatched: f.Kernel.LivePatched,
	}
}

// closed tells which modules of the advisories nothing can load, and why.
func (f Facts) closed(p policy.Policy) advisory.Closed {
	known := map[string]policy.Module{}
	for _, m := range p.Modules {
		known[normal(m.Name)] = m
	}
	closed := advisory.Closed{}
	for _, a := range p.Advisories {
		for _, name := range a.Modules {
			closed[name] = f.closes(name, known[normal(name)])
		}
	}
	return closed
}

// closes is empty where the module is there, can be loaded, or is not known not to be. A
// block in modprobe.d is not enough: who is root passes it by, and nothing here reads
// modprobe.d as modprobe does. What the policy knows of the module is zero where it does not
// name it.
func (f Facts) closes(module string, known policy.Module) string {
	if f.BuiltIn.Has(module) && f.Loaded.Read && !f.Loaded.Has(module) {
		if kept, _ := f.keptOut(known); kept {
			return "built in, and initcall_blacklist= keeps it from starting"
		}
	}
	there := f.Loaded.Has(module) || f.BuiltIn.Has(module) || f.trace(module) != ""
	switch {
	case there || !f.Loaded.Read || !f.BuiltIn.Read:
		return ""
	case f.Kernel.Denied.Has(module):
		return "module_blacklist= keeps it out"
	case f.Kernel.Available.Read && !f.Kernel.Available.Has(module):
		return "the kernel does not have it"
	}
	return ""
}

// floor decides by the release alone, but for kernels that have every fix where the
// policy accepts those.
func (f Facts) floor(p policy.Policy, found []advisory.Finding) Explanation {
	const rule = "floor"
	floor, err := kver.ParseFloor(p.Floor)
	if err != nil {
		return Explanation{doubt(rule, "cannot read the floor of the policy: %v", err), changePolicy}
	}
	running, err := kver.ParseRunning(f.Release, f.Version)
	if err != nil {
		return Explanation{doubt(rule, "cannot tell which kernel runs: %v", err), "boot a kernel at or above " + floor.String()}
	}
	name := f.Release
	if plain, err := kver.Parse(f.Release); err == nil && plain != running {
		name += ", which is " + running.String() + ","
	}
	if kver.Compare(running, floor) >= 0 {
		return Explanation{Finding{rule, Pass, fmt.Sprintf("kernel %s is not below the floor %s", name, floor)}, ""}
	}
	below := fmt.Sprintf("kernel %s is below the floor %s", name, floor)
	change := "boot a kernel at or above " + floor.String()
	open := openFor(p, found)
	switch {
	case len(found) == 0 || !p.AcceptFixed && len(open) > 0:
		return Explanation{Finding{rule, Refuse, below}, change}
	case !p.AcceptFixed:
		return Explanation{Finding{rule, Refuse, below}, change + "; every listed CVE is closed in this one, and it would pass with accept_fixed = true in the profile"}
	case len(open) > 0:
		return Explanation{Finding{rule, Refuse, below + ", and not closed in it: " + strings.Join(open, ", ")}, change + ", or one with every listed CVE closed"}
	}
	return Explanation{Finding{rule, Pass, below + ", and accepted because every listed CVE is closed in it"}, ""}
}

// openFor lists the CVEs that keep a kernel below the floor from being accepted. Unknown
// is never enough there, whatever the policy says of it above the floor.
func openFor(p policy.Policy, found []advisory.Finding) []string {
	var open []string
	for _, a := range found {
		if a.Status != advisory.Fixed && (a.Status != advisory.Mitigated || !p.AcceptMitigated) {
			open = append(open, a.CVE+" ("+string(a.Status)+")")
		}
	}
	return open
}

// explainAdvisory says what the policy makes of the answer for one CVE.
func explainAdvisory(p policy.Policy, a advisory.Advisory, found advisory.Finding) Explanation {
	text := fmt.Sprintf("%s is %s: %s", found.CVE, found.Status, found.Rule)
	if found.Source != "" {
		text += " [" + found.Source + "]"
	}
	if found.Warning != "" {
		text += "; warning: " + found.Warning
	}
	outcome, change := Refuse, found.Needs
	switch found.Status {
	case advisory.Fixed:
		outcome = Pass
	case advisory.Mitigated:
		if p.AcceptMitigated {
			outcome = Pass
		}
		change = joinedBy("; or ", change, "accept_mitigated = true in the profile")
	case advisory.Unknown:
		outcome = Doubt
		if p.Unknown == policy.Pass {
			outcome = Pass
		}
		change = joinedBy("; or ", change, `unknown = "pass" in the profile`)
	case advisory.Vulnerable:
		if len(a.Modules) > 0 {
			change = joinedBy("; or ", change, "module_blacklist="+strings.Join(a.Modules, ",")+" with accept_mitigated = true in the profile")
		}
	}
	if outcome == Pass {
		change = ""
	}
	return Explanation{Finding{"advisory " + found.CVE, outcome, text}, change}
}

// joinedBy leaves empty texts out.
func joinedBy(separator string, texts ...string) string {
	var said []string
	for _, t := range texts {
		if t != "" {
			said = append(said, t)
		}
	}
	return strings.Join(said, separator)
}
