package profiles

import (
	"errors"
	"strings"

	"github.com/BurntSushi/toml"
)

// node is the place of one value: the decoded document again, with lines instead
// of values.
type node struct {
	line  int // from 1; where its key, its table header or, in an array, it itself stands
	keys  map[string]*node
	items []*node // elements of an array, or tables of an array of tables
}

// child is the node of a key, made at line if new.
func (n *node) child(key string, line int) *node {
	if n.keys == nil {
		n.keys = make(map[string]*node)
	}
	if n.keys[key] == nil {
		n.keys[key] = &node{line: line}
	}
	return n.keys[key]
}

func (n *node) item(line int) *node {
	item := &node{line: line}
	n.items = append(n.items, item)
	return item
}

// walk descends along dotted parts as a table header does: through an array of
// tables into its last table (TOML 1.0, "Array of Tables").
func (n *node) walk(parts []string, line int) *node {
	for _, part := range parts {
		n = n.child(part, line)
		if len(n.items) > 0 {
			n = n.items[len(n.items)-1]
		}
	}
	return n
}

// at finds the place of a key, or the next best: the place of what should hold it.
func (n *node) at(key string) *node {
	if child := n.keys[key]; child != nil {
		return child
	}
	return &node{line: n.line}
}

// index is at for an element of an array.
func (n *node) index(i int) *node {
	if i < len(n.items) {
		return n.items[i]
	}
	return &node{line: n.line}
}

// maxNesting bounds the depth of keys and values, of which a profile needs four
// levels. The TOML library is quadratic in it: 64 KiB of "a.a.a…" take it a minute.
const maxNesting = 16

// errNesting is the locator's verdict on a file that the TOML library must not see.
var errNesting = errors.New("is nested deeper than 16 levels")

// errLost tells that the locator met what it cannot read: the file is no TOML.
var errLost = errors.New("is not TOML")

// locator scans TOML text for the lines of its keys and values. It checks only
// what it needs to go on; whether the text is valid is for the TOML library to say.
// It reads TOML 1.1: newlines and a last comma in inline tables included.
type locator struct {
	text string
	pos  int
	line int
}

// locate maps a text. On an error the locator stands where it gave up.
func locate(text string) (*node, *locator, error) {
	l := &locator{text: text, line: 1}
	l.take("\ufeff")
	root := &node{line: 1}
	return root, l, l.document(root)
}

func (l *locator) document(root *node) error {
	table, depth := root, 0
	for {
		l.skipSpace()
		var err error
		switch {
		case l.pos == len(l.text):
			return nil
		case l.peek() == '[':
			table, depth, err = l.header(root)
		default:
			err = l.keyValue(table, depth)
		}
		if err != nil {
			return err
		}
	}
}

// header reads [a.b] or [[a.b]] and returns the table that it opens.
func (l *locator) header(root *node) (table *node, depth int, err error) {
	line, end := l.line, "]"
	l.take("[")
	if l.take("[") {
		end = "]]"
	}
	parts, err := l.key()
	if err != nil {
		return nil, 0, err
	}
	if len(parts) > maxNesting {
		return nil, 0, errNesting
	}
	if !l.take(end) {
		return nil, 0, errLost
	}
	if end == "]" {
		return root.walk(parts, line), len(parts), nil
	}
	last := len(parts) - 1
	return root.walk(parts[:last], line).child(parts[last], line).item(line), len(parts), nil
}

func (l *locator) keyValue(table *node, depth int) error {
	line := l.line
	parts, err := l.key()
	if err != nil {
		return err
	}
	depth += len(parts)
	if depth > maxNesting {
		return errNesting
	}
	if !l.take("=") {
		return errLost
	}
	l.skipBlanks()
	return l.value(table.walk(parts, line), depth)
}

// key reads dotted, bare or quoted parts and the blanks after them.
func (l *locator) key() ([]string, error) {
	var parts []string
	for {
		l.skipBlanks()
		part, err := l.keyPart()
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
		l.skipBlanks()
		if !l.take(".") {
			return parts, nil
		}
	}
}

