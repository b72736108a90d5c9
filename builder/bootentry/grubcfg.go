package bootentry

import (
	"bytes"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// grubFile is a script with the commands that matter to us.
type grubFile struct {
	file     *file
	commands []grubCommand
}

// grubDirs are the directories where GRUB's own files lie.
func (r *reader) grubDirs() ([]string, error) {
	out := []string{"/boot/grub", "/boot/grub2"}
	for _, volume := range volumes() {
		for _, name := range []string{"grub", "grub2"} {
			for _, names := range [][]string{{name}, {"boot", name}} {
				dir, err := r.find(volume, names...)
				if err != nil {
					return nil, err
				}
				if dir != "" && !slices.Contains(out, dir) {
					out = append(out, dir)
				}
			}
		}
	}
	vendors, err := r.vendors()
	return append(out, vendors...), err
}

// grubScripts reads the scripts and gathers what they set.
func (r *reader) grubScripts() error {
	dirs, err := r.grubDirs()
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		names, err := r.files(dir, ".cfg")
		if err != nil {
			return err
		}
		for _, name := range names {
			// Syslinux has its own language and may lie beside GRUB.
			if base := strings.ToLower(path.Base(name)); slices.Contains(syslinuxNames(), base) || base == "limine.cfg" {
				continue
			}
			if err := r.grubScript(name, 0); err != nil {
				return err
			}
		}
	}
	return r.customScripts()
}

// grubScriptDir holds what grub-mkconfig runs to make grub.cfg.
const grubScriptDir = "/etc/grub.d"

// customScripts reads the scripts that print themselves into grub.cfg, as 40_custom does:
// their commands go there as they are, whatever /etc/default/grub says. It passes over
// hidden files and what package managers and editors leave (grub_file_is_not_garbage in
// grub-mkconfig_lib).
func (r *reader) customScripts() error {
	dir, names, err := r.list(grubScriptDir, func(name string) bool {
		return !strings.HasPrefix(name, ".") && !strings.HasSuffix(name, "~") && !strings.Contains(name, ".dpkg-") && !strings.Contains(name, ".rpm")
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		literal, err := rootfs.Resolve(r.tree, path.Join(dir, name))
		if missing(err) {
			continue
		}
		if err != nil {
			return err
		}
		if info, err := r.tree.Lstat(literal); err != nil {
			return err
		} else if !info.Mode.IsRegular() {
			continue
		}
		f, err := r.open(literal)
		if err != nil {
			return err
		}
		if f == nil || !printsItself(f.data) {
			continue
		}
		delete(r.seen, f.path)
		if err := r.grubScript(f.path, 0); err != nil {
			return err
		}
	}
	return nil
}

// printsItself says whether the first command of a shell script is "exec tail": GRUB takes
// that line, which tail leaves out, for a command that it does not know.
func printsItself(script []byte) bool {
	for line := range bytes.Lines(script) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return bytes.HasPrefix(line, []byte("exec tail "))
		}
	}
	return false
}

func (r *reader) grubScript(name string, depth int) error {
	f, err := r.open(name)
	if err != nil || f == nil {
		return err
	}
	if depth > maxIncludes {
		r.problem(f.path, "scripts include each other more than %d deep", maxIncludes)
		return nil
	}
	g := &grubFile{file: f}
	if err := parseGrub(f.data, g.keep); err != nil {
		r.problem(f.path, "%v", err)
		return nil
	}
	r.scripts = append(r.scripts, g)
	for _, c := range g.commands {
		if name, pieces := assignment(c.words); name != "" {
			r.env.set[name] = append(r.env.set[name], pieces)
		}
		if err := r.include(g, c, depth); err != nil {
			return err
		}
	}
	return nil
}

// keep drops the commands that have nothing to do with command lines.
func (g *grubFile) keep(c grubCommand) {
	name, literal := c.words[0].literal()
	set, _ := assignment(c.words)
	wanted := []string{"initrd", "initrd16", "initrdefi", "chainloader", "source", "configfile", ".", "eval", "legacy_configfile", "syslinux_configfile", "extlinux_configfile"}
	if !literal || set != "" || isLoader(name) || slices.Contains(wanted, name) {
		c.words = withoutOptions(c.words)
		g.commands = append(g.commands, c)
	}
}

