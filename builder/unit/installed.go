package unit

import (
	"path"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// maxUnits bounds the units of an image; large distributions ship some hundreds.
const maxUnits = 65536

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
