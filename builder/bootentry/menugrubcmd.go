package bootentry

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// command follows one simple command: those that change variables, read files or make
// entries. Of all others nothing is known but that they leave these alone.
func (g *grubRun) command(n *grubNode, s *scope) error {
	words := n.words
	negated := false
	for len(words) > 1 {
		if first, _ := words[0].literal(); first != "!" {
			break
		}
		words, negated = words[1:], !negated
	}
	if len(words) == 0 {
		return nil
	}
	s.verdict = perhaps
	if name, value := assignment(words); name != "" {
		g.assign(name, value, words, s)
		return nil
	}
	name, literal := words[0].literal()
	if !literal {
		return nil
	}
	err := g.named(name, words, s)
	if negated {
		s.verdict = s.verdict.not()
	}
	return err
}

func (g *grubRun) named(name string, words []word, s *scope) error {
	switch name {
	case "true", "false":
		s.verdict = verdictOf(name == "true")
	case "[", "test":
		args := g.arguments(words[1:], s)
		if name == "[" && len(args) > 0 && args[len(args)-1].is("]") {
			args = args[:len(args)-1]
		}
		v, err := g.test(args, s)
		s.verdict = v
		return err
	case "unset":
		for _, a := range g.arguments(words[1:], s) {
			if len(a.list) == 1 {
				s.vars[a.list[0]] = grubValues{list: []string{""}}
			}
		}
	case "load_env":
		return g.loadEnv(words, s)
	case "source", ".", "configfile":
		return g.source(name, words, s)
	case "blscfg":
		return g.blscfg(s)
	case "boot":
		g.root.direct = g.root.direct || !s.nested // in a submenu, only once somebody opens it
	case "read", "regexp", "search", "search.file", "search.fs_label", "search.fs_uuid", "probe", "cat", "increment", "decrement":
		g.computes(words[1:], s)
	case "uki", "bls_import", "legacy_configfile", "syslinux_configfile", "extlinux_configfile", "eval":
		if name == "eval" {
			g.evals(words[1:], s)
		}
		g.root.adds = name
		g.note("%s: line %d: what the command %s adds to the menu is not known", s.file.path, lineOf(s.file.data, words[0].start), name)
	default:
		if body, found := g.functions[name]; found {
			inner := *s
			inner.depth++
			err := g.list(body, &inner)
			s.verdict = perhaps
			return err
		}
	}
	return nil
}

// computes takes the default and the fallback for unknown where a command gets the name of
// the variable to set: alone, as --set=NAME or --set=N:NAME.
func (g *grubRun) computes(words []word, s *scope) {
	for _, a := range g.arguments(words, s) {
		name := strings.TrimPrefix(a.text(), "--set=")
		if name = name[strings.IndexByte(name, ':')+1:]; name == "default" || name == "fallback" {
			s.vars[name] = grubValues{any: true}
		}
	}
}

// evals does the same where a command is put together: it is not followed.
func (g *grubRun) evals(words []word, s *scope) {
	for _, name := range []string{"default", "fallback"} {
		if slices.ContainsFunc(g.arguments(words, s), func(a argument) bool {
			return a.any || slices.ContainsFunc(a.list, func(v string) bool { return strings.Contains(v, name) })
		}) {
			s.vars[name] = grubValues{any: true}
		}
	}
}

func (g *grubRun) assign(name string, value []piece, words []word, s *scope) {
	v := s.vars.expand(value)
	if s.vars[name] = v; !s.nested && (name == "default" || name == "fallback") {
		w := words[len(words)-1]
		if first, _ := words[0].literal(); first == "set" {
			w = words[1]
		}
		from := w.start + strings.IndexByte(string(s.file.data[w.start:w.end]), '=') + 1
		g.root.sets = append(g.root.sets, grubSet{name: name, file: s.file, value: value, from: from, end: w.end, values: v})
	}
}

// loadEnv sets what an environment block holds.
func (g *grubRun) loadEnv(words []word, s *scope) error {
	name := path.Join(path.Dir(s.file.path), "grubenv")
	for i, w := range words {
		if option, _ := w.literal(); (option == "-f" || option == "--file") && i+1 < len(words) {
			target, err := g.target(words[i+1], s.file)
			if err != nil {
				return err
			}
			name = target
		}
	}
	f, err := g.readIf(name)
	if err != nil || f == nil {
		s.verdict = no
		return err
	}
	settings, err := parseGrubEnv(f.data)
	if err != nil {
		s.verdict = no
		return nil // Read says so
	}
	for _, e := range settings {
		s.vars[e.name] = grubValues{list: []string{e.text.String()}}
	}
	if g.root.env == nil {
		g.root.env = f
	}
	return nil
}

func (g *grubRun) source(name string, words []word, s *scope) error {
	if len(words) < 2 {
		return nil
	}
	target, err := g.target(words[1], s.file)
	if err != nil {
		return err
	}
	f, err := g.readIf(target)
	if err != nil {
		return err
	}
	if f == nil {
		g.root.lost = fmt.Sprintf("%s in line %d, which the tree does not have", s.file.data[words[1].start:words[1].end], lineOf(s.file.data, words[0].start))
		g.root.leaves = g.root.leaves || name == "configfile" && !s.maybe && !s.nested
		return nil
	}
	if name != "configfile" {
		return g.inline(f, s)
	}
	if slices.Contains(g.grubTops, f.path) {
		g.root.chained, g.root.elsewhere = true, !s.maybe
		return nil // that one is evaluated by itself
	}
	inner := *s
	err = g.inline(f, &inner)
	g.root.chained = true
	return err
}

