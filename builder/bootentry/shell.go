package bootentry

import (
	"bytes"
	"fmt"
)

// shellVar is the value of a variable after files of assignments were read in order.
type shellVar struct {
	cells    []cell
	lead     int
	bareLead bool
	opaque   bool  // a part is computed when the file is read
	file     *file // of the assignment in force
	line     int
	begin    int // where the assignment begins
}

func (v shellVar) String() string { return text{cells: v.cells}.String() }

// shellEnv is what assignments leave behind.
type shellEnv struct {
	vars map[string]shellVar
	// opaque lists files with more than assignments: their values are a guess.
	opaque map[string]bool
}

func newShellEnv() *shellEnv {
	return &shellEnv{vars: map[string]shellVar{}, opaque: map[string]bool{}}
}

// source reads the assignments of a file as POSIX sh does (XCU 2.2 Quoting, 2.9.1
// Simple Commands). Other commands are passed over, and remembered.
func (e *shellEnv) source(f *file) error {
	p := &shellParser{file: f, env: e, line: 1}
	for {
		for p.at < len(f.data) && (p.is(" \t;") || p.newline()) {
			p.at++
		}
		if p.at >= len(f.data) {
			return nil
		}
		if p.is("#") {
			p.skipLine()
			continue
		}
		if err := p.command(); err != nil {
			return fmt.Errorf("line %d: %w", p.line, err)
		}
	}
}

type shellParser struct {
	file *file
	env  *shellEnv
	at   int
	line int
}

func (p *shellParser) is(set string) bool {
	return p.at < len(p.file.data) && bytes.IndexByte([]byte(set), p.file.data[p.at]) >= 0
}

// newline says whether a line ends here, and counts it.
func (p *shellParser) newline() bool {
	if p.is("\n\r") {
		if p.file.data[p.at] == '\n' {
			p.line++
		}
		return true
	}
	return false
}

func (p *shellParser) skipLine() {
	for p.at < len(p.file.data) && !p.is("\n") {
		p.at++
	}
}

// command takes assignments up to the end of a command. Anything else makes the file
// opaque and ends the line.
func (p *shellParser) command() error {
	for !p.is("\n;#") && p.at < len(p.file.data) {
		rest := p.file.data[p.at:]
		if bytes.HasPrefix(rest, []byte("export ")) {
			p.at += len("export ")
			continue
		}
		name := variableName(rest)
		if name == "" || startsWithDigit(name) || len(rest) == len(name) || rest[len(name)] != '=' {
			p.env.opaque[p.file.path] = true
			p.skipLine()
			return nil
		}
		line, begin := p.line, p.at
		p.at += len(name) + 1
		v, err := p.word()
		if err != nil {
			return err
		}
		v.file, v.line, v.begin = p.file, line, begin
		p.env.vars[name] = v
		for p.is(" \t\r") {
			p.at++
		}
		if p.is("&|<>()") {
			p.env.opaque[p.file.path] = true
			p.skipLine()
		}
	}
	return nil
}

// word reads the value of an assignment.
func (p *shellParser) word() (shellVar, error) {
	v := shellVar{lead: p.at, bareLead: true}
	if p.is(`"'`) {
		v.lead, v.bareLead = p.at+1, false
	}
	for p.at < len(p.file.data) && !p.is(" \t\n;&|<>()\r") {
		var err error
		switch c := p.file.data[p.at]; c {
		case '\'':
			err = p.single(&v)
		case '"':
			err = p.double(&v)
		case '$', '`':
			err = p.substitution(&v, true)
		case '\\':
			err = p.escape(&v, true)
		default:
			p.literal(&v, 1, true)
		}
		if err != nil {
			return v, err
		}
	}
	return v, nil
}

// literal takes the last of n bytes for itself.
func (p *shellParser) literal(v *shellVar, n int, bare bool) {
	c := literalCell(p.file.data[p.at+n-1], p.at)
	c.end, c.next, c.bare = p.at+n, p.at+n, bare
	v.cells = append(v.cells, c)
	if c.c == '\n' {
		p.line++
	}
	p.at += n
}

