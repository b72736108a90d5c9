package inference

import (
	"strings"
)

// setting is one assignment of a unit file.
type setting struct {
	section, key, value string
	file                string
	line                int // of its end, if it is continued
}

// parse reads a unit file as config_parse of systemd does (src/shared/conf-parser.c),
// which is the text of systemd.syntax(7) and more: comments stand between continued lines,
// too; a carriage return or a zero byte ends a line. What systemd warns of and ignores is
// left out, and reading goes on behind what makes it refuse the file: a unit that does not
// load today may be mended tomorrow.
func parse(file string, data []byte) []setting {
	text := strings.TrimPrefix(string(data), "\ufeff")
	text = strings.NewReplacer("\r\n", "\n", "\n\r", "\n", "\r", "\n", "\x00", "\n").Replace(text)
	var out []setting
	var section string
	var continued strings.Builder
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if start := strings.TrimLeft(line, " \t"); start != "" && strings.ContainsRune("#;", rune(start[0])) {
			continue
		}
		continued.WriteString(line)
		if i < len(lines)-1 && endsEscaped(line) {
			// The backslash becomes a blank.
			joined := continued.String()
			continued.Reset()
			continued.WriteString(joined[:len(joined)-1] + " ")
			continue
		}
		whole := strings.Trim(continued.String(), " \t")
		continued.Reset()
		if name, isSection := sectionName(whole); isSection {
			section = name
		} else if key, value, ok := strings.Cut(whole, "="); ok && section != "" {
			out = append(out, setting{section, strings.Trim(key, " \t"), strings.Trim(value, " \t"), file, i + 1})
		}
		if len(out) > maxSettings {
			return out[:maxSettings]
		}
	}
	return out
}

func sectionName(line string) (string, bool) {
	if !strings.HasPrefix(line, "[") || !strings.HasSuffix(line, "]") {
		return "", false
	}
	return line[1 : len(line)-1], true
}

// endsEscaped says whether a line ends in a backslash that no other backslash escapes.
func endsEscaped(line string) bool {
	n := len(line) - len(strings.TrimRight(line, `\`))
	return n%2 == 1
}

// values gives what a key of a section is set to in the end: an empty assignment drops
// what was there.
func values(all []setting, section, key string) []setting {
	var out []setting
	for _, s := range all {
		switch {
		case s.section != section || s.key != key:
		case s.value == "":
			out = nil
		default:
			out = append(out, s)
		}
	}
	return out
}

// last is the last assignment, for keys that hold one value.
func last(all []setting, section, key string) string {
	found := values(all, section, key)
	if len(found) == 0 {
		return ""
	}
	return found[len(found)-1].value
}
