package builder

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/profiles"
)

// State is what a path holds. Type is "absent", "file", "symlink", "directory" or
// "other".
type State struct {
	Type   string `json:"type"`
	Mode   string `json:"mode,omitempty"` // octal, for files and directories
	Owner  string `json:"owner,omitempty"`
	Size   int64  `json:"size,omitempty"`   // bytes, of a file
	SHA256 string `json:"sha256,omitempty"` // of a file
	Target string `json:"target,omitempty"` // of a symlink
	Label  string `json:"selinux_label,omitempty"`
}

func (s State) String() string {
	if s.Label != "" {
		label := s.Label
		s.Label = ""
		return s.String() + " " + label
	}
	switch s.Type {
	case "file":
		return fmt.Sprintf("file %s %s %d bytes sha256:%.12s", s.Mode, s.Owner, s.Size, s.SHA256)
	case "symlink":
		return "symlink to " + s.Target
	case "directory":
		return fmt.Sprintf("directory %s %s", s.Mode, s.Owner)
	default:
		return s.Type
	}
}

// Change is one difference between the tree and what the profile wants.
type Change struct {
	Volume string    `json:"volume"` // role of the volume that holds it
	Path   string    `json:"path"`   // literal: links in the tree are followed
	Op     rootfs.Op `json:"op"`
	Before State     `json:"before"`
	After  State     `json:"after"`
	Reason string    `json:"reason"`

	missed string // what a file that is not ours lacks
	edit   rootfs.Edit
}

// Plan is what a build would do to a tree.
type Plan struct {
	Profile  string   `json:"profile"`
	Digest   string   `json:"profile_digest"`
	Changes  []Change `json:"changes"`
	Warnings []string `json:"warnings"` // facts that stop nothing but surprise

	wanted []wanted
}

// Empty says whether the tree is as the profile wants it.
func (p *Plan) Empty() bool { return len(p.Changes) == 0 }

// Edits are the changes as the tree's owner takes them, all with one time.
func (p *Plan) Edits(at time.Time) []rootfs.Edit {
	out := make([]rootfs.Edit, 0, len(p.Changes))
	for _, c := range p.Changes {
		c.edit.ModTime = at
		out = append(out, c.edit)
	}
	return out
}

// Locate says of each change which volume of the target it is on.
func (p *Plan) Locate(target *image.Target) {
	for i := range p.Changes {
		volume, _ := target.VolumeOf(p.Changes[i].Path)
		p.Changes[i].Volume = orElse(volume.Role, "root")
	}
}

// NewPlan compares a tree with a profile. Whatever would make the result
// something else than the profile says is an error: foreign files in the way,
// configuration that undoes a block, a module that is built in.
func NewPlan(t rootfs.Tree, p profiles.Profile, tool string, source CheckerSource) (*Plan, error) {
	s, err := look(t, p)
	if err != nil {
		return nil, err
	}
	defer s.close()
	plan, obstacles, err := s.compare(p, tool, source)
	if err != nil {
		return nil, err
	}
	if len(obstacles) > 0 {
		var facts []string
		for _, o := range obstacles {
			facts = append(facts, o.String())
		}
		return nil, &Problem{
			Fact:   fmt.Sprintf("the image cannot be made to conform to profile %s: %s", p.Name, strings.Join(facts, "; ")),
			Advice: obstacles[0].advice,
		}
	}
	return plan, nil
}

// ownerOf is who our files belong to: root in a disk image, whoever its top belongs
// to; in a directory the owner of that, so that a plain user can patch a tree of his
// own.
func ownerOf(t rootfs.Tree) (uid, gid uint32, err error) {
	if _, directory := t.(*rootfs.Dir); !directory {
		return 0, 0, nil
	}
	top, err := t.Lstat("/")
	return top.UID, top.GID, err
}

// obstacle is what a build cannot mend.
type obstacle struct {
	what   string // the path or module
	why    string
	advice string
}

func (o obstacle) String() string { return o.what + ": " + o.why }

// compare computes the changes to the tree and what stands in their way.
func (s *surrounding) compare(p profiles.Profile, tool string, source CheckerSource) (*Plan, []obstacle, error) {
	t := s.tree
	old, err := readManifest(t)
	if err != nil {
		return nil, nil, err
	}
	files, err := wantedFiles(t, p, source)
	if err != nil {
		return nil, nil, err
	}
	splices, found, err := s.splices(p, old)
	if err != nil {
		return nil, nil, err
	}
	files = append(files, s.own...)
	files, err = withManifest(t, files, splices, old, p, tool)
	if err != nil {
		return nil, nil, err
	}
	c, err := newComparison(t, old, p.Name, p.Digest())
	if err != nil {
		return nil, nil, err
	}
	for _, w := range files {
		if err := c.add(w); err != nil {
			return nil, nil, fmt.Errorf("cannot plan %s: %w", w.path, err)
		}
	}
	if err := c.addSplices(splices); err != nil {
		return nil, nil, err
	}
	if err := c.dropStale(files); err != nil {
		return nil, nil, err
	}
	more, warnings, err := s.obstacles(p)
	if err != nil {
		return nil, nil, err
	}
	for _, w := range warnings {
		c.warn(w)
	}
	more = slices.DeleteFunc(more, func(o obstacle) bool { // what goes away is in nobody's way
		return slices.ContainsFunc(c.plan.Changes, func(done Change) bool { return done.Op == rootfs.Remove && done.Path == o.what })
	})
	return c.plan, slices.Concat(c.obstacles, found, more), nil
}