func (p *shellParser) escape(v *shellVar, bare bool) error {
	if p.at+1 >= len(p.file.data) {
		return fmt.Errorf("file ends in a backslash")
	}
	if p.file.data[p.at+1] == '\n' {
		p.line++
		p.at += 2
		return nil
	}
	p.literal(v, 2, bare)
	return nil
}

func (p *shellParser) single(v *shellVar) error {
	for p.at++; p.at < len(p.file.data) && !p.is("'"); {
		p.literal(v, 1, false)
	}
	return p.closeQuote()
}

func (p *shellParser) closeQuote() error {
	if p.at >= len(p.file.data) {
		return fmt.Errorf("quote is never closed")
	}
	p.at++
	return nil
}

func (p *shellParser) double(v *shellVar) error {
	for p.at++; p.at < len(p.file.data) && !p.is(`"`); {
		var err error
		switch rest := p.file.data[p.at:]; {
		case rest[0] == '\\' && len(rest) > 1 && bytes.IndexByte([]byte("$`\"\\\n"), rest[1]) >= 0:
			err = p.escape(v, false)
		case rest[0] == '$' || rest[0] == '`':
			err = p.substitution(v, false)
		default:
			p.literal(v, 1, false)
		}
		if err != nil {
			return err
		}
	}
	return p.closeQuote()
}

// substitution puts in a variable that is known, and passes over all that a shell
// would compute.
func (p *shellParser) substitution(v *shellVar, bare bool) error {
	data, start := p.file.data, p.at
	end, name := p.substitutionEnd()
	if end > len(data) {
		return fmt.Errorf("substitution is never closed")
	}
	if name == "" && end == start+1 {
		p.literal(v, 1, bare) // a $ that begins nothing
		return nil
	}
	p.line += bytes.Count(data[start:end], []byte("\n"))
	p.at = end
	if name == "" {
		v.opaque = true
		return nil
	}
	known := p.env.vars[name]
	v.opaque = v.opaque || known.opaque
	if len(v.cells)+len(known.cells) > maxExpanded {
		return fmt.Errorf("value of %s has more than %d bytes", name, maxExpanded)
	}
	for _, c := range known.cells {
		v.cells = append(v.cells, cell{c: c.c, start: start, end: end, head: start, next: end, soft: true, bare: bare})
	}
	return nil
}

// substitutionEnd finds the end of what begins with $ or a backtick, beyond the data
// if there is none, and the name if it is a plain variable.
func (p *shellParser) substitutionEnd() (end int, name string) {
	rest := p.file.data[p.at:]
	none := len(p.file.data) + 1
	switch {
	case rest[0] == '`':
		return p.closing("`", 1), ""
	case len(rest) > 1 && rest[1] == '(':
		return p.closing("()", 1), ""
	case len(rest) > 1 && rest[1] == '{':
		name = variableName(rest[2:])
		end = p.closing("{}", 1)
		if end <= len(p.file.data) && end != p.at+len(name)+3 {
			name = ""
		}
		return end, name
	case len(rest) == 1:
		return p.at + 1, ""
	}
	if name = variableName(rest[1:]); name == "" {
		if len(rest) > 1 && (rest[1] == '$' || rest[1] == '!' || rest[1] == '-') {
			return min(p.at+2, none), ""
		}
		return p.at + 1, ""
	}
	if !startsWithLetter(name) {
		return p.at + 2, ""
	}
	return p.at + 1 + len(name), name
}

func startsWithLetter(s string) bool {
	return s != "" && (s[0] == '_' || s[0]|0x20 >= 'a' && s[0]|0x20 <= 'z')
}

// closing finds the end of a pair of brackets, or of two backticks, quotes heeded.
func (p *shellParser) closing(pair string, from int) int {
	data, depth := p.file.data, 0
	if len(pair) == 1 {
		depth = 1
	}
	quote := byte(0)
	for i := p.at + from; i < len(data); i++ {
		switch c := data[i]; {
		case c == '\\' && quote != '\'':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case len(pair) == 2 && (c == '\'' || c == '"'):
			quote = c
		case c == pair[len(pair)-1]:
			if depth--; depth == 0 {
				return i + 1
			}
		case c == pair[0]:
			if depth++; depth > maxNesting {
				return len(data) + 1
			}
		}
	}
	return len(data) + 1
}
