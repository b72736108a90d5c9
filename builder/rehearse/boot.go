package rehearse

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder"
	"github.com/kerngate/kerngate/builder/bootentry"
	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/kernel"
	"github.com/kerngate/kerngate/builder/machine"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// Boot is one way to start a kernel of an image.
type Boot struct {
	Entry       string   `json:"entry,omitempty"` // the boot entry in words; empty: there is none, and the command line is made up
	Kernel      string   `json:"kernel"`          // literal path of the kernel or the unified image
	Initrds     []string `json:"initrds"`
	Release     string   `json:"release,omitempty"`
	CommandLine string   `json:"command_line"` // as the image has it

	unified bool
	passed  []string // what of the boot loaders' defaults is not what is booted, in words
}

// NewBoot finds how an image starts: by the default of its boot loader, or a kernel of
// the release that is asked for.
func NewBoot(target *image.Target, release string) (Boot, error) {
	t := target.Tree()
	kernels, err := kernel.List(t)
	if err != nil {
		return Boot{}, err
	}
	config, err := bootentry.Read(t)
	if err != nil {
		return Boot{}, err
	}
	entries, passed, err := ordered(config, kernels)
	if err != nil {
		return Boot{}, err
	}
	if release != "" {
		passed = nil // it is not the default that is asked for
	}
	for n, e := range entries {
		if release != "" && e.Release != release {
			continue
		}
		ok, err := startable(t, e)
		if err != nil {
			return Boot{}, err
		}
		if ok {
			return Boot{
				Entry: e.String(), Kernel: e.Kernel, Initrds: e.Initrds, Release: e.Release, CommandLine: e.CommandLine,
				unified: e.Source == bootentry.UKI, passed: passed,
			}, nil
		}
		if n == 0 && release == "" {
			passed = append(passed, fmt.Sprintf("%s is the default, and its kernel or an initramfs is not in the image: another was booted, which the boot loader would not start by itself", e))
		}
	}
	b, err := madeUp(target, config, kernels, release)
	b.passed = passed
	return b, err
}

// ordered are the entries that start a kernel, those first that the boot loaders start
// by themselves, and none but those of a menu where there is one; and what starts by
// itself and is no Linux kernel.
func ordered(config *bootentry.Config, kernels []kernel.Kernel) (entries []bootentry.Entry, others []string, err error) {
	releases := map[string]string{}
	for _, k := range kernels {
		releases[k.Image] = k.Release
	}
	menu, err := config.Menu(releases)
	if err != nil {
		return nil, nil, err
	}
	var items []bootentry.MenuItem
	for _, l := range menu.Loaders {
		for _, i := range l.Default {
			if !l.Items[i].Linux {
				others = append(others, fmt.Sprintf("%s starts %s by default, which is no Linux kernel: another was booted", l.Loader, l.Items[i]))
			}
		}
		for _, i := range slices.Concat(l.Default, l.Fallback) {
			items = append(items, l.Items[i])
		}
	}
	for _, l := range menu.Loaders {
		items = append(items, slices.DeleteFunc(slices.Clone(l.Items), func(i bootentry.MenuItem) bool { return i.Recovery })...)
	}
	for _, item := range items {
		if e, found := entryOf(config, item); found && item.Linux {
			entries = append(entries, e)
		}
	}
	if len(entries) == 0 {
		entries = slices.DeleteFunc(slices.Clone(config.Entries), func(e bootentry.Entry) bool { return e.Template })
	}
	for i, e := range entries {
		if known := releases[e.Kernel]; known != "" {
			entries[i].Release = known
		}
	}
	return entries, others, nil
}

// entryOf is the entry of a menu's item: the first whose line is not above the item's,
// since an entry's is that of the command that loads the kernel.
func entryOf(config *bootentry.Config, item bootentry.MenuItem) (best bootentry.Entry, found bool) {
	for _, e := range config.Entries {
		if e.Template || e.Path != item.Path || e.Line < item.Line || found && e.Line >= best.Line {
			continue
		}
		best, found = e, true
	}
	return best, found
}

// startable says whether the tree has what an entry names.
func startable(t rootfs.Tree, e bootentry.Entry) (bool, error) {
	for _, name := range append([]string{e.Kernel}, e.Initrds...) {
		info, err := rootfs.Stat(t, name)
		switch {
		case errors.Is(err, fs.ErrNotExist), err == nil && !info.Mode.IsRegular():
			return false, nil
		case err != nil:
			return false, err
		}
	}
	return true, nil
}

