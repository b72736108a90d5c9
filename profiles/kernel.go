package profiles

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/initcheck/advisory"
	"github.com/kerngate/kerngate/initcheck/policy"
	"github.com/kerngate/kerngate/profiles/advisories"
)

// Limits of [kernel].
const (
	maxAdvisories = 128   // the shipped ones are 22
	maxDays       = 36500 // a century: more is a mistake
)

// Kernel is what a profile asks of the running kernel.
type Kernel struct {
	// Floor is the lowest release allowed, as written; kver.ParseFloor takes it.
	// Empty: no floor.
	Floor string `json:"floor,omitempty"`
	// AcceptFixed lets a kernel below the floor pass in which every advisory is closed.
	AcceptFixed bool `json:"accept_fixed,omitempty"`
	// AcceptMitigated takes an advisory for closed whose modules nothing can load.
	AcceptMitigated bool `json:"accept_mitigated,omitempty"`
	// Advisories are the CVEs that must be closed in the running kernel, by CVE.
	Advisories []advisories.Table `json:"advisories,omitempty"`
	// Unknown is what the checker does on an advisory without an answer; empty: refuse.
	Unknown policy.Answer `json:"unknown,omitempty"`
	// MaxAge is how many days after its date an advisory holds; 0: for ever.
	MaxAge int `json:"max_age,omitempty"`
	// Stale is what becomes of fixed after that; empty: unknown.
	Stale advisory.Stale `json:"stale,omitempty"`
	Pin   Pin            `json:"pin,omitzero"`
}

// kernelPart is [kernel] as one file says it.
type kernelPart struct {
	Kernel
	line   int
	listed []mention // advisories, not loaded yet
	// Which keys the file has.
	saysFixed, saysMitigated bool
}

// kernelFields are the keys of [kernel].
var kernelFields = []field{
	{key: "floor", kind: kindString, check: checkFloor},
	{key: "accept_fixed", kind: kindBoolean},
	{key: "accept_mitigated", kind: kindBoolean},
	{key: "advisories", kind: kindStrings, check: checkText, max: maxAdvisories, min: 1, empty: "name a CVE, or leave the key out"},
	{key: "unknown", kind: kindString, check: oneOf(string(policy.Refuse), string(policy.Pass))},
	{key: "max_age", kind: kindInteger},
	{key: "stale", kind: kindString, check: oneOf(string(advisory.StaleUnknown), string(advisory.StaleWarn))},
	{key: "pin", kind: kindTable, fields: pinFields},
}

// kernelOf takes over [kernel]. What is of a wrong type reads as absent.
func kernelOf(v *validator, values map[string]any, at *node) kernelPart {
	k := kernelPart{line: at.line}
	k.Floor = stringOf(values["floor"])
	k.AcceptFixed, k.saysFixed = values["accept_fixed"].(bool)
	k.AcceptMitigated, k.saysMitigated = values["accept_mitigated"].(bool)
	k.Unknown = policy.Answer(stringOf(values["unknown"]))
	k.Stale = advisory.Stale(stringOf(values["stale"]))
	k.Pin = pinOf(values["pin"])
	k.listed = extendsOf(values["advisories"], at.at("advisories"))
	if days, said := values["max_age"].(int64); said && (days < 1 || days > maxDays) {
		v.report(at.at("max_age").line, "kernel.max_age", "is %d, want 1 to %d days", days, maxDays)
	} else {
		k.MaxAge = int(days)
	}
	return k
}

// loadAdvisories finds the tables that a file names: a CVE is a shipped one, a word with a
// slash or with the ending .toml a path, relative to the file.
func (f *loaded) loadAdvisories() {
	for _, entry := range f.kernel.listed {
		t, err := f.loadAdvisory(entry.text)
		if err != nil {
			message := strings.ReplaceAll(err.Error(), "\n", "; ")
			f.findings = append(f.findings, Finding{f.shown, entry.line, "kernel.advisories", printable(message)})
			continue
		}
		f.kernel.Advisories = append(f.kernel.Advisories, t)
	}
}

func (f *loaded) loadAdvisory(word string) (advisories.Table, error) {
	if !isPath(word) {
		t, found := advisories.Lookup(word)
		if !found {
			var names []string
			for _, t := range advisories.Shipped() {
				names = append(names, t.CVE)
			}
			return t, fmt.Errorf("no advisory of %s is shipped%s; a path has a slash or ends in %s", quote(word), didYouMean(word, names), suffix)
		}
		return t, nil
	}
	name, err := f.path(word, "advisory")
	if err != nil {
		return advisories.Table{}, err
	}
	return advisories.Load(name)
}

