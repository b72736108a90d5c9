package rehearse

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kerngate/kerngate/initcheck/policy"
)

// TestRecordedAnswers reads what the second port of real machines said: the prompts,
// echoes and escape sequences of bash in a shell of systemd 252, 257 and 262.
func TestRecordedAnswers(t *testing.T) {
	tests := map[string]struct {
		verdict, systemd, release, unit string
	}{
		"systemd-252.answers": {Refuse, "252", "6.1.0-56-cloud-amd64", HeldBack},
		"systemd-257.answers": {Refuse, "257", "6.12.117+deb13-amd64", HeldBack},
		"systemd-262.answers": {Pass, "262", "7.2.12+deb14-cloud-amd64", Running},
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			var last *state
			answers := 0
			for _, found := range regexp.MustCompile(`(?m)^@@([0-9a-f]{16}) end\r?$`).FindAllSubmatch(data, -1) {
				a, err := readAnswer(string(data), string(found[1]))
				if err != nil {
					t.Logf("answer is refused: %v", err) // an echo fell into it
					continue
				}
				answers++
				if _, full := a["report"]; full {
					s := a.state()
					last = &s
				}
			}
			if last == nil || last.report == nil || answers < 2 {
				t.Fatalf("%d answers, the last state is %+v, want one with a report", answers, last)
			}
			r := &Result{Verdict: None}
			r.take(*last)
			if r.Verdict != want.verdict || r.Systemd != want.systemd || r.Kernel != want.release || last.stamp != (want.verdict == Pass) {
				t.Errorf("verdict %s, systemd %s, kernel %s, stamp %v; want %+v", r.Verdict, r.Systemd, r.Kernel, last.stamp, want)
			}
			if len(r.Units) != 1 || r.Units[0].Name != "vllm.service" || r.Units[0].State != want.unit {
				t.Errorf("units are %+v, want vllm.service %s", r.Units, want.unit)
			}
			if r.Gate == nil || len(r.Report.Findings) != 23 {
				t.Errorf("gate is %v, %d findings, want it, and 23", r.Gate, len(r.Report.Findings))
			}
			t.Logf("%d answers, %d findings", answers, len(r.Report.Findings))
		})
	}
}

// answered is a whole answer as a terminal gives it.
func answered(nonce, report string) string {
	lines := []string{
		"# mark() { printf '\\n@@%s %s\\n' " + nonce + ` "$1"; }`, "", "@@" + nonce + " running", "degraded", "@@" + nonce + " boot", "b1",
		"@@" + nonce + " stamp", "yes", "@@" + nonce + " report", report, "# mark end", "@@" + nonce + " end", "",
	}
	return strings.Join(lines, "\r\n")
}

func TestReportMustBeOfThisBoot(t *testing.T) {
	for report, want := range map[string]string{
		`{"schema": 1, "verdict": "pass", "boot_id": "b1"}`:            Pass,
		`{"schema": 1, "verdict": "refuse", "boot_id": "b1"} trailing`: Refuse,
		`{"schema": 1, "verdict": "pass", "boot_id": "b2"}`:            "",
		`{"schema": 1, "verdict": "pass"}`:                             "",
		`{"schema": 2, "verdict": "pass", "boot_id": "b1"}`:            "",
		`{"schema": 1, "verdict": "maybe", "boot_id": "b1"}`:           "",
		`{"schema": 1, "verdict": "pass", "boot_id": "b1"`:             "",
		"cat: /run/initcheck/report.json: No such file":                "",
	} {
		a, err := readAnswer(answered("n", report), "n")
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if s := a.state(); s.report != nil {
			got = s.report.Verdict
		}
		if got != want {
			t.Errorf("%s: verdict is %q, want %q", report, got, want)
		}
	}
}

func TestReadAnswerRefuses(t *testing.T) {
	whole := answered("n", "{}")
	for name, text := range map[string]string{
		"nothing":       "",
		"cut short":     strings.TrimSuffix(whole, "@@n end\r\n"),
		"another nonce": answered("m", "{}"),
		"no systemd":    strings.Replace(whole, "degraded", "sh: systemctl: not found", 1),
	} {
		if a, err := readAnswer(text, "n"); err == nil {
			t.Errorf("%s: got %v, want an error", name, a)
		}
	}
}

func TestScript(t *testing.T) {
	units := []string{"a.service"}
	for i := range 200 {
		units = append(units, fmt.Sprintf("inference-server-%d@*.service", i))
	}
	text := script("n", full(units))
	for line := range strings.Lines(text) {
		if len(line) > 4095 {
			t.Errorf("line of %d bytes: %.60q…", len(line), line)
		}
	}
	for _, u := range units {
		if strings.Count(text, "'"+u+"'") != 1 {
			t.Errorf("unit %s is not asked for once", u)
		}
	}
	if strings.Contains(text, "@@n ") {
		t.Error("an echo of the script would look like a mark")
	}
}

