package bootentry

import (
	"fmt"
	"slices"
	"strings"
)

// grubEnv knows which values the variables of GRUB can have.
type grubEnv struct {
	plain map[string][]string  // from environment blocks
	set   map[string][][]piece // from scripts
}

func newGrubEnv() *grubEnv {
	return &grubEnv{plain: map[string][]string{}, set: map[string][][]piece{}}
}

// maxVariableDepth is for variables that name variables; a script may also append to
// one, which looks like a variable that names itself.
const maxVariableDepth = 3

// values gives all values a variable can have. One that is set can be unset too, on
// the other branch, except the defaults that configurations make sure of.
func (e *grubEnv) values(name string, depth int) ([]string, error) {
	out := slices.Clone(e.plain[name])
	if depth < maxVariableDepth {
		for _, pieces := range e.set[name] {
			combinations, err := e.combinations(variablesIn(pieces), depth+1)
			if err != nil {
				return nil, err
			}
			for _, values := range combinations {
				out = append(out, joinPieces(pieces, values))
			}
			if len(out) > maxLines*maxValues {
				break
			}
		}
	}
	if len(out) == 0 || !slices.Contains(kernelOpts, name) {
		out = append(out, "")
	}
	out = union(nil, out)
	if len(out) > maxValues {
		return nil, fmt.Errorf("variable %s has more than %d possible values", name, maxValues)
	}
	for _, value := range out {
		if len(value) > maxExpanded {
			return nil, fmt.Errorf("variable %s has more than %d bytes", name, maxExpanded)
		}
	}
	return out, nil
}

func (e *grubEnv) known(name string) bool { return len(e.plain[name])+len(e.set[name]) > 0 }

func variablesIn(pieces []piece) []string {
	var out []string
	for _, p := range pieces {
		if p.variable != "" && !slices.Contains(out, p.variable) {
			out = append(out, p.variable)
		}
	}
	return out
}

func joinPieces(pieces []piece, values map[string]string) string {
	var b strings.Builder
	for _, p := range pieces {
		if p.variable != "" {
			b.WriteString(values[p.variable])
		} else {
			b.WriteByte(p.c)
		}
		if b.Len() > maxExpanded {
			break
		}
	}
	return b.String()
}

// combinations gives every way to choose a value for each of the variables.
func (e *grubEnv) combinations(names []string, depth int) ([]map[string]string, error) {
	out := []map[string]string{{}}
	for _, name := range names {
		values, err := e.values(name, depth)
		if err != nil {
			return nil, err
		}
		var longer []map[string]string
		for _, chosen := range out {
			for _, value := range values {
				next := map[string]string{name: value}
				for k, v := range chosen {
					next[k] = v
				}
				longer = append(longer, next)
			}
		}
		if out = longer; len(out) > maxLines {
			return nil, fmt.Errorf("variables %s have more than %d combinations of values", strings.Join(names, ", "), maxLines)
		}
	}
	return out, nil
}
