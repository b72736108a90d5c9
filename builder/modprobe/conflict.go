package modprobe

import (
	"fmt"
	"path"
	"strings"

	"github.com/kerngate/kerngate/builder/fnmatch"
)

// Conflict is a line of somebody else that undoes the block of a module, or that the
// user should know of.
type Conflict struct {
	Module string
	Line   Line
	Why    string
}

func (c Conflict) String() string { return fmt.Sprintf("%s: %s (%s)", c.Module, c.Why, c.Line) }

// Conflicts finds the lines that would keep our install lines from taking effect.
// Lines are those of [Config.Lines]; those of a kernel's own modules.softdep, see
// [Index.Softdeps], may be among them.
func Conflicts(lines []Line, blocks []Block) []Conflict {
	return collect(lines, blocks, undoes)
}

// Notes finds lines of others that are about a blocked module and change nothing, such
// as a block that the distribution ships.
func Notes(lines []Line, blocks []Block) []Conflict {
	return collect(lines, blocks, concerns)
}

// Softdeps gives the lines of the kernel's own modules.softdep.
func (i *Index) Softdeps() []Line { return i.softdep }

// MaskedBlock finds files that have the name of ours in other directories: ours hides
// them, and what they were to do.
func (c *Config) MaskedBlock() []Masked {
	var out []Masked
	for _, m := range c.Masked {
		if m.By == File {
			out = append(out, m)
		}
	}
	return out
}

func collect(lines []Line, blocks []Block, judge func(Line, string) string) []Conflict {
	var out []Conflict
	for _, block := range blocks {
		for _, l := range lines {
			if l.File == File || len(l.Words) < 2 {
				continue
			}
			if why := judge(l, block.Module); why != "" {
				out = append(out, Conflict{block.Module, l, why})
			}
		}
	}
	return out
}

// undoes says why a line undoes the block of a module, or nothing.
func undoes(l Line, module string) string {
	about := sameModule(l.Words[1], module)
	switch verb := l.Words[0]; {
	case verb == "softdep" && about:
		return "a softdep line overrides the install line of its own module"
	case verb == "install" && about && path.Base(l.File) < path.Base(File):
		return "an earlier install line wins over ours"
	case verb == "install" && !about && ignoresInstall(l, module):
		return "the install line of another module inserts it"
	default:
		return ""
	}
}

// ignoresInstall says whether a command inserts a module past its install line.
func ignoresInstall(l Line, module string) bool {
	insmod, ignore, named := false, false, false
	for _, w := range strings.FieldsFunc(strings.Join(l.Words[2:], " "), func(r rune) bool { return strings.ContainsRune(" ;&|()<>\"'`", r) }) {
		short := len(w) > 1 && w[0] == '-' && w[1] != '-'
		insmod = insmod || path.Base(w) == "insmod"
		ignore = ignore || strings.HasPrefix(w, "--ignore") || short && strings.Contains(w, "i")
		named = named || fileModule(w) == module
	}
	return named && (insmod || ignore)
}

// distributionBlock is a conffile of Ubuntu's kmod package (USN-8226-1).
const distributionBlock = "/etc/modprobe.d/disable-algif_aead.conf"

// concerns says what a line that changes nothing has to do with a module.
func concerns(l Line, module string) string {
	about := sameModule(l.Words[1], module)
	switch verb := l.Words[0]; {
	case undoes(l, module) != "":
		return ""
	case verb == "install" && about && l.File == distributionBlock:
		return "a file of the distribution's kmod package blocks it, too; leave it to the package"
	case (verb == "install" || verb == "blacklist") && about:
		return "it is blocked here, too; our install line comes first"
	case verb == "alias" && len(l.Words) > 2 && sameModule(l.Words[2], module) && !about:
		return "another name leads to it; the block holds for that name as well"
	case verb == "alias" && len(l.Words) > 2 && about && l.Words[2] != "off":
		return "its name leads to another module"
	default:
		return ""
	}
}

// sameModule says whether a name or pattern of modprobe.d stands for a module.
func sameModule(pattern, module string) bool {
	name, valid := underscores(pattern)
	return valid && fnmatch.Match(name, module)
}
