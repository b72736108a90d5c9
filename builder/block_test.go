package builder_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder"
	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/profiles"
)

// profileFrom makes a profile from its text.
func profileFrom(t *testing.T, text string) profiles.Profile {
	t.Helper()
	file := filepath.Join(t.TempDir(), "profile.toml")
	if err := os.WriteFile(file, []byte("schema = 1\nname = \"test\"\ndescription = \"for a test\"\n"+text), 0o644); err != nil {
		t.Fatal(err)
	}
	return load(t, file)
}

// block is the text of one module in a profile.
func block(name string, more ...string) string {
	return fmt.Sprintf("[[module]]\nname = %q\nreason = \"CVE-2026-31431\"\n%s\n", name, strings.Join(more, "\n"))
}

const everywhere = `block = ["modprobe", "initramfs", "cmdline", "initcall"]`

// TestBlockGolden shows, for every shipped profile, what a build makes of a tree that
// boots by GRUB: every change with its text, and what other programs say of the result.
// A second build finds nothing to do.
func TestBlockGolden(t *testing.T) {
	shipped := profiles.Names()
	if len(shipped) == 0 {
		t.Fatal("no shipped profiles")
	}
	for _, name := range shipped {
		t.Run(name, func(t *testing.T) {
			r := request(t, grubRoot(t), "")
			r.Profile = load(t, name)
			result := build(t, r)
			text := render(result.Plan) + "\nverify\n"
			v := verify(t, r)
			for _, c := range v.Checks {
				text += fmt.Sprintf("%t %s: %s\n", c.OK, c.What, c.Text)
			}
			text += "\nopen\n" + strings.Join(v.Open, "\n") + "\n"
			text += "\ncpio -t of " + initramfsPath + "\n" + listing(t, filepath.Join(r.Target, initramfsPath))
			compareGolden(t, filepath.Join("testdata", "grub-"+name+".golden"), text)
			judgeTree(t, r.Target, r.Profile)
			if again := build(t, r); !again.Plan.Empty() {
				t.Errorf("built again: %d changes, want none:\n%s", len(again.Plan.Changes), render(again.Plan))
			}
		})
	}
}

// listing is what cpio(1) finds in an image: in the archive that zstd packed, and in the
// one behind it.
func listing(t *testing.T, name string) string {
	t.Helper()
	main, tail := archives(t, name)
	out := ""
	for _, part := range []struct {
		what string
		data []byte
	}{{"main", main}, {"tail", tail}} {
		cmd := exec.Command(need(t, "cpio", "cpio"), "-t", "-v", "--quiet")
		cmd.Stdin = bytes.NewReader(part.data)
		for line := range strings.Lines(string(output(t, cmd))) {
			words := strings.Fields(line)
			out += fmt.Sprintf("%s %s %s %s\n", part.what, words[0], words[4], strings.Join(words[8:], " "))
		}
	}
	return out
}

// archives splits an image whose first archive zstd packed.
func archives(t *testing.T, name string) (main, tail []byte) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, []byte("070701")) // packed archives show none
	if at < 0 {
		t.Fatalf("%s has no archive of ours", name)
	}
	if at%512 != 0 {
		t.Errorf("our archive begins at byte %d, want a multiple of 512", at)
	}
	cmd := exec.Command(need(t, "zstd", "zstd"), "-d", "-c", "-q")
	cmd.Stdin = bytes.NewReader(bytes.TrimRight(data[:at], "\x00"))
	return output(t, cmd), data[at:]
}

