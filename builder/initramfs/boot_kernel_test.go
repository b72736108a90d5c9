//go:build boot

package initramfs

import (
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// blockedModule is one that every image of imgtest has and that needs no other. Under
// the name of freeModule it is not blocked.
const (
	blockedModule = "fan"
	freeModule    = "unblocked"
)

// withLoaders is the codec of the boots that have kmod and busybox too; the others
// load by system call alone, because unpacking is slow in an emulator.
const withLoaders = Zstd

// guestConfig is a block for kmod, with install, and for busybox, with alias.
const guestConfig = "install fan /bin/false\nalias fan off\nblacklist fan\n"

// TestBootUnpacks boots images of every codec, blocked: what the kernel unpacks must be
// our merged view, and no program may load the module. The older kernel gets two codecs
// here, and all in make soak: its decompressors are those of the newer one.
func TestBootUnpacks(t *testing.T) {
	unpacks(t, func(version string, c Codec) bool {
		return version == imgtest.Newest || c == None || c == withLoaders
	})
}

// unpacks boots the images that are wanted of two kernels.
func unpacks(t *testing.T, wanted func(version string, c Codec) bool) {
	t.Helper()
	guest := buildGuest(t)
	image := imgtest.Image(t, "bookworm")
	slots := make(chan struct{}, min(2, runtime.NumCPU()))
	for _, version := range []string{"6.1", imgtest.Newest} {
		vmlinuz, initrd, err := image.Kernel(version)
		if err != nil {
			t.Fatal(err)
		}
		k := readKernel(t, vmlinuz, initrd)
		for _, c := range compressors {
			if !wanted(version, c.codec) {
				continue
			}
			records, commands := k.guestRecords(t, guest, c.codec == withLoaders)
			main := newc(records...)
			for _, c := range mergeCases() {
				for _, a := range c.archives {
					main = append(main, newc(a...)...)
				}
			}
			packed := compress(t, c.codec, main)
			t.Run(fmt.Sprintf("%s %s", k.release, c.codec), func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				k.boot(t, append(microcode(), packed...), commands)
			})
		}
	}
}

func buildGuest(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "guest")
	cmd := exec.Command("go", "build", "-o", name, "-ldflags", "-s -w", "./testdata/guest")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the guest's init: %v\n%s", err, out)
	}
	return readFile(t, name)
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// guestKernel is a kernel with a module of its.
type guestKernel struct {
	vmlinuz string
	release string
	module  string // content of blockedModule, not compressed
}

// readKernel takes the module out of the kernel's own initramfs.
func readKernel(t *testing.T, vmlinuz, initrd string) guestKernel {
	t.Helper()
	img := open(t, []byte(readFile(t, initrd)))
	k := guestKernel{vmlinuz: vmlinuz, release: strings.TrimPrefix(filepath.Base(vmlinuz), "vmlinuz-")}
	modules := facts(t, img).Modules
	i := slices.IndexFunc(modules, func(m Module) bool { return m.Name == blockedModule })
	if i < 0 {
		t.Fatalf("initramfs of %s has no %s", k.release, blockedModule)
	}
	data, err := rootfs.ReadFile(img.Tree(), modules[i].Path, maxReadFile)
	if err != nil {
		t.Fatal(err)
	}
	k.module = string(data)
	if strings.HasSuffix(modules[i].Path, ".xz") {
		k.module = string(filter(t, "xz-utils", data, "xz", "-dc"))
	}
	return k
}

func program(name, content string) record {
	return record{name: name, mode: modeRegular | 0o755, content: content}
}

// guestRecords are the guest's system, and what it shall try: true for what works.
func (k guestKernel) guestRecords(t *testing.T, guest string, tools bool) ([]record, map[string]bool) {
	modules := "usr/lib/modules/" + k.release
	blocked, free := "kernel/"+blockedModule+".ko", "kernel/"+freeModule+".ko"
	path := "/lib/modules/" + k.release + "/" + blocked
	type try struct {
		command string
		works   bool
	}
	tried := []try{{"finit " + path, false}}
	if tools {
		tried = append(tried,
			try{"/sbin/modprobe " + blockedModule, false}, try{"/sbin/modprobe -i " + blockedModule, false}, try{"/sbin/insmod " + path, false},
			try{"/bin/busybox insmod " + path, false}, try{"/bin/busybox modprobe " + blockedModule, false},
			try{"/sbin/modprobe " + freeModule, true}, try{"/bin/busybox rmmod " + blockedModule, true},
			try{"/bin/busybox modprobe " + freeModule, true}, try{"/sbin/rmmod " + blockedModule, true},
			try{"/sbin/insmod /control.ko", true}, try{"/bin/busybox rmmod -w " + blockedModule, true},
		)
	}
	tried = append(tried, try{"finit /control.ko", true}) // the blocked module, whole
	records := []record{
		dir("usr"), dir("usr/bin"), dir("usr/sbin"), dir("usr/lib"), dir("etc"), dir("etc/modprobe.d"),
		symlink("bin", "usr/bin"), symlink("sbin", "usr/sbin"), symlink("lib", "usr/lib"), symlink("lib64", "usr/lib"),
		dir("usr/lib/modules"), dir(modules), dir(modules + "/kernel"),
		program("init", guest), file("control.ko", k.module),
		file("etc/modprobe.d/00-kerngate.conf", "# of an earlier time\n"),
	}
	if tools {
		records = append(records, loaders(t)...)
	}
	records = append(records, k.moduleRecords(t, modules, blocked, free)...)
	commands, text := map[string]bool{}, ""
	for _, c := range tried {
		commands[c.command] = c.works
		text += c.command + "\n"
	}
	return append(records, file("commands", text)), commands
}

