package profiles

import (
	"cmp"
	"slices"
)

// Gate says which units the checker holds back, and what else it does.
type Gate struct {
	// Units are names of services and sockets, of templates ("vllm@.service") and of
	// prefixes ("vllm-.service"), in first-seen order. Empty: the profile, and all
	// that it extends, has no [gate]. Such a profile is a part for others.
	Units []string `json:"units"`
	// Except are names and globs of units that look like inference servers and may start
	// whatever the gate says, sorted. They change nothing that is written.
	Except []string `json:"except"`
	// Recheck is RecheckStart or RecheckBoot, also where Units is empty.
	Recheck string `json:"recheck"`
	// Harden takes from the units what leads to the modules: address families.
	Harden bool `json:"harden"`
	// Breach says what happens when a module of the profile is loaded while units run.
	Breach Breach `json:"breach"`
	// OnRefuse says what else becomes of a machine whose gate refuses.
	OnRefuse OnRefuse `json:"on_refuse"`
	// BootAssessment keeps a boot entry whose gate refuses from being marked as good.
	BootAssessment bool `json:"boot_assessment"`
	// Override has the checker heed initcheck.override=REASON on the kernel command line.
	Override bool `json:"override"`
}

// When the checker decides.
const (
	RecheckBoot  = "boot"  // once, at boot
	RecheckStart = "start" // at boot, and again at each start of a unit
)

// Breach is what happens when a module that the checker refuses on is loaded after boot.
type Breach string

// What a breach does; the first is the default.
const (
	BreachStop   Breach = "stop"   // the gated units stop
	BreachReport Breach = "report" // it is said, and they go on
	BreachIgnore Breach = "ignore" // nobody watches
)

// OnRefuse is what becomes of the machine when the gate refuses.
type OnRefuse string

// What a refusal does; the first is the default. See FailureAction= in systemd.unit(5).
const (
	OnRefuseBlock    OnRefuse = "block"    // the gated units stay down
	OnRefuseReboot   OnRefuse = "reboot"   // and the machine reboots
	OnRefusePowerOff OnRefuse = "poweroff" // and the machine is switched off
)

// gateFields are the keys of [gate].
var gateFields = []field{
	{key: "units", kind: kindStrings, check: checkUnit, max: maxUnits, min: 1,
		empty: "name a unit, or leave [gate] out of a profile that others extend"},
	{key: "except", kind: kindStrings, check: checkExcept, max: maxUnits},
	{key: "recheck", kind: kindString, check: oneOf(RecheckStart, RecheckBoot)},
	{key: "harden", kind: kindBoolean},
	{key: "breach", kind: kindString, check: oneOf(string(BreachStop), string(BreachReport), string(BreachIgnore))},
	{key: "on_refuse", kind: kindString, check: oneOf(string(OnRefuseBlock), string(OnRefuseReboot), string(OnRefusePowerOff))},
	{key: "boot_assessment", kind: kindBoolean},
	{key: "override", kind: kindBoolean},
}

// gatePart is [gate] as one file says it. Words that are not said are empty.
type gatePart struct {
	Gate
	line                     int
	excepts                  []mention
	lacksUnits               bool // there is [gate], and the key is not in it
	saysHarden, saysOverride bool
}

// gateOf takes over [gate]. What is of a wrong type reads as absent.
func gateOf(values map[string]any, at *node) gatePart {
	g := gatePart{line: at.line, lacksUnits: values != nil && values["units"] == nil}
	g.Units = stringsOf(values["units"])
	g.excepts = extendsOf(values["except"], at.at("except"))
	g.Recheck = stringOf(values["recheck"])
	g.Harden, g.saysHarden = values["harden"].(bool)
	g.Breach = Breach(stringOf(values["breach"]))
	g.OnRefuse = OnRefuse(stringOf(values["on_refuse"]))
	g.BootAssessment, _ = values["boot_assessment"].(bool)
	g.Override, g.saysOverride = values["override"].(bool)
	return g
}

// mergeGate unites what the files ask, the strictest first. Of what becomes of a machine
// that is refused, off is stricter than a reboot: it serves nobody, and does not loop.
// An override weakens the gate, so one file that says no decides.
func mergeGate(parts []gatePart) Gate {
	g := Gate{Units: []string{}, Except: []string{}}
	seen := make(map[string]bool)
	hardens, softens := false, false
	for _, p := range parts {
		for _, u := range p.Units {
			if !seen[u] {
				seen[u] = true
				g.Units = append(g.Units, u)
			}
		}
		for _, e := range p.excepts {
			g.Except = append(g.Except, e.text)
		}
		hardens, softens = hardens || p.Harden, softens || p.saysHarden && !p.Harden
		g.BootAssessment = g.BootAssessment || p.BootAssessment
		g.Recheck = stricter(g.Recheck, p.Recheck, RecheckStart, RecheckBoot)
		g.Breach = stricter(g.Breach, p.Breach, BreachStop, BreachReport, BreachIgnore)
		g.OnRefuse = stricter(g.OnRefuse, p.OnRefuse, OnRefusePowerOff, OnRefuseReboot, OnRefuseBlock)
	}
	slices.Sort(g.Except)
	g.Except = slices.Compact(g.Except)
	g.Harden = hardens || !softens
	g.Override = agreed(parts, func(p gatePart) (allows, decides bool) { return p.Override, p.saysOverride })
	g.Recheck = cmp.Or(g.Recheck, RecheckStart)
	g.Breach = cmp.Or(g.Breach, BreachStop)
	g.OnRefuse = cmp.Or(g.OnRefuse, OnRefuseBlock)
	return g
}

// stricter returns a or b, whichever stands first in the order; "" is not said.
func stricter[W ~string](a, b W, order ...W) W {
	for _, w := range order {
		if w == a || w == b {
			return w
		}
	}
	return ""
}

// gateForm is what of [gate] but the units and the re-check goes into the digest. A
// profile that says nothing of it has the digest that it had before there was anything to
// say.
type gateForm struct {
	Harden                   bool
	Breach                   Breach
	OnRefuse                 OnRefuse
	BootAssessment, Override bool
}

func (g Gate) canonical() *gateForm {
	form := gateForm{g.Harden, g.Breach, g.OnRefuse, g.BootAssessment, g.Override}
	if form == (gateForm{Harden: true, Breach: BreachStop, OnRefuse: OnRefuseBlock}) {
		return nil
	}
	return &form
}
