package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/kerngate/kerngate/initcheck"
	"github.com/kerngate/kerngate/initcheck/policy"
	"github.com/kerngate/kerngate/initcheck/probe"
)

// judgement is a verdict and what it was made from.
type judgement struct {
	verdict   initcheck.Verdict
	explained []initcheck.Explanation // empty if it did not come to that
	policy    policy.Policy
	kernel    string
	boot      probe.Boot
	reason    string // of a break-glass that is heeded, needed or not; empty: there is none
	unheeded  string // why a break-glass is not heeded; empty: it is, or there is none
	ended     error  // a signal told the program to end before it had decided
}

// judge reads and decides, within the deadline and until a signal tells it to end; told may
// be nil. A read that hangs is left behind: the process ends soon after. A signal that
// comes when all is decided changes nothing.
func (p Program) judge(told <-chan os.Signal) judgement {
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
	case s := <-told:
		err := fmt.Errorf("told to end (%v) before the facts were read", s)
		return judgement{verdict: refusal("signal", err), ended: err}
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
	if functions := facts.InitcallsOf(j.policy); len(functions) > 0 {
		facts.Initcalls = probe.ReadInitcalls(p.Root, functions)
	}
	j.explained = initcheck.Explain(facts, j.policy)
	j.verdict = initcheck.Sum(j.explained)
	return p.overridden(j)
}

// overridden applies the break-glass, which only a policy that was read whole can permit,
// and which heals no fault of the checker's own.
func (p Program) overridden(j judgement) judgement {
	reason, given, err := probe.ReadOverride(p.Root)
	switch {
	case err != nil && j.policy.Override:
		j.unheeded = err.Error()
	case !given:
	case !j.policy.Override:
		j.unheeded = "the profile does not permit it: want override = true in [gate]"
	case reason == "":
		j.unheeded = "it gives no reason: want initcheck.override=REASON"
	default:
		j.reason = reason
		j.verdict = j.verdict.Overridden(reason)
	}
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
