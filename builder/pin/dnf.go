package pin

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

const (
	dnfConf = "/etc/dnf/dnf.conf"
	yumConf = "/etc/yum.conf"
)

// excludeKeys are two names for one list, which both add to.
var excludeKeys = []string{"excludepkgs", "exclude"}

// rpmKernels are globs for the names of rpm packages that hold a bootable kernel or its
// modules, in Fedora, RHEL and their kin, Oracle, Amazon, Azure Linux, openSUSE, ELRepo.
// All of them have the kernel's version. A glob for everything would take in
// kernel-headers and kernel-srpm-macros.
var rpmKernels = []string{
	"kernel", "kernel-core", "kernel-modules*", "kernel-devel*", "kernel-uki-virt*",
	"kernel-debug*", "kernel-rt*", "kernel-16k*", "kernel-64k*", "kernel-automotive*",
	"kernel-zfcpdump*", "kernel-uek*", "kernel[123456789]*", "kernel-hwe*",
	"kernel-default*", "kernel-azure*", "kernel-lt*", "kernel-ml*", "kernel-longterm*",
}

// excludes are the words for excludepkgs.
func (b bounds) excludes() []string {
	var out []string
	for _, name := range rpmKernels {
		for _, s := range slices.Concat(b.below(), b.above()) {
			for _, glob := range s.globs() {
				out = append(out, name+"-"+glob+".*")
			}
		}
	}
	return out
}

// dnf pins for dnf 4, dnf 5, microdnf and yum.
func (p *planner) dnf() error {
	names, err := p.dnfConfigs()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := p.exclude(name); err != nil {
			return err
		}
	}
	return p.versionlocks()
}

// dnfConfigs gives the configurations there are; yum.conf is often a link to dnf.conf.
func (p *planner) dnfConfigs() ([]string, error) {
	var names, literals []string
	for _, name := range []string{dnfConf, yumConf} {
		literal, err := rootfs.Resolve(p.tree, name)
		if errors.Is(err, fs.ErrNotExist) || slices.Contains(literals, literal) {
			continue
		}
		if err != nil {
			return nil, err
		}
		names, literals = append(names, name), append(literals, literal)
	}
	if len(names) == 0 {
		return []string{dnfConf}, nil
	}
	return names, nil
}

func (p *planner) exclude(name string) error {
	data, err := p.read(name)
	if err != nil {
		return err
	}
	options, behind := section(data, "main", true)
	if behind >= 0 && behind < len(data) && (data[behind] == ' ' || data[behind] == '\t') {
		number := 1 + bytes.Count(data[:behind], []byte("\n"))
		p.refuse(Refusal{name, number, "the line continues an option, and there is none above it: dnf cannot read the file", "mend the line"})
		return nil
	}
	var lists []option
	for _, o := range options {
		switch {
		case o.key == "disable_excludes" && len(o.words()) > 0:
			p.refuse(Refusal{name, o.number, "disable_excludes is set, so dnf takes no notice of excluded packages", "remove the line"})
		case !isExcludes(o):
		case slices.ContainsFunc(lists, func(l option) bool { return l.key == o.key }):
			p.refuse(Refusal{name, o.number, o.key + " stands twice in [main], and dnf reads only one of them", "make one line of them"})
		default:
			lists = append(lists, o)
		}
	}
	wanted, present := excludeWords(p.bounds, data)
	fresh := without(wanted, present)
	for _, o := range lists {
		p.warnFrozen(name, o.number, o.words())
	}
	// What the file has by somebody else stays his.
	file := File{Manager: "dnf", Path: name, Data: data, Added: strings.Join(fresh, " ")}
	if len(fresh) > 0 {
		file.Data = addExcludes(data, lists, fresh, name == yumConf)
		file.Lacks = "its excluded packages lack kernels outside " + p.bounds.String()
	}
	return p.put(file)
}

// excludeWords tells what the lists of a dnf.conf are to have, and what they have.
func excludeWords(b bounds, data []byte) (wanted, present []string) {
	options, _ := section(data, "main", true)
	for _, o := range options {
		if isExcludes(o) {
			present = append(present, o.words()...)
		}
	}
	return b.excludes(), present
}

func isExcludes(o option) bool { return slices.Contains(excludeKeys, o.key) }

// warnFrozen tells of exclusions that let no kernel in at all.
func (p *planner) warnFrozen(name string, number int, words []string) {
	for _, word := range words {
		if word == "kernel" || word == "kernel*" || word == "kernel-core" || word == "kernel-core*" || word == "kernel-default" {
			p.warn("%s:%d: %s is excluded whatever its version, so no update of the kernel comes, and no fix", name, number, word)
			return
		}
	}
}

// addExcludes extends the last list there is, since an empty one clears those before
// it; or makes one.
func addExcludes(data []byte, lists []option, words []string, yum bool) []byte {
	text := strings.Join(words, " ")
	if len(lists) > 0 {
		last := lists[len(lists)-1]
		end := last.value + len(strings.TrimRight(last.content(), " \t\r\n"))
		if end == last.value && last.end > last.value {
			// The blank tells a line that was there from one of our own.
			end = last.value + len(strings.TrimRight(last.content(), "\r\n"))
		}
		return insert(data, end, " "+text)
	}
	key := "excludepkgs"
	if yum {
		key = "exclude"
	}
	return addOption(data, "main", true, key+"="+text+"\n")
}

// stripExcludes takes words out of the lists.
func stripExcludes(data []byte, words []string) []byte {
	return stripOptions(data, "main", true, excludeKeys, words)
}
