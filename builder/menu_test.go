package builder_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder"
)

// belowFloor is a kernel that boots by default in the fixtures here, and that llm-node's
// floor refuses.
const belowFloor = "6.12.107+deb13-cloud-amd64"

// addBelowFloor adds the kernel without any boot entry.
func addBelowFloor(t *testing.T, dir string) {
	t.Helper()
	modules := "usr/lib/modules/" + belowFloor + "/"
	write(t, dir, 0o644, map[string]string{modules + "modules.dep": "kernel/crypto/algif_aead.ko:\n", modules + "modules.builtin": "kernel/fs/ext4/ext4.ko\n", "boot/vmlinuz-" + belowFloor: "kernel\n"})
}

// grubMenu starts the kernel below the floor; the other one is in a submenu.
func grubMenu(t *testing.T) string {
	t.Helper()
	dir := grubRoot(t)
	addBelowFloor(t, dir)
	entry := func(title, release, more string) string {
		return fmt.Sprintf("menuentry '%s' --class debian --id %s {\n\tlinux /boot/vmlinuz-%s root=LABEL=root ro quiet%s\n}\n", title, strings.ReplaceAll(title, " ", "-"), release, more)
	}
	write(t, dir, 0o644, map[string]string{"boot/grub/grub.cfg": "set default=\"0\"\n" + entry("Debian", belowFloor, "") +
		"submenu 'Advanced' --id advanced {\n" + entry("Debian new", debianRelease, "") + entry("Debian old", belowFloor, " single") + "}\n"})
	return dir
}

// sdbootMenu starts the kernel below the floor, as loader.conf says.
func sdbootMenu(t *testing.T) string {
	t.Helper()
	dir := blsRoot(t)
	addBelowFloor(t, dir)
	write(t, dir, 0o644, map[string]string{
		"boot/loader/loader.conf":              "timeout 3\ndefault old.conf\n",
		"boot/loader/entries/old.conf":         "title Old\nversion " + belowFloor + "\nlinux /vmlinuz-" + belowFloor + "\noptions root=LABEL=root ro\n",
		"boot/EFI/systemd/systemd-bootx64.efi": "MZ",
	})
	entry := "boot/loader/entries/debian.conf"
	data, err := os.ReadFile(filepath.Join(dir, entry))
	if err != nil {
		t.Fatal(err)
	}
	// Systemd-boot's paths begin at the volume, which is mounted there.
	write(t, dir, 0o644, map[string]string{entry: strings.ReplaceAll(string(data), " /boot/", " /")})
	return dir
}

// menuProfile blocks a module everywhere and asks for a floor, with lines of [kernel.pin].
func menuProfile(lines string) string {
	return "[kernel]\nfloor = \"7.0.6\"\n" + lines + block("algif_aead", everywhere) + "[gate]\nunits = [\"vllm.service\"]\n"
}

const (
	demotes = "[kernel.pin]\nboot_below_floor = \"demote\"\n"
	removes = "[kernel.pin]\nboot_below_floor = \"remove\"\n"
	keeps   = "[kernel.pin]\nboot_below_floor = \"keep\"\n"
)

