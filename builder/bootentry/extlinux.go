package bootentry

import (
	"bytes"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// syslinuxNames are the configuration files that Syslinux and U-Boot look for.
func syslinuxNames() []string { return []string{"extlinux.conf", "syslinux.cfg", "isolinux.cfg"} }

// directive is one line of a Syslinux configuration.
type directive struct {
	word       string // in lower case
	at         int    // where the line begins
	start, end int    // of what follows the word, without blanks around it
	next       int    // where the next line begins
	number     int
}

// parseSyslinux splits a configuration into directives (doc/syslinux.txt, "The
// configuration file"): one to a line, words without regard to case.
func parseSyslinux(data []byte) []directive {
	var out []directive
	at, number := 0, 0
	for line := range bytes.Lines(data) {
		number++
		d := directive{at: at, number: number, end: at + len(bytes.TrimRight(line, " \t\r\n"))}
		first := at + len(line) - len(bytes.TrimLeft(line, " \t"))
		at += len(line)
		d.next = at
		if first >= d.end || data[first] == '#' {
			continue
		}
		d.start = first
		for d.start < d.end && data[d.start] != ' ' && data[d.start] != '\t' {
			d.start++
		}
		d.word = strings.ToLower(string(data[first:d.start]))
		for d.start < d.end && (data[d.start] == ' ' || data[d.start] == '\t') {
			d.start++
		}
		out = append(out, d)
	}
	return out
}

// extlinux reads the configurations of Syslinux and of U-Boot, and their templates.
func (r *reader) extlinux() error {
	for _, volume := range volumes() {
		for _, below := range []string{"", "extlinux", "syslinux", "isolinux", "boot/extlinux", "boot/syslinux", "boot/isolinux", "EFI/syslinux", "EFI/BOOT", "syslinux/efi64"} {
			for _, base := range syslinuxNames() {
				name, err := r.find(volume, append(strings.FieldsFunc(below, func(c rune) bool { return c == '/' }), base)...)
				if err != nil {
					return err
				}
				if name == "" {
					continue
				}
				if err := r.syslinuxFile(name, volume, 0); err != nil {
					return err
				}
			}
		}
	}
	return r.extlinuxTemplates()
}

// syslinuxLabel is the block that directives belong to.
type syslinuxLabel struct {
	title  string
	kernel *directive
	append *directive
	initrd string
}

func (r *reader) syslinuxFile(name, volume string, depth int) error {
	f, err := r.open(name)
	if err != nil || f == nil {
		return err
	}
	if depth > maxIncludes {
		r.problem(f.path, "configurations include each other more than %d deep", maxIncludes)
		return nil
	}
	var global *directive
	var label *syslinuxLabel
	for _, d := range parseSyslinux(f.data) {
		value := string(f.data[d.start:d.end])
		switch {
		case d.word == "label":
			r.syslinuxEntry(f, label, global, volume)
			label = &syslinuxLabel{title: value}
		case d.word == "append" && label == nil:
			global = &d
		case d.word == "append":
			label.append = &d
		case label != nil && (d.word == "linux" || d.word == "kernel"):
			label.kernel = &d
		case label != nil && d.word == "initrd":
			label.initrd = value
		case label != nil && d.word == "menu" && strings.HasPrefix(strings.ToLower(value), "label "):
			label.title = strings.TrimSpace(value[len("label "):])
		}
		if err := r.syslinuxInclude(f, d, volume, depth); err != nil {
			return err
		}
	}
	r.syslinuxEntry(f, label, global, volume)
	return r.count(f.path)
}

// syslinuxInclude follows INCLUDE, MENU INCLUDE and CONFIG.
func (r *reader) syslinuxInclude(f *file, d directive, volume string, depth int) error {
	words := strings.Fields(string(f.data[d.start:d.end]))
	if d.word == "menu" && len(words) > 1 && strings.EqualFold(words[0], "include") {
		words = words[1:]
	} else if d.word != "include" && d.word != "config" {
		return nil
	}
	if len(words) == 0 {
		return nil
	}
	target := path.Join(path.Dir(f.path), words[0])
	if strings.HasPrefix(words[0], "/") {
		target = path.Join(volume, words[0])
	}
	if found, err := rootfs.Exists(r.tree, target); err != nil || !found {
		if err == nil {
			r.problem(f.path, "line %d: includes %s, which is not there", d.number, words[0])
		}
		return err
	}
	return r.syslinuxFile(target, volume, depth+1)
}

// syslinuxEntry takes one label for an entry. Its own APPEND stands instead of the
// one before all labels; "APPEND -" is none.
func (r *reader) syslinuxEntry(f *file, label *syslinuxLabel, global *directive, volume string) {
	if label == nil || label.kernel == nil || !isKernelFile(string(f.data[label.kernel.start:label.kernel.end])) {
		return
	}
	kernel := string(f.data[label.kernel.start:label.kernel.end])
	written, arguments, _ := strings.Cut(kernel, " ")
	e := Entry{Source: Extlinux, Path: f.path, Title: label.title, Line: label.kernel.number}
	e.Kernel = r.syslinuxPath(f, written, volume)
	e.Release = releaseOf(e.Kernel)
	for initrd := range strings.SplitSeq(label.initrd, ",") {
		if initrd != "" {
			e.Initrds = append(e.Initrds, r.syslinuxPath(f, initrd, volume))
		}
	}
	line := label.append
	if line == nil {
		line = global
	}
	p := place{file: f}
	switch {
	case strings.TrimSpace(arguments) != "":
		p.refusal = &Refusal{Why: "arguments stand on the line that names the kernel", Hint: "put them on an APPEND line"}
	case line == nil:
		p.lines = []text{newLine(f.data, label.kernel)}
	default:
		value := strings.TrimSpace(string(f.data[line.start:line.end]))
		e.Line = line.number
		if value == "-" {
			p.refusal = &Refusal{Why: "APPEND - asks for no arguments at all", Hint: "write APPEND with the arguments wanted"}
		}
		t := rawText(f.data, line.start, line.end)
		t.lead, t.tail, t.follows = line.end, -1, true
		t.extra = 2 * maxBootPath
		if strings.HasPrefix(string(f.data[line.at:]), "\tappend ") {
			t.lineStart, t.lineEnd = line.at, line.next
		}
		p.lines = []text{t}
	}
	r.add(e, p)
}

// newLine is where an APPEND line can go that a label lacks.
func newLine(data []byte, after *directive) text {
	t := text{lead: after.next, tail: -1, extra: 2 * maxBootPath, ownLine: true, before: "\tappend ", after: "\n"}
	if data[after.next-1] != '\n' {
		t.before, t.after = "\n\tappend ", ""
	}
	return t
}

// isKernelFile leaves out the modules and boot sectors that KERNEL can also start.
func isKernelFile(value string) bool {
	name, _, _ := strings.Cut(value, " ")
	return name != "" && !slices.Contains([]string{".c32", ".com", ".cbt", ".bin", ".bss", ".bs", ".0", ".img", ".efi"}, strings.ToLower(path.Ext(name)))
}

func (r *reader) syslinuxPath(f *file, written, volume string) string {
	if !strings.HasPrefix(written, "/") {
		return r.locate(path.Join("/", written), path.Dir(f.path))
	}
	return r.locate(written, volume)
}