// judgeTree has the shell, GRUB and modprobe look at a tree.
func judgeTree(t *testing.T, dir string, p profiles.Profile) {
	t.Helper()
	output(t, exec.Command(need(t, "grub-script-check", "grub-common"), filepath.Join(dir, "boot/grub/grub.cfg")))
	line := string(output(t, exec.Command("/bin/sh", "-c", `. "$0/etc/default/grub"; for x in "$0"/etc/default/grub.d/*.cfg; do . "$x"; done; printf %s "$GRUB_CMDLINE_LINUX"`, dir)))
	if !strings.HasPrefix(line, "console=ttyS0 module_blacklist=") {
		t.Errorf("grub-mkconfig would write %q, want what was there and a list of modules", line)
	}
	for _, m := range p.Modules {
		if !strings.Contains(line+",", m.Name+",") && !strings.Contains(line+",", m.Name+" ") {
			t.Errorf("grub-mkconfig would write %q, want %s in it", line, m.Name)
		}
		if _, err := os.Stat(filepath.Join(dir, "usr/lib/modules", debianRelease, "kernel/crypto", m.Name+".ko")); err == nil {
			if got := tries(t, dir, m.Name); strings.Contains(got, "insmod "+filepath.Join(dir, "lib/modules")) && strings.Contains(got, "/"+m.Name+".ko") {
				t.Errorf("modprobe %s would do %q, want no insmod of it", m.Name, got)
			}
		}
	}
}

// tries is what kmod's modprobe would do for a module of a tree.
func tries(t *testing.T, dir, module string) string {
	t.Helper()
	args := []string{"-n", "-v", "-d", dir, "-S", debianRelease}
	for _, config := range []string{"etc/modprobe.d", "usr/lib/modprobe.d"} {
		if _, err := os.Stat(filepath.Join(dir, config)); err == nil {
			args = append(args, "-C", filepath.Join(dir, config))
		}
	}
	out, _ := exec.Command(need(t, "modprobe", "kmod"), append(args, module)...).CombinedOutput() // fails where nothing is found
	return string(out)
}

// TestBlockOnDisk: a build of volumes beside each other, judged by their own checkers.
func TestBlockOnDisk(t *testing.T) {
	disk := threeVolumes(t)
	r := request(t, disk, filepath.Join(filepath.Dir(disk), "out.raw"))
	result := build(t, r)
	where := map[string]string{}
	for _, c := range result.Plan.Changes {
		where[c.Path] = c.Volume
	}
	for name, want := range map[string]string{"/" + initramfsPath: "boot", "/efi/loader/entries/debian.conf": "esp",
		"/efi/debian/" + debianRelease + "/initrd": "esp", builder.ManifestPath: "root"} {
		if where[name] != want {
			t.Errorf("%s is on volume %q, want %q", name, where[name], want)
		}
	}
	for _, mib := range []int64{9, 17} {
		judge(t, "e2fsck", "-fn", fmt.Sprintf("%s?offset=%d", r.Output, mib*imgtest.MiB))
	}
	esp := filepath.Join(t.TempDir(), "esp")
	data, err := os.ReadFile(r.Output)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(esp, data[imgtest.MiB:9*imgtest.MiB], 0o644); err != nil {
		t.Fatal(err)
	}
	judge(t, "fsck.vfat", "-n", esp)
	entry := string(output(t, exec.Command(need(t, "mtype", "mtools"), "-i", esp, "::/loader/entries/debian.conf")))
	if !strings.Contains(entry, "\noptions root=LABEL=root ro quiet module_blacklist=af_alg,") {
		t.Errorf("the entry on the ESP is %q, want a list of modules at its end", entry)
	}
	r.Target, r.Output = r.Output, ""
	if again := build(t, r); !again.Plan.Empty() {
		t.Errorf("built again: %d changes, want none:\n%s", len(again.Plan.Changes), render(again.Plan))
	}
}

