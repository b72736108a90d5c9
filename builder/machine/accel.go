package machine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
)

// Accel is what runs the guest's processor.
type Accel string

// The accelerators.
const (
	Auto Accel = "auto" // KVM where it works, else TCG
	KVM  Accel = "kvm"
	TCG  Accel = "tcg" // QEMU's emulator
)

// ErrNoKVM is met when KVM is asked for and does not run a guest.
var ErrNoKVM = errors.New("KVM does not run a guest here")

// kvmProbe is how long a guest kernel may take to its first console line before
// hardware acceleration counts as broken. With it the line comes in a fraction of a
// second.
const kvmProbe = 5 * time.Second

// kvm holds the answer of the one probe in this process.
var kvm struct {
	once  sync.Once
	works bool
}

// choose finds the accelerator for a machine.
func choose(ctx context.Context, o Options) (Accel, error) {
	switch o.Accel {
	case TCG:
		return TCG, nil
	case KVM:
		if o.Kernel != "" && !kvmWorks(ctx, o) {
			return "", ErrNoKVM
		}
		return KVM, nil
	case Auto, "":
		if o.Kernel != "" && kvmWorks(ctx, o) {
			return KVM, nil
		}
		return TCG, nil
	default:
		return "", fmt.Errorf("accelerator is %q, want %s, %s or %s", o.Accel, Auto, KVM, TCG)
	}
}

// kvmWorks starts a guest kernel under KVM and waits for its first words: a /dev/kvm
// that opens, and even makes a virtual machine, can still hang the guest for ever.
func kvmWorks(ctx context.Context, o Options) bool {
	kvm.once.Do(func() { kvm.works = probeKVM(ctx, o) })
	return kvm.works
}

func probeKVM(ctx context.Context, o Options) bool {
	if string(cmp.Or(o.Arch, AMD64)) != runtime.GOARCH {
		return false
	}
	device, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	device.Close()
	return speaks(ctx, o, KVM, kvmProbe)
}

// speaks tells whether a kernel prints its version within a time.
func speaks(ctx context.Context, o Options, accel Accel, within time.Duration) bool {
	probe := Options{Arch: o.Arch, Kernel: o.Kernel, Memory: 256, Append: append(Arguments(o.Arch), systems[cmp.Or(o.Arch, AMD64)].early)}
	m, err := launch(ctx, probe, accel)
	if err != nil {
		return false
	}
	defer m.Close()
	_, err = m.Expect("Linux version", within)
	return err == nil
}