// TestBootMenu: an image starts the newest kernel that the gate lets through after a
// build, which verify holds it to by the entry's name, and which revert takes back.
func TestBootMenu(t *testing.T) {
	for _, c := range []struct {
		name    string
		root    func(*testing.T) string
		lines   string
		fails   string   // what verify says before
		files   []string // that must have a text after: NAME TEXT, or lack it: NAME !TEXT
		dropped []string // that are gone after
		lost    string   // what revert says does not come back
	}{
		{"GRUB, demote", grubMenu, demotes, "GRUB starts /boot/grub/grub.cfg:2 (Debian) by default, and the gate refuses its kernel " + belowFloor,
			[]string{`boot/grub/grub.cfg set default="advanced>Debian-new"`, "boot/grub/grub.cfg /boot/vmlinuz-" + belowFloor + " root=LABEL=root ro quiet module_blacklist=algif_aead\n", "etc/default/grub.d/zz-kerngate-default.cfg GRUB_DEFAULT=\"advanced>Debian-new\"\n"}, nil, ""},
		{"GRUB, remove", grubMenu, removes, "GRUB has /boot/grub/grub.cfg:9 (Advanced > Debian old), and the gate refuses its kernel " + belowFloor,
			[]string{"boot/grub/grub.cfg !" + belowFloor, "boot/grub/grub.cfg module_blacklist=algif_aead", "boot/vmlinuz-" + belowFloor + " kernel"}, nil, "/boot/grub/grub.cfg (Advanced > Debian old): it was taken out of the boot menu and does not come back by itself"},
		{"systemd-boot, demote", sdbootMenu, demotes, "systemd-boot starts /boot/loader/entries/old.conf (Old) by default, and the gate refuses its kernel " + belowFloor,
			[]string{"boot/loader/loader.conf default debian.conf\n", "boot/loader/entries/old.conf module_blacklist=algif_aead"}, nil, ""},
		{"systemd-boot, remove", sdbootMenu, removes, "systemd-boot starts /boot/loader/entries/old.conf (Old) by default",
			[]string{"boot/loader/entries/debian.conf module_blacklist=algif_aead"}, []string{"boot/loader/entries/old.conf"}, "/boot/loader/entries/old.conf (Old): it was taken out of the boot menu"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := request(t, c.root(t), "")
			r.Profile = profileFrom(t, menuProfile(c.lines))
			before := dumpTarget(t, r.Target)
			if v := verify(t, r); v.Conforms || !slices.ContainsFunc(v.Checks, func(k builder.Check) bool { return !k.OK && k.What == "boot menu" && strings.Contains(k.Text, c.fails) }) {
				t.Errorf("before: conforms %t, checks %+v, want a failed one with %q", v.Conforms, v.Checks, c.fails)
			}
			build(t, r)
			holdFiles(t, r.Target, c.files, c.dropped)
			v := verify(t, r)
			if !v.Conforms || !slices.ContainsFunc(v.Checks, func(k builder.Check) bool {
				return k.OK && strings.Contains(k.Text, "starts kernel "+debianRelease+" by default")
			}) {
				t.Errorf("after: conforms %t, checks %+v, want the default entry among them", v.Conforms, v.Checks)
			}
			if again := build(t, r); !again.Plan.Empty() {
				t.Errorf("built again: %d changes, want none:\n%s", len(again.Plan.Changes), render(again.Plan))
			}
			result, err := builder.Revert(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(result.Plan.Warnings, "\n"); c.lost == "" && got != "" || !strings.Contains(got, c.lost) {
				t.Errorf("revert warns of %q, want %q", got, c.lost)
			}
			if after := dumpTarget(t, r.Target); c.lost == "" && after != before {
				t.Errorf("revert left:\n%s", lineDiff(before, after))
			}
		})
	}
}

// holdFiles looks for lines "NAME TEXT" and "NAME !TEXT" in files of a directory.
func holdFiles(t *testing.T, dir string, lines, dropped []string) {
	t.Helper()
	for _, line := range lines {
		name, text, _ := strings.Cut(line, " ")
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		}
		text, none := strings.CutPrefix(text, "!")
		if strings.Contains(string(data), text) == none {
			t.Errorf("%s is %q, want (not: %t) in it %q", name, data, none, text)
		}
		if strings.HasSuffix(name, "grub.cfg") {
			output(t, exec.Command(need(t, "grub-script-check", "grub-common"), filepath.Join(dir, name)))
		}
	}
	for _, name := range dropped {
		if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v, want it gone", name, err)
		}
	}
}

// TestBootMenuOfAnotherProfile: what a profile put into a menu goes with it.
func TestBootMenuOfAnotherProfile(t *testing.T) {
	for name, root := range map[string]func(*testing.T) string{"GRUB": grubMenu, "systemd-boot": sdbootMenu} {
		t.Run(name, func(t *testing.T) {
			seen, fresh := request(t, root(t), ""), request(t, root(t), "")
			seen.Profile = profileFrom(t, menuProfile(demotes))
			build(t, seen)
			seen.Profile = profileFrom(t, menuProfile(keeps))
			fresh.Profile = seen.Profile
			build(t, seen)
			result := build(t, fresh)
			for _, file := range []string{"boot/grub/grub.cfg", "boot/loader/loader.conf", "boot/loader/entries/old.conf", "etc/default/grub.d/zz-kerngate-default.cfg", "usr/lib/kerngate/manifest.json"} {
				got, errGot := os.ReadFile(filepath.Join(seen.Target, file))
				want, errWant := os.ReadFile(filepath.Join(fresh.Target, file))
				if string(got) != string(want) || (errGot == nil) != (errWant == nil) {
					t.Errorf("%s is %q (%v), want %q (%v)", file, got, errGot, want, errWant)
				}
			}
			if got := fmt.Sprint(result.Plan.Warnings); !strings.Contains(got, "by default, and the gate refuses its kernel "+belowFloor+`; boot_below_floor = "demote"`) {
				t.Errorf("warnings are %s, want one of the default entry", got)
			}
		})
	}
}

