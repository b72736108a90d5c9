package machine

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
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

// Options say what to boot. Disk, Kernel and Initrd are file names.
type Options struct {
	Arch     Arch          // empty: AMD64
	Disk     string        // raw image
	Bus      Bus           // that the disk is on; empty: Virtio
	Writable bool          // the guest's writes go into Disk; else it is never written
	Firmware bool          // boot the disk by UEFI and its own boot loader; Initrd and Append are not used
	Kernel   string        // as QEMU's -kernel takes it; with Firmware, that of the disk or none, only to find out about KVM
	Initrd   string        // initramfs; empty: none
	Append   []string      // kernel arguments, all of them; see [Arguments]
	Memory   int           // MiB; 0: 1024
	Accel    Accel         // empty: Auto
	Timeout  time.Duration // for the whole life of the machine; 0: DefaultTimeout
	Console  io.Writer     // gets every console line as it comes, without escape sequences; nil: nobody

	// Second gives the machine a second serial port, /dev/ttyS1, which [Machine.Second] talks to.
	Second bool
	// Credentials are for the guest's systemd, by name (systemd.system-credentials(7));
	// it has them from the firmware's tables (SMBIOS type 11).
	Credentials map[string]string
}

// Machine is a running QEMU. Its methods are for one goroutine.
type Machine struct {
	console *console
	seen    int // console lines that Expect is done with
	cancel  context.CancelFunc
	exited  chan struct{}
	temp    string
	accel   Accel
	second  net.Conn
}

// Boot starts a machine. The caller must Close it. The machine also ends with ctx.
func Boot(ctx context.Context, o Options) (*Machine, error) {
	if o.Kernel == "" && !o.Firmware {
		return nil, errors.New("cannot boot: neither a kernel nor the disk's own boot loader is asked for")
	}
	if _, err := o.system(); err != nil {
		return nil, fmt.Errorf("cannot boot: %w", err)
	}
	for _, name := range []string{o.Disk, o.Kernel, o.Initrd} {
		if _, err := os.Stat(name); err != nil && name != "" {
			return nil, fmt.Errorf("cannot boot: %w", err)
		}
	}
	accel, err := choose(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("cannot boot: %w", err)
	}
	return launch(ctx, o, accel)
}

// launch starts QEMU with one accelerator.
func launch(ctx context.Context, o Options, accel Accel) (*Machine, error) {
	args, err := qemuArgs(o, accel)
	if err != nil {
		return nil, fmt.Errorf("cannot boot: %w", err)
	}
	temp, err := os.MkdirTemp("", "kerngate-machine-")
	if err != nil {
		return nil, fmt.Errorf("cannot boot: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(o.Timeout, DefaultTimeout))
	m := &Machine{console: newConsole(o.Console), cancel: cancel, exited: make(chan struct{}), temp: temp, accel: accel}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "TMPDIR="+temp) // where the snapshot's file goes
	cmd.SysProcAttr = dieWithParent()
	started := make(chan error, 1)
	if o.Second {
		err = m.connect(cmd)
	}
	if err != nil {
		started <- err
		close(m.exited)
	} else {
		go m.run(ctx, cmd, started)
	}
	if err := <-started; err != nil {
		m.Close()
		return nil, fmt.Errorf("cannot boot: %w", err)
	}
	return m, nil
}

// connect makes the line to the second serial port. QEMU has its end as descriptor
// secondFD.
func (m *Machine) connect(cmd *exec.Cmd) error {
	syscall.ForkLock.RLock() // no other child may inherit QEMU's end
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(pair[0])
		unix.CloseOnExec(pair[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return err
	}
	ours := os.NewFile(uintptr(pair[0]), "second serial port")
	defer ours.Close()
	cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(pair[1]), "second serial port in QEMU")}
	m.second, err = net.FileConn(ours)
	return err
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
	for _, f := range cmd.ExtraFiles {
		f.Close()
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

// Follow returns the console lines from index from on, a channel that is closed when
// there are more, and why there will be none: nil while the machine runs and says
// nothing of giving up.
func (m *Machine) Follow(from int) (lines []string, more <-chan struct{}, end error) {
	return m.console.since(from)
}

// Accel is what runs the guest's processor: KVM or TCG.
func (m *Machine) Accel() Accel { return m.accel }

// Second is the line to the guest's second serial port; nil without one. What the
// guest's kernel does not read is lost. It ends when the machine does.
func (m *Machine) Second() net.Conn { return m.second }

// Close ends QEMU, waits for it and removes what it left behind.
func (m *Machine) Close() error {
	m.cancel()
	<-m.exited
	if m.second != nil {
		m.second.Close()
	}
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