// TestRemove deletes module files; depmod's indexes no longer name them, and kmod finds
// nothing to load.
func TestRemove(t *testing.T) {
	r := request(t, grubRoot(t), "")
	if got := tries(t, r.Target, "algif_aead"); !strings.Contains(got, "algif_aead.ko") {
		t.Fatalf("modprobe algif_aead says %q before, so this proves nothing", got)
	}
	r.Profile = profileFrom(t, block("algif_aead", everywhere, "remove = true"))
	build(t, r)
	modules := filepath.Join(r.Target, "usr/lib/modules", debianRelease)
	if _, err := os.Stat(filepath.Join(modules, "kernel/crypto/algif_aead.ko")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the module's file: %v, want it gone", err)
	}
	os.RemoveAll(filepath.Join(r.Target, "etc/modprobe.d")) // what the files alone do
	if got := tries(t, r.Target, "algif_aead"); !strings.Contains(got, "not found") {
		t.Errorf("modprobe algif_aead says %q, want that it is not found", got)
	}
	for _, stays := range []string{"algif_hash", "esp4"} {
		if got := tries(t, r.Target, stays); !strings.Contains(got, stays+".ko") {
			t.Errorf("modprobe %s says %q, want an insmod", stays, got)
		}
	}
}

// TestRemovedFromRootAlone: a file that the initramfs still holds can be inserted there.
func TestRemovedFromRootAlone(t *testing.T) {
	r := request(t, grubRoot(t), "")
	r.Profile = profileFrom(t, block("algif_aead", `block = ["modprobe"]`, "remove = true"))
	before := dump(t, r.Target)
	if _, err := builder.Apply(t.Context(), r); err == nil || !strings.Contains(err.Error(), "initramfs-modprobe is open: algif_aead loads it") {
		t.Errorf("error is %v, want that the path through the initramfs is open", err)
	}
	if after := dump(t, r.Target); after != before {
		t.Errorf("directory was changed:\n%s", lineDiff(before, after))
	}
}

// TestRemovedFromTheIndex: an index that names a file which is not there is written anew,
// and a second build finds nothing to do.
func TestRemovedFromTheIndex(t *testing.T) {
	r := request(t, newRoot(t), "")
	r.Profile = profileFrom(t, block("algif_hash", everywhere, "remove = true"))
	build(t, r)
	if again := build(t, r); !again.Plan.Empty() {
		t.Errorf("built again: %d changes, want none:\n%s", len(again.Plan.Changes), render(again.Plan))
	}
}

