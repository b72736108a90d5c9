package rehearse

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kerngate/kerngate/builder/machine"
	"github.com/kerngate/kerngate/initcheck/notify"
	"github.com/kerngate/kerngate/initcheck/policy"
)

// state is what the guest says of itself.
type state struct {
	running string         // systemctl is-system-running
	release string         // of the kernel
	systemd string         // version
	uptime  float64        // seconds
	stamp   bool           // the gate's stamp is there
	report  *notify.Report // of this boot; nil: none
	units   []Unit
}

// settled says whether the boot is over, by the state of the system.
func settled(running string) bool { return running != "initializing" && running != "starting" }

// brief are the questions that tell whether there is more to ask.
var brief = []string{"mark running; systemctl is-system-running", "mark checked; [ -e " + policy.Report + " ] && echo yes"}

// full are the questions for all that a state has, in any POSIX shell with systemctl and
// cat. A command stands behind its mark in one line: between lines a shell prompts.
func full(units []string) []string {
	list := []string{
		"mark running; systemctl is-system-running",
		"mark boot; cat /proc/sys/kernel/random/boot_id",
		"mark uptime; cat /proc/uptime",
		"mark release; cat /proc/sys/kernel/osrelease",
		"mark systemd; systemctl --version",
		"mark stamp; [ -e " + policy.Stamp + " ] && echo yes",
	}
	const show = "mark units; systemctl show -p Id -p LoadState -p ActiveState -p SubState -p Result -p Job"
	line := show
	for _, u := range units {
		if len(line)+len(u) > maxTyped/2 {
			list, line = append(list, line), show
		}
		line += " '" + u + "'"
	}
	return append(list, line, "mark report; cat "+policy.Report)
}

// maxTyped keeps a line below what a terminal takes at once, 4095 bytes (N_TTY_BUF_SIZE).
const maxTyped = 3000

// script is questions as a line to be typed, or several where they are many: what is
// typed while a command runs is echoed into its output. The mark is built by the shell,
// so that an echo does not look like one.
func script(nonce string, questions []string) string {
	var b strings.Builder
	line := "mark() { printf '\\n@@%s %s\\n' " + nonce + " \"$1\"; }"
	for _, q := range append(slices.Clip(questions), "mark end") {
		if len(line)+len(q) > maxTyped {
			b.WriteString(line + "\n")
			line = q
		} else {
			line += "; " + q
		}
	}
	return b.String() + line + "\n"
}

// answer is what the guest said, by sections. At the end of each stands what the shell
// echoes and prompts.
type answer map[string][]string

func readAnswer(text, nonce string) (answer, error) {
	a, name := answer{}, ""
	for line := range strings.Lines(text) {
		line = machine.Plain(strings.TrimRight(line, "\r\n"))
		if mark, ok := strings.CutPrefix(line, "@@"+nonce+" "); ok {
			name = mark
			if a[name] == nil {
				a[name] = []string{} // units come in several sections of one name
			}
		} else if line != "" {
			a[name] = append(a[name], line)
		}
	}
	if _, whole := a["end"]; !whole {
		return nil, errors.New("answer has no end")
	}
	if !knownState[a.first("running")] {
		return nil, fmt.Errorf("state of the system is %q", a.first("running"))
	}
	return a, nil
}

func (a answer) first(section string) string {
	if len(a[section]) == 0 {
		return ""
	}
	return strings.TrimSpace(a[section][0])
}

// state makes sense of the answers to the full questions.
func (a answer) state() state {
	s := state{running: a.first("running"), release: a.first("release"), stamp: a.first("stamp") == "yes"}
	if v := strings.Fields(a.first("systemd")); len(v) > 1 && v[0] == "systemd" {
		s.systemd = v[1]
	}
	if v := strings.Fields(a.first("uptime")); len(v) > 0 {
		s.uptime, _ = strconv.ParseFloat(v[0], 64)
	}
	s.units = parseUnits(a["units"])
	s.report = parseReport(a["report"], a.first("boot"))
	return s
}

// knownState are the words of systemctl is-system-running (systemctl(1)).
var knownState = map[string]bool{
	"initializing": true, "starting": true, "running": true, "degraded": true, "maintenance": true, "stopping": true,
}

