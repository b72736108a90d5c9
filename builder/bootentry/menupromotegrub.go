package bootentry

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// cutGrub takes the barred entries out of GRUB's scripts, and out of its fallbacks.
func (p *promoting) cutGrub(m LoaderMenu, g *grubRoot) error {
	cut := map[*grubItem]bool{}
	if p.wish.Mode == RemoveEntries {
		p.markCut(g.menu, cut)
	}
	changes := map[*file][]change{}
	nodes := map[*grubNode]bool{}
	for _, i := range g.items {
		switch {
		case !cut[i]:
		case i.script == nil:
			p.deleteEntry(m, i.MenuItem)
		case !nodes[i.node]:
			nodes[i.node] = true
			p.gone(m, i.MenuItem)
		}
	}
	for name, list := range g.nodes {
		f := g.files[name]
		changes[f] = append(changes[f], cutNodes(f.data, list, nodes, false)...)
	}
	for _, s := range g.sets {
		if s.name != "fallback" {
			continue
		}
		if now := g.fallbackWithout(s, cut, p.barred); now != string(s.file.data[s.from:s.end]) {
			changes[s.file] = append(changes[s.file], change{s.from, s.end, now})
			p.changed(m, s.file, s.from, s.name, now, string(s.file.data[s.from:s.end]), true)
		}
	}
	for f, list := range changes {
		slices.SortFunc(list, func(a, b change) int { return a.start - b.start })
		if list = slices.Compact(list); len(list) > 0 {
			p.write(f.path, splice(f.data, list))
		}
	}
	if len(nodes) > 0 {
		p.note("%s: grub-mkconfig makes it from the kernels in /boot; an entry comes back at the next update while its kernel is installed", g.path)
	}
	return nil
}

// markCut marks the barred entries, and the submenus that hold nothing else.
func (p *promoting) markCut(menu []*grubItem, cut map[*grubItem]bool) {
	for _, i := range menu {
		p.markCut(i.menu, cut)
		cut[i] = p.barred(i.MenuItem) ||
			len(i.menu) > 0 && !slices.ContainsFunc(i.menu, func(i *grubItem) bool { return !cut[i] })
	}
}

// cutNodes gives the deletions of statements. A block that would be left without any is
// given a command that does nothing, since GRUB takes no empty ones.
func cutNodes(data []byte, list []grubNode, gone map[*grubNode]bool, inBlock bool) []change {
	var out []change
	left := 0
	for i := range list {
		if !gone[&list[i]] {
			left++
		}
	}
	for i := range list {
		n := &list[i]
		if !gone[n] {
			for _, arm := range n.arms {
				out = append(out, cutNodes(data, arm.body, gone, true)...)
			}
			continue
		}
		c := change{n.start, n.end, ""}
		if inBlock && left == 0 && i == 0 {
			c.text = "true"
		} else {
			c = wholeLines(data, c)
		}
		out = append(out, c)
	}
	return out
}

// wholeLines lets a deletion take the lines it leaves empty.
func wholeLines(data []byte, c change) change {
	from, to := c.start, c.end
	for from > 0 && isBlank(data[from-1]) && data[from-1] != '\n' {
		from--
	}
	for to < len(data) && isBlank(data[to]) && data[to] != '\n' {
		to++
	}
	if (from == 0 || data[from-1] == '\n') && (to == len(data) || data[to] == '\n') {
		c.start, c.end = from, min(to+1, len(data))
	}
	return c
}

