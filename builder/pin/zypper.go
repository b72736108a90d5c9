package pin

import (
	"maps"
	"slices"
	"strings"
)

const zyppLocks = "/etc/zypp/locks"

// suseKernels are globs for the names of SUSE's packages with a bootable kernel or its
// modules, all with the kernel's version.
var suseKernels = []string{
	"kernel-default*", "kernel-azure*", "kernel-rt*", "kernel-kvmsmall*", "kernel-debug*", "kernel-vanilla*",
	"kernel-pae*", "kernel-64kb*", "kernel-lpae*", "kernel-zfcpdump*", "kernel-longterm*",
}

// locks are words for the locks: a name and a bound. The tilde puts the candidates of
// the ceiling above it.
func (b bounds) locks() []string {
	var out []string
	for _, name := range suseKernels {
		out = append(out, name+"<"+b.low.text("~rc"))
		if b.closed {
			out = append(out, name+">="+b.ceiling().String()+"~")
		}
	}
	return out
}

// lock is one stanza of the file: the lines data[start:end].
type lock struct {
	start, end int
	number     int
	fields     map[string]string
}

// locksIn parses the file as libzypp writes it: blank lines part the stanzas.
func locksIn(data []byte) []lock {
	var out []lock
	open := false
	for i, l := range linesOf(data) {
		key, value, found := strings.Cut(l.text, ":")
		switch {
		case strings.TrimSpace(l.text) == "":
			open = false
			continue
		case !open:
			out = append(out, lock{start: l.start, number: i + 1, fields: map[string]string{}})
			open = true
		}
		last := &out[len(out)-1]
		last.end = l.end
		if !found {
			value = "?" // nothing that we write
		}
		last.fields[strings.TrimSpace(key)] = strings.TrimSpace(value)
	}
	return out
}

// fieldsOf gives the stanza for a word.
func fieldsOf(word string) map[string]string {
	at := strings.IndexAny(word, "<>")
	if at < 0 {
		return nil
	}
	version := strings.TrimLeft(word[at:], "<>=")
	comparator := word[at : len(word)-len(version)]
	return map[string]string{
		"type": "package", "match_type": "glob", "case_sensitive": "on",
		"solvable_name": word[:at], "version": comparator + " " + version,
	}
}

// stanza writes it in libzypp's order of fields.
func stanza(fields map[string]string) string {
	var b strings.Builder
	b.WriteString("\n")
	for _, key := range []string{"type", "version", "match_type", "case_sensitive", "solvable_name"} {
		b.WriteString(key + ": " + fields[key] + "\n")
	}
	return b.String() + "\n"
}

func (p *planner) zypper() error {
	data, err := p.read(zyppLocks)
	if err != nil {
		return err
	}
	for _, l := range locksIn(data) {
		if name := l.fields["solvable_name"]; l.fields["version"] == "" && strings.HasPrefix(name, "kernel") && !strings.HasPrefix(name, "kernel-firmware") {
			p.warn("%s:%d: %s is locked whatever its version, so no update of the kernel comes, and no fix", zyppLocks, l.number, name)
		}
	}
	wanted, present := lockWords(p.bounds, data)
	fresh := without(wanted, present)
	text := ""
	for _, word := range fresh {
		text += stanza(fieldsOf(word))
	}
	file := File{Manager: "zypper", Path: zyppLocks, Data: data, Added: strings.Join(fresh, " ")}
	if len(fresh) > 0 {
		file.Data, file.Lacks = appendLines(data, text), "it lacks locks on kernels outside "+p.bounds.String()
	}
	return p.put(file)
}

// lockWords tells what locks there are to be, and which of them there are.
func lockWords(b bounds, data []byte) (wanted, present []string) {
	there, wanted := locksIn(data), b.locks()
	for _, word := range wanted {
		fields := fieldsOf(word)
		if slices.ContainsFunc(there, func(l lock) bool { return maps.Equal(l.fields, fields) }) {
			present = append(present, word)
		}
	}
	return wanted, present
}

// stripLocks takes the stanzas for words out, each with one blank line before and one
// behind it.
func stripLocks(data []byte, words []string) []byte {
	for _, l := range slices.Backward(locksIn(data)) {
		ours := slices.ContainsFunc(words, func(w string) bool { return maps.Equal(l.fields, fieldsOf(w)) })
		if !ours {
			continue
		}
		start, end := l.start, l.end
		if start > 0 && data[start-1] == '\n' && (start == 1 || data[start-2] == '\n') {
			start--
		}
		if end < len(data) && data[end] == '\n' {
			end++
		}
		data = slices.Concat(data[:start], data[end:])
	}
	return data
}
