package advisory

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/kerngate/kerngate/initcheck/kver"
	"github.com/kerngate/kerngate/initcheck/pkgver"
)

// Advisory is what is known of one CVE. The zero value is none; see Check.
type Advisory struct {
	CVE    string // "CVE-2026-43284"
	Date   string // when the tables were true: "2026-08-21"
	Source string // of the upstream tables
	// Modules hold the flaw. When all of them are closed, so is the CVE. Empty: the flaw
	// is in the core of the kernel, and no block closes it.
	Modules []string
	// Introduced are the first releases that have the flaw, ascending. The last is where
	// it came into the mainline; those before it are backports into stable branches.
	Introduced []kver.Release
	// Fixed are the first releases that have the whole fix, one a branch, ascending. The
	// last is where it came into the mainline: every later branch has it. A branch without
	// a line, from the introduction to there, was never fixed.
	Fixed []kver.Release
	// Rows are what distributions say of their own packages.
	Rows []Row
}

// Row is a distribution's word on one of its streams.
type Row struct {
	Distribution string // ID in os-release(5)
	Stream       string // what the distribution counts its versions in; see identify
	State        State
	Version      string // for Fixed and Seen: the package, or the system, with the fix
	Open         string // for Seen: the last one known to lack it; empty: none is known
	Source       string
}

// State is what a row says.
type State string

// The states of a stream.
const (
	RowFixed      State = "fixed"      // Version is the first with the fix
	RowSeen       State = "seen"       // Version has the fix, the first is not known
	RowNever      State = "never"      // no version has it
	RowUnaffected State = "unaffected" // the stream never had the flaw; covers the streams below it too
)

// Limits of an advisory, which bound what a policy can make the checker read.
const (
	maxText     = 160 // bytes of a source; they go into one line
	maxReleases = 64  // stable branches that live at one time are about ten
	maxRows     = 256 // about twenty streams a CVE are known now
	maxModules  = 32
)

// dateForm is the form of Date for package time.
const dateForm = "2006-01-02"

// Check reports every fault of the advisory.
func (a Advisory) Check() error {
	faults := []error{checkCVE(a.CVE), checkSource(a.Source)}
	if _, err := time.Parse(dateForm, a.Date); err != nil {
		faults = append(faults, fmt.Errorf("date is %.40q, want the form 2026-08-21", a.Date))
	}
	faults = append(faults, checkModules(a.Modules), checkReleases("introduced", a.Introduced), checkReleases("fixed", a.Fixed))
	for i := 1; i < len(a.Fixed); i++ {
		if a.Fixed[i].Branch() == a.Fixed[i-1].Branch() {
			faults = append(faults, fmt.Errorf("fixed has %s and %s of one branch, want the later one alone", a.Fixed[i-1], a.Fixed[i]))
		}
	}
	return errors.Join(append(faults, checkRows(a.Rows))...)
}

// checkCVE knows the form of the CVE Numbering Authority rules, 5.1.
func checkCVE(id string) error {
	year, number, _ := strings.Cut(strings.TrimPrefix(id, "CVE-"), "-")
	if !strings.HasPrefix(id, "CVE-") || len(year) != 4 || len(number) < 4 || len(number) > 19 || !digits(year+number) {
		return fmt.Errorf("cve is %.40q, want the form CVE-2026-31431", id)
	}
	return nil
}

func checkSource(s string) error {
	if s == "" || len(s) > maxText || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == ';' }) {
		return fmt.Errorf("source is %.40q, want 1 to %d bytes of text on one line, without a semicolon", s, maxText)
	}
	return nil
}

func checkModules(names []string) error {
	if len(names) > maxModules {
		return fmt.Errorf("modules has %d names, want at most %d", len(names), maxModules)
	}
	for _, name := range names {
		if name == "" || len(name) > 64 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
			return fmt.Errorf("modules has %.80q, want 1 to 64 of a-z, A-Z, 0-9 and _", name)
		}
	}
	return nil
}

