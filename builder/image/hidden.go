package image

import (
	"fmt"
	"strings"
)

// CheckVisible refuses names of the root that the running system would not see,
// because it mounts something else above them: by the root's fstab, or a /usr volume
// that systemd-gpt-auto-generator(8) mounts by its type. A directory is taken as the
// whole tree.
func (t *Target) CheckVisible(names []string) error {
	if t.Kind == Directory {
		return nil
	}
	entries, err := readFstab(t.tree)
	if err != nil {
		return inFile(t.Path, fmt.Errorf("cannot tell what is mounted over the root: %w", err))
	}
	over := map[string]string{}
	for _, e := range entries {
		if e.dir != "/" {
			over[e.dir] = "/etc/fstab mounts " + e.spec + " there"
		}
	}
	for _, v := range t.Volumes {
		if v.Role == roleUsr {
			over["/usr"] = v.name() + " is mounted there"
		}
	}
	for _, name := range names {
		for dir, why := range over {
			if name == dir || strings.HasPrefix(name, dir+"/") {
				return &Error{
					Fact:   fmt.Sprintf("%s: what is written to %s would be hidden: %s", t.Path, dir, why),
					Advice: "this version edits the root volume only; patch the directory tree before the image is made from it",
				}
			}
		}
	}
	return nil
}
