package initcheck

import (
	"strings"

	"github.com/kerngate/kerngate/initcheck/policy"
)

// Explanation is the finding of one rule, and what would turn it to pass.
type Explanation struct {
	Finding
	Change string // empty where the finding is pass
}

// What would change a finding, where the finding itself does not say.
const (
	changePolicy = "run kerngate apply again, with the kerngate of this checker"
	changeSource = "make readable what could not be read; then: systemctl restart initcheck.service"
)

// Explain applies the policy to the facts, rule by rule: the floor, the advisories, the
// modules. It is never empty.
func Explain(f Facts, p policy.Policy) []Explanation {
	out := f.kernel(p)
	for _, m := range p.Modules {
		if len(m.RefuseIf) == 0 {
			out = append(out, Explanation{doubt("module "+m.Name, "the policy names module %q but no condition to refuse on", m.Name), changePolicy})
		}
		for _, c := range m.RefuseIf {
			finding := f.module(m, c)
			out = append(out, Explanation{finding, changeOfModule(finding.Outcome, m, c)})
		}
	}
	if len(out) == 0 {
		nothing := doubt("policy", "the policy decides nothing: it has neither a floor nor a module")
		out = append(out, Explanation{nothing, changePolicy})
	}
	return out
}

func changeOfModule(o Outcome, m policy.Module, c policy.Condition) string {
	name := m.Name
	switch {
	case o == Pass:
		return ""
	case o == Doubt:
		return changeSource
	case c == policy.BuiltIn && len(m.Initcalls) > 0:
		return "boot with initcall_blacklist=" + strings.Join(m.Initcalls, ",") + ", or a kernel that does not have " + name + " built in"
	case c == policy.BuiltIn:
		return "boot a kernel that does not have " + name + " built in"
	}
	return "unload " + name + ", or boot with module_blacklist=" + name + "; then: systemctl restart initcheck.service"
}
