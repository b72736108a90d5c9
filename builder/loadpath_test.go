package builder_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder"
	"github.com/kerngate/kerngate/profiles"
)

// TestLoadPathsAsMeasured holds what is predicted for a tree with one mechanism alone
// against what boots of Debian 12, 13 and testing with that mechanism showed (kernels 6.1,
// 6.12 and 7.2; kmod). The columns: the kernel asks for the module when a socket is bound
// to its type, modprobe NAME, systemd-modules-load, modprobe -i NAME, insmod FILE. "o" is
// open, "c" closed, "." was not measured.
func TestLoadPathsAsMeasured(t *testing.T) {
	columns := []string{"autoload", "modprobe", "modules-load", "modprobe-i", "insmod"}
	cases := map[string]struct{ config, cmdline, removed, want string }{
		"nothing":                        {"", "", "", "ooooo"},
		"blacklist":                      {"blacklist algif_aead\n", "", "", "oocoo"},
		"install":                        {"install algif_aead /bin/false\n", "", "", "cccoo"},
		"install, with a dash":           {"install algif-aead /bin/false\n", "", "", "cccoo"},
		"install, with a wildcard":       {"install algif_* /bin/false\n", "", "", "cccoo"},
		"install of /bin/true":           {"install algif_aead /bin/true\n", "", "", "cccoo"},
		"blacklist and install":          {"blacklist algif_aead\ninstall algif_aead /bin/false\n", "", "", "cccoo"},
		"blacklist af_alg":               {"blacklist af_alg\n", "", "", "co.oo"},
		"alias off":                      {"alias net-pf-38 off\n", "", "", "co.oo"},
		"install af_alg":                 {"install af_alg /bin/false\n", "", "", "cc.co"},
		"file removed":                   {"", "", "algif_aead", "cc.cc"},
		"module_blacklist":               {"", "module_blacklist=algif_aead", "", "ccccc"},
		"module_blacklist, with a dash":  {"", "module_blacklist=algif-aead", "", "ooooo"},
		"module_blacklist, first of two": {"", "module_blacklist=algif_aead module_blacklist=pcspkr", "", "ooooo"},
		"modprobe.blacklist":             {"", "modprobe.blacklist=algif_aead", "", "oocoo"},
		"initcall_blacklist":             {"", "initcall_blacklist=algif_aead_init", "", "ccccc"},
		"module_blacklist af_alg":        {"", "module_blacklist=af_alg", "", "ccccc"},
		"initcall_blacklist af_alg":      {"", "initcall_blacklist=af_alg_init", "", "ccccc"},
	}
	cells := 0
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := predicted(t, c.config, c.cmdline, c.removed)
			for i, path := range columns {
				want := map[byte]string{'o': "open", 'c': "closed"}[c.want[i]]
				if want == "" {
					continue
				}
				if cells++; got[path] != want && (c.removed == "" || got[path] != "") {
					t.Errorf("%s is %q, measured is %s", path, got[path], want)
				}
			}
		})
	}
	if t.Logf("%d cells of %d mechanisms", cells, len(cases)); cells < 70 {
		t.Errorf("cells are %d, want more", cells)
	}
}

// predicted gives the states of the paths to algif_aead in a tree with one boot entry and
// no initramfs.
func predicted(t *testing.T, config, cmdline, removed string) map[string]string {
	t.Helper()
	root := debianRoot(t)
	write(t, root, 0o644, map[string]string{"etc/modprobe.d/test.conf": config,
		"boot/loader/entries/debian.conf": fmt.Sprintf("title Debian\nversion %s\nlinux /boot/vmlinuz-%[1]s\noptions root=LABEL=root ro %[2]s\n", debianRelease, cmdline)})
	if removed != "" {
		dropModule(t, root, removed)
	}
	r := request(t, root, "")
	r.Profile = profileFrom(t, block("algif_aead", `block = ["modprobe"]`))
	out := map[string]string{}
	for _, l := range verify(t, r).LoadPaths {
		out[l.Path] = l.State
	}
	return out
}

// dropModule deletes a module by a build, and then what else the build put in.
func dropModule(t *testing.T, root, name string) {
	t.Helper()
	r := request(t, root, "")
	r.Profile = profileFrom(t, block(name, `block = ["modprobe"]`, "remove = true"))
	r.Profile.Accept = append(r.Profile.Accept, profiles.AcceptExternalCmdline)
	build(t, r)
	if _, err := builder.Revert(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

// TestLoadPathsOfInitramfs: which mechanism inside an image closes its two paths, by the
// program that loads its modules.
func TestLoadPathsOfInitramfs(t *testing.T) {
	cases := map[string]struct{ loader, config, cmdline, want string }{
		"kmod, nothing":            {"kmod", "", "", "open open"},
		"kmod, install":            {"kmod", "install algif_aead /bin/false\n", "", "closed open"},
		"kmod, blacklist":          {"kmod", "blacklist algif_aead\n", "", "open open"},
		"busybox, nothing":         {"busybox", "", "", "open open"},
		"busybox, install":         {"busybox", "install algif_aead /bin/false\n", "", "open open"},
		"kmod, on the line":        {"kmod", "", "module_blacklist=algif_aead", "closed closed"},
		"busybox, on the line":     {"busybox", "", "initcall_blacklist=algif_aead_init", "closed closed"},
		"busybox, needs the other": {"busybox", "", "module_blacklist=af_alg", "closed closed"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			root := debianRoot(t)
			image := newInitramfs(t, c.loader, "")
			image = append(image, configArchive(t, c.config)...)
			write(t, root, 0o600, map[string]string{initramfsPath: string(image)})
			write(t, root, 0o644, map[string]string{"boot/loader/entries/debian.conf": fmt.Sprintf("version %s\nlinux /boot/vmlinuz-%[1]s\ninitrd /%s\noptions ro %s\n", debianRelease, initramfsPath, c.cmdline)})
			r := request(t, root, "")
			r.Profile = profileFrom(t, block("algif_aead", `block = ["modprobe"]`))
			states := map[string]string{}
			for _, l := range verify(t, r).LoadPaths {
				states[l.Path] = l.State
			}
			if got := states["initramfs-modprobe"] + " " + states["initramfs-insmod"]; got != c.want {
				t.Errorf("modprobe and insmod in the initramfs are %s, want %s", got, c.want)
			}
		})
	}
}

// configArchive is a second archive with a modprobe.d file.
func configArchive(t *testing.T, config string) []byte {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, 0o644, map[string]string{"etc/modprobe.d/a.conf": config})
	return cpioOf(t, dir)
}

// TestEveryPathHasAWord: the words for paths are those of the prober in the guest.
func TestEveryPathHasAWord(t *testing.T) {
	r := request(t, grubRoot(t), "")
	r.Profile = load(t, "copy-fail")
	got := map[string]bool{}
	for _, l := range verify(t, r).LoadPaths {
		got[l.Path] = true
	}
	words := strings.Join(slices.Sorted(maps.Keys(got)), " ")
	if want := "autoload autoload-nobody dependency initramfs-insmod initramfs-modprobe insmod modprobe modprobe-alias modprobe-i modules-load"; words != want {
		t.Errorf("paths are %s, want %s", words, want)
	}
	if _, err := os.Stat(filepath.Join(r.Target, builder.ManifestPath)); err == nil {
		t.Error("verify wrote into the tree")
	}
}