// mergeKernel unites what two files ask. As everywhere the strictest wins: a file that has
// a floor and does not accept fixed kernels below it keeps others from accepting them, and a
// file with advisories that does not accept mitigated ones likewise.
func mergeKernel(parts []kernelPart) Kernel {
	var k Kernel
	k.AcceptFixed = agreed(parts, func(p kernelPart) (accepts, decides bool) { return p.AcceptFixed, p.saysFixed || p.Floor != "" })
	k.AcceptMitigated = agreed(parts, func(p kernelPart) (bool, bool) {
		return p.AcceptMitigated, p.saysMitigated || len(p.listed) > 0
	})
	if agreed(parts, func(p kernelPart) (bool, bool) { return p.Unknown == policy.Pass, p.Unknown != "" || len(p.listed) > 0 }) {
		k.Unknown = policy.Pass
	}
	if agreed(parts, func(p kernelPart) (bool, bool) { return p.Stale == advisory.StaleWarn, p.Stale != "" || p.MaxAge > 0 }) {
		k.Stale = advisory.StaleWarn
	}
	for _, p := range parts {
		k.Floor = higherFloor(k.Floor, p.Floor)
		k.Pin = stricterPin(k.Pin, p.Pin)
		if p.MaxAge > 0 && (k.MaxAge == 0 || p.MaxAge < k.MaxAge) {
			k.MaxAge = p.MaxAge
		}
		for _, t := range p.Advisories {
			k.Advisories = addAdvisory(k.Advisories, t)
		}
	}
	return k
}

// agreed tells whether some file allows something and none that decides on it does not.
func agreed[P kernelPart | gatePart](parts []P, of func(P) (allows, decides bool)) bool {
	some := false
	for _, p := range parts {
		allows, decides := of(p)
		if decides && !allows {
			return false
		}
		some = some || allows
	}
	return some
}

// addAdvisory keeps the list sorted. Of two tables of one CVE the newer one stays.
func addAdvisory(list []advisories.Table, t advisories.Table) []advisories.Table {
	i, found := slices.BinarySearchFunc(list, t.CVE, func(t advisories.Table, cve string) int { return strings.Compare(t.CVE, cve) })
	if !found {
		return slices.Insert(list, i, t)
	}
	if t.Date > list[i].Date {
		list[i] = t
	}
	return list
}

// idle reports keys of the loaded file that change nothing, so that none looks as if it
// did something.
func (f *loaded) idle(merged Kernel) {
	said := f.kernel
	report := func(is bool, key, why string) {
		if is {
			f.findings = append(f.findings, Finding{f.shown, said.line, "kernel." + key, "does nothing" + why})
		}
	}
	pins := said.Pin.Mode != "" && said.Pin.Mode != PinNone
	report(pins && merged.Floor == "", "pin", " without a floor")
	report(said.Pin.Ceiling != "" && !pins, "pin.ceiling", " without a pin")
	boots := said.Pin.BootBelowFloor != "" && said.Pin.BootBelowFloor != BootKeep
	report(boots && merged.Floor == "" && len(merged.Advisories)+len(said.listed) == 0, "pin.boot_below_floor", " without a floor or advisories")
	if len(merged.Advisories) == 0 && len(said.listed) == 0 {
		const why = " without advisories"
		report(said.AcceptFixed, "accept_fixed", why)
		report(said.AcceptMitigated, "accept_mitigated", why)
		report(said.Unknown != "", "unknown", why)
		report(said.MaxAge > 0, "max_age", why)
		report(said.Stale != "", "stale", why)
		return
	}
	report(said.Stale != "" && merged.MaxAge == 0, "stale", " without max_age")
	const other = ": a profile that it extends has "
	report(said.AcceptFixed && !merged.AcceptFixed, "accept_fixed", other+"a floor and does not say it")
	report(said.AcceptMitigated && !merged.AcceptMitigated, "accept_mitigated", other+"advisories and does not say it")
	report(said.Unknown == policy.Pass && merged.Unknown != policy.Pass, "unknown", other+`advisories and does not say "pass"`)
	report(said.Stale == advisory.StaleWarn && merged.Stale != advisory.StaleWarn, "stale", other+`a max_age and does not say "warn"`)
}

// kernelForm is what of [kernel] but the floor goes into the digest. A profile that says
// nothing of it has the digest that it had before there was anything to say.
type kernelForm struct {
	AcceptFixed, AcceptMitigated bool
	Unknown                      policy.Answer
	MaxAge                       int
	Stale                        advisory.Stale
	Advisories                   []string
	Pin                          Pin `json:",omitzero"`
}

func (k Kernel) canonical() *kernelForm {
	if k.Pin.BootBelowFloor == BootKeep {
		k.Pin.BootBelowFloor = "" // which is the same
	}
	if len(k.Advisories) == 0 && k.Pin == (Pin{}) {
		return nil
	}
	form := &kernelForm{Pin: k.Pin, AcceptFixed: k.AcceptFixed, AcceptMitigated: k.AcceptMitigated, Unknown: k.Unknown, MaxAge: k.MaxAge, Stale: k.Stale}
	for _, t := range k.Advisories {
		form.Advisories = append(form.Advisories, string(advisories.Format(t)))
	}
	return form
}
