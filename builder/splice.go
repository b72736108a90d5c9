package builder

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/bootentry"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/profiles"
)

// Ops of manifest entries for files that are not ours, beside those of rootfs. A
// rewritten file has some words of ours, a tailed one has bytes of ours behind its own,
// a dropped one is gone for good.
const (
	opSplice rootfs.Op = "splice"
	opTail   rootfs.Op = "tail"
	opDrop   rootfs.Op = "drop"
	opPin    rootfs.Op = "pin"  // has words of ours for a package manager
	opMenu   rootfs.Op = "menu" // is of a boot menu; its kernel command lines have no words of ours
)

// splice is a change to a file that is not ours: its mode, owner and attributes stay.
type splice struct {
	path   string // literal
	op     rootfs.Op
	added  string       // what of it is ours, for the manifest
	menu   string       // what of a boot menu is ours, for the manifest
	edit   *rootfs.Edit // nil where the file is as it should be
	reason string
	missed string // what the file lacks, for verify
}

func (s splice) entry() ManifestEntry {
	e := ManifestEntry{Path: s.path, Op: s.op, Added: s.added, Menu: s.menu, Reason: s.reason}
	if e.Op == opSplice && e.Added == "" && e.Menu != "" {
		e.Op = opMenu
	}
	return e
}

// listed says whether the manifest tells of it: not once all of ours is taken out.
func (s splice) listed() bool {
	return s.op != "" && ((s.op != opSplice && s.op != opPin && s.op != opMenu) || s.added != "" || s.menu != "")
}

// splices are all changes to files of others, with what stands in their way.
func (s *surrounding) splices(p profiles.Profile, old *Manifest) (out []splice, bad []obstacle, err error) {
	for _, part := range []func(profiles.Profile, *Manifest) ([]splice, []obstacle, error){
		s.removedModules, s.ramdiskSplices, s.bootSplices, s.pinSplices,
	} {
		more, why, err := part(p, old)
		if err != nil {
			return nil, nil, err
		}
		out, bad = append(out, more...), append(bad, why...)
	}
	slices.SortFunc(out, func(a, b splice) int { return strings.Compare(a.path, b.path) })
	return out, bad, nil
}

// addSplices plans the changes to files of others.
func (c *comparison) addSplices(splices []splice) error {
	for _, s := range splices {
		if err := c.addSplice(s); err != nil {
			return fmt.Errorf("cannot plan %s: %w", s.path, err)
		}
	}
	return nil
}

func (c *comparison) addSplice(s splice) error {
	if s.edit == nil {
		c.plan.wanted = append(c.plan.wanted, wanted{path: s.path, literal: s.path, reason: s.reason})
		return nil
	}
	info, err := c.tree.Lstat(s.path)
	if isMissing(err) {
		info, err = rootfs.Info{Mode: 0o644, UID: c.uid, GID: c.gid}, nil // a drop-in of ours
	}
	if err != nil {
		return err
	}
	before, err := stateOf(c.tree, s.path)
	if err != nil {
		return err
	}
	if before.Type != "absent" && !c.ours[s.path] && slices.Contains(bootentry.OwnFiles(), s.path) {
		c.hinder(s.path, "it exists and kerngate did not write it", "look at the file; remove it from the image if it may go")
		return nil
	}
	after, err := c.spliced(s, before)
	if err != nil {
		return err
	}
	if after == before {
		c.plan.wanted = append(c.plan.wanted, wanted{path: s.path, literal: s.path, reason: s.reason})
		return nil
	}
	edit := *s.edit
	edit.Path, edit.UID, edit.GID = s.path, info.UID, info.GID
	edit.Mode = info.Mode & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
	c.plan.Changes = append(c.plan.Changes, Change{
		Path: s.path, Op: edit.Op, Before: before, After: after, Reason: s.reason, missed: s.missed, edit: edit,
	})
	return nil
}

// spliced is what the file will be.
func (c *comparison) spliced(s splice, before State) (State, error) {
	after, err := before, error(nil)
	if before.Type == "absent" {
		after = State{Type: "file", Mode: "0644", Owner: fmt.Sprintf("%d:%d", c.uid, c.gid)}
	}
	switch s.edit.Op {
	case rootfs.Remove:
		return State{Type: "absent"}, nil
	case rootfs.Append:
		after.Size = s.edit.Keep + int64(len(s.edit.Data))
		after.SHA256, err = hashOf(c.tree, s.path, s.edit.Keep, s.edit.Data)
	default:
		after.Size, after.SHA256 = int64(len(s.edit.Data)), hash(s.edit.Data)
	}
	return after, err
}