// blscfg adds the entries of /loader/entries on the volume that holds them, newest name
// first.
func (g *grubRun) blscfg(s *scope) error {
	g.root.blscfg, g.blscfgUsed = true, true
	for _, volume := range volumes() {
		dir, err := g.find(volume, "loader", "entries")
		if err != nil {
			return err
		}
		if dir == "" {
			continue
		}
		list, err := g.blsFiles(dir, volume)
		if err != nil {
			return err
		}
		slices.SortStableFunc(list, func(a, b *blsFile) int {
			return cmp.Or(-compareVersions(a.stem(), b.stem()), strings.Compare(b.ID, a.ID))
		})
		for _, b := range list {
			item := &grubItem{MenuItem: b.MenuItem}
			item.ID, item.Maybe, item.Title = b.stem(), s.maybe, orWord(b.Title, b.ID)
			if !b.Linux || !b.forGrub {
				continue // GRUB takes only those with a linux line
			}
			*s.menu = append(*s.menu, item)
		}
		if len(list) > 0 {
			return nil
		}
	}
	return nil
}

func (b *blsFile) stem() string { return strings.TrimSuffix(b.ID, path.Ext(b.ID)) }

// maxTest is far above what any test in a grub.cfg has.
const maxTest = 64

// test evaluates a condition (GRUB manual 2.06, "test").
func (g *grubRun) test(args []argument, s *scope) (grubVerdict, error) {
	if len(args) > maxTest {
		return perhaps, nil
	}
	for _, op := range []string{"-o", "-a"} {
		i := slices.IndexFunc(args, func(a argument) bool { return a.is(op) })
		if i <= 0 || i == len(args)-1 {
			continue
		}
		left, err := g.test(args[:i], s)
		if err != nil {
			return perhaps, err
		}
		right, err := g.test(args[i+1:], s)
		return joinVerdicts(left, right, op == "-o"), err
	}
	switch {
	case len(args) == 0:
		return no, nil
	case len(args) > 1 && args[0].is("!"):
		v, err := g.test(args[1:], s)
		return v.not(), err
	case len(args) == 1:
		return args[0].holds(func(v string) bool { return v != "" }), nil
	case len(args) == 2:
		return g.unary(args[0].text(), args[1], s)
	case len(args) == 3:
		return binary3(args[0], args[1].text(), args[2]), nil
	default:
		return perhaps, nil
	}
}

func joinVerdicts(a, b grubVerdict, or bool) grubVerdict {
	decides := verdictOf(or)
	switch {
	case a == decides || b == decides:
		return decides
	case a == perhaps || b == perhaps:
		return perhaps
	default:
		return decides.not()
	}
}

// holds says whether something is true of every value, or of none.
func (v grubValues) holds(f func(string) bool) grubVerdict {
	if v.any {
		return perhaps
	}
	first := f(v.list[0])
	for _, value := range v.list {
		if f(value) != first {
			return perhaps
		}
	}
	return verdictOf(first)
}

func (g *grubRun) unary(op string, a argument, s *scope) (grubVerdict, error) {
	switch op {
	case "-n":
		return a.holds(func(v string) bool { return v != "" }), nil
	case "-z":
		return a.holds(func(v string) bool { return v == "" }), nil
	case "-e", "-f", "-s", "-d":
		target, err := g.target(a.word, s.file)
		switch {
		case err != nil || target != "":
			return yes, err
		case strings.Contains(string(s.file.data[a.word.start:a.word.end]), "("):
			return perhaps, nil // on another volume
		default:
			return no, nil
		}
	default:
		return perhaps, nil
	}
}

// binary3 compares two words.
func binary3(a argument, op string, b argument) grubVerdict {
	compare := map[string]func(c int) bool{
		"=": func(c int) bool { return c == 0 }, "==": func(c int) bool { return c == 0 }, "!=": func(c int) bool { return c != 0 },
		"-eq": func(c int) bool { return c == 0 }, "-ne": func(c int) bool { return c != 0 },
		"-lt": func(c int) bool { return c < 0 }, "-le": func(c int) bool { return c <= 0 },
		"-gt": func(c int) bool { return c > 0 }, "-ge": func(c int) bool { return c >= 0 },
	}[op]
	if compare == nil || a.any || b.any {
		return perhaps
	}
	var all grubValues
	for _, x := range a.list {
		for _, y := range b.list {
			c := strings.Compare(x, y)
			if strings.HasPrefix(op, "-") {
				n, errN := strconv.Atoi(x)
				m, errM := strconv.Atoi(y)
				if errN != nil || errM != nil {
					return perhaps
				}
				c = cmp.Compare(n, m)
			}
			all.list = append(all.list, strconv.FormatBool(compare(c)))
		}
	}
	return all.holds(func(v string) bool { return v == "true" })
}
