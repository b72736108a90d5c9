// Package udev reads rules of udev as udevd does, and finds which of them keep systemd from
// hearing of a module that was loaded: udev(7), systemd.device(5), and
// src/udev/udev-rules.c of systemd where the pages are silent.
//
// It knows of an event what is the same on each machine; other matches may hold or
// not, and count as if they did. It leaves out what programs, imported files and the
// hardware database set.
package udev

import (
	"strings"

	"github.com/kerngate/kerngate/builder/unitfile"
)

// token is one key of a rule with its operator and value.
type token struct {
	key, attr, op, value string
	text                 string // as written
	fold                 bool   // letters match in both cases
}

func (k token) isMatch() bool { return k.op == "==" || k.op == "!=" }

// rule is one line of a file.
type rule struct {
	line   int // of its end, if it is continued
	tokens []token
	label  string // that a GOTO above leads to
	jump   string // the label of a GOTO
}

// parse reads a file of rules. A line that udevd ignores as a whole is left out. Longer
// lines than udevd takes are read.
func parse(data []byte) []rule {
	text := strings.NewReplacer("\r\n", "\n", "\r", "\n", "\x00", "\n").Replace(string(data))
	var out []rule
	var continued strings.Builder
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimLeft(line, blanks)
		if strings.HasPrefix(line, "#") {
			continue // in the middle of a continued line, too
		}
		if rest, more := strings.CutSuffix(line, `\`); more {
			continued.WriteString(rest)
			continue
		}
		continued.WriteString(line)
		r, ok := parseRule(continued.String())
		continued.Reset()
		if r.line = i + 1; ok {
			out = append(out, r)
		}
	}
	return out
}

const blanks = " \t\n\v\f"

func parseRule(line string) (r rule, ok bool) {
	for line = strings.TrimLeft(line, blanks+","); line != ""; line = strings.TrimLeft(line, blanks+",") {
		k, rest, ok := parseToken(line)
		if !ok {
			return r, false
		}
		k.text = line[:len(line)-len(rest)]
		line = rest
		switch {
		case k.key == "LABEL" && k.op == "=":
			r.label = k.value
		case k.key == "GOTO" && k.op == "=" && r.jump == "":
			r.jump = k.value
		default:
			r.tokens = append(r.tokens, k)
		}
	}
	return r, len(r.tokens) > 0 || r.label != "" || r.jump != ""
}

// parseToken takes KEY{attr}OP"value" from the front of a line.
func parseToken(line string) (k token, rest string, ok bool) {
	end := strings.IndexAny(line, blanks+"={+-!:")
	if end < 0 {
		return k, "", false
	}
	k.key, rest = line[:end], line[end:]
	if inside, is := strings.CutPrefix(rest, "{"); is {
		if k.attr, rest, ok = strings.Cut(inside, "}"); !ok {
			return k, "", false
		}
	}
	rest = strings.TrimLeft(rest, blanks)
	for _, op := range []string{"==", "!=", "+=", "-=", ":=", "="} {
		if after, is := strings.CutPrefix(rest, op); is {
			k.op, rest = op, strings.TrimLeft(after, blanks)
			break
		}
	}
	if k.op == "" {
		return k, "", false
	}
	return parseValue(k, rest)
}

// parseValue takes the value: in double quotes, before which e asks for C escapes and i for
// letters of both cases.
func parseValue(k token, rest string) (token, string, bool) {
	prefix, body, quoted := strings.Cut(rest, `"`)
	if !quoted || len(prefix) > 2 || strings.Trim(prefix, "ei") != "" {
		return k, "", false
	}
	k.fold = strings.Contains(prefix, "i")
	escaped := strings.Contains(prefix, "e")
	for i := 0; i < len(body); i++ {
		if body[i] == '\\' && i+1 < len(body) && (escaped || body[i+1] == '"') {
			i++
		} else if body[i] == '"' {
			k.value = strings.ReplaceAll(body[:i], `\"`, `"`)
			if escaped {
				k.value = unitfile.Unescape(body[:i])
			}
			return k, body[i+1:], true
		}
	}
	return k, "", false
}
