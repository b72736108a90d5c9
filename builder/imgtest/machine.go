package imgtest

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/kerngate/kerngate/builder/machine"
)

// DefaultTimeout is the life of a machine without a timeout of its own, and how long a
// test waits for what it prints. It only ends what hangs: an emulated boot of half a
// minute takes several on a slow machine that has other work.
const DefaultTimeout = 20 * time.Minute

// MachineOptions say what to boot.
type MachineOptions = machine.Options

// Machine is a running machine with an image of mkimage, or one that is like it. Its
// methods are for one goroutine.
type Machine struct{ *machine.Machine }

// arguments are those of a kernel that is booted directly, before those of a test.
var arguments = slices.Concat(
	[]string{"root=/dev/vda2", "ro"},
	machine.Arguments(machine.AMD64),
	[]string{"norandmaps", "lsm="}, // halves the time of user space under emulation
)

// Boot starts a machine. The caller must Close it. The machine also ends with ctx.
// Without firmware, the kernel's root is the second partition.
func Boot(ctx context.Context, o MachineOptions) (*Machine, error) {
	o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	if !o.Firmware {
		o.Append = slices.Concat(arguments, o.Append)
	}
	m, err := machine.Boot(ctx, o)
	if err != nil {
		return nil, err
	}
	return &Machine{m}, nil
}

// Start is Boot for tests: the machine ends with the test.
func Start(t TB, o MachineOptions) *Machine {
	t.Helper()
	// Not the test's context: that ends before the clean-up, and the last console
	// lines would then say "stopped" instead of what went wrong.
	m, err := Boot(context.WithoutCancel(t.Context()), o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}
