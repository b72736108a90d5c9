package report

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/kerngate/kerngate/initcheck/policy"
)

// problemMonitorPath is in the directory whose files node-problem-detector is started
// with on AKS nodes; elsewhere its command line names the file.
const problemMonitorPath = "/etc/node-problem-detector.d/custom-plugin-monitor/initcheck.json"

// A custom plugin monitor, in the form of node-problem-detector's
// pkg/custompluginmonitor/types.
type (
	monitor struct {
		Plugin     string        `json:"plugin"`
		Config     monitorConfig `json:"pluginConfig"`
		Source     string        `json:"source"`
		Metrics    bool          `json:"metricsReporting"`
		Conditions []condition   `json:"conditions"`
		Rules      []rule        `json:"rules"`
	}
	monitorConfig struct {
		Interval  string `json:"invoke_interval"`
		Timeout   string `json:"timeout"`
		MaxOutput int    `json:"max_output_length"` // bytes of the message
		// FollowMessage: another reason for the same refusal is told, too.
		FollowMessage bool `json:"enable_message_change_based_condition_update"`
		// SkipInitial: nothing is said to be well before the first answer.
		SkipInitial bool `json:"skip_initial_status"`
	}
	condition struct {
		Type    string `json:"type"`
		Reason  string `json:"reason"` // and message: where there is no problem
		Message string `json:"message"`
	}
	rule struct {
		Type      string   `json:"type"`
		Condition string   `json:"condition"`
		Reason    string   `json:"reason"`
		Path      string   `json:"path"`
		Args      []string `json:"args"`
	}
)

// problemMonitor asks initcheck status --short, which prints what fits the message and whose exit codes are those that
// node-problem-detector wants: 0 no problem, 1 a problem, everything else unknown.
// There is one rule, because several for one condition would take turns.
func problemMonitor() File {
	const gate = "InferenceGateClosed"
	m := monitor{
		Plugin:     "custom",
		Config:     monitorConfig{Interval: "30s", Timeout: "10s", MaxOutput: 80, FollowMessage: true, SkipInitial: true},
		Source:     "initcheck",
		Metrics:    true,
		Conditions: []condition{{gate, "InitcheckPassed", "initcheck passed: inference services may start"}},
		Rules:      []rule{{"permanent", gate, "InitcheckRefused", policy.Binary, []string{"status", "--short"}}},
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	if err := enc.Encode(m); err != nil {
		panic("BUG: strings do not marshal: " + err.Error())
	}
	return File{Path: problemMonitorPath, Data: b.Bytes(), Reason: "have node-problem-detector ask for the verdict"}
}

// Where node-feature-discovery reads local features, and what we call ours. The name is no
// part of the labels, but before version 0.10.
const (
	featureDir  = "/etc/kubernetes/node-feature-discovery/features.d"
	featureCopy = featureDir + "/initcheck"
)

// The units that copy the features, and the lines for systemd-tmpfiles.
const (
	featureUnit  = "kerngate-features.service"
	featurePath  = "kerngate-features.path"
	tmpfilesPath = "/usr/lib/tmpfiles.d/kerngate.conf"
)

// featureFiles copy the features to where a container sees them, at the end of the boot and
// whenever the checker writes them anew. systemd-tmpfiles takes the copy of the last
// boot away before anything could read it.
func featureFiles(header string) []File {
	const reason = "let node-feature-discovery label the node with the verdict"
	lines := fmt.Sprintf("d %s 0755 root root -\nr! %s\n", featureDir, featureCopy)
	out := []File{{Path: tmpfilesPath, Data: withHeader(header, lines), Reason: reason}}
	out = append(out, started(featureUnit, "multi-user.target", withHeader(header, copyUnit()), reason)...)
	return append(out, started(featurePath, "multi-user.target", withHeader(header, watchUnit()), reason)...)
}

// copyUnit replaces the copy in one step, and takes it away where that goes wrong. The
// draft lies beside the directory, since old versions read hidden files, too. There is no
// limit to its starts: reaching one would fail the path unit, and the copy would say what
// was said then for the rest of the boot.
func copyUnit() string {
	const draft = "/etc/kubernetes/node-feature-discovery/.initcheck"
	return fmt.Sprintf(`[Unit]
Description=Hand the verdict of initcheck to node-feature-discovery
After=initcheck.service
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'cp %[1]s %[2]s && mv -f %[2]s %[3]s || { rm -f %[3]s; exit 1; }'
`, policy.Features, draft, featureCopy)
}

func watchUnit() string {
	return fmt.Sprintf(`[Unit]
Description=Watch the verdict of initcheck for node-feature-discovery

[Path]
PathChanged=%s
`, policy.Features)
}
