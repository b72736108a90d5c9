package advisories_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kerngate/kerngate/initcheck/advisory"
	"github.com/kerngate/kerngate/initcheck/kver"
	"github.com/kerngate/kerngate/profiles/advisories"
)

// snapshot is when the records under testdata were true.
var snapshot = time.Date(2026, 8, 21, 0, 0, 0, 0, time.UTC)

func readRecord(t testing.TB, cve string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata/records", cve+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// replaced changes a record in one place, which must be there.
func replaced(t *testing.T, text, old, new string) string {
	t.Helper()
	changed := strings.Replace(text, old, new, 1)
	if changed == text {
		t.Fatalf("the case changes nothing: %q is not in the record", old)
	}
	return changed
}

func imported(t *testing.T, record string, before *advisories.Table) advisories.Imported {
	t.Helper()
	got, err := advisories.Import([]byte(record), snapshot, before)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func shipped(t *testing.T, cve string) *advisories.Table {
	t.Helper()
	table, found := advisories.Lookup(cve)
	if !found {
		t.Fatalf("no shipped table of %s", cve)
	}
	return &table
}

func words(releases []kver.Release) string {
	var texts []string
	for _, r := range releases {
		texts = append(texts, r.String())
	}
	return strings.Join(texts, " ")
}

func TestImportGivesTheShippedTables(t *testing.T) {
	found, err := advisories.Records("testdata/records")
	if err != nil || len(found) < 5 {
		t.Fatalf("records are %q, %v, want at least 5", found, err)
	}
	for _, name := range found {
		got, err := advisories.ImportFile(name, snapshot, advisories.Lookup)
		if err != nil {
			t.Fatal(err)
		}
		want := *shipped(t, got.CVE)
		want.Source = got.Source // names the snapshot
		if text, want := string(advisories.Format(got.Table)), string(advisories.Format(want)); text != want {
			t.Errorf("%s gives\n%s\nwant\n%s", name, text, want)
		}
		if len(want.Modules) > 0 && len(got.Warnings) > 0 {
			t.Errorf("%s: warnings %q, want none", name, got.Warnings)
		}
	}
}

// TestTrapUnionOfRanges: the CPE ranges of the record repeat 4.14 with each branch's end; taken
// together they say that every fixed long-term kernel is vulnerable.
func TestTrapUnionOfRanges(t *testing.T) {
	record := readRecord(t, "CVE-2026-31431")
	if strings.Count(record, `"versionStartIncluding": "4.14"`) < 5 {
		t.Fatal("the record has no CPE ranges to fall for")
	}
	a := imported(t, record, nil).Advisory
	for release, want := range map[string]advisory.Status{"6.12.85": advisory.Fixed, "6.12.84": advisory.Vulnerable, "5.10.254": advisory.Fixed, "6.19.11": advisory.Vulnerable} {
		if got := advisory.Decide(advisory.Kernel{Release: release}, a, nil); got.Status != want {
			t.Errorf("%s is %s, want %s", release, got.Status, want)
		}
	}
}

// TestTrapTwoReleasesOfABranch: the first of two holds half a fix.
func TestTrapTwoReleasesOfABranch(t *testing.T) {
	record := readRecord(t, "CVE-2026-43284")
	want := "5.10.255 5.15.206 6.1.172 6.6.138 6.12.87 6.18.28 7.0.5 7.1"
	if got := words(imported(t, record, nil).Fixed); got != want {
		t.Errorf("fixed is %s, want %s", got, want)
	}
	// The order of the rows does not count.
	swapped := strings.NewReplacer("5.15.205", "5.15.206", "5.15.206", "5.15.205").Replace(record)
	if got := words(imported(t, swapped, nil).Fixed); got != want {
		t.Errorf("with the rows swapped fixed is %s, want %s", got, want)
	}
}

// TestTrapSwappedTitle: for an hour the records of 46300 and 43503 carried each other's
// title; one stored copy still does.
func TestTrapSwappedTitle(t *testing.T) {
	record := readRecord(t, "CVE-2026-46300")
	other := shipped(t, "CVE-2026-43503").Title
	record = replaced(t, record, shipped(t, "CVE-2026-46300").Title, other)
	got := imported(t, record, shipped(t, "CVE-2026-46300"))
	if got.CVE != "CVE-2026-46300" || !slices.ContainsFunc(got.Warnings, func(w string) bool { return strings.Contains(w, "is it the record of this CVE?") }) {
		t.Errorf("%s with warnings %q, want one about the title", got.CVE, got.Warnings)
	}
	// A file that is named after another CVE is refused.
	name := filepath.Join(t.TempDir(), "CVE-2026-43503.json")
	if err := os.WriteFile(name, []byte(record), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := advisories.ImportFile(name, snapshot, advisories.Lookup); err == nil || !strings.Contains(err.Error(), `is the record of "CVE-2026-46300"`) {
		t.Errorf("import gives %v, want an error", err)
	}
}

// TestTrapCandidateBecomesRelease: once 7.1 was out, the records named it instead of 7.1-rc3;
// rc1 must not pass for it, and rc3 must not lose its fix.
func TestTrapCandidateBecomesRelease(t *testing.T) {
	record := readRecord(t, "CVE-2026-43284")
	early := replaced(t, record, `"version": "7.1"`, `"version": "7.1-rc3"`)
	for _, c := range []struct {
		name    string
		table   advisories.Imported
		release string
		want    advisory.Status
	}{
		{"early, rc2", imported(t, early, nil), "7.1-rc2", advisory.Vulnerable},
		{"early, rc3", imported(t, early, nil), "7.1-rc3", advisory.Fixed},
		{"late, rc2", imported(t, record, nil), "7.1-rc2", advisory.Unknown},
		{"late, rc3", imported(t, record, nil), "7.1-rc3", advisory.Unknown},
		{"late, 7.1", imported(t, record, nil), "7.1", advisory.Fixed},
		{"late over early, rc2", imported(t, record, shipped(t, "CVE-2026-43284")), "7.1-rc2", advisory.Vulnerable},
		{"late over early, rc3", imported(t, record, shipped(t, "CVE-2026-43284")), "7.1-rc3", advisory.Fixed},
	} {
		if got := advisory.Decide(advisory.Kernel{Release: c.release}, c.table.Advisory, nil); got.Status != c.want {
			t.Errorf("%s is %s (%s), want %s", c.name, got.Status, got.Rule, c.want)
		}
	}
}

// TestTrapEarlySnapshot: long-term branches came into the records later than the mainline.
func TestTrapEarlySnapshot(t *testing.T) {
	record := replaced(t, readRecord(t, "CVE-2026-31431"), `{"version": "6.12.85", "lessThanOrEqual": "6.12.*", "status": "unaffected", "versionType": "semver"},`, "")
	before := shipped(t, "CVE-2026-31431")
	got, err := advisories.Import([]byte(record), time.Date(2026, 4, 25, 0, 0, 0, 0, time.UTC), before)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(got.Warnings, "\n")
	for _, want := range []string{"it is of 2026-04-25, older than the table that it replaces, of 2026-08-21", "fixed no longer has 6.12.85"} {
		if !strings.Contains(all, want) {
			t.Errorf("warnings lack %q:\n%s", want, all)
		}
	}
	if got.Date != "2026-04-25" || !slices.Contains(got.Never, kver.Release{Major: 6, Minor: 12}) {
		t.Errorf("date %s, never %s, want the date of the snapshot and 6.12 among the branches without a fix", got.Date, words(got.Never))
	}
	if _, err := advisories.Import([]byte(record), time.Time{}, before); !errors.Is(err, advisories.ErrNoDate) {
		t.Errorf("import without a date gives %v, want an error", err)
	}
}

// TestTrapBackportedFlaw: the introductions into stable branches stand in the other block
// alone, the one that is unaffected by default.
func TestTrapBackportedFlaw(t *testing.T) {
	got := imported(t, readRecord(t, "CVE-2026-46331"), nil)
	if want := "4.19.244 5.4.195 5.10.117 5.15.41 5.17.9 5.18"; words(got.Introduced) != want {
		t.Errorf("introduced is %s, want %s", words(got.Introduced), want)
	}
	if want := "4.19 5.4 5.17 6.19"; words(got.Never) != want {
		t.Errorf("never is %s, want %s", words(got.Never), want)
	}
	for release, want := range map[string]advisory.Status{
		"5.10.116": advisory.Fixed, "5.10.117": advisory.Vulnerable, "5.10.259": advisory.Vulnerable, "5.10.260": advisory.Fixed,
		"5.15.40": advisory.Fixed, "5.15.210": advisory.Vulnerable, "5.4.300": advisory.Vulnerable, "5.16.1": advisory.Fixed,
	} {
		if got := advisory.Decide(advisory.Kernel{Release: release}, got.Advisory, nil); got.Status != want {
			t.Errorf("%s is %s, want %s", release, got.Status, want)
		}
	}
	// The end of such a range is a fix, where the other block has no row for it.
	record := replaced(t, readRecord(t, "CVE-2026-46331"), `{"version": "5.10.260", "lessThanOrEqual": "5.10.*", "status": "unaffected", "versionType": "semver"},`, "")
	if fixed := imported(t, record, nil).Fixed; fixed[0] != (kver.Release{Major: 5, Minor: 10, Patch: 260}) {
		t.Errorf("fixed is %s, want it to begin with 5.10.260", words(fixed))
	}
}

// TestTrapNoRowIsNoFix: a branch that the record passes over has the flaw.
func TestTrapNoRowIsNoFix(t *testing.T) {
	got := imported(t, readRecord(t, "CVE-2026-43284"), nil)
	if want := "6.19"; words(got.Never) != want {
		t.Errorf("never is %s, want %s", words(got.Never), want)
	}
	if f := advisory.Decide(advisory.Kernel{Release: "6.19.14"}, got.Advisory, nil); f.Status != advisory.Vulnerable || !strings.Contains(f.Rule, "branch 6.19 never got the fix") {
		t.Errorf("6.19.14 is %+v, want vulnerable", f)
	}
}

func TestImportRefuses(t *testing.T) {
	record := readRecord(t, "CVE-2026-43284")
	for _, c := range []struct{ name, old, new, want string }{
		{"no JSON", record, "{", "is no CVE record"},
		{"an array", record, "[]", "is no CVE record"},
		{"another form", "CVE_RECORD", "OSV", "is no CVE record of schema 5"},
		{"schema 4", "5.1.1", "4.0", "is no CVE record of schema 5"},
		{"rejected", "PUBLISHED", "REJECTED", "is no published record of the Linux kernel"},
		{"another product", `"Linux"`, `"Windows"`, ""},
		{"senseless id", `"CVE-2026-43284"`, `"43284"`, "cve is"},
		{"no title", `"title": "xfrm: esp: avoid in-place decrypt on shared skb frags"`, `"title": ""`, "title is"},
		{"title of two lines", "xfrm: esp:", `xfrm:\nesp:`, "title is"},
		{"no mainline fix", `{"version": "7.1", "lessThanOrEqual": "*", "status": "unaffected", "versionType": "original_commit_for_fix"}`, `{"version": "7.1.1", "lessThanOrEqual": "7.1.*", "status": "unaffected", "versionType": "semver"}`, "(0) in the mainline"},
		{"no introduction", `{"version": "4.11", "status": "affected"},`, "", "(0) and went (1)"},
		{"two introductions", `"lessThan": "4.11"`, `"lessThan": "4.9"`, "everything below 4.9"},
		{"fix of another branch", `"lessThanOrEqual": "6.12.*"`, `"lessThanOrEqual": "6.11.*"`, "is not of the branch"},
		{"status unknown", `"status": "unaffected", "versionType": "semver"}`, `"status": "unknown", "versionType": "semver"}`, "cannot place the row"},
		{"version senseless", `"version": "6.12.87"`, `"version": "six"`, "does not start with a number"},
		{"an open range", `"lessThanOrEqual": "6.12.*"`, `"lessThan": "6.12.99"`, "cannot place the row"},
	} {
		t.Run(c.name, func(t *testing.T) {
			changed := replaced(t, record, c.old, c.new)
			if c.want == "" {
				changed, c.want = strings.ReplaceAll(record, c.old, c.new), "is no published record"
			}
			got, err := advisories.Import([]byte(changed), snapshot, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Import gives %+v, %v, want an error with %q", got, err, c.want)
			}
		})
	}
	if _, err := advisories.Import(make([]byte, 5<<20), snapshot, nil); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a record of 5 MiB gives %v", err)
	}
	rejected := replaced(t, record, "PUBLISHED", "REJECTED")
	if _, err := advisories.Import([]byte(rejected), snapshot, nil); !errors.Is(err, advisories.ErrNotKernel) {
		t.Errorf("a rejected record gives %v, want ErrNotKernel", err)
	}
}

// TestImportDates: records of cvelistV5 say when they were updated, those of the CNA's
// own repository do not.
func TestImportDates(t *testing.T) {
	record := replaced(t, readRecord(t, "CVE-2026-31431"), `"state": "PUBLISHED"`, `"state": "PUBLISHED", "dateUpdated": "2026-09-08T12:00:00.000Z"`)
	got, err := advisories.Import([]byte(record), time.Time{}, nil)
	if err != nil || got.Date != "2026-09-08" {
		t.Errorf("date is %q, %v, want 2026-09-08", got.Date, err)
	}
	if !slices.Contains(got.Warnings, "no modules are listed: no block counts as closing it") {
		t.Errorf("warnings are %q, want one about the modules", got.Warnings)
	}
}

func FuzzImport(f *testing.F) {
	for _, cve := range []string{"CVE-2026-31431", "CVE-2026-43284", "CVE-2026-46331", "CVE-2026-53266"} {
		record := readRecord(f, cve)
		if _, err := advisories.Import([]byte(record), snapshot, nil); err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(record))
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		got, err := advisories.Import(record, snapshot, nil)
		if err != nil {
			return
		}
		text := advisories.Format(got.Table)
		back, err := advisories.Parse("fuzz", text)
		if err != nil || string(advisories.Format(back)) != string(text) {
			t.Errorf("the table of the record does not read back: %v\n%s", err, text)
		}
	})
}
