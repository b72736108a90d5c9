package bootentry

import "slices"

// grubNode is one statement of a GRUB script.
type grubNode struct {
	kind  nodeKind
	words []word // of a command, a menu entry, a submenu; the name of a function
	arms  []grubArm
	start int // in the file
	end   int
}

type nodeKind int

const (
	nodeCommand  nodeKind = iota
	nodeIf                // arms in order; the last may have no condition
	nodeLoop              // for, while, until: one arm
	nodeFunction          // one arm
	nodeMenu              // menuentry, submenu: one arm
	nodeBlock             // any other command with a block, or a block alone: one arm
)

// grubArm is a list of statements and what it depends on.
type grubArm struct {
	condition []grubNode // nil: none
	body      []grubNode
}

// parseGrubTree reads a script's statements (GRUB manual 2.06, "Shell-like
// scripting"). parseGrub is for command lines, which lie anywhere; this is for what
// GRUB does at the start.
func parseGrubTree(data []byte) ([]grubNode, error) {
	p := &grubTreeParser{lexer: grubLexer{data: data}}
	if err := p.advance(); err != nil {
		return nil, err
	}
	nodes, _, err := p.list(0)
	if err == nil && p.token != grubEndFile {
		err = p.lexer.errorf(p.begin, "it closes what was never opened")
	}
	return nodes, err
}

type grubTreeParser struct {
	lexer grubLexer
	token grubToken
	word  word
	begin int // of the token
	last  int // where the token before ended
}

func (p *grubTreeParser) advance() (err error) {
	p.last = p.lexer.at
	p.token, p.word, err = p.lexer.next()
	switch p.token {
	case grubWord:
		p.begin = p.word.start
	case grubEndFile:
		p.begin = p.lexer.at
	default:
		p.begin = p.lexer.at - 1
	}
	return err
}

// keyword is the unquoted word at hand.
func (p *grubTreeParser) keyword() string {
	if p.token != grubWord || slices.ContainsFunc(p.word.pieces, func(p piece) bool { return p.quoted || p.variable != "" }) {
		return ""
	}
	name, _ := p.word.literal()
	return name
}

// list reads statements up to one of the words, to a closing brace, or to the end of
// the file; the word is passed over and given.
func (p *grubTreeParser) list(depth int, until ...string) (nodes []grubNode, stop string, err error) {
	if depth > maxNesting {
		return nil, "", p.lexer.errorf(p.lexer.at, "more than %d statements within each other", maxNesting)
	}
	for {
		switch {
		case p.token == grubEnd:
			if err := p.advance(); err != nil {
				return nil, "", err
			}
			continue
		case p.token == grubEndFile || p.token == grubClose:
			if len(until) > 0 {
				return nil, "", p.lexer.errorf(p.begin, "want %s", until[0])
			}
		case slices.Contains(until, p.keyword()):
			stop = p.keyword()
			err = p.advance()
		default:
			n, err := p.statement(depth)
			if err != nil {
				return nil, "", err
			}
			nodes = append(nodes, n)
			continue
		}
		return nodes, stop, err
	}
}

func (p *grubTreeParser) statement(depth int) (n grubNode, err error) {
	n.start = p.begin
	switch p.keyword() {
	case "if":
		n.kind = nodeIf
		err = p.conditional(&n, depth)
	case "for", "while", "until":
		n.kind = nodeLoop
		err = p.loop(&n, depth)
	case "function":
		n.kind = nodeFunction
		if err = p.advance(); err == nil {
			err = p.command(&n, depth)
		}
	default:
		err = p.command(&n, depth)
	}
	n.end = p.last
	return n, err
}

// conditional reads if, elif and else up to fi.
func (p *grubTreeParser) conditional(n *grubNode, depth int) error {
	stop := "if"
	if err := p.advance(); err != nil {
		return err
	}
	for stop != "fi" {
		var arm grubArm
		var err error
		if stop != "else" {
			if arm.condition, _, err = p.list(depth+1, "then"); err != nil {
				return err
			}
		}
		if arm.body, stop, err = p.list(depth+1, "fi", "elif", "else"); err != nil {
			return err
		}
		n.arms = append(n.arms, arm)
	}
	return nil
}

func (p *grubTreeParser) loop(n *grubNode, depth int) error {
	if err := p.advance(); err != nil {
		return err
	}
	arm := grubArm{}
	var err error
	if arm.condition, _, err = p.list(depth+1, "do"); err == nil {
		arm.body, _, err = p.list(depth+1, "done")
	}
	n.arms = []grubArm{arm}
	return err
}

// command reads words, and a block behind them.
func (p *grubTreeParser) command(n *grubNode, depth int) error {
	for p.token == grubWord {
		n.words = append(n.words, p.word)
		if err := p.advance(); err != nil {
			return err
		}
	}
	for n.kind == nodeFunction && p.token == grubEnd {
		if err := p.advance(); err != nil {
			return err
		}
	}
	if p.token != grubOpen {
		return nil
	}
	if n.kind != nodeFunction {
		n.kind = nodeBlock
		if len(n.words) > 1 {
			if name, _ := n.words[0].literal(); name == "menuentry" || name == "submenu" {
				n.kind = nodeMenu
			}
		}
	}
	if err := p.advance(); err != nil {
		return err
	}
	body, _, err := p.list(depth + 1)
	if err != nil {
		return err
	}
	if p.token != grubClose {
		return p.lexer.errorf(n.start, "block is never closed")
	}
	n.arms = []grubArm{{body: body}}
	return p.advance()
}
