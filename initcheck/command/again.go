package command

import (
	"fmt"
	"strings"

	"github.com/kerngate/kerngate/initcheck/notify"
)

// recheck is what a gated unit runs before it starts. It is silent on a plain pass, since
// it runs often.
//
// Told to end it holds back its own unit alone: whoever stops a unit that is starting, or a
// time limit of the unit, tells nothing of the kernel. Every other start decides anew.
func (p Program) recheck() (code int) {
	defer p.refuseOnPanic(&code, exitHold)
	told := p.Catch()
	if exists, err := p.Stamp.Exists(); err != nil || !exists {
		return p.withoutStamp(err)
	}
	j := p.judge(told)
	if j.ended != nil {
		p.complain(fmt.Errorf("refuse: %w; this unit does not start", j.ended))
		return exitHold
	}
	if !p.again(j, notify.Recheck) {
		return exitHold
	}
	// Another may have taken the stamp away meanwhile.
	if exists, err := p.Stamp.Exists(); err != nil || !exists {
		return p.withoutStamp(err)
	}
	return exitPass
}

// breach is what runs after a blocked module was loaded. That it refuses is for the
// service manager to act on, which stops the gate, and so also if it is told to end: the
// stamp of a gate that is stopped must go.
func (p Program) breach() (code int) {
	defer p.refuseOnPanic(&code, exitRefuse)
	if p.again(p.judge(p.Catch()), notify.Breach) {
		return exitPass
	}
	return exitRefuse
}

// again acts on a verdict after the gate's. It can only take the stamp away. A pass by
// override is told, and what cannot be told of it is no pass.
func (p Program) again(j judgement, verb string) bool {
	if p.isNoNews(j) {
		return true
	}
	if j.verdict.Pass {
		if err := p.record(j, verb); err != nil {
			j.verdict = j.verdict.Add(fault("report", err))
		}
	}
	if !j.verdict.Pass {
		p.complain(p.Stamp.Remove())
		p.complain(p.record(j, verb))
	}
	p.tell(p.report(j, verb))
	return j.verdict.Pass
}

// isNoNews holds for a plain pass, and for one by override that would open nothing: a gate
// that refused stays closed, and its report stays what it is.
func (p Program) isNoNews(j judgement) bool {
	if !j.verdict.Pass || j.verdict.Override == "" {
		return j.verdict.Pass
	}
	exists, err := p.Stamp.Exists()
	return err == nil && !exists
}

// reportBreach tells of a breach and changes nothing else, whatever it finds.
func (p Program) reportBreach() int {
	defer func() {
		if cause := recover(); cause != nil {
			fmt.Fprintf(p.Stderr, "initcheck: breach: internal error: %v; reported only\n", cause)
		}
	}()
	j := p.judge(nil)
	if p.isNoNews(j) {
		return exitPass
	}
	r := p.report(j, notify.Breach)
	r.ReportOnly = !j.verdict.Pass
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