// shell starts an interactive shell on a terminal, with a systemctl that speaks of one
// unit, and returns the other end.
func shell(t *testing.T, args ...string) port {
	t.Helper()
	bin := t.TempDir()
	systemctl := `#!/bin/sh
case $1 in
is-system-running) echo degraded; exit 1 ;;
--version) echo "systemd 257 (257.13)"; echo "+PAM" ;;
show) printf 'Id=vllm.service\nLoadState=loaded\nActiveState=inactive\nSubState=dead\nJob=0\n' ;;
esac
`
	if err := os.WriteFile(filepath.Join(bin, "systemctl"), []byte(systemctl), 0o755); err != nil {
		t.Fatal(err)
	}
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	// Not Fd, which would take deadlines away from the file.
	raw, err := master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	number := 0
	raw.Control(func(fd uintptr) {
		number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		err = errors.Join(err, unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0))
	})
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "PS1=# ", "HOME=/nonexistent", "TERM=dumb"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return master
}

// TestShells asks real shells on a real terminal, which echoes what is typed.
func TestShells(t *testing.T) {
	for _, args := range [][]string{{"dash", "-i"}, {"bash", "--norc", "-i"}, {"busybox", "sh", "-i"}} {
		t.Run(args[0], func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			states := make(chan state)
			i := &interviewer{line: shell(t, args...), units: []string{"vllm.service"}, wait: 50 * time.Millisecond, limit: time.Minute}
			go i.run(ctx, states)
			for n := range 3 {
				select {
				case s := <-states:
					if s.running != "degraded" || s.systemd != "257" || len(s.units) != 1 || s.units[0].Name != "vllm.service" || s.uptime == 0 {
						t.Errorf("answer %d is %+v", n, s)
					}
				case <-ctx.Done():
					t.Fatalf("no answer %d", n)
				}
			}
		})
	}
}

// TestShellThatHangs: a command that does not end is interrupted, and asked again.
func TestShellThatHangs(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	states := make(chan state)
	go (&interviewer{line: ours, wait: time.Millisecond, limit: 100 * time.Millisecond}).run(ctx, states)
	typed := make(chan string)
	go func() {
		chunk := make([]byte, 4096)
		for {
			n, err := theirs.Read(chunk)
			if err != nil {
				return
			}
			typed <- string(chunk[:n])
		}
	}()
	fmt.Fprint(theirs, "\x1b[0mroot@node:/# ")
	if first := <-typed; !strings.HasPrefix(first, "mark()") {
		t.Fatalf("first was typed %q", first)
	}
	for text := range typed {
		if strings.HasPrefix(text, "\x03") {
			break
		}
	}
	const interrupted = "^C\r\n# "
	fmt.Fprint(theirs, interrupted)
	nonce := regexp.MustCompile(`' ([0-9a-f]{16}) `)
	for { // first the few questions, then all; again where we were too slow to answer
		select {
		case text := <-typed:
			if found := nonce.FindStringSubmatch(text); found != nil {
				fmt.Fprint(theirs, answered(found[1], "{}"))
			} else {
				fmt.Fprint(theirs, interrupted)
			}
		case s := <-states:
			if s.running != "degraded" || !s.stamp {
				t.Errorf("state is %+v", s)
			}
			return
		case <-ctx.Done():
			t.Fatal("nothing was asked again")
		}
	}
}

func TestInterviewEndsWithTheLine(t *testing.T) {
	ours, theirs := net.Pipe()
	done := make(chan bool)
	go func() {
		(&interviewer{line: ours, wait: time.Hour, limit: time.Hour}).run(t.Context(), nil)
		close(done)
	}()
	theirs.Close()
	select {
	case <-done:
	case <-time.After(5 * time.Minute):
		t.Error("it goes on without a line")
	}
}

func FuzzReadAnswer(f *testing.F) {
	for _, seed := range []string{answered("n", `{"schema": 1, "verdict": "pass", "boot_id": "b1"}`), answered("n", "Id=x")} {
		if _, err := readAnswer(seed, "n"); err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := readAnswer(text, "n")
		if err != nil {
			return
		}
		if s := a.state(); s.report != nil && s.report.BootID == "" {
			t.Error("a report without a boot is taken")
		}
	})
}

func TestPolicyNamesNeedNoQuotes(t *testing.T) {
	for _, name := range []string{policy.Report, policy.Stamp} {
		if !regexp.MustCompile(`^[a-z/.]+$`).MatchString(name) {
			t.Errorf("%q would need quotes in a shell", name)
		}
	}
}
