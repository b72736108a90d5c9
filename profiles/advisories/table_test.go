package advisories_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/initcheck/advisory"
	"github.com/kerngate/kerngate/profiles/advisories"
)

const sample = `# Dirty Frag (ESP)

schema = 1
cve = "CVE-2026-43284"
name = "Dirty Frag (ESP)"
title = "xfrm: esp: avoid \"in-place\" decrypt"
date = "2026-08-21"
source = "kernel CNA"
modules = ["esp4", "esp6"]
introduced = ["4.11"]
fixed = ["6.12.87", "7.0.5", "7.1-rc3"]
never = ["6.19"]

[[distribution]]
id = "debian"
stream = "6.12"
fixed = "6.12.86-1"
source = "DSA-6253-1"
note = "trixie"

[[distribution]]
id = "amzn"
stream = "amzn2023 6.12"
seen = "6.12.83-113.160.amzn2023"
open = "6.12.79-101.147.amzn2023"
source = "AWS"

[[distribution]]
id = "rhel"
stream = "el9_7"
never = true
source = "Red Hat"

[[distribution]]
id = "rhel"
stream = "el7"
unaffected = true
source = "Red Hat"
`

func TestFormatReadsBack(t *testing.T) {
	table, err := advisories.Parse("sample", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(advisories.Format(table)); got != sample {
		t.Errorf("Format gives\n%s\nwant\n%s", got, sample)
	}
	want := advisory.Row{Distribution: "amzn", Stream: "amzn2023 6.12", State: advisory.RowSeen, Version: "6.12.83-113.160.amzn2023", Open: "6.12.79-101.147.amzn2023", Source: "AWS"}
	if table.Rows[1] != want || table.Notes[0] != "trixie" {
		t.Errorf("rows are %+v, notes %q", table.Rows, table.Notes)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"no TOML", `"4.11"]`, `"4.11`, "is not TOML"},
		{"no UTF-8", "in-place", "in\xffplace", "is not UTF-8"},
		{"another schema", "schema = 1", "schema = 2", "schema is 2, want 1"},
		{"no schema", "schema = 1\n", "", "schema is missing"},
		{"unknown key", "source = \"kernel CNA\"", "sauce = \"kernel CNA\"", "key sauce is unknown"},
		{"unknown key of a row", "note = ", "nota = ", "key distribution.nota is unknown"},
		{"capitals", "title =", "Title =", "line 6"},
		{"wrong type", `["4.11"]`, `"4.11"`, "is not TOML"},
		{"no title", `title = "xfrm: esp: avoid \"in-place\" decrypt"`, "", "title is missing"},
		{"control character", `"Dirty Frag (ESP)"`, `"Dirty\u001b[2J"`, "name is"},
		{"release of a distribution", `"7.0.5"`, `"7.0.5-22-generic"`, "is no part of an upstream release"},
		{"two of one branch", `"7.0.5"`, `"7.0.5", "7.0.6"`, "of one branch"},
		{"date", "2026-08-21", "yesterday", "date is"},
		{"never that is fixed", `never = ["6.19"]`, `never = ["7.0"]`, "and fixed has a release of it"},
		{"never before the flaw", `never = ["6.19"]`, `never = ["4.9"]`, "is not between 4.11 and 7.1"},
		{"never a release", `never = ["6.19"]`, `never = ["6.19.1"]`, "want branches"},
		{"row with two answers", "never = true", "never = true\nunaffected = true", "it says 2 of fixed, seen, never and unaffected"},
		{"row without an answer", "never = true\n", "", "it says 0 of"},
		{"row of nobody", `id = "debian"`, `id = "plan9"`, "distribution is unknown"},
		{"row without a source", "source = \"AWS\"\n", "", "source is"},
		{"single table", "[[distribution]]", "[distribution]", "line 14"},
		{"inline table", `"DSA-6253-1"`, `{ a = 1 }`, "nested or longer than a line"},
		{"nested array", `["esp4", "esp6"]`, `[["esp4"]]`, "nested or longer than a line"},
		{"long string", `"DSA-6253-1"`, `"""DSA"""`, "nested or longer than a line"},
		{"dotted key", "never = true", "never.a = true", "line 31"},
		{"note of two lines", `"trixie"`, `"a\nb"`, "note is"},
	} {
		t.Run(c.name, func(t *testing.T) {
			table, err := advisories.Parse("sample.toml", []byte(replaced(t, sample, c.old, c.new)))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Parse gives %+v, %v, want an error with %q", table, err, c.want)
			}
		})
	}
	if _, err := advisories.Parse("x", []byte(strings.Repeat("#", 33<<10))); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("33 KiB give %v", err)
	}
}

func TestFaultsComeTogether(t *testing.T) {
	text := strings.NewReplacer("source = \"kernel CNA\"", "sauce = \"x\"", "never = true\n", "", `"7.0.5"`, `"new"`).Replace(sample)
	_, err := advisories.Parse("sample.toml", []byte(text))
	for _, want := range []string{"sample.toml", "sauce is unknown", "it says 0 of", "fixed: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q: %v", want, err)
		}
	}
}

func TestLoad(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.toml")
	if err := os.WriteFile(name, []byte(sample), 0o600); err != nil {
		t.Fatal(err)
	}
	if table, err := advisories.Load(name); err != nil || table.CVE != "CVE-2026-43284" {
		t.Errorf("Load gives %v, %v", table.CVE, err)
	}
	if _, err := advisories.Load(filepath.Dir(name)); err == nil || !strings.Contains(err.Error(), "is no regular file") {
		t.Errorf("Load of a directory gives %v", err)
	}
	if _, err := advisories.Load("/dev/zero"); err == nil || !strings.Contains(err.Error(), "is no regular file") {
		t.Errorf("Load of a device gives %v", err)
	}
}

// TestShipped: the files are what Format writes, so that an import changes nothing but
// facts, and each is named after its CVE.
func TestShipped(t *testing.T) {
	tables := advisories.Shipped()
	if len(tables) != 22 {
		t.Errorf("tables: %d, want the 22 of the family", len(tables))
	}
	for _, table := range tables {
		text, err := os.ReadFile(table.CVE + ".toml")
		if err != nil {
			t.Fatal(err)
		}
		if got := advisories.Format(table); string(got) != string(text) {
			t.Errorf("%s.toml is not as Format writes it, which is\n%s", table.CVE, got)
		}
	}
	if _, found := advisories.Lookup("CVE-2026-99999"); found {
		t.Error("a CVE that is not shipped was found")
	}
}

func FuzzParse(f *testing.F) {
	if _, err := advisories.Parse("seed", []byte(sample)); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(sample))
	f.Fuzz(func(t *testing.T, data []byte) {
		table, err := advisories.Parse("fuzz", data)
		if err != nil {
			return
		}
		text := advisories.Format(table)
		back, err := advisories.Parse("fuzz", text)
		if err != nil || string(advisories.Format(back)) != string(text) {
			t.Errorf("does not read back: %v\n%s", err, text)
		}
	})
}
