// Package selinux tells which SELinux label a tree's own policy gives to a path, so
// that an image whose files carry labels boots enforcing without a relabel.
//
// [Read] takes /etc/selinux/config and the file_contexts of the policy that it names,
// with .homedirs, .local, .subs and .subs_dist; [Policy.Label] answers as
// matchpathcon(8) does: selabel_file(5), and label_file.c of libselinux for the order
// of the lines and what a stem is. Paths are matched as text of UTF-8.
//
// A policy is hostile input: its expressions run on RE2, whose time grows with the
// length of expression and path only, and their sum is bounded. A line with what RE2 lacks (look-around, references) is
// refused by name for the paths that it could match, and for those only. It leaves
// out the binary file_contexts.bin, which repeats the text, contexts for media and
// users, and the question whether the kernel knows a context.
package selinux

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// Limits on what an image can ask of us.
const (
	maxConfig = 64 << 10 // the usual one has 25 lines
	maxFile   = 8 << 20  // that of Fedora has half a MiB
	maxLines  = 200_000  // in all files; Fedora's has 7000
	maxLine   = 4096     // bytes, PATH_MAX; the longest of Fedora has 300

	maxPath = 4096 // bytes, PATH_MAX

	// maxWeight bounds an expression after its counted repetitions are written out:
	// ten times what any path is long enough for.
	maxWeight = 10 * maxLine

	// maxWork bounds what one path costs: the weights of the expressions that are
	// tried, times its length. About a second; Debian's policy needs a hundredth.
	maxWork = 16 << 20
)

const (
	config      = "/etc/selinux/config"
	defaultType = "targeted" // SELINUXDEFAULT of libselinux
	none        = "<<none>>" // for what shall have no label
)

// Policy is the part of an installed policy that labels files.
type Policy struct {
	Type  string // SELINUXTYPE, "targeted"
	specs []*spec
	subs  []substitution // of the administrator
	dist  []substitution // of the distribution, made after the others
}

// spec is one line of file_contexts.
type spec struct {
	where   string // file and line, for errors
	kind    fs.FileMode
	anyKind bool
	label   string
	expr    string
	stem    string // first directory of expr, if it is literal; that of the path must be the same
	prefix  string // literal beginning of expr
}

type substitution struct{ from, to string }

// Read reads the policy that a tree has installed. The error satisfies
// errors.Is(err, fs.ErrNotExist) where there is none.
func Read(t rootfs.Tree) (*Policy, error) {
	kind, err := policyType(t)
	if err != nil {
		return nil, fmt.Errorf("cannot read the SELinux policy: %w", err)
	}
	p := &Policy{Type: kind}
	base := path.Join("/etc/selinux", kind, "contexts/files/file_contexts")
	if err := p.read(t, base); err != nil {
		return nil, fmt.Errorf("cannot read the SELinux policy: %w", err)
	}
	return p, nil
}

// policyType reads /etc/selinux/config as init_selinux_config in libselinux does.
func policyType(t rootfs.Tree) (string, error) {
	data, err := rootfs.ReadFile(t, config, maxConfig)
	if err != nil {
		return "", err
	}
	kind := defaultType
	for line := range strings.Lines(string(data)) {
		const tag = "SELINUXTYPE="
		if line = strings.TrimSpace(line); len(line) >= len(tag) && strings.EqualFold(line[:len(tag)], tag) {
			kind = line[len(tag):]
		}
	}
	if kind == "" || kind == "." || kind == ".." || strings.ContainsAny(kind, "/\x00") {
		return "", fmt.Errorf("%s: SELINUXTYPE is %q, want a directory's name", config, kind)
	}
	return kind, nil
}

// read takes the files in the order of libselinux; later lines win.
func (p *Policy) read(t rootfs.Tree, base string) error {
	for _, f := range []struct {
		suffix string
		add    func(name, text string) error
	}{
		{"", p.addSpecs},
		{".homedirs", p.addSpecs},
		{".local", p.addSpecs},
		{".subs_dist", func(name, text string) error { return addSubs(&p.dist, text) }},
		{".subs", func(name, text string) error { return addSubs(&p.subs, text) }},
	} {
		data, err := rootfs.ReadFile(t, base+f.suffix, maxFile)
		if errors.Is(err, fs.ErrNotExist) && f.suffix != "" {
			continue
		}
		if err != nil {
			return err
		}
		if err := f.add(path.Base(base+f.suffix), string(data)); err != nil {
			return fmt.Errorf("%s: %w", base+f.suffix, err)
		}
	}
	p.sort()
	return nil
}

// sort moves lines without any special character behind the others, which are
// otherwise kept in order; sort_specs in label_file.h.
func (p *Policy) sort() {
	var regular, literal []*spec
	for _, s := range p.specs {
		if special(s.expr) {
			regular = append(regular, s)
		} else {
			literal = append(literal, s)
		}
	}
	p.specs = append(regular, literal...)
}

func (p *Policy) addSpecs(name, text string) error {
	number := 0
	for line := range strings.Lines(text) {
		number++
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(p.specs) == maxLines {
			return fmt.Errorf("line %d: the policy has more than %d lines", number, maxLines)
		}
		s, err := parseSpec(line, fields)
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		s.where = fmt.Sprintf("%s line %d", name, number)
		p.specs = append(p.specs, s)
	}
	return nil
}

