package command

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kerngate/kerngate/initcheck/notify"
)

func (p Program) report(j judgement, verb string) notify.Report {
	r := notify.NewReport(j.verdict, j.policy)
	r.Verb = verb
	r.Kernel = j.kernel
	r.Version = p.Version
	r.BootID = j.boot.ID
	r.Uptime = j.boot.Uptime.Seconds()
	if !j.verdict.Pass {
		r.Unheeded = j.unheeded
	}
	r.Time = p.Now().UTC().Truncate(time.Second)
	return r
}

func (p Program) record(j judgement, verb string) error {
	return p.Report.Write(p.report(j, verb))
}

// tell writes the report to the notices, to stderr and to the logs. What goes wrong there
// changes no verdict; a log that hangs is left behind.
func (p Program) tell(r notify.Report) {
	unwritten := p.Notices.Write(r)
	defer func() { p.complain(unwritten) }()
	if !p.StderrIsJournal {
		fmt.Fprintln(p.Stderr, r.Line())
	}
	if r.Unheeded != "" {
		fmt.Fprintf(p.Stderr, "initcheck: initcheck.override= on the kernel command line is not heeded: %s\n", notify.Printable(r.Unheeded))
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
