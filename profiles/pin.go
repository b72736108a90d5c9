package profiles

import (
	"slices"

	"github.com/kerngate/kerngate/initcheck/kver"
)

// Pin keeps the package manager of the image in a range of kernels.
type Pin struct {
	Mode    string `json:"mode,omitempty"`    // one of the words below; empty: no pin
	Ceiling string `json:"ceiling,omitempty"` // the first release that is not allowed any more; empty: none
}

// How far the kernel may move, from loose to strict.
const (
	PinNone   = "none"
	PinFloor  = "floor"  // the floor and everything later
	PinBranch = "branch" // the floor and what is later in its branch
	PinExact  = "exact"  // the floor's release only
)

var pinModes = []string{PinNone, PinFloor, PinBranch, PinExact}

// pinFields are the keys of [kernel.pin].
var pinFields = []field{
	{key: "mode", kind: kindString, required: true, check: oneOf(pinModes...)},
	{key: "ceiling", kind: kindString, check: checkFloor},
}

func pinOf(value any) Pin {
	values, _ := value.(map[string]any)
	return Pin{Mode: stringOf(values["mode"]), Ceiling: stringOf(values["ceiling"])}
}

// stricterPin takes the stricter mode and the lower ceiling.
func stricterPin(a, b Pin) Pin {
	// A word that is not known has its finding already, and reads as none.
	if slices.Index(pinModes, b.Mode) > slices.Index(pinModes, a.Mode) {
		a.Mode = b.Mode
	}
	ra, errA := kver.ParseFloor(a.Ceiling)
	rb, errB := kver.ParseFloor(b.Ceiling)
	if errB == nil && (errA != nil || kver.Compare(rb, ra) < 0) {
		a.Ceiling = b.Ceiling
	}
	return a
}
