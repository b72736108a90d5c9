package pin

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// The files of dnf's versionlock plugin, and of dnf 5.
const (
	dnf4Locks = "/etc/dnf/plugins/versionlock.list"
	yumLocks  = "/etc/yum/pluginconf.d/versionlock.list"
	dnf5Locks = "/etc/dnf/versionlock.toml"
)

// lockedVersion is what one entry of a lock file lets a package be.
type lockedVersion struct {
	name    string // can be a glob
	line    int
	what    string
	allowed bool // some release that the pin allows
}

// versionlocks refuses locks that leave a kernel package nothing that the pin allows.
func (p *planner) versionlocks() error {
	for _, name := range []string{dnf4Locks, yumLocks, dnf5Locks} {
		data, err := p.read(name)
		if err != nil {
			return err
		}
		var locks []lockedVersion
		if name == dnf5Locks {
			locks, err = p.bounds.tomlLocks(data)
		} else {
			locks = p.bounds.listedLocks(data)
		}
		if err != nil {
			return fmt.Errorf("cannot read %s: %w", name, err)
		}
		for i, l := range locks {
			same := func(o lockedVersion) bool { return o.name == l.name }
			// Entries of one name are alternatives; each name is refused once.
			if slices.IndexFunc(locks, same) == i && !slices.ContainsFunc(locks, func(o lockedVersion) bool { return same(o) && o.allowed }) {
				p.refuse(Refusal{name, l.line, l.what + " is locked, and the pin allows only " + p.bounds.String(), "remove the lock, or change the pin"})
			}
		}
	}
	return nil
}

// isRPMKernel says whether a name, or a glob for names, is one that a pin is for.
func isRPMKernel(name string) bool {
	return slices.ContainsFunc(rpmKernels, func(glob string) bool {
		matched, err := path.Match(glob, name)
		return matched && err == nil || name == glob || name == "kernel*"
	})
}

// listedLocks parses the list of yum and dnf 4: one NAME-[EPOCH:]VERSION-RELEASE[.ARCH]
// a line, or EPOCH:NAME-VERSION-RELEASE; "!" excludes, which takes nothing that the pin
// needs but one version.
func (b bounds) listedLocks(data []byte) []lockedVersion {
	var out []lockedVersion
	for i, l := range linesOf(data) {
		text := strings.TrimSpace(l.text)
		if text == "" || text[0] == '#' || text[0] == '!' {
			continue
		}
		parts := strings.Split(text, "-")
		if len(parts) < 3 {
			continue
		}
		name, version := strings.Join(parts[:len(parts)-2], "-"), parts[len(parts)-2]
		if epoch, rest, found := strings.Cut(name, ":"); found && strings.Trim(epoch, "0123456789") == "" {
			name = rest
		}
		if isRPMKernel(name) {
			out = append(out, lockedVersion{name, i + 1, text, b.scopeOf(leadingNumbers(version)) != outside})
		}
	}
	return out
}

// tomlLocks parses the file of dnf 5: dnf5-versionlock(8).
func (b bounds) tomlLocks(data []byte) ([]lockedVersion, error) {
	var file struct {
		Packages []struct {
			Name       string `toml:"name"`
			Conditions []struct {
				Key        string `toml:"key"`
				Comparator string `toml:"comparator"`
				Value      string `toml:"value"`
			} `toml:"conditions"`
		} `toml:"packages"`
	}
	if _, err := toml.Decode(string(data), &file); err != nil {
		return nil, err
	}
	var headings []int
	for i, l := range linesOf(data) {
		if strings.ReplaceAll(strings.TrimSpace(l.text), " ", "") == "[[packages]]" {
			headings = append(headings, i+1)
		}
	}
	var out []lockedVersion
	for i, pkg := range file.Packages {
		if !isRPMKernel(pkg.Name) {
			continue
		}
		lock := lockedVersion{name: pkg.Name, what: pkg.Name, allowed: true}
		if i < len(headings) {
			lock.line = headings[i]
		}
		for _, c := range pkg.Conditions {
			lock.what += " " + c.Comparator + " " + c.Value
			lock.allowed = lock.allowed && (c.Key != "evr" || b.allows(c.Comparator, c.Value))
		}
		out = append(out, lock)
	}
	return out, nil
}
