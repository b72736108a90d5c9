package modprobe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// The binary index that depmod writes beside a text file: a trie of keys with
// values, big endian, as described at the top of kmod's libkmod-index.c. A node's
// place is a byte offset whose upper four bits say which parts the node has.
const (
	trieMagic   = 0xb007f457
	trieVersion = 0x00020001
	trieHeader  = 12

	nodePrefix   = 0x80000000
	nodeValues   = 0x40000000
	nodeChildren = 0x20000000
	nodeOffset   = 0x0fffffff

	lastChild = 0x7f // keys are 7-bit ASCII
)

// entry is one key with one value.
type entry struct {
	key      string
	value    string
	priority uint32 // place of the module in modules.dep; lower goes first
}

// order is where a writer puts a node: kmod 30 behind its children, kmod 34 before.
type order int

const (
	parentsFirst order = iota
	childrenFirst
)

// trieReader reads a hostile index: nodes may overlap or form cycles, so what bounds
// the work is the number of entries and the length of all keys.
type trieReader struct {
	data    []byte
	entries []entry
	keys    int // bytes of all prefixes walked over
}

// parseTrie gives the entries of a binary index in the order of their keys, and
// where its writer puts nodes.
func parseTrie(data []byte) ([]entry, order, error) {
	if len(data) < trieHeader {
		return nil, 0, fmt.Errorf("index: size is %d bytes, want at least %d", len(data), trieHeader)
	}
	if got := binary.BigEndian.Uint32(data); got != trieMagic {
		return nil, 0, fmt.Errorf("index: magic is %08x, want %08x", got, uint32(trieMagic))
	}
	if got := binary.BigEndian.Uint32(data[4:]); got>>16 != trieVersion>>16 {
		return nil, 0, fmt.Errorf("index: version is %d, want %d", got>>16, trieVersion>>16)
	}
	root := binary.BigEndian.Uint32(data[8:])
	r := &trieReader{data: data}
	if err := r.node(root, nil); err != nil {
		return nil, 0, err
	}
	placed := parentsFirst
	if root&nodeOffset != trieHeader {
		placed = childrenFirst
	}
	return r.entries, placed, nil
}

// node reads the node at an offset, whose key begins with key.
func (r *trieReader) node(at uint32, key []byte) error {
	offset := int(at & nodeOffset)
	if offset == 0 {
		return nil // no child for this letter
	}
	if offset < trieHeader || offset >= len(r.data) && at&^nodeOffset != 0 {
		return fmt.Errorf("index: node at byte %d, want one from %d to %d", offset, trieHeader, len(r.data)-1)
	}
	c := cursor{r.data, offset}
	if at&nodePrefix != 0 {
		prefix, err := c.text()
		if err != nil {
			return err
		}
		if i := bytes.IndexFunc(prefix, func(r rune) bool { return r > lastChild }); i >= 0 {
			return fmt.Errorf("index: key at byte %d has the byte %#x, want ASCII", offset, prefix[i])
		}
		key = append(key, prefix...)
	}
	if r.keys += len(key) + 1; len(key) > maxKey || r.keys > maxKeys {
		return fmt.Errorf("index: key at byte %d is %d bytes, all keys so far %d; limits are %d and %d", offset, len(key), r.keys, maxKey, maxKeys)
	}
	var first byte
	var children []byte
	if at&nodeChildren != 0 {
		var err error
		if first, children, err = c.children(); err != nil {
			return err
		}
	}
	if at&nodeValues != 0 {
		if err := r.values(&c, string(key)); err != nil {
			return err
		}
	}
	for i := 0; i < len(children); i += 4 {
		child := binary.BigEndian.Uint32(children[i:])
		if err := r.node(child, append(slices.Clip(key), first+byte(i/4))); err != nil {
			return err
		}
	}
	return nil
}

func (r *trieReader) values(c *cursor, key string) error {
	count, err := c.uint32()
	if err != nil {
		return err
	}
	for range count {
		priority, err := c.uint32()
		if err != nil {
			return err
		}
		value, err := c.text()
		if err != nil {
			return err
		}
		if r.entries = append(r.entries, entry{key, string(value), priority}); len(r.entries) > maxEntries {
			return fmt.Errorf("index: more than %d entries", maxEntries)
		}
	}
	return nil
}

// cursor reads the parts of a node one after the other.
type cursor struct {
	data []byte
	at   int
}

var errCut = errors.New("index: file ends inside a node")

func (c *cursor) uint32() (uint32, error) {
	if len(c.data)-c.at < 4 {
		return 0, errCut
	}
	c.at += 4
	return binary.BigEndian.Uint32(c.data[c.at-4:]), nil
}

func (c *cursor) text() ([]byte, error) {
	width := bytes.IndexByte(c.data[c.at:], 0)
	if width < 0 {
		return nil, errCut
	}
	c.at += width + 1
	return c.data[c.at-width-1 : c.at-1], nil
}

