package inference

import "strings"

// shellCommands splits a shell script into its commands, each a list of words. It knows
// quotes, comments, continued lines and what stands between commands, and no more: the
// words of control structures are commands of their own, and here documents are read as
// commands. To find a program that is enough, and nothing is run.
func shellCommands(script string) [][]string {
	l := &shellLexer{text: script}
	for l.pos < len(l.text) && len(l.commands) < maxCommands {
		l.step()
	}
	l.endCommand()
	return l.commands
}

type shellLexer struct {
	text     string
	pos      int
	word     strings.Builder
	started  bool
	words    []string
	commands [][]string
}

func (l *shellLexer) endWord() {
	if l.started && len(l.words) < maxWords {
		l.words = append(l.words, l.word.String())
	}
	l.word.Reset()
	l.started = false
}

func (l *shellLexer) endCommand() {
	l.endWord()
	if words := command(l.words); len(words) > 0 {
		l.commands = append(l.commands, words)
	}
	l.words = nil
}

// step takes the next byte, or a quoted text.
func (l *shellLexer) step() {
	c := l.text[l.pos]
	l.pos++
	switch {
	case c == '\\' && l.pos < len(l.text):
		if l.text[l.pos] != '\n' {
			l.word.WriteByte(l.text[l.pos])
			l.started = true
		}
		l.pos++
	case c == '\'' || c == '"':
		l.quoted(c)
	case c == '#' && !l.started:
		end := strings.IndexByte(l.text[l.pos:], '\n')
		if end < 0 {
			end = len(l.text) - l.pos
		}
		l.pos += end
	case c == ' ' || c == '\t' || c == '\r':
		l.endWord()
	case strings.IndexByte("\n;&|()`", c) >= 0:
		l.endCommand()
	default:
		l.word.WriteByte(c)
		l.started = true
	}
}

// quoted takes a text up to its closing quote.
func (l *shellLexer) quoted(quote byte) {
	l.started = true
	for l.pos < len(l.text) && l.text[l.pos] != quote {
		if quote == '"' && l.text[l.pos] == '\\' && l.pos+1 < len(l.text) {
			l.pos++
			if l.text[l.pos] == '\n' {
				l.pos++
				continue
			}
		}
		l.word.WriteByte(l.text[l.pos])
		l.pos++
	}
	l.pos++
}

// prefixWords stand before a command and are none: POSIX shell, "Reserved Words".
var prefixWords = map[string]bool{
	"if": true, "then": true, "else": true, "elif": true, "do": true, "while": true, "until": true,
	"{": true, "}": true, "!": true, "exec": true, "command": true, "time": true, "builtin": true, "eval": true,
}

// command drops reserved words before a command. Of exec and time it drops options, too.
func command(words []string) []string {
	for len(words) > 0 && (prefixWords[words[0]] || strings.HasPrefix(words[0], "-")) {
		words = words[1:]
	}
	return words
}
