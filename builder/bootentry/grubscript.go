package bootentry

import (
	"bytes"
	"fmt"
	"strings"
)

// piece is a part of a word in a GRUB script: one literal byte, or a variable.
type piece struct {
	c          byte
	variable   string // its name; then c means nothing
	quoted     bool
	start, end int
}

// word is one word of a command.
type word struct {
	pieces     []piece
	start, end int
}

// literal is what the word says if no variable is in it.
func (w word) literal() (string, bool) {
	var b strings.Builder
	for _, p := range w.pieces {
		if p.variable != "" {
			return "", false
		}
		b.WriteByte(p.c)
	}
	return b.String(), true
}

// grubToken is what the lexer hands on.
type grubToken int

const (
	grubWord  grubToken = iota
	grubEnd             // of a command: newline, semicolon, and the like
	grubOpen            // {
	grubClose           // }
	grubEndFile
)

// grubLexer splits a script into words (grub-core/script/yylex.l).
type grubLexer struct {
	data []byte
	at   int
}

func (l *grubLexer) errorf(at int, format string, args ...any) error {
	lineNumber := 1 + strings.Count(string(l.data[:at]), "\n")
	return fmt.Errorf("line %d: "+format, append([]any{lineNumber}, args...)...)
}

func (l *grubLexer) next() (grubToken, word, error) {
	for l.at < len(l.data) {
		switch c := l.data[l.at]; c {
		case ' ', '\t':
			l.at++
		case '#':
			for l.at < len(l.data) && l.data[l.at] != '\n' {
				l.at++
			}
		case '\n', ';', '|', '&', '<', '>':
			l.at++
			return grubEnd, word{}, nil
		case '{':
			l.at++
			return grubOpen, word{}, nil
		case '}':
			l.at++
			return grubClose, word{}, nil
		case '\\':
			if l.continuation() {
				l.at += 2
				continue
			}
			return l.word()
		default:
			return l.word()
		}
	}
	return grubEndFile, word{}, nil
}

// continuation says whether a backslash joins two lines.
func (l *grubLexer) continuation() bool {
	return l.at+1 < len(l.data) && l.data[l.at+1] == '\n'
}

func (l *grubLexer) word() (grubToken, word, error) {
	w := word{start: l.at}
	for l.at < len(l.data) && !strings.ContainsRune("{}|&;<> \t\n", rune(l.data[l.at])) {
		var err error
		switch c := l.data[l.at]; {
		case c == '\\' && l.continuation():
			l.at += 2
			continue // an end before it is the word's own end still
		case c == '\\':
			err = l.escape(&w)
		case c == '\'':
			err = l.single(&w)
		case c == '"':
			err = l.double(&w, l.at)
		case c == '$' && l.at+1 < len(l.data) && l.data[l.at+1] == '"':
			l.at++
			err = l.double(&w, l.at)
		case c == '$':
			err = l.variable(&w, false)
		default:
			l.literal(&w, false)
		}
		if err != nil {
			return 0, w, err
		}
		w.end = l.at
	}
	return grubWord, w, nil
}

func (l *grubLexer) literal(w *word, quoted bool) {
	w.pieces = append(w.pieces, piece{c: l.data[l.at], quoted: quoted, start: l.at, end: l.at + 1})
	l.at++
}

// escape is a backslash outside quotes: the next byte stands for itself.
func (l *grubLexer) escape(w *word) error {
	if l.at+1 >= len(l.data) {
		return l.errorf(l.at, "script ends in a backslash")
	}
	w.pieces = append(w.pieces, piece{c: l.data[l.at+1], quoted: true, start: l.at, end: l.at + 2})
	l.at += 2
	return nil
}

func (l *grubLexer) single(w *word) error {
	open := l.at
	for l.at++; l.at < len(l.data) && l.data[l.at] != '\''; {
		l.literal(w, true)
	}
	return l.closeQuote(open)
}

func (l *grubLexer) closeQuote(open int) error {
	if l.at >= len(l.data) {
		return l.errorf(open, "quote is never closed")
	}
	l.at++
	return nil
}

func (l *grubLexer) double(w *word, open int) error {
	for l.at++; l.at < len(l.data) && l.data[l.at] != '"'; {
		switch c := l.data[l.at]; {
		case c == '\\' && l.continuation():
			l.at += 2
		case c == '\\' && l.at+1 < len(l.data) && strings.ContainsRune(`$\"`, rune(l.data[l.at+1])):
			if err := l.escape(w); err != nil {
				return err
			}
		case c == '$':
			if err := l.variable(w, true); err != nil {
				return err
			}
		default:
			l.literal(w, true)
		}
	}
	return l.closeQuote(open)
}

