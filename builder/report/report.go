package report

import (
	"path"
	"slices"

	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/builder/unit"
	"github.com/kerngate/kerngate/initcheck/policy"
	"github.com/kerngate/kerngate/profiles"
)

// File is something to put into a tree: a file, or a link where Target is set.
type File struct {
	Path   string
	Data   []byte
	Target string
	Reason string
}

// op is how it is written.
func (f File) op() rootfs.Op {
	if f.Target != "" {
		return rootfs.Symlink
	}
	return rootfs.WriteFile
}

// Where links to what the checker writes go. agetty of Debian 12 reads issue.d only below
// /etc where there is an /etc/issue.
const (
	motdLink   = "/etc/motd.d/initcheck"
	issueLink  = "/etc/issue.d/initcheck.issue"
	metricFile = "initcheck.prom" // the collector reads *.prom
)

// Files are those for the channels of a profile, in the order in which they are written.
// Header is put in front of those that can have comments. The catalogue is always
// among them.
func Files(header string, want profiles.Report) []File {
	out := catalogue(header)
	if want.Motd {
		const reason = "tell of a refusal who logs in"
		out = append(out, File{Path: motdLink, Target: policy.Motd, Reason: reason}, File{Path: issueLink, Target: policy.Motd, Reason: reason})
	}
	for _, dir := range want.NodeExporter {
		out = append(out, File{Path: path.Join(dir, metricFile), Target: policy.Metrics, Reason: "let node_exporter read the verdict"})
	}
	if want.NodeProblemDetector {
		out = append(out, problemMonitor())
	}
	if want.NodeFeatureDiscovery {
		out = append(out, featureFiles(header)...)
	}
	return out
}

// OpOf says how a path is written for some profile, or nothing where it never is.
func OpOf(name string) rootfs.Op {
	all := Files("", profiles.Report{Motd: true, NodeExporter: []string{profiles.TextfileDir}, NodeProblemDetector: true, NodeFeatureDiscovery: true})
	for _, f := range all {
		if f.Path == name {
			return f.op()
		}
		if name != "/" && rootfs.Below(path.Dir(f.Path), name) {
			return rootfs.Mkdir
		}
	}
	if path.Base(name) == metricFile {
		return rootfs.Symlink // profiles name other directories, too
	}
	return ""
}

// started is a unit file and the link by which a target starts it. The link is in the
// vendor's directory, where no preset takes it away.
func started(name, target string, text []byte, reason string) []File {
	return []File{
		{Path: path.Join(unit.Dir, name), Data: text, Reason: reason},
		{Path: path.Join(unit.Dir, target+".wants", name), Target: "../" + name, Reason: reason},
	}
}

// withHeader parts a header from the text by an empty line.
func withHeader(header, text string) []byte {
	return slices.Concat([]byte(header), []byte("\n"), []byte(text))
}
