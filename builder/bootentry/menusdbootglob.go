package bootentry

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// namesFound says whether a pattern names one of the entries that the boot loader makes
// of what it finds on the machine (loader.conf(5), "auto-entries").
func namesFound(pattern glob) bool {
	return slices.ContainsFunc([]string{"auto-windows", "auto-osx", "auto-efi-shell", "auto-efi-default", "auto-reboot-to-firmware-setup", "auto-poweroff", "auto-reboot"},
		pattern.names)
}

// glob is a pattern as efi_fnmatch of src/boot takes it: *, ?, sets in brackets, a
// backslash for the next character. Nothing in a set negates it.
type glob struct {
	text  string          // in lower case
	re    *regexp.Regexp  // nil: it names nothing
	known map[string]bool // what it names, of what was asked: each entry is asked for in each reading and failure
}

func (g glob) names(id string) bool {
	if g.re == nil {
		return false
	}
	named, known := g.known[id]
	if !known {
		named = g.re.MatchString(id)
		g.known[id] = named
	}
	return named
}

// lower is strtolower16 of src/boot, which knows the letters of ASCII alone.
func lower(s string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		return c
	}, s)
}

// maxGlob is far above the length of any name.
const maxGlob = 1024

func newGlobs(patterns []string) (out []glob) {
	for _, p := range patterns {
		out = append(out, newGlob(p))
	}
	return out
}

func newGlob(pattern string) glob {
	g := glob{text: lower(pattern), known: map[string]bool{}}
	if pattern == "" || len(pattern) > maxGlob {
		return g
	}
	var expression strings.Builder
	expression.WriteString(`(?s)^`)
	for rest := []rune(g.text); len(rest) > 0; {
		c := rest[0]
		rest = rest[1:]
		switch {
		case c == '*':
			expression.WriteString(`.*`)
		case c == '?':
			expression.WriteString(`.`)
		case c == '[':
			length := writeSet(&expression, rest)
			if length < 0 {
				return g
			}
			rest = rest[length:]
		case c == '\\' && len(rest) == 0:
			return g
		default:
			if c == '\\' {
				c, rest = rest[0], rest[1:]
			}
			expression.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	expression.WriteString(`$`)
	if re, err := regexp.Compile(expression.String()); err == nil {
		g.re = re
	}
	return g
}

// writeSet writes what is behind a bracket as a set of a regular expression, and gives its
// length with the bracket at its end: -1 if there is none.
func writeSet(out *strings.Builder, rest []rune) int {
	type span struct{ low, high rune }
	var spans []span
	chained := true // a - here is no range
	for i := 0; i < len(rest); i++ {
		c := rest[i]
		if c == ']' && i > 0 {
			out.WriteString(`(?:`)
			for n, s := range spans {
				if n > 0 {
					out.WriteString(`|`)
				}
				fmt.Fprintf(out, `[\x{%x}-\x{%x}]`, s.low, s.high)
			}
			out.WriteString(`)`)
			return i + 1
		}
		isRange := c == '-' && !chained && i+1 < len(rest) && rest[i+1] != ']'
		if isRange {
			i++
		}
		if i < len(rest) && rest[i] == '\\' {
			i++
		}
		if i >= len(rest) {
			return -1
		}
		if low := rest[i]; !isRange {
			spans = append(spans, span{low, low})
		} else if first := spans[len(spans)-1].low; first <= low {
			spans = append(spans, span{first, low})
		}
		chained = isRange
	}
	return -1
}

// pattern names an entry for loader.conf whatever its counters say; nothing if it would
// name others too, or be read otherwise than it is written.
func (b *sdBoot) pattern(e *blsFile) string {
	stem, suffix := strings.TrimSuffix(e.ID, path.Ext(e.ID)), path.Ext(e.ID)
	p := e.ID
	if e.left >= 0 {
		p = stem[:strings.LastIndexByte(stem, '+')] + "*" + suffix
	}
	if strings.ContainsAny(strings.Replace(p, "*", "", 1), "*?[]\\ \t\r\n\"'") || strings.HasPrefix(p, "@") {
		return ""
	}
	g := newGlob(p)
	for _, o := range b.entries {
		if o != e && (g.names(o.idWith(true)) || g.names(o.idWith(false))) {
			return ""
		}
	}
	return p
}
