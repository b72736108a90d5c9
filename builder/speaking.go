package builder

import (
	"github.com/kerngate/kerngate/builder/report"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/profiles"
)

// speaking is what carries the checker's verdict further: its messages for the journal's
// catalogue, and the channels that the profile asks for.
func speaking(t rootfs.Tree, p profiles.Profile) ([]wanted, error) {
	for _, dir := range p.Report.NodeExporter {
		if err := holdsTextfiles(t, dir); err != nil {
			return nil, err
		}
	}
	var out []wanted
	for _, f := range report.Files(header(p), p.Report) {
		w := wanted{path: f.Path, op: rootfs.WriteFile, mode: 0o644, data: f.Data, reason: f.Reason}
		if f.Target != "" {
			w = wanted{path: f.Path, op: rootfs.Symlink, target: f.Target, reason: f.Reason}
		}
		out = append(out, w)
	}
	return out, nil
}

// holdsTextfiles refuses a directory that the image does not have: a link in a place that no
// exporter reads would look as if it did something. Debian's own is made, since its
// package may come later.
func holdsTextfiles(t rootfs.Tree, dir string) error {
	if dir == profiles.TextfileDir {
		return nil
	}
	info, err := rootfs.Stat(t, dir)
	switch {
	case isMissing(err):
		return problem("name the directory that the image's exporter reads (--collector.textfile.directory), or say node_exporter = true for "+profiles.TextfileDir,
			"report.node_exporter is %s, and the image has no such directory", dir)
	case err != nil:
		return err
	case !info.Mode.IsDir():
		return problem("name a directory", "report.node_exporter is %s, which is %s in the image", dir, rootfs.TypeName(info.Mode))
	}
	return nil
}

// unheard says whether a profile that gates nothing asks for reports all the same.
func unheard(p profiles.Profile) error {
	if !p.Report.Any() {
		return nil
	}
	return problem("add [gate] with units to the profile, or extend it", "profile %s has [report] and gates no unit: there would be no checker to write the reports", p.Name)
}
