package initramfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// node is one inode of the merged view.
type node struct {
	number   uint64
	mode     fs.FileMode
	entry    *Entry           // the last that gave it its attributes; nil: the root
	body     *Entry           // whose content it has; nil: none
	links    uint32           // names that lead to it
	children map[string]*node // of a directory
}

// linkKey tells which entries of an archive are one file (find_link in
// init/initramfs.c).
type linkKey struct {
	archive int
	device  uint64
	inode   uint32
	kind    uint32
}

// view is the file system that the kernel unpacks entries into.
type view struct {
	root     *node
	first    map[linkKey]string // name of the first of several hard links
	last     uint64             // inode number
	warnings []string
	steps    int // parts of names walked over
}

// merge unpacks entries in order.
func merge(entries []*Entry) (*view, error) {
	v := &view{first: map[linkKey]string{}}
	v.root = v.newNode(fs.ModeDir|0o755, nil)
	v.root.links = 1
	for _, e := range entries {
		if err := v.apply(e); err != nil {
			if errors.Is(err, ErrLimit) {
				return nil, fmt.Errorf("initramfs: %w", err)
			}
			if len(v.warnings) < maxWarnings {
				v.warnings = append(v.warnings, fmt.Sprintf("%s: the kernel leaves it out: %v", e.Name, err))
			}
		}
	}
	return v, nil
}

func (v *view) newNode(mode fs.FileMode, e *Entry) *node {
	v.last++
	n := &node{number: v.last, mode: mode, entry: e}
	if mode.IsDir() {
		n.children = map[string]*node{}
	}
	return n
}

// apply unpacks one entry as do_name, do_symlink and clean_path do.
func (v *view) apply(e *Entry) error {
	dir, base, err := v.parent(e.Name)
	if err != nil {
		return err
	}
	if base == "" { // the root itself
		if e.kind() != modeDir {
			return fs.ErrExist
		}
		v.root.mode, v.root.entry = fileMode(e.Mode), e
		return nil
	}
	there := dir.children[base]
	if e.kind() == modeLink || there != nil && there.mode.Type() != fileMode(e.Mode).Type() {
		if err := unlink(dir, base, there); err != nil {
			return err
		}
		there = nil
	}
	linked := false
	if e.Links >= 2 && e.kind() != modeDir && e.kind() != modeLink {
		old, err := v.link(dir, base, e)
		if err != nil {
			return err
		}
		if linked = old != nil; linked {
			there = old
		}
	}
	if there == nil {
		there = v.newNode(fileMode(e.Mode), e)
		v.add(dir, base, there)
	}
	there.mode, there.entry = fileMode(e.Mode), e
	// A file that is there is cut and written anew; of several hard links those
	// without content change nothing.
	if e.kind() == modeRegular && (!linked || e.Size > 0) {
		there.body = e
	}
	return nil
}

// link gives a name to the file that an entry before it in the archive has made
// (maybe_link); nil: there is none yet.
func (v *view) link(dir *node, base string, e *Entry) (*node, error) {
	key := linkKey{e.archive, e.device, e.inode, e.kind()}
	name, known := v.first[key]
	if !known {
		v.first[key] = e.Name
		return nil, nil
	}
	if err := unlink(dir, base, dir.children[base]); err != nil {
		return nil, err
	}
	old, err := v.lookup(name)
	if err != nil {
		return nil, err
	}
	if old.mode.IsDir() {
		return nil, fmt.Errorf("hard link to the directory %s", name)
	}
	v.add(dir, base, old)
	return old, nil
}

func (v *view) add(dir *node, base string, n *node) {
	n.links++
	dir.children[base] = n
}

// unlink frees a name, as unlink(2) and rmdir(2) do.
func unlink(dir *node, base string, there *node) error {
	switch {
	case there == nil:
		return nil
	case len(there.children) > 0:
		return errors.New("a directory that is not empty is in its place")
	}
	there.links--
	delete(dir.children, base)
	return nil
}

// parent finds the directory that a name is in and its last part, links in the parts
// before followed. The last part of the root is "".
func (v *view) parent(name string) (*node, string, error) {
	if strings.Trim(name, "/") == "" && name != "" {
		return v.root, "", nil
	}
	if name == "" {
		return nil, "", fs.ErrNotExist
	}
	dir, base := path.Split(strings.TrimRight(name, "/"))
	w := walker{view: v, stack: []*node{v.root}}
	if err := w.walk(dir); err != nil {
		return nil, "", err
	}
	at := w.at()
	if base == "." || base == ".." {
		if err := w.walk(base); err != nil {
			return nil, "", err
		}
		if w.at() != v.root {
			return nil, "", fmt.Errorf("name ends in %s", base)
		}
		return v.root, "", nil
	}
	if len(base) > maxPart {
		return nil, "", fmt.Errorf("last part of the name has %d bytes, limit is %d", len(base), maxPart)
	}
	return at, base, nil
}

// lookup finds the inode of a name, the last part not followed.
func (v *view) lookup(name string) (*node, error) {
	dir, base, err := v.parent(name)
	if err != nil || base == "" {
		return dir, err
	}
	if n := dir.children[base]; n != nil {
		return n, nil
	}
	return nil, fs.ErrNotExist
}

// walker follows a name through directories and links. The stack has the directories
// from the root to where it is.
type walker struct {
	view  *view
	stack []*node
	links int
}

func (w *walker) at() *node { return w.stack[len(w.stack)-1] }

func (w *walker) walk(name string) error {
	if strings.HasPrefix(name, "/") {
		w.stack = w.stack[:1]
	}
	for part := range strings.SplitSeq(name, "/") {
		if w.view.steps++; w.view.steps > maxSteps {
			return fmt.Errorf("names and links lead over more than %d directories: %w", maxSteps, ErrLimit)
		}
		switch part {
		case "", ".":
			continue
		case "..":
			w.stack = w.stack[:max(1, len(w.stack)-1)]
			continue
		}
		next := w.at().children[part]
		switch {
		case next == nil:
			return fmt.Errorf("directory %s: %w", part, fs.ErrNotExist)
		case next.mode.IsDir():
			w.stack = append(w.stack, next)
		case next.mode.Type() == fs.ModeSymlink:
			if w.links++; w.links > rootfs.MaxLinks {
				return fmt.Errorf("more than %d symbolic links", rootfs.MaxLinks)
			}
			if err := w.walk(next.entry.Target); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s is no directory", part)
		}
	}
	return nil
}
