package bootentry

import (
	"slices"
	"strings"
)

// Remove gives the files from which names are taken out again: by the path of an entry,
// the names that the caller added there, since one that was there before looks the
// same. An argument that is left without names goes, and so do our own files. Signed
// images and the like come back as refusals. The section that an image without a
// command line was given stays, empty.
func (c *Config) Remove(added map[string]Want) ([]Edit, []Refusal, error) {
	for _, w := range added {
		if err := w.check(); err != nil {
			return nil, nil, err
		}
	}
	job := newSplicing(c, Want{})
	var own []Edit
	byFile := map[*file][]placedChange{}
	entries := map[*file]Entry{}
	var order []*file
	for i, p := range c.places {
		w, found := added[c.Entries[i].Path]
		if !found {
			continue
		}
		if p.dropIn != nil {
			if _, err := c.tree.Lstat(p.dropIn.path); err == nil {
				own = append(own, Edit{Path: p.dropIn.path, Delete: true})
			}
			continue
		}
		for _, t := range p.lines {
			list := t.removal(w)
			if len(list) == 0 {
				continue
			}
			if p.refusal != nil {
				job.refuse(c.Entries[i], *p.refusal)
				continue
			}
			if byFile[p.file] == nil {
				order = append(order, p.file)
				entries[p.file] = c.Entries[i]
			}
			for _, change := range list {
				byFile[p.file] = append(byFile[p.file], placedChange{change, p.section})
			}
		}
	}
	if _, err := job.applyAll(order, byFile, entries); err != nil {
		return nil, nil, err
	}
	edits, err := job.edits()
	edits = append(edits, own...)
	slices.SortFunc(edits, func(a, b Edit) int { return strings.Compare(a.Path, b.Path) })
	return slices.CompactFunc(edits, func(a, b Edit) bool { return a.Path == b.Path }), job.refusals, err
}

// removal gives the deletions that take the names of w out of a command line.
func (t text) removal(w Want) []change {
	p := parseText(t)
	gone := make([]bool, len(t.cells))
	var out []change
	for _, l := range w.lists() {
		for _, arg := range p.args {
			if arg.is(l.param) {
				out = append(out, t.removeNames(arg, l, gone)...)
			}
		}
	}
	rest := func(i int) bool { return !t.cells[i].soft && !gone[i] && !isBlank(t.cells[i].c) }
	if len(out) > 0 && t.lineEnd > t.lineStart && !slices.ContainsFunc(indices(len(t.cells)), rest) {
		return []change{{t.lineStart, t.lineEnd, ""}}
	}
	return joined(out)
}

// joined sorts deletions and makes one of those that meet: neighbours share a blank.
func joined(deletions []change) []change {
	slices.SortFunc(deletions, func(a, b change) int { return a.start - b.start })
	var out []change
	for _, c := range deletions {
		if n := len(out); n > 0 && c.start <= out[n-1].end {
			out[n-1].end = max(out[n-1].end, c.end)
			continue
		}
		out = append(out, c)
	}
	return out
}

func indices(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// removeNames takes the names of a list out of one argument, or the whole of it.
func (t text) removeNames(arg Argument, l list, gone []bool) []change {
	var out []change
	kept, first := 0, true
	at := arg.valueEnd - len(arg.Value)
	for name := range strings.SplitSeq(arg.Value, ",") {
		from, to := at, at+len(name)
		at = to + 1
		switch {
		case !slices.Contains(l.wanted, name):
			kept++
		case first && to < arg.valueEnd:
			out = t.del(out, from, to+1, gone)
		case !first:
			out = t.del(out, from-1, to, gone)
		}
		first = first && slices.Contains(l.wanted, name)
	}
	if kept > 0 {
		return out
	}
	return t.delArgument(arg, gone)
}

// del adds the deletion of cells from:to, unless they are not in the file like that.
func (t text) del(out []change, from, to int, gone []bool) []change {
	for i := from; i < to; i++ {
		if t.cells[i].soft || (i > from && t.cells[i].start != t.cells[i-1].end) {
			return out
		}
	}
	for i := from; i < to; i++ {
		gone[i] = true
	}
	return append(out, change{t.cells[from].start, t.cells[to-1].end, ""})
}

// delArgument deletes an argument and the one blank that parted it from its
// neighbour.
func (t text) delArgument(arg Argument, gone []bool) []change {
	for i := arg.start; i < arg.end; i++ {
		if t.cells[i].soft && t.cells[i].c != '"' {
			return nil // a variable brought it
		}
		gone[i] = true
	}
	c := change{t.cells[arg.start].head, t.cells[arg.end-1].next, ""}
	switch {
	case t.cells[arg.start].gap > 0:
		c.start = t.cells[arg.start].gap
	case arg.start == 0 && t.follows:
		c.start--
	case arg.start > 0:
		c.start = t.cells[arg.start-1].start
	case arg.end < len(t.cells) && !t.cells[arg.end].soft && isBlank(t.cells[arg.end].c):
		c.end = t.cells[arg.end].end
	}
	return []change{c}
}
