package initcheck

import (
	"fmt"

	"github.com/kerngate/kerngate/initcheck/policy"
)

// Outcome is what one rule came to.
type Outcome string

// The outcomes. Only Pass lets the machine through.
const (
	Pass   Outcome = "pass"
	Refuse Outcome = "refuse" // the rule is broken
	Doubt  Outcome = "doubt"  // the rule could not be decided, which refuses too
)

// Finding is the outcome of one rule of the policy.
type Finding struct {
	Rule    string  // "floor", or "module", name and condition: "module algif_hash loaded"
	Outcome Outcome //
	Text    string  // one line in plain words
}

// Verdict is the answer. The zero value refuses.
type Verdict struct {
	Pass     bool
	Findings []Finding // one per rule, in the order of the policy
	// Override is the reason that was given to pass although rules refuse; empty: they
	// decided.
	Override string
}

// Add gives the verdict with one more finding, which can only turn it to refuse. No
// override outlasts one that does.
func (v Verdict) Add(f Finding) Verdict {
	v.Findings = append(v.Findings[:len(v.Findings):len(v.Findings)], f)
	if f.Outcome != Pass {
		v.Pass, v.Override = false, ""
	}
	return v
}

// Overridden gives the verdict that passes for a reason although rules refuse. One that
// passes anyway, or that comes from no rule, stays as it is.
func (v Verdict) Overridden(reason string) Verdict {
	if !v.Pass && reason != "" && len(v.Findings) > 0 {
		v.Pass, v.Override = true, reason
	}
	return v
}

// Decide applies the policy to the facts. It is pure: the same facts and policy
// give the same verdict. It passes only when there is a rule and every rule passes.
func Decide(f Facts, p policy.Policy) Verdict {
	return Sum(Explain(f, p))
}

// Sum is the verdict that findings come to. Nothing to sum refuses.
func Sum(all []Explanation) Verdict {
	v := Verdict{Pass: len(all) > 0}
	for _, e := range all {
		v = v.Add(e.Finding)
	}
	return v
}

// module decides one condition on one module.
func (f Facts) module(m policy.Module, c policy.Condition) Finding {
	rule := "module " + m.Name + " " + string(c)
	switch c {
	case policy.Loaded:
		return f.loaded(rule, m)
	case policy.BuiltIn:
		return f.builtIn(rule, m)
	}
	return doubt(rule, "the policy refuses on %q, which this initcheck does not know", c)
}

func (f Facts) loaded(rule string, m policy.Module) Finding {
	switch {
	case !f.Loaded.Read:
		return doubt(rule, "cannot tell whether module %s is loaded: %s", m.Name, f.Loaded.why())
	case f.Loaded.Has(m.Name):
		return Finding{rule, Refuse, "module " + m.Name + " is loaded" + because(m)}
	case f.BuiltIn.Has(m.Name):
		// Its traces elsewhere are explained, and refusing is up to the other condition.
		return Finding{rule, Pass, "module " + m.Name + " is built in, not loaded"}
	}
	if trace := f.trace(m.Name); trace != "" {
		return doubt(rule, "module %s is not in %s, but %s%s", m.Name, f.Loaded.Source, trace, because(m))
	}
	return Finding{rule, Pass, "module " + m.Name + " is not loaded"}
}

func (f Facts) builtIn(rule string, m policy.Module) Finding {
	switch {
	case f.BuiltIn.Has(m.Name):
		kept, why := f.keptOut(m)
		if kept {
			return Finding{rule, Pass, "module " + m.Name + " is built in, and initcall_blacklist= keeps it from starting"}
		}
		if why != "" {
			why = ", and " + why
		}
		return Finding{rule, Refuse, "module " + m.Name + " is built into the kernel" + why + because(m)}
	case f.Present.Has(m.Name) && f.Loaded.Read && !f.Loaded.Has(m.Name):
		return Finding{rule, Refuse, fmt.Sprintf("module %s is built into the kernel: it is in %s and not in %s%s", m.Name, f.Present.Source, f.Loaded.Source, because(m))}
	case !f.BuiltIn.Read:
		return doubt(rule, "cannot tell whether module %s is built into the kernel: %s", m.Name, f.BuiltIn.why())
	case f.Loaded.Has(m.Name):
		// Its traces elsewhere are explained, and refusing is up to the other condition.
		return Finding{rule, Pass, "module " + m.Name + " is loaded, not built in"}
	}
	if trace := f.trace(m.Name); trace != "" {
		return doubt(rule, "module %s is not in %s, but %s%s", m.Name, f.BuiltIn.Source, trace, because(m))
	}
	return Finding{rule, Pass, "module " + m.Name + " is not built in"}
}

// trace tells where else the module shows itself, or nothing.
func (f Facts) trace(name string) string {
	if f.Present.Has(name) {
		return f.Present.Source + " has it"
	}
	if protocol := protocolOf(name); protocol != "" && f.Protocols.Has(protocol) {
		return f.Protocols.Source + " has its protocol " + protocol
	}
	return ""
}

// protocolOf names the protocol that a module registers with proto_register, for
// those that a policy is likely to name.
func protocolOf(module string) string {
	switch normal(module) {
	case "af_alg":
		return "ALG"
	case "rxrpc":
		return "RXRPC"
	}
	return ""
}

func because(m policy.Module) string {
	if m.Reason == "" {
		return ""
	}
	return " (" + m.Reason + ")"
}

func doubt(rule, format string, args ...any) Finding {
	return Finding{rule, Doubt, fmt.Sprintf(format, args...)}
}
