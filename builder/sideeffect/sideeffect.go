package sideeffect

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/packages"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/profiles"
)

// Effect is something that stops working.
type Effect struct {
	Accept   profiles.Accept `json:"accept"`  // the word that accepts it
	Certain  bool            `json:"certain"` // false: it may not be in use
	Modules  []string        `json:"modules"` // blocked modules that are missed, sorted
	Who      string          `json:"who"`     // "strongSwan", "module esp4_offload"
	Evidence []string        `json:"evidence"`
	Breaks   string          `json:"breaks"` // what happens, a sentence without its full stop
}

// Query is what shall be blocked, and what is known beside the tree.
type Query struct {
	Blocked []string // module names, spelt as in /proc/modules
	// CommandLines are those of the boot entries.
	CommandLines []CommandLine
}

// CommandLine is a kernel command line and where it stands.
type CommandLine struct {
	Where string // "/boot/loader/entries/a.conf"
	Text  string
}

// Report is what was found.
type Report struct {
	// Effects are in the order of the table, each family's other users behind.
	Effects []Effect
	// Unread are files and databases that could tell more and were not read, with the reason.
	Unread []string
}

// Refused gives the certain effects that are not accepted.
func (r Report) Refused(accepted []profiles.Accept) []Effect {
	var out []Effect
	for _, e := range r.Effects {
		if e.Certain && !slices.Contains(accepted, e.Accept) {
			out = append(out, e)
		}
	}
	return out
}

// Find looks for everybody who would miss a blocked module.
func Find(t rootfs.Tree, table profiles.SideEffects, q Query) (Report, error) {
	if len(q.Blocked) == 0 {
		return Report{}, nil
	}
	installed, err := packages.List(t)
	if err != nil {
		return Report{}, err
	}
	units, err := readUnits(t)
	if err != nil {
		return Report{}, fmt.Errorf("cannot read units: %w", err)
	}
	f := &finder{tree: t, table: table, query: q, installed: installed, units: units, search: &searcher{tree: t}, loaded: map[string]bool{}}
	for _, database := range installed.Unread {
		f.search.unread = append(f.search.unread, database+": RPM databases are not read")
	}
	for _, step := range []func() error{f.users, f.loaders, f.dependants} {
		if err := step(); err != nil {
			return Report{}, err
		}
	}
	if len(f.effects) > maxEffects {
		return Report{}, fmt.Errorf("more than %d side effects", maxEffects)
	}
	slices.Sort(f.search.unread)
	return Report{Effects: f.effects, Unread: slices.Compact(f.search.unread)}, nil
}

type finder struct {
	tree      rootfs.Tree
	table     profiles.SideEffects
	query     Query
	installed packages.Installed
	units     units
	search    *searcher
	effects   []Effect
	loaded    map[string]bool // literal paths of lists of modules that were read
}

// blocked gives those of the modules that shall be blocked, sorted.
func (f *finder) blocked(modules []string) []string {
	var out []string
	for _, m := range modules {
		if slices.Contains(f.query.Blocked, m) {
			out = append(out, m)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// family is the first one that a module is in.
func (f *finder) family(module string) profiles.EffectFamily {
	for _, family := range f.table.Families {
		if slices.Contains(family.Modules, module) {
			return family
		}
	}
	return profiles.EffectFamily{}
}

// users looks for each user of the table that needs a blocked module.
func (f *finder) users() error {
	for _, u := range f.table.Users {
		missed := f.blocked(u.Modules)
		if len(missed) == 0 {
			continue
		}
		found, err := f.user(u)
		if err != nil {
			return fmt.Errorf("cannot look for %s: %w", u.Name, err)
		}
		if found.present(u) {
			f.effects = append(f.effects, Effect{
				Accept: u.Accept, Certain: found.certain(u), Modules: missed,
				Who: u.Name, Evidence: found.all(), Breaks: u.Breaks,
			})
		}
	}
	return nil
}

// found is the evidence for one user, by how much it tells.
type found struct {
	used, started, configured, installed []string
}

// user collects evidence.
func (f *finder) user(u profiles.ModuleUser) (found, error) {
	var out found
	for _, line := range f.query.CommandLines {
		if u.Boot != "" && bootWord(line.Text, u.Boot) {
			out.used = append(out.used, fmt.Sprintf("%s: %s", line.Where, u.Boot))
		}
	}
	for _, name := range u.Packages {
		for _, p := range f.installed.Named(name) {
			out.installed = append(out.installed, fmt.Sprintf("package %s %s", p.Name, p.Version))
		}
	}
	for _, name := range u.Units {
		switch unit := f.units[name]; {
		case unit.startedBy != "" && !unit.masked:
			out.started = append(out.started, fmt.Sprintf("%s starts at boot: %s", name, unit.startedBy))
		case unit.path != "" && !unit.masked:
			out.installed = append(out.installed, fmt.Sprintf("%s, which does not start at boot", unit.path))
		}
	}
	for _, s := range u.Signs {
		evidence, err := f.search.sign(s)
		if err != nil {
			return out, err
		}
		switch s.Proves {
		case profiles.Used:
			out.used = append(out.used, evidence...)
		case profiles.Configured:
			out.configured = append(out.configured, evidence...)
		default:
			out.installed = append(out.installed, evidence...)
		}
	}
	return out, nil
}

// present says whether there is a user. Of what comes in packages or has a unit, a
// configuration alone is an example, or left over from a package that was removed.
func (e found) present(u profiles.ModuleUser) bool {
	alone := len(u.Packages)+len(u.Units) == 0
	return len(e.used)+len(e.started)+len(e.installed) > 0 || alone && len(e.configured) > 0
}

func (e found) certain(u profiles.ModuleUser) bool {
	return len(e.used) > 0 || len(e.started) > 0 && (u.EnabledIsUse || len(e.configured) > 0)
}

// all puts what tells most first.
func (e found) all() []string {
	lines := slices.Concat(e.used, e.started, e.configured, e.installed)
	if more := len(lines) - maxEvidence; more > 0 {
		lines = append(lines[:maxEvidence], fmt.Sprintf("and %d more", more))
	}
	return lines
}

// bootWord says whether a word stands on a command line and no later word of the same
// key undoes it: the kernel takes them in turn.
func bootWord(line, word string) bool {
	key, _, _ := strings.Cut(word, "=")
	stands := false
	for _, w := range strings.Fields(line) {
		if w == "--" {
			break
		}
		if k, _, _ := strings.Cut(strings.Trim(w, `"`), "="); k == key {
			stands = strings.Trim(w, `"`) == word
		}
	}
	return stands
}