// withoutOptions drops the options between a command and what it loads: module2 takes
// --nounzip, chainloader --force.
func withoutOptions(words []word) []word {
	for len(words) > 1 {
		if option, literal := words[1].literal(); !literal || !strings.HasPrefix(option, "--") {
			break
		}
		words = slices.Delete(slices.Clone(words), 1, 2)
	}
	return words
}

// isLoader says whether a command loads a kernel with its arguments, or under Xen a
// module that is one.
func isLoader(name string) bool {
	return slices.Contains([]string{"linux", "linux16", "linuxefi", "linux32"}, name) || isModule(name)
}

func isModule(name string) bool {
	return slices.Contains([]string{"module", "module2", "xen_module"}, name)
}

// assignment splits "set name=value" and "name=value".
func assignment(words []word) (name string, value []piece) {
	w := words[0]
	if first, _ := w.literal(); first == "set" && len(words) > 1 {
		w = words[1]
	} else if first == "set" || first == "" && len(w.pieces) == 0 {
		return "", nil
	}
	for i, p := range w.pieces {
		switch {
		case p.variable != "" || (p.quoted && p.c != '='):
			return "", nil
		case p.c == '=' && i > 0 && variableName([]byte(name)) == name:
			return name, w.pieces[i+1:]
		}
		name += string(rune(p.c))
	}
	return "", nil
}

