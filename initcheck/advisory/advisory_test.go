package advisory_test

import (
	"strings"
	"testing"
	"time"

	"github.com/kerngate/kerngate/initcheck/advisory"
	"github.com/kerngate/kerngate/initcheck/kver"
)

func releases(texts ...string) []kver.Release {
	var list []kver.Release
	for _, text := range texts {
		r, err := kver.ParseFloor(text)
		if err != nil {
			panic(err)
		}
		list = append(list, r)
	}
	return list
}

// sample is an advisory with a row of every kind.
func sample() advisory.Advisory {
	return advisory.Advisory{
		CVE: "CVE-2026-43284", Date: "2026-08-21", Source: "kernel CNA",
		Modules:    []string{"esp4", "esp6"},
		Introduced: releases("4.4.40", "4.11"),
		Fixed:      releases("6.12.87", "7.0.5", "7.1-rc3"),
		Rows: []advisory.Row{
			{Distribution: "debian", Stream: "6.12", State: advisory.RowFixed, Version: "6.12.86-1", Source: "DSA-6253-1"},
			{Distribution: "ubuntu", Stream: "linux-azure 6.8", State: advisory.RowSeen, Version: "6.8.0-1058", Open: "6.8.0-1050.1~x", Source: "AgentBaker"},
			{Distribution: "rhel", Stream: "el9_7", State: advisory.RowNever, Source: "Red Hat"},
			{Distribution: "rhel", Stream: "el8", State: advisory.RowUnaffected, Source: "Red Hat"},
		},
	}
}

