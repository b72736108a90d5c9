package pin

import (
	"slices"
	"strings"
)

const apkWorld = "/etc/apk/world"

// alpineKernels are the kernels of Alpine and postmarketOS; linux-headers, linux-pam and
// linux-firmware are none.
var alpineKernels = []string{
	"linux-lts", "linux-virt", "linux-stable", "linux-edge", "linux-edge-virt", "linux-rpi", "linux-rpi2", "linux-rpi4",
	"linux-asahi", "linux-elm", "linux-gru", "linux-starfive", "linux-openpax", "linux-hardened",
}

// constraint is one line of the world.
type constraint struct {
	name, comparator, version string
}

// parseConstraint reads NAME[@TAG][COMPARATOR VERSION]; "!" in front forbids.
func parseConstraint(text string) constraint {
	name, version := text, ""
	if at := strings.IndexAny(text, "<>=~"); at >= 0 {
		name, version = text[:at], text[at:]
	}
	c := constraint{version: strings.TrimLeft(version, "<>=~")}
	c.comparator = strings.TrimSuffix(version, c.version)
	c.name, _, _ = strings.Cut(name, "@")
	return c
}

// apk adds bounds to the kernels that the world has. It names no others: a name there
// asks for the package to be installed.
func (p *planner) apk() error {
	data, err := p.read(apkWorld)
	if err != nil || data == nil {
		return err
	}
	for i, l := range linesOf(data) {
		for _, word := range strings.Fields(l.text) {
			c := parseConstraint(word)
			if slices.Contains(alpineKernels, c.name) && !p.bounds.allows(c.comparator, c.version) {
				p.refuse(Refusal{apkWorld, i + 1, word + " asks for a kernel outside " + p.bounds.String(), "remove the version from the line"})
			}
		}
	}
	wanted, present := worldWords(p.bounds, data)
	if len(wanted) > 0 {
		p.warn("%s holds the kernel to %v: where no repository has one, apk refuses every change of packages; and a later apk add of the same name takes a bound away", apkWorld, p.bounds)
	}
	fresh := without(wanted, present)
	if len(fresh) == 0 {
		return nil
	}
	return p.put(File{Manager: "apk", Path: apkWorld, Added: strings.Join(fresh, " "),
		Data: appendLines(data, strings.Join(fresh, "\n")+"\n"), Lacks: "it lacks " + strings.Join(fresh, ", ")})
}

// constraints of one package. "_alpha" is before every candidate of a release.
func (b bounds) constraints(name string) []string {
	out := []string{name + ">=" + b.low.text("_rc")}
	if b.closed {
		out = append(out, name+"<"+b.ceiling().String()+"_alpha")
	}
	return out
}

// worldWords tells what bounds the kernels of a world are to have, and what is in it.
func worldWords(b bounds, data []byte) (wanted, present []string) {
	present = strings.Fields(string(data))
	for _, word := range present {
		if c := parseConstraint(word); slices.Contains(alpineKernels, c.name) {
			wanted = append(wanted, without(b.constraints(c.name), wanted)...)
		}
	}
	return wanted, present
}

// stripWorld takes out the lines that are one of the words.
func stripWorld(data []byte, words []string) []byte {
	for _, l := range slices.Backward(linesOf(data)) {
		if slices.Contains(words, strings.TrimSpace(l.text)) {
			data = slices.Concat(data[:l.start], data[l.end:])
		}
	}
	return data
}
