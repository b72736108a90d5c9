package machine

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Arch is an architecture by Go's name.
type Arch string

// The architectures that machines are made of.
const (
	AMD64 Arch = "amd64"
	ARM64 Arch = "arm64"
)

// Bus is what a disk is attached to. It decides the disk's name in the guest.
type Bus string

// The buses.
const (
	Virtio Bus = "virtio" // /dev/vda
	SCSI   Bus = "scsi"   // /dev/sda
	NVMe   Bus = "nvme"   // /dev/nvme0n1
)

// secondFD is the first descriptor that exec.Cmd hands on beside the standard ones.
const secondFD = 3

// system is what QEMU needs to be told to be a machine of an architecture.
type system struct {
	program   string
	packages  string     // that has the program, by the names of Debian
	machine   string     // with firmware; what else is left to QEMU where it has a default
	always    bool       // there is no default machine
	console   string     // name of the first serial port
	early     string     // argument that makes a kernel speak before it has found its console
	arguments []string   // of the kernel, only here
	emulated  []string   // the quickest processor without hardware help
	firmware  []firmware // where distributions put it
	uefi      string     // Debian's package of it
}

// firmware is UEFI in two parts. The variables are not kept.
type firmware struct{ code, variables string }

var systems = map[Arch]system{
	AMD64: {
		program: "qemu-system-x86_64", packages: "qemu-system-x86", machine: "q35", console: "ttyS0", early: "earlyprintk=ttyS0",
		// A starved emulator delivers ticks too late, and the kernel panics: "IO-APIC + timer
		// doesn't work".
		arguments: []string{"no_timer_check"},
		// Cmpxchg16b and the many instructions of "-cpu max" cost the emulator more than
		// they save the guest. One processor: with two, a Linux 7.2 guest on a busy machine
		// was seen to die in an "int3" oops, because one emulated processor ran an
		// instruction that the other had just patched. With two machines at a time on two
		// cores it is as quick.
		emulated: []string{"-accel", "tcg,tb-size=512", "-cpu", "qemu64,-cx16", "-smp", "1"},
		uefi:     "ovmf",
		firmware: []firmware{
			{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
			{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
			{"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
			{"/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"},
		},
	},
	ARM64: {
		program: "qemu-system-aarch64", packages: "qemu-system-arm", machine: "virt", always: true, console: "ttyAMA0", early: "earlycon",
		emulated: []string{"-accel", "tcg,tb-size=512", "-cpu", "cortex-a57", "-smp", "1"},
		uefi:     "qemu-efi-aarch64",
		firmware: []firmware{
			{"/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"},
			{"/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw", "/usr/share/edk2/aarch64/vars-template-pflash.raw"},
		},
	},
}

// Arguments are those that the kernel of a machine needs so that its console is read
// and its end is seen.
func Arguments(a Arch) []string {
	s := systems[cmp.Or(a, AMD64)]
	return slices.Concat([]string{
		"console=" + s.console,
		"panic=-1",  // the machine does not reboot: a panic, or an initramfs that is stuck, ends QEMU
		"TERM=dumb", // systemd 262 waits for a terminal's answers otherwise
	}, s.arguments)
}

// MissingError is met when a program or a file that a machine needs is not installed.
type MissingError struct {
	What    string
	Package string // of Debian
}

func (e *MissingError) Error() string { return e.What + " is not installed" }

// Hint says how to install it.
func (e *MissingError) Hint() string { return "install it: apt-get install " + e.Package }

// system is that of the architecture, with its program and the files found.
func (o Options) system() (system, error) {
	s, known := systems[cmp.Or(o.Arch, AMD64)]
	if !known {
		return s, fmt.Errorf("architecture is %q, want %s or %s", o.Arch, AMD64, ARM64)
	}
	if o.Second && s.console != "ttyS0" {
		return s, fmt.Errorf("machine of %s has no second serial port", o.Arch)
	}
	path, err := exec.LookPath(s.program)
	if errors.Is(err, exec.ErrNotFound) {
		return s, &MissingError{s.program, s.packages}
	}
	if err != nil {
		return s, err
	}
	s.program = path
	if !o.Firmware {
		return s, nil
	}
	s.firmware = slices.DeleteFunc(slices.Clone(s.firmware), func(f firmware) bool {
		_, err := os.Stat(f.code)
		return err != nil
	})
	if len(s.firmware) == 0 {
		return s, &MissingError{"UEFI firmware for " + s.program, s.uefi}
	}
	return s, nil
}

// qemuArgs are the program, its switches and the kernel's arguments. Which of them make
// an emulated boot quick was measured; see testdata/boot/README.md.
func qemuArgs(o Options, accel Accel) ([]string, error) {
	s, err := o.system()
	if err != nil {
		return nil, err
	}
	args := []string{s.program,
		"-nodefaults", "-no-user-config", "-no-reboot",
		"-display", "none", "-monitor", "none", "-serial", "stdio", "-nic", "none",
		"-m", fmt.Sprint(cmp.Or(o.Memory, 1024)),
	}
	if accel == KVM {
		args = append(args, "-accel", "kvm", "-cpu", "host", "-smp", "2")
	} else {
		args = append(args, s.emulated...)
	}
	if o.Second {
		args = append(args, "-chardev", fmt.Sprintf("socket,id=second,fd=%d", secondFD), "-serial", "chardev:second")
	}
	args = append(args, disk(o)...)
	for _, name := range slices.Sorted(maps.Keys(o.Credentials)) {
		text := base64.StdEncoding.EncodeToString([]byte(o.Credentials[name]))
		args = append(args, "-smbios", "type=11,value="+comma("io.systemd.credential.binary:"+name+"="+text))
	}
	if o.Firmware || s.always {
		args = append(args, "-machine", s.machine)
	}
	if o.Firmware {
		return append(args, "-drive", drive("pflash", s.firmware[0].code, false)+",readonly=on", "-drive", drive("pflash", s.firmware[0].variables, true)), nil
	}
	if o.Initrd != "" {
		args = append(args, "-initrd", o.Initrd)
	}
	return append(args, "-kernel", o.Kernel, "-append", strings.Join(o.Append, " ")), nil
}

// disk attaches the disk.
func disk(o Options) []string {
	if o.Disk == "" {
		return nil
	}
	const unsafe = ",cache=unsafe" // nobody needs what is written once the machine is gone
	switch o.Bus {
	case SCSI:
		return []string{"-drive", drive("none", o.Disk, !o.Writable) + unsafe + ",id=disk",
			"-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=disk"}
	case NVMe:
		return []string{"-drive", drive("none", o.Disk, !o.Writable) + unsafe + ",id=disk", "-device", "nvme,drive=disk,serial=disk"}
	default:
		return []string{"-drive", drive("virtio", o.Disk, !o.Writable) + unsafe}
	}
}

// drive is a file as QEMU's -drive takes it; what is written to a snapshot is lost.
func drive(kind, file string, snapshot bool) string {
	onOff := map[bool]string{true: "on", false: "off"}
	if !filepath.IsAbs(file) {
		file = "./" + file // else what is before a colon would be a protocol
	}
	return "if=" + kind + ",format=raw,snapshot=" + onOff[snapshot] + ",file=" + comma(file)
}

// comma writes the commas of a value twice, as QEMU wants them (qemu(1), "-drive").
func comma(value string) string { return strings.ReplaceAll(value, ",", ",,") }