// TestRemovedStaysSaid: what cannot be put back is told by a revert, also after a build
// that did not ask for it, until the kernel's package brought it back.
func TestRemovedStaysSaid(t *testing.T) {
	r := request(t, grubRoot(t), "")
	r.Profile = profileFrom(t, block("algif_aead", everywhere, "remove = true"))
	build(t, r)
	r.Profile = load(t, "copy-fail")
	build(t, r)
	result, err := builder.Revert(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(result.Plan.Warnings), "kernel "+debianRelease+" stays without algif_aead.ko: reinstall its package"; !strings.Contains(got, want) {
		t.Errorf("warnings are %s, want one with %q", got, want)
	}
	r = request(t, grubRoot(t), "")
	r.Profile = profileFrom(t, block("algif_aead", everywhere, "remove = true"))
	build(t, r)
	addModules(t, r.Target)
	r.Profile = load(t, "copy-fail")
	build(t, r)
	if result, err = builder.Revert(t.Context(), r); err != nil || len(result.Plan.Warnings) > 0 {
		t.Errorf("all is back: %v, warnings %q, want none", err, result.Plan.Warnings)
	}
}

// TestRefusedByName: builds that are refused with the tree unchanged, what the message
// names, and what the hint says.
func TestRefusedByName(t *testing.T) {
	cases := map[string]struct {
		root    func(*testing.T) string
		files   map[string]string
		profile string
		want    string
		hint    string
		accept  string // makes it pass, if not empty
	}{
		"a dependant of a removed module stays": {grubRoot, nil, block("esp4", everywhere, "remove = true"),
			"esp4 is needed by esp4_offload", "remove the modules that need it as well", ""},
		"strongSwan is set up": {grubRoot, map[string]string{"etc/swanctl/conf.d/vpn.conf": "connections {\n}\n", "usr/sbin/swanctl": "",
			"etc/systemd/system/multi-user.target.wants/strongswan.service": "-> /usr/lib/systemd/system/strongswan.service",
			"usr/lib/systemd/system/strongswan.service":                     "[Service]\nExecStart=/usr/sbin/swanctl\n"},
			block("esp4", everywhere), "strongSwan needs esp4", "--accept ipsec", "ipsec"},
		"iwd starts at boot": {grubRoot, map[string]string{"usr/lib/systemd/system/iwd.service": "[Service]\nExecStart=/usr/libexec/iwd\n", "usr/libexec/iwd": "",
			"etc/systemd/system/multi-user.target.wants/iwd.service": "-> /usr/lib/systemd/system/iwd.service"},
			block("af_alg", everywhere), "iwd needs af_alg", "--accept af-alg-users", "af-alg-users"},
		"no boot entry": {debianRoot, nil, block("algif_aead", everywhere),
			"boot entries: there is none in the image", "module_blacklist=algif_aead; then give --accept external-cmdline", "external-cmdline"},
		"a boot loader that is not understood": {debianRoot, map[string]string{"boot/grub/menu.lst": "title x\nkernel /vmlinuz\n"}, block("algif_aead", everywhere),
			"boot", "module_blacklist=algif_aead", "external-cmdline"},
		"a broken initramfs": {grubRoot, map[string]string{"boot/initrd.img-other": "070701broken"}, block("algif_aead", everywhere),
			"/boot/initrd.img-other", "make the image anew", ""},
		"a signed kernel image": {grubRoot, map[string]string{"boot/efi/EFI/Linux/debian.efi": string(signedImage(t))}, block("algif_aead", everywhere),
			"/boot/efi/EFI/Linux/debian.efi", "--cmdline='module_blacklist=algif_aead'", ""},
		"a soft dependency": {grubRoot, map[string]string{"etc/modprobe.d/soft.conf": "softdep algif_aead pre: af_alg\n"}, block("algif_aead", everywhere),
			"softdep", "remove the line", ""},
		"modprobe.d alone and busybox": {grubRoot, map[string]string{"usr/sbin/modprobe": "-> ../bin/busybox", "usr/bin/busybox": "program\n"}, block("af_alg", `block = ["modprobe"]`),
			"af_alg: modprobe in the image is busybox's, and modprobe.d does not close modprobe on kernel", "add \"cmdline\" to the module's block list", ""},
		"a file in the place of our drop-in": {grubRoot, map[string]string{"etc/default/grub.d/zz-kerngate.cfg": "X=1\n"}, block("algif_aead", everywhere),
			"/etc/default/grub.d/zz-kerngate.cfg: it exists and kerngate did not write it", "look at the file", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := request(t, c.root(t), "")
			write(t, r.Target, 0o644, c.files)
			r.Profile = profileFrom(t, c.profile)
			before := dump(t, r.Target)
			_, err := builder.Apply(t.Context(), r)
			var hinted interface{ Hint() string }
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error is %v, want one with %q", err, c.want)
			}
			if !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), c.hint) {
				t.Errorf("error %v has the hint %v, want one with %q", err, hinted, c.hint)
			}
			if after := dump(t, r.Target); after != before {
				t.Errorf("directory was changed:\n%s", lineDiff(before, after))
			}
			if c.accept == "" {
				return
			}
			if r.Profile, err = r.Profile.Accepting([]string{c.accept}); err != nil {
				t.Fatal(err)
			}
			result := build(t, r)
			if c.accept == "external-cmdline" && !strings.Contains(fmt.Sprint(result.Plan.Warnings), "the kernel command line must have: module_blacklist=algif_aead") {
				t.Errorf("warnings are %q, want one with what the command line must have", result.Plan.Warnings)
			}
		})
	}
}

