package builder

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/kerngate/kerngate/builder/bootentry"
	"github.com/kerngate/kerngate/builder/initramfs"
	"github.com/kerngate/kerngate/builder/modprobe"
	"github.com/kerngate/kerngate/builder/pin"
	"github.com/kerngate/kerngate/builder/report"
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

// maxAdded bounds what was added to one command line, in bytes: the kernel takes 2048 of
// them on amd64, and 4096 at most elsewhere (COMMAND_LINE_SIZE).
const maxAdded = 4096

// maxMenu is the same for a boot menu: a few settings, and a title for each entry that was
// cut out of one file.
const maxMenu = 64 << 10

// maxPinned is the same for a pin: dnf gets a glob for each range of digits.
const maxPinned = 64 << 10

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
	Added  string    `json:"added,omitempty"`  // to a file that is not ours: words, see splice
	Menu   string    `json:"menu,omitempty"`   // changed in a boot menu that is not ours: words, see bootentry.Promotion
	Reason string    `json:"reason"`
}

// readManifest reads the manifest of a tree; nil when there is none. It lies in the
// image, so anybody may have written it: what this program would not have written
// is refused.
func readManifest(t rootfs.Tree) (*Manifest, error) {
	info, err := rootfs.Stat(t, ManifestPath)
	switch {
	case isMissing(err):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.Mode.IsRegular():
		return nil, broken(fmt.Sprintf("it is %s, want a regular file", rootfs.TypeName(info.Mode)))
	case info.Size > maxManifest:
		return nil, broken(fmt.Sprintf("size is %d bytes, limit is %d", info.Size, maxManifest))
	}
	data, err := rootfs.ReadFile(t, ManifestPath, maxManifest)
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
	last := ""
	for _, e := range m.Entries {
		if why := e.fault(); why != "" {
			return nil, broken(why)
		}
		if e.Path <= last {
			return nil, broken(fmt.Sprintf("it lists %q after %q, want them sorted and each once", e.Path, last))
		}
		last = e.Path
	}
	return &m, nil
}

func broken(why string) error {
	return &Problem{
		Fact:   fmt.Sprintf("%s: %s", ManifestPath, why),
		Advice: "start from an image that this kerngate has not patched, or remove the file and what an earlier kerngate wrote",
	}
}

// fault says what of an entry cannot come from a build, or nothing.
func (e ManifestEntry) fault() string {
	digest, err := hex.DecodeString(e.SHA256)
	if e.isSplice() {
		return e.spliceFault()
	}
	if e.Menu != "" {
		return fmt.Sprintf("it says of %q, which is kerngate's own, what was changed in a boot menu", e.Path)
	}
	switch want := opOf(e.Path); {
	case want == "":
		return fmt.Sprintf("it lists %q, which kerngate never writes", e.Path)
	case e.Op != want:
		return fmt.Sprintf("operation for %q is %q, want %q", e.Path, e.Op, want)
	case e.Op == rootfs.WriteFile && (err != nil || len(digest) != sha256.Size):
		return fmt.Sprintf("sha256 of %q is %q, want %d hexadecimal digits", e.Path, e.SHA256, 2*sha256.Size)
	case e.Op == rootfs.Symlink && e.Target == "":
		return fmt.Sprintf("target of %q is empty", e.Path)
	default:
		return ""
	}
}

// isSplice says whether the file is not ours.
func (e ManifestEntry) isSplice() bool {
	return e.Op == opSplice || e.Op == opTail || e.Op == opDrop || e.Op == opPin || e.Op == opMenu
}

