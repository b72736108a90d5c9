package profiles

import (
	"slices"

	"github.com/kerngate/kerngate/initcheck/kver"
)

// Pin keeps the package manager of the image in a range of kernels, and its boot loaders
// with the kernels that the gate lets through.
type Pin struct {
	Mode    string `json:"mode,omitempty"`    // one of the words below; empty: no pin
	Ceiling string `json:"ceiling,omitempty"` // the first release that is not allowed any more; empty: none
	// BootBelowFloor is what becomes of the boot entries of other kernels; empty: keep.
	BootBelowFloor string `json:"boot_below_floor,omitempty"`
}

// How far the kernel may move, from loose to strict.
const (
	PinNone   = "none"
	PinFloor  = "floor"  // the floor and everything later
	PinBranch = "branch" // the floor and what is later in its branch
	PinExact  = "exact"  // the floor's release only
)

// What becomes of the boot entries of kernels that the gate refuses, from loose to strict.
const (
	BootKeep   = "keep"   // the boot menu stays as it is
	BootDemote = "demote" // they stay, and start only when somebody chooses them
	BootRemove = "remove"
)

var bootModes = []string{BootKeep, BootDemote, BootRemove}

var pinModes = []string{PinNone, PinFloor, PinBranch, PinExact}

// pinFields are the keys of [kernel.pin].
var pinFields = []field{
	{key: "mode", kind: kindString, check: oneOf(pinModes...)},
	{key: "ceiling", kind: kindString, check: checkFloor},
	{key: "boot_below_floor", kind: kindString, check: oneOf(bootModes...)},
}

func pinOf(value any) Pin {
	values, _ := value.(map[string]any)
	return Pin{Mode: stringOf(values["mode"]), Ceiling: stringOf(values["ceiling"]), BootBelowFloor: stringOf(values["boot_below_floor"])}
}

// stricterPin takes the stricter modes and the lower ceiling.
func stricterPin(a, b Pin) Pin {
	// A word that is not known has its finding already, and reads as none.
	if slices.Index(pinModes, b.Mode) > slices.Index(pinModes, a.Mode) {
		a.Mode = b.Mode
	}
	if slices.Index(bootModes, b.BootBelowFloor) > slices.Index(bootModes, a.BootBelowFloor) {
		a.BootBelowFloor = b.BootBelowFloor
	}
	ra, errA := kver.ParseFloor(a.Ceiling)
	rb, errB := kver.ParseFloor(b.Ceiling)
	if errB == nil && (errA != nil || kver.Compare(rb, ra) < 0) {
		a.Ceiling = b.Ceiling
	}
	return a
}
