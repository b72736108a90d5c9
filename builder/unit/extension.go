package unit

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/initcheck/policy"
)

// maxExtensions bounds the extensions of a tree, with each of which the tree is looked
// through again; real ones have a handful.
const maxExtensions = 128

// extensionKind is a kind of extensions: where they lie, and which directories of theirs are
// laid over the machine's. systemd-sysext(8); /run is empty when a machine starts.
type extensionKind struct {
	dirs, tops []string
}

var extensionKinds = []extensionKind{
	{[]string{"/etc/extensions", "/var/lib/extensions", "/usr/local/lib/extensions", "/usr/lib/extensions"}, []string{"usr", "opt"}},
	{[]string{"/etc/confexts", "/var/lib/confexts", "/usr/local/lib/confexts", "/usr/lib/confexts"}, []string{"etc"}},
}

// mutableDir has what is written while extensions are merged, laid over all of them. What
// leads to the machine's own directory is not laid over it.
const mutableDir = "/var/lib/extensions.mutable"

// extension is one system or configuration extension of a tree.
type extension struct {
	literal string
	tops    []string
	image   bool // a file, or a link to what the tree does not have
}

// extensions lists those of a tree.
func extensions(t rootfs.Tree) ([]extension, error) {
	var out []extension
	for _, kind := range extensionKinds {
		for _, dir := range kind.dirs {
			found, err := extensionsIn(t, dir, kind.tops, false)
			if err != nil {
				return nil, err
			}
			out = append(out, found...)
		}
	}
	if len(out) > maxExtensions {
		return nil, fmt.Errorf("%d system extensions, limit is %d", len(out), maxExtensions)
	}
	written, err := writtenOver(t)
	return append(out, written...), err
}

// writtenOver gives what was written while extensions were merged.
func writtenOver(t rootfs.Tree) ([]extension, error) {
	dir, err := rootfs.Resolve(t, mutableDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []extension
	for _, top := range []string{"usr", "opt", "etc"} {
		literal, err := rootfs.Resolve(t, path.Join(dir, top))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil && literal != "/"+top {
			out = append(out, extension{dir, []string{top}, false})
		}
	}
	return out, nil
}

// extensionsIn lists those of one directory, and of directories of versions in it, whose
// names end in ".v" (systemd.v(7)).
func extensionsIn(t rootfs.Tree, dir string, tops []string, versions bool) ([]extension, error) {
	literal, entries, err := readDir(t, dir)
	if err != nil {
		return nil, err
	}
	if len(entries) > maxExtensions {
		return nil, fmt.Errorf("%s: %d entries, limit is %d", dir, len(entries), maxExtensions)
	}
	var out []extension
	for _, e := range entries {
		if strings.HasPrefix(e.Name, ".") {
			continue
		}
		file := path.Join(literal, e.Name)
		target, err := rootfs.Resolve(t, file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		isDir := false
		if err == nil {
			info, err := t.Lstat(target)
			if err != nil {
				return nil, err
			}
			isDir = info.Mode.IsDir()
		}
		switch {
		case isDir && !versions && strings.HasSuffix(e.Name, ".v"):
			more, err := extensionsIn(t, target, tops, true)
			if err != nil {
				return nil, err
			}
			// Before version 256 systemd takes the directory for an extension itself.
			out = append(append(out, more...), extension{target, tops, false})
		case isDir:
			out = append(out, extension{target, tops, false})
		case target != "/dev/null" && (err != nil || strings.HasSuffix(e.Name, ".raw")):
			out = append(out, extension{file, tops, true})
		}
	}
	return out, nil
}

// extensionConflicts finds what in the directories of extensions would change or hide what
// is ours, and what of the machine's tree does so, once they are merged. known are those
// that the tree has without them.
func extensionConflicts(t rootfs.Tree, c Config, judge *ruleJudge, known []Conflict) ([]Conflict, error) {
	all, err := extensions(t)
	if err != nil {
		return nil, err
	}
	var out []Conflict
	seen := map[string]bool{}
	for _, x := range all {
		if x.image || seen[x.literal+x.tops[0]] {
			continue // or a link to one that was looked into
		}
		seen[x.literal+x.tops[0]] = true
		upper := layer{t, x}
		found, err := hidden(t, upper, c)
		if err != nil {
			return nil, err
		}
		more, err := conflictsIn(merged{t, upper}, c, judge)
		if err != nil {
			return nil, fmt.Errorf("cannot look into %s: %w", x.literal, err)
		}
		for _, f := range append(found, more...) {
			if slices.Contains(known, f) {
				continue
			}
			if f, err = upper.blamed(f); err != nil {
				return nil, err
			}
			if !slices.ContainsFunc(out, func(o Conflict) bool { return o.Path == f.Path }) {
				out = append(out, f)
			}
		}
	}
	return out, nil
}

// blamed says of a conflict in the merged tree where its file is: in the extension, or in
// the machine's tree, where it does nothing without the extension.
func (l layer) blamed(f Conflict) (Conflict, error) {
	_, err := l.Lstat(f.Path)
	if isAbsent(err) {
		return Conflict{f.Path, f.Why + ", once " + l.of.literal + " is merged"}, nil
	}
	return Conflict{path.Join(l.of.literal, f.Path), f.Why}, err
}

// hidden finds what in an extension lies at the place of a file of ours, or of a directory
// above it.
func hidden(t rootfs.Tree, upper layer, c Config) ([]Conflict, error) {
	names := []string{policy.Binary, policy.File}
	for _, f := range Files("", c) {
		names = append(names, f.Path)
	}
	var out []Conflict
	for _, name := range names {
		literal, err := rootfs.ResolveParent(t, name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		at, err := upper.hides(literal)
		if at == "" && err == nil {
			at, err = upper.covers(name)
		}
		if err != nil {
			return nil, err
		}
		if at != "" {
			out = append(out, Conflict{at, "the extension hides " + name + " with it"})
		}
	}
	return out, nil
}

// Unseen names what could change the gate and is not looked into: images of extensions, and
// generators of units where administrators put theirs.
func Unseen(t rootfs.Tree) ([]string, error) {
	all, err := extensions(t)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, x := range all {
		if x.image {
			out = append(out, x.literal+" is an extension that is not looked into: what it holds can hide or change the gate")
		}
	}
	for _, dir := range []string{"/etc/systemd/system-generators", "/usr/local/lib/systemd/system-generators"} {
		literal, entries, err := readDir(t, dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			file := path.Join(literal, e.Name)
			info, err := rootfs.Stat(t, file)
			if errors.Is(err, fs.ErrNotExist) || (err == nil && (!info.Mode.IsRegular() || info.Mode&0o111 == 0)) {
				continue // a mask, or nothing that is run
			}
			if err != nil {
				return nil, err
			}
			out = append(out, file+" makes units at boot, which cannot be seen here: what it makes can change the gate")
		}
	}
	return out, nil
}