// fallbackWithout is the value of a fallback setting without what is barred, numbered
// as the menu is then.
func (g *grubRoot) fallbackWithout(s grubSet, cut map[*grubItem]bool, barred func(MenuItem) bool) string {
	raw := string(s.file.data[s.from:s.end])
	if len(s.values.list) != 1 || s.values.any {
		if slices.ContainsFunc(s.values.list, func(v string) bool { return g.leadsTo(v, barred) }) || s.values.any {
			return `""`
		}
		return raw
	}
	var kept []string
	same := true
	for word := range strings.FieldsSeq(s.values.list[0]) {
		if g.leadsTo(word, barred) {
			same = false
			continue
		}
		now := renumbered(g, g.menu, word, cut)
		same = same && now == word
		kept = append(kept, now)
	}
	if same {
		return raw
	}
	return `"` + strings.Join(kept, " ") + `"`
}

func (g *grubRoot) leadsTo(value string, barred func(MenuItem) bool) bool {
	for word := range strings.FieldsSeq(value) {
		if slices.ContainsFunc(g.resolve(g.menu, word, false), func(n int) bool { return barred(g.items[n].MenuItem) }) {
			return true
		}
	}
	return false
}

// renumbered is what names the same entry once some are cut out.
func renumbered(g *grubRoot, menu []*grubItem, spec string, cut map[*grubItem]bool) string {
	n, whole, ok := leadingNumber(spec)
	found := g.component(menu, spec)
	if !ok || !whole || len(found) != 1 || n >= len(menu) {
		return spec
	}
	before := 0
	for _, i := range menu[:n] {
		if cut[i] {
			before++
		}
	}
	out := fmt.Sprint(n - before)
	if rest := afterSeparator(spec); rest != "" {
		out += ">" + renumbered(g, found[0].menu, rest, cut)
	}
	return out
}

// defaultGrub makes an item GRUB's default: in the environment block where the script
// takes it from there, else in the script.
func (p *promoting) defaultGrub(m LoaderMenu, g *grubRoot, t int) error {
	value := g.spec(g.items[t])
	if value == "" {
		p.refuse(m.Items[t], "no value of GRUB's default names it alone", "give the entry an --id of its own")
		return nil
	}
	raw := `"` + value + `"`
	changes := map[*file][]change{}
	env := map[string]string{} // what the environment block is to hold
	found := false
	for _, s := range g.sets {
		if s.name != "default" {
			continue
		}
		found = true
		if !s.values.any && p.allMean(m, g, s.values.list, t) {
			continue
		}
		switch from := variablesIn(s.value); {
		case g.env != nil && slices.Contains(from, "next_entry"):
			env["next_entry"] = ""
		case g.env != nil && slices.Contains(from, "saved_entry"):
			env["saved_entry"], env["prev_saved_entry"] = value, ""
		default:
			changes[s.file] = append(changes[s.file], change{s.from, s.end, raw})
			p.changed(m, s.file, s.from, s.name, raw, string(s.file.data[s.from:s.end]), true)
		}
	}
	if f := g.files[g.path]; !found {
		changes[f] = append(changes[f], change{0, 0, "set default=" + raw + "\n"})
		p.changed(m, f, 0, "default", raw, "", false)
	}
	for f, list := range changes {
		slices.SortFunc(list, func(a, b change) int { return a.start - b.start })
		p.write(f.path, splice(f.data, slices.Compact(list)))
	}
	return p.setEnv(m, g, env, t)
}

// allMean says that every value starts what item t does.
func (p *promoting) allMean(m LoaderMenu, g *grubRoot, values []string, t int) bool {
	one := m
	one.Default, one.Fallback, one.Unknown = nil, nil, ""
	for _, v := range values {
		one.Default = union2(one.Default, g.resolve(g.menu, v, true))
	}
	return p.satisfied(one, t)
}

