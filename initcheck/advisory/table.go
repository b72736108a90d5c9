package advisory

import (
	"fmt"
	"time"
)

// Table is the advisories that a policy lists, and how long they hold.
type Table struct {
	Advisories []Advisory
	// MaxAge is how many days after its date an advisory holds; 0: for ever. An older
	// one may lack a fix that turned out to be incomplete.
	MaxAge int
	Stale  Stale
}

// Stale is what becomes of "fixed" by an advisory that is too old.
type Stale string

// What becomes of it.
const (
	StaleUnknown Stale = "unknown" // the zero value is the same
	StaleWarn    Stale = "warn"    // stays, with a warning
)

// Decide answers for one kernel and every advisory, in the order of the table.
func (t Table) Decide(k Kernel, closed Closed, now time.Time) []Finding {
	var findings []Finding
	for _, a := range t.Advisories {
		findings = append(findings, t.aged(Decide(k, a, closed), a, now))
	}
	return findings
}

// aged takes the age of the advisory into account. A clock that stands before the
// advisory is wrong, and what is older by it nobody can tell.
func (t Table) aged(f Finding, a Advisory, now time.Time) Finding {
	if t.MaxAge <= 0 || f.Status != Fixed {
		return f
	}
	var complaint string
	switch days := a.Age(now); {
	case days < 0:
		complaint = fmt.Sprintf("the clock says %s, which is before the advisory's date %s", now.UTC().Format(dateForm), a.Date)
	case days > t.MaxAge:
		complaint = fmt.Sprintf("the advisory is of %s, %d days ago, and holds for %d", a.Date, days, t.MaxAge)
	default:
		return f
	}
	if t.Stale == StaleWarn {
		f.Warning = complaint
		return f
	}
	return Finding{CVE: f.CVE, Status: Unknown, Rule: complaint + "; by it: " + f.Rule, Source: f.Source, Needs: "a newer advisory"}
}

// Age is how many whole days have passed since the advisory's date; negative: none has,
// the date is still to come. A date that does not read is in the future.
func (a Advisory) Age(now time.Time) int {
	date, err := time.Parse(dateForm, a.Date)
	if err != nil || now.Before(date) {
		return -1
	}
	return int(now.Sub(date) / (24 * time.Hour))
}
