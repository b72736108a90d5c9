package bootentry

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// dropIn is a file of our own that adds arguments to a template.
type dropIn struct {
	path    string
	later   []string // files that are read after it, and may set what it added to anew
	content func(w Want) ([]byte, error)
}

// shellTemplate is a set of files that a shell reads one after the other and that
// leave command lines in variables.
type shellTemplate struct {
	source Source
	files  []string // in order
	// dropIn is the name of a file of our own, read after all others; empty where the
	// reader takes no such files.
	dropIn string
	// main is the variable that is in every command line.
	main string
	// others are in some of them, behind main, so a list in one overrides that in main.
	others []string
	// replaces are those that stand instead of main where they are set.
	replaces []string
	// fallback is what the reader takes for an empty main.
	fallback string
}

// grubDefaults reads what grub-mkconfig makes grub.cfg from. Debian's sources
// /etc/default/grub.d/*.cfg after /etc/default/grub, most others do not: the tree's
// own program tells.
func (r *reader) grubDefaults() error {
	t := shellTemplate{source: GrubDefault, files: []string{"/etc/default/grub"}, main: "GRUB_CMDLINE_LINUX",
		others:   []string{"GRUB_CMDLINE_LINUX_DEFAULT", "GRUB_CMDLINE_LINUX_RECOVERY"},
		replaces: []string{"GRUB_CMDLINE_LINUX_XEN_REPLACE", "GRUB_CMDLINE_LINUX_XEN_REPLACE_DEFAULT"}}
	program, err := r.program("grub-mkconfig", "grub2-mkconfig")
	if err != nil {
		return err
	}
	if bytes.Contains(program, []byte("/default/grub.d/")) {
		t.dropIn = grubDropIn
		names, err := r.files(path.Dir(t.dropIn), ".cfg")
		if err != nil {
			return err
		}
		t.files = append(t.files, names...)
	}
	return r.shellTemplate(t)
}

// program reads the script of one of the names, if the tree has it.
func (r *reader) program(names ...string) ([]byte, error) {
	for _, name := range names {
		for _, dir := range []string{"/usr/sbin", "/usr/bin", "/sbin", "/usr/local/sbin"} {
			f, err := r.open(path.Join(dir, name))
			if err != nil {
				return nil, err
			}
			if f != nil {
				return f.data, nil
			}
		}
	}
	return nil, nil
}

// extlinuxTemplates reads what u-boot-menu and Alpine's update-extlinux make
// extlinux.conf from.
func (r *reader) extlinuxTemplates() error {
	if err := r.shellTemplate(shellTemplate{source: UpdateExtl, files: []string{"/etc/update-extlinux.conf"}, main: "default_kernel_opts"}); err != nil {
		return err
	}
	t := shellTemplate{source: UBootDefault, files: []string{"/etc/default/u-boot"}, main: "U_BOOT_PARAMETERS", fallback: "ro quiet"}
	program, err := r.program("u-boot-update")
	if err != nil || program == nil {
		return err
	}
	if bytes.Contains(program, []byte("u-boot-menu/conf.d/")) {
		t.dropIn = ubootDropIn
		for _, dir := range []string{"/usr/share/u-boot-menu/conf.d", path.Dir(t.dropIn)} {
			names, err := r.files(dir, ".conf")
			if err != nil {
				return err
			}
			t.files = append(t.files, names...)
		}
	}
	// Without parameters of its own it takes those of kernel-install.
	if found, err := r.find("/etc", "kernel", "cmdline"); err != nil {
		return err
	} else if found != "" && bytes.Contains(program, []byte("/etc/kernel/cmdline")) {
		t.fallback = ""
		if env, err := r.shellValues(t); err != nil || env == nil || env.vars[t.main].String() == "" {
			return err
		}
		for _, name := range t.files {
			delete(r.seen, name)
		}
	}
	return r.shellTemplate(t)
}

