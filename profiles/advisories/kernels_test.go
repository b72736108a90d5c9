package advisories_test

import (
	"os"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/initcheck/advisory"
	"github.com/kerngate/kerngate/profiles/advisories"
)

// labelled is one line of testdata/kernels.txt.
type labelled struct {
	line   int
	text   string
	kernel advisory.Kernel
	closed advisory.Closed
	want   map[string]advisory.Status // by CVE
	why    string                     // for what is unknown
}

func readLabelled(t *testing.T) []labelled {
	t.Helper()
	data, err := os.ReadFile("testdata/kernels.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []labelled
	for i, text := range strings.Split(string(data), "\n") {
		if text == "" || text[0] == '#' {
			continue
		}
		all = append(all, parseLabelled(t, i+1, text))
	}
	return all
}

func parseLabelled(t *testing.T, line int, text string) labelled {
	t.Helper()
	fields := strings.Split(text, " | ")
	l := labelled{line: line, text: text, kernel: advisory.Kernel{Release: fields[0]}, want: map[string]advisory.Status{}}
	source := ""
	for _, field := range fields[1:] {
		key, value, _ := strings.Cut(field, ": ")
		switch key {
		case "v":
			l.kernel.Version = value
		case "sig":
			l.kernel.Signature = value
		case "os":
			l.kernel.ID, l.kernel.VersionID, _ = strings.Cut(value, " ")
		case "pkg":
			l.kernel.Package = value
		case "foreign":
			l.kernel.Foreign = value == "yes"
		case "live":
			l.kernel.LivePatched = value == "yes"
		case "closed":
			l.closed = advisory.Closed{}
			for _, m := range strings.Fields(value) {
				l.closed[m] = "module_blacklist="
			}
		case "want":
			l.label(t, value)
		case "from":
			source = value
		case "why":
			l.why = value
		default:
			t.Fatalf("line %d: field %q is unknown", line, key)
		}
	}
	if len(l.kernel.Version) > 64 {
		t.Fatalf("line %d: uname -v is %d bytes long, and the kernel cuts it at 64", line, len(l.kernel.Version))
	}
	if source == "" || len(l.want) == 0 {
		t.Fatalf("line %d has no source or no label: %s", line, text)
	}
	return l
}

func (l labelled) label(t *testing.T, labels string) {
	t.Helper()
	for _, label := range strings.Fields(labels) {
		number, status, _ := strings.Cut(label, "=")
		switch s := advisory.Status(status); s {
		case advisory.Fixed, advisory.Mitigated, advisory.Vulnerable, advisory.Unknown:
			if number != "all" {
				l.want["CVE-2026-"+number] = s
				continue
			}
			for _, table := range advisories.Shipped() {
				l.want[table.CVE] = s
			}
		default:
			t.Fatalf("line %d: label %q", l.line, label)
		}
	}
}

// TestLabelledKernels is the measure of the whole: kernels of which somebody else says
// what they are.
func TestLabelledKernels(t *testing.T) {
	kernels, counted := map[string]bool{}, map[advisory.Status]int{}
	wrong, unjustified := 0, 0
	for _, l := range readLabelled(t) {
		identity, _, _ := strings.Cut(l.text, " | want: ")
		kernels[identity] = true
		for cve, want := range l.want {
			table, found := advisories.Lookup(cve)
			if !found {
				t.Fatalf("line %d: no table of %s", l.line, cve)
			}
			got := advisory.Decide(l.kernel, table.Advisory, l.closed)
			counted[want]++
			if got.Status != want {
				wrong++
				t.Errorf("line %d: %s is %s, want %s\n\trule: %s\n\t%s", l.line, cve, got.Status, want, got.Rule, identity)
			}
			if got.Status == advisory.Unknown && l.why == "" {
				unjustified++
				t.Errorf("line %d: %s is unknown, and the line does not say why", l.line, cve)
			}
		}
	}
	if len(kernels) < 300 {
		t.Errorf("kernels: %d, want at least 300", len(kernels))
	}
	for _, s := range []advisory.Status{advisory.Fixed, advisory.Mitigated, advisory.Vulnerable, advisory.Unknown} {
		if counted[s] == 0 {
			t.Errorf("no label is %s", s)
		}
	}
	t.Logf("%d kernels, %d labels (%d fixed, %d vulnerable, %d unknown, %d mitigated): %d wrong, %d unknown without a reason", len(kernels),
		counted[advisory.Fixed]+counted[advisory.Vulnerable]+counted[advisory.Unknown]+counted[advisory.Mitigated],
		counted[advisory.Fixed], counted[advisory.Vulnerable], counted[advisory.Unknown], counted[advisory.Mitigated], wrong, unjustified)
}
