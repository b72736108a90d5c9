package builder_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder"
	"github.com/kerngate/kerngate/profiles"
)

// told is llm-node with all channels, one directory being the image's own.
func told(t *testing.T) profiles.Profile {
	p := load(t, "llm-node")
	p.Report = profiles.Report{Motd: true, NodeExporter: []string{"/srv/textfiles", profiles.TextfileDir}, NodeProblemDetector: true, NodeFeatureDiscovery: true}
	return p
}

// channels are files of all channels that no profile needs otherwise.
var channels = []string{
	"etc/motd.d/initcheck", "etc/issue.d/initcheck.issue", "srv/textfiles/initcheck.prom", "var/lib/prometheus/node-exporter/initcheck.prom",
	"etc/node-problem-detector.d/custom-plugin-monitor/initcheck.json", "usr/lib/tmpfiles.d/kerngate.conf", "usr/lib/systemd/system/kerngate-features.path",
}

// TestChannels lays all channels into targets, wants them to conform, and out again: by
// a profile that asks for none, and by revert.
func TestChannels(t *testing.T) {
	t.Parallel()
	for name, fixture := range map[string]func(*testing.T) string{"tree": newRoot, "disk": func(t *testing.T) string {
		root := newRoot(t)
		mkdir(t, root, "srv/textfiles")
		return onDisk(t, root)
	}} {
		t.Run(name, func(t *testing.T) {
			r := request(t, fixture(t), "")
			if name == "tree" {
				mkdir(t, r.Target, "srv/textfiles")
			}
			before := dumpTarget(t, r.Target)
			r.Profile = told(t)
			build(t, r)
			with := dumpTarget(t, r.Target)
			if v := verify(t, r); !v.Conforms {
				t.Errorf("the target does not conform: %+v", v)
			}
			if again := build(t, r); !again.Plan.Empty() {
				t.Errorf("applied again: %s", render(again.Plan))
			}
			r.Profile.Report = profiles.Report{}
			build(t, r)
			without := dumpTarget(t, r.Target)
			for _, file := range channels {
				if !strings.Contains(with, file) || strings.Contains(without, file) {
					t.Errorf("%s: with the channels %v, without them %v", file, strings.Contains(with, file), strings.Contains(without, file))
				}
			}
			r.Profile = told(t)
			build(t, r)
			if _, err := builder.Revert(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if after := dumpTarget(t, r.Target); after != before {
				t.Errorf("the target is not as it was:\n%s", lineDiff(before, after))
			}
		})
	}
}

func mkdir(t *testing.T, root, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestChannelsRefused wants an error that says why, and the tree as it was.
func TestChannelsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, root string, p *profiles.Profile)
		want  string
	}{
		"no such directory": {func(*testing.T, string, *profiles.Profile) {}, "report.node_exporter is /srv/textfiles, and the image has no such directory"},
		"no directory": {func(t *testing.T, root string, _ *profiles.Profile) {
			write(t, root, 0o644, map[string]string{"srv/textfiles": "text"})
		}, "report.node_exporter is /srv/textfiles, which is a regular file in the image"},
		"somebody's metrics": {func(t *testing.T, root string, _ *profiles.Profile) {
			write(t, root, 0o644, map[string]string{"srv/textfiles/initcheck.prom": "kerngate_pass 1\n"})
		}, "/srv/textfiles/initcheck.prom: it exists and kerngate did not write it"},
		"somebody's message": {func(t *testing.T, root string, _ *profiles.Profile) {
			write(t, root, 0o644, map[string]string{"etc/motd.d/initcheck": "-> /dev/null", "srv/textfiles/other.prom": ""})
		}, "/etc/motd.d/initcheck: it exists and kerngate did not write it"},
		"nothing is gated": {func(_ *testing.T, _ string, p *profiles.Profile) {
			p.Gate.Units, p.Kernel = nil, profiles.Kernel{}
		}, "profile llm-node has [report] and gates no unit"},
	} {
		t.Run(name, func(t *testing.T) {
			r := request(t, newRoot(t), "")
			r.Profile = told(t)
			c.spoil(t, r.Target, &r.Profile)
			before := dumpTarget(t, r.Target)
			if _, err := builder.Apply(t.Context(), r); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q in it", err, c.want)
			}
			if after := dumpTarget(t, r.Target); after != before {
				t.Errorf("the tree was changed:\n%s", lineDiff(before, after))
			}
		})
	}
}