// shellValues reads the files of a template, our own left out; nil if one of them
// cannot be understood.
func (r *reader) shellValues(t shellTemplate) (*shellEnv, error) {
	env := newShellEnv()
	for _, name := range t.files {
		if name == t.dropIn {
			continue
		}
		f, err := r.open(name)
		if err != nil {
			return nil, err
		}
		if f == nil {
			continue
		}
		if err := env.source(f); err != nil {
			r.problem(f.path, "%v", err)
			return nil, nil
		}
		known := f.data
		if v := env.vars[t.main]; v.file == f && v.ours(t.main) {
			known = f.data[:v.begin]
		}
		if env.opaque[f.path] && bytes.Contains(bytes.ReplaceAll(known, []byte("-"), []byte("_")), []byte("_blacklist=")) {
			r.problem(f.path, "it names %s or %s among commands that are not plain assignments", moduleParam, initcallParam)
			return nil, nil
		}
	}
	return env, nil
}

func (r *reader) shellTemplate(t shellTemplate) error {
	if t.dropIn != "" {
		literal, err := rootfs.Resolve(r.tree, t.dropIn)
		if err != nil && !missing(err) {
			return err
		}
		t.dropIn = literal
	}
	if t.dropIn == "" {
		if f, err := r.find("/", strings.FieldsFunc(t.files[0], func(c rune) bool { return c == '/' })...); err != nil || f == "" {
			return err
		}
	}
	base, err := r.shellValues(t)
	if err != nil || base == nil {
		return err
	}
	full, own := base, (*file)(nil)
	if t.dropIn != "" {
		if own, err = r.open(t.dropIn); err != nil {
			return err
		}
	}
	if own != nil {
		full = newShellEnv()
		for name, v := range base.vars {
			full.vars[name] = v
		}
		if err := full.source(own); err != nil {
			r.problem(own.path, "%v", err)
			return nil
		}
		for _, name := range t.later() {
			f, err := r.openAgain(name)
			if err != nil {
				return err
			}
			if f == nil {
				continue
			}
			if err := full.source(f); err != nil {
				r.problem(f.path, "%v", err)
				return nil
			}
		}
	}
	for _, name := range t.concerned(base) {
		if err := r.shellPlace(t, name, base, full); err != nil {
			return err
		}
	}
	return nil
}

// later are the files that the reader takes after our own: a shell sorts them by name.
func (t shellTemplate) later() []string {
	var out []string
	for _, name := range t.files {
		if path.Dir(name) == path.Dir(t.dropIn) && name > t.dropIn {
			out = append(out, name)
		}
	}
	return out
}

// concerned lists the variables that must hold our arguments.
func (t shellTemplate) concerned(env *shellEnv) []string {
	out := []string{t.main}
	for _, name := range t.others {
		if modules, _ := Effective(env.vars[name].String()); len(modules) > 0 {
			out = append(out, name)
		}
	}
	for _, name := range t.replaces {
		if _, set := env.vars[name]; set {
			out = append(out, name)
		}
	}
	return out
}

func (r *reader) shellPlace(t shellTemplate, name string, base, full *shellEnv) error {
	v := full.vars[name]
	e := Entry{Source: t.source, Title: name, Line: v.line, Template: true, Path: t.dropIn, CommandLine: v.String()}
	line := text{cells: v.cells, lead: v.lead, bareLead: v.bareLead, tail: -1}
	if len(v.cells) == 0 && t.fallback != "" {
		line.cells = rawText([]byte(t.fallback), 0, len(t.fallback)).cells
	}
	if t.dropIn != "" {
		d := &dropIn{path: t.dropIn, later: t.later(), content: func(w Want) ([]byte, error) { return t.content(base, w) }}
		r.add(e, place{dropIn: d, lines: []text{line}})
		return nil
	}
	f := v.file
	if f != nil && v.ours(name) {
		line.lineStart, line.lineEnd = v.begin, len(f.data)
	} else if f == nil || v.opaque || base.opaque[f.path] {
		main, err := r.openAgain(t.files[0])
		if err != nil || main == nil {
			return err
		}
		if f == nil || f.path == main.path {
			f = main
		}
		line = assignmentAtEnd(main, name, line)
	}
	e.Path = f.path
	r.add(e, place{file: f, lines: []text{line}})
	return nil
}