// variable is $name, ${name}, a number, or one of the special names.
func (l *grubLexer) variable(w *word, quoted bool) error {
	start := l.at
	l.at++
	braces := l.at < len(l.data) && l.data[l.at] == '{'
	if braces {
		l.at++
	}
	name := variableName(l.data[l.at:])
	l.at += len(name)
	if name == "" {
		return l.errorf(start, "no name after $")
	}
	if braces {
		if l.at >= len(l.data) || l.data[l.at] != '}' {
			return l.errorf(start, "${%s is never closed", name)
		}
		l.at++
	}
	w.pieces = append(w.pieces, piece{variable: name, quoted: quoted, start: start, end: l.at})
	return nil
}

// variableName is the longest name of a variable at the start of data.
func variableName(data []byte) string {
	digit := func(c byte) bool { return c >= '0' && c <= '9' }
	letter := func(c byte) bool { return c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' }
	n := 0
	switch {
	case len(data) == 0:
	case strings.ContainsRune("?#*@", rune(data[0])):
		n = 1
	case digit(data[0]):
		for n < len(data) && digit(data[n]) {
			n++
		}
	default:
		for n < len(data) && (letter(data[n]) || (n > 0 && digit(data[n]))) {
			n++
		}
	}
	return string(data[:n])
}

// grubCommand is a simple command with the menu entries around it, outermost first.
type grubCommand struct {
	words  []word
	titles []string
	block  int // serial number of the innermost block
	line   int
}

// grubKeywords stand before a command without being one.
const grubKeywords = " if then else elif while until do time ! "

func withoutKeywords(words []word) []word {
	for len(words) > 0 {
		name, literal := words[0].literal()
		if !literal || !strings.Contains(grubKeywords, " "+name+" ") {
			break
		}
		words = words[1:]
	}
	return words
}

// parseGrub gives the commands of a script in their order to each.
func parseGrub(data []byte, each func(grubCommand)) error {
	p := &grubParser{lexer: grubLexer{data: data}, each: each, stack: []grubBlock{{}}, line: 1}
	for {
		token, w, err := p.lexer.next()
		if err != nil {
			return err
		}
		switch token {
		case grubWord:
			p.words = append(p.words, w)
		case grubEnd:
			p.flush()
		case grubOpen:
			err = p.open()
		case grubClose:
			err = p.close()
		case grubEndFile:
			p.flush()
			if len(p.stack) > 1 {
				return p.lexer.errorf(p.lexer.at, "%d blocks are never closed", len(p.stack)-1)
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

type grubParser struct {
	lexer   grubLexer
	each    func(grubCommand)
	words   []word
	stack   []grubBlock
	blocks  int
	line    int
	counted int // bytes whose newlines are in line
}

type grubBlock struct {
	title  string
	serial int
}

func (p *grubParser) flush() {
	words := withoutKeywords(p.words)
	p.words = nil
	if len(words) == 0 {
		return
	}
	p.line += bytes.Count(p.lexer.data[p.counted:words[0].start], []byte("\n"))
	p.counted = words[0].start
	c := grubCommand{words: words, block: p.stack[len(p.stack)-1].serial, line: p.line}
	for _, b := range p.stack {
		if b.title != "" {
			c.titles = append(c.titles, b.title)
		}
	}
	p.each(c)
}

func (p *grubParser) open() error {
	p.blocks++
	p.stack = append(p.stack, grubBlock{menuTitle(withoutKeywords(p.words)), p.blocks})
	p.words = nil
	if len(p.stack) > maxNesting {
		return p.lexer.errorf(p.lexer.at, "more than %d blocks within each other", maxNesting)
	}
	return nil
}

func (p *grubParser) close() error {
	p.flush()
	if len(p.stack) == 1 {
		return p.lexer.errorf(p.lexer.at, "} closes nothing")
	}
	p.stack = p.stack[:len(p.stack)-1]
	return nil
}

// menuTitle is the title of a menuentry or submenu command, empty for other blocks.
func menuTitle(words []word) string {
	if len(words) < 2 {
		return ""
	}
	if name, _ := words[0].literal(); name != "menuentry" && name != "submenu" {
		return ""
	}
	var b strings.Builder
	for _, p := range words[1].pieces {
		if p.variable != "" {
			b.WriteString("$" + p.variable)
		} else {
			b.WriteByte(p.c)
		}
	}
	return b.String()
}
