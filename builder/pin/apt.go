package pin

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// AptPreferences is our own file for apt. Its name sorts before others: of records that
// name a package the first one that matches a version decides.
const AptPreferences = "/etc/apt/preferences.d/00-kerngate.pref"

// aptKernels are the packages that a pin is for, in apt's own syntax: globs, and
// regular expressions between slashes. All have the kernel's version. A package that is
// not here but depends on one of these is held as well, since apt finds no candidate
// for what it needs.
var aptKernels = []string{
	// Debian and Ubuntu: kernels, also split, unsigned and debug ones, and what is built
	// against them; linux-modules-extra-* and the meta packages of Debian are among them.
	"linux-image-*", "linux-headers-*", "linux-modules-*", "linux-binary-*", "linux-signed-*",
	// Debian's linux-base-RELEASE and its meta packages. Plain linux-base and Ubuntu's
	// linux-base-sgx have versions of their own.
	"/^linux-base-[0-9]/",
	"/^linux-base-((cloud|rt)-)?(amd64|arm64|arm64-16k|armmp|armmp-lpae|686|686-pae|powerpc64le|riscv64|s390x|loong64)$/",
	// Ubuntu's meta packages and headers by flavour, HWE among them.
	"/^linux-(allwinner|aws|azure|bluefield|gcp|generic|gke|gkeop|hwe|ibm|intel|intel-iotg|iot|kvm|laptop|lowlatency|" +
		"nvidia|oem|oracle|qcom|raspi|raspi2|realtime|riscv|starfive|virtual|xilinx)(-|$)/",
	// Proxmox: its meta package proxmox-default-kernel has a version of its own.
	"/^(proxmox|pve)-(kernel|headers)-[0-9]/",
}

// preferences writes the file. The priority of what is allowed stays as it was: only
// negative records are in it.
func (b bounds) preferences(header string) []byte {
	var out strings.Builder
	out.WriteString(header)
	write := func(why string, shapes []shape) {
		fmt.Fprintf(&out, "\nExplanation: %s\nPackage: %s:any\nPin: version /%s/\nPin-Priority: -1\n", why, strings.Join(aptKernels, ":any "), regexOf(shapes))
	}
	write("kernels below "+b.low.String(), b.below())
	if b.closed {
		write("kernels at or above "+b.ceiling().String(), b.above())
	}
	return []byte(out.String())
}

// isAptKernel says whether a pin is for a package.
func isAptKernel(name string) bool {
	for _, pattern := range aptKernels {
		if expression, isRegex := strings.CutPrefix(pattern, "/"); isRegex {
			if regexp.MustCompile(strings.TrimSuffix(expression, "/")).MatchString(name) {
				return true
			}
		} else if strings.HasPrefix(name, strings.TrimSuffix(pattern, "*")) {
			return true
		}
	}
	return false
}

func (p *planner) apt() error {
	if err := p.foreignPreferences(); err != nil {
		return err
	}
	if err := p.heldPackages(); err != nil {
		return err
	}
	return p.put(File{Manager: "apt", Path: AptPreferences, Data: p.bounds.preferences(p.want.Header), Ours: true,
		Lacks: "it does not hold kernels to " + p.bounds.String()})
}

// foreignPreferences judges what others have pinned, in the order in which apt reads it.
func (p *planner) foreignPreferences() error {
	const main, dir = "/etc/apt/preferences", "/etc/apt/preferences.d"
	names := []string{main}
	literal, err := rootfs.Resolve(p.tree, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		entries, err := p.tree.ReadDir(literal)
		if err != nil {
			return err
		}
		if len(entries) > maxFiles {
			return fmt.Errorf("%s has %d files, limit is %d", dir, len(entries), maxFiles)
		}
		for _, e := range entries {
			if isPartName(e.Name) && !e.Type.IsDir() {
				names = append(names, path.Join(dir, e.Name))
			}
		}
	}
	for _, name := range names {
		if name == AptPreferences {
			continue
		}
		data, err := p.read(name)
		if err != nil {
			return err
		}
		for _, r := range records(data) {
			p.judge(name, r, name == main || name < AptPreferences)
		}
	}
	return nil
}

// isPartName says whether apt reads a file of a directory of parts: letters, digits,
// "-", "_" and ".", with the extension pref or none.
func isPartName(name string) bool {
	ext := path.Ext(name)
	return (ext == "" || ext == ".pref") && !strings.HasPrefix(name, ".") &&
		strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
}

// judge weighs one record of somebody else against ours.
func (p *planner) judge(name string, r record, first bool) {
	item := r.kernelItem()
	if item == "" || r.kind == "" {
		return
	}
	what := fmt.Sprintf("%s is pinned to %s %s with priority %d", item, r.kind, r.value, r.priority)
	how := overlapping
	if r.kind == "version" {
		how = p.bounds.scopeOf(leadingNumbers(r.value))
	}
	switch {
	case r.priority < 0 && how != outside:
		p.warn("%s:%d: %s: kernels that the pin allows may not be installed", name, r.line, what)
	case r.priority < 0, r.kind == "version" && how == inside:
	case r.kind == "version" && how == outside:
		p.refuse(Refusal{name, r.line, what + ", and the pin allows only " + p.bounds.String(), "remove the record, or change the pin"})
	case first:
		p.refuse(Refusal{name, r.line, what + ", and apt reads that before ours, so it lets kernels in that are not " + p.bounds.String(),
			"remove the record, or move it to a file in preferences.d whose name sorts behind " + path.Base(AptPreferences)})
	}
}

// heldPackages warns of kernel packages on hold: no fix comes for them.
func (p *planner) heldPackages() error {
	const status = "/var/lib/dpkg/status"
	literal, err := rootfs.Resolve(p.tree, status)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	f, err := p.tree.Open(literal)
	if err != nil {
		return err
	}
	defer f.Close()
	if f.Size() > maxStatus {
		return fmt.Errorf("%s: size is %d bytes, limit is %d", status, f.Size(), maxStatus)
	}
	held, err := heldIn(io.NewSectionReader(f, 0, f.Size()))
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", status, err)
	}
	if len(held) > 0 {
		p.warn("%s: on hold, so no update of the kernel comes, and no fix: %s", status, listed(held))
	}
	return nil
}

// heldIn gives the kernel packages whose state begins with "hold": deb-control(5),
// dpkg(1).
func heldIn(r io.Reader) ([]string, error) {
	var held []string
	name := ""
	lines := bufio.NewReader(r)
	for {
		raw, more, err := lines.ReadLine()
		front := string(raw) // of a long description no more is needed
		for more && err == nil {
			_, more, err = lines.ReadLine()
		}
		if errors.Is(err, io.EOF) {
			return held, nil
		}
		if err != nil {
			return nil, err
		}
		key, value, _ := strings.Cut(front, ":")
		switch value = strings.TrimSpace(value); {
		case key == "Package":
			name = value
		case key == "Status" && strings.HasPrefix(value, "hold ") && isAptKernel(name):
			held = append(held, name)
		}
	}
}

// listed names the first few.
func listed(names []string) string {
	if more := len(names) - maxListed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxListed], ", "), more)
	}
	return strings.Join(names, ", ")
}
