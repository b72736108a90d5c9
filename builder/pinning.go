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

// pinSplices keep the package managers of a tree in the range of a profile: by files of
// our own, which are noted, and by words in files of others.
func (s *surrounding) pinSplices(p profiles.Profile, old *Manifest) (out []splice, bad []obstacle, err error) {
	added := map[string]string{}
	for _, e := range old.entries() {
		if e.Op == opPin {
			added[e.Path] = e.Added
		}
	}
	want, err := pinWant(p)
	if err != nil {
		return nil, nil, err
	}
	var result pin.Result
	if want.Mode == pin.None {
		result.Files, err = pin.Remove(s.tree, added)
	} else {
		result, err = pin.Plan(s.tree, want, added)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cannot pin the kernel: %w", err)
	}
	for _, f := range result.Files {
		if f.Ours {
			s.own = append(s.own, wanted{path: f.Path, op: rootfs.WriteFile, mode: f.Mode & fs.ModePerm, data: f.Data, reason: "keep " + f.Manager + " from kernels outside of the pin"})
		} else {
			out = append(out, pinSplice(f))
		}
	}
	for _, r := range result.Refusals {
		bad = append(bad, obstacle{r.Path, r.Error(), orElse(r.Hint, "see to what the message names")})
	}
	s.pinWarnings = result.Warnings
	return out, bad, nil
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