// withManifest adds directories and, last, the manifest of it all.
func withManifest(t rootfs.Tree, files []wanted, splices []splice, old *Manifest, p profiles.Profile, tool string) ([]wanted, error) {
	files = append(files, wanted{path: ManifestPath, op: rootfs.WriteFile, mode: 0o644, reason: "what this build wrote"})
	files, err := withParents(t, files, splices, old)
	if err != nil {
		return nil, err
	}
	m := &Manifest{Schema: ManifestSchema, Tool: tool, Profile: p.Name, Digest: p.Digest()}
	for _, w := range files[:len(files)-1] {
		m.Entries = append(m.Entries, w.entry())
	}
	for _, s := range splices {
		if s.listed() {
			m.Entries = append(m.Entries, s.entry())
		}
	}
	files[len(files)-1].data, err = m.encode()
	return files, err
}

// comparison gathers changes and obstacles.
type comparison struct {
	tree      rootfs.Tree
	old       *Manifest
	uid, gid  uint32
	plan      *Plan
	ours      map[string]bool   // literal paths of what old lists
	claimed   map[string]wanted // by literal path
	labels    *labels
	obstacles []obstacle
}

func newComparison(t rootfs.Tree, old *Manifest, profile, digest string) (*comparison, error) {
	uid, gid, err := ownerOf(t)
	if err != nil {
		return nil, err
	}
	c := &comparison{
		tree: t, old: old, uid: uid, gid: gid, ours: map[string]bool{}, claimed: map[string]wanted{},
		plan: &Plan{Profile: profile, Digest: digest, Changes: []Change{}, Warnings: []string{}},
	}
	var warning string
	if c.labels, warning, err = readLabels(t); err != nil {
		return nil, err
	}
	c.warn(warning)
	return c, c.findOurs()
}

// findOurs follows the links in the tree to what an earlier build wrote.
func (c *comparison) findOurs() error {
	if c.old == nil {
		return nil
	}
	for _, e := range c.old.Entries {
		literal, err := rootfs.ResolveParent(c.tree, e.Path)
		if err != nil && !isMissing(err) {
			return err
		}
		c.ours[literal] = true
	}
	return nil
}

// warn adds a warning, if there is one, once.
func (c *comparison) warn(text string) {
	if text != "" && !slices.Contains(c.plan.Warnings, text) {
		c.plan.Warnings = append(c.plan.Warnings, text)
	}
}

// hinder notes what is in the way of a wanted thing.
func (c *comparison) hinder(what, why, advice string) {
	c.obstacles = append(c.obstacles, obstacle{what, why, advice})
}

// add plans one wanted thing, unless the tree has it already.
func (c *comparison) add(w wanted) error {
	literal, err := rootfs.ResolveParent(c.tree, w.path)
	if err != nil && !isMissing(err) {
		return err
	}
	after := c.wantedState(w)
	if other, taken := c.claimed[literal]; taken {
		// Links in the tree may lead two paths to one place.
		if c.wantedState(other) != after {
			c.hinder(w.path, "a link in the image makes it one with "+other.path, "remove the link from the image")
		}
		return nil
	}
	w.literal = literal
	c.claimed[literal] = w
	c.plan.wanted = append(c.plan.wanted, w)
	before, err := stateOf(c.tree, literal)
	if err != nil {
		return err
	}
	var warning string
	if after.Label, warning, err = c.labels.want(literal, w.op, before); err != nil || before == after {
		return err
	}
	c.warn(warning)
	switch absent := before.Type == "absent"; {
	case !absent && !c.ours[literal] && w.path != ManifestPath:
		c.hinder(literal, "it exists and kerngate did not write it", "look at the file; remove it from the image if it may go")
	case !absent && before.Type != "directory" && w.op == rootfs.Mkdir:
		c.hinder(literal, "it is no longer a directory", "remove it from the image")
	case before.Type == "directory" && w.op != rootfs.Mkdir:
		c.hinder(literal, "it is a directory", "remove it from the image")
	default:
		xattrs, err := c.labels.xattrs(literal, before, after)
		c.plan.Changes = append(c.plan.Changes, Change{
			Path: literal, Op: w.op, Before: before, After: after, Reason: w.reason,
			edit: rootfs.Edit{Op: w.op, Path: literal, Mode: w.mode, UID: c.uid, GID: c.gid, Data: w.data, Target: w.target, Xattrs: xattrs},
		})
		return err
	}
	return nil
}

