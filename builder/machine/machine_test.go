package machine

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience is far above what a shell script needs to print a line.
const patience = 5 * time.Minute

// fakeQEMU puts a shell script in the place of QEMU, and returns the options to
// launch it with.
func fakeQEMU(t *testing.T, script string) Options {
	t.Helper()
	dir := t.TempDir()
	for _, s := range systems {
		write(t, filepath.Join(dir, s.program), "#!/bin/sh\n"+script+"\n")
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("TMPDIR", t.TempDir())
	return Options{Disk: "disk.raw", Kernel: "vmlinuz"}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func launchTest(t *testing.T, o Options) *Machine {
	t.Helper()
	m, err := launch(context.Background(), o, TCG)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func TestExpect(t *testing.T) {
	tests := map[string]struct {
		script  string
		expr    string
		timeout time.Duration
		want    string // the line
		wantErr string // or a part of the error
	}{
		"line that is there":     {script: "echo one; echo two; exec sleep 600", expr: "^tw", want: "two"},
		"line that comes later":  {script: "echo one; sleep 0.3; echo two; exec sleep 600", expr: "two", want: "two"},
		"colours are taken out":  {script: `printf '[\033[0;32m  OK  \033[0m] Started \033[0;1;39mx.service\033[0m.\r\n'; exec sleep 600`, expr: `OK  \] Started x\.service\.$`, want: "[  OK  ] Started x.service."},
		"line before the end":    {script: "echo one", expr: "one", want: "one"},
		"QEMU powers off":        {script: "echo one", expr: "two", wantErr: "the guest powered off or rebooted"},
		"QEMU does not start":    {script: "echo no such machine >&2; exit 1", expr: "x", wantErr: "exit status 1: no such machine"},
		"kernel panics":          {script: "echo 'Kernel panic - not syncing: VFS'; exec sleep 600", expr: "x", wantErr: "guest gave up: Kernel panic - not syncing: VFS"},
		"systemd gives up":       {script: "echo 'You are in emergency mode. After'; exec sleep 600", expr: "x", wantErr: "guest gave up: You are in emergency mode"},
		"nothing comes":          {script: "echo one; exec sleep 600", expr: "two", timeout: 200 * time.Millisecond, wantErr: "not within 200ms"},
		"the error shows lines":  {script: "echo one", expr: "two", wantErr: "last console lines:\none"},
		"bad regular expression": {script: "exec sleep 600", expr: "(", wantErr: "missing closing )"},
		"console without end":    {script: "exec yes 0123456789012345678901234567890123456789", expr: "x", wantErr: "console has more than 4194304 bytes"},
		"line without end":       {script: "head -c 70000 /dev/zero | tr '\\0' y; exec sleep 600", expr: "x", wantErr: "console line has more than 65536 bytes"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := launchTest(t, fakeQEMU(t, test.script))
			got, err := m.Expect(test.expr, cmp.Or(test.timeout, patience))
			if test.wantErr == "" && (err != nil || got != test.want) {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
			if test.wantErr != "" && (err == nil || !strings.Contains(err.Error(), test.wantErr)) {
				t.Errorf("got %q, %v; want an error with %q", got, err, test.wantErr)
			}
		})
	}
}

func TestExpectGoesOn(t *testing.T) {
	m := launchTest(t, fakeQEMU(t, "echo a1; echo b; echo a2; exec sleep 600"))
	for _, want := range []string{"a1", "a2"} {
		if got, err := m.Expect("^a", patience); got != want {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
	}
	if got, want := m.Console(), []string{"a1", "b", "a2"}; !slices.Equal(got, want) {
		t.Errorf("console is %q, want %q", got, want)
	}
}

func TestExpectErrorIsErrMachine(t *testing.T) {
	m := launchTest(t, fakeQEMU(t, "exit 1"))
	if _, err := m.Expect("x", patience); !errors.Is(err, ErrMachine) {
		t.Errorf("error is %v, want ErrMachine", err)
	}
}

func TestTimeoutEndsMachine(t *testing.T) {
	o := fakeQEMU(t, "exec sleep 600")
	o.Timeout = 2 * time.Second // the script must have been started by then
	m := launchTest(t, o)
	_, err := m.Expect("x", patience)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v, want that the time ran out", err)
	}
}

func TestCloseEndsQEMUAndCleansUp(t *testing.T) {
	m := launchTest(t, fakeQEMU(t, `echo "$$"; touch "$TMPDIR/snapshot"; echo ready; exec sleep 600`))
	pid, err := m.Expect(`^\d+$`, patience)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Expect("ready", patience); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/proc/" + pid); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("process %s after Close: %v, want that it does not exist", pid, err)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v; want nothing", left, err)
	}
}

func TestNoQEMU(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for arch, want := range map[Arch]string{
		"":    "install it: apt-get install qemu-system-x86",
		ARM64: "install it: apt-get install qemu-system-arm",
	} {
		_, err := Boot(context.Background(), Options{Arch: arch, Kernel: "vmlinuz"})
		var missing *MissingError
		if !errors.As(err, &missing) || missing.Hint() != want {
			t.Errorf("%q: error is %v, want one with the hint %q", arch, err, want)
		}
	}
}

func TestMissingFiles(t *testing.T) {
	fakeQEMU(t, "exit 0")
	_, err := Boot(context.Background(), Options{Disk: "no-such.raw", Kernel: "vmlinuz"})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v, want that no-such.raw does not exist", err)
	}
}