// kinds are the types of the middle field; string_to_mode in label_file.h.
func kindOf(field string) (fs.FileMode, bool) {
	kind, known := map[string]fs.FileMode{
		"--": 0, "-d": fs.ModeDir, "-l": fs.ModeSymlink, "-p": fs.ModeNamedPipe, "-s": fs.ModeSocket,
		"-b": fs.ModeDevice, "-c": fs.ModeDevice | fs.ModeCharDevice,
	}[field]
	return kind, known
}

func parseSpec(line string, fields []string) (*spec, error) {
	switch {
	case len(line) > maxLine:
		return nil, fmt.Errorf("it has %d bytes, limit is %d", len(line), maxLine)
	case len(fields) < 2 || len(fields) > 3:
		return nil, fmt.Errorf("it has %d fields, want an expression, perhaps a type, and a context", len(fields))
	}
	s := &spec{anyKind: true, label: fields[len(fields)-1], expr: fields[0]}
	if len(fields) == 3 {
		kind, known := kindOf(fields[1])
		if !known {
			return nil, fmt.Errorf("type is %q, want --, -d, -l, -c, -b, -p or -s", fields[1])
		}
		s.kind, s.anyKind = kind, false
	}
	if stem := stemOf(s.expr); !strings.ContainsAny(stem, specials+`\\`) {
		s.stem = stem
	}
	s.prefix = literalPrefix(s.expr)
	return s, nil
}

// stemOf gives the first directory of a path that has two.
func stemOf(name string) string {
	if at := strings.IndexByte(name[1:], '/') + 1; at > 0 {
		return name[:at]
	}
	return ""
}

// The characters that make an expression one; regex_has_meta_chars in label_file.h.
const specials = ".^$?*+|[({"

func special(expr string) bool {
	for i := 0; i < len(expr); i++ {
		if expr[i] == '\\' {
			i++
		} else if strings.IndexByte(specials, expr[i]) >= 0 {
			return true
		}
	}
	return false
}

// literalPrefix gives what every match of an expression begins with, as far as that
// is plain. It spares most lines their compilation.
func literalPrefix(expr string) string {
	if dividedBeginning(expr) {
		return ""
	}
	for i := range len(expr) {
		switch c := expr[i]; {
		case strings.IndexByte("?*{", c) >= 0:
			return expr[:max(i-1, 0)] // the character before may be absent
		case c == '\\' || c >= 0x80 || strings.IndexByte(specials, c) >= 0:
			return expr[:i]
		}
	}
	return expr
}

// dividedBeginning says whether an expression may begin in several ways: it has a bar
// outside of parentheses. Brackets, which can hold either, are not looked into.
func dividedBeginning(expr string) bool {
	if !strings.Contains(expr, "|") {
		return false
	}
	depth := 0
	for i := 0; i < len(expr); i++ {
		switch expr[i] {
		case '\\':
			i++
		case '[':
			return true
		case '(':
			depth++
		case ')':
			depth--
		case '|':
			if depth <= 0 {
				return true
			}
		}
	}
	return false
}

// addSubs puts lines of "from to" in front: the last that fits is taken.
func addSubs(list *[]substitution, text string) error {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(*list) == maxLines {
			return fmt.Errorf("it has more than %d lines", maxLines)
		}
		*list = append(*list, substitution{fields[0], fields[1]})
	}
	return nil
}

func substitute(list []substitution, name string) string {
	for i := len(list) - 1; i >= 0; i-- {
		rest, begins := strings.CutPrefix(name, list[i].from)
		switch {
		case !begins || rest != "" && rest[0] != '/':
		case list[i].to == "/" && rest != "":
			return rest
		default:
			return list[i].to + rest
		}
	}
	return name
}

// Label gives the context that a path of the tree gets, whose type is that of kind:
// "system_u:object_r:etc_t:s0". It is not ok where the policy gives none. The error
// says which line RE2 cannot decide by.
func (p *Policy) Label(name string, kind fs.FileMode) (label string, ok bool, err error) {
	name = substitute(p.dist, substitute(p.subs, rootfs.Clean(name)))
	if len(name) > maxPath {
		return "", false, fmt.Errorf("selinux: path has %d bytes, limit is %d", len(name), maxPath)
	}
	stem, work := stemOf(name), 0
	for _, s := range slices.Backward(p.specs) {
		if !s.anyKind && s.kind != kind.Type() || s.stem != "" && s.stem != stem || !strings.HasPrefix(name, s.prefix) {
			continue
		}
		re, weight, err := compile(s.expr)
		if err != nil {
			return "", false, fmt.Errorf("selinux: %s: %s: %w", s.where, s.expr, err)
		}
		if work += weight * len(name); work > maxWork {
			return "", false, fmt.Errorf("selinux: %s: the expressions for %s cost more than %d steps", s.where, name, maxWork)
		}
		if re.MatchString(name) {
			return s.label, s.label != none, nil
		}
	}
	return "", false, nil
}

// compile anchors as libselinux does, by characters: a bar outside of parentheses
// divides the anchors, too. It gives the expression's weight as well.
func compile(expr string) (*regexp.Regexp, int, error) {
	expr = "(?s)^" + expr + "$"
	tree, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, 0, err
	}
	w := weight(tree)
	if w > maxWeight {
		return nil, 0, fmt.Errorf("expression stands for more than %d characters", maxWeight)
	}
	re, err := regexp.Compile(expr)
	return re, w, err
}

// weight counts what an expression has when its repetitions are written out.
func weight(re *syntax.Regexp) int {
	sum := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		sum = min(sum+weight(sub), maxWeight+1)
	}
	if re.Op == syntax.OpRepeat {
		sum *= max(re.Min, re.Max, 1)
	}
	return min(sum, maxWeight+1)
}
