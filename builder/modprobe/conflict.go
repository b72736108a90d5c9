package modprobe

import (
	"fmt"
	"path"
)

// Conflict is a line of somebody else that undoes the block of a module.
type Conflict struct {
	Module string
	Line   Line
	Why    string
}

func (c Conflict) String() string { return fmt.Sprintf("%s: %s (%s)", c.Module, c.Why, c.Line) }

// Conflicts finds the lines that would keep our install lines from taking effect.
func Conflicts(lines []Line, blocks []Block) []Conflict {
	var out []Conflict
	for _, block := range blocks {
		for _, l := range lines {
			if l.File == File || len(l.Words) < 2 || !sameModule(l.Words[1], block.Module) {
				continue
			}
			switch {
			case l.Words[0] == "softdep":
				out = append(out, Conflict{block.Module, l, "a softdep line overrides the install line of its own module"})
			case l.Words[0] == "install" && path.Base(l.File) < path.Base(File):
				out = append(out, Conflict{block.Module, l, "an earlier install line wins over ours"})
			}
		}
	}
	return out
}

// sameModule says whether a name or pattern of modprobe.d stands for a module.
func sameModule(pattern, module string) bool {
	name, valid := underscores(pattern)
	return valid && fnmatch(name, module)
}