// checkReleases wants the mainline's at the end, which opens a branch.
func checkReleases(key string, list []kver.Release) error {
	if len(list) == 0 || len(list) > maxReleases {
		return fmt.Errorf("%s has %d releases, want 1 to %d", key, len(list), maxReleases)
	}
	for i := 1; i < len(list); i++ {
		if kver.Compare(list[i-1], list[i]) >= 0 {
			return fmt.Errorf("%s has %s before %s, want them ascending", key, list[i-1], list[i])
		}
	}
	// Of 2.6 the third number was the mainline's.
	if last := list[len(list)-1]; last.Major > 2 && last.Patch != 0 || last.Rebuild != 0 {
		return fmt.Errorf("%s ends with %s, want the mainline release at the end, such as %s", key, last, last.Branch())
	}
	return nil
}

func checkRows(rows []Row) error {
	if len(rows) > maxRows {
		return fmt.Errorf("it has %d rows, want at most %d", len(rows), maxRows)
	}
	var faults []error
	for i, r := range rows {
		if err := r.check(); err != nil {
			faults = append(faults, fmt.Errorf("row %d (%.40s %.40s): %w", i+1, r.Distribution, r.Stream, err))
		}
		same := func(o Row) bool { return o.Distribution == r.Distribution && o.Stream == r.Stream }
		if slices.ContainsFunc(rows[:i], same) {
			faults = append(faults, fmt.Errorf("row %d: %.40s %.40s stands there twice", i+1, r.Distribution, r.Stream))
		}
	}
	return errors.Join(faults...)
}

func (r Row) check() error {
	if !slices.Contains(Distributions(), r.Distribution) {
		return fmt.Errorf("distribution is unknown, want one of %s", strings.Join(Distributions(), ", "))
	}
	if r.Stream == "" || len(r.Stream) > 64 || strings.Trim(r.Stream, "abcdefghijklmnopqrstuvwxyz0123456789_.- ") != "" {
		return fmt.Errorf("stream is %.80q, want 1 to 64 of a-z, 0-9, _, ., - and blanks", r.Stream)
	}
	if err := checkSource(r.Source); err != nil {
		return err
	}
	return r.checkVersions()
}

func (r Row) checkVersions() error {
	versioned := r.State == RowFixed || r.State == RowSeen
	switch {
	case !versioned && r.State != RowNever && r.State != RowUnaffected:
		return fmt.Errorf("state is %.40q, want %s, %s, %s or %s", r.State, RowFixed, RowSeen, RowNever, RowUnaffected)
	case !versioned && r.Version+r.Open != "":
		return fmt.Errorf("a stream that is %s has no version", r.State)
	case r.State != RowSeen && r.Open != "":
		return errors.New("open goes with seen alone: below the first fixed version all is open")
	case !versioned:
		return nil
	}
	check, compare := versionsOf(r.Distribution)
	if err := check(r.Version); err != nil {
		return fmt.Errorf("version %.80q %w", r.Version, err)
	}
	if r.Open == "" {
		return nil
	}
	if err := check(r.Open); err != nil {
		return fmt.Errorf("open %.80q %w", r.Open, err)
	}
	if compare(r.Open, r.Version) >= 0 {
		return fmt.Errorf("open is %s, want it below %s", r.Open, r.Version)
	}
	return nil
}

// versionsOf is how a distribution writes and orders the versions of its rows.
func versionsOf(distribution string) (check func(string) error, compare func(a, b string) int) {
	if distribution == "debian" || distribution == "ubuntu" {
		return pkgver.CheckDpkg, pkgver.Dpkg
	}
	return pkgver.CheckRPM, pkgver.RPM
}

// covers tells whether the row speaks for a stream. Being unaffected holds for the
// streams below it too: el9 for el9_7.
func (r Row) covers(distribution, stream string) bool {
	if r.Distribution != distribution || stream == "" {
		return false
	}
	return r.Stream == stream || r.State == RowUnaffected && strings.HasPrefix(stream, r.Stream+"_")
}

// rowSeparator stands in no field.
const rowSeparator = "; "

// String gives the row in one line, which ParseRow reads back.
func (r Row) String() string {
	return strings.Join([]string{r.Distribution, r.Stream, string(r.State), r.Version, r.Open, r.Source}, rowSeparator)
}

// ParseRow reads what String gives. It leaves checking to Advisory.Check.
func ParseRow(line string) (Row, error) {
	f := strings.Split(line, rowSeparator)
	if len(f) != 6 {
		return Row{}, fmt.Errorf("row %.80q has %d fields, want 6", line, len(f))
	}
	return Row{f[0], f[1], State(f[2]), f[3], f[4], f[5]}, nil
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
