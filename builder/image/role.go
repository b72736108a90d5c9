package image

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/ext4"
)

// Roles of volumes. A volume that is both, an ESP on /boot, is an ESP.
const (
	roleRoot = "root"
	roleUsr  = "usr"
	roleBoot = "boot"
	roleESP  = "esp"
)

// Partition types that tell a role: those of GPT by UAPI.2, the Discoverable
// Partitions Specification; those of an MBR by UEFI 2.10, section 5.2.2, and by
// UAPI.1, the Boot Loader Specification. Only architectures that the checker is
// built for are here.
var rolesByType = map[string]string{
	"4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709": roleRoot, // x86-64
	"B921B045-1DF0-41C3-AF44-4C6F280D3FAE": roleRoot, // ARM64
	"8484680C-9521-48C6-9C11-B0720656F69E": roleUsr,  // x86-64
	"B0E01050-EE5F-4390-949A-9101B17104E9": roleUsr,  // ARM64
	"BC13C2FF-59E6-4262-A352-B275FD6F7172": roleBoot, // XBOOTLDR
	"C12A7328-F81F-11D2-BA4B-00A0C93EC93B": roleESP,
	"ea":                                   roleBoot,
	"ef":                                   roleESP,
}

// typedAs is the role that a volume's partition type tells.
func (v Volume) typedAs() string {
	if v.hidden {
		return ""
	}
	return rolesByType[v.Type]
}

// findRoot chooses the root: the volume asked for, or the one that holds a Linux
// root. Of several one is taken only where its partition type says so, and nothing
// says otherwise.
func (t *Target) findRoot(number int) error {
	if number != 0 {
		return t.takeRoot(number)
	}
	found := t.indexes(func(i int) bool { return t.contents[i].linux })
	if len(found) == 0 {
		return t.noRootFound()
	}
	votes := t.rootsByFstab(found)
	// What cannot be looked into may be the root all the same.
	rivals := t.indexes(func(i int) bool {
		v := t.Volumes[i]
		return !t.contents[i].readable && v.FS != "unknown" && (v.typedAs() == roleRoot || slices.Contains(votes, i))
	})
	all := append(slices.Clone(found), rivals...)
	if len(all) == 1 {
		return t.setRoot(all[0])
	}
	typed := t.indexes(func(i int) bool { return t.Volumes[i].typedAs() == roleRoot && slices.Contains(all, i) })
	if len(typed) != 1 || !t.contents[typed[0]].linux || slices.ContainsFunc(votes, func(i int) bool { return i != typed[0] }) {
		return t.manyRoots(found, rivals)
	}
	t.warn("%s: the first is taken, for its partition type is that of a root; --root N takes another", t.list(append(typed, slices.DeleteFunc(all, func(i int) bool { return i == typed[0] })...)))
	return t.setRoot(typed[0])
}

// indexes gives the volumes that a test is true of.
func (t *Target) indexes(test func(i int) bool) []int {
	var out []int
	for i := range t.Volumes {
		if test(i) {
			out = append(out, i)
		}
	}
	return out
}

func (t *Target) takeRoot(number int) error {
	at := t.indexes(func(i int) bool { return t.Volumes[i].Number == number })
	if len(at) != 1 {
		return t.noRoot(number)
	}
	if c := t.contents[at[0]]; c.err != nil {
		return fmt.Errorf("%s: %w", t.Volumes[at[0]].name(), c.err)
	} else if !c.linux {
		return t.noRoot(number)
	}
	return t.setRoot(at[0])
}

// noRootFound says what stands in the way: the first ext volume that cannot be
// read may be the root.
func (t *Target) noRootFound() error {
	for i, c := range t.contents {
		if c.err != nil && isExt(t.Volumes[i].FS) {
			return fmt.Errorf("%s: %w", t.Volumes[i].name(), c.err)
		}
	}
	return t.noRoot(0)
}

// setRoot makes a volume the root. What is wrong with the others does not stop us.
func (t *Target) setRoot(at int) error {
	tree, err := t.openVolume(at)
	if err != nil {
		return err
	}
	t.root, t.rootFS = at, tree.(*ext4.FS)
	for i, c := range t.contents {
		if c.err != nil {
			t.warn("%s cannot be read and is left alone: %v", t.Volumes[i].name(), c.err)
		}
	}
	return nil
}