// ours says whether a variable's last assignment is one that assignmentAtEnd made.
func (v shellVar) ours(name string) bool {
	rest := v.file.data[v.begin:]
	return bytes.HasPrefix(rest, fmt.Appendf(nil, `%s="$%s `, name, name)) && bytes.IndexByte(rest, '\n') == len(rest)-1
}

func (r *reader) openAgain(name string) (*file, error) {
	literal, err := r.find("/", strings.FieldsFunc(name, func(c rune) bool { return c == '/' })...)
	if err != nil || literal == "" {
		return nil, err
	}
	delete(r.seen, literal)
	return r.open(literal)
}

// assignmentAtEnd puts arguments into an assignment at the end of the file, where what
// the variable holds cannot be told or changed where it is set.
func assignmentAtEnd(f *file, name string, value text) text {
	t := text{tail: -1, lead: len(f.data), ownLine: true, before: fmt.Sprintf(`%s="$%s `, name, name), after: "\"\n"}
	if len(f.data) > 0 && f.data[len(f.data)-1] != '\n' {
		t.before = "\n" + t.before
	}
	for _, c := range value.cells {
		t.cells = append(t.cells, cell{c: c.c, start: len(f.data), end: len(f.data), next: len(f.data), soft: true})
	}
	return t
}

// content is our own file of a template: it adds to what the files before it leave.
func (t shellTemplate) content(base *shellEnv, w Want) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(w.Header)
	for _, name := range t.concerned(base) {
		v := base.vars[name]
		line, value := v.String(), "$"+name
		if len(v.cells) == 0 && !v.opaque {
			line, value = t.fallback, t.fallback
		}
		args, err := additions(line, w)
		if err != nil {
			return nil, err
		}
		if len(args) > 0 {
			fmt.Fprintf(&b, "%s=\"%s\"\n", name, strings.TrimSpace(value+" "+strings.Join(args, " ")))
		}
	}
	return b.Bytes(), nil
}

// additions gives the arguments that make a command line complete when they follow
// it.
func additions(cmdline string, w Want) ([]string, error) {
	p := parseText(rawText([]byte(cmdline), 0, len(cmdline)))
	var out []string
	for _, l := range w.lists() {
		_, fresh, err := mergeList([]parsedText{{text: p.text, str: p.str, line: p.line}}, l)
		if err != nil {
			return nil, err
		}
		if fresh != "" {
			out = append(out, fresh)
		}
	}
	if n := len(cmdline) + len(strings.Join(out, " ")) + maxBootPath; n > maxCommandLine {
		return nil, fmt.Errorf("command line would have %d bytes, the kernel takes %d", n, maxCommandLine)
	}
	if p.dashes >= 0 && len(out) > 0 {
		return nil, fmt.Errorf(`"--" ends the kernel's arguments before ours`)
	}
	return out, nil
}

// cmdlineDir reads mkinitcpio's /etc/cmdline.d. dracut has a directory of that name
// too, but only its own programs read it, not the kernel.
func (r *reader) cmdlineDir() error {
	mkinitcpio, err := r.find("/etc", "mkinitcpio.conf")
	if err != nil || mkinitcpio == "" {
		return err
	}
	const own = cmdlineDropIn
	names, err := r.files(path.Dir(own), ".conf")
	if err != nil {
		return err
	}
	var base, full, later []string
	for _, name := range names {
		if name > own {
			later = append(later, name)
		}
		f, err := r.open(name)
		if err != nil {
			return err
		}
		if f == nil {
			continue
		}
		line := uncommented(f.data).String()
		full = append(full, line)
		if name != own {
			base = append(base, line)
		}
	}
	if len(base) == 0 {
		return nil
	}
	d := &dropIn{path: own, later: later, content: func(w Want) ([]byte, error) {
		args, err := additions(strings.Join(base, " "), w)
		return []byte(w.Header + strings.Join(args, " ") + "\n"), err
	}}
	line := strings.Join(full, " ")
	r.add(Entry{Source: CmdlineDir, Path: own, Template: true}, place{dropIn: d, lines: []text{rawText([]byte(line), 0, len(line))}})
	return nil
}

