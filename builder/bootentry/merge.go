package bootentry

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Want is what every command line must keep out. Names that a kernel does not know do
// no harm there, so one list serves all kernels of a tree.
type Want struct {
	Modules   []string // for module_blacklist=: exact, with underscores
	Initcalls []string // for initcall_blacklist=: exact names of functions
	// Header is comment lines for files of our own, each beginning with # and ending in a newline.
	Header string
}

// check refuses names that no kernel knows or that would not stay one word.
func (w Want) check() error {
	for _, name := range slices.Concat(w.Modules, w.Initcalls) {
		bad := func(r rune) bool {
			return !(r == '_' || r == '.' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z')
		}
		if name == "" || strings.ContainsFunc(name, bad) {
			return fmt.Errorf("%q is no name for the kernel command line: want letters, digits and underscores", name)
		}
	}
	return nil
}

// list is one of the two parameters with what it must name.
type list struct {
	param    string
	wanted   []string
	lastWins bool
}

func (w Want) lists() []list {
	return []list{{moduleParam, w.Modules, true}, {initcallParam, w.Initcalls, false}}
}

// missing gives what of w a command line lacks.
func (w Want) missing(cmdline string) Want {
	modules, initcalls := Effective(cmdline)
	return w.Without(Want{Modules: modules, Initcalls: initcalls})
}

// Without gives what of w is not in other.
func (w Want) Without(other Want) Want {
	return Want{Modules: without(w.Modules, other.Modules), Initcalls: without(w.Initcalls, other.Initcalls)}
}

// Union adds to w what of other is not in it, in order.
func (w Want) Union(other Want) Want {
	return Want{Modules: union(w.Modules, other.Modules), Initcalls: union(w.Initcalls, other.Initcalls)}
}

// Empty says whether nothing is to be kept out.
func (w Want) Empty() bool { return len(w.Modules)+len(w.Initcalls) == 0 }

// union adds names of b to a, in order and once each.
func union(a, b []string) []string { return append(slices.Clone(a), without(b, a)...) }

// without gives the names of a that b has not, once each.
func without(a, b []string) []string {
	var out []string
	for _, name := range a {
		if !slices.Contains(b, name) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// merge gives the insertions after which each of the lines, which are one place with
// different values of variables, keeps out what w says.
func merge(lines []text, w Want) ([]change, error) {
	parsed := make([]parsedText, len(lines))
	for i, t := range lines {
		parsed[i] = parseText(t)
	}
	var out []change
	var fresh []string
	for _, l := range w.lists() {
		c, arg, err := mergeList(parsed, l)
		switch {
		case err != nil:
			return nil, err
		case arg != "":
			fresh = append(fresh, arg)
		default:
			out = append(out, c...)
		}
	}
	if len(fresh) > 0 {
		c, err := appendArgs(parsed, fresh)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	slices.SortStableFunc(out, func(a, b change) int { return a.start - b.start })
	return out, checkLength(parsed, out)
}

type parsedText struct {
	text
	str  string
	args []Argument
	line
}

func parseText(t text) parsedText {
	p := parsedText{text: t, str: t.String()}
	p.args, p.line = parseArgs(p.str)
	return p
}

// have gives what the line already names in a list.
func (p parsedText) have(l list) []string {
	modules, initcalls := Effective(p.str)
	if l.lastWins {
		return modules
	}
	return initcalls
}

// last is the last argument of a list.
func (p parsedText) last(param string) (Argument, bool) {
	for _, arg := range slices.Backward(p.args) {
		if arg.is(param) {
			return arg, true
		}
	}
	return Argument{}, false
}

// mergeList gives the insertion that extends what is there, or else an argument that
// is to go to the end.
func mergeList(lines []parsedText, l list) (extension []change, fresh string, err error) {
	var lacking, all []string
	for _, p := range lines {
		lacking = union(lacking, without(l.wanted, p.have(l)))
		all = union(all, p.have(l))
	}
	if len(lacking) == 0 {
		return nil, "", nil
	}
	for _, p := range lines {
		if p.openQuote {
			return nil, "", errors.New("a double quote is never closed, so an argument behind it would be part of another")
		}
		if arg, found := p.last(l.param); found && l.lastWins && len(arg.Value) > maxString {
			return nil, "", fmt.Errorf("%s= has %d bytes, the kernel takes %d and ignores it", l.param, len(arg.Value), maxString)
		}
	}
	if c, ok := extend(lines, l, lacking); ok {
		return c, "", checkValue(l, lines[0], len(c[0].text))
	}
	if !l.lastWins {
		all = nil
	}
	value := strings.Join(union(all, lacking), ",")
	return nil, l.param + "=" + value, checkValue(l, parsedText{}, len(value))
}

// checkValue refuses a string that the kernel would ignore.
func checkValue(l list, p parsedText, added int) error {
	arg, _ := p.last(l.param)
	if n := len(arg.Value) + added; l.lastWins && n > maxString {
		return fmt.Errorf("%s= would have %d bytes, the kernel takes %d", l.param, n, maxString)
	}
	return nil
}

// extend adds names to the last argument that is there, if it is one and the same,
// and literal, on all lines.
func extend(lines []parsedText, l list, lacking []string) ([]change, bool) {
	at, comma := -1, ","
	for _, p := range lines {
		arg, found := p.last(l.param)
		if !found {
			return nil, false
		}
		before := p.cells[arg.valueEnd-1]
		if before.soft || (at >= 0 && at != before.end) {
			return nil, false
		}
		at = before.end
		if arg.Value == "" {
			comma = ""
		}
	}
	return []change{{at, at, comma + strings.Join(lacking, ",")}}, true
}

// appendArgs puts arguments behind the last one that the kernel takes for itself.
func appendArgs(lines []parsedText, args []string) (change, error) {
	first, err := lines[0].appended(args)
	if err != nil {
		return change{}, err
	}
	for _, p := range lines[1:] {
		c, err := p.appended(args)
		if err != nil {
			return change{}, err
		}
		if c != first {
			return change{}, errors.New("values of variables differ in where the kernel's arguments end")
		}
	}
	return first, nil
}

func (p parsedText) appended(args []string) (change, error) {
	if p.dashes >= 0 && p.cells[p.dashes].soft {
		return change{}, errors.New(`the "--" that ends the kernel's arguments comes from a variable`)
	}
	if p.ownLine {
		return change{p.lead, p.lead, p.before + strings.Join(args, " ") + p.after}, nil
	}
	at, bare, begins := p.lead, p.bareLead, !p.follows
	switch {
	case p.dashes < 0 && p.tail >= 0:
		at, bare, begins = p.tail, false, false
	case len(p.args) > 0:
		last := p.cells[p.args[len(p.args)-1].end-1]
		at, bare, begins = last.next, last.bare, false
	}
	blank := " "
	if bare {
		blank = `\ `
	}
	s := strings.Join(args, blank)
	switch {
	case !begins:
		s = blank + s
	case len(p.cells) > 0:
		s += blank
	}
	return change{at, at, s}, nil
}

// checkLength refuses a line that the kernel would cut off.
func checkLength(lines []parsedText, changes []change) error {
	added := 0
	for _, c := range changes {
		added += len(c.text)
	}
	for _, p := range lines {
		if n := len(p.str) + p.extra + added; added > 0 && n > maxCommandLine {
			return fmt.Errorf("command line would have %d bytes, the kernel takes %d", n, maxCommandLine)
		}
	}
	return nil
}
