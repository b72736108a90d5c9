package pin

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// Mode says how far the kernel may move.
type Mode string

// The modes. Floor: the floor and everything later. Branch: the floor and what is
// later in its branch. Exact: the floor's release only, whatever the distribution's own
// numbers behind it. None: no pin.
const (
	Floor  Mode = "floor"
	Branch Mode = "branch"
	Exact  Mode = "exact"
	None   Mode = "none"
)

// Want is the pin that a profile asks for.
type Want struct {
	Mode  Mode
	Floor Release
	// Ceiling is the first release that is not allowed any more, with its candidates.
	// The zero value is none. Modes branch and exact have their own.
	Ceiling Release
	// Header is comment lines for a file of our own, each beginning with # and ending
	// in a newline.
	Header string
}

// bounds checks what is wanted.
func (w Want) bounds() (bounds, error) {
	b := bounds{low: w.Floor}
	for _, r := range []Release{w.Floor, w.Ceiling} {
		if err := r.check(); err != nil {
			return b, err
		}
	}
	switch w.Mode {
	case None:
		return b, nil
	case Floor:
	case Branch:
		b.high, b.closed = numbers{w.Floor.Major, w.Floor.Minor + 1}, true
	case Exact:
		b.high, b.closed = numbers{w.Floor.Major, w.Floor.Minor, w.Floor.Patch + 1}, true
	default:
		return b, fmt.Errorf("pin mode is %q, want %s, %s, %s or %s", w.Mode, Floor, Branch, Exact, None)
	}
	if w.Floor == (Release{}) {
		return b, fmt.Errorf("pin mode %s needs a floor", w.Mode)
	}
	if c := w.Ceiling; c != (Release{}) {
		if c.Candidate {
			return b, fmt.Errorf("ceiling %v is a release candidate, want a release: its candidates are above it as well", c)
		}
		if !b.closed || c.numbers().compare(b.high) < 0 {
			b.high, b.closed = c.numbers(), true
		}
	}
	if b.closed && b.high.compare(b.low.numbers()) <= 0 {
		return b, fmt.Errorf("no kernel is at or above %v and below %v", b.low, b.ceiling())
	}
	return b, nil
}

// File is what a pin makes of one file.
type File struct {
	Manager string
	Path    string // literal
	Data    []byte // all of the new content; nil with Delete
	Delete  bool   // nothing but ours was in it
	Mode    fs.FileMode
	// Ours tells a file of our own from one of somebody else that gets words of ours.
	Ours bool
	// Added is those words, with blanks between: what Plan and Remove take out again.
	// Empty in a file that has none any more, and in one of our own.
	Added string
	// Changed says whether the tree has anything else; Lacks is what, for people.
	Changed bool
	Lacks   string
}

// Refusal is something in the tree that a pin would not hold against.
type Refusal struct {
	Path string
	Line int // from 1; 0 where no line is to blame
	Why  string
	Hint string
}

func (r Refusal) Error() string {
	if r.Line == 0 {
		return r.Path + ": " + r.Why
	}
	return fmt.Sprintf("%s:%d: %s", r.Path, r.Line, r.Why)
}

// Result is a pin in files.
type Result struct {
	Managers []string // found in the tree: "apt", "dnf", "zypper", "pacman", "apk"
	Files    []File   // by path; also those that are as they should be
	Warnings []string
	Refusals []Refusal
}

// Gaps gives the files that are not as they should be.
func (r Result) Gaps() []File {
	return slices.DeleteFunc(slices.Clone(r.Files), func(f File) bool { return !f.Changed })
}