// moduleRecords are modules with the indexes that depmod makes.
func (k guestKernel) moduleRecords(t *testing.T, dir string, modules ...string) []record {
	t.Helper()
	root := t.TempDir()
	var out []record
	for _, name := range modules {
		if err := imgtest.WriteFiles(root, 0o644, map[string]string{"lib/modules/" + k.release + "/" + name: k.module}); err != nil {
			t.Fatal(err)
		}
		out = append(out, file(dir+"/"+name, k.module))
	}
	filter(t, "kmod", nil, "/usr/sbin/depmod", "-b", root, k.release)
	names, err := filepath.Glob(filepath.Join(root, "lib/modules", k.release, "modules.*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("depmod wrote %v, %v", names, err)
	}
	for _, name := range names {
		out = append(out, file(dir+"/"+filepath.Base(name), readFile(t, name)))
	}
	return out
}

// loaders are this machine's kmod, with its libraries, and busybox.
func loaders(t *testing.T) []record {
	t.Helper()
	busybox := "/bin/busybox"
	if _, err := os.Stat(busybox); err != nil {
		t.Fatal("busybox is not installed: apt-get install busybox-static")
	}
	out := []record{
		program("usr/bin/busybox", readFile(t, busybox)), program("usr/bin/kmod", readFile(t, "/usr/bin/kmod")), symlink("usr/bin/false", "busybox"), symlink("usr/bin/sh", "busybox"),
		symlink("usr/sbin/modprobe", "../bin/kmod"), symlink("usr/sbin/insmod", "../bin/kmod"), symlink("usr/sbin/rmmod", "../bin/kmod"),
	}
	libraries := regexp.MustCompile(`(/\S+/([^/\s]+)) \(0x`).FindAllStringSubmatch(string(filter(t, "libc-bin", nil, "ldd", "/usr/bin/kmod")), -1)
	if len(libraries) == 0 {
		t.Fatal("ldd names no library of kmod")
	}
	for _, l := range libraries {
		out = append(out, program("usr/lib/"+l[2], readFile(t, l[1])))
	}
	return out
}

// boot blocks an image, boots it and holds what the guest says against our view.
func (k guestKernel) boot(t *testing.T, image []byte, commands map[string]bool) {
	w := Wanted{Config: []byte(guestConfig), Modules: []string{blockedModule}, ModTime: time.Unix(1, 0)}
	blocked := appendTo(t, image, w)
	name := filepath.Join(t.TempDir(), "initrd")
	if err := os.WriteFile(name, blocked, 0o644); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	m := imgtest.Start(t, imgtest.MachineOptions{Disk: name, Kernel: k.vmlinuz, Initrd: name, Append: []string{"quiet"}})
	if _, err := m.Expect("@@END", imgtest.DefaultTimeout); err != nil {
		t.Fatal(err)
	}
	said, ran := []string{}, 0
	for _, line := range m.Console() {
		if name, ok := strings.CutPrefix(line, "name: "); ok {
			said = append(said, name)
		}
		if rest, ok := strings.CutPrefix(line, "ran: "); ok {
			ran++
			command, result, _ := strings.Cut(rest, ": ")
			worked, why, _ := strings.Cut(result, ": ")
			if want, known := commands[command]; !known || fmt.Sprint(want) != worked {
				t.Errorf("%s: worked: %s (%s), want %v", command, worked, why, want)
			}
		}
		if strings.HasPrefix(line, "error: ") {
			t.Error(line)
		}
	}
	want := guestListing(t, open(t, blocked).Tree())
	slices.Sort(said)
	if !slices.Equal(said, want) {
		t.Errorf("the kernel unpacked\n%s\nwe read\n%s", strings.Join(difference(said, want), "\n"), strings.Join(difference(want, said), "\n"))
	}
	if ran != len(commands) {
		t.Errorf("the guest ran %d commands, want %d", ran, len(commands))
	}
	if t.Failed() {
		t.Logf("console:\n%s", strings.Join(m.Console(), "\n"))
		return
	}
	t.Logf("booted in %.1f s: %d names and %d commands as we say", time.Since(start).Seconds(), len(said), ran)
}

// guestListing describes our view as the guest does its files.
func guestListing(t *testing.T, tree rootfs.Tree) []string {
	t.Helper()
	var out []string
	for name := range listing(t, tree) {
		info, err := tree.Lstat(name)
		if err != nil {
			t.Fatal(err)
		}
		what := "|" + info.Mode.Type().String()
		switch {
		case info.Mode.IsDir():
			what = "/"
		case info.Mode.IsRegular():
			data, err := rootfs.ReadFile(tree, name, maxReadFile)
			if err != nil {
				t.Fatal(err)
			}
			what = fmt.Sprintf("=%d,%08x", len(data), crc32.ChecksumIEEE(data))
		case info.Mode.Type() == fs.ModeSymlink:
			target, err := tree.Readlink(name)
			if err != nil {
				t.Fatal(err)
			}
			what = "->" + target
		}
		out = append(out, name+what)
	}
	slices.Sort(out)
	return out
}

func difference(a, b []string) []string {
	var out []string
	for _, s := range a {
		if !slices.Contains(b, s) {
			out = append(out, s)
		}
	}
	return out
}
