package rehearse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kerngate/kerngate/builder"
	"github.com/kerngate/kerngate/builder/checker"
	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/machine"
	"github.com/kerngate/kerngate/builder/unit"
)

// Options say how to rehearse.
type Options struct {
	Expect   string        // Pass or Refuse; empty: Pass
	Kernel   string        // release to boot; empty: that of the default boot entry
	Firmware bool          // boot through UEFI firmware and the image's own boot loader
	Append   []string      // more kernel arguments, behind all others; not with Firmware
	Memory   int           // MiB; 0: the machine's default
	Accel    machine.Accel // empty: KVM if it works
	Timeout  time.Duration // for all of it; 0: DefaultTimeout
	Console  io.Writer     // gets all console lines; nil: nobody
	Progress func(Step)    // nil: nobody is told
}

// Step says how far the boot is.
type Step struct {
	At   time.Duration // since the machine started
	Text string
	New  bool // it was not said before; else only time has passed
}

// Rehearse boots an image and reads the verdict of its gate. That the gate refuses, or
// that there is none, is a result; an error means that nothing could be booted.
func Rehearse(ctx context.Context, target *image.Target, o Options) (*Result, error) {
	o.Expect, o.Timeout = cmp.Or(o.Expect, Pass), cmp.Or(o.Timeout, DefaultTimeout)
	r := &Result{Schema: ResultSchema, Target: target.Path, Expect: o.Expect, Verdict: None, Firmware: o.Firmware, Units: []Unit{}, Notes: []string{}}
	if target.Kind != image.Disk {
		return nil, &builder.Problem{Fact: "it is a directory, which cannot be booted", Advice: "rehearse the disk image that is made from it"}
	}
	manifest, err := builder.ReadManifest(target.Tree())
	if err != nil {
		return nil, err
	}
	if manifest == nil {
		r.Cause = "nothing of kerngate is in it: no " + builder.ManifestPath + "; the machine boots without a gate"
		return r, nil
	}
	temp, err := os.MkdirTemp("", "kerngate-rehearse-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	mo, err := r.prepare(target, o, temp)
	if err != nil {
		return nil, err
	}
	var written []string
	for _, e := range manifest.Entries {
		written = append(written, e.Path)
	}
	return r, r.boot(ctx, mo, append([]string{unit.Gate}, gatedUnits(written)...), o)
}

// prepare takes out of the image what the machine needs.
func (r *Result) prepare(target *image.Target, o Options, dir string) (machine.Options, error) {
	arch, err := checker.Architecture(target.Tree())
	if err != nil {
		return machine.Options{}, err
	}
	r.Arch = machine.Arch(arch)
	mo := machine.Options{
		Arch: r.Arch, Disk: target.Path, Firmware: o.Firmware, Memory: o.Memory, Accel: o.Accel, Timeout: o.Timeout,
		Console: o.Console, Second: canAsk(r.Arch),
	}
	b, err := NewBoot(target, o.Kernel)
	if err != nil && o.Firmware {
		return mo, nil // whatever the firmware finds; it is not asked about KVM then
	}
	if err != nil {
		return mo, err
	}
	if mo.Kernel, mo.Initrd, err = b.extract(target.Tree(), dir); err != nil {
		return mo, err
	}
	if o.Firmware {
		mo.Credentials = credentials
		return mo, nil
	}
	r.Boot, mo.Bus = &b, b.bus()
	if r.Notes = append(r.Notes, b.passed...); b.Entry == "" {
		r.Notes = append(r.Notes, "the image has no boot entry: kernel and command line are guessed, and arguments that are set elsewhere are missing (see --append)")
	}
	if len(b.Initrds) == 0 && !b.unified {
		r.Notes = append(r.Notes, "the kernel is booted without an initramfs")
	}
	r.CommandLine, err = extended(b.CommandLine, append(watching(r.Arch), o.Append...))
	mo.Append = []string{r.CommandLine}
	return mo, err
}

// credentials put systemd's debug shell on the second port (systemd.system-credentials(7)).
// Not in the initramfs, which cannot answer.
var credentials = map[string]string{
	"systemd.unit-dropin.sysinit.target":      "[Unit]\nWants=debug-shell.service\n",
	"systemd.unit-dropin.debug-shell.service": "[Unit]\nConditionPathExists=!/etc/initrd-release\n[Service]\nTTYPath=/dev/" + shellPort + "\n",
}

// boot runs the machine until the verdict is known and the boot is over.
func (r *Result) boot(ctx context.Context, o machine.Options, units []string, how Options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m, err := machine.Boot(ctx, o)
	if err != nil {
		return err
	}
	defer m.Close()
	r.Accel = m.Accel()
	w := &watch{result: r, machine: m, start: time.Now(), tell: how.Progress}
	if w.tell == nil {
		w.tell = func(Step) {}
	}
	if line := m.Second(); line != nil {
		states := make(chan state)
		w.states = states
		go (&interviewer{line: line, units: units, wait: askEvery, limit: answerTime, heard: func() { w.heard.Store(true) }}).run(ctx, states)
	}
	ended := w.follow(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	r.Seconds = time.Since(w.start).Seconds()
	if r.Verdict != None && errors.Is(ended, context.DeadlineExceeded) {
		ended = nil // the verdict is there; only the boot is not over
	}
	r.judge(w.last, w.explain(ended))
	if w.last != nil && !settled(w.last.running) && ended == nil {
		r.Notes = append(r.Notes, "the boot was not over yet: units may still change their state")
	}
	if r.Report != nil && r.Report.Override != "" {
		r.Notes = append(r.Notes, "rules refuse: the gate passes only by the break-glass on the kernel command line")
	}
	if !r.AsExpected {
		// What was printed before the answer may not have been read yet.
		if err := m.Close(); err != nil {
			return err
		}
		lines := m.Console()
		r.Console = lines[max(0, len(lines)-tailLines):]
	}
	if w.last == nil && r.Verdict != None {
		r.Notes = append(r.Notes, "the guest could not be asked: verdict and findings are from its console, and nothing is known of the units")
	}
	return nil
}

// watch follows one machine.
type watch struct {
	result  *Result
	machine *machine.Machine
	start   time.Time
	tell    func(Step)
	states  <-chan state
	seen    int         // console lines
	stage   string      // last told
	heard   atomic.Bool // the guest's shell has answered
	last    *state
	verdict time.Time // when it came; zero: not yet
}

// follow returns when there is no more to wait for: nil, or why the machine ended
// before.
func (w *watch) follow(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		lines, more, end := w.machine.Follow(w.seen)
		for _, line := range lines {
			w.line(line)
		}
		w.seen += len(lines)
		if end != nil && len(lines) == 0 {
			return end
		}
		if w.done() {
			return nil
		}
		select {
		case <-more:
		case s := <-w.states:
			w.take(s)
		case <-tick.C:
			w.tell(Step{At: time.Since(w.start), Text: w.stage})
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// done says whether the verdict is there and the units have their states, or the boot is
// over without one.
func (w *watch) done() bool {
	switch {
	case w.last != nil && settled(w.last.running):
		return true
	case w.verdict.IsZero():
		return false
	case w.heard.Load():
		return time.Since(w.verdict) > settleTime
	case w.states != nil:
		return time.Since(w.verdict) > mutedTime
	default:
		return time.Since(w.verdict) > shellessTime
	}
}

// line takes a console line.
func (w *watch) line(line string) {
	if s, ok := readVerdict(line); ok {
		w.noteVerdict()
		if w.result.Source != "report" {
			w.result.Source, w.result.Verdict, w.result.Line, w.result.UptimeAtVerdict = "console", s.verdict, s.text, s.uptime
		}
	}
	if found := runningKernel.FindStringSubmatch(line); found != nil {
		w.result.Kernel = found[1]
	}
	if text, ok := readStage(line); ok && text != w.stage {
		w.stage = text
		w.tell(Step{At: time.Since(w.start), Text: text, New: true})
	}
}

// take takes an answer of the guest.
func (w *watch) take(s state) {
	w.last = &s
	if s.report != nil {
		w.noteVerdict()
	}
	w.result.take(s)
}

func (w *watch) noteVerdict() {
	if w.verdict.IsZero() {
		w.verdict = time.Now()
		w.result.SecondsToVerdict = time.Since(w.start).Seconds()
	}
}

// explain puts the end of a machine into better words, where the console has them.
func (w *watch) explain(ended error) error {
	lines := w.machine.Console()
	switch what := whatWentWrong(lines); {
	case ended == nil:
		return nil
	case what != "":
		return errors.New(what)
	case errors.Is(ended, context.DeadlineExceeded) && len(lines) == 0:
		return errors.New("the time is over, and nothing came from the console: a boot loader's command line must have console=ttyS0")
	case errors.Is(ended, context.DeadlineExceeded):
		return fmt.Errorf("the time is over (see --timeout); last it said %q", strings.TrimSpace(lines[len(lines)-1]))
	default:
		return ended
	}
}