func TestCheck(t *testing.T) {
	if err := sample().Check(); err != nil {
		t.Fatalf("the sample: %v", err)
	}
	row := func(change func(*advisory.Row)) func(*advisory.Advisory) {
		return func(a *advisory.Advisory) { change(&a.Rows[0]) }
	}
	for _, c := range []struct {
		name   string
		change func(*advisory.Advisory)
		want   string
	}{
		{"no cve", func(a *advisory.Advisory) { a.CVE = "" }, "cve is"},
		{"cve with a word", func(a *advisory.Advisory) { a.CVE = "CVE-2026-12x4" }, "cve is"},
		{"cve too short", func(a *advisory.Advisory) { a.CVE = "CVE-2026-123" }, "cve is"},
		{"no source", func(a *advisory.Advisory) { a.Source = "" }, "source is"},
		{"source of two lines", func(a *advisory.Advisory) { a.Source = "a\nb" }, "source is"},
		{"source with the separator", func(a *advisory.Advisory) { a.Source = "a; b" }, "source is"},
		{"date of another form", func(a *advisory.Advisory) { a.Date = "21.8.2026" }, "date is"},
		{"module with a dash", func(a *advisory.Advisory) { a.Modules = []string{"algif-aead"} }, "modules has"},
		{"too many modules", func(a *advisory.Advisory) { a.Modules = make([]string, 33) }, "at most 32"},
		{"nothing introduced", func(a *advisory.Advisory) { a.Introduced = nil }, "introduced has 0"},
		{"nothing fixed", func(a *advisory.Advisory) { a.Fixed = nil }, "fixed has 0"},
		{"no mainline introduction", func(a *advisory.Advisory) { a.Introduced = releases("4.4.40") }, "introduced ends with 4.4.40"},
		{"no mainline fix", func(a *advisory.Advisory) { a.Fixed = releases("6.12.87", "7.0.5") }, "fixed ends with 7.0.5"},
		{"descending", func(a *advisory.Advisory) { a.Fixed = releases("7.0.5", "6.12.87", "7.1") }, "ascending"},
		{"two of one branch", func(a *advisory.Advisory) { a.Fixed = releases("5.15.205", "5.15.206", "7.1") }, "of one branch"},
		{"distribution unknown", row(func(r *advisory.Row) { r.Distribution = "plan9" }), "distribution is unknown"},
		{"stream empty", row(func(r *advisory.Row) { r.Stream = "" }), "stream is"},
		{"row source empty", row(func(r *advisory.Row) { r.Source = "" }), "source is"},
		{"state unknown", row(func(r *advisory.Row) { r.State = "maybe" }), "state is"},
		{"never with a version", row(func(r *advisory.Row) { r.State = advisory.RowNever }), "has no version"},
		{"open beside fixed", row(func(r *advisory.Row) { r.Open = "6.12.85-1" }), "open goes with seen"},
		{"fixed without a version", row(func(r *advisory.Row) { r.Version = "" }), "is empty"},
		{"version of another manager", row(func(r *advisory.Row) { r.Version = "6.12^1-1" }), "has '^'"},
		{"open above seen", func(a *advisory.Advisory) { a.Rows[1].Open = "6.8.0-1059" }, "want it below"},
		{"open senseless", func(a *advisory.Advisory) { a.Rows[1].Open = "x" }, "start with a digit"},
		{"stream twice", func(a *advisory.Advisory) { a.Rows = append(a.Rows, a.Rows[0]) }, "stands there twice"},
		{"too many rows", func(a *advisory.Advisory) { a.Rows = make([]advisory.Row, 257) }, "at most 256"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := sample()
			c.change(&a)
			if err := a.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Check gives %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestOldMainlineReleases(t *testing.T) {
	a := sample()
	a.Introduced = releases("2.6.12")
	if err := a.Check(); err != nil {
		t.Error(err)
	}
}

func TestRowRoundTrip(t *testing.T) {
	for _, row := range sample().Rows {
		got, err := advisory.ParseRow(row.String())
		if err != nil || got != row {
			t.Errorf("ParseRow(%q) is %+v, %v, want %+v", row, got, err, row)
		}
	}
	for _, line := range []string{"", "debian", "a; b; c; d; e", "a; b; c; d; e; f; g"} {
		if row, err := advisory.ParseRow(line); err == nil {
			t.Errorf("ParseRow(%q) is %+v, want an error", line, row)
		}
	}
}

// TestFindings sees the words: which rule decided, by whose word, and what would help.
func TestFindings(t *testing.T) {
	const mitigated = "esp4: module_blacklist=; esp6: not in this kernel"
	for _, c := range []struct {
		name   string
		kernel advisory.Kernel
		closed advisory.Closed
		want   advisory.Finding
	}{
		{"fixed by its package", advisory.Kernel{Release: "6.12.86+deb13-amd64", Version: "#1 SMP Debian 6.12.86-1 (2026-05-09)"}, nil,
			advisory.Finding{Status: advisory.Fixed, Rule: "debian 6.12.86-1 (6.12) is at or above 6.12.86-1", Source: "DSA-6253-1"}},
		{"below its package", advisory.Kernel{Release: "6.12.85+deb13-amd64", Version: "#1 SMP Debian 6.12.85-1 (2026-05-01)"}, nil,
			advisory.Finding{Status: advisory.Vulnerable, Rule: "debian 6.12.85-1 (6.12) is below 6.12.86-1", Source: "DSA-6253-1", Needs: "debian 6.12.86-1 or later of 6.12"}},
		{"known to be open", advisory.Kernel{Release: "6.8.0-1050-azure", Version: "#1-Ubuntu SMP", ID: "ubuntu"}, nil,
			advisory.Finding{Status: advisory.Unknown, Rule: "ubuntu 6.8.0-1050.1 (linux-azure 6.8): the advisory has no word on this stream, and upstream 6.8-rc0 does not have the fix", Source: "kernel CNA", Needs: "upstream 7.1-rc3"}},
		{"known to lack it", advisory.Kernel{Release: "6.8.0-1040-azure", Version: "#47-Ubuntu SMP", ID: "ubuntu"}, nil,
			advisory.Finding{Status: advisory.Vulnerable, Rule: "ubuntu 6.8.0-1040.47 (linux-azure 6.8) is at or below 6.8.0-1050.1~x, which lacks the fix", Source: "AgentBaker", Needs: "ubuntu 6.8.0-1058 or later of linux-azure 6.8"}},
		{"a stream without a fix", advisory.Kernel{Release: "5.14.0-611.55.1.el9_7.x86_64", ID: "rhel"}, nil,
			advisory.Finding{Status: advisory.Vulnerable, Rule: "rhel 5.14.0-611.55.1.el9_7 (el9_7): the stream el9_7 never got the fix", Source: "Red Hat"}},
		{"never had it", advisory.Kernel{Release: "4.18.0-553.1.1.el8_10.x86_64", ID: "rhel"}, nil,
			advisory.Finding{Status: advisory.Fixed, Rule: "rhel 4.18.0-553.1.1.el8_10 (el8_10) never had the flaw", Source: "Red Hat"}},
		{"upstream fixed", advisory.Kernel{Release: "7.0.6"}, nil,
			advisory.Finding{Status: advisory.Fixed, Rule: "upstream 7.0.6: it contains 7.0.6, and 7.0.5 has the fix", Source: "kernel CNA"}},
		{"upstream open", advisory.Kernel{Release: "7.0.4"}, nil,
			advisory.Finding{Status: advisory.Vulnerable, Rule: "upstream 7.0.4: 7.0.5 has the fix", Source: "kernel CNA", Needs: "upstream 7.0.5 or later of its branch, or 7.1-rc3"}},
		{"a branch without a fix", advisory.Kernel{Release: "6.19.14"}, nil,
			advisory.Finding{Status: advisory.Vulnerable, Rule: "upstream 6.19.14: branch 6.19 never got the fix", Source: "kernel CNA", Needs: "upstream 7.1-rc3"}},
		{"before the flaw", advisory.Kernel{Release: "4.10.17"}, nil,
			advisory.Finding{Status: advisory.Fixed, Rule: "upstream 4.10.17: the flaw came with 4.11", Source: "kernel CNA"}},
		{"before the flaw in its branch", advisory.Kernel{Release: "4.4.39"}, nil,
			advisory.Finding{Status: advisory.Fixed, Rule: "upstream 4.4.39: the flaw came with 4.4.40", Source: "kernel CNA"}},
		{"a candidate of the introduction", advisory.Kernel{Release: "4.11-rc2"}, nil,
			advisory.Finding{Status: advisory.Unknown, Rule: "upstream 4.11-rc2: the flaw came in a candidate of 4.11, which one is not known", Source: "kernel CNA", Needs: "upstream 7.1-rc3"}},
		{"of unknown make", advisory.Kernel{Release: "6.12.80-acme"}, nil,
			advisory.Finding{Status: advisory.Unknown, Rule: "a kernel of unknown make: upstream 6.12.80 does not have the fix, the kernel may have it as a patch", Source: "kernel CNA", Needs: "upstream 6.12.87 or later of its branch, or 7.1-rc3"}},
		{"live patched", advisory.Kernel{Release: "7.0.4", LivePatched: true}, nil,
			advisory.Finding{Status: advisory.Unknown, Rule: "a live patch is loaded, and what it mends does not show; without it: upstream 7.0.4: 7.0.5 has the fix", Needs: "upstream 7.0.5 or later of its branch, or 7.1-rc3"}},
		{"mitigated", advisory.Kernel{Release: "7.0.4"}, advisory.Closed{"esp4": "module_blacklist=", "esp6": "not in this kernel", "rxrpc": "x"},
			advisory.Finding{Status: advisory.Mitigated, Rule: mitigated, Source: "kernel CNA", Needs: "upstream 7.0.5 or later of its branch, or 7.1-rc3"}},
		{"half closed", advisory.Kernel{Release: "7.0.4"}, advisory.Closed{"esp4": "module_blacklist="},
			advisory.Finding{Status: advisory.Vulnerable, Rule: "upstream 7.0.4: 7.0.5 has the fix", Source: "kernel CNA", Needs: "upstream 7.0.5 or later of its branch, or 7.1-rc3"}},
		{"not a release", advisory.Kernel{Release: "linux"}, nil,
			advisory.Finding{Status: advisory.Unknown, Rule: `cannot tell which kernel it is: kernel release "linux": does not start with a number, want the form 7.0.6`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.CVE = "CVE-2026-43284"
			if got := advisory.Decide(c.kernel, sample(), c.closed); got != c.want {
				t.Errorf("finding is\n%+v\nwant\n%+v", got, c.want)
			}
		})
	}
}

// TestNothingToClose: what no block closes stays open, whatever is closed.
func TestNothingToClose(t *testing.T) {
	a := sample()
	a.Modules = nil
	if got := advisory.Decide(advisory.Kernel{Release: "7.0.4"}, a, advisory.Closed{"esp4": "x", "": "x"}); got.Status != advisory.Vulnerable {
		t.Errorf("status is %s, want vulnerable", got.Status)
	}
}

func TestUnaffectedAloneCoversMore(t *testing.T) {
	a := sample()
	a.Rows = []advisory.Row{{Distribution: "rhel", Stream: "el9", State: advisory.RowFixed, Version: "5.14.0-1.el9", Source: "s"}}
	if got := advisory.Decide(advisory.Kernel{Release: "5.14.0-611.55.1.el9_7.x86_64", ID: "rhel"}, a, nil); got.Status != advisory.Unknown {
		t.Errorf("status of el9_7 by a row of el9 is %s, want unknown", got.Status)
	}
}

func TestTableAges(t *testing.T) {
	day := func(text string) time.Time {
		d, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	open := sample()
	open.CVE, open.Fixed = "CVE-2026-46300", releases("7.1")
	for _, c := range []struct {
		name    string
		now     string
		maxAge  int
		stale   advisory.Stale
		status  advisory.Status
		rule    string
		warning string
	}{
		{"young", "2026-09-20T23:59:59Z", 30, "", advisory.Fixed, "upstream", ""},
		{"old", "2026-09-21T00:00:00Z", 30, "", advisory.Unknown, "the advisory is of 2026-08-21, 31 days ago, and holds for 30; by it: upstream 7.0.6", ""},
		{"old, unknown said", "2026-09-21T00:00:00Z", 30, advisory.StaleUnknown, advisory.Unknown, "31 days ago", ""},
		{"old, warn said", "2026-09-21T00:00:00Z", 30, advisory.StaleWarn, advisory.Fixed, "upstream", "31 days ago"},
		{"old, no limit", "2036-09-21T00:00:00Z", 0, "", advisory.Fixed, "upstream", ""},
		{"clock not set", "1970-01-01T00:00:10Z", 30, "", advisory.Unknown, "the clock says 1970-01-01, which is before the advisory's date 2026-08-21", ""},
		{"clock not set, warn", "1970-01-01T00:00:10Z", 30, advisory.StaleWarn, advisory.Fixed, "upstream", "the clock says 1970-01-01"},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := advisory.Table{Advisories: []advisory.Advisory{sample(), open}, MaxAge: c.maxAge, Stale: c.stale}
			got := table.Decide(advisory.Kernel{Release: "7.0.6"}, nil, day(c.now))
			if len(got) != 2 || got[0].CVE != "CVE-2026-43284" || got[0].Status != c.status || !strings.Contains(got[0].Rule, c.rule) ||
				!strings.Contains(got[0].Warning, c.warning) || (c.warning == "") != (got[0].Warning == "") {
				t.Errorf("findings are %+v, want %s, rule with %q, warning with %q", got, c.status, c.rule, c.warning)
			}
			// Age makes nothing worse than unknown.
			if got[1].Status != advisory.Vulnerable {
				t.Errorf("the open one is %+v, want it vulnerable at any age", got[1])
			}
		})
	}
}

// FuzzDecide feeds kernels that lie: whatever they say, there is an answer, and no
// release alone is fixed between the flaw and the first fix.
func FuzzDecide(f *testing.F) {
	for _, k := range []advisory.Kernel{
		{Release: "6.12.86+deb13-amd64", Version: "#1 SMP Debian 6.12.86-1 (2026-05-09)", ID: "debian", Package: "6.12.86-1"},
		{Release: "6.8.0-1058-azure", Version: "#66-Ubuntu SMP", Signature: "Ubuntu 6.8.0-1058.66-azure 6.8.12", ID: "ubuntu"},
		{Release: "5.14.0-611.55.1.el9_7.x86_64", ID: "rhel"},
		{Release: "6.12.79", ID: "bottlerocket", VersionID: "1.61.0"},
	} {
		if got := advisory.Decide(k, sample(), nil); strings.Contains(got.Rule, "cannot tell") {
			f.Fatalf("seed %+v: %s", k, got.Rule)
		}
		f.Add(k.Release, k.Version, k.Signature, k.ID, k.VersionID, k.Package)
	}
	f.Fuzz(func(t *testing.T, release, version, signature, id, versionID, pkg string) {
		k := advisory.Kernel{Release: release, Version: version, Signature: signature, ID: id, VersionID: versionID, Package: pkg}
		a := sample()
		got := advisory.Decide(k, a, nil)
		if got.CVE != a.CVE || got.Rule == "" {
			t.Errorf("%+v: %+v", k, got)
		}
		r, err := kver.Parse(release)
		if err != nil || kver.Compare(r, releases("4.12")[0]) < 0 || kver.Compare(r, releases("6.12.87")[0]) >= 0 {
			return
		}
		if got := advisory.Decide(advisory.Kernel{Release: release}, a, nil); got.Status == advisory.Fixed {
			t.Errorf("%q alone is fixed: %s", release, got.Rule)
		}
	})
}
