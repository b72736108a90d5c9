package notify

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kerngate/kerngate/initcheck"
)

func notices(t *testing.T) Notices {
	dir := filepath.Join(t.TempDir(), "initcheck")
	return Notices{Metrics: filepath.Join(dir, "initcheck.prom"), Features: filepath.Join(dir, "features"), Motd: filepath.Join(dir, "motd")}
}

func text(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// overridden is a report that passes although a rule refuses.
func overridden(reason string) Report {
	r := report(refuse("module algif_hash is loaded"), pass("a"))
	r.Verdict, r.Override = "pass", reason
	return r
}

const hostile = "a\"b\\c\n\x1b[2J{}\xff,=ä\\S"

// everyReport is one of each kind, and hostile ones.
func everyReport() map[string]Report {
	all := map[string]Report{
		"pass": report(pass("a"), pass("b")), "refuse": report(refuse("below the floor"), pass("a"), initcheck.Finding{Rule: "r", Outcome: initcheck.Doubt, Text: "cannot tell"}),
		"breach": breach(false), "breach, reported": breach(true), "override": overridden("ticket 4711"), "nothing": {},
		"hostile": report(refuse(hostile)), "hostile override": overridden(hostile), "long": report(refuse(strings.Repeat("ä", 5000))),
	}
	for name, r := range all {
		if strings.HasPrefix(name, "hostile") {
			r.Profile, r.Kernel, r.Version = hostile, hostile+strings.Repeat("x", 200), hostile
			all[name] = r
		}
	}
	return all
}

// TestMetrics has promtool read and lint the metrics of every kind of report.
func TestMetrics(t *testing.T) {
	for name, r := range everyReport() {
		cmd := exec.Command("promtool", "check", "metrics")
		cmd.Stdin = strings.NewReader(metrics(r))
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			if errors.Is(err, exec.ErrNotFound) {
				t.Fatalf("%v: install the package prometheus", err)
			}
			t.Errorf("%s: promtool: %v\n%s\nof\n%s", name, err, out, metrics(r))
		}
	}
	cmd := exec.Command("promtool", "check", "metrics")
	cmd.Stdin = strings.NewReader("initcheck_info{profile=\"a\"b\"} 1\n")
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Errorf("promtool takes a quote that is not escaped: %s", out)
	}
}

func TestMetricsGolden(t *testing.T) {
	const want = `# HELP initcheck_pass Whether the last verdict lets inference units start.
# TYPE initcheck_pass gauge
initcheck_pass 1
# HELP initcheck_override Whether the last verdict passes by a break-glass, although rules refuse.
# TYPE initcheck_override gauge
initcheck_override 1
# HELP initcheck_breach Whether the last verdict refuses for a module that was loaded after the boot.
# TYPE initcheck_breach gauge
initcheck_breach 0
# HELP initcheck_last_check_timestamp_seconds When the last verdict was made, by a clock that may not have been set.
# TYPE initcheck_last_check_timestamp_seconds gauge
initcheck_last_check_timestamp_seconds 1795309323
# HELP initcheck_findings Rules of the policy by what they came to.
# TYPE initcheck_findings gauge
initcheck_findings{outcome="pass"} 1
initcheck_findings{outcome="refuse"} 1
initcheck_findings{outcome="doubt"} 0
# HELP initcheck_info What the last verdict was made by and of; the value is always 1.
# TYPE initcheck_info gauge
initcheck_info{version="v1.2.3",verb="check",profile="a\"b\\x0a",kernel="7.2.12+deb14-cloud-amd64"} 1
`
	r := overridden("ticket")
	r.Profile = "a\"b\n"
	if got := metrics(r); got != want {
		t.Errorf("metrics are\n%s\nwant\n%s", got, want)
	}
	for name, want := range map[string]string{"pass": "initcheck_pass 1\n", "refuse": "initcheck_pass 0\n", "breach": "initcheck_breach 1\n", "nothing": "initcheck_pass 0\n"} {
		if got := metrics(everyReport()[name]); !strings.Contains(got, want) {
			t.Errorf("%s: metrics are\n%s\nwant in them %q", name, got, want)
		}
	}
}