// parseReport reads the checker's report, if there is one of this boot.
func parseReport(lines []string, boot string) *notify.Report {
	var r notify.Report
	if err := json.NewDecoder(strings.NewReader(strings.Join(lines, "\n"))).Decode(&r); err != nil {
		return nil
	}
	if r.Schema != notify.ReportSchema || r.BootID == "" || r.BootID != boot || (r.Verdict != Pass && r.Verdict != Refuse) {
		return nil
	}
	return &r
}

// prompt matches what a root shell ends with when it waits.
var prompt = regexp.MustCompile(`# ?$`)

// port is a line to a shell.
type port interface {
	io.ReadWriter
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// interviewer asks the guest's shell.
type interviewer struct {
	line  port
	units []string
	wait  time.Duration // between two questions
	limit time.Duration // for one answer
	heard func()        // is called at each answer; nil: nobody
}

// run asks again and again until the context or the line ends. It hands on the whole
// state when there is a report for the first time, and when the boot is over. A shell that
// does not answer in time is interrupted, and waited for anew: that of an initramfs goes
// away, and another comes.
func (i *interviewer) run(ctx context.Context, states chan<- state) {
	checked := false
	for {
		err := i.awaitPrompt(ctx)
		for err == nil {
			checked, err = i.round(ctx, checked, states)
		}
		var failed net.Error
		if ctx.Err() != nil || errors.Is(err, io.EOF) || errors.As(err, &failed) && !failed.Timeout() {
			return
		}
		i.line.SetWriteDeadline(time.Now().Add(i.limit))
		fmt.Fprint(i.line, "\x03\n") // ^C, and a new prompt; that it came is seen there
	}
}

// round asks once, and waits. Checked says whether the report was handed on before.
func (i *interviewer) round(ctx context.Context, checked bool, states chan<- state) (bool, error) {
	a, err := i.ask(ctx, brief)
	if err != nil {
		return checked, err
	}
	report := a.first("checked") == "yes"
	if report && !checked || settled(a.first("running")) {
		if a, err = i.ask(ctx, full(i.units)); err != nil {
			return checked, err
		}
		select {
		case states <- a.state():
		case <-ctx.Done():
			return checked, ctx.Err()
		}
	}
	_, err = i.read(ctx, time.Now().Add(i.wait), func(string) bool { return false })
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = ctx.Err()
	}
	return report, err
}

// awaitPrompt waits until a shell waits.
func (i *interviewer) awaitPrompt(ctx context.Context) error {
	_, err := i.read(ctx, time.Time{}, func(tail string) bool {
		return prompt.MatchString(machine.Plain(tail[strings.LastIndexByte(tail, '\n')+1:]))
	})
	return err
}

// ask asks once.
func (i *interviewer) ask(ctx context.Context, questions []string) (answer, error) {
	nonce := newNonce()
	end := time.Now().Add(i.limit)
	i.line.SetWriteDeadline(end)
	if _, err := io.WriteString(i.line, script(nonce, questions)); err != nil {
		return nil, err
	}
	text, err := i.read(ctx, end, func(tail string) bool { return strings.Contains(tail, "@@"+nonce+" end\r") })
	if err != nil {
		return nil, err
	}
	a, err := readAnswer(text, nonce)
	if err == nil && i.heard != nil {
		i.heard()
	}
	return a, err
}

// maxTail is how much of what was read is looked at for an end, in bytes.
const maxTail = 8192

// read collects what the guest says until its tail is enough, or the time is over, which
// is os.ErrDeadlineExceeded.
func (i *interviewer) read(ctx context.Context, end time.Time, enough func(tail string) bool) (string, error) {
	i.line.SetReadDeadline(end)
	stop := context.AfterFunc(ctx, func() { i.line.SetReadDeadline(time.Unix(0, 1)) })
	defer stop()
	var text strings.Builder
	chunk := make([]byte, maxTail/2)
	for {
		n, err := i.line.Read(chunk)
		text.Write(chunk[:n])
		switch all := text.String(); {
		case err != nil:
			return all, err
		case enough(all[max(0, len(all)-maxTail):]):
			return all, nil
		case len(all) > maxAnswer:
			return "", fmt.Errorf("answer has more than %d bytes", maxAnswer)
		}
	}
}

func newNonce() string {
	b := make([]byte, 8)
	rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}