// TestRemovedEntryStaysSaid: an entry that was taken out is told of by a revert until the
// image's own tools brought it back.
func TestRemovedEntryStaysSaid(t *testing.T) {
	r := request(t, sdbootMenu(t), "")
	old, err := os.ReadFile(filepath.Join(r.Target, "boot/loader/entries/old.conf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		back bool
		want string
	}{{false, "does not come back by itself"}, {true, ""}} {
		r.Profile = profileFrom(t, menuProfile(removes))
		if got := fmt.Sprint(build(t, r).Plan.Warnings); !strings.Contains(got, "/boot/loader/entries/old.conf: kernel-install makes the entry again") {
			t.Errorf("warnings are %s, want what brings the entry back", got)
		}
		r.Profile = profileFrom(t, menuProfile(keeps))
		if c.back {
			write(t, r.Target, 0o644, map[string]string{"boot/loader/entries/old.conf": string(old)})
		}
		build(t, r)
		if again := build(t, r); !again.Plan.Empty() {
			t.Errorf("built again: %d changes, want none:\n%s", len(again.Plan.Changes), render(again.Plan))
		}
		result, err := builder.Revert(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(result.Plan.Warnings, "\n"); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("entry is back: %t, revert warns of %q, want %q", c.back, got, c.want)
		}
		write(t, r.Target, 0o644, map[string]string{"boot/loader/entries/old.conf": string(old)})
	}
}

// TestBootMenuRefused: a menu that cannot be mended stops the build with nothing changed.
func TestBootMenuRefused(t *testing.T) {
	for _, c := range []struct{ name, lines, config, want, hint string }{
		{"no entry for a kernel that passes", demotes, "menuentry a { linux /boot/vmlinuz-" + belowFloor + " ro\n}\n", "GRUB has no entry for a kernel that may start; it has " + belowFloor, "have the image's own tools write the menu anew"},
		{"a kernel of which nothing is known", removes, "menuentry new { linux /boot/vmlinuz-" + debianRelease + " ro\n}\nmenuentry lts { linux /boot/vmlinuz-lts ro\n}\n", "/boot/grub/grub.cfg:3 (lts): the boot menu cannot be changed: it starts a Linux kernel of which nothing says whether it may", "name the kernel's image after its release"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := request(t, grubMenu(t), "")
			write(t, r.Target, 0o644, map[string]string{"boot/grub/grub.cfg": c.config, "boot/vmlinuz-lts": "kernel\n"})
			r.Profile = profileFrom(t, menuProfile(c.lines))
			before := dump(t, r.Target)
			_, err := builder.Apply(t.Context(), r)
			var hinted interface{ Hint() string }
			if err == nil || !strings.Contains(err.Error(), c.want) || !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), c.hint) {
				t.Errorf("error is %v (%v), want %q with the hint %q", err, hinted, c.want, c.hint)
			}
			if after := dump(t, r.Target); after != before {
				t.Errorf("directory was changed:\n%s", lineDiff(before, after))
			}
		})
	}
}

// TestBootMenuElsewhere: where the kernel is not started by the image's own boot loader, a
// menu that cannot be mended is a warning.
func TestBootMenuElsewhere(t *testing.T) {
	r := request(t, grubMenu(t), "")
	write(t, r.Target, 0o644, map[string]string{"boot/grub/grub.cfg": "configfile (hd1)/grub.cfg\n"})
	refused(t, func() builder.Request { one := r; one.Profile = profileFrom(t, menuProfile(demotes)); return one }(), "goes on with (hd1)/grub.cfg in line 1, which the tree does not have")
	r.Profile = profileFrom(t, "accept = [\"external-cmdline\"]\n"+menuProfile(demotes))
	result := build(t, r)
	if got := fmt.Sprint(result.Plan.Warnings); !strings.Contains(got, "/boot/grub/grub.cfg: the boot menu cannot be changed: nobody can tell what GRUB starts") {
		t.Errorf("warnings are %s, want one of the menu", got)
	}
	if v := verify(t, r); !v.Conforms {
		t.Errorf("checks are %+v, want the menu not to fail", v.Checks)
	}
}