func TestSpeaks(t *testing.T) {
	for script, test := range map[string]struct {
		within time.Duration
		want   bool
	}{
		"echo '[ 0.000000] Linux version 7.2.12'; exec sleep 600": {patience, true},
		"exec sleep 600": {time.Second, false},
		"exit 1":         {patience, false},
	} {
		t.Run(script, func(t *testing.T) {
			o := fakeQEMU(t, script)
			if got := speaks(context.Background(), o, TCG, test.within); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// arguments are those of the machine in one line.
func arguments(t *testing.T, o Options, accel Accel) string {
	t.Helper()
	fakeQEMU(t, "exit 0")
	args, err := qemuArgs(o, accel)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(args, " ")
}

func TestQEMUArgs(t *testing.T) {
	credential := base64.StdEncoding.EncodeToString([]byte("text"))
	tests := map[string]struct {
		options Options
		accel   Accel
		want    []string
		none    []string
	}{
		"direct": {
			options: Options{Disk: "a,b.raw", Kernel: "K", Initrd: "I", Append: []string{"root=/dev/vda2", "x=1"}}, accel: TCG,
			want: []string{"qemu-system-x86_64 ", "if=virtio", "snapshot=on", "file=./a,,b.raw", "-nic none", "-no-reboot", "-kernel K", "-initrd I", "-append root=/dev/vda2 x=1", "-m 1024", "-accel tcg"},
			none: []string{"chardev", "smbios", "pflash"},
		},
		"a colon":     {options: Options{Disk: "nbd:x.raw", Kernel: "K"}, want: []string{"file=./nbd:x.raw"}},
		"absolute":    {options: Options{Disk: "/a.raw", Kernel: "K"}, want: []string{"file=/a.raw"}},
		"writable":    {options: Options{Disk: "a.raw", Writable: true, Kernel: "K"}, want: []string{"snapshot=off,file=./a.raw"}, none: []string{"snapshot=on"}},
		"no disk":     {options: Options{Kernel: "K"}, none: []string{"-drive"}},
		"scsi":        {options: Options{Disk: "a.raw", Kernel: "K", Bus: SCSI}, want: []string{"if=none", "snapshot=on", "-device scsi-hd,drive=disk"}},
		"nvme":        {options: Options{Disk: "a.raw", Kernel: "K", Bus: NVMe}, want: []string{"if=none", "snapshot=on", "-device nvme,drive=disk"}},
		"kvm":         {options: Options{Kernel: "K"}, accel: KVM, want: []string{"-accel kvm -cpu host"}, none: []string{"tcg"}},
		"memory":      {options: Options{Kernel: "K", Memory: 300}, want: []string{"-m 300"}},
		"second port": {options: Options{Kernel: "K", Second: true}, want: []string{"-serial stdio", "-chardev socket,id=second,fd=3 -serial chardev:second"}},
		"credential":  {options: Options{Kernel: "K", Credentials: map[string]string{"a": "text"}}, want: []string{"-smbios type=11,value=io.systemd.credential.binary:a=" + credential}},
		"arm64":       {options: Options{Kernel: "K", Arch: ARM64}, want: []string{"qemu-system-aarch64 ", "-machine virt", "-cpu cortex-a57"}, none: []string{"qemu64"}},
		"boots firmware": {options: Options{Disk: "a.raw", Firmware: true, Kernel: "K", Initrd: "I"},
			want: []string{"-machine q35", "snapshot=on,file=./a.raw", "OVMF_CODE_4M.fd,readonly=on", "snapshot=on,file=/usr/share/OVMF/OVMF_VARS"},
			none: []string{"-kernel", "-initrd", "-append"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			args := arguments(t, test.options, test.accel)
			for _, want := range test.want {
				if !strings.Contains(args, want) {
					t.Errorf("arguments lack %q: %s", want, args)
				}
			}
			for _, none := range test.none {
				if strings.Contains(args, none) {
					t.Errorf("arguments have %q, want none: %s", none, args)
				}
			}
		})
	}
}

func TestOptionsRefused(t *testing.T) {
	fakeQEMU(t, "exit 0")
	tests := map[string]struct {
		options Options
		want    string
	}{
		"architecture":            {Options{Arch: "riscv64", Kernel: "K"}, `architecture is "riscv64"`},
		"accelerator":             {Options{Kernel: "/dev/null", Accel: "xen"}, `accelerator is "xen"`},
		"nothing to boot":         {Options{}, "neither a kernel"},
		"second port of an arm64": {Options{Arch: ARM64, Kernel: "/dev/null", Second: true}, "no second serial port"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := Boot(context.Background(), test.options)
			if err == nil {
				m.Close()
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestArguments(t *testing.T) {
	if got := Arguments(""); !slices.Contains(got, "console=ttyS0") || !slices.Contains(got, "no_timer_check") {
		t.Errorf("arguments are %q", got)
	}
	if got := Arguments(ARM64); !slices.Contains(got, "console=ttyAMA0") || slices.Contains(got, "no_timer_check") {
		t.Errorf("arguments on arm64 are %q", got)
	}
}

// TestSecond has a script answer on the second port: its descriptor is 3.
func TestSecond(t *testing.T) {
	o := fakeQEMU(t, `read -r line <&3; echo "heard $line"; echo "answer to $line" >&3; exec sleep 600`)
	o.Second = true
	m := launchTest(t, o)
	if _, err := fmt.Fprintln(m.Second(), "question"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Expect("^heard question$", patience); err != nil {
		t.Fatal(err)
	}
	m.Second().SetReadDeadline(time.Now().Add(patience))
	got := make([]byte, len("answer to question"))
	if _, err := io.ReadFull(m.Second(), got); err != nil || string(got) != "answer to question" {
		t.Errorf("read %q, %v", got, err)
	}
	m.cancel()
	if rest, err := io.ReadAll(m.Second()); err != nil || string(rest) != "\n" {
		t.Errorf("after the machine's end: %q, %v, want the end of the line", rest, err)
	}
}

func TestFollow(t *testing.T) {
	m := launchTest(t, fakeQEMU(t, "echo one; sleep 0.2; echo two"))
	var got []string
	for {
		lines, more, end := m.Follow(len(got))
		got = append(got, lines...)
		if end != nil && len(lines) == 0 {
			break
		}
		select {
		case <-more:
		case <-m.exited:
		case <-time.After(patience):
			t.Fatalf("nothing more after %q", got)
		}
	}
	if want := []string{"one", "two"}; !slices.Equal(got, want) {
		t.Errorf("lines are %q, want %q", got, want)
	}
}
