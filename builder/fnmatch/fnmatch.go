// Package fnmatch is fnmatch(3) of glibc in the C locale with no flags, which kmod, busybox
// and udev ask. path.Match differs: its * stops at a slash, and it refuses patterns that
// fnmatch reads as text. It leaves out the flags.
package fnmatch

import "strings"

// Match says whether a pattern matches all of name: * and ? match any byte, a slash
// included, and a bracket that never closes stands for itself.
func Match(pattern, name string) bool {
	star, retry := -1, 0 // where to go on when the text behind the last * does not match
	p, n := 0, 0
	for n < len(name) {
		if p < len(pattern) && pattern[p] == '*' {
			p++
			star, retry = p, n
			continue
		}
		if width, ok := matchOne(pattern[p:], name[n]); ok {
			p += width
			n++
			continue
		}
		if star < 0 {
			return false
		}
		retry++
		p, n = star, retry
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchOne matches one byte with the element at the front of a pattern, and gives
// that element's width.
func matchOne(pattern string, c byte) (width int, ok bool) {
	if pattern == "" {
		return 0, false
	}
	switch pattern[0] {
	case '?':
		return 1, true
	case '[':
		if width, ok, closed := matchBracket(pattern, c); closed {
			return width, ok
		}
	case '\\':
		if len(pattern) == 1 {
			return 0, false
		}
		return 2, pattern[1] == c
	}
	return 1, pattern[0] == c
}

// matchBracket matches a byte with a bracket expression.
func matchBracket(pattern string, c byte) (width int, ok, closed bool) {
	i := 1
	negated := i < len(pattern) && (pattern[i] == '!' || pattern[i] == '^')
	if negated {
		i++
	}
	for first := true; i < len(pattern); first = false {
		if pattern[i] == ']' && !first {
			return i + 1, ok != negated, true
		}
		if class, rest, named := namedClass(pattern[i:]); named {
			ok = ok || inClass(class, c)
			i = len(pattern) - len(rest)
			continue
		}
		low, next, valid := bracketByte(pattern, i)
		if !valid {
			return 0, false, false
		}
		high := low
		if next+1 < len(pattern) && pattern[next] == '-' && pattern[next+1] != ']' {
			if high, next, valid = bracketByte(pattern, next+1); !valid {
				return 0, false, false
			}
		}
		ok = ok || low <= c && c <= high
		i = next
	}
	return 0, false, false
}

// bracketByte reads one byte of a bracket expression: itself, behind a backslash,
// or written as [.x.] or [=x=].
func bracketByte(pattern string, i int) (c byte, next int, valid bool) {
	if i >= len(pattern) {
		return 0, 0, false
	}
	if pattern[i] == '\\' && i+1 < len(pattern) {
		return pattern[i+1], i + 2, true
	}
	if rest := pattern[i:]; len(rest) >= 5 && rest[0] == '[' && (rest[1] == '.' || rest[1] == '=') && rest[3] == rest[1] && rest[4] == ']' {
		return rest[2], i + 5, true
	}
	return pattern[i], i + 1, true
}

// namedClass takes [:name:] from the front of a bracket's content. Only letters
// before z make a name (posix/fnmatch_loop.c), so that it looks no further for the end.
func namedClass(s string) (class, rest string, named bool) {
	body, found := strings.CutPrefix(s, "[:")
	if !found {
		return "", "", false
	}
	after := strings.TrimLeft(body, "abcdefghijklmnopqrstuvwxy")
	rest, named = strings.CutPrefix(after, ":]")
	return body[:len(body)-len(after)], rest, named
}

func inClass(class string, c byte) bool {
	lower, upper, digit := 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9'
	graph := '!' <= c && c <= '~'
	switch class {
	case "alpha":
		return lower || upper
	case "alnum":
		return lower || upper || digit
	case "digit":
		return digit
	case "lower":
		return lower
	case "upper":
		return upper
	case "xdigit":
		return digit || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
	case "punct":
		return graph && !lower && !upper && !digit
	case "graph":
		return graph
	case "print":
		return graph || c == ' '
	case "space":
		return c == ' ' || '\t' <= c && c <= '\r'
	case "blank":
		return c == ' ' || c == '\t'
	case "cntrl":
		return c < ' ' || c == 0x7f
	default:
		return false
	}
}
