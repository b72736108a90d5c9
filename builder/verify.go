package builder

import (
	"fmt"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/profiles"
)

// Check is one thing that a profile asks for, held against a tree.
type Check struct {
	What string `json:"what"` // a path, or a module
	OK   bool   `json:"ok"`
	Text string `json:"text"` // what it is for when OK, else what is wrong
	// Hint says what to do next where it is not OK and more than kerngate apply is needed.
	Hint string `json:"hint,omitempty"`
}

// Verification is how a tree stands to a profile.
type Verification struct {
	Profile  string   `json:"profile"`
	Digest   string   `json:"profile_digest"`
	Conforms bool     `json:"conforms"` // every check is OK
	Checks   []Check  `json:"checks"`
	Open     []string `json:"open"` // load paths that stay open, in words
	Warnings []string `json:"warnings"`
	// LoadPaths are all ways to load each of the profile's modules, by module and kernel.
	LoadPaths []LoadPath `json:"load_paths"`
	// Gate is what the gate will say of each kernel of the tree; empty without a gate.
	Gate []GateVerdict `json:"gate"`
}

// Verify holds a tree against a profile: everything wanted is there, unchanged,
// and nothing else in the tree takes its effect away.
func Verify(t rootfs.Tree, p profiles.Profile, tool string, source CheckerSource) (*Verification, error) {
	s, err := look(t, p)
	if err != nil {
		return nil, err
	}
	defer s.close()
	plan, obstacles, err := s.compare(p, tool, source)
	if err != nil {
		return nil, err
	}
	v := &Verification{Profile: p.Name, Digest: p.Digest(), LoadPaths: []LoadPath{}, Gate: []GateVerdict{}, Warnings: plan.Warnings}
	differs := map[string]Change{}
	for _, c := range plan.Changes {
		differs[c.Path] = c
	}
	for _, w := range plan.wanted {
		if c, bad := differs[w.literal]; bad {
			v.fail(w.literal, fmt.Sprintf("it is %s, want %s", c.Before, c.After))
			delete(differs, w.literal)
			continue
		}
		v.Checks = append(v.Checks, Check{What: w.literal, OK: true, Text: w.reason})
	}
	for _, c := range plan.Changes {
		if _, left := differs[c.Path]; left {
			v.fail(c.Path, orElse(c.missed, fmt.Sprintf("it is %s, want %s: %s", c.Before, c.After, c.Reason)))
		}
	}
	for _, o := range obstacles {
		v.fail(o.what, o.why)
		v.Checks[len(v.Checks)-1].Hint = o.advice
	}
	if err := v.addPaths(s, p); err != nil {
		return nil, err
	}
	v.Conforms = v.failures() == 0
	return v, nil
}

// fail adds a failed check; one that was counted as fine before loses that.
func (v *Verification) fail(what, why string) {
	kept := v.Checks[:0]
	for _, c := range v.Checks {
		if !c.OK || c.What != what {
			kept = append(kept, c)
		}
	}
	v.Checks = append(kept, Check{What: what, Text: why})
}

func (v *Verification) failures() int {
	n := 0
	for _, c := range v.Checks {
		if !c.OK {
			n++
		}
	}
	return n
}

// addPaths looks at every way to load a module of the profile on every kernel.
func (v *Verification) addPaths(s *surrounding, p profiles.Profile) error {
	machines, err := s.machines()
	if err != nil {
		return err
	}
	for _, m := range p.Modules {
		closed, failed := 0, false
		for _, k := range machines {
			paths, err := k.paths(m.Known)
			if err != nil {
				return err
			}
			k.wants(paths, m)
			for _, l := range paths {
				if l.Open() && l.Wanted {
					v.fail(m.Name, fmt.Sprintf("kernel %s: %s is open: %s", l.Kernel, l.Path, l.By))
					failed = true
				} else if !l.Open() {
					closed++
				}
			}
			v.LoadPaths = append(v.LoadPaths, paths...)
		}
		if closed > 0 && !failed {
			v.Checks = append(v.Checks, Check{What: m.Name, OK: true, Text: fmt.Sprintf("closed load paths: %d", closed)})
		}
	}
	v.Open = openPaths(v.LoadPaths)
	return v.addGate(s, p)
}

// addGate adds a check for each kernel that the gate will let through; the others are
// among the warnings, or failed already.
func (v *Verification) addGate(s *surrounding, p profiles.Profile) error {
	verdicts, err := s.gate(p)
	if err != nil {
		return err
	}
	for _, g := range verdicts {
		if g.Pass {
			v.Checks = append(v.Checks, Check{What: "kernel " + g.Kernel, OK: true, Text: orElse(strings.Join(g.Why, "; "), "the gate lets it through")})
		}
	}
	v.Gate = append(v.Gate, verdicts...)
	return v.addMenus(s, p)
}

// addMenus holds against the gate's verdicts what the boot loaders start by default.
func (v *Verification) addMenus(s *surrounding, p profiles.Profile) error {
	if mode := p.Kernel.Pin.BootBelowFloor; mode == "" || mode == profiles.BootKeep || s.external {
		return nil // a warning of the plan says what there is to say
	}
	fine, faults, err := s.menuDefaults(p)
	for _, text := range fine {
		v.Checks = append(v.Checks, Check{What: "boot menu", OK: true, Text: text})
	}
	for _, fault := range faults {
		v.fail("boot menu", fault)
		v.Checks[len(v.Checks)-1].Hint = menuAdvice
	}
	return err
}

// openPaths names the ways that stay open, a line for each kernel and way.
func openPaths(all []LoadPath) []string {
	out := []string{}
	modules := map[string][]string{}
	for _, l := range all {
		if !l.Open() {
			continue
		}
		key := l.Path + " on kernel " + l.Kernel
		if modules[key] == nil {
			out = append(out, key)
		}
		modules[key] = append(modules[key], l.Module)
	}
	for i, key := range out {
		out[i] = key + ": " + strings.Join(modules[key], ", ")
	}
	return out
}
