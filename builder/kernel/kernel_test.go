package kernel_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/kernel"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// tree makes a tree of files; content "-> TARGET" makes a link.
func tree(t *testing.T, files map[string]string) *rootfs.Dir {
	t.Helper()
	return imgtest.Tree(t, 0o644, files)
}

// installed gives the files of a kernel whose module directory is dir.
func installed(files map[string]string, dir string) map[string]string {
	files[dir+"/modules.dep"] = "kernel/net/ipv4/esp4_offload.ko.xz: kernel/net/ipv4/esp4.ko.xz\nkernel/crypto/algif_aead.ko:\nkernel/net/x-y.ko.zst:\n"
	files[dir+"/modules.builtin"] = "kernel/fs/ext4/ext4.ko\nkernel/crypto/af-alg.ko\n"
	return files
}

// bzImage is as much of an x86 kernel image as tells its version
// (Documentation/arch/x86/boot.rst): boot_flag at 0x1fe, "HdrS" at 0x202, and at
// 0x20e where the text stands, less 0x200.
func bzImage(version string) string {
	out := make([]byte, 0x800)
	out[0x1fe], out[0x1ff] = 0x55, 0xaa
	copy(out[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(out[0x20e:], 0x300)
	copy(out[0x500:], version)
	return string(out)
}

func describe(list []kernel.Kernel) string {
	var out []string
	for _, k := range list {
		out = append(out, fmt.Sprintf("%s modules=%s image=%s says=%s", k.Release, k.Modules, k.Image, k.ImageRelease))
	}
	return strings.Join(out, "\n")
}

func TestList(t *testing.T) {
	const text = "6.1.0-1-amd64 (debian-kernel@lists.debian.org) #1 SMP"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"merged", installed(map[string]string{"lib": "-> usr/lib", "boot/vmlinuz-6.1.0-1-amd64": bzImage(text)}, "usr/lib/modules/6.1.0-1-amd64"),
			"6.1.0-1-amd64 modules=/usr/lib/modules/6.1.0-1-amd64 image=/boot/vmlinuz-6.1.0-1-amd64 says=6.1.0-1-amd64"},
		{"lib of its own", installed(map[string]string{"usr/lib/os": ""}, "lib/modules/5.10.0"),
			"5.10.0 modules=/lib/modules/5.10.0 image= says="},
		{"both directories", installed(installed(map[string]string{}, "lib/modules/5.10.0"), "usr/lib/modules/4.19.0"),
			"4.19.0 modules=/usr/lib/modules/4.19.0 image= says=\n5.10.0 modules=/lib/modules/5.10.0 image= says="},
		{"image beside the modules", installed(map[string]string{"usr/lib/modules/7.2.1/vmlinuz": bzImage("7.2.1 (x)")}, "usr/lib/modules/7.2.1"),
			"7.2.1 modules=/usr/lib/modules/7.2.1 image=/usr/lib/modules/7.2.1/vmlinuz says=7.2.1"},
		{"image by a link", installed(map[string]string{"boot/vmlinuz-7.2.1": "-> ../usr/lib/modules/7.2.1/vmlinuz", "usr/lib/modules/7.2.1/vmlinuz": bzImage("7.2.1 (x)")}, "usr/lib/modules/7.2.1"),
			"7.2.1 modules=/usr/lib/modules/7.2.1 image=/usr/lib/modules/7.2.1/vmlinuz says=7.2.1"},
		{"dangling image", installed(map[string]string{"boot/vmlinuz-7.2.1": "-> gone"}, "usr/lib/modules/7.2.1"), "7.2.1 modules=/usr/lib/modules/7.2.1 image= says="},
		{"arm64 image", installed(map[string]string{"boot/Image-6.1.0": strings.Repeat("MZ", 1000)}, "usr/lib/modules/6.1.0"),
			"6.1.0 modules=/usr/lib/modules/6.1.0 image=/boot/Image-6.1.0 says="},
		{"image of another release", installed(map[string]string{"boot/vmlinuz-6.1.0": bzImage("5.0.0 x")}, "usr/lib/modules/6.1.0"),
			"6.1.0 modules=/usr/lib/modules/6.1.0 image=/boot/vmlinuz-6.1.0 says=5.0.0"},
		{"short image", installed(map[string]string{"boot/vmlinuz-6.1.0": "MZ"}, "usr/lib/modules/6.1.0"),
			"6.1.0 modules=/usr/lib/modules/6.1.0 image=/boot/vmlinuz-6.1.0 says="},
		{"image that would garble a terminal", installed(map[string]string{"boot/vmlinuz-6.1.0": bzImage("6.1\x1b[2J x")}, "usr/lib/modules/6.1.0"),
			"6.1.0 modules=/usr/lib/modules/6.1.0 image=/boot/vmlinuz-6.1.0 says="},
		{"module directory by a link", installed(map[string]string{"usr/lib/modules/6.6.0": "-> /opt/kernel"}, "opt/kernel"),
			"6.6.0 modules=/opt/kernel image= says="},
		{"nothing to load", map[string]string{"usr/lib/modules/6.1.0/modules.builtin": "kernel/fs/ext4/ext4.ko\n"}, "6.1.0 modules=/usr/lib/modules/6.1.0 image= says="},
		{"what is no kernel", map[string]string{
			"usr/lib/modules/6.1.0/build/x": "", "usr/lib/modules/6.2.0/modules.builtin": "", "usr/lib/modules/README": "x", "usr/lib/modules/dangling": "-> gone", "usr/lib/modules/alias": "-> README",
		}, ""},
		{"no modules at all", map[string]string{"etc/hosts": ""}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := kernel.List(tree(t, c.files))
			if err != nil || describe(got) != c.want {
				t.Errorf("got\n%s\n%v\nwant\n%s", describe(got), err, c.want)
			}
		})
	}
}

