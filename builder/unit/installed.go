package unit

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// searchPath is where system units lie in an image, strongest first.
var searchPath = []string{"/etc/systemd/system", "/usr/local/lib/systemd/system", Dir, "/lib/systemd/system"}

// maxUnits bounds the units of an image; large distributions ship some hundreds.
const maxUnits = 65536

// Installed is a unit file of a tree.
type Installed struct {
	Name  string `json:"name"`
	Path  string `json:"path"`
	Gated bool   `json:"gated"` // a drop-in of ours is laid for it
}

// FindInstalled lists the units of a tree that match the names, which may be
// prefixes ("vllm-.service" stands for every unit whose name begins with "vllm-")
// and templates ("vllm@.service" stands for its instances, too).
func FindInstalled(t rootfs.Tree, names []string) ([]Installed, error) {
	found := map[string]Installed{}
	for _, dir := range searchPath {
		literal, entries, err := readDir(t, dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			pattern, wanted := match(e.Name, names)
			if _, stronger := found[e.Name]; stronger || !wanted || e.Type == fs.ModeDir {
				continue
			}
			gated, err := rootfs.Exists(t, DropInPath(pattern))
			if err != nil {
				return nil, err
			}
			found[e.Name] = Installed{Name: e.Name, Path: path.Join(literal, e.Name), Gated: gated}
		}
	}
	out := make([]Installed, 0, len(found))
	for _, u := range found {
		out = append(out, u)
	}
	slices.SortFunc(out, func(a, b Installed) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// match finds the name, template or prefix that a unit file answers to.
func match(file string, names []string) (pattern string, ok bool) {
	for _, name := range names {
		if file == name {
			return name, true
		}
		stem, suffix := strings.TrimSuffix(name, path.Ext(name)), path.Ext(name)
		if (strings.HasSuffix(stem, "-") || strings.HasSuffix(stem, "@")) && strings.HasPrefix(file, stem) && path.Ext(file) == suffix {
			return name, true
		}
	}
	return "", false
}

// SystemdVersion reads the version of systemd in a tree off the name of its
// private library, libsystemd-shared-VERSION.so; empty when there is none.
func SystemdVersion(t rootfs.Tree) (string, error) {
	dirs := []string{"/usr/lib/systemd", "/lib/systemd", "/usr/lib64/systemd"}
	for _, triplet := range []string{"x86_64-linux-gnu", "aarch64-linux-gnu"} {
		dirs = append(dirs, "/usr/lib/"+triplet+"/systemd")
	}
	for _, dir := range dirs {
		_, entries, err := readDir(t, dir)
		if err != nil {
			return "", err
		}
		for _, e := range entries {
			rest, ok := strings.CutPrefix(e.Name, "libsystemd-shared-")
			if version, isLibrary := strings.CutSuffix(rest, ".so"); ok && isLibrary {
				return version, nil
			}
		}
	}
	return "", nil
}
