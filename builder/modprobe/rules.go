package modprobe

import "strings"

// rules are the lines of a configuration by what they say, in order.
type rules struct {
	aliases   []aliasRule
	blacklist []namedLine
	options   []textRule
	install   []textRule
	remove    []textRule
	softdeps  []softdepRule
}

type namedLine struct {
	name string
	line Line
}

type aliasRule struct {
	namedLine // name is a pattern
	module    string
}

type textRule struct {
	namedLine // name is a pattern for commands
	text      string
}

type softdepRule struct {
	namedLine // name is a pattern
	pre, post []string
}

// compile sorts lines out. What kmod calls a bad line has no effect.
func compile(lines []Line) *rules {
	r := &rules{}
	for _, l := range lines {
		r.add(l)
	}
	return r
}

func (r *rules) add(l Line) {
	verb, rest, _ := cutWord(l.Text)
	first, rest, found := cutWord(rest)
	name, valid := underscores(first)
	if !found || !valid {
		return
	}
	named := namedLine{name, l}
	if verb == "blacklist" {
		r.blacklist = append(r.blacklist, named)
		return
	}
	if rest == "" {
		return
	}
	switch verb {
	case "alias":
		target, _, found := cutWord(rest)
		if module, valid := underscores(target); found && valid {
			r.aliases = append(r.aliases, aliasRule{named, module})
		}
	case "options":
		r.options = append(r.options, textRule{named, strings.ReplaceAll(rest, "\t", " ")})
	case "install":
		r.install = append(r.install, textRule{named, rest})
	case "remove":
		r.remove = append(r.remove, textRule{named, rest})
	case "softdep":
		pre, post := softdeps(rest)
		r.softdeps = append(r.softdeps, softdepRule{named, pre, post})
	}
}

// addCommandLine takes what stands for arguments of the kernel command line; kmod
// leaves the names in modprobe.blacklist= as they are.
func (r *rules) addCommandLine(l Line) {
	named := namedLine{l.Words[1], l}
	if l.Words[0] == "blacklist" {
		r.blacklist = append(r.blacklist, named)
		return
	}
	r.options = append(r.options, textRule{named, l.Text})
}

// cutWord takes the first word of a text, as strtok_r does: what follows begins
// right behind the one blank that ended it.
func cutWord(s string) (word, rest string, found bool) {
	s = strings.TrimLeft(s, " \t")
	if s == "" {
		return "", "", false
	}
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return s, "", true
	}
	return s[:i], s[i+1:], true
}

// underscores is how kmod spells a module's name, an alias or a pattern: a dash
// stays one inside brackets only; a bracket without its partner is refused.
func underscores(s string) (string, bool) {
	out := []byte(s)
	for i := 0; i < len(out); i++ {
		switch out[i] {
		case '-':
			out[i] = '_'
		case ']':
			return "", false
		case '[':
			width := strings.IndexByte(s[i:], ']')
			if width < 0 {
				return "", false
			}
			i += width
		}
	}
	return string(out), true
}

// moduleName spells a file or a word as the kernel spells the module: up to the
// first dot, with underscores (modname_normalize in shared/util.c).
func moduleName(s string) string {
	s, _, _ = strings.Cut(s, ".")
	return strings.ReplaceAll(s, "-", "_")
}

// softdeps parts what follows the name in a softdep line. One single blank in front
// of it, as two blanks behind the name leave, sticks to the first word: kmod then
// knows neither pre: nor post: in it.
func softdeps(text string) (pre, post []string) {
	const inherited = "\x00" // keeps the first word from being pre: or post:
	if len(text) > 1 && isSpace(text[0]) && !isSpace(text[1]) {
		text = inherited + text[1:]
	}
	var to *[]string
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return r < 128 && isSpace(byte(r)) }) {
		switch {
		case word == "pre:":
			to = &pre
		case word == "post:":
			to = &post
		case to != nil:
			*to = append(*to, word)
		}
	}
	return pre, post
}
