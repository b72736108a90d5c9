package builder

import (
	"fmt"
	"io/fs"

	"github.com/kerngate/kerngate/builder/pin"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/initcheck/kver"
	"github.com/kerngate/kerngate/profiles"
)

// pinWant is the pin that a profile asks for.
func pinWant(p profiles.Profile) (pin.Want, error) {
	w := pin.Want{Mode: pin.None, Header: header(p)}
	if p.Kernel.Pin.Mode == "" || p.Kernel.Pin.Mode == string(pin.None) {
		return w, nil
	}
	floor, err := kver.ParseFloor(p.Kernel.Floor)
	if err != nil {
		return w, fmt.Errorf("kernel.pin needs kernel.floor: %w", err)
	}
	w.Mode, w.Floor = pin.Mode(p.Kernel.Pin.Mode), pin.Release(floor)
	if p.Kernel.Pin.Ceiling != "" {
		ceiling, err := kver.ParseFloor(p.Kernel.Pin.Ceiling)
		if err != nil {
			return w, fmt.Errorf("kernel.pin.ceiling: %w", err)
		}
		w.Ceiling = pin.Release(ceiling)
	}
	return w, nil
}

// pinned is what keeps the package managers of a tree in the range of a profile: files
// of our own, and words in files of others.
func pinned(t rootfs.Tree, p profiles.Profile, old *Manifest) (own []wanted, out []splice, result pin.Result, err error) {
	added := map[string]string{}
	for _, e := range old.entries() {
		if e.Op == opPin {
			added[e.Path] = e.Added
		}
	}
	want, err := pinWant(p)
	if err != nil {
		return nil, nil, result, err
	}
	if want.Mode == pin.None {
		result.Files, err = pin.Remove(t, added)
	} else {
		result, err = pin.Plan(t, want, added)
	}
	if err != nil {
		return nil, nil, result, fmt.Errorf("cannot pin the kernel: %w", err)
	}
	for _, f := range result.Files {
		if f.Ours {
			own = append(own, wanted{path: f.Path, op: rootfs.WriteFile, mode: f.Mode & fs.ModePerm, data: f.Data, reason: "keep " + f.Manager + " from kernels outside of the pin"})
		} else {
			out = append(out, pinSplice(f))
		}
	}
	return own, out, result, nil
}

// pinSplice is a change to a package manager's own file.
func pinSplice(f pin.File) splice {
	s := splice{path: f.Path, op: opPin, added: f.Added, reason: "keep " + f.Manager + " from kernels outside of the pin", missed: f.Lacks}
	if f.Added == "" {
		s.reason = "the profile no longer asks for it"
	}
	switch {
	case f.Delete:
		s.edit = &rootfs.Edit{Op: rootfs.Remove}
	case f.Changed:
		s.edit = &rootfs.Edit{Op: rootfs.WriteFile, Data: f.Data}
	}
	return s
}

// pinSplices are the changes to files of others.
func (s *surrounding) pinSplices(p profiles.Profile, old *Manifest) ([]splice, []obstacle, error) {
	_, out, result, err := pinned(s.tree, p, old)
	var bad []obstacle
	for _, r := range result.Refusals {
		bad = append(bad, obstacle{r.Path, r.Error(), orElse(r.Hint, "see to what the message names")})
	}
	s.pinWarnings = result.Warnings
	return out, bad, err
}
