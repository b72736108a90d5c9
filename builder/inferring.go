package builder

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/inference"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/builder/unit"
	"github.com/kerngate/kerngate/profiles"
)

// UnitFacts is a unit of the tree that looks like an inference server, or starts containers
// or pods.
type UnitFacts struct {
	inference.Unit
	Gated   bool   `json:"gated"`              // a drop-in of ours holds it back
	GatedBy string `json:"gated_by,omitempty"` // that drop-in
}

// readUnits lists the units of a tree. It goes by the drop-ins that are there, whatever
// profile they are from.
func readUnits(t rootfs.Tree) ([]UnitFacts, error) {
	found, err := inference.Find(t, profiles.KnownServers())
	if err != nil {
		return nil, fmt.Errorf("cannot look for inference units: %w", err)
	}
	out := make([]UnitFacts, 0, len(found))
	for _, u := range found {
		facts := UnitFacts{Unit: u}
		if facts.GatedBy, err = gatingDropIn(t, u); err != nil {
			return nil, err
		}
		facts.Gated = facts.GatedBy != ""
		out = append(out, facts)
	}
	return out, nil
}

// gatingDropIn finds our drop-in that a unit's manager reads: the system's, or a user's.
func gatingDropIn(t rootfs.Tree, u inference.Unit) (string, error) {
	dropIn := unit.DropInPath
	if u.Manager != inference.System {
		dropIn = unit.UserDropInPath
	}
	for _, name := range u.DropIns {
		if found, err := rootfs.Exists(t, dropIn(name)); found || err != nil {
			return dropIn(name), err
		}
	}
	return "", nil
}

// ungated finds inference units of the tree that the profile does not hold back: as
// obstacles, or as warnings those that it excepts.
func ungated(t rootfs.Tree, p profiles.Profile) (found []obstacle, warnings []string, err error) {
	// What the profile gates is an inference unit by that alone: its sockets count.
	table := append(profiles.KnownServers(), profiles.Server{Name: "named by the profile", Class: profiles.ClassInference, Units: p.Gate.Units})
	units, err := inference.Find(t, table)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot look for inference units: %w", err)
	}
	gated := func(u inference.Unit) bool {
		return slices.ContainsFunc(u.DropIns, func(n string) bool { return slices.Contains(p.Gate.Units, n) })
	}
	type managed struct{ manager, name string }
	held := map[managed]bool{} // services that are gated
	for _, u := range units {
		if gated(u) {
			held[managed{u.Manager, u.Name}] = true
		}
	}
	for _, u := range units {
		starts := held[managed{u.Manager, u.Starts}]
		must := u.Class == profiles.ClassInference || starts
		switch {
		case !must || u.Masked:
		case gated(u) && u.Manager != inference.System:
			warnings = append(warnings, fmt.Sprintf("%s (%s) is a unit of users: the gate holds back its start, a breach does not stop it, and its user can override the drop-in", u.Name, u.Path))
		case gated(u):
		case p.Gate.Excepts(u.Name):
			warnings = append(warnings, fmt.Sprintf("%s (%s) is not held back by the gate: the profile excepts it", u.Name, u.Path))
		default:
			found = append(found, ungatedUnit(u, starts))
		}
	}
	return found, warnings, nil
}

// ungatedUnit says what is wrong with a unit that nothing holds back, and what to do.
func ungatedUnit(u inference.Unit, socketOfGated bool) obstacle {
	why := fmt.Sprintf("%s looks like an inference server (%s: %s), and the gate does not hold it back", u.Name, u.Server, strings.Join(u.Evidence, "; "))
	if socketOfGated {
		why = fmt.Sprintf("%s starts %s, which the gate holds back: without the gate it accepts connections that nobody answers, and fails", u.Name, u.Starts)
	}
	return obstacle{u.Path, why, fmt.Sprintf("add %q to units in [gate] of the profile, or to except if it may start whatever the gate says", u.Name)}
}
