package bootentry

import (
	"bytes"
	"path"
	"slices"
	"strings"
)

// blsLine is one line of a boot loader entry.
type blsLine struct {
	key        string
	at, next   int // where the line begins, and the one after it
	start, end int // of the value, without blanks around it
	number     int
}

// parseBLS splits a boot loader entry of type 1 (UAPI.1, "Type #1 Boot Loader
// Specification Entries"): a key, blanks, a value on each line; # begins a comment.
func parseBLS(data []byte) []blsLine {
	var out []blsLine
	at, number := 0, 0
	for at < len(data) {
		line := data[at : at+lineLength(data[at:])]
		number++
		end := at + len(bytes.TrimRight(line, " \t\r\n"))
		start := at + len(line) - len(bytes.TrimLeft(line, " \t"))
		from := at
		at += len(line)
		if start >= end || data[start] == '#' {
			continue
		}
		key, _, _ := bytes.Cut(bytes.ReplaceAll(data[start:end], []byte("\t"), []byte(" ")), []byte(" "))
		value := start + len(key)
		for value < end && (data[value] == ' ' || data[value] == '\t') {
			value++
		}
		out = append(out, blsLine{string(key), from, at, value, end, number})
	}
	return out
}

// lineLength is that of the first line with its end: systemd-boot takes a carriage return
// alone for one as well (line_get_key_value in src/boot).
func lineLength(data []byte) int {
	i := bytes.IndexAny(data, "\r\n")
	switch {
	case i < 0:
		return len(data)
	case bytes.HasPrefix(data[i:], []byte("\r\n")):
		return i + 2
	default:
		return i + 1
	}
}

// blsEntries reads the entries of every volume.
func (r *reader) blsEntries() error {
	for _, volume := range volumes() {
		dir, err := r.find(volume, "loader", "entries")
		if err != nil {
			return err
		}
		if dir == "" {
			continue
		}
		names, err := r.files(dir, ".conf")
		if err != nil {
			return err
		}
		for _, name := range names {
			f, err := r.open(name)
			if err != nil {
				return err
			}
			if f != nil {
				r.blsEntry(f, path.Dir(path.Dir(dir)))
			}
		}
	}
	return nil
}

func (r *reader) blsEntry(f *file, volume string) {
	if bytes.IndexByte(f.data, 0) >= 0 {
		r.problem(f.path, "it has a zero byte, where boot loaders stop reading")
		return
	}
	e := Entry{Source: BLS, Path: f.path}
	var options []blsLine
	loads := ""
	for _, l := range parseBLS(f.data) {
		value := unquoted(string(f.data[l.start:l.end]))
		switch l.key {
		case "title":
			e.Title = value
		case "version":
			e.Release = value
		case "linux", "efi", "uki":
			loads, e.Kernel = l.key, r.locate(value, volume)
		case "initrd":
			e.Initrds = append(e.Initrds, r.blsInitrds(value, volume)...)
		case "options":
			options, e.Line = append(options, l), l.number
		}
	}
	if loads != "linux" && len(options) == 0 {
		r.chained = append(r.chained, e.Kernel)
		return // another program, or an image that holds its own command line
	}
	if release := releaseOf(e.Kernel); release != "" {
		e.Release = release
	}
	p := place{file: f}
	names := blsVariables(f.data, options)
	if len(options) == 0 && r.env.known("default_kernelopts") {
		names = []string{"default_kernelopts"}
	}
	combinations, err := r.env.combinations(names, 1)
	if err != nil {
		r.problem(f.path, "%v", err)
		return
	}
	for _, values := range combinations {
		p.lines = append(p.lines, r.blsText(f.data, options, values, len(names) > 0 && len(options) == 0))
	}
	if len(options) == 0 && len(names) > 0 {
		p.refusal = &Refusal{Why: "the entry has no options line, and GRUB then takes default_kernelopts",
			Hint: "set default_kernelopts in grub.cfg or grubenv"}
	}
	r.add(e, p)
}

// blsInitrds finds the files of an initrd line. GRUB's blscfg takes it for the words of a
// command, with variables among them: Red Hat writes "/initramfs-REL.img $tuned_initrd".
func (r *reader) blsInitrds(value, volume string) []string {
	if at := r.locate(value, volume); at != value || !strings.ContainsAny(value, " \t$") {
		return []string{at}
	}
	var out []string
	for field := range strings.FieldsSeq(value) {
		var pieces []piece
		for i := 0; i < len(field); {
			name, length := blsVariable([]byte(field[i:]))
			if name == "" {
				length = 1
			}
			pieces = append(pieces, piece{c: field[i], variable: name})
			i += length
		}
		out = append(out, r.initrds(pieces, volume)...)
	}
	return out
}

// blsVariables lists the variables that options name. GRUB's blscfg expands them,
// systemd-boot does not: those that nothing sets stay as they are written.
func blsVariables(data []byte, options []blsLine) []string {
	var out []string
	for _, l := range options {
		for i := l.start; i < l.end; i++ {
			if name, _ := blsVariable(data[i:l.end]); name != "" {
				out = union(out, []string{name})
			}
		}
	}
	return out
}