// setEnv changes an environment block.
func (p *promoting) setEnv(m LoaderMenu, g *grubRoot, env map[string]string, t int) error {
	if len(env) == 0 {
		return nil
	}
	data := g.env.data
	for _, name := range []string{"next_entry", "prev_saved_entry", "saved_entry"} {
		value, wanted := env[name]
		was, there := envValue(data, name)
		if !wanted || value == "" && !there {
			continue
		}
		next, err := withSetting(data, name, value, true)
		if err != nil {
			p.refuse(m.Items[t], err.Error(), "run grub-editenv "+g.env.path+" list, and unset what is not needed")
			return nil
		}
		if !bytes.Equal(next, data) {
			p.changed(m, g.env, 0, name, value, was, there)
		}
		data = next
	}
	if !bytes.Equal(data, g.env.data) {
		p.write(g.env.path, data)
		if strings.Contains(string(g.files[g.path].data), "savedefault") {
			p.note("%s: GRUB may store another default there when somebody chooses an entry (savedefault)", g.env.path)
		}
	}
	return nil
}

// envValue is a setting of an environment block, as it is spelled.
func envValue(data []byte, name string) (value string, there bool) {
	at, there := envLineOf(data, name)
	return string(data[at.start:at.end]), there
}

// envLineOf finds the last setting of a name.
func envLineOf(data []byte, name string) (at settingSpan, there bool) {
	settings, err := parseGrubEnv(data)
	if err != nil {
		return at, false
	}
	for _, s := range settings {
		if s.name == name {
			end := s.text.lead
			if n := len(s.text.cells); n > 0 {
				end = s.text.cells[n-1].end
			}
			at, there = settingSpan{s.text.lead - len(name) - 1, s.text.lead, end, min(end+1, len(data))}, true
		}
	}
	return at, there
}

// withSetting gives an environment block one setting, as it is spelled, or takes it
// away.
func withSetting(data []byte, name, value string, present bool) ([]byte, error) {
	at, there := envLineOf(data, name)
	end := len(bytes.TrimRight(data, "#"))
	c := change{at.at, at.next, ""}
	switch {
	case there && present:
		c = change{at.start, at.end, value}
	case present:
		c = change{end, end, newlineIfNone(data[:end]) + name + "=" + value + "\n"}
	}
	return rewriteGrubEnv(&file{data: data}, []placedChange{{change: c}})
}

// templateDefault sets GRUB_DEFAULT where the menu that grub-mkconfig makes from all
// kernels that are installed would start another one.
func (p *promoting) templateDefault(m LoaderMenu, env *shellEnv, main *file, dropIns bool) error {
	g := m.root.(*grubRoot)
	t := p.target(m)
	set := env.vars["GRUB_DEFAULT"]
	current := set.String()
	if !set.opaque && (current == "saved" || p.allMean(m, g, []string{orWord(current, "0")}, t)) {
		if current == "saved" && env.vars["GRUB_SAVEDEFAULT"].String() == "true" {
			p.note("/etc/default/grub: GRUB_SAVEDEFAULT makes the entry that somebody chooses the next default")
		}
		return nil
	}
	value := "0"
	if !p.allMean(m, g, []string{value}, t) {
		if value = g.spec(g.items[t]); value == "" {
			p.refuse(m.Items[t], "no value of GRUB_DEFAULT names it alone", "give the entry an --id of its own")
			return nil
		}
		p.note("/etc/default/grub: GRUB_DEFAULT names the entry of kernel %s; a newer kernel does not become the default by itself", strings.Join(m.Items[t].Releases, ", "))
	}
	if dropIns && set.file != nil && set.file.path > grubDefaultDropIn {
		p.refuse(MenuItem{Path: set.file.path, Line: set.line, Title: "GRUB_DEFAULT"}, "it is read after "+grubDefaultDropIn+", and names another entry", "set it to "+value+", or remove it")
		return nil
	}
	line := `GRUB_DEFAULT="` + value + `"`
	if dropIns {
		p.write(grubDefaultDropIn, []byte(p.wish.Header+line+"\n"))
		return nil
	}
	if main != nil {
		p.write(main.path, append(bytes.Clone(main.data), lastLine(main.data, line)...))
		p.changed(m, main, 0, "GRUB_DEFAULT", `"`+value+`"`, "", false) // the last one, which stands
	}
	return nil
}
