package unit

import (
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// OpOf says how [Files] may write a path, or make a directory for one; empty where it never
// does.
func OpOf(name string) rootfs.Op {
	switch name {
	case GatePath, breachPath, breachedPath, RulePath:
		return rootfs.WriteFile
	case EnableLink:
		return rootfs.Symlink
	case Dir, path.Dir(EnableLink), UserDir, RuleDir, path.Dir(RuleDir):
		return rootfs.Mkdir
	}
	dropIns := []string{DropIn, HardenDropIn}
	rest, ours := strings.CutPrefix(name, Dir+"/")
	if !ours {
		rest, ours = strings.CutPrefix(name, UserDir+"/")
		dropIns = dropIns[:1]
	}
	dir, file, inside := strings.Cut(rest, "/")
	switch {
	case !ours || !strings.HasSuffix(dir, ".d"):
		return ""
	case !inside:
		return rootfs.Mkdir
	case slices.Contains(dropIns, file):
		return rootfs.WriteFile
	default:
		return ""
	}
}