// children gives the first letter, and four bytes for each letter up to the last.
func (c *cursor) children() (first byte, offsets []byte, err error) {
	if len(c.data)-c.at < 2 {
		return 0, nil, errCut
	}
	first, last := c.data[c.at], c.data[c.at+1]
	if first == 0 || first > last || last > lastChild {
		return 0, nil, fmt.Errorf("index: node at byte %d has children from %d to %d, want within 1 to %d", c.at, first, last, lastChild)
	}
	c.at += 2
	width := 4 * (int(last) - int(first) + 1)
	if len(c.data)-c.at < width {
		return 0, nil, errCut
	}
	c.at += width
	return first, c.data[c.at-width : c.at], nil
}

// trieNode is a node to be written.
type trieNode struct {
	prefix   string
	values   []entry
	children []trieChild // by letter
}

type trieChild struct {
	letter byte
	*trieNode
}

// writeTrie writes an index of entries, which are in order of their keys; values of
// one key stay in the order given.
func writeTrie(entries []entry, placed order) ([]byte, error) {
	for i, e := range entries {
		if i > 0 && e.key < entries[i-1].key {
			return nil, fmt.Errorf("index: key %q follows %q", e.key, entries[i-1].key)
		}
	}
	root := &trieNode{}
	root.fill(entries, 0)
	out := make([]byte, trieHeader)
	binary.BigEndian.PutUint32(out, trieMagic)
	binary.BigEndian.PutUint32(out[4:], trieVersion)
	out, at := root.write(out, placed)
	if len(out) > nodeOffset {
		return nil, fmt.Errorf("index: size is %d bytes, limit is %d", len(out), nodeOffset)
	}
	binary.BigEndian.PutUint32(out[8:], at)
	return out, nil
}

// fill spreads entries that agree in their first depth bytes over a node. The root
// has no prefix of its own; every other node has what all its keys share.
func (n *trieNode) fill(entries []entry, depth int) {
	if depth > 0 {
		n.prefix = commonPrefix(entries[0].key[depth:], entries[len(entries)-1].key[depth:])
		depth += len(n.prefix)
	}
	for len(entries) > 0 && len(entries[0].key) == depth {
		n.values = append(n.values, entries[0])
		entries = entries[1:]
	}
	for len(entries) > 0 {
		letter, same := entries[0].key[depth], 1
		for same < len(entries) && entries[same].key[depth] == letter {
			same++
		}
		child := &trieNode{}
		child.fill(entries[:same], depth+1)
		n.children = append(n.children, trieChild{letter, child})
		entries = entries[same:]
	}
}

func commonPrefix(a, b string) string {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return a[:i]
}

// write puts a node and those below it behind out, and gives its place.
func (n *trieNode) write(out []byte, placed order) ([]byte, uint32) {
	if placed == childrenFirst {
		offsets := n.noOffsets()
		for _, c := range n.children {
			var at uint32
			out, at = c.write(out, placed)
			n.setOffset(offsets, c.letter, at)
		}
		at := uint32(len(out)) | n.parts()
		return n.writeSelf(out, offsets), at
	}
	at := uint32(len(out)) | n.parts()
	start := len(out)
	out = n.writeSelf(out, n.noOffsets())
	for _, c := range n.children {
		var childAt uint32
		out, childAt = c.write(out, placed)
		n.setOffset(out[n.offsetsAt(start):], c.letter, childAt)
	}
	return out, at
}

func (n *trieNode) parts() uint32 {
	var parts uint32
	if n.prefix != "" {
		parts |= nodePrefix
	}
	if len(n.values) > 0 {
		parts |= nodeValues
	}
	if len(n.children) > 0 {
		parts |= nodeChildren
	}
	return parts
}

func (n *trieNode) noOffsets() []byte {
	if len(n.children) == 0 {
		return nil
	}
	return make([]byte, 4*(int(n.children[len(n.children)-1].letter)-int(n.children[0].letter)+1))
}

func (n *trieNode) setOffset(offsets []byte, letter byte, at uint32) {
	binary.BigEndian.PutUint32(offsets[4*int(letter-n.children[0].letter):], at)
}

// offsetsAt gives where the children's places stand in a node that begins at start.
func (n *trieNode) offsetsAt(start int) int {
	if n.prefix != "" {
		start += len(n.prefix) + 1
	}
	return start + 2
}

func (n *trieNode) writeSelf(out, offsets []byte) []byte {
	if n.prefix != "" {
		out = append(append(out, n.prefix...), 0)
	}
	if len(n.children) > 0 {
		out = append(out, n.children[0].letter, n.children[len(n.children)-1].letter)
		out = append(out, offsets...)
	}
	if len(n.values) > 0 {
		out = binary.BigEndian.AppendUint32(out, uint32(len(n.values)))
		for _, v := range n.values {
			out = binary.BigEndian.AppendUint32(out, v.priority)
			out = append(append(out, v.value...), 0)
		}
	}
	return out
}
