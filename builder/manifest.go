package builder

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/modprobe"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/builder/unit"
	"github.com/kerngate/kerngate/initcheck/policy"
)

// ManifestPath is where the list of what we wrote lies in a tree.
const ManifestPath = "/usr/lib/kerngate/manifest.json"

// ManifestSchema is the version of the manifest's format.
const ManifestSchema = 1

// maxManifest bounds the manifest in bytes: a thousand entries are 300 KiB.
const maxManifest = 4 << 20

// Manifest lists what a build put into a tree. By it a later build tells its own
// files from foreign ones.
type Manifest struct {
	Schema  int             `json:"schema"`
	Tool    string          `json:"tool"`           // "kerngate VERSION"
	Profile string          `json:"profile"`        // name
	Digest  string          `json:"profile_digest"` // "sha256:…"
	Entries []ManifestEntry `json:"entries"`        // sorted by path
}

// ManifestEntry is one file, link or directory that a build wrote.
type ManifestEntry struct {
	Path   string    `json:"path"` // as planned, before links in the tree are followed
	Op     rootfs.Op `json:"op"`
	Mode   string    `json:"mode,omitempty"`   // octal
	SHA256 string    `json:"sha256,omitempty"` // of a file's content, hex
	Target string    `json:"target,omitempty"` // of a link
	Reason string    `json:"reason"`
}

// readManifest reads the manifest of a tree; nil when there is none.
func readManifest(t rootfs.Tree) (*Manifest, error) {
	data, err := rootfs.ReadFile(t, ManifestPath, maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var m Manifest
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return nil, broken(err.Error())
	}
	if m.Schema != ManifestSchema {
		return nil, broken(fmt.Sprintf("schema is %d, want %d", m.Schema, ManifestSchema))
	}
	for _, e := range m.Entries {
		if !writable(e.Path) {
			return nil, broken(fmt.Sprintf("it lists %q, which kerngate never writes", e.Path))
		}
	}
	return &m, nil
}

func broken(why string) error {
	return &Problem{
		Fact:   fmt.Sprintf("%s: %s", ManifestPath, why),
		Advice: "start from an image that this kerngate has not patched, or remove the file and what an earlier kerngate wrote",
	}
}

// writable says whether a path is one that a build of ours may create or remove.
// A manifest lies in the image, so it may have been made to point elsewhere.
func writable(name string) bool {
	if name != path.Clean(name) || !strings.HasPrefix(name, "/") {
		return false
	}
	switch name {
	case modprobe.File, policy.Binary, policy.File, ManifestPath, unit.GatePath, unit.EnableLink,
		"/etc/modprobe.d", path.Dir(ManifestPath), path.Dir(policy.Binary), unit.Dir, path.Dir(unit.EnableLink),
		"/usr", "/usr/lib", "/usr/lib/systemd", "/etc":
		return true
	}
	rest, ok := strings.CutPrefix(name, unit.Dir+"/")
	dir, file, inside := strings.Cut(rest, "/")
	return ok && strings.HasSuffix(dir, ".d") && (!inside || file == unit.DropIn)
}

// encode gives the manifest's bytes: sorted, indented, no times.
func (m *Manifest) encode() ([]byte, error) {
	slices.SortFunc(m.Entries, func(a, b ManifestEntry) int { return strings.Compare(a.Path, b.Path) })
	data, err := json.MarshalIndent(m, "", "  ")
	return append(data, '\n'), err
}

// entry finds what the manifest says of a path.
func (m *Manifest) entry(name string) (ManifestEntry, bool) {
	if m == nil {
		return ManifestEntry{}, false
	}
	i := slices.IndexFunc(m.Entries, func(e ManifestEntry) bool { return e.Path == name })
	if i < 0 {
		return ManifestEntry{}, false
	}
	return m.Entries[i], true
}
