// Package command is the command line of initcheck: the verbs check, recheck, breach,
// status, explain and version, with everything that they touch passed in, so that a test
// runs them whole without a real /proc or /run.
//
// check is the gate: it removes the stamp, decides, and sets the stamp only on
// pass. recheck runs before each start of a gated unit and can only take the
// stamp away; so can breach, which runs when a blocked module was loaded. All refuse
// on every error of their own, and on a panic.
package command

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/kerngate/kerngate/initcheck"
	"github.com/kerngate/kerngate/initcheck/notify"
	"github.com/kerngate/kerngate/initcheck/policy"
	"github.com/kerngate/kerngate/initcheck/probe"
)

// Exit codes. 255 is never used: systemd takes it in ExecCondition= for a unit
// that failed, not for one that must not start.
const (
	exitPass   = 0
	exitRefuse = 1
	exitUsage  = 2
	// exitHold is how recheck refuses, EX_NOPERM of sysexits.h. Not 1: of a unit with
	// SuccessExitStatus=1, which is common, systemd takes 1 for success here too, and
	// was seen to start it.
	exitHold = 77
)

const usage = `Usage: initcheck VERB

initcheck decides at boot whether the inference services of this machine may start.

Verbs:
  check            decide, and tell it: what initcheck.service runs
  recheck          decide again, silent on pass: what each gated unit runs before it starts
  breach [--report]
                   decide again, silent on pass: what runs after a blocked module was
                   loaded; with --report a refusal is told and changes nothing
  status [--json]  show the last verdict and its reasons
  explain          decide now, change nothing, and show for every rule what would change it
  version          show the version

Exit codes: 0 pass or done, and always from breach --report; 1 refuse, on any doubt too,
and 77 from recheck; 2 usage.
`

// Program is the checker and all that it touches.
type Program struct {
	Version string // of the program
	Policy  string // absolute path of the policy in Root
	Root    fs.FS  // the root file system, for everything that is only read
	Uname   func() (probe.Uname, error)

	Stamp   notify.Stamp
	Report  notify.ReportFile
	Kmsg    notify.Kmsg
	Journal notify.Journal
	Manager notify.Manager

	Deadline     time.Duration // for reading and deciding; refuse when it is over
	TellDeadline time.Duration // for the logs; go on without them when it is over
	Now          func() time.Time

	Stdout, Stderr io.Writer
	// StderrIsJournal: what goes to Stderr ends up in the journal, where Journal
	// writes already.
	StderrIsJournal bool
}

// Run runs one verb and gives the exit code. args are those after the program's
// name.
func (p Program) Run(args []string) int {
	if len(args) == 0 {
		fmt.Fprint(p.Stderr, usage)
		return exitUsage
	}
	verb, args := args[0], args[1:]
	flags := flag.NewFlagSet("initcheck "+verb, flag.ContinueOnError)
	flags.SetOutput(p.Stderr)
	flags.Usage = func() {}
	run, asJSON, reportOnly := p.check, false, false
	switch verb {
	case "check":
	case "recheck":
		run = p.recheck
	case "breach":
		flags.BoolVar(&reportOnly, "report", false, "")
		run = func() int { return p.breach(reportOnly) }
	case "status":
		flags.BoolVar(&asJSON, "json", false, "")
		run = func() int { return p.status(asJSON) }
	case "explain":
		run = p.explain
	case "version":
		run = p.version
	case "help", "-h", "-help", "--help":
		fmt.Fprint(p.Stdout, usage)
		return exitPass
	default:
		return p.misused("verb %q is unknown", verb)
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(p.Stdout, usage)
		return exitPass
	case err != nil:
		return p.misused("")
	case flags.NArg() > 0:
		return p.misused("%s takes no argument, and got %q", verb, flags.Arg(0))
	}
	return run()
}

// misused says what is wrong, unless it has been said, and how it would be right.
func (p Program) misused(format string, args ...any) int {
	if format != "" {
		fmt.Fprintf(p.Stderr, "initcheck: "+format+"\n", args...)
	}
	fmt.Fprint(p.Stderr, usage)
	return exitUsage
}

