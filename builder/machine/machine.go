package machine

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// DefaultTimeout is the life of a machine without a timeout of its own. An emulated
// boot takes 10 to 20 s on an idle core and several times that on a busy one.
const DefaultTimeout = 4 * time.Minute

// maxStderr bounds what is kept of QEMU's own complaints, in bytes.
const maxStderr = 16 << 10

// excerpt is how many of the last console lines an error shows.
const excerpt = 60

// ErrMachine is met when a machine ended, died or ran out of time before it printed
// what was waited for.
var ErrMachine = errors.New("machine did not print what was waited for")

// The firmware of Debian's package ovmf. Its variables are not kept.
const (
	firmwareCode      = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	firmwareVariables = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

// Options say what to boot. Disk, Kernel and Initrd are file names.
type Options struct {
	Disk     string        // raw image, the guest's /dev/vda
	Writable bool          // the guest's writes go into Disk; else it is never written
	Firmware bool          // boot the disk by UEFI and its own boot loader; Initrd and Append are not used
	Kernel   string        // bzImage; with Firmware, that of the disk, only to find out about KVM
	Initrd   string        // initramfs; empty: none
	Append   []string      // kernel arguments after ours; root=/dev/vda2 is ours
	Memory   int           // MiB; 0: 1024
	Emulated bool          // do not even try KVM
	Timeout  time.Duration // for the whole life of the machine; 0: DefaultTimeout
	Console  io.Writer     // gets every console line as it comes, without escape sequences; nil: nobody
}

// Machine is a running QEMU. Its methods are for one goroutine.
type Machine struct {
	console *console
	seen    int // console lines that Expect is done with
	cancel  context.CancelFunc
	exited  chan struct{}
	temp    string
}

// Boot starts a machine. The caller must Close it. The machine also ends with ctx.
func Boot(ctx context.Context, o Options) (*Machine, error) {
	for _, name := range []string{o.Disk, o.Kernel, cmp.Or(o.Initrd, o.Kernel)} {
		if _, err := os.Stat(name); err != nil {
			return nil, fmt.Errorf("cannot boot: %w", err)
		}
	}
	if o.Firmware {
		if _, err := os.Stat(firmwareCode); err != nil {
			return nil, fmt.Errorf("cannot boot by UEFI: apt-get install ovmf: %w", err)
		}
	}
	accel := emulation
	if !o.Emulated && kvmWorks(ctx, o.Kernel) {
		accel = hardware
	}
	return launch(ctx, o, accel)
}

// launch starts QEMU with one accelerator.
func launch(ctx context.Context, o Options, accel []string) (*Machine, error) {
	temp, err := os.MkdirTemp("", "kerngate-machine-")
	if err != nil {
		return nil, fmt.Errorf("cannot boot: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(o.Timeout, DefaultTimeout))
	m := &Machine{console: newConsole(o.Console), cancel: cancel, exited: make(chan struct{}), temp: temp}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", qemuArgs(o, accel)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+temp) // where the snapshot's file goes
	cmd.SysProcAttr = dieWithParent()
	started := make(chan error, 1)
	go m.run(ctx, cmd, started)
	if err := <-started; err != nil {
		m.Close()
		if errors.Is(err, exec.ErrNotFound) {
			err = fmt.Errorf("%w: apt-get install qemu-system-x86", err)
		}
		return nil, fmt.Errorf("cannot boot: %w", err)
	}
	return m, nil
}

// qemuArgs are the switches of QEMU and the kernel's arguments. Which of them make
// an emulated boot quick was measured; see testdata/boot/README.md.
func qemuArgs(o Options, accel []string) []string {
	args := append([]string{
		"-nodefaults", "-no-user-config", "-no-reboot",
		"-display", "none", "-monitor", "none", "-serial", "stdio", "-nic", "none",
		"-m", fmt.Sprint(cmp.Or(o.Memory, 1024)),
	}, accel...)
	if o.Disk != "" {
		args = append(args, "-drive", drive("virtio", o.Disk, !o.Writable)+",cache=unsafe")
	}
	if o.Firmware {
		return append(args, "-machine", "q35",
			"-drive", drive("pflash", firmwareCode, false)+",readonly=on", "-drive", drive("pflash", firmwareVariables, true))
	}
	if o.Initrd != "" {
		args = append(args, "-initrd", o.Initrd)
	}
	kernel := append([]string{
		"root=/dev/vda2", "ro", "console=ttyS0",
		"panic=-1",           // with -no-reboot: a panic, or an initramfs that is stuck, ends QEMU
		"no_timer_check",     // a starved emulator delivers ticks too late, and the kernel panics: "IO-APIC + timer doesn't work"
		"norandmaps", "lsm=", // halves the time of user space under emulation
		"TERM=dumb", // systemd 262 waits for a terminal's answers otherwise
	}, o.Append...)
	return append(args, "-kernel", o.Kernel, "-append", strings.Join(kernel, " "))
}

// drive is a file as QEMU's -drive takes it; what is written to a snapshot is lost.
func drive(kind, file string, snapshot bool) string {
	onOff := map[bool]string{true: "on", false: "off"}
	// A comma in a file name is written twice: qemu-options, "-drive".
	return "if=" + kind + ",format=raw,snapshot=" + onOff[snapshot] + ",file=" + strings.ReplaceAll(file, ",", ",,")
}

// run is the life of the QEMU process. One locked thread starts it and waits for it,
// because the kernel ties dieWithParent to the thread that started the process.
func (m *Machine) run(ctx context.Context, cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(m.exited)
	var stderr bytes.Buffer
	cmd.Stderr = &capped{to: &stderr, left: maxStderr}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	started <- err
	if err != nil {
		return
	}
	if err := m.console.read(out); err != nil {
		m.cancel() // a guest that floods us is not read on
		m.console.end(err)
	}
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		m.console.end(fmt.Errorf("machine was stopped: %w", ctx.Err()))
	case err != nil:
		m.console.end(fmt.Errorf("qemu ended: %w: %s", err, bytes.TrimSpace(stderr.Bytes())))
	default:
		m.console.end(errors.New("qemu ended: the guest powered off or rebooted"))
	}
}

// Expect waits until a console line matches the regular expression, and returns the
// line. It goes on behind the line that the Expect before it found. It does not wait
// for a line that cannot come any more: when QEMU ends, the guest's kernel panics or
// its systemd enters emergency mode, the error has [ErrMachine], says which, and
// shows the last console lines.
func (m *Machine) Expect(expr string, timeout time.Duration) (string, error) {
	re, err := regexp.Compile(expr)
	if err != nil {
		return "", err
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		lines, changed, end := m.console.since(m.seen)
		for _, line := range lines {
			m.seen++
			if re.MatchString(line) {
				return line, nil
			}
		}
		if end != nil {
			return "", m.missing(expr, end)
		}
		select {
		case <-changed:
		case <-timer.C:
			return "", m.missing(expr, fmt.Errorf("not within %v", timeout))
		}
	}
}

func (m *Machine) missing(expr string, why error) error {
	lines := m.Console()
	from := max(0, len(lines)-excerpt)
	return fmt.Errorf("%w: want %q: %w\nlast console lines:\n%s", ErrMachine, expr, why, strings.Join(lines[from:], "\n"))
}

// Between waits for a line that matches begin and then for one that matches end, and
// returns the lines between them and the last one. It goes on as Expect does.
func (m *Machine) Between(begin, end string, timeout time.Duration) (lines []string, last string, err error) {
	if _, err := m.Expect(begin, timeout); err != nil {
		return nil, "", err
	}
	from := m.seen
	if last, err = m.Expect(end, timeout); err != nil {
		return nil, "", err
	}
	return m.Console()[from : m.seen-1], last, nil
}

// Console returns the lines that the machine has printed so far.
func (m *Machine) Console() []string {
	lines, _, _ := m.console.since(0)
	return lines
}

// Close ends QEMU, waits for it and removes what it left behind.
func (m *Machine) Close() error {
	m.cancel()
	<-m.exited
	return os.RemoveAll(m.temp)
}

// capped passes on the first bytes and swallows the rest.
type capped struct {
	to   io.Writer
	left int
}

func (c *capped) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.left -= n
	if _, err := c.to.Write(p[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}