// madeUp is for an image without a boot entry: what starts it lies elsewhere.
func madeUp(target *image.Target, config *bootentry.Config, kernels []kernel.Kernel, release string) (Boot, error) {
	t := target.Tree()
	var have []string
	for _, k := range slices.Backward(kernels) {
		if k.Image == "" {
			continue
		}
		have = append(have, k.Release)
		if release != "" && k.Release != release {
			continue
		}
		initrds, err := initramfsOf(t, k)
		return Boot{Kernel: k.Image, Initrds: initrds, Release: k.Release, CommandLine: commandLineOf(target, config)}, err
	}
	switch {
	case len(have) == 0:
		return Boot{}, &builder.Problem{Fact: "it has no kernel that could be booted",
			Advice: "install a kernel into the image; kerngate inspect shows what is there"}
	default:
		return Boot{}, &builder.Problem{Fact: fmt.Sprintf("it has no kernel %s", release), Advice: "kernels in it: " + strings.Join(have, ", ")}
	}
}

// initramfsOf finds a kernel's initramfs by the names that distributions give it.
func initramfsOf(t rootfs.Tree, k kernel.Kernel) ([]string, error) {
	for _, dir := range []string{path.Dir(k.Image), "/boot"} {
		for _, name := range []string{"initrd.img-" + k.Release, "initramfs-" + k.Release + ".img", "initrd-" + k.Release} {
			literal, err := rootfs.Resolve(t, path.Join(dir, name))
			if err == nil {
				return []string{literal}, nil
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
	}
	return nil, nil
}

// commandLineOf is what kernel-install would give a new entry, or else the root volume
// by the name that the machine gives it.
func commandLineOf(target *image.Target, config *bootentry.Config) string {
	for _, e := range config.Entries {
		if e.Source == bootentry.KernelCmdline && strings.Contains(e.CommandLine, "root=") {
			return strings.TrimSpace(e.CommandLine)
		}
	}
	root := "/dev/vda"
	if n := target.Root().Number; n != 0 {
		root += fmt.Sprint(n)
	}
	return "root=" + root + " ro"
}

// bus is that on which the disk has the name that the command line calls its root by.
// Names that do not depend on it are found on any.
func (b Boot) bus() machine.Bus {
	for _, a := range bootentry.Arguments(b.CommandLine) {
		switch {
		case a.Name != "root":
		case strings.HasPrefix(a.Value, "/dev/sd"):
			return machine.SCSI
		case strings.HasPrefix(a.Value, "/dev/nvme"):
			return machine.NVMe
		}
	}
	return machine.Virtio
}

// shellPort is the second serial port as the guest's kernel calls it.
const shellPort = "ttyS1"

// watching are the arguments that let a machine be watched. Those before the last undo
// what "quiet" does; the last is how the guest can be asked.
func watching(a machine.Arch) []string {
	args := append(machine.Arguments(a), "ignore_loglevel", "printk.time=1", "printk.devkmsg=on", "systemd.show_status=1")
	if canAsk(a) {
		args = append(args, "systemd.debug_shell="+shellPort)
	}
	return args
}

// canAsk says whether machines of an architecture have a second serial port.
func canAsk(a machine.Arch) bool { return a == machine.AMD64 }

// extended is a command line with more arguments, which come before those that the
// kernel hands to init.
func extended(line string, more []string) (string, error) {
	kernel, init := splitInit(line)
	words := append([]string{strings.TrimSpace(kernel)}, more...)
	out := strings.TrimSpace(strings.Join(words, " ") + init)
	if len(out) >= maxCommandLine {
		return "", &builder.Problem{Fact: fmt.Sprintf("kernel command line has %d bytes with what a rehearsal adds, the kernel takes %d", len(out), maxCommandLine-1),
			Advice: "rehearse with --firmware, which adds nothing to it"}
	}
	return out, nil
}

// splitInit parts a command line before a lone "--" outside quotes (parse_args in
// kernel/params.c).
func splitInit(line string) (kernel, init string) {
	quoted := false
	for i := range len(line) {
		if line[i] == '"' {
			quoted = !quoted
		}
		rest, found := strings.CutPrefix(line[i:], " --")
		if !quoted && found && (rest == "" || rest[0] == ' ') {
			return line[:i], line[i:]
		}
	}
	return line, ""
}
