package machine

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sync"
)

// Limits on what a guest can make us keep.
const (
	maxLine    = 64 << 10 // bytes; the kernel cuts its lines at 1 KiB
	maxConsole = 4 << 20  // bytes in all; a boot prints about 50 KiB
)

// escape matches what is not text on a console: control sequences and strings of
// ECMA-48 (systemd colours its lines and asks the terminal for its size) and all
// control characters but tab.
var escape = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]|\x1b[PX\]^_][^\x07\x1b]*(\x07|\x1b\\)?|\x1b.?|[\x00-\x08\x0b-\x1f\x7f]`)

// Plain is a line of a terminal without what is not text.
func Plain(line string) string { return escape.ReplaceAllString(line, "") }

// fatal matches the lines after which a guest does nothing more that is waited for.
var fatal = regexp.MustCompile(`Kernel panic - not syncing|You are in emergency mode|Entering emergency mode\.|Reached target emergency\.target`)

// errFlood ends the reading of a guest that prints without end.
var errFlood = fmt.Errorf("console has more than %d bytes", maxConsole)

// console hands the lines that one goroutine reads to another that waits for them.
type console struct {
	echo io.Writer

	mu      sync.Mutex
	lines   []string
	size    int           // bytes in lines
	ended   error         // why nothing will come that is worth waiting for
	changed chan struct{} // closed and made anew at every change
}

func newConsole(echo io.Writer) *console {
	if echo == nil {
		echo = io.Discard
	}
	return &console{echo: echo, changed: make(chan struct{})}
}

// read collects lines until the stream ends. A closed stream is no error.
func (c *console) read(r io.Reader) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 4096), maxLine)
	for s.Scan() {
		line := Plain(s.Text())
		fmt.Fprintln(c.echo, line)
		if err := c.add(line); err != nil {
			return err
		}
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("console line has more than %d bytes", maxLine)
	}
	return nil
}

func (c *console) add(line string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.size += len(line) + 1; c.size > maxConsole {
		return errFlood
	}
	c.lines = append(c.lines, line)
	if fatal.MatchString(line) {
		c.endLocked(fmt.Errorf("guest gave up: %s", line))
	}
	c.wake()
	return nil
}

// end notes why the console is over; the first reason stands.
func (c *console) end(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endLocked(why)
	c.wake()
}

func (c *console) endLocked(why error) {
	if c.ended == nil {
		c.ended = why
	}
}

func (c *console) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// since returns the lines from index from on, a channel that is closed when there
// are more, and why there will be none.
func (c *console) since(from int) (lines []string, changed <-chan struct{}, ended error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lines[from:len(c.lines):len(c.lines)], c.changed, c.ended
}
