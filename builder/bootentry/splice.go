package bootentry

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// Edit is the new content of one file.
type Edit struct {
	Path   string // literal
	Data   []byte
	New    bool // there is no such file yet; its directory may be missing too
	Delete bool // the file goes: one of our own in Remove, an entry in Promote
}

// Refusal is a command line that cannot be changed.
type Refusal struct {
	Entry Entry
	Why   string
	Hint  string // what the user can do, empty if nothing simple helps
}

func (r Refusal) Error() string { return fmt.Sprintf("%s: %s", r.Entry, r.Why) }

// Gap is what a command line lacks.
type Gap struct {
	Entry Entry
	Want
}

// Missing gives the entries whose command line does not keep out all that w says,
// under one value or another of the variables on it.
func (c *Config) Missing(w Want) []Gap {
	var out []Gap
	for i, e := range c.Entries {
		lacking := Want{}
		if len(c.places[i].lines) == 0 {
			lacking = w
		}
		for _, line := range c.places[i].lines {
			lacking = lacking.Union(w.missing(line.String()))
		}
		if !lacking.Empty() {
			out = append(out, Gap{e, lacking})
		}
	}
	return out
}

// Splice gives the files that make every command line keep out what w says, sorted by
// path, and the entries that cannot be changed. Without anything to do it gives none.
// The result has been read back: what still lacks something is among the refusals.
func (c *Config) Splice(w Want) ([]Edit, []Refusal, error) {
	if err := w.check(); err != nil {
		return nil, nil, err
	}
	job := newSplicing(c, w)
	// Variables first: entries that name them may then lack nothing.
	current := c
	for _, defining := range []bool{true, false} {
		changed, err := job.pass(current, defining)
		if err != nil {
			return nil, nil, err
		}
		if changed {
			if current, err = Read(job.over); err != nil {
				return nil, nil, fmt.Errorf("cannot read back the changed boot configuration: %w", err)
			}
		}
	}
	for _, gap := range current.Missing(w) {
		if !job.refused(gap.Entry) {
			job.refusals = append(job.refusals, Refusal{Entry: gap.Entry, Hint: current.laterHint(gap.Entry),
				Why: fmt.Sprintf("the command line still lacks %s after the change", strings.Join(slices.Concat(gap.Modules, gap.Initcalls), ", "))})
		}
	}
	edits, err := job.edits()
	return edits, job.refusals, err
}

// laterHint says which files may undo what our own file of a template adds.
func (c *Config) laterHint(e Entry) string {
	for i, p := range c.places {
		if p.dropIn != nil && len(p.dropIn.later) > 0 && c.Entries[i].Path == e.Path {
			return fmt.Sprintf("%s is read after it and sets the arguments anew: give that file a name that sorts before, or put the arguments there", strings.Join(p.dropIn.later, ", "))
		}
	}
	return ""
}

// splicing is one run of Splice.
type splicing struct {
	want     Want
	over     *rootfs.Overlay
	written  map[string][]byte // what over has instead of the tree
	refusals []Refusal
}

func newSplicing(c *Config, w Want) *splicing {
	return &splicing{want: w, over: rootfs.NewOverlay(c.tree), written: map[string][]byte{}}
}

func (s *splicing) write(name string, data []byte) {
	s.over.Write(name, data)
	s.written[name] = data
}

func (s *splicing) refuse(e Entry, r Refusal) {
	if r.Entry = e; !s.refused(e) {
		s.refusals = append(s.refusals, r)
	}
}

func (s *splicing) refused(e Entry) bool {
	return slices.ContainsFunc(s.refusals, func(r Refusal) bool {
		return r.Entry.Path == e.Path && r.Entry.Title == e.Title && r.Entry.Line == e.Line
	})
}

// pass changes the places that define variables, or all others.
func (s *splicing) pass(c *Config, defining bool) (changed bool, err error) {
	byFile := map[*file][]placedChange{}
	entries := map[*file]Entry{}
	var order []*file
	for i, p := range c.places {
		e := c.Entries[i]
		if p.defines != defining || !c.lacks(i, s.want) {
			continue
		}
		if p.refusal != nil {
			s.refuse(e, Refusal{Why: p.refusal.Why, Hint: commandArguments(p.refusal.Hint, s.want)})
			continue
		}
		if p.dropIn != nil {
			data, err := p.dropIn.content(s.want)
			if err != nil {
				s.refuse(e, Refusal{Why: err.Error()})
				continue
			}
			s.write(p.dropIn.path, data)
			changed = true
			continue
		}
		list, err := merge(p.lines, s.want)
		if err != nil {
			s.refuse(e, Refusal{Why: err.Error()})
			continue
		}
		if _, known := byFile[p.file]; !known {
			order = append(order, p.file)
			entries[p.file] = e
		}
		for _, change := range list {
			byFile[p.file] = append(byFile[p.file], placedChange{change, p.section})
		}
	}
	applied, err := s.applyAll(order, byFile, entries)
	return changed || applied, err
}

// applyAll changes files in order; what a format cannot take is a refusal.
func (s *splicing) applyAll(order []*file, byFile map[*file][]placedChange, entries map[*file]Entry) (changed bool, err error) {
	for _, f := range order {
		data, err := s.apply(f, byFile[f])
		if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
			return changed, err
		}
		if err != nil {
			s.refuse(entries[f], Refusal{Why: err.Error()})
			continue
		}
		s.write(f.path, data)
		changed = true
	}
	return changed, nil
}

// lacks says whether entry i lacks something.
func (c *Config) lacks(i int, w Want) bool {
	return slices.ContainsFunc(c.places[i].lines, func(t text) bool { return !w.missing(t.String()).Empty() }) ||
		len(c.places[i].lines) == 0
}

// apply carries out the changes of one file.
func (s *splicing) apply(f *file, changes []placedChange) ([]byte, error) {
	changes, err := ordered(changes)
	if err != nil {
		return nil, err
	}
	whole := *f
	if whole.data == nil {
		if whole.data, err = rootfs.ReadFile(s.over, f.path, maxImage); err != nil {
			return nil, err
		}
	}
	if f.rewrite != nil {
		return f.rewrite(&whole, changes)
	}
	var list []change
	for _, c := range changes {
		list = append(list, c.change)
	}
	return splice(whole.data, list), nil
}

// ordered sorts changes and makes one of equal ones: labels of extlinux.conf share a
// line.
func ordered(changes []placedChange) ([]placedChange, error) {
	slices.SortStableFunc(changes, func(a, b placedChange) int {
		if a.section != b.section {
			return a.section - b.section
		}
		return a.start - b.start
	})
	changes = slices.Compact(changes)
	for i := 1; i < len(changes); i++ {
		a, b := changes[i-1], changes[i]
		if a.section == b.section && (b.start < a.end || (a.start == b.start && a.end > a.start)) {
			return nil, fmt.Errorf("two changes meet at byte %d", b.start)
		}
	}
	return changes, nil
}

// edits lists the files that are not as the tree has them.
func (s *splicing) edits() ([]Edit, error) {
	var out []Edit
	for name, data := range s.written {
		_, err := s.over.Tree.Lstat(name)
		if err != nil && !missing(err) {
			return nil, err
		}
		out = append(out, Edit{Path: name, Data: data, New: err != nil})
	}
	slices.SortFunc(out, func(a, b Edit) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}
