package packages

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// Package is one installed package.
type Package struct {
	Name     string `json:"name"`
	Version  string `json:"version"` // as the database has it: with epoch and revision
	Arch     string `json:"arch"`    // in the distribution's words; empty where the database does not say
	Database string `json:"database"`
}

// Installed is what the databases of a tree say.
type Installed struct {
	// Packages are by name, then architecture and version.
	Packages []Package
	// Unread are the paths of databases that are there and in a form that we do not read.
	Unread []string
}

// Named gives the packages of a name: several where a package is installed for
// several architectures.
func (in Installed) Named(name string) []Package {
	first, _ := slices.BinarySearchFunc(in.Packages, name, func(p Package, name string) int {
		return strings.Compare(p.Name, name)
	})
	last := first
	for last < len(in.Packages) && in.Packages[last].Name == name {
		last++
	}
	return in.Packages[first:last]
}

// rpmDatabases are the places of RPM's database: rpmdb(8), and where ostree and newer
// distributions keep it.
var rpmDatabases = []string{"/usr/lib/sysimage/rpm", "/var/lib/rpm", "/usr/share/rpm"}

// List reads every database that it finds. A tree without any has no packages, which is
// no error; a database that does not parse is one.
func List(t rootfs.Tree) (Installed, error) {
	l := &lister{tree: t, seen: map[string]bool{}}
	steps := []struct {
		name string
		read func(string) error
	}{
		{"/var/lib/dpkg/status", func(name string) error { return l.stream(name, l.dpkg(false)) }},
		{"/var/lib/dpkg/status.d", l.statusDirectory},
		{"/usr/lib/apk/db/installed", func(name string) error { return l.stream(name, l.apk) }},
		{"/lib/apk/db/installed", func(name string) error { return l.stream(name, l.apk) }},
		{"/var/lib/pacman/local", l.pacman},
	}
	for _, s := range steps {
		if err := l.once(s.name, s.read); err != nil {
			return Installed{}, fmt.Errorf("cannot read the package database %s: %w", s.name, err)
		}
	}
	if err := l.rpm(); err != nil {
		return Installed{}, err
	}
	slices.SortFunc(l.out.Packages, func(a, b Package) int {
		return strings.Compare(a.Name+"\x00"+a.Arch+"\x00"+a.Version, b.Name+"\x00"+b.Arch+"\x00"+b.Version)
	})
	return l.out, nil
}

type lister struct {
	tree rootfs.Tree
	seen map[string]bool // literal paths: /lib can be a link to /usr/lib
	out  Installed
}

// once calls read with the literal path of what name leads to, if there is anything
// and it was not read under another name.
func (l *lister) once(name string, read func(string) error) error {
	literal, err := rootfs.Resolve(l.tree, name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && l.seen[literal] {
		return nil
	}
	if err != nil {
		return err
	}
	l.seen[literal] = true
	return read(literal)
}

// stream hands a database file to a parser.
func (l *lister) stream(name string, parse func(string, io.Reader) error) error {
	f, err := l.tree.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if f.Size() > maxStatus {
		return fmt.Errorf("size is %d bytes, limit is %d", f.Size(), maxStatus)
	}
	return parse(name, io.NewSectionReader(f, 0, f.Size()))
}

// add keeps a package, if its words can be those of one.
func (l *lister) add(p Package) error {
	for what, word := range map[string]string{"name": p.Name, "version": p.Version, "architecture": p.Arch} {
		if len(word) > maxName || strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return fmt.Errorf("%s %.80q is no word of printable characters", what, word)
		}
	}
	if p.Name == "" || p.Version == "" {
		return fmt.Errorf("package has name %q and version %q, want both", p.Name, p.Version)
	}
	if len(l.out.Packages) == maxPackages {
		return fmt.Errorf("more than %d packages", maxPackages)
	}
	l.out.Packages = append(l.out.Packages, p)
	return nil
}

// statusDirectory reads the status files of distroless images, one for each package.
func (l *lister) statusDirectory(dir string) error {
	entries, err := l.tree.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type.IsRegular() || strings.HasSuffix(e.Name, ".md5sums") {
			continue
		}
		if err := l.stream(path.Join(dir, e.Name), l.dpkg(true)); err != nil {
			return fmt.Errorf("%s: %w", e.Name, err)
		}
	}
	return nil
}

// pacman takes the packages' directories apart from behind, as pacman does: a name can
// have dashes, a version and a release cannot.
func (l *lister) pacman(dir string) error {
	entries, err := l.tree.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		words := strings.Split(e.Name, "-")
		if !e.Type.IsDir() || len(words) < 3 {
			continue
		}
		at := len(words) - 2
		p := Package{Name: strings.Join(words[:at], "-"), Version: strings.Join(words[at:], "-"), Database: dir}
		if err := l.add(p); err != nil {
			return err
		}
	}
	return nil
}

// rpm only notes that a database is there.
func (l *lister) rpm() error {
	for _, dir := range rpmDatabases {
		for _, file := range []string{"rpmdb.sqlite", "Packages.db", "Packages"} {
			err := l.once(path.Join(dir, file), func(literal string) error {
				l.out.Unread = append(l.out.Unread, literal)
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
