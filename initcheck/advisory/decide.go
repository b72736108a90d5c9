package advisory

import (
	"fmt"
	"strings"

	"github.com/kerngate/kerngate/initcheck/kver"
)

// Status is the answer for one CVE.
type Status string

// The answers.
const (
	Fixed      Status = "fixed"      // it has the fix, or never had the flaw
	Mitigated  Status = "mitigated"  // it has the flaw perhaps, and nothing that leads to it can be loaded
	Vulnerable Status = "vulnerable" // it lacks the fix
	Unknown    Status = "unknown"
)

// Finding is the answer for one CVE with what decided it.
type Finding struct {
	CVE     string
	Status  Status
	Rule    string // which rule decided, in plain words
	Source  string // whose word the rule rests on; empty: nobody's
	Needs   string // what would make it fixed; empty: nothing is known to, or it is
	Warning string // why not to rely on it for long; empty: nothing
}

// Closed tells, for every module that nothing can load any more, how it was closed.
type Closed map[string]string

// Decide answers for one kernel and one CVE.
func Decide(k Kernel, a Advisory, closed Closed) Finding {
	f := decide(k, a)
	f.CVE = a.CVE
	if f.Status == Fixed {
		return f
	}
	if k.LivePatched {
		f = Finding{CVE: a.CVE, Status: Unknown, Rule: "a live patch is loaded, and what it mends does not show; without it: " + f.Rule, Needs: f.Needs}
	}
	if how := closed.all(a.Modules); how != "" {
		f.Status, f.Rule = Mitigated, how
	}
	return f
}

// all tells how every one of the modules is closed; empty: one is not, or there is none.
func (c Closed) all(modules []string) string {
	var said []string
	for _, m := range modules {
		how := c[m]
		if how == "" {
			return ""
		}
		said = append(said, m+": "+how)
	}
	return strings.Join(said, "; ")
}

func decide(k Kernel, a Advisory) Finding {
	id, err := k.identify()
	if err != nil {
		return Finding{Status: Unknown, Rule: "cannot tell which kernel it is: " + err.Error()}
	}
	for _, row := range a.Rows {
		if row.covers(id.maker, id.stream) {
			if f, decided := row.decide(id); decided {
				return f
			}
		}
	}
	return a.upstream(id)
}

// decide applies the row of the kernel's own stream. Between what is known to lack the
// fix and what is known to have it, it decides nothing.
func (r Row) decide(id identity) (Finding, bool) {
	_, compare := versionsOf(r.Distribution)
	answer := func(s Status, format string, args ...any) (Finding, bool) {
		return Finding{Status: s, Rule: fmt.Sprintf(format, args...), Source: r.Source}, true
	}
	switch {
	case r.State == RowUnaffected:
		return answer(Fixed, "%s never had the flaw", id.name())
	case r.State == RowNever:
		return answer(Vulnerable, "%s: the stream %s never got the fix", id.name(), r.Stream)
	case compare(id.version, r.Version) >= 0:
		return answer(Fixed, "%s is at or above %s", id.name(), r.Version)
	case r.State == RowFixed:
		f, _ := answer(Vulnerable, "%s is below %s", id.name(), r.Version)
		f.Needs = r.needs()
		return f, true
	case r.Open != "" && compare(id.version, r.Open) <= 0:
		f, _ := answer(Vulnerable, "%s is at or below %s, which lacks the fix", id.name(), r.Open)
		f.Needs = r.needs()
		return f, true
	}
	return Finding{}, false
}

func (r Row) needs() string {
	return fmt.Sprintf("%s %s or later of %s", r.Distribution, r.Version, r.Stream)
}

// upstream applies the table of branches to the release that the kernel contains.
func (a Advisory) upstream(id identity) Finding {
	answer := func(s Status, format string, args ...any) Finding {
		return Finding{Status: s, Rule: id.name() + ": " + fmt.Sprintf(format, args...), Source: a.Source}
	}
	release := id.contains
	if since, clean := a.before(id); clean {
		return answer(Fixed, "the flaw came with %s", since)
	}
	fixed, listed := a.fixedFor(release)
	if listed && kver.Compare(release, fixed) >= 0 {
		return answer(Fixed, "it contains %s, and %s has the fix", release, fixed)
	}
	f := answer(Unknown, "")
	f.Needs = a.needs(release)
	switch {
	case listed && release.CandidateOf(fixed):
		f.Rule += fmt.Sprintf("the fix came in a candidate of %s, which one is not known", fixed)
	case release.CandidateOf(a.mainlineIntroduction()):
		f.Rule += fmt.Sprintf("the flaw came in a candidate of %s, which one is not known", a.mainlineIntroduction())
	case !id.stock && id.maker != "":
		f.Rule += fmt.Sprintf("the advisory has no word on this stream, and upstream %s does not have the fix", release)
	case !id.stock:
		f.Rule += fmt.Sprintf("upstream %s does not have the fix, the kernel may have it as a patch", release)
	case listed:
		f.Status = Vulnerable
		f.Rule += fmt.Sprintf("%s has the fix", fixed)
	default:
		f.Status = Vulnerable
		f.Rule += fmt.Sprintf("branch %s never got the fix", release.Branch())
	}
	return f
}

// fixedFor is the release that brought the fix to the branch of r, or to the mainline
// before that branch.
func (a Advisory) fixedFor(r kver.Release) (kver.Release, bool) {
	for _, fixed := range a.Fixed {
		if fixed.Branch() == r.Branch() {
			return fixed, true
		}
	}
	last := a.Fixed[len(a.Fixed)-1]
	return last, kver.Compare(r.Branch(), last.Branch()) > 0
}

// before tells whether the kernel is of before the flaw, and which release had it first.
func (a Advisory) before(id identity) (since kver.Release, clean bool) {
	r, mainline := id.contains, a.mainlineIntroduction()
	if id.reach == unlimited || kver.Compare(r.Branch(), mainline.Branch()) >= 0 {
		return mainline, false
	}
	for _, backport := range a.Introduced {
		if backport.Branch() == r.Branch() {
			return backport, id.reach == exact && kver.Compare(r, backport) < 0
		}
	}
	return mainline, true
}

func (a Advisory) mainlineIntroduction() kver.Release {
	return a.Introduced[len(a.Introduced)-1]
}

// needs names the releases with the fix: of the kernel's own branch, and the mainline's.
func (a Advisory) needs(r kver.Release) string {
	last := a.Fixed[len(a.Fixed)-1]
	if fixed, listed := a.fixedFor(r); listed && fixed != last {
		return fmt.Sprintf("upstream %s or later of its branch, or %s", fixed, last)
	}
	return fmt.Sprintf("upstream %s", last)
}
