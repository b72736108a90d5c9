package initcheck

import (
	"strings"

	"github.com/kerngate/kerngate/initcheck/policy"
)

// InitcallsOf lists the functions that start those modules of the policy that are built in:
// what has to be known of them to tell whether the modules were kept out.
func (f Facts) InitcallsOf(p policy.Policy) []string {
	var out []string
	for _, m := range p.Modules {
		if f.BuiltIn.Has(m.Name) {
			out = append(out, m.Initcalls...)
		}
	}
	return out
}

// keptOut tells whether a built-in module was kept from starting; if not, why that is not
// so, empty where the policy knows no way to keep it. Its directory in /sys/module says
// nothing: the kernel makes one for every built-in that has a parameter.
func (f Facts) keptOut(m policy.Module) (kept bool, why string) {
	if len(m.Initcalls) == 0 {
		return false, ""
	}
	for _, function := range m.Initcalls {
		switch {
		case !f.Initcalls.Skipped.Read:
			return false, "cannot tell whether initcall_blacklist= has " + function + ": " + f.Initcalls.Skipped.why()
		case !f.Initcalls.Skipped.Has(function):
			return false, "initcall_blacklist= does not have " + function
		case !f.Initcalls.Known.Read:
			return false, "cannot tell whether the kernel has " + function + ", which initcall_blacklist= names: " + f.Initcalls.Known.why()
		case !f.Initcalls.Known.Has(function):
			return false, "the kernel has no " + function + " that initcall_blacklist= could keep it from calling"
		}
	}
	if protocol := protocolOf(m.Name); protocol != "" && f.Protocols.Has(protocol) {
		return false, "it runs although initcall_blacklist= has " + strings.Join(m.Initcalls, ",") + ": " + f.Protocols.Source + " has its protocol " + protocol
	}
	return true, ""
}
