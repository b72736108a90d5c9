package pin

import (
	"bytes"
	"slices"
	"strings"
)

// line is one line of a text file: data[start:end] with its newline.
type line struct {
	start, end int
	text       string // without the newline, and a carriage return before it
}

func linesOf(data []byte) []line {
	var out []line
	at := 0
	for raw := range bytes.Lines(data) {
		text := strings.TrimRight(string(raw), "\r\n")
		out = append(out, line{at, at + len(raw), text})
		at += len(raw)
	}
	return out
}

// option is one KEY=VALUE of a file with sections, as dnf and pacman read it.
type option struct {
	key        string
	number     int // of its line, from 1
	start, end int // with newline and lines that continue it
	value      int // where the value begins
	data       []byte
}

// content is the value, with the newlines in it.
func (o option) content() string { return string(o.data[o.value:o.end]) }

// words of the value: commas and blanks part them.
func (o option) words() []string {
	return strings.FieldsFunc(o.content(), isSeparator)
}

func isSeparator(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r' }

// section gives the options in a section, and where the first line behind its heading
// begins, -1 if there is no such section. With continued, a line that begins with a
// blank belongs to the option above it (libdnf); else blanks in front do not count
// (pacman).
func section(data []byte, name string, continued bool) (options []option, behind int) {
	behind = -1
	within, open := false, false
	for i, l := range linesOf(data) {
		text := l.text
		if continued && open && text != "" && (text[0] == ' ' || text[0] == '\t') {
			if within {
				options[len(options)-1].end = l.end
			}
			continue
		}
		open = false
		text = strings.TrimSpace(text)
		switch {
		case text == "" || text[0] == '#' || text[0] == ';':
		case text[0] == '[':
			within = strings.HasPrefix(text, "["+name+"]")
			if within && behind < 0 {
				behind = l.end
			}
		default:
			open = true
			key, _, found := strings.Cut(l.text, "=")
			if !within {
				continue
			}
			o := option{key: strings.TrimSpace(key), number: i + 1, start: l.start, end: l.end, data: data}
			if o.value = l.start + len(key) + 1; !found {
				o.key, o.value = "", l.end // both programs refuse such a file
			}
			options = append(options, o)
		}
	}
	return options, behind
}

// insert puts text into data at a byte.
func insert(data []byte, at int, text string) []byte {
	return slices.Concat(data[:at], []byte(text), data[at:])
}

// appendLines puts whole lines at the end of data.
func appendLines(data []byte, text string) []byte {
	if len(data) > 0 && data[len(data)-1] != '\n' {
		text = "\n" + text
	}
	return slices.Concat(data, []byte(text))
}

// stripWords takes words out of an option, and the option itself if they are all of it
// and the value begins right behind the "=", as we write a line of our own.
func stripWords(o option, words []string) string {
	value, start := o.content(), string(o.data[o.start:o.value])
	left := without(o.words(), words)
	if len(left) == len(o.words()) {
		return start + value
	}
	if len(left) == 0 && !isSeparator(rune(value[0])) {
		return ""
	}
	var b strings.Builder
	for i := 0; i < len(value); {
		gap := i
		for i < len(value) && isSeparator(rune(value[i])) {
			i++
		}
		word := i
		for i < len(value) && !isSeparator(rune(value[i])) {
			i++
		}
		if i > word && slices.Contains(words, value[word:i]) {
			// A word that we put behind another has one blank before it.
			b.WriteString(value[gap:max(gap, word-1)])
			continue
		}
		b.WriteString(value[gap:i])
	}
	return start + b.String()
}

// addOption puts a line of our own into a section. One that was not there has an empty
// line below its heading, by which it is known again.
func addOption(data []byte, name string, continued bool, own string) []byte {
	_, behind := section(data, name, continued)
	switch {
	case behind < 0:
		return appendLines(data, newSection(name)+own)
	case data[behind-1] != '\n':
		own = "\n" + own
	}
	return insert(data, behind, own)
}

func newSection(name string) string { return "[" + name + "]\n\n" }

// stripOptions takes words out of the options of a section that have one of the keys,
// and what addOption made.
func stripOptions(data []byte, name string, continued bool, keys, words []string) []byte {
	options, _ := section(data, name, continued)
	for _, o := range slices.Backward(options) {
		if !slices.Contains(keys, o.key) {
			continue
		}
		left := stripWords(o, words)
		atEnd := o.end == len(data)
		data = slices.Concat(data[:o.start], []byte(left), data[o.end:])
		if left == "" && atEnd {
			data = bytes.TrimSuffix(data, []byte(newSection(name)))
		}
	}
	return data
}