func TestListOrder(t *testing.T) {
	files := map[string]string{}
	for _, release := range []string{"7.1.0", "7.1.0-rc2", "7.1.0-rc10", "6.12.107+deb13-amd64", "6.9.1", "10.0.0", "custom", "6.12.9", "6.12.0-2-amd64", "6.12.0-10-amd64"} {
		installed(files, "usr/lib/modules/"+release)
	}
	list, err := kernel.List(tree(t, files))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range list {
		got = append(got, k.Release)
	}
	want := "custom 6.9.1 6.12.0-10-amd64 6.12.0-2-amd64 6.12.9 6.12.107+deb13-amd64 7.1.0-rc2 7.1.0-rc10 7.1.0 10.0.0"
	if strings.Join(got, " ") != want {
		t.Errorf("order is %v, want %s", got, want)
	}
}

func TestListRefuses(t *testing.T) {
	const dir = "usr/lib/modules/6.1.0/"
	many := map[string]string{}
	for i := range 257 {
		installed(many, fmt.Sprintf("usr/lib/modules/6.1.%d", i))
	}
	var names strings.Builder
	for i := range 600_000 {
		fmt.Fprintf(&names, "%x:\n", i)
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		fault string
	}{
		{"no list of what is built in", map[string]string{dir + "modules.dep": ""}, "cannot read kernel 6.1.0: cannot tell what is built in: "},
		{"binary list alone", map[string]string{dir + "modules.dep.bin": "x", dir + "modules.builtin": "kernel/a.ko"}, "it has modules.dep.bin, and neither modules.dep nor modules.order: write them with depmod(8)"},
		{"large order", map[string]string{dir + "modules.order": strings.Repeat("#", 8<<20+1)}, "size is 8388609 bytes, limit is 8388608"},
		{"large list", map[string]string{dir + "modules.dep": strings.Repeat("#", 8<<20+1)}, "size is 8388609 bytes, limit is 8388608"},
		{"large list of what is built in", map[string]string{dir + "modules.dep": "", dir + "modules.builtin": strings.Repeat("#", 8<<20+1)}, "limit is 8388608"},
		{"list is a directory", map[string]string{dir + "modules.dep/x": ""}, "it is a directory, want a regular file"},
		{"links in a circle", map[string]string{"usr/lib/modules": "-> modules"}, "more than 40 symbolic links"},
		{"module directory in a circle", map[string]string{"usr/lib/modules/6.1.0": "-> 6.1.0"}, "more than 40 symbolic links"},
		{"image is a directory", installed(map[string]string{"boot/vmlinuz-6.1.0/x": ""}, "usr/lib/modules/6.1.0"), "it is a directory, want a regular file"},
		{"too many kernels", many, "more than 256 kernels or 1048576 modules"},
		{"too many modules", map[string]string{
			dir + "modules.dep": names.String(), dir + "modules.builtin": "", "usr/lib/modules/6.2.0/modules.dep": names.String(), "usr/lib/modules/6.2.0/modules.builtin": "",
		}, "more than 256 kernels or 1048576 modules"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := kernel.List(tree(t, c.files))
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("got %d kernels, %v, want an error with %q", len(got), err, c.fault)
			}
		})
	}
}