// check is what the gate runs.
func (p Program) check() (code int) {
	defer p.refuseOnPanic(&code, exitRefuse)
	removed := p.Stamp.Remove()
	j := p.judge()
	if removed != nil {
		j.verdict = j.verdict.Add(fault("stamp", removed))
	}
	if err := p.record(j, notify.Check); err != nil {
		j.verdict = j.verdict.Add(fault("report", err))
	}
	if j.verdict.Pass {
		if err := p.Stamp.Create(p.report(j, notify.Check)); err != nil {
			j.verdict = j.verdict.Add(fault("stamp", err))
			p.complain(p.record(j, notify.Check))
		}
	}
	p.tell(p.report(j, notify.Check))
	return exitCode(j.verdict)
}

// recheck is what a gated unit runs before it starts. It is silent on pass, since
// it runs often.
func (p Program) recheck() (code int) {
	defer p.refuseOnPanic(&code, exitHold)
	if exists, err := p.Stamp.Exists(); err != nil || !exists {
		return p.withoutStamp(err)
	}
	j := p.judge()
	if j.verdict.Pass {
		return exitPass
	}
	p.complain(p.Stamp.Remove())
	p.complain(p.record(j, notify.Recheck))
	p.tell(p.report(j, notify.Recheck))
	return exitHold
}

// breach is what runs after a blocked module was loaded. That it refuses is for the
// service manager to act on, which stops the gate.
func (p Program) breach(reportOnly bool) (code int) {
	if reportOnly {
		return p.reportBreach()
	}
	defer p.refuseOnPanic(&code, exitRefuse)
	j := p.judge()
	if j.verdict.Pass {
		return exitPass
	}
	p.complain(p.Stamp.Remove())
	p.complain(p.record(j, notify.Breach))
	p.tell(p.report(j, notify.Breach))
	return exitRefuse
}

// reportBreach tells of a breach and changes nothing else, whatever it finds.
func (p Program) reportBreach() int {
	defer func() {
		if cause := recover(); cause != nil {
			fmt.Fprintf(p.Stderr, "initcheck: breach: internal error: %v; reported only\n", cause)
		}
	}()
	j := p.judge()
	if j.verdict.Pass {
		return exitPass
	}
	r := p.report(j, notify.Breach)
	r.ReportOnly = true
	p.complain(p.Report.Write(r))
	p.tell(r)
	return exitPass
}

// withoutStamp refuses without a report of its own: the one that is there tells
// why there is no stamp.
func (p Program) withoutStamp(err error) int {
	if err != nil {
		fmt.Fprintf(p.Stderr, "initcheck: refuse: %v; inference units stay off\n", err)
		return exitHold
	}
	fmt.Fprintf(p.Stderr, "initcheck: refuse: there is no stamp at %s: the gate did not pass in this boot, or a recheck refused since; inference units stay off\n", p.Stamp.Path)
	if r, err := p.Report.Read(); err == nil {
		fmt.Fprintf(p.Stderr, "initcheck: the last report says: %s\n", strings.TrimPrefix(r.Line(), "initcheck: "))
	}
	return exitHold
}

func (p Program) version() int {
	fmt.Fprintf(p.Stdout, "initcheck %s (policy schema %d)\n", p.Version, policy.Schema)
	return exitPass
}

// judgement is a verdict and what it was made from.
type judgement struct {
	verdict   initcheck.Verdict
	explained []initcheck.Explanation // empty if it did not come to that
	policy    policy.Policy
	kernel    string
	boot      probe.Boot
}

// judge reads and decides, within the deadline. A read that hangs is left behind:
// the process ends soon after.
func (p Program) judge() judgement {
	done := make(chan judgement, 1)
	go func() {
		var j judgement
		defer func() {
			if cause := recover(); cause != nil {
				j.verdict = refusal("initcheck", fmt.Errorf("internal error: %v", cause))
			}
			done <- j
		}()
		j = p.decide()
	}()
	select {
	case j := <-done:
		return j
	case <-time.After(p.Deadline):
		return judgement{verdict: refusal("deadline", fmt.Errorf("the facts could not be read within %v", p.Deadline))}
	}
}

