package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/builder/selinux"
)

const labelXattr = "security.selinux"

// labels says which SELinux labels a build gives: those of the tree's own policy,
// where it has one that decides, else those of the directories above. A tree whose
// root directory has no label gets none.
type labels struct {
	tree    rootfs.Tree
	used    bool
	policy  *selinux.Policy   // nil: the tree has none that can be read
	planned map[string]string // by literal path, what this build gives
}

// readLabels gives a warning where the tree's policy cannot be used.
func readLabels(t rootfs.Tree) (l *labels, warning string, err error) {
	l = &labels{tree: t, planned: map[string]string{}}
	root, err := labelOf(t, "/")
	if err != nil || root == "" {
		return l, "", err
	}
	l.used = true
	l.policy, err = selinux.Read(t)
	if errors.Is(err, fs.ErrNotExist) {
		return l, "", nil // labelled by another one's policy
	}
	if err != nil {
		l.policy = nil
		return l, fmt.Sprintf("%v: new files get the labels of their directories", err), nil
	}
	return l, "", nil
}

// labelOf gives a path's label without the zero byte that usually ends it, or nothing.
func labelOf(t rootfs.Tree, literal string) (string, error) {
	all, err := t.Xattrs(literal)
	return strings.TrimSuffix(string(all[labelXattr]), "\x00"), err
}

// want gives the label that a path gets, and a warning where the policy has a line
// that cannot be decided by.
func (l *labels) want(literal string, op rootfs.Op, before State) (label, warning string, err error) {
	if !l.used {
		return before.Label, "", nil
	}
	if l.policy != nil {
		decided, ok, err := l.policy.Label(literal, map[rootfs.Op]fs.FileMode{rootfs.Symlink: fs.ModeSymlink, rootfs.Mkdir: fs.ModeDir}[op])
		if ok {
			l.planned[literal] = decided
			return decided, "", nil
		}
		if err != nil {
			warning = fmt.Sprintf("%s keeps its label or gets that of its directory: %v", literal, err)
		}
	}
	if label = before.Label; label == "" {
		label, err = l.above(literal)
	}
	l.planned[literal] = label
	return label, warning, err
}

// above gives the label of the directory of a path.
func (l *labels) above(literal string) (string, error) {
	dir := path.Dir(literal)
	if label, known := l.planned[dir]; known {
		return label, nil
	}
	return labelOf(l.tree, dir)
}

// xattrs gives what rootfs.Edit shall set: nil where the inode's own stay or nothing
// is known of labels.
func (l *labels) xattrs(literal string, before, after State) (map[string][]byte, error) {
	switch {
	case !l.used || after.Label == "":
		return nil, nil
	case before.Type == after.Type && before.Type != "symlink" && before.Label == after.Label:
		return nil, nil
	}
	all := map[string][]byte{}
	if before.Type == after.Type {
		old, err := l.tree.Xattrs(literal)
		if err != nil {
			return nil, err
		}
		for key, value := range old {
			all[key] = value
		}
	}
	all[labelXattr] = []byte(after.Label + "\x00")
	return all, nil
}
