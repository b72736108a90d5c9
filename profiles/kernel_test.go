package profiles

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/profiles/advisories"
)

const copyFail = "kernel.advisories = [\"CVE-2026-31431\"]\n"

// TestKernelWeaken wants an extending file to add and never to take away.
func TestKernelWeaken(t *testing.T) {
	for name, c := range map[string]struct {
		base, top string
		want      string // what show says of it
	}{
		"all said once":           {"", copyFail + "kernel.floor = \"7.0.6\"\nkernel.accept_fixed = true\nkernel.accept_mitigated = true\nkernel.unknown = \"pass\"\nkernel.max_age = 30\nkernel.stale = \"warn\"", "7.0.6 fixed mitigated pass 30 warn 31431"},
		"nothing said":            {"", copyFail, " - - - 0 - 31431"},
		"base accepts":            {copyFail + "kernel.floor = \"7.0.6\"\nkernel.accept_fixed = true", "", "7.0.6 fixed - - 0 - 31431"},
		"top does not":            {copyFail + "kernel.floor = \"7.0.6\"\nkernel.accept_fixed = true", "kernel.accept_fixed = false", "7.0.6 - - - 0 - 31431"},
		"top has another floor":   {copyFail + "kernel.floor = \"7.0.6\"\nkernel.accept_fixed = true", "kernel.floor = \"7.1\"", "7.1 - - - 0 - 31431"},
		"advisories add up":       {copyFail, "kernel.advisories = [\"CVE-2026-46300\", \"CVE-2026-31431\", \"CVE-2026-31635\"]", " - - - 0 - 31431 31635 46300"},
		"mitigated taken":         {copyFail + "kernel.accept_mitigated = true", "kernel.advisories = [\"CVE-2026-46300\"]", " - - - 0 - 31431 46300"},
		"pass taken":              {copyFail + "kernel.unknown = \"pass\"", "kernel.unknown = \"refuse\"", " - - - 0 - 31431"},
		"pass kept":               {copyFail + "kernel.unknown = \"pass\"", "kernel.floor = \"7.0.6\"", "7.0.6 - - pass 0 - 31431"},
		"smaller age":             {copyFail + "kernel.max_age = 30", "kernel.max_age = 90", " - - - 30 - 31431"},
		"smaller age in the file": {copyFail + "kernel.max_age = 90", "kernel.max_age = 30", " - - - 30 - 31431"},
		"warn taken":              {copyFail + "kernel.max_age = 90\nkernel.stale = \"warn\"", "kernel.max_age = 30", " - - - 30 - 31431"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := kernelWords(loadWith(t, c.base, c.top).Kernel); got != c.want {
				t.Errorf("kernel is %q, want %q", got, c.want)
			}
		})
	}
}

func kernelWords(k Kernel) string {
	word := func(is bool, text string) string {
		if is {
			return text
		}
		return "-"
	}
	all := []string{k.Floor, word(k.AcceptFixed, "fixed"), word(k.AcceptMitigated, "mitigated"), word(k.Unknown != "", string(k.Unknown)), strconv.Itoa(k.MaxAge), word(k.Stale != "", string(k.Stale))}
	for _, t := range k.Advisories {
		all = append(all, strings.TrimPrefix(t.CVE, "CVE-2026-"))
	}
	return strings.Join(all, " ")
}

// TestAdvisoryFiles: a path is relative to the file that names it, and of two tables of
// one CVE the newer one counts.
func TestAdvisoryFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	table, _ := advisories.Lookup("CVE-2026-31431")
	table.Date = "2026-10-01"
	if err := os.MkdirAll("site/tables", 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, "site/tables/new.toml", string(advisories.Format(table)))
	table.Date = "2026-01-01"
	writeFile(t, "site/tables/old.toml", string(advisories.Format(table)))
	const head = "schema = 1\nname = \"p\"\ndescription = \"d\"\n"
	for _, c := range []struct{ list, date string }{
		{`"tables/new.toml"`, "2026-10-01"},
		{`"tables/new.toml", "CVE-2026-31431"`, "2026-10-01"},
		{`"CVE-2026-31431", "tables/new.toml"`, "2026-10-01"},
		{`"CVE-2026-31431", "tables/old.toml"`, "2026-08-21"},
	} {
		writeFile(t, "site/p.toml", head+"kernel.advisories = ["+c.list+"]\n")
		p, err := Load("site/p.toml")
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Kernel.Advisories; len(got) != 1 || got[0].Date != c.date {
			t.Errorf("%s gives %d tables, the first of %s, want one of %s", c.list, len(got), got[0].Date, c.date)
		}
	}
	_, err := LoadBytes("stdin", []byte(head+"kernel.advisories = [\"tables/new.toml\"]\n"))
	if want := `stdin:4: kernel.advisories: cannot follow the path "tables/new.toml": stdin is no file, name a shipped advisory`; err == nil || err.Error() != want {
		t.Errorf("from memory: %v, want %s", err, want)
	}
}

// TestKernelDigest wants every setting, and the content of tables, in the digest.
func TestKernelDigest(t *testing.T) {
	digest := func(lines string) string {
		t.Helper()
		p, err := LoadBytes("p", []byte("schema = 1\nname = \"p\"\ndescription = \"d\"\nkernel.floor = \"7.0.6\"\n"+lines))
		if err != nil {
			t.Fatal(err)
		}
		return p.Digest()
	}
	seen := map[string]string{digest(""): "nothing"}
	for _, lines := range []string{"", "kernel.accept_fixed = true", "kernel.accept_mitigated = true", "kernel.unknown = \"pass\"", "kernel.max_age = 3", "kernel.max_age = 4", "kernel.max_age = 3\nkernel.stale = \"warn\"",
		"kernel.pin.boot_below_floor = \"demote\"", "kernel.pin.boot_below_floor = \"remove\""} {
		d := digest(copyFail + lines)
		if before, found := seen[d]; found {
			t.Errorf("%q has the digest of %q", lines, before)
		}
		seen[d] = lines
	}
	if digest(copyFail) != digest(copyFail+"kernel.unknown = \"refuse\"\nkernel.accept_fixed = false\nkernel.pin.boot_below_floor = \"keep\"") {
		t.Error("defaults that are said change the digest")
	}
	p, err := LoadBytes("p", []byte("schema = 1\nname = \"p\"\ndescription = \"d\"\n"+copyFail))
	if err != nil {
		t.Fatal(err)
	}
	before := p.Digest()
	p.Kernel.Advisories[0].Rows = p.Kernel.Advisories[0].Rows[1:]
	if p.Digest() == before {
		t.Error("a table with a row less has the same digest")
	}
}
