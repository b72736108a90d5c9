package builder

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/profiles"
)

// NotPatchedError says that a target has no manifest: nothing of kerngate is known to be
// in it.
type NotPatchedError struct{}

func (NotPatchedError) Error() string { return "nothing of kerngate in it: no " + ManifestPath }

// Revert takes out of a target what its manifest lists, and only that: our files and
// directories, our words on kernel command lines, our archives behind initramfs images.
// Request.Profile and Request.Checker are not used. On error nothing is changed, as with
// [Apply]; without a manifest the error wraps [NotPatchedError].
func Revert(ctx context.Context, r Request) (*Result, error) {
	r.Profile, r.taking = profiles.Profile{}, &removal{}
	return Apply(ctx, r)
}

// removal takes out what a build put in.
type removal struct {
	planned *Plan // the last one
}

// takenOut is the reason of every change of a revert.
const takenOut = "take out what kerngate put in"

// check refuses a target in which the files of the manifest cannot all be reached.
func (r *removal) check(target *image.Target) error {
	old, err := readManifest(target.Tree())
	if err != nil {
		return fmt.Errorf("%s: %w", target.Path, err)
	}
	names := []string{ManifestPath}
	for _, e := range old.entries() {
		names = append(names, e.Path)
	}
	return target.CheckVisible(names)
}

// plan lists the changes that take everything out; the manifest and its directories
// come last, so that a run that was cut off can be done again.
func (r *removal) plan(t rootfs.Tree) (*Plan, error) {
	c, err := r.compare(t)
	if err != nil {
		return nil, err
	}
	if len(c.obstacles) > 0 {
		var facts []string
		for _, o := range c.obstacles {
			facts = append(facts, o.String())
		}
		return nil, &Problem{Fact: "what kerngate put in cannot all be taken out: " + strings.Join(facts, "; "), Advice: c.obstacles[0].advice}
	}
	slices.SortStableFunc(c.plan.Changes, func(a, b Change) int { return holdsManifest(a) - holdsManifest(b) })
	for i := range c.plan.Changes {
		c.plan.Changes[i].Reason = takenOut
	}
	r.planned = c.plan
	return c.plan, nil
}

func holdsManifest(c Change) int {
	if rootfs.Below(ManifestPath, c.Path) {
		return 1
	}
	return 0
}

func (r *removal) compare(t rootfs.Tree) (*comparison, error) {
	old, err := readManifest(t)
	if err != nil {
		return nil, err
	}
	if old == nil {
		return nil, NotPatchedError{}
	}
	nothing := profiles.Profile{}
	s, err := look(t, nothing)
	if err != nil {
		return nil, err
	}
	defer s.close()
	splices, found, err := s.splices(nothing, old)
	if err != nil {
		return nil, err
	}
	lost, err := lostModules(t, old)
	if err != nil {
		return nil, err
	}
	if old, err = old.withItself(t); err != nil {
		return nil, err
	}
	c, err := newComparison(t, old, old.Profile, old.Digest)
	if err != nil {
		return nil, err
	}
	menus, err := s.goneTexts(old)
	if err != nil {
		return nil, err
	}
	for _, text := range append(lostTexts(lost), menus...) {
		c.warn(text)
	}
	if err := c.addSplices(splices); err != nil {
		return nil, err
	}
	c.obstacles = slices.Concat(c.obstacles, found, unreadable(s.bad, old))
	return c, c.dropStale(nil)
}

// withItself is the manifest with an entry for its own file.
func (m *Manifest) withItself(t rootfs.Tree) (*Manifest, error) {
	data, err := rootfs.ReadFile(t, ManifestPath, maxManifest)
	if err != nil {
		return nil, err
	}
	all := *m
	all.Entries = append(slices.Clone(m.Entries), ManifestEntry{Path: ManifestPath, Op: rootfs.WriteFile, SHA256: hash(data)})
	slices.SortFunc(all.Entries, func(a, b ManifestEntry) int { return strings.Compare(a.Path, b.Path) })
	return &all, nil
}

// unreadable are the images that cannot be read and that have, or had, an archive of ours.
func unreadable(bad []obstacle, old *Manifest) []obstacle {
	return slices.DeleteFunc(slices.Clone(bad), func(o obstacle) bool {
		e, listed := old.entry(o.what)
		return !listed || e.Op != opTail
	})
}

// lostTexts says which module files stay away, a text for each kernel.
func lostTexts(lost []string) []string {
	var out []string
	files := map[string][]string{}
	for _, name := range lost {
		files[moduleDir(name)] = append(files[moduleDir(name)], path.Base(name))
	}
	for _, dir := range slices.Sorted(maps.Keys(files)) {
		release := path.Base(dir)
		out = append(out, fmt.Sprintf("kernel %s stays without %s: reinstall its package to get them back, for instance apt-get install --reinstall linux-image-%[1]s, or dnf reinstall kernel-modules-%[1]s",
			release, strings.Join(files[dir], ", ")))
	}
	return out
}

// verify holds the changed tree against the plan.
func (r *removal) verify(t rootfs.Tree) error {
	for _, c := range r.planned.Changes {
		got, err := stateOf(t, c.Path)
		if err != nil {
			return err
		}
		if got != c.After {
			return problem("this is a fault of kerngate: please report it with the image's layout", "the edited image is not as planned: %s is %s, want %s", c.Path, got, c.After)
		}
	}
	return nil
}