// TestMenuWordsThatNoBuildWrote: the manifest lies in the image, and names files that a
// build or a revert would write.
func TestMenuWordsThatNoBuildWrote(t *testing.T) {
	const good = `"path": "/boot/grub/grub.cfg", "op": "menu", "menu": "default=x,0"`
	for _, c := range []struct{ name, entry, want string }{
		{"", good, ""},
		{"no file of a menu", `"path": "/etc/passwd", "op": "menu", "menu": "default=x,0"`, "/etc/passwd is no file of a boot menu"},
		{"a script of the system", `"path": "/etc/cron.d/x.cfg", "op": "menu", "menu": "default=x,0"`, "/etc/cron.d/x.cfg is no file of a boot menu"},
		{"no setting of ours", `"path": "/boot/grub/grub.cfg", "op": "menu", "menu": "timeout=3,5"`, `"timeout=3,5" is no change of a boot menu`},
		{"odd characters", `"path": "/boot/grub/grub.cfg", "op": "menu", "menu": "default=$(x),0"`, "want percent-encoded words"},
		{"two blanks", `"path": "/boot/grub/grub.cfg", "op": "menu", "menu": "default=x,0  default=y"`, `"" is no change`},
		{"nothing changed", `"path": "/boot/grub/grub.cfg", "op": "menu"`, "nothing was changed in the boot menu"},
		{"words of the kernel", `"path": "/boot/grub/grub.cfg", "op": "menu", "menu": "default=x,0", "added": "module_blacklist=a"`, "want arguments of the kernel"},
		{"another operation", `"path": "/boot/grub/grub.cfg", "op": "tail", "menu": "default=x,0"`, `want "splice" or "menu"`},
		{"a file of ours", `"path": "/etc/modprobe.d/00-kerngate.conf", "op": "write", "sha256": "` + strings.Repeat("0", 64) + `", "menu": "default=x,0"`, "which is kerngate's own"},
		{"too long", `"path": "/boot/grub/grub.cfg", "op": "menu", "menu": "default=` + strings.Repeat("x", 65536) + `"`, "limit is 65536"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := request(t, grubMenu(t), "")
			r.Profile = profileFrom(t, menuProfile(demotes))
			write(t, r.Target, 0o644, map[string]string{"usr/lib/kerngate/manifest.json": `{"schema": 1, "tool": "kerngate x", "profile": "p", "profile_digest": "d", "entries": [{` + c.entry + `, "reason": "r"}]}`})
			if c.want != "" {
				refused(t, r, c.want)
			} else {
				build(t, r)
			}
		})
	}
}

// TestBootMenuChoice: of several kernels that the gate lets through the newest becomes the
// default whose modules are in the image; of equal ones that which is it already.
func TestBootMenuChoice(t *testing.T) {
	const newer, flavour, long = "7.9.1-amd64", "7.9.1-a-amd64", "7.9.1-of-a-long-flavour-amd64"
	for _, c := range []struct {
		name    string
		modules []string // of kernels beside the two of the fixture
		entries []string // in order, behind one below the floor
		first   string   // starts by default
		want    string
	}{
		{"the newest", []string{long}, []string{debianRelease, long}, belowFloor, long},
		{"the newest, with modules", nil, []string{newer, debianRelease}, belowFloor, debianRelease},
		{"alike, and the other is it already", []string{newer, flavour}, []string{newer, flavour}, flavour, flavour},
		{"alike, and none is it", []string{newer, flavour}, []string{flavour, newer}, belowFloor, newer},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := grubMenu(t)
			files := map[string]string{}
			menu := fmt.Sprintf("set default=%s\n", c.first)
			for _, release := range append([]string{belowFloor}, c.entries...) {
				menu += fmt.Sprintf("menuentry '%s' --id %s {\n\tlinux /boot/vmlinuz-%[1]s root=LABEL=root ro quiet\n}\n", release, release)
				files["boot/vmlinuz-"+release] = "kernel\n"
			}
			for _, release := range c.modules {
				files["usr/lib/modules/"+release+"/modules.dep"] = "kernel/crypto/algif_aead.ko:\n"
				files["usr/lib/modules/"+release+"/modules.builtin"] = "kernel/fs/ext4/ext4.ko\n"
			}
			files["boot/grub/grub.cfg"] = menu
			write(t, dir, 0o644, files)
			r := request(t, dir, "")
			r.Profile = profileFrom(t, menuProfile(demotes))
			build(t, r)
			data, err := os.ReadFile(filepath.Join(dir, "boot/grub/grub.cfg"))
			if got, _, _ := strings.Cut(string(data), "\n"); err != nil || strings.Trim(strings.TrimPrefix(got, "set default="), `"`) != c.want {
				t.Errorf("grub.cfg begins with %q (%v), want the default %s", got, err, c.want)
			}
		})
	}
}