// wantedState is what the path will hold.
func (c *comparison) wantedState(w wanted) State {
	owner := fmt.Sprintf("%d:%d", c.uid, c.gid)
	switch w.op {
	case rootfs.Symlink:
		return State{Type: "symlink", Target: w.target}
	case rootfs.Mkdir:
		return State{Type: "directory", Mode: fmt.Sprintf("%04o", w.mode), Owner: owner}
	default:
		return State{Type: "file", Mode: fmt.Sprintf("%04o", w.mode), Owner: owner, Size: int64(len(w.data)), SHA256: hash(w.data)}
	}
}

// dropStale plans the removal of what an earlier build wrote and this profile no
// longer wants. A file that somebody changed since stays, as an obstacle.
func (c *comparison) dropStale(files []wanted) error {
	if c.old == nil {
		return nil
	}
	kept, removed := map[string]bool{}, map[string]bool{}
	for _, w := range files {
		kept[w.path] = true
	}
	for _, done := range c.plan.Changes {
		removed[done.Path] = done.Op == rootfs.Remove
	}
	for _, e := range slices.Backward(c.old.Entries) {
		if kept[e.Path] || e.isSplice() {
			continue
		}
		if err := c.drop(e, removed); err != nil {
			return fmt.Errorf("cannot plan the removal of %s: %w", e.Path, err)
		}
	}
	return nil
}

func (c *comparison) drop(e ManifestEntry, removed map[string]bool) error {
	literal, err := rootfs.ResolveParent(c.tree, e.Path)
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, wanted := c.claimed[literal]; wanted || removed[literal] {
		return nil // a link in the tree leads two paths to one place
	}
	before, err := stateOf(c.tree, literal)
	if err != nil {
		return err
	}
	switch e.Op {
	case rootfs.Mkdir:
		if before.Type != "directory" {
			return nil // ours is gone already
		}
		if empty, err := emptyBut(c.tree, literal, removed); err != nil || !empty {
			return err
		}
	default:
		if before.SHA256 != e.SHA256 || before.Target != e.Target {
			c.hinder(literal, "it is no longer wanted, and was changed since kerngate wrote it", "look at the file; remove it from the image if it may go")
			return nil
		}
	}
	removed[literal] = true
	c.plan.Changes = append(c.plan.Changes, Change{
		Path: literal, Op: rootfs.Remove, Before: before, After: State{Type: "absent"}, Reason: "the profile no longer asks for it",
		edit: rootfs.Edit{Op: rootfs.Remove, Path: literal},
	})
	return nil
}

// emptyBut says whether a directory holds nothing but what is being removed.
func emptyBut(t rootfs.Tree, dir string, removed map[string]bool) (bool, error) {
	entries, err := t.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if !removed[path.Join(dir, e.Name)] {
			return false, nil
		}
	}
	return true, nil
}

// maxHashed bounds a file that is hashed to compare it: an initramfs with all
// modules and firmware has some hundred megabytes.
const maxHashed = 2 << 30

// stateOf describes what a literal path holds.
func stateOf(t rootfs.Tree, literal string) (State, error) {
	info, err := t.Lstat(literal)
	if isMissing(err) {
		return State{Type: "absent"}, nil
	}
	if err != nil {
		return State{}, err
	}
	s := State{Mode: fmt.Sprintf("%04o", unixMode(info.Mode)), Owner: fmt.Sprintf("%d:%d", info.UID, info.GID)}
	if s.Label, err = labelOf(t, literal); err != nil {
		return s, err
	}
	switch info.Mode.Type() {
	case 0:
		s.Type, s.Size = "file", info.Size
		if info.Size > maxHashed {
			return s, nil
		}
		s.SHA256, err = hashOf(t, literal, info.Size, nil)
		return s, err
	case fs.ModeDir:
		s.Type = "directory"
		return s, nil
	case fs.ModeSymlink:
		target, err := t.Readlink(literal)
		return State{Type: "symlink", Target: target, Label: s.Label}, err
	default:
		s.Type = "other"
		return s, nil
	}
}

// hashOf is the SHA-256 of the first size bytes of a file, with data behind them.
func hashOf(t rootfs.Tree, literal string, size int64, data []byte) (string, error) {
	f, err := t.Open(literal)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, size)); err != nil {
		return "", fmt.Errorf("cannot read %s: %w", literal, err)
	}
	sum.Write(data)
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// unixMode gives the permission bits as chmod(1) numbers them.
func unixMode(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	for flag, bit := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&flag != 0 {
			bits |= bit
		}
	}
	return bits
}

// isMissing says whether nothing is there, or a file where a directory above it
// should be.
func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// Text is the content that a change writes, when it is text.
func (c Change) Text() (string, bool) {
	if c.Op != rootfs.WriteFile || !utf8.Valid(c.edit.Data) || bytes.IndexByte(c.edit.Data, 0) >= 0 {
		return "", false
	}
	return string(c.edit.Data), true
}
