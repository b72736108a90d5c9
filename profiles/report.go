package profiles

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Report says who is told of the verdict besides the console, the journal and the report
// in /run. The zero value is nobody.
type Report struct {
	// Motd has a refusal told to whoever logs in, and in front of the login prompt.
	Motd bool `json:"motd"`
	// NodeExporter are directories from which a node_exporter reads text files, sorted.
	NodeExporter []string `json:"node_exporter"`
	// NodeProblemDetector has the verdict as a condition of the Kubernetes node.
	NodeProblemDetector bool `json:"node_problem_detector"`
	// NodeFeatureDiscovery has it as labels of the Kubernetes node.
	NodeFeatureDiscovery bool `json:"node_feature_discovery"`
}

// TextfileDir is the directory of text files that Debian's prometheus-node-exporter is
// built with: what node_exporter = true means.
const TextfileDir = "/var/lib/prometheus/node-exporter"

// Any tells whether anybody is told.
func (r Report) Any() bool {
	return r.Motd || len(r.NodeExporter) > 0 || r.NodeProblemDetector || r.NodeFeatureDiscovery
}

// maxDir bounds the path of a directory: PATH_MAX is 4096, and nobody needs a tenth.
const maxDir = 255

// reportFields are the keys of [report].
var reportFields = []field{
	{key: "motd", kind: kindBoolean},
	{key: "node_exporter", kind: kindDirectory, check: checkTextfileDir},
	{key: "node_problem_detector", kind: kindBoolean},
	{key: "node_feature_discovery", kind: kindBoolean},
}

func checkTextfileDir(s string) string {
	if wrong := checkText(s); wrong != "" {
		return wrong
	}
	switch {
	case len(s) > maxDir:
		return fmt.Sprintf("is %d bytes long, want at most %d", len(s), maxDir)
	case !path.IsAbs(s) || path.Clean(s) != s || s == "/":
		return fmt.Sprintf("is %s, want true, false or the absolute path of a directory", quote(s))
	}
	// Empty when the system starts, or on no disk at all.
	for _, top := range []string{"/dev", "/proc", "/run", "/sys", "/tmp", "/var/run"} {
		if s == top || strings.HasPrefix(s, top+"/") {
			return fmt.Sprintf("is %s: what an image has below %s is not there once it runs", quote(s), top)
		}
	}
	return ""
}

func reportOf(value any) Report {
	values, _ := value.(map[string]any)
	r := Report{NodeExporter: []string{}}
	r.Motd, _ = values["motd"].(bool)
	r.NodeProblemDetector, _ = values["node_problem_detector"].(bool)
	r.NodeFeatureDiscovery, _ = values["node_feature_discovery"].(bool)
	switch said := values["node_exporter"].(type) {
	case bool:
		if said {
			r.NodeExporter = []string{TextfileDir}
		}
	case string:
		r.NodeExporter = []string{said}
	}
	return r
}

// with tells all whom one of two reports tells.
func (r Report) with(other Report) Report {
	dirs := append(slices.Clone(r.NodeExporter), other.NodeExporter...)
	slices.Sort(dirs)
	return Report{
		Motd:                 r.Motd || other.Motd,
		NodeExporter:         append([]string{}, slices.Compact(dirs)...),
		NodeProblemDetector:  r.NodeProblemDetector || other.NodeProblemDetector,
		NodeFeatureDiscovery: r.NodeFeatureDiscovery || other.NodeFeatureDiscovery,
	}
}

// canonical is what counts in the digest: nil where nobody is told.
func (r Report) canonical() *Report {
	if !r.Any() {
		return nil
	}
	return &r
}
