package command

import (
	"fmt"
	"strings"

	"github.com/kerngate/kerngate/initcheck/notify"
)

// notNeeded is said of a break-glass that stands ready; empty where there is none.
func notNeeded(reason string) string {
	if reason == "" {
		return ""
	}
	return "not needed: " + reason
}

// explain decides as check does and shows it rule by rule, with what would change each. It
// touches neither stamp nor report.
func (p Program) explain() int {
	j := p.judge(nil)
	var b strings.Builder
	r := p.report(j, "explain")
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-8s %s\n", name, notify.Printable(value))
		}
	}
	line("verdict", r.Verdict)
	writeOverride(line, r)
	if r.Override == "" {
		line("override", notNeeded(j.reason))
	}
	line("kernel", orUnknown(r.Kernel))
	line("profile", orUnknown(r.Profile))
	if len(j.explained) == 0 {
		for _, f := range r.Findings {
			line(f.Outcome, f.Text)
		}
	}
	for _, e := range j.explained {
		line(string(e.Outcome), e.Rule+": "+e.Text)
		line("  change", e.Change)
	}
	fmt.Fprint(p.Stdout, b.String())
	return exitCode(j.verdict)
}
