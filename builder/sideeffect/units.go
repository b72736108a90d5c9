package sideeffect

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// unitState is what becomes of one unit at boot.
type unitState struct {
	path      string // of its file: the one that counts; empty where there is none
	masked    bool
	enabled   bool   // by a link of the administrator: "systemctl is-enabled" says so
	startedBy string // path of a link that starts it at boot, the distribution's included
}

type units map[string]unitState

// unitDirs are systemd's directories in a tree that is not running, by rank:
// systemd.unit(5), "Unit File Load Path".
var unitDirs = []string{
	"/etc/systemd/system.control", "/etc/systemd/system",
	"/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
}

// enableDir is where "systemctl enable" makes its links.
const enableDir = "/etc/systemd/system"

// readUnits reads the unit directories, and then what starts services that have no unit.
func readUnits(t rootfs.Tree) (units, error) {
	r := &unitReader{tree: t, units: units{}, seen: map[string]bool{}}
	for _, dir := range unitDirs {
		if err := r.directory(dir, dir == enableDir); err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
	}
	native := map[string]bool{}
	for name, u := range r.units {
		if u.path == "" {
			// Links to a unit that is gone start nothing.
			delete(r.units, name)
			continue
		}
		native[name] = true
	}
	return r.units, r.scripts(native)
}

type unitReader struct {
	tree    rootfs.Tree
	units   units
	seen    map[string]bool // literal directories: /lib can be a link to /usr/lib
	entries int
}

// read lists a directory once; what is missing or is no directory is empty.
func (r *unitReader) read(dir string) (string, []rootfs.Entry, error) {
	literal, err := rootfs.Resolve(r.tree, dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && r.seen[literal] {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	r.seen[literal] = true
	if info, err := r.tree.Lstat(literal); err != nil || !info.Mode.IsDir() {
		return "", nil, err
	}
	entries, err := r.tree.ReadDir(literal)
	if r.entries += len(entries); r.entries > maxUnits {
		return "", nil, fmt.Errorf("more than %d entries in all unit directories", maxUnits)
	}
	return literal, entries, err
}

func (r *unitReader) directory(dir string, administrator bool) error {
	literal, entries, err := r.read(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(literal, e.Name)
		switch ext := path.Ext(e.Name); {
		case ext == ".wants" || ext == ".requires" || ext == ".upholds":
			err = r.links(name, administrator)
		case e.Type == 0 || e.Type == fs.ModeSymlink:
			err = r.file(name, e, administrator)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// links reads what one unit pulls in. A link's own name counts, not its target's.
func (r *unitReader) links(dir string, administrator bool) error {
	literal, entries, err := r.read(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type != fs.ModeSymlink {
			continue
		}
		u := r.units[e.Name]
		u.enabled = u.enabled || administrator
		if u.startedBy == "" {
			u.startedBy = path.Join(literal, e.Name)
		}
		r.units[e.Name] = u
	}
	return nil
}

// file takes a unit file, or the link that stands for one. One of higher rank was seen
// before.
func (r *unitReader) file(name string, e rootfs.Entry, administrator bool) error {
	u := r.units[e.Name]
	if u.path != "" || u.masked {
		return nil
	}
	info, err := r.tree.Lstat(name)
	if err != nil {
		return err
	}
	u.path, u.masked = name, e.Type == 0 && info.Size == 0
	if e.Type == fs.ModeSymlink {
		target, err := r.tree.Readlink(name)
		if err != nil {
			return err
		}
		switch base := path.Base(target); {
		case target == "/dev/null":
			u.masked = true
		case base != e.Name && administrator:
			// An alias of the administrator: as good as enabled, since only enabling makes one.
			other := r.units[base]
			other.enabled = true
			if other.startedBy == "" {
				other.startedBy = name
			}
			r.units[base] = other
		}
	}
	r.units[e.Name] = u
	return nil
}

// scripts reads what starts the services of OpenRC and System V: links by the
// service's name, without the ending that units have. With a unit of the name, systemd
// heeds the unit alone: systemd-sysv-generator(8).
func (r *unitReader) scripts(native map[string]bool) error {
	runlevels := []string{"/etc/runlevels/boot", "/etc/runlevels/default", "/etc/runlevels/sysinit"}
	for _, dir := range append(runlevels, "/etc/rcS.d", "/etc/rc2.d", "/etc/rc3.d", "/etc/rc5.d") {
		literal, entries, err := r.read(dir)
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		for _, e := range entries {
			name, ok := e.Name, true
			if strings.HasPrefix(dir, "/etc/rc") {
				name, ok = sysv(e.Name)
			}
			name += ".service"
			if u := r.units[name]; ok && !native[name] && u.startedBy == "" {
				u.startedBy = path.Join(literal, e.Name)
				r.units[name] = u
			}
		}
	}
	return nil
}

// sysv takes the name out of a link that starts a service: S, two digits, the name.
func sysv(link string) (string, bool) {
	if len(link) < 4 || link[0] != 'S' || link[1] < '0' || link[1] > '9' || link[2] < '0' || link[2] > '9' {
		return "", false
	}
	return link[3:], true
}
