package pin

import (
	"slices"
	"strings"
)

const (
	pacmanConf    = "/etc/pacman.conf"
	pacmanOptions = "options"
	ignoreKey     = "IgnorePkg"
)

// archKernels are the kernels of Arch Linux and its kin, with their headers.
var archKernels = []string{
	"linux", "linux-headers", "linux-lts", "linux-lts-headers", "linux-zen", "linux-zen-headers",
	"linux-hardened", "linux-hardened-headers", "linux-rt", "linux-rt-headers", "linux-rt-lts", "linux-rt-lts-headers",
	"linux-cachyos*", "linux[123456789]*", "linux-aarch64*", "linux-rpi*",
}

// pacman freezes the kernel where there is a ceiling; a floor it keeps by itself.
func (p *planner) pacman() error {
	data, err := p.read(pacmanConf)
	if err != nil {
		return err
	}
	wanted, present := ignoreWords(p.bounds, data)
	if !p.bounds.closed {
		p.warn("pacman knows no versions to keep to: it goes below %v only when told to, by pacman -U or -Suu, or by installing another kernel such as linux-lts", p.bounds.low)
		if slices.Contains(present, "linux") || slices.Contains(present, "linux*") {
			p.warn("%s: IgnorePkg names the kernel, so no update of it comes, and no fix", pacmanConf)
		}
		return nil
	}
	p.warn("pacman knows no versions to keep to: IgnorePkg freezes the kernel to keep it below %v, so no fix comes either", p.bounds.ceiling())
	fresh := without(wanted, present)
	file := File{Manager: "pacman", Path: pacmanConf, Data: data, Added: strings.Join(fresh, " ")}
	if len(fresh) > 0 {
		file.Lacks = "its IgnorePkg lacks kernels"
		file.Data = addOption(data, pacmanOptions, false, ignoreKey+"="+strings.Join(fresh, " ")+"\n")
	}
	return p.put(file)
}

// ignoreWords tells what IgnorePkg is to have, and what it has.
func ignoreWords(b bounds, data []byte) (wanted, present []string) {
	options, _ := section(data, pacmanOptions, false)
	for _, o := range options {
		if o.key == ignoreKey {
			present = append(present, o.words()...)
		}
	}
	if b.closed {
		wanted = archKernels
	}
	return wanted, present
}

// stripIgnored takes words out of IgnorePkg, of which there can be several.
func stripIgnored(data []byte, words []string) []byte {
	return stripOptions(data, pacmanOptions, false, []string{ignoreKey}, words)
}