// Plan gives the files that hold w, and what stands against it. Old is what an earlier
// plan added to files of others: by literal path, the words of [File.Added]. They are
// taken out first, so that the result does not depend on earlier pins; paths that no
// package manager has are none of ours. Planning on the result changes nothing.
func Plan(t rootfs.Tree, w Want, old map[string]string) (Result, error) {
	b, err := w.bounds()
	if err != nil {
		return Result{}, err
	}
	p := &planner{tree: t, want: w, bounds: b, old: old, now: rootfs.NewOverlay(t), kept: map[string]string{}}
	for _, m := range managers() {
		if err := p.manager(m); err != nil {
			return Result{}, fmt.Errorf("cannot pin the kernel for %s: %w", m.name, err)
		}
	}
	if err := p.surroundings(); err != nil {
		return Result{}, err
	}
	slices.SortFunc(p.out.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return p.out, nil
}

// Remove takes out what plans added to files of others. Files of our own are the
// caller's to delete.
func Remove(t rootfs.Tree, added map[string]string) ([]File, error) {
	r, err := Plan(t, Want{Mode: None}, added)
	return r.Files, err
}

// manager is one package manager.
type manager struct {
	name  string
	signs []string // paths of which one tells that it is there
	files []string // of others, that hold words of ours
	// words gives those that a file is to have, and of all such words those it has.
	words func(b bounds, data []byte) (wanted, present []string)
	// strip takes words out of such a file.
	strip func(data []byte, words []string) []byte
	pin   func(*planner) error
}

func managers() []manager {
	return []manager{
		{name: "apt", signs: []string{"/usr/bin/apt-get", "/usr/bin/apt", "/etc/apt"}, pin: (*planner).apt},
		{name: "dnf", signs: []string{"/usr/bin/dnf", "/usr/bin/dnf5", "/usr/bin/microdnf", "/usr/bin/yum", dnfConf, yumConf},
			files: []string{dnfConf, yumConf}, words: excludeWords, strip: stripExcludes, pin: (*planner).dnf},
		{name: "zypper", signs: []string{"/usr/bin/zypper", "/etc/zypp"},
			files: []string{zyppLocks}, words: lockWords, strip: stripLocks, pin: (*planner).zypper},
		{name: "pacman", signs: []string{"/usr/bin/pacman", pacmanConf},
			files: []string{pacmanConf}, words: ignoreWords, strip: stripIgnored, pin: (*planner).pacman},
		{name: "apk", signs: []string{"/sbin/apk", "/usr/sbin/apk", "/usr/bin/apk", "/etc/apk"},
			files: []string{apkWorld}, words: worldWords, strip: stripWorld, pin: (*planner).apk},
	}
}

// planner is one run of Plan.
type planner struct {
	tree   rootfs.Tree
	want   Want
	bounds bounds
	old    map[string]string
	now    *rootfs.Overlay   // the tree without words of ours, then with them
	kept   map[string]string // words of an earlier plan that stay where they are
	out    Result
}

func (p *planner) warn(format string, args ...any) {
	p.out.Warnings = append(p.out.Warnings, fmt.Sprintf(format, args...))
}

func (p *planner) refuse(r Refusal) { p.out.Refusals = append(p.out.Refusals, r) }

// manager pins for one package manager, if the tree has it.
func (p *planner) manager(m manager) error {
	found := false
	for _, name := range m.signs {
		here, err := rootfs.Exists(p.tree, name)
		if err != nil {
			return err
		}
		found = found || here
	}
	if !found {
		return nil
	}
	p.out.Managers = append(p.out.Managers, m.name)
	for _, name := range m.files {
		if err := p.unpin(m, name); err != nil {
			return err
		}
	}
	if p.want.Mode == None {
		return nil
	}
	return m.pin(p)
}

// unpin takes out of one file what an earlier plan added.
func (p *planner) unpin(m manager, name string) error {
	literal, err := rootfs.Resolve(p.tree, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	words := strings.Fields(p.old[literal])
	before, err := p.read(name)
	if err != nil || before == nil || len(words) == 0 {
		return err
	}
	// A file that has all that it should keeps it where it is: its owner, or the manager
	// itself, can have written it anew.
	if p.want.Mode != None {
		wanted, present := m.words(p.bounds, before)
		if len(without(words, wanted)) == 0 && len(without(wanted, present)) == 0 {
			p.kept[literal] = strings.Join(words, " ")
			return p.put(File{Manager: m.name, Path: literal, Data: before})
		}
	}
	after := m.strip(before, words)
	if bytes.Equal(before, after) {
		return nil
	}
	return p.put(File{Manager: m.name, Path: literal, Data: after})
}

// read gives a file as it is now, nil where there is none.
func (p *planner) read(name string) ([]byte, error) {
	data, err := rootfs.ReadFile(p.now, name, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && data == nil {
		data = []byte{}
	}
	return data, err
}

// put notes what a file is to be; the last word on a path counts.
func (p *planner) put(f File) error {
	literal, err := rootfs.Resolve(p.tree, f.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f.Path, f.Mode = literal, 0o644
	if kept, found := p.kept[literal]; found {
		f.Added = kept
	}
	info, err := p.tree.Lstat(literal)
	present := err == nil
	if present {
		f.Mode = info.Mode.Perm()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var before []byte
	if present {
		if before, err = rootfs.ReadFile(p.tree, literal, maxFile); err != nil {
			return err
		}
	}
	if f.Added == "" && !f.Ours && len(bytes.TrimSpace(f.Data)) == 0 {
		f.Data, f.Delete = nil, true
	}
	f.Changed = present == f.Delete || !bytes.Equal(before, f.Data)
	if f.Changed && f.Lacks == "" {
		f.Lacks = "it has a pin that is not asked for"
	}
	if f.Delete {
		p.now.Remove(literal)
	} else {
		p.now.Write(literal, f.Data)
	}
	p.out.Files = slices.DeleteFunc(p.out.Files, func(o File) bool { return o.Path == literal })
	p.out.Files = append(p.out.Files, f)
	return nil
}

// without gives the words that a list does not have yet.
func without(words, have []string) []string {
	return slices.DeleteFunc(slices.Clone(words), func(w string) bool { return slices.Contains(have, w) })
}