// TestState: a name must match as a whole, and what is both counts as built in.
func TestState(t *testing.T) {
	list, err := kernel.List(tree(t, map[string]string{
		"usr/lib/modules/6.1.0/modules.dep":     "kernel/net/ipv4/esp4_offload.ko.xz: kernel/net/ipv4/esp4.ko\nupdates/dkms/algif-aead.ko.zst:\nextra/both.ko:\r\nkernel/x/plain.ko:",
		"usr/lib/modules/6.1.0/modules.builtin": "kernel/fs/ext4/ext4.ko\nkernel/crypto/af-alg.ko\r\n\nkernel/x/both.ko",
	}))
	if err != nil || len(list) != 1 {
		t.Fatalf("got %d kernels, %v", len(list), err)
	}
	for module, want := range map[string]kernel.State{
		"esp4_offload": kernel.Loadable, "esp4-offload": kernel.Loadable, "esp4": kernel.Absent, "esp": kernel.Absent, "offload": kernel.Absent,
		"algif_aead": kernel.Loadable, "algif-aead": kernel.Loadable, "plain": kernel.Loadable,
		"ext4": kernel.BuiltIn, "af_alg": kernel.BuiltIn, "af-alg": kernel.BuiltIn, "af": kernel.Absent, "both": kernel.BuiltIn,
		"": kernel.Absent, "kernel": kernel.Absent, "EXT4": kernel.Absent,
	} {
		if got := list[0].State(module); got != want {
			t.Errorf("%q is %s, want %s", module, got, want)
		}
	}
	if loadable, builtIn := list[0].Count(); loadable != 4 || builtIn != 3 {
		t.Errorf("%d loadable and %d built in, want 4 and 3", loadable, builtIn)
	}
}

// TestStateWithoutDepmod holds that a kernel on which depmod has not run, or left its
// binary index alone, is not taken for none.
func TestStateWithoutDepmod(t *testing.T) {
	list, err := kernel.List(tree(t, map[string]string{
		"usr/lib/modules/6.1.0/modules.order":   "kernel/crypto/algif_aead.ko\nkernel/net/x-y.ko\n",
		"usr/lib/modules/6.1.0/modules.dep.bin": "index",
		"usr/lib/modules/6.1.0/modules.builtin": "kernel/crypto/af_alg.ko\n",
	}))
	if err != nil || len(list) != 1 {
		t.Fatalf("got %d kernels, %v", len(list), err)
	}
	for module, want := range map[string]kernel.State{"algif_aead": kernel.Loadable, "x_y": kernel.Loadable, "af_alg": kernel.BuiltIn, "esp4": kernel.Absent} {
		if got := list[0].State(module); got != want {
			t.Errorf("%q is %s, want %s", module, got, want)
		}
	}
}

func TestModuleName(t *testing.T) {
	for give, want := range map[string]string{
		"esp4": "esp4", "kernel/net/ipv4/esp4.ko": "esp4", "kernel/net/ipv4/esp4.ko.xz": "esp4", "esp4.ko.zst": "esp4", "esp4.ko.gz": "esp4",
		"algif-aead": "algif_aead", "/lib/modules/6.1.0/kernel/crypto/algif-aead.ko.xz": "algif_aead", "nf_conntrack": "nf_conntrack", ".ko": ".ko",
	} {
		if got := kernel.ModuleName(give); got != want {
			t.Errorf("name of %q is %q, want %q", give, got, want)
		}
	}
}
