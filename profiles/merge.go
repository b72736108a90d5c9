package profiles

import (
	"slices"
	"strings"

	"github.com/kerngate/kerngate/initcheck/kver"
	"github.com/kerngate/kerngate/initcheck/policy"
)

// merge flattens the files, each once. For every setting the strictest file decides,
// so the order matters only to the order of units and reasons.
func (l *loader) merge(root *loaded) Profile {
	p := Profile{
		Name: root.name, Description: root.description, Source: root.source,
		Modules: []Module{},
		Accept:  []Accept{},
	}
	byName := make(map[string]Module)
	var kernels []kernelPart
	var gates []gatePart
	for _, f := range l.bases {
		kernels = append(kernels, f.kernel)
		gates = append(gates, f.gate)
		p.Report = p.Report.with(f.report)
		p.Accept = union(Accepts(), p.Accept, f.accept)
		for _, m := range f.modules {
			byName[m.Name] = mergeModule(byName[m.Name], m)
		}
	}
	p.Kernel = mergeKernel(kernels)
	p.Gate = mergeGate(gates)
	for _, m := range byName {
		p.Modules = append(p.Modules, m)
	}
	slices.SortFunc(p.Modules, func(a, b Module) int { return strings.Compare(a.Name, b.Name) })
	return p
}

// higherFloor takes "" for none. What is no floor has its finding already, and reads as
// none.
func higherFloor(a, b string) string {
	ra, errA := kver.ParseFloor(a)
	rb, errB := kver.ParseFloor(b)
	if errA != nil || errB == nil && kver.Compare(rb, ra) > 0 {
		return b
	}
	return a
}

// mergeModule unites what two files ask for one module; a is the zero Module if there
// was none before.
func mergeModule(a, b Module) Module {
	b.Reason = joinReasons(a.Reason, b.Reason)
	b.Block = union(allBlocks(), a.Block, b.Block)
	b.Remove = a.Remove || b.Remove
	b.RefuseIf = union([]policy.Condition{policy.Loaded, policy.BuiltIn}, a.RefuseIf, b.RefuseIf)
	return b
}

// joinReasons leaves out what a already says.
func joinReasons(a, b string) string {
	var parts []string
	for _, part := range slices.Concat(strings.Split(a, ", "), strings.Split(b, ", ")) {
		if part != "" && !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ", ")
}

// union returns those of all that stand in a or b, in the order of all.
func union[T comparable](all, a, b []T) []T {
	united := []T{}
	for _, v := range all {
		if slices.Contains(a, v) || slices.Contains(b, v) {
			united = append(united, v)
		}
	}
	return united
}
