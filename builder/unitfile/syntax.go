// Package unitfile reads unit files and drop-ins as systemd does: systemd.syntax(7), and
// config_parse and extract_first_word of its sources (src/shared/conf-parser.c,
// src/basic/extract-word.c) where the page is silent. What it reads must be what systemd
// reads: a line that only one of the two sees can take a gate away.
//
// It is our own, because go-systemd's takes no line above 2048 bytes,
// joins the lines of a continued setting otherwise than systemd, and refuses files that
// systemd reads with a warning.
//
// It leaves out specifiers, and what single settings mean.
package unitfile

import (
	"strings"
)

// Setting is one assignment of a unit file, without blanks around key and value.
type Setting struct {
	Section, Key, Value string
	File                string
	Line                int // of its end, if it is continued
}

// Parse reads a unit file as config_parse of systemd does, which is the
// text of systemd.syntax(7) and more: comments stand between continued lines,
// too; a carriage return or a zero byte ends a line. What systemd warns of and ignores is
// left out, and reading goes on behind what makes it refuse the file: a unit that does not
// load today may be mended tomorrow. There are as many settings as the file has lines.
func Parse(file string, data []byte) []Setting {
	text := strings.TrimPrefix(string(data), "\ufeff")
	text = strings.NewReplacer("\r\n", "\n", "\n\r", "\n", "\r", "\n", "\x00", "\n").Replace(text)
	var out []Setting
	var section string
	var continued strings.Builder
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if start := strings.TrimLeft(line, " \t"); start != "" && strings.ContainsRune("#;", rune(start[0])) {
			continue
		}
		if i < len(lines)-1 && endsEscaped(line) {
			continued.WriteString(line[:len(line)-1] + " ") // the backslash becomes a blank
			continue
		}
		continued.WriteString(line)
		whole := strings.Trim(continued.String(), " \t")
		continued.Reset()
		if name, isSection := sectionName(whole); isSection {
			section = name
		} else if key, value, ok := strings.Cut(whole, "="); ok && section != "" {
			out = append(out, Setting{section, strings.Trim(key, " \t"), strings.Trim(value, " \t"), file, i + 1})
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