// raspberryPi reads the files that the firmware takes the command line from: the first
// line of cmdline.txt, or of what config.txt calls it.
func (r *reader) raspberryPi() error {
	for _, volume := range volumes() {
		config, err := r.find(volume, "config.txt")
		if err != nil {
			return err
		}
		if config == "" {
			continue
		}
		f, err := r.open(config)
		if err != nil {
			return err
		}
		if f == nil {
			continue
		}
		names, prefixes := []string{"cmdline.txt"}, []string{""}
		for line := range strings.Lines(string(f.data)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			switch key {
			case "cmdline":
				names = append(names, value)
			case "os_prefix":
				prefixes = append(prefixes, value)
			}
		}
		for _, prefix := range prefixes {
			for _, name := range names {
				if err := r.cmdlineTxt(path.Join(path.Dir(config), prefix+name)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (r *reader) cmdlineTxt(name string) error {
	f, err := r.open(name)
	if err != nil || f == nil {
		return err
	}
	first, _, _ := bytes.Cut(f.data, []byte("\n"))
	first = bytes.TrimRight(first, "\r")
	r.add(Entry{Source: RaspberryPi, Path: f.path, Line: 1}, place{file: f, lines: []text{rawText(f.data, 0, len(first))}})
	return nil
}

// startup reads the script that an EFI shell runs: it may start a kernel with arguments.
func (r *reader) startup() error {
	for _, volume := range volumes() {
		name, err := r.find(volume, "startup.nsh")
		if err != nil {
			return err
		}
		if name == "" {
			continue
		}
		f, err := r.open(name)
		if err != nil {
			return err
		}
		if f != nil && (bytes.Contains(f.data, []byte("initrd=")) || bytes.Contains(f.data, []byte("root="))) {
			r.problem(f.path, "it starts a kernel with arguments from an EFI shell, which is not handled")
		}
	}
	return nil
}

// unhandled names the boot loaders whose configuration is there and not understood.
func (r *reader) unhandled() error {
	loaders := []struct{ name, why string }{
		{"/etc/lilo.conf", "LILO"}, {"/etc/zipl.conf", "zipl"}, {"/etc/elilo.conf", "ELILO"}, {"/etc/yaboot.conf", "yaboot"},
		{"/etc/silo.conf", "SILO"}, {"/etc/aboot.conf", "aboot"},
		{"grub/menu.lst", "GRUB legacy"}, {"grub/grub.conf", "GRUB legacy"},
		{"limine.conf", "Limine"}, {"limine.cfg", "Limine"}, {"limine/limine.conf", "Limine"}, {"limine/limine.cfg", "Limine"},
		{"EFI/limine/limine.conf", "Limine"}, {"EFI/BOOT/limine.conf", "Limine"},
		{"refind_linux.conf", "rEFInd"}, {"EFI/refind/refind.conf", "rEFInd"}, {"EFI/BOOT/refind.conf", "rEFInd"},
		{"boot.scr", "a script for U-Boot"}, {"boot.scr.uimg", "a script for U-Boot"}, {"uEnv.txt", "an environment for U-Boot"},
		{"armbianEnv.txt", "an environment for U-Boot"}, {"dietpiEnv.txt", "an environment for U-Boot"},
	}
	for _, l := range loaders {
		dirs := volumes()
		if strings.HasPrefix(l.name, "/") {
			dirs = []string{"/"}
		}
		for _, dir := range dirs {
			name, err := r.find(dir, strings.FieldsFunc(l.name, func(c rune) bool { return c == '/' })...)
			if err != nil {
				return err
			}
			if name != "" && !slices.ContainsFunc(r.config.Problems, func(p Problem) bool { return p.Path == name }) {
				r.problem(name, "the configuration of %s is not handled", l.why)
			}
		}
	}
	return nil
}