// featureLine is a name and a value as Kubernetes takes them for a label
// (IsQualifiedName and IsValidLabelValue of its apimachinery).
var featureLine = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?=([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$`)

func TestFeatures(t *testing.T) {
	for name, r := range everyReport() {
		lines := strings.Split(strings.TrimSuffix(features(r), "\n"), "\n")
		if len(lines) != 5 {
			t.Errorf("%s: features are %q, want 5", name, lines)
		}
		for _, line := range lines {
			if !featureLine.MatchString(line) {
				t.Errorf("%s: feature %q is no label", name, line)
			}
		}
	}
	for name, want := range map[string]string{
		"pass":     "initcheck.pass=true\ninitcheck.override=false\ninitcheck.breach=false\ninitcheck.profile=llm-node\ninitcheck.kernel=7.2.12_deb14-cloud-amd64\n",
		"override": "initcheck.pass=true\ninitcheck.override=true\ninitcheck.breach=false\ninitcheck.profile=llm-node\ninitcheck.kernel=7.2.12_deb14-cloud-amd64\n",
		"breach":   "initcheck.pass=false\ninitcheck.override=false\ninitcheck.breach=true\ninitcheck.profile=llm-node\ninitcheck.kernel=7.2.12_deb14-cloud-amd64\n",
		"nothing":  "initcheck.pass=false\ninitcheck.override=false\ninitcheck.breach=false\ninitcheck.profile=\ninitcheck.kernel=\n",
	} {
		if got := features(everyReport()[name]); got != want {
			t.Errorf("%s: features are\n%s\nwant\n%s", name, got, want)
		}
	}
}

// TestMotd: it is there while refused or overridden, and drives neither a terminal nor agetty.
func TestMotd(t *testing.T) {
	n := notices(t)
	for name, r := range everyReport() {
		if err := n.Write(r); err != nil {
			t.Fatal(err)
		}
		if name == "pass" {
			wantNames(t, filepath.Dir(n.Motd), "features", "initcheck.prom")
			continue
		}
		got := text(t, n.Motd)
		if strings.ContainsAny(got, "\\\x1b") || strings.Count(got, "\n") != 2 || len(got) > 600 || !strings.HasSuffix(got, "\nLook at: initcheck status; initcheck explain\n") {
			t.Errorf("%s: motd is %q", name, got)
		}
	}
	if err := n.Write(overridden("ticket")); err != nil || !strings.HasPrefix(text(t, n.Motd), "initcheck: OVERRIDE: ticket: would refuse: module algif_hash is loaded\n") {
		t.Errorf("%v, %q", err, text(t, n.Motd))
	}
}

func TestNoticesFiles(t *testing.T) {
	n := notices(t)
	if err := n.Clear(); err != nil {
		t.Errorf("clearing none: %v", err)
	}
	if err := n.Write(report(refuse("a"))); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{n.Metrics, n.Features, n.Motd} {
		wantMode(t, path, 0o644)
	}
	wantNames(t, filepath.Dir(n.Motd), "features", "initcheck.prom", "motd")
	if err := n.Clear(); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(filepath.Dir(n.Motd)); err != nil || len(entries) > 0 {
		t.Errorf("after Clear: %v, %v", entries, err)
	}
}

// TestNoticesInTheWay: one that cannot be written is said, and the others are written.
func TestNoticesInTheWay(t *testing.T) {
	n := notices(t)
	if err := os.MkdirAll(filepath.Join(n.Metrics, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{"cannot write the metrics: ": n.Write(report(refuse("a"))), "cannot remove the metrics: ": n.Clear()} {
		if err == nil || !strings.HasPrefix(err.Error(), what) || strings.Contains(err.Error(), "features") {
			t.Errorf("error is %v, want %q of the metrics alone", err, what)
		}
	}
	if _, err := os.Lstat(n.Features); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the features are left by Clear: %v", err)
	}
}

func TestShort(t *testing.T) {
	for name, want := range map[string]string{
		"pass": "pass: kernel 7.2.12+deb14-cloud-amd64, 2 rules", "refuse": "refuse: below the floor", "breach": "breach: module algif_hash is loaded",
		"override": "OVERRIDE: ticket 4711", "nothing": "refuse: no reason was recorded",
	} {
		if got := everyReport()[name].Short(80); got != want {
			t.Errorf("%s: Short is %q, want %q", name, got, want)
		}
	}
	for name, r := range everyReport() {
		if got := r.Short(80); len(got) > 80 || strings.ContainsAny(got, "\n\x1b") {
			t.Errorf("%s: Short is %q of %d bytes, want one line of 80", name, got, len(got))
		}
	}
}

func FuzzNotices(f *testing.F) {
	for _, r := range everyReport() {
		f.Add(r.Profile, r.Kernel, r.Override)
	}
	f.Fuzz(func(t *testing.T, profile, kernel, reason string) {
		r := report(refuse(reason))
		r.Profile, r.Kernel, r.Time = profile, kernel, time.Unix(0, 0)
		for line := range strings.Lines(features(r)) {
			if !featureLine.MatchString(strings.TrimSuffix(line, "\n")) {
				t.Errorf("feature %q is no label", line)
			}
		}
		if n := strings.Count(metrics(r), "\n"); n != 20 {
			t.Errorf("metrics have %d lines, want 20:\n%s", n, metrics(r))
		}
		if strings.Count(motd(r), "\n") != 2 || strings.Contains(motd(r), `\`) {
			t.Errorf("motd is %q", motd(r))
		}
	})
}