// signedImage is a unified kernel image with a signature: the stub of systemd with a
// command line and a kernel put in by objcopy(1), signed by sbsign(1).
func signedImage(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, 0o644, map[string]string{"cmdline": "root=LABEL=root ro\n", "uname": debianRelease, "linux": "kernel\n"})
	stub := "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
	if _, err := os.Stat(stub); err != nil {
		t.Fatalf("%v: apt-get install systemd-boot-efi", err)
	}
	for _, args := range [][]string{
		{need(t, "objcopy", "binutils"), "--add-section", ".cmdline=cmdline", "--change-section-vma", ".cmdline=0x300000", "--add-section", ".uname=uname", "--change-section-vma", ".uname=0x310000",
			"--add-section", ".linux=linux", "--change-section-vma", ".linux=0x2000000", stub, "uki.efi"},
		{need(t, "openssl", "openssl"), "req", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-x509", "-subj", "/CN=test/", "-days", "2", "-out", "cert"},
		{need(t, "sbsign", "sbsigntool"), "--key", "key", "--cert", "cert", "--output", "signed.efi", "uki.efi"},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		output(t, cmd)
	}
	data, err := os.ReadFile(filepath.Join(dir, "signed.efi"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestBuiltIn: of a kernel that has a module built in, the function that starts it is on
// every command line.
func TestBuiltIn(t *testing.T) {
	root := grubRoot(t)
	addBuiltIn(t, root)
	write(t, root, 0o644, map[string]string{"boot/grub/grub.cfg": grubConfig + "menuentry 'Other' {\n\tlinux /boot/vmlinuz-" + builtInRelease + " root=LABEL=root initcall_blacklist=foo\n}\n"})
	r := request(t, root, "")
	r.Profile = profileFrom(t, block("algif_aead", `block = ["modprobe", "initramfs", "cmdline"]`))
	if _, err := builder.Apply(t.Context(), r); err == nil || !strings.Contains(err.Error(), "algif_aead: it is built into kernel "+builtInRelease) {
		t.Fatalf("without initcall: %v, want that it is built in", err)
	}
	r.Profile = profileFrom(t, block("algif_aead", everywhere))
	build(t, r)
	data, err := os.ReadFile(filepath.Join(root, "boot/grub/grub.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(data), "initcall_blacklist=algif_aead_init") + strings.Count(string(data), "initcall_blacklist=foo,algif_aead_init"); got != 3 {
		t.Errorf("the function is there %d times, want 3:\n%s", got, data)
	}
	var got []string
	for _, l := range verify(t, r).LoadPaths {
		if l.Kernel == builtInRelease {
			got = append(got, l.Path+" "+l.State)
		}
	}
	if !slices.Equal(got, []string{"built-in closed"}) {
		t.Errorf("load paths are %q, want built-in closed", got)
	}
	for _, config := range []string{"CONFIG_KALLSYMS=y\nCONFIG_LTO_CLANG=y\n", "CONFIG_MODULES=y\n"} {
		write(t, root, 0o644, map[string]string{"boot/config-" + builtInRelease: config})
		if _, err := builder.Apply(t.Context(), r); err == nil || !strings.Contains(err.Error(), "where initcall_blacklist= does not keep it out") {
			t.Errorf("configuration %q: %v, want that nothing keeps it out", config, err)
		}
		if v := verify(t, r); v.Conforms {
			t.Errorf("configuration %q: it conforms, want a fault", config)
		}
	}
}

// TestMerged: a list that is there already is extended, with every name and dash of it.
func TestMerged(t *testing.T) {
	r := request(t, grubRoot(t), "")
	r.Profile = profileFrom(t, block("algif_aead", everywhere))
	build(t, r)
	got, err := os.ReadFile(filepath.Join(r.Target, "boot/grub/grub.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(grubConfig, "module_blacklist=pcspkr,snd-pcsp", "module_blacklist=pcspkr,snd-pcsp,algif_aead", 1)
	want = strings.Replace(want, "ro  quiet\n", "ro  quiet module_blacklist=algif_aead\n", 1)
	if string(got) != want {
		t.Errorf("grub.cfg is\n%s\nwant\n%s", got, want)
	}
}

// TestDistributionsOwnBlock: a file that a distribution put there is named and kept.
func TestDistributionsOwnBlock(t *testing.T) {
	r := request(t, grubRoot(t), "")
	write(t, r.Target, 0o644, map[string]string{"etc/modprobe.d/disable-algif_aead.conf": "install algif_aead /bin/false\n"})
	r.Profile = profileFrom(t, block("algif_aead", everywhere))
	result := build(t, r)
	if got := strings.Join(result.Plan.Warnings, "\n"); !strings.Contains(got, "disable-algif_aead.conf") {
		t.Errorf("warnings are %q, want one with disable-algif_aead.conf", got)
	}
	if got, err := os.ReadFile(filepath.Join(r.Target, "etc/modprobe.d/disable-algif_aead.conf")); err != nil || string(got) != "install algif_aead /bin/false\n" {
		t.Errorf("the file is %q (%v), want it as it was", got, err)
	}
}

// TestExactNames: a block of esp4 leaves modules alone whose names only begin like it.
func TestExactNames(t *testing.T) {
	root := grubRoot(t)
	addBuiltIn(t, root)
	r := request(t, root, "")
	r.Profile = profileFrom(t, block("esp4", everywhere))
	for _, c := range build(t, r).Plan.Changes {
		text, _ := c.Text()
		for _, other := range []string{"esp40", "esp4_offload", "esp6"} {
			if strings.Contains(text, other) && !strings.HasPrefix(c.Path, "/boot/") {
				t.Errorf("%s names %s:\n%s", c.Path, other, text)
			}
		}
	}
	if got := tries(t, root, "esp6"); !strings.Contains(got, "esp6.ko") {
		t.Errorf("modprobe esp6 says %q, want an insmod", got)
	}
	if got := tries(t, root, "esp4_offload"); !strings.Contains(got, "esp4_offload.ko") || strings.Contains(got, "/esp4.ko") {
		t.Errorf("modprobe esp4_offload says %q, want an insmod of it and none of esp4", got)
	}
}

// TestBackAndForth: from one profile to another and back gives the bytes of the first.
func TestBackAndForth(t *testing.T) {
	for name, fixture := range map[string]func(*testing.T) string{"GRUB": grubRoot, "boot entry": blsRoot} {
		t.Run(name, func(t *testing.T) {
			r := request(t, fixture(t), "")
			r.Profile = load(t, "page-cache-family")
			build(t, r)
			first := dump(t, r.Target)
			for _, other := range []string{"copy-fail", "dirty-frag", "page-cache-family"} {
				r.Profile = load(t, other)
				build(t, r)
			}
			if last := dump(t, r.Target); last != first {
				t.Errorf("the tree is not as after the first build:\n%s", lineDiff(first, last))
			}
		})
	}
}

// TestRegenerated: what was made anew without the block is named, with what it lacks.
func TestRegenerated(t *testing.T) {
	for name, want := range map[string]string{"boot/grub/grub.cfg": "its kernel command line lacks module_blacklist=algif_aead", initramfsPath: "no archive of kerngate is at its end"} {
		t.Run(name, func(t *testing.T) {
			r := request(t, grubRoot(t), "")
			before, err := os.ReadFile(filepath.Join(r.Target, name))
			if err != nil {
				t.Fatal(err)
			}
			r.Profile = profileFrom(t, block("algif_aead", everywhere))
			build(t, r)
			after, err := os.ReadFile(filepath.Join(r.Target, name))
			if err != nil {
				t.Fatal(err)
			}
			write(t, r.Target, 0o600, map[string]string{name: string(before)})
			v := verify(t, r)
			i := slices.IndexFunc(v.Checks, func(c builder.Check) bool { return !c.OK && c.What == "/"+name && strings.Contains(c.Text, want) })
			if v.Conforms || i < 0 {
				t.Errorf("conforms: %t, checks are %+v, want one of /%s with %q", v.Conforms, v.Checks, name, want)
			}
			build(t, r)
			if again, err := os.ReadFile(filepath.Join(r.Target, name)); err != nil || !bytes.Equal(again, after) {
				t.Errorf("built again: %d bytes (%v), want the %d of the first build", len(again), err, len(after))
			}
		})
	}
}

// TestSpliceEntriesThatNoBuildWrote edits what the manifest says of files of others.
func TestSpliceEntriesThatNoBuildWrote(t *testing.T) {
	type entry = builder.ManifestEntry
	long := "module_blacklist=" + strings.Repeat("a", 5000)
	cases := map[string]struct {
		add  entry
		want string
	}{
		"dropped outside of the modules": {entry{Path: "/etc/shadow", Op: "drop"}, `it lists "/etc/shadow" as removed`},
		"dropped by a detour":            {entry{Path: "/usr/lib/modules/../../../etc/shadow", Op: "drop"}, "is not rooted and clean"},
		"path is not rooted":             {entry{Path: "boot/grub/grub.cfg", Op: "splice", Added: "module_blacklist=a"}, "is not rooted and clean"},
		"tail of a file of ours":         {entry{Path: "/usr/sbin/initcheck", Op: "tail"}, `operation for "/usr/sbin/initcheck" is "tail", want "write"`},
		"splice into a file of ours":     {entry{Path: "/etc/modprobe.d/00-kerngate.conf", Op: "splice", Added: "module_blacklist=a"}, `is "splice", want "write"`},
		"drop-in called a file":          {entry{Path: "/etc/default/grub.d/zz-kerngate.cfg", Op: "write", SHA256: strings.Repeat("0", 64)}, `is "write", want "splice"`},
		"nothing added":                  {entry{Path: "/boot/x.cfg", Op: "splice"}, `what was added to "/boot/x.cfg" is ""`},
		"something else added":           {entry{Path: "/boot/x.cfg", Op: "splice", Added: "init=/bin/sh"}, `is "init=/bin/sh", want arguments`},
		"a name that is none":            {entry{Path: "/boot/x.cfg", Op: "splice", Added: "module_blacklist=$(id)"}, "want arguments"},
		"much added":                     {entry{Path: "/boot/x.cfg", Op: "splice", Added: long}, "has 5017 bytes, limit is 4096"},
		"tail with words":                {entry{Path: "/boot/x.img", Op: "tail", Added: "module_blacklist=a"}, "want arguments"},
		"splice with a hash":             {entry{Path: "/boot/x.cfg", Op: "splice", Added: "module_blacklist=a", SHA256: "00"}, "still has a hash"},
		"an operation of nobody":         {entry{Path: "/etc/shadow", Op: "append"}, "which kerngate never writes"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := request(t, newRoot(t), "")
			text, err := json.Marshal(builder.Manifest{Schema: builder.ManifestSchema, Entries: []entry{c.add}})
			if err != nil {
				t.Fatal(err)
			}
			write(t, r.Target, 0o644, map[string]string{"usr/lib/kerngate/manifest.json": string(text)})
			refused(t, r, c.want)
		})
	}
}

// TestForeignFilesInTheManifest: an entry for a file without a command line or an
// archive of ours changes nothing in it.
func TestForeignFilesInTheManifest(t *testing.T) {
	r := request(t, grubRoot(t), "")
	r.Profile = load(t, "copy-fail")
	build(t, r)
	file := filepath.Join(r.Target, builder.ManifestPath)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var m builder.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	const text = "root:x:0 module_blacklist=algif_aead\n"
	for _, name := range []string{"/etc/shadow", "/boot/foreign.img"} {
		op, added := rootfs.Op("tail"), ""
		if name == "/etc/shadow" {
			op, added = "splice", "module_blacklist=algif_aead"
		}
		m.Entries = append(m.Entries, builder.ManifestEntry{Path: name, Op: op, Added: added})
		write(t, r.Target, 0o600, map[string]string{name: text})
	}
	slices.SortFunc(m.Entries, func(a, b builder.ManifestEntry) int { return strings.Compare(a.Path, b.Path) })
	if data, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := builder.Revert(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/etc/shadow", "/boot/foreign.img"} {
		if got, err := os.ReadFile(filepath.Join(r.Target, name)); err != nil || string(got) != text {
			t.Errorf("%s is %q (%v), want it as it was", name, got, err)
		}
	}
}