func (l *locator) keyPart() (string, error) {
	start := l.pos
	if c := l.peek(); c == '"' || c == '\'' {
		if err := l.lineString(); err != nil {
			return "", err
		}
		return unquote(l.text[start:l.pos])
	}
	l.skipTo(" \t\r\n.=[]{}\"'#,")
	if l.pos == start {
		return "", errLost
	}
	return l.text[start:l.pos], nil
}

// unquote leaves escapes to the TOML library, whose keys ours must match.
func unquote(quoted string) (string, error) {
	var v struct{ Key string }
	if _, err := toml.Decode("Key = "+quoted, &v); err != nil {
		return "", errLost
	}
	return v.Key, nil
}

func (l *locator) value(n *node, depth int) error {
	switch {
	case strings.HasPrefix(l.text[l.pos:], `"""`), strings.HasPrefix(l.text[l.pos:], "'''"):
		return l.multiLineString()
	case l.peek() == '"', l.peek() == '\'':
		return l.lineString()
	case l.take("["):
		return l.elements("]", depth, func() error { return l.value(n.item(l.line), depth+1) })
	case l.take("{"):
		return l.elements("}", depth, func() error { return l.keyValue(n, depth) })
	}
	start := l.pos
	l.skipTo(",]}#\n")
	if l.pos == start {
		return errLost
	}
	return nil
}

// elements reads what stands between commas up to end.
func (l *locator) elements(end string, depth int, element func() error) error {
	if depth >= maxNesting {
		return errNesting
	}
	for {
		l.skipSpace()
		if l.take(end) {
			return nil
		}
		if err := element(); err != nil {
			return err
		}
		l.skipSpace()
		if !l.take(",") && l.peek() != end[0] {
			return errLost
		}
	}
}

// lineString skips a string that ends on its line.
func (l *locator) lineString() error {
	quote := l.peek()
	for l.pos++; l.pos < len(l.text); l.pos++ {
		switch c := l.text[l.pos]; {
		case c == quote:
			l.pos++
			return nil
		case c == '\n':
			return errLost
		case c == '\\' && quote == '"' && l.pos+1 < len(l.text) && l.text[l.pos+1] != '\n':
			l.pos++
		}
	}
	return errLost
}

// multiLineString skips a string in three quotes. Up to two more quotes may stand
// before the closing three and belong to the string.
func (l *locator) multiLineString() error {
	quotes := l.text[l.pos : l.pos+3]
	for l.pos += len(quotes); l.pos < len(l.text); l.pos++ {
		switch c := l.text[l.pos]; {
		case c == '\n':
			l.line++
		case c == '\\' && quotes[0] == '"' && l.pos+1 < len(l.text) && l.text[l.pos+1] != '\n':
			l.pos++
		case l.take(quotes):
			for range 2 {
				l.take(quotes[:1])
			}
			return nil
		}
	}
	return errLost
}

// skipSpace skips blanks, newlines and comments.
func (l *locator) skipSpace() {
	for {
		l.skipBlanks()
		switch l.peek() {
		case '#':
			l.skipTo("\n")
		case '\n':
			l.line++
			l.pos++
		default:
			return
		}
	}
}

func (l *locator) skipBlanks() {
	for l.pos < len(l.text) && strings.IndexByte(" \t\r", l.text[l.pos]) >= 0 {
		l.pos++
	}
}

// skipTo goes to the next of the characters, or to the end.
func (l *locator) skipTo(stop string) {
	if i := strings.IndexAny(l.text[l.pos:], stop); i >= 0 {
		l.pos += i
	} else {
		l.pos = len(l.text)
	}
}

// peek is the next byte, or 0 at the end.
func (l *locator) peek() byte {
	if l.pos == len(l.text) {
		return 0
	}
	return l.text[l.pos]
}

// take skips a token if it comes next.
func (l *locator) take(token string) bool {
	if !strings.HasPrefix(l.text[l.pos:], token) {
		return false
	}
	l.pos += len(token)
	return true
}
