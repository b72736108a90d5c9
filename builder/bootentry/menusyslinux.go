package bootentry

import (
	"path"
	"slices"
	"strings"
)

// syslinuxMenu is one configuration of Syslinux or U-Boot.
type syslinuxMenu struct {
	file   *file
	labels []*syslinuxItem
	// starts and fails are the settings that name a label.
	starts, fails []directive
	includes      bool
}

type syslinuxItem struct {
	MenuItem
	start, end int         // in the file
	next       int         // where the line behind LABEL begins
	marks      []directive // MENU DEFAULT
}

// syslinux evaluates every configuration that is not included by another.
func (r *menuReader) syslinux() ([]LoaderMenu, error) {
	var out []LoaderMenu
	done := map[string]bool{}
	for _, e := range r.config.Entries {
		if e.Source != Extlinux || done[e.Path] {
			continue
		}
		done[e.Path] = true
		f, err := r.read(e.Path)
		if err != nil || f == nil {
			return nil, err
		}
		if m := r.syslinuxMenu(f); slices.Contains(syslinuxNames(), strings.ToLower(path.Base(f.path))) {
			if m.includes {
				r.note("%s: it includes others; only what it says itself counts for its default entry", f.path)
			}
			out = append(out, m.loaderMenu())
		}
	}
	return out, nil
}

func (r *menuReader) syslinuxMenu(f *file) *syslinuxMenu {
	m := &syslinuxMenu{file: f}
	var label *syslinuxItem
	closeLabel := func(at int) {
		if label != nil {
			label.end = at
			m.labels = append(m.labels, label)
		}
		label = nil
	}
	for _, d := range parseSyslinux(f.data) {
		value := string(f.data[d.start:d.end])
		sub, rest, _ := strings.Cut(value, " ")
		sub = strings.ToLower(sub)
		switch {
		case d.word == "label":
			closeLabel(d.at)
			label = &syslinuxItem{start: d.at, next: d.next, MenuItem: MenuItem{Path: f.path, Line: d.number, ID: value, Title: value}}
		case d.word == "default", d.word == "ontimeout":
			m.starts = append(m.starts, d)
		case d.word == "fallback", d.word == "onerror":
			m.fails = append(m.fails, d)
		case d.word == "include", d.word == "menu" && slices.Contains([]string{"begin", "end", "separator", "include"}, sub):
			closeLabel(d.at)
			m.includes = m.includes || d.word == "include" || sub == "include"
		case label != nil && d.word == "menu" && sub == "label":
			label.Title = strings.TrimSpace(rest)
		case label != nil && d.word == "menu" && sub == "default":
			label.marks = append(label.marks, d)
		case label != nil && (d.word == "linux" || d.word == "kernel") && isKernelFile(value) && !isTool(strings.Fields(value)[0]):
			written, _, _ := strings.Cut(value, " ")
			kernel := r.syslinuxPath(f, written, path.Dir(path.Dir(f.path)))
			label.loads(orWord(r.kernels[kernel], releaseOf(kernel)))
			label.Missing = label.Missing || !r.holds(kernel)
		case label != nil && d.word == "append":
			label.marksRecovery(value)
		}
	}
	closeLabel(len(f.data))
	return m
}

// named finds a label: the first word is its name, without regard to case.
func (m *syslinuxMenu) named(value string) int {
	word, _, _ := strings.Cut(strings.TrimSpace(value), " ")
	return slices.IndexFunc(m.labels, func(l *syslinuxItem) bool { return strings.EqualFold(l.ID, word) })
}

// loaderMenu says what is started: DEFAULT, or in a menu the entry that is marked, or
// as U-Boot does the first. With ONTIMEOUT it depends on whether anybody is there.
func (m *syslinuxMenu) loaderMenu() LoaderMenu {
	out := LoaderMenu{Loader: "extlinux", Path: m.file.path, root: m}
	for i, l := range m.labels {
		out.Items = append(out.Items, l.MenuItem)
		if len(l.marks) > 0 {
			out.Default = union2(out.Default, []int{i})
		}
	}
	for _, d := range m.starts {
		value := string(m.file.data[d.start:d.end])
		if i := m.named(value); i >= 0 {
			out.Default = union2(out.Default, []int{i})
		} else if isKernelFile(value) {
			out.Unknown = "it names " + value + ", which is none of its labels"
		}
	}
	for _, d := range m.fails {
		if i := m.named(string(m.file.data[d.start:d.end])); i >= 0 {
			out.Fallback = union2(out.Fallback, []int{i})
		}
	}
	if len(out.Default) == 0 && len(m.labels) > 0 {
		out.Default = []int{0}
	}
	return out
}
