package advisories

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/kerngate/kerngate/initcheck/advisory"
	"github.com/kerngate/kerngate/initcheck/kver"
)

// maintained are the branches that were maintained, or had just ended, while the family
// became known: those whose want of a fix is worth a word. kernel.org, 2026.
var maintained = []string{"5.10", "5.15", "6.1", "6.6", "6.12", "6.18", "6.19", "7.0", "7.1", "7.2"}

// Imported is a table made of a CVE record.
type Imported struct {
	Table
	// Warnings tell what a reader should look at: what the record changes, and what it
	// does not say.
	Warnings []string
}

// Import makes a table out of a CVE record of the kernel's CNA. Date tells when the
// record was true and may be zero if the record says so itself; that of the CNA's own repository
// does not. What the record does not know (names, modules, distributions) comes from the
// table before, if there is one.
//
// An error that is ErrNotKernel tells that the record is of something else.
func Import(data []byte, date time.Time, before *Table) (Imported, error) {
	if len(data) > maxRecord {
		return Imported{}, fmt.Errorf("is larger than %d bytes", maxRecord)
	}
	r, err := parseRecord(data)
	if err != nil {
		return Imported{}, err
	}
	h, err := r.history()
	if err != nil {
		return Imported{}, err
	}
	t := Imported{Table: Table{Title: r.Containers.CNA.Title}}
	t.CVE, t.Source = r.Metadata.ID, "CVE record of the kernel's CNA"
	if t.Date, err = dateOf(r, date); err != nil {
		return Imported{}, err
	}
	if err := t.take(h); err != nil {
		return Imported{}, err
	}
	if before != nil {
		t.carryOver(*before)
	}
	if len(t.Modules) == 0 {
		t.warn("no modules are listed: no block counts as closing it")
	}
	return t, errors.Join(t.Check(), t.checkNever(), checkTitle(t.Title))
}

func checkTitle(title string) error {
	if title == "" || !oneLine(title) {
		return fmt.Errorf("title is %.40q, want 1 to %d bytes of text on one line", title, maxLine)
	}
	return nil
}

// ErrNoDate is met where a record has no date, and the caller gives none.
var ErrNoDate = errors.New("does not say when it was updated")

func dateOf(r record, date time.Time) (string, error) {
	if !date.IsZero() {
		return date.UTC().Format(time.DateOnly), nil
	}
	updated, _, _ := strings.Cut(r.Metadata.Updated, "T")
	if _, err := time.Parse(time.DateOnly, updated); err != nil {
		return "", ErrNoDate
	}
	return updated, nil
}

func (t *Imported) warn(format string, args ...any) {
	t.Warnings = append(t.Warnings, fmt.Sprintf(format, args...))
}

// take orders what the record says, and refuses what contradicts itself.
func (t *Imported) take(h history) error {
	if len(h.mainline) == 0 || len(h.fixedAll) == 0 {
		return fmt.Errorf("has no block of versions that says where the flaw came (%d) and went (%d) in the mainline", len(h.mainline), len(h.fixedAll))
	}
	introduced := slices.MinFunc(h.mainline, kver.Compare)
	for _, below := range h.clean {
		if below != introduced {
			return fmt.Errorf("says that the flaw came with %s, and that everything below %s is without it", introduced, below)
		}
	}
	// A backport into a branch that is later than the introduction changes nothing.
	for _, b := range h.backported {
		if kver.Compare(b.Branch(), introduced.Branch()) < 0 {
			t.Introduced = append(t.Introduced, b)
		}
	}
	t.Introduced = sorted(append(t.Introduced, introduced))
	last := slices.MinFunc(h.fixedAll, kver.Compare)
	for _, r := range h.fixed {
		if kver.Compare(r.Branch(), last.Branch()) < 0 {
			t.Fixed = append(t.Fixed, r)
		}
	}
	t.Fixed = sorted(append(t.Fixed, last))
	t.Never = t.never(h.ended)
	return nil
}