// include follows source and configfile where their target is known by its name: a
// file beside this one is read anyhow.
func (r *reader) include(g *grubFile, c grubCommand, depth int) error {
	name, _ := c.words[0].literal()
	switch name {
	case "source", "configfile", ".":
	case "chainloader":
		r.chainload(g, c)
		return nil
	case "legacy_configfile", "syslinux_configfile", "extlinux_configfile":
		r.problem(g.file.path, "line %d: the command %s reads another boot loader's configuration", c.line, name)
		return nil
	case "eval":
		if text := string(g.file.data[c.words[0].end:c.words[len(c.words)-1].end]); strings.Contains(text, "linux") || strings.Contains(text, "module") {
			r.problem(g.file.path, "line %d: a command that loads a kernel is computed by eval", c.line)
		}
		return nil
	default:
		return nil
	}
	if len(c.words) < 2 {
		return nil
	}
	target := strings.TrimPrefix(trailingLiteral(c.words[1]), "/")
	if target == "" {
		return nil
	}
	for _, dir := range []string{path.Dir(g.file.path), "/", "/boot", "/boot/grub", "/boot/grub2"} {
		literal, err := rootfs.Resolve(r.tree, path.Join(dir, target))
		if missing(err) {
			continue
		}
		if err != nil {
			return err
		}
		if err := r.grubScript(literal, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// chainload notes an image that firmware starts with what GRUB gives it: a unified kernel
// image has its own command line, for another kernel the arguments are one.
func (r *reader) chainload(g *grubFile, c grubCommand) {
	if len(c.words) > 2 {
		r.problem(g.file.path, "line %d: chainloader gives arguments to what it starts, which is not handled for a kernel", c.line)
	} else if len(c.words) == 2 {
		r.chained = append(r.chained, r.locate(trailingLiteral(c.words[1]), path.Dir(path.Dir(g.file.path))))
	}
}

// trailingLiteral is what a word says behind its last variable and behind a device in
// parentheses.
func trailingLiteral(w word) string {
	s := ""
	for _, p := range w.pieces {
		if p.variable != "" || p.c == ')' {
			s = ""
		} else {
			s += string(rune(p.c))
		}
	}
	return s
}

// grubEntries turns commands into entries, once all variables are known.
func (r *reader) grubEntries() error {
	for _, g := range r.scripts {
		initrds := map[int][]word{}
		for _, c := range g.commands {
			if name, _ := c.words[0].literal(); strings.HasPrefix(name, "initrd") {
				initrds[c.block] = append(initrds[c.block], c.words[1:]...)
			}
		}
		for _, c := range g.commands {
			r.grubDefinition(g, c)
			if r.loads(c) {
				r.grubEntry(g, c, initrds[c.block])
			}
		}
		if err := r.count(g.file.path); err != nil {
			return err
		}
	}
	return nil
}

// grubDefinition takes "set kernelopts=..." for a place.
func (r *reader) grubDefinition(g *grubFile, c grubCommand) {
	name, value := assignment(c.words)
	if !slices.Contains(kernelOpts, name) {
		return
	}
	w := c.words[len(c.words)-1]
	if first, _ := c.words[0].literal(); first == "set" {
		w = c.words[1]
	}
	e := Entry{Source: GrubVariable, Path: g.file.path, Line: c.line, Title: name, Template: true}
	combinations, err := r.env.combinations(variablesIn(value), 1)
	if err != nil {
		r.problem(g.file.path, "line %d: %v", c.line, err)
		return
	}
	p := place{file: g.file, defines: true}
	for _, values := range combinations {
		t := text{tail: -1, lead: w.end}
		for _, piece := range value {
			t.cells = append(t.cells, pieceCells(piece, values, piece.start, piece.end)...)
		}
		p.lines = append(p.lines, t)
	}
	if quote := g.file.data[w.end-1]; quote == '"' || quote == '\'' {
		for i := range p.lines {
			p.lines[i].lead = w.end - 1
		}
	} else if len(value) > 0 || w.end-w.start > len(name)+1 {
		p.refusal = &Refusal{Why: "the value is not in quotes up to its end", Hint: "write it as " + name + `="..."`}
	} else {
		p.lines[0].bareLead = true
	}
	r.add(e, p)
}

// pieceCells is what one piece of a word becomes.
func pieceCells(p piece, values map[string]string, head, next int) []cell {
	if p.variable == "" {
		return []cell{{c: p.c, start: p.start, end: p.end, head: head, next: next}}
	}
	var out []cell
	for _, c := range []byte(values[p.variable]) {
		out = append(out, cell{c: c, start: p.start, end: p.end, head: head, next: next, soft: true})
	}
	return out
}

// loads says whether a command loads a kernel. Its name may be a variable: "$linux",
// "linux$sixteenbit".
func (r *reader) loads(c grubCommand) bool {
	first := c.words[0]
	if len(c.words) < 2 {
		return false
	}
	if start := joinPieces(first.pieces, nil); len(first.pieces) > 0 && first.pieces[0].variable == "" &&
		!slices.ContainsFunc([]string{"linux", "module", "xen"}, func(s string) bool { return strings.HasPrefix(start, s) }) {
		return false
	}
	combinations, err := r.env.combinations(variablesIn(first.pieces), 1)
	if err != nil {
		return false
	}
	for _, values := range combinations {
		switch name := joinPieces(first.pieces, values); {
		case isModule(name):
			if r.looksLikeKernel(c.words[1]) {
				return true
			}
		case isLoader(name):
			return true
		}
	}
	// Some releases of openSUSE set $linux in a file that is no script of ours.
	return len(first.pieces) == 1 && strings.HasPrefix(first.pieces[0].variable, "linux")
}

// looksLikeKernel goes by the name of a file under one value or another of variables.
func (r *reader) looksLikeKernel(w word) bool {
	combinations, err := r.env.combinations(variablesIn(w.pieces), 1)
	if err != nil {
		return false
	}
	for _, values := range combinations {
		base := path.Base(joinPieces(w.pieces, values))
		for _, prefix := range []string{"vmlinu", "kernel", "bzImage", "Image", "linux"} {
			if strings.HasPrefix(base, prefix) {
				return true
			}
		}
	}
	return false
}

func (r *reader) grubEntry(g *grubFile, c grubCommand, initrds []word) {
	combinations, err := r.env.combinations(variablesIn(allPieces(c.words[1:])), 1)
	if err != nil {
		r.problem(g.file.path, "line %d: %v", c.line, err)
		return
	}
	written := joinPieces(c.words[1].pieces, combinations[0])
	e := Entry{Source: GrubScript, Path: g.file.path, Line: c.line, Title: strings.Join(c.titles, " > "), Template: rootfs.Below(g.file.path, grubScriptDir),
		Kernel: r.locate(written, path.Dir(path.Dir(g.file.path)))}
	e.Release = releaseOf(e.Kernel)
	for _, w := range initrds {
		e.Initrds = append(e.Initrds, r.initrds(w.pieces, path.Dir(path.Dir(g.file.path)))...)
	}
	p := place{file: g.file}
	for _, values := range combinations {
		t := linuxText(c.words, values)
		if len(t.cells) > maxExpanded {
			r.problem(g.file.path, "line %d: command line has more than %d bytes", c.line, maxExpanded)
			return
		}
		p.lines = append(p.lines, t)
	}
	r.add(e, p)
}

// initrds finds the files that a word of an initrd command stands for under the values of
// its variables. Where no value leads to a file, it is the first that names one.
func (r *reader) initrds(pieces []piece, near string) []string {
	variables := variablesIn(pieces)
	combinations, err := r.env.combinations(variables, 1)
	if err != nil {
		combinations = []map[string]string{{}}
	}
	var found, absent []string
	for _, values := range combinations {
		written := joinPieces(pieces, values)
		names := []string{written}
		if len(variables) > 0 {
			names = strings.Fields(written)
		}
		for _, name := range names {
			at := r.locate(name, near)
			if _, err := rootfs.Resolve(r.tree, at); err == nil {
				found = union(found, []string{at})
			} else if at != "" {
				absent = append(absent, at)
			}
		}
	}
	if len(found) == 0 {
		return absent[:min(1, len(absent))]
	}
	return found
}

func allPieces(words []word) []piece {
	var out []piece
	for _, w := range words {
		out = append(out, w.pieces...)
	}
	return out
}

// linuxText builds the command line as GRUB does from the words of a linux command
// (grub_create_loader_cmdline in grub-core/lib/cmdline.c), behind the kernel's name.
func linuxText(words []word, values map[string]string) text {
	const bootImage = len("BOOT_IMAGE=") + len("(lvmid/)") + 80 // with GRUB's longest names of devices
	t := text{lead: words[1].end, tail: words[len(words)-1].end, follows: true,
		extra: bootImage + len(joinPieces(words[1].pieces, values))}
	for i, w := range words[2:] {
		begin := len(t.cells)
		for _, f := range grubFields(w, values) {
			if len(t.cells) > 0 {
				t.cells = append(t.cells, madeUp(' ', w))
			}
			t.cells = append(t.cells, quoteField(f, w)...)
		}
		for j := range t.cells[begin:] {
			t.cells[begin+j].gap = words[i+1].end
		}
	}
	return t
}

// madeUp is a byte that GRUB adds.
func madeUp(c byte, w word) cell {
	return cell{c: c, start: w.end, end: w.end, head: w.start, next: w.end, soft: true}
}

// quoteField writes one argument as GRUB hands it to the kernel: in double quotes
// where it holds a blank, with backslashes before quotes and backslashes.
func quoteField(field []cell, w word) []cell {
	var out []cell
	blank := slices.ContainsFunc(field, func(c cell) bool { return c.c == ' ' })
	if blank {
		out = append(out, madeUp('"', w))
	}
	for _, c := range field {
		if strings.ContainsRune(`\'"`, rune(c.c)) {
			escape := c
			escape.c, escape.soft = '\\', true
			out = append(out, escape)
		}
		out = append(out, c)
	}
	if blank {
		out = append(out, madeUp('"', w))
	}
	return out
}

// grubFields expands one word: variables outside quotes fall apart at blanks.
func grubFields(w word, values map[string]string) [][]cell {
	var out [][]cell
	var field []cell
	started := len(w.pieces) == 0 // only a pair of quotes
	for _, p := range w.pieces {
		cells := pieceCells(p, values, w.start, w.end)
		if p.variable == "" || p.quoted {
			field, started = append(field, cells...), true
			continue
		}
		for _, c := range cells {
			switch {
			case c.c != ' ' && c.c != '\t' && c.c != '\n':
				field, started = append(field, c), true
			case started:
				out, field, started = append(out, field), nil, false
			}
		}
	}
	if started {
		out = append(out, field)
	}
	return out
}