// rootsByFstab are the volumes that the fstab of some root mounts on /. A file that
// cannot be read says nothing.
func (t *Target) rootsByFstab(roots []int) []int {
	var out []int
	for _, root := range roots {
		for _, e := range t.contents[root].fstab {
			if at, _ := t.named(e.spec); e.dir == "/" && len(at) == 1 && !slices.Contains(out, at[0]) {
				out = append(out, at[0])
			}
		}
	}
	return out
}

// named are the volumes that the spec of a mount names, and whether it can name a
// volume at all, of this image or of another.
func (t *Target) named(spec string) (at []int, device bool) {
	for i, v := range t.Volumes {
		is, could := v.matches(spec)
		if device = could; is {
			at = append(at, i)
		}
	}
	return at, device
}

// list names volumes in a sentence.
func (t *Target) list(at []int) string {
	var out []string
	for _, i := range at {
		v := t.Volumes[i]
		label := v.FSLabel
		if label == "" {
			label = v.Label
		}
		text := fmt.Sprintf("%s (%s, label %q)", v.name(), v.FS, label)
		if !t.contents[i].readable {
			text = fmt.Sprintf("%s (%s, label %q, cannot be read)", v.name(), v.FS, label)
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

func (t *Target) manyRoots(found, rivals []int) error {
	what := fmt.Sprintf("%d Linux roots: %s", len(found), t.list(found))
	if len(found) == 1 {
		what = "Linux root: " + t.list(found)
	}
	if len(rivals) > 0 {
		what += "; the root may as well be " + t.list(rivals)
	}
	return &Error{Fact: what, Advice: fmt.Sprintf("choose one, for example --root %d", t.Volumes[found[0]].Number)}
}

// findRoles gives the volumes beside the root their roles, by the root's fstab, else
// by partition type, else by content. What is not clear is a warning: nothing of it
// is needed to read the root.
func (t *Target) findRoles() {
	if t.Scheme == "none" {
		t.Volumes[t.root].Role = roleRoot
		return
	}
	t.readMounts()
	ownKernels := hasKernels(t.rootFS, "/boot")
	for _, r := range []struct {
		role    string
		mounts  []string
		content func(i int) bool
	}{
		{roleUsr, []string{"/usr"}, func(int) bool { return false }},
		{roleBoot, []string{"/boot"}, func(i int) bool { return t.contents[i].kernels && !ownKernels }},
		{roleESP, []string{"/efi", "/boot/efi"}, func(i int) bool { return t.contents[i].efi }},
	} {
		at := t.byRole(r.role, r.mounts, r.content)
		if len(at) == 1 {
			t.Volumes[at[0]].Role = r.role
		}
		if len(at) > 1 {
			t.warn("%d volumes may be the %s volume: %s; none is taken for it", len(at), r.role, t.list(at))
		}
	}
	t.Volumes[t.root].Role = roleRoot
}

func (t *Target) byRole(role string, mounts []string, content func(i int) bool) []int {
	beside := func(test func(i int) bool) []int {
		return t.indexes(func(i int) bool { return i != t.root && test(i) })
	}
	for _, test := range []func(i int) bool{
		func(i int) bool { return slices.Contains(mounts, t.Volumes[i].Mount) },
		func(i int) bool { return t.Volumes[i].typedAs() == role },
		content,
	} {
		if at := beside(test); len(at) > 0 {
			return at
		}
	}
	return nil
}

// readMounts notes where the root's fstab mounts each volume.
func (t *Target) readMounts() {
	of := t.contents[t.root]
	if of.fstabErr != nil {
		t.warn("/etc/fstab cannot be read: %v", of.fstabErr)
	}
	for _, e := range of.fstab {
		at, device := t.named(e.spec)
		switch {
		case len(at) == 0 && device && !e.onDemand():
			t.warn("/etc/fstab mounts %s from %s, which is not in the image", e.dir, e.spec)
		case len(at) > 1:
			t.warn("/etc/fstab mounts %s from %s, which names %d volumes: %s", e.dir, e.spec, len(at), t.list(at))
		case len(at) == 1 && e.dir == "/" && at[0] != t.root:
			t.warn("/etc/fstab mounts / from %s, which is %s, not the root that is read", e.spec, t.Volumes[at[0]].name())
		case len(at) == 1 && t.Volumes[at[0]].Mount == "":
			t.Volumes[at[0]].Mount = e.dir
		}
	}
}
