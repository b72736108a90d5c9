package profiles

import "testing"

func TestStricterPin(t *testing.T) {
	for _, c := range []struct {
		name       string
		a, b, want Pin
	}{
		{"none said", Pin{}, Pin{}, Pin{}},
		{"first said", Pin{Mode: PinFloor}, Pin{}, Pin{Mode: PinFloor}},
		{"second said", Pin{}, Pin{Mode: PinNone}, Pin{Mode: PinNone}},
		{"none does not loosen", Pin{Mode: PinFloor}, Pin{Mode: PinNone}, Pin{Mode: PinFloor}},
		{"exact is stricter than branch", Pin{Mode: PinBranch}, Pin{Mode: PinExact}, Pin{Mode: PinExact}},
		{"branch is stricter than floor", Pin{Mode: PinBranch}, Pin{Mode: PinFloor}, Pin{Mode: PinBranch}},
		{"lower ceiling", Pin{Mode: PinFloor, Ceiling: "8.0"}, Pin{Mode: PinFloor, Ceiling: "7.2"}, Pin{Mode: PinFloor, Ceiling: "7.2"}},
		{"ceiling stays", Pin{Mode: PinFloor, Ceiling: "7.2"}, Pin{Mode: PinBranch}, Pin{Mode: PinBranch, Ceiling: "7.2"}},
		{"demote is stricter than nothing", Pin{}, Pin{BootBelowFloor: BootDemote}, Pin{BootBelowFloor: BootDemote}},
		{"remove is stricter than demote", Pin{BootBelowFloor: BootDemote}, Pin{BootBelowFloor: BootRemove}, Pin{BootBelowFloor: BootRemove}},
		{"keep does not loosen", Pin{Mode: PinFloor, BootBelowFloor: BootRemove}, Pin{BootBelowFloor: BootKeep}, Pin{Mode: PinFloor, BootBelowFloor: BootRemove}},
	} {
		if got := stricterPin(c.a, c.b); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}
