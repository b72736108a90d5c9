package machine

import (
	"context"
	"os"
	"sync"
	"time"
)

// kvmProbe is how long a guest kernel may take to its first console line before
// hardware acceleration counts as broken. With it the line comes in a fraction of a
// second.
const kvmProbe = 5 * time.Second

// emulation is the quickest way measured to run without hardware help: cmpxchg16b and
// the many instructions of "-cpu max" cost the emulator more than they save the guest.
// One processor: with two, a Linux 7.2 guest on a busy machine was seen to die in an
// "int3" oops, because one emulated processor ran an instruction that the other had
// just patched. With two machines at a time on two cores it is as quick.
var emulation = []string{"-accel", "tcg,tb-size=512", "-cpu", "qemu64,-cx16", "-smp", "1"}

var hardware = []string{"-accel", "kvm", "-cpu", "host", "-smp", "2"}

// kvm holds the answer of the one probe in this process.
var kvm struct {
	once  sync.Once
	works bool
}

// kvmWorks starts a guest kernel under KVM and waits for its first words: a /dev/kvm
// that opens, and even makes a virtual machine, can still hang the guest for ever.
func kvmWorks(ctx context.Context, kernel string) bool {
	kvm.once.Do(func() { kvm.works = probeKVM(ctx, kernel) })
	return kvm.works
}

func probeKVM(ctx context.Context, kernel string) bool {
	device, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	device.Close()
	return speaks(ctx, kernel, hardware, kvmProbe)
}

// speaks tells whether a kernel prints its version within a time.
func speaks(ctx context.Context, kernel string, accel []string, within time.Duration) bool {
	m, err := launch(ctx, Options{Kernel: kernel, Append: []string{"earlyprintk=ttyS0"}, Memory: 256}, accel)
	if err != nil {
		return false
	}
	defer m.Close()
	_, err = m.Expect("Linux version", within)
	return err == nil
}