func (p Program) decide() judgement {
	j := judgement{boot: probe.ReadBoot(p.Root)}
	u, err := p.Uname()
	if err != nil {
		j.verdict = refusal("kernel", err)
		return j
	}
	j.kernel = u.Release
	j.policy, err = p.readPolicy()
	if err != nil {
		j.verdict = refusal("policy", err)
		return j
	}
	facts := probe.Read(p.Root, u)
	if len(j.policy.Advisories) > 0 {
		facts.Kernel = probe.ReadKernel(p.Root, u.Release, p.Now())
	}
	j.explained = initcheck.Explain(facts, j.policy)
	j.verdict = initcheck.Sum(j.explained)
	return j
}

func (p Program) readPolicy() (policy.Policy, error) {
	data, err := probe.ReadFile(p.Root, strings.TrimPrefix(p.Policy, "/"), policy.Limit)
	if err != nil {
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err
		}
		return policy.Policy{}, fmt.Errorf("cannot read policy %s: %w", p.Policy, err)
	}
	decided, err := policy.Decode(data)
	if err != nil {
		return policy.Policy{}, fmt.Errorf("%s: %w", p.Policy, err)
	}
	return decided, nil
}

func (p Program) report(j judgement, verb string) notify.Report {
	r := notify.NewReport(j.verdict, j.policy)
	r.Verb = verb
	r.Kernel = j.kernel
	r.Version = p.Version
	r.BootID = j.boot.ID
	r.Uptime = j.boot.Uptime.Seconds()
	r.Time = p.Now().UTC().Truncate(time.Second)
	return r
}

func (p Program) record(j judgement, verb string) error {
	return p.Report.Write(p.report(j, verb))
}

// tell writes the report to stderr and to the logs. What goes wrong there changes
// no verdict; a log that hangs is left behind.
func (p Program) tell(r notify.Report) {
	if !p.StderrIsJournal {
		fmt.Fprintln(p.Stderr, r.Line())
	}
	if refusals := r.Refusals(); len(refusals) > 1 {
		for _, f := range refusals {
			fmt.Fprintf(p.Stderr, "initcheck: %s: %s\n", f.Outcome, notify.Printable(f.Text))
		}
	}
	if err := p.log(r); err != nil {
		if p.StderrIsJournal {
			fmt.Fprintln(p.Stderr, r.Line())
		}
		p.complain(err)
	}
}

// log writes the report to all logs.
func (p Program) log(r notify.Report) error {
	done := make(chan error, 1)
	go func() {
		var errs []error
		defer func() {
			if cause := recover(); cause != nil {
				errs = append(errs, fmt.Errorf("internal error while logging: %v", cause))
			}
			done <- errors.Join(errs...)
		}()
		for _, write := range []func(notify.Report) error{p.Kmsg.Write, p.Journal.Write, p.Manager.Write} {
			errs = append(errs, write(r))
		}
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(p.TellDeadline):
		return fmt.Errorf("the logs took longer than %v", p.TellDeadline)
	}
}

func (p Program) complain(err error) {
	if err == nil {
		return
	}
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(p.Stderr, "initcheck: %s\n", notify.Printable(strings.TrimSuffix(line, "\n")))
	}
}

// refuseOnPanic is the last net: whatever breaks, the stamp goes and the exit code
// is the verb's refusal.
func (p Program) refuseOnPanic(code *int, answer int) {
	cause := recover()
	if cause == nil {
		return
	}
	*code = answer
	p.complain(p.Stamp.Remove())
	fmt.Fprintf(p.Stderr, "initcheck: refuse: internal error: %v; inference units stay off\n", cause)
}

func refusal(rule string, err error) initcheck.Verdict {
	return initcheck.Verdict{}.Add(fault(rule, err))
}

// fault is the finding for an error of our own. It has one line whatever the error
// has.
func fault(rule string, err error) initcheck.Finding {
	return initcheck.Finding{Rule: rule, Outcome: initcheck.Doubt, Text: strings.ReplaceAll(err.Error(), "\n", "; ")}
}

func exitCode(v initcheck.Verdict) int {
	if v.Pass {
		return exitPass
	}
	return exitRefuse
}