// never lists the branches with the flaw that the record has no fix for: the
// maintained ones, and those that the record says had it to their end.
func (t *Imported) never(ended []kver.Release) []kver.Release {
	list := slices.Clone(ended)
	for _, text := range maintained {
		b, err := kver.ParseFloor(text)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		mainline := t.Introduced[len(t.Introduced)-1]
		if kver.Compare(b, mainline.Branch()) >= 0 && kver.Compare(b, t.Fixed[len(t.Fixed)-1].Branch()) < 0 {
			list = append(list, b)
		}
	}
	return slices.DeleteFunc(sorted(list), func(b kver.Release) bool {
		return slices.ContainsFunc(t.Fixed, func(r kver.Release) bool { return r.Branch() == b })
	})
}

func sorted(list []kver.Release) []kver.Release {
	slices.SortFunc(list, kver.Compare)
	return slices.Compact(list)
}

// carryOver takes from the table before what the record does not know, and tells what
// the record changes.
func (t *Imported) carryOver(before Table) {
	t.Name, t.Modules, t.Rows, t.Notes = before.Name, before.Modules, before.Rows, before.Notes
	if before.Date > t.Date {
		t.warn("it is of %s, older than the table that it replaces, of %s", t.Date, before.Date)
	}
	if before.Title != t.Title {
		t.warn("its title is %q and was %q: is it the record of this CVE?", t.Title, before.Title)
	}
	// A record names the release once it is out, and the candidate that had the fix no
	// more.
	last := len(t.Fixed) - 1
	if old := before.Fixed[len(before.Fixed)-1]; old.CandidateOf(t.Fixed[last]) {
		t.Fixed[last] = old
	}
	t.compare("introduced", before.Introduced, t.Introduced)
	t.compare("fixed", before.Fixed, t.Fixed)
}

func (t *Imported) compare(what string, before, now []kver.Release) {
	for _, r := range before {
		if !slices.Contains(now, r) {
			t.warn("%s no longer has %s", what, r)
		}
	}
	for _, r := range now {
		if !slices.Contains(before, r) {
			t.warn("%s now has %s", what, r)
		}
	}
}

// recordName is the form of the names of record files.
var recordName = regexp.MustCompile(`^CVE-[0-9]{4}-[0-9]{4,19}\.json$`)

// Records lists the CVE records in a directory and those below it, sorted.
func Records(dir string) ([]string, error) {
	var names []string
	seen := 0
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if seen++; seen > MaxFiles {
			return fmt.Errorf("%s has more than %d files", dir, MaxFiles)
		}
		if d.Type().IsRegular() && recordName.MatchString(d.Name()) {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list CVE records: %w", err)
	}
	slices.Sort(names)
	return names, nil
}

// ImportFile is Import of a file, whose name must be that of the CVE where it is named
// after one.
func ImportFile(name string, date time.Time, before func(cve string) (Table, bool)) (Imported, error) {
	t, err := importFile(name, date, before)
	if err != nil {
		return Imported{}, fmt.Errorf("cannot import %s: %w", name, err)
	}
	return t, nil
}

func importFile(name string, date time.Time, before func(cve string) (Table, bool)) (Imported, error) {
	data, err := readRegular(name, maxRecord)
	if err != nil {
		return Imported{}, err
	}
	r, err := parseRecord(data)
	if err != nil {
		return Imported{}, err
	}
	own := r.Metadata.ID + ".json"
	if base := filepath.Base(name); !recordName.MatchString(own) || recordName.MatchString(base) && base != own {
		return Imported{}, fmt.Errorf("is the record of %.40q", r.Metadata.ID)
	}
	if old, found := before(r.Metadata.ID); found {
		return Import(data, date, &old)
	}
	return Import(data, date, nil)
}

// Compiled gives what decides of the tables, for a policy.
func Compiled(tables []Table) []advisory.Advisory {
	var out []advisory.Advisory
	for _, t := range tables {
		out = append(out, t.Advisory)
	}
	return out
}
