package bootentry

import "strings"

// cell is one byte of a command line with the bytes of the file it stands for.
type cell struct {
	c          byte
	start, end int // in the file
	// head and next enclose the word that the byte belongs to, where words have
	// quotes that the command line does not: next is where another argument can go.
	head, next int
	gap        int  // in a script: where the blanks before the word begin
	soft       bool // from a variable, or made up by the boot loader
	bare       bool // in a shell word outside quotes, where a blank needs a backslash
}

// text is a command line as the kernel gets it, traced back to a file.
type text struct {
	cells    []cell
	lead     int  // where the first argument goes if there are none
	bareLead bool // and a blank there needs a backslash
	tail     int  // where an argument at the end goes; -1: behind the last argument
	extra    int  // bytes that the boot loader adds of its own
	follows  bool // something stands before lead: a first argument needs a blank too
	// ownLine says that arguments go to a line of their own at lead; before and after
	// make a line of them.
	ownLine       bool
	before, after string
	// lineStart and lineEnd enclose a line that is nothing without arguments.
	lineStart, lineEnd int
}

// rawText is the text that data[start:end] is, literally.
func rawText(data []byte, start, end int) text {
	t := text{lead: start, tail: -1}
	for i := start; i < end; i++ {
		t.cells = append(t.cells, literalCell(data[i], i))
	}
	return t
}

func literalCell(c byte, at int) cell {
	return cell{c: c, start: at, end: at + 1, head: at, next: at + 1}
}

func (t text) String() string {
	var b strings.Builder
	for _, c := range t.cells {
		b.WriteByte(c.c)
	}
	return b.String()
}

// change replaces data[start:end] of a file.
type change struct {
	start, end int
	text       string
}

// splice carries out changes that are in order and do not overlap.
func splice(data []byte, changes []change) []byte {
	var out []byte
	at := 0
	for _, c := range changes {
		out = append(out, data[at:c.start]...)
		out = append(out, c.text...)
		at = c.end
	}
	return append(out, data[at:]...)
}
