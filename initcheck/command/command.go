// Package command is the command line of initcheck: the verbs check, recheck, breach,
// status, explain and version, with everything that they touch passed in, so that a test
// runs them whole without a real /proc or /run.
//
// check is the gate: it removes the stamp, decides, and sets the stamp only on
// pass. recheck runs before each start of a gated unit and can only take the
// stamp away; so can breach, which runs when a blocked module was loaded. All refuse
// on every error of their own, on a panic, and when a signal tells them to end before
// they have decided.
package command

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
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
  status [--short | --json]
                   show the last verdict and its reasons, or with --short one line of at
                   most 80 bytes, for node-problem-detector
  explain          decide now, change nothing, and show for every rule what would change it
  version          show the version

Exit codes: 0 pass or done, and always from breach --report; 1 refuse, on any doubt too,
and 77 from recheck; 2 usage. status exits with 0 while inference units may start.
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
	Notices notify.Notices

	// Catch keeps the signals that would end the process from ending it, and gives them
	// from now on; those that only show and report let them. Of a unit with
	// SuccessExitStatus=SIGTERM systemd takes a re-check that dies of SIGTERM for a pass.
	Catch func() <-chan os.Signal

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
	run, asJSON, short, reportOnly := p.check, false, false, false
	switch verb {
	case "check":
	case "recheck":
		run = p.recheck
	case "breach":
		flags.BoolVar(&reportOnly, "report", false, "")
		run = func() int {
			if reportOnly {
				return p.reportBreach()
			}
			return p.breach()
		}
	case "status":
		flags.BoolVar(&asJSON, "json", false, "")
		flags.BoolVar(&short, "short", false, "")
		run = func() int { return p.status(asJSON, short) }
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
	case asJSON && short:
		return p.misused("status takes one of --json and --short")
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
	told := p.Catch()
	// What an earlier run left must tell nobody of a pass, should this one be killed.
	removed := p.Stamp.Remove()
	p.complain(p.forget())
	j := p.judge(told)
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

// forget takes away what was told of an earlier verdict.
func (p Program) forget() error {
	return errors.Join(p.Report.Remove(), p.Notices.Clear())
}

func (p Program) version() int {
	fmt.Fprintf(p.Stdout, "initcheck %s (policy schema %d)\n", p.Version, policy.Schema)
	return exitPass
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
	p.complain(p.forget())
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
