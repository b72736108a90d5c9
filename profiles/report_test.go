package profiles

import (
	"reflect"
	"testing"
)

// TestReport merges two files: what either asks for is on, and neither can take from the
// other.
func TestReport(t *testing.T) {
	none := []string{}
	for name, c := range map[string]struct {
		base, top string
		want      Report
	}{
		"not said":             {"", "", Report{NodeExporter: none}},
		"said off":             {"[report]\nmotd = false\nnode_exporter = false", "report.node_problem_detector = false", Report{NodeExporter: none}},
		"all on":               {"[report]\nmotd = true\nnode_exporter = true", "[report]\nnode_problem_detector = true\nnode_feature_discovery = true", Report{true, []string{TextfileDir}, true, true}},
		"taken away":           {"[report]\nmotd = true\nnode_exporter = true", "[report]\nmotd = false\nnode_exporter = false", Report{Motd: true, NodeExporter: []string{TextfileDir}}},
		"a directory":          {"", `report.node_exporter = "/srv/textfiles"`, Report{NodeExporter: []string{"/srv/textfiles"}}},
		"two directories":      {"report.node_exporter = true", `report.node_exporter = "/srv/textfiles"`, Report{NodeExporter: []string{"/srv/textfiles", TextfileDir}}},
		"one directory, twice": {"report.node_exporter = true", `report.node_exporter = "` + TextfileDir + `"`, Report{NodeExporter: []string{TextfileDir}}},
	} {
		t.Run(name, func(t *testing.T) {
			p := loadWith(t, c.base, c.top)
			if !reflect.DeepEqual(p.Report, c.want) {
				t.Errorf("report is %+v, want %+v", p.Report, c.want)
			}
			if p.Report.Any() != (name != "not said" && name != "said off") {
				t.Errorf("Any is %v for %+v", p.Report.Any(), p.Report)
			}
		})
	}
}

// TestReportDigest wants each channel in the digest, and silence not.
func TestReportDigest(t *testing.T) {
	digest := func(lines string) string {
		p, err := LoadBytes("p", []byte(head+lines))
		if err != nil {
			t.Fatal(err)
		}
		return p.Digest()
	}
	silent := digest("")
	if got := digest("[report]\nmotd = false\nnode_exporter = false"); got != silent {
		t.Errorf("said to be off: digest %s, want %s", got, silent)
	}
	seen := map[string]string{silent: "silent"}
	for _, line := range []string{"motd = true", "node_exporter = true", `node_exporter = "/srv/x"`, "node_problem_detector = true", "node_feature_discovery = true"} {
		got := digest("[report]\n" + line)
		if other, taken := seen[got]; taken {
			t.Errorf("%s has the digest of %s", line, other)
		}
		seen[got] = line
	}
}