// blsVariable reads $name or ${name} at the start of data.
func blsVariable(data []byte) (name string, length int) {
	if len(data) < 2 || data[0] != '$' {
		return "", 0
	}
	if data[1] != '{' {
		name = variableName(data[1:])
		return name, 1 + len(name)
	}
	name = variableName(data[2:])
	if end := 2 + len(name); end < len(data) && data[end] == '}' {
		return name, end + 1
	}
	return "", 0
}

// blsText joins the options lines as boot loaders do, with a blank.
func (r *reader) blsText(data []byte, options []blsLine, values map[string]string, fromDefault bool) text {
	t := text{lead: len(data), tail: -1, extra: 2 * maxBootPath, ownLine: len(options) == 0, before: "options ", after: "\n"}
	if len(data) > 0 && data[len(data)-1] != '\n' {
		t.before = "\n" + t.before
	}
	if fromDefault {
		for _, c := range []byte(values["default_kernelopts"]) {
			t.cells = append(t.cells, cell{c: c, start: len(data), end: len(data), next: len(data), soft: true})
		}
		return t
	}
	for n, l := range options {
		if n > 0 {
			t.cells = append(t.cells, cell{c: ' ', start: l.start, end: l.start, head: l.start, next: l.start, soft: true})
		}
		t.lead, t.tail, t.follows = l.end, l.end, true
		if len(options) == 1 {
			t.lineStart, t.lineEnd = l.at, l.next
		}
		for i := l.start; i < l.end; {
			name, length := blsVariable(data[i:l.end])
			if name == "" || !r.env.known(name) {
				t.cells = append(t.cells, literalCell(data[i], i))
				i++
				continue
			}
			for _, c := range []byte(values[name]) {
				t.cells = append(t.cells, cell{c: c, start: i, end: i + length, head: i, next: i + length, soft: true})
			}
			i += length
		}
	}
	return t
}

// maxBootPath is for BOOT_IMAGE= or initrd= with a path, which boot loaders add.
const maxBootPath = 128

// kernelCmdline reads the command lines that kernel-install and its like put into new
// entries. Of two files the first stands.
func (r *reader) kernelCmdline() error {
	any := false
	for _, name := range []string{"/etc/kernel/cmdline", "/usr/lib/kernel/cmdline"} {
		f, err := r.open(name)
		if err != nil {
			return err
		}
		if f == nil {
			continue
		}
		any = true
		r.add(Entry{Source: KernelCmdline, Path: f.path, Line: 1, Template: true}, place{lines: []text{uncommented(f.data)}, file: f})
		break
	}
	install, err := r.find("/usr/bin", "kernel-install")
	if err != nil {
		return err
	}
	// Where no entry is of its making, something else makes them.
	makes := slices.ContainsFunc(r.config.Entries, func(e Entry) bool { return e.Source == BLS || e.Source == UKI })
	if install != "" && !any && makes {
		r.config.Notes = append(r.config.Notes,
			"/etc/kernel/cmdline: missing: kernel-install gives a new kernel the arguments that the running one was started with")
	}
	if err := r.ukiConfig(); err != nil {
		return err
	}
	return r.cmdlineDir()
}

// uncommented is a file of arguments on any number of lines; those that begin with #
// are left out, as mkinitcpio and newer versions of kernel-install do.
func uncommented(data []byte) text {
	t := text{tail: -1}
	at := 0
	for line := range bytes.Lines(data) {
		if line[0] != '#' {
			t.cells = append(t.cells, rawText(data, at, at+len(line)).cells...)
		}
		at += len(line)
	}
	for i := range t.cells {
		if t.cells[i].c == '\n' || t.cells[i].c == 0 {
			t.cells[i].c = ' '
		}
	}
	if len(t.cells) > 0 {
		t.lead = t.cells[0].start
	} else {
		t.lead = len(data)
	}
	return t
}

// ukiConfig reads ukify's configuration, whose command line goes into new images.
func (r *reader) ukiConfig() error {
	for _, name := range []string{"/etc/kernel/uki.conf", "/usr/lib/kernel/uki.conf"} {
		f, err := r.open(name)
		if err != nil {
			return err
		}
		if f == nil {
			continue
		}
		at, number := 0, 0
		for line := range bytes.Lines(f.data) {
			number++
			begin := at
			at += len(line)
			trimmed := bytes.TrimRight(line, " \t\r\n")
			key, value, found := strings.Cut(string(trimmed), "=")
			if !found || strings.TrimSpace(key) != "Cmdline" {
				continue
			}
			value = strings.TrimLeft(value, " \t")
			if strings.HasPrefix(value, "@") {
				if err := r.cmdlineFile(value[1:]); err != nil {
					return err
				}
				continue
			}
			end := begin + len(trimmed)
			e := Entry{Source: UKIConfig, Path: f.path, Line: number, Template: true}
			p := place{lines: []text{rawText(f.data, end-len(value), end)}, file: f}
			if at < len(f.data) && (f.data[at] == ' ' || f.data[at] == '\t') {
				p.refusal = &Refusal{Why: "Cmdline= goes on in the next line", Hint: "write it on one line"}
			}
			r.add(e, p)
		}
		break
	}
	return nil
}

func (r *reader) cmdlineFile(name string) error {
	f, err := r.open(name)
	if err != nil || f == nil {
		return err
	}
	r.add(Entry{Source: KernelCmdline, Path: f.path, Line: 1, Template: true}, place{lines: []text{uncommented(f.data)}, file: f})
	return nil
}