// spliceFault says what of an entry for a file of others cannot come from a build.
func (e ManifestEntry) spliceFault() string {
	inModules := rootfs.Below(e.Path, "/lib/modules") || rootfs.Below(e.Path, "/usr/lib/modules")
	switch {
	case e.Path != rootfs.Clean(e.Path):
		return fmt.Sprintf("path %q is not rooted and clean", e.Path)
	case opOf(e.Path) != "" && opOf(e.Path) != e.Op:
		return fmt.Sprintf("operation for %q is %q, want %q", e.Path, e.Op, opOf(e.Path))
	case len(e.Added) > maxAdded && (e.Op != opPin || len(e.Added) > maxPinned):
		return fmt.Sprintf("what was added to %q has %d bytes, limit is %d", e.Path, len(e.Added), maxAdded)
	case len(e.Menu) > maxMenu:
		return fmt.Sprintf("what was changed in the boot menu of %q has %d bytes, limit is %d", e.Path, len(e.Menu), maxMenu)
	case e.Menu != "" && e.Op != opSplice && e.Op != opMenu:
		return fmt.Sprintf("operation for %q is %q, want %q or %q for a file of a boot menu", e.Path, e.Op, opSplice, opMenu)
	case e.SHA256 != "" || e.Target != "" || e.Mode != "":
		return fmt.Sprintf("%q belongs to somebody else, and still has a hash, a mode or a target", e.Path)
	case e.Op == opDrop && !inModules:
		return fmt.Sprintf("it lists %q as removed, which kerngate never removes", e.Path)
	case e.Op == opPin && (e.Added == "" || strings.ContainsFunc(e.Added, unicode.IsControl)):
		return fmt.Sprintf("what was added to %q is %q, want words for a package manager", e.Path, e.Added)
	case e.Op == opPin:
		return ""
	case e.Menu != "" && bootentry.CheckMenuWords(e.Path, e.Menu) != nil:
		return fmt.Sprintf("what was changed in the boot menu of %q: %v", e.Path, bootentry.CheckMenuWords(e.Path, e.Menu))
	case e.Op == opMenu && e.Menu == "":
		return fmt.Sprintf("nothing was changed in the boot menu of %q, and it is listed", e.Path)
	case (e.Op == opSplice) != (e.Added != "") || e.Added != words(parseWords(e.Added)) || strings.ContainsFunc(e.Added, oddInWords):
		return fmt.Sprintf("what was added to %q is %q, want arguments of the kernel", e.Path, e.Added)
	default:
		return ""
	}
}

// oddInWords says whether a character is in no argument of ours: names of modules and of
// functions, and what parts them.
func oddInWords(r rune) bool {
	return !strings.ContainsRune("_=, ", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
}

// opOf says how a build of ours writes a path, or nothing where it never does. Only
// such paths may be removed because a manifest lists them.
func opOf(name string) rootfs.Op {
	if name != path.Clean(name) || !strings.HasPrefix(name, "/") {
		return ""
	}
	switch name {
	case modprobe.File, policy.Binary, policy.File, ManifestPath, pin.AptPreferences:
		return rootfs.WriteFile
	case "/etc", "/etc/apt", path.Dir(pin.AptPreferences), path.Dir(modprobe.File), "/usr", "/usr/lib", "/usr/lib/systemd",
		path.Dir(ManifestPath), path.Dir(policy.Binary):
		return rootfs.Mkdir
	}
	for _, file := range slices.Concat(initramfs.OwnFiles(), bootentry.OwnFiles(), bootentry.MenuFiles()) {
		switch dir := path.Dir(file); {
		case name == file && slices.Contains(bootentry.OwnFiles(), name):
			return opSplice
		case name == file:
			return rootfs.WriteFile
		case dir != "/etc" && name != "/" && rootfs.Below(dir, name):
			return rootfs.Mkdir
		}
	}
	if op := report.OpOf(name); op != "" {
		return op
	}
	return unit.OpOf(name)
}

// encode gives the manifest's bytes: sorted, indented, no times.
func (m *Manifest) encode() ([]byte, error) {
	slices.SortFunc(m.Entries, func(a, b ManifestEntry) int { return strings.Compare(a.Path, b.Path) })
	data, err := json.MarshalIndent(m, "", "  ")
	return append(data, '\n'), err
}

// entries are those of a manifest, none without one.
func (m *Manifest) entries() []ManifestEntry {
	if m == nil {
		return nil
	}
	return m.Entries
}

// entry finds what a manifest that was read says of a path.
func (m *Manifest) entry(name string) (ManifestEntry, bool) {
	if m == nil {
		return ManifestEntry{}, false
	}
	byPath := func(e ManifestEntry, name string) int { return strings.Compare(e.Path, name) }
	i, found := slices.BinarySearchFunc(m.Entries, name, byPath)
	if !found {
		return ManifestEntry{}, false
	}
	return m.Entries[i], true
}
