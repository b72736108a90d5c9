package pin_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/pin"
	"github.com/kerngate/kerngate/builder/rootfs"
)

var update = flag.Bool("update", false, "write the golden files")

// machine has every package manager, each with a configuration as distributions ship
// it.
func machine() map[string]string {
	return map[string]string{
		"etc/apt/":            "",
		"etc/dnf/dnf.conf":    "[main]\ngpgcheck=True\ninstallonly_limit=3\nskip_if_unavailable=True\n",
		"etc/zypp/zypp.conf":  "[main]\n",
		"etc/pacman.conf":     "#\n# /etc/pacman.conf\n#\n[options]\nHoldPkg     = pacman glibc\nArchitecture = auto\n#IgnorePkg   =\n\n[core]\nInclude = /etc/pacman.d/mirrorlist\n",
		"etc/apk/world":       "alpine-base\nlinux-firmware-none\nlinux-lts\nlinux-virt@edge\nopenssh\n",
		"var/lib/dpkg/status": "Package: bash\nStatus: install ok installed\nVersion: 5.2\n\n",
	}
}

// dump is a result for reading.
func dump(r pin.Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "managers: %s\n", strings.Join(r.Managers, " "))
	for _, w := range r.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	for _, x := range r.Refusals {
		fmt.Fprintf(&b, "refusal: %v (%s)\n", x, x.Hint)
	}
	for _, f := range r.Files {
		fmt.Fprintf(&b, "\n-- %s %s %v ours=%v changed=%v\nlacks: %s\nadded: %s\n", f.Manager, f.Path, f.Mode, f.Ours, f.Changed, f.Lacks, strings.ReplaceAll(f.Added, " ", "\n       "))
		for line := range strings.Lines(string(f.Data)) {
			fmt.Fprintf(&b, "| %s", line)
		}
	}
	return b.String()
}

func modes(t testing.TB) map[string]pin.Want {
	exact := floorOf(t, "6.18.29")
	exact.Mode = pin.Exact
	return map[string]pin.Want{"floor": floorOf(t, "7.0.6"), "branch": branchOf(t, "7.0.6"), "exact": exact, "candidate": floorOf(t, "7.1-rc2")}
}

func TestGolden(t *testing.T) {
	for name, w := range modes(t) {
		t.Run(name, func(t *testing.T) {
			tree, _ := treeOf(t, machine())
			got := dump(plan(t, tree, w, nil))
			file := filepath.Join("testdata", "golden", name+".txt")
			if *update {
				must(t, os.MkdirAll(filepath.Dir(file), 0o755))
				must(t, os.WriteFile(file, []byte(got), 0o644))
			}
			want, err := os.ReadFile(file)
			must(t, err)
			if got != string(want) {
				t.Errorf("%s is not what is planned now; run go test -update and read the difference\n%s", file, got)
			}
		})
	}
}

// contents reads the files of a tree that pins are about.
func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	must(t, filepath.WalkDir(filepath.Join(dir, "etc"), func(name string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			data, err := os.ReadFile(name)
			out[strings.TrimPrefix(name, dir)] = string(data)
			return err
		}
		return err
	}))
	return out
}

// oddities are files as people leave them.
var oddities = map[string]map[string]string{
	"as shipped":               nil,
	"a list of excludes":       {"etc/dnf/dnf.conf": "[main]\nexcludepkgs=foo, bar  \ngpgcheck=1\n"},
	"a list over lines":        {"etc/dnf/dnf.conf": "[main]\nexclude=foo\n  bar,\n\tbaz\nbest=1\n"},
	"an empty list":            {"etc/dnf/dnf.conf": "[main]\nexcludepkgs=\nbest=1\n"},
	"an empty list, blanks":    {"etc/dnf/dnf.conf": "[main]\nexcludepkgs =  \nbest=1\n"},
	"another section":          {"etc/dnf/dnf.conf": "[repo]\nexcludepkgs=kernel\n[main]\nbest=1\n"},
	"no main section":          {"etc/dnf/dnf.conf": "# nothing\n"},
	"carriage returns":         {"etc/dnf/dnf.conf": "[main]\r\nexcludepkgs=foo\r\nbest=1\r\n", "etc/apk/world": "linux-lts\r\nbash\r\n"},
	"comments":                 {"etc/dnf/dnf.conf": "[main]\n#excludepkgs=kernel\n;exclude=kernel\nbest=1\n"},
	"two lists":                {"etc/dnf/dnf.conf": "[main]\nexcludepkgs=foo\nexclude=bar\n"},
	"a list of IgnorePkg":      {"etc/pacman.conf": "[options]\nIgnorePkg = foo\nIgnorePkg=bar  baz\n[core]\nIgnorePkg = no\n"},
	"no options":               {"etc/pacman.conf": "# empty\n"},
	"locks":                    {"etc/zypp/locks": "\ntype: package\nmatch_type: glob\ncase_sensitive: on\nsolvable_name: foo\n\n"},
	"locks without last blank": {"etc/zypp/locks": "type: package\nmatch_type: glob\ncase_sensitive: on\nsolvable_name: foo\n"},
	"a bound already":          {"etc/apk/world": "linux-lts>=7.0.6\nbash\n"},
	"no kernel":                {"etc/apk/world": "bash\n"},
	"one lock already":         {"etc/zypp/locks": "\ntype: package\nversion: < 7.0.6\nmatch_type: glob\ncase_sensitive: on\nsolvable_name: kernel-default*\n\n"},
	"one exclusion already":    {"etc/dnf/dnf.conf": "[main]\nexcludepkgs=kernel-[0123456].*-*.*\n"},
	"IgnorePkg already":        {"etc/pacman.conf": "[options]\nIgnorePkg = linux linux-headers\n"},
}

// TestAppliesOnceAndComesOut: a second plan has nothing to do, one for another range
// leads to what it would have led to at first, and removal restores every byte.
func TestAppliesOnceAndComesOut(t *testing.T) {
	steps := 0
	for name, change := range oddities {
		for mode, w := range modes(t) {
			t.Run(name+", "+mode, func(t *testing.T) {
				files := machine()
				for file, text := range change {
					files[file] = text
				}
				tree, dir := treeOf(t, files)
				before := contents(t, dir)
				r := plan(t, tree, w, nil)
				if len(r.Gaps()) == 0 {
					t.Fatal("nothing is to do in a tree without a pin")
				}
				write(t, dir, r.Files)
				pinned := contents(t, dir)

				again := plan(t, tree, w, added(r.Files))
				if gaps := again.Gaps(); len(gaps) > 0 {
					t.Errorf("the second plan changes %s: %s", gaps[0].Path, gaps[0].Lacks)
				}
				other := plan(t, tree, floorOf(t, "6.12.88"), added(again.Files))
				write(t, dir, other.Files)
				back := plan(t, tree, w, added(other.Files))
				write(t, dir, back.Files)
				sameContents(t, "there and back", contents(t, dir), pinned)

				write(t, dir, mustRemove(t, tree, added(back.Files)))
				must(t, os.Remove(filepath.Join(dir, pin.AptPreferences)))
				sameContents(t, "removed", contents(t, dir), before)
				steps += 5
			})
		}
	}
	t.Logf("%d plans", steps)
}

func sameContents(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s: %s is\n%q\nwant\n%q", what, name, got[name], text)
		}
	}
	for name, text := range got {
		if _, found := want[name]; !found {
			t.Errorf("%s: %s is there, want none:\n%s", what, name, text)
		}
	}
}

func TestRefusesWhatContradicts(t *testing.T) {
	lock := "version = \"1.0\"\n[[packages]]\nname = \"bash\"\n\n[[packages]]\nname = \"kernel-core\"\n[[packages.conditions]]\nkey = \"evr\"\ncomparator = \"%s\"\nvalue = \"%s\"\n"
	record := "Package: %s\nPin: %s\nPin-Priority: %d\n"
	first, late := "etc/apt/preferences", "etc/apt/preferences.d/zz.pref"
	cases := []struct {
		name, path, text string
		line             int // 0: no refusal
	}{
		{"apt: version below, later", late, "# x\n\n" + fmt.Sprintf(record, "linux-image-*", "version 6.1.*", 1001), 3},
		{"apt: some versions below, first", first, fmt.Sprintf(record, "foo linux-image-amd64", "version 7.0.*", 700), 1},
		{"apt: some versions below, later", late, fmt.Sprintf(record, "linux-image-amd64", "version 7.0.*", 700), 0},
		{"apt: regular expression, first", first, fmt.Sprintf(record, "/^linux-image/", "release a=stable", 900), 1},
		{"apt: source package, first", first, fmt.Sprintf(record, "src:linux", "release a=stable", 900), 1},
		{"apt: HWE meta package, first", first, fmt.Sprintf(record, "linux-generic-hwe-24.04", "origin \"\"", 900), 1},
		{"apt: one kernel, first", first, fmt.Sprintf(record, "linux-image-6.1.0-56-amd64", "version *", 900), 1},
		{"apt: all packages, first", first, fmt.Sprintf(record, "*", "release a=stable", 900), 0},
		{"apt: other packages, first", first, fmt.Sprintf(record, "linux-libc-dev linux-base nvidia-* *-dev", "version *", 900), 0},
		{"apt: version above, first", first, fmt.Sprintf(record, "linux-image-*", "version 7.2.*", 900), 0},
		{"apt: forbidden altogether, first", first, fmt.Sprintf(record, "linux-image-*", "release *", -1), 0},
		{"apt: file that apt does not read", "etc/apt/preferences.d/00-a.bak", fmt.Sprintf(record, "linux-image-*", "version 6.1.*", 1001), 0},
		{"dnf: versionlock below", "etc/dnf/plugins/versionlock.list", "# c\nbash-0:5.2-1.*\nkernel-core-0:6.12.5-300.fc41.*\n", 3},
		{"dnf: versionlock, old form", "etc/yum/pluginconf.d/versionlock.list", "0:kernel-3.10.0-1160.el7.*\n", 1},
		{"dnf: versionlock above", "etc/dnf/plugins/versionlock.list", "kernel-core-0:7.0.8-300.fc45.*\n", 0},
		{"dnf: versionlock below and above", "etc/dnf/plugins/versionlock.list", "kernel-core-0:6.0.8-300.fc45.*\nkernel-core-0:7.0.8-300.fc45.*\n", 0},
		{"dnf: versionlock excludes one", "etc/dnf/plugins/versionlock.list", "!kernel-core-0:6.0.8-300.fc45.*\n", 0},
		{"dnf5: versionlock below", "etc/dnf/versionlock.toml", fmt.Sprintf(lock, "=", "0:6.12.5-300.fc41"), 5},
		{"dnf5: versionlock only below", "etc/dnf/versionlock.toml", fmt.Sprintf(lock, "<", "7.0.6"), 5},
		{"dnf5: versionlock from below", "etc/dnf/versionlock.toml", fmt.Sprintf(lock, ">=", "6.12"), 0},
		{"dnf: excludes are off", "etc/dnf/dnf.conf", "[main]\nbest=1\ndisable_excludes=all\n", 3},
		{"dnf: line that continues nothing", "etc/dnf/dnf.conf", "[main]\n  foo\n", 2},
		{"dnf: list twice", "etc/dnf/dnf.conf", "[main]\nexcludepkgs=a\nexcludepkgs=b\n", 3},
		{"apk: exact version below", "etc/apk/world", "bash\nlinux-lts=6.12.5-r0\n", 2},
		{"apk: branch below", "etc/apk/world", "linux-virt~6.12\n", 1},
		{"apk: upper bound", "etc/apk/world", "linux-lts@edge<7\n", 1},
		{"apk: upper bound above", "etc/apk/world", "linux-lts<8\n", 0},
		{"apk: another package", "etc/apk/world", "linux-pam=1.5\nlinux-firmware=20260101\n", 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			files := machine()
			files[c.path] = c.text
			tree, _ := treeOf(t, files)
			r := plan(t, tree, floorOf(t, "7.0.6"), nil)
			switch {
			case c.line == 0 && len(r.Refusals) > 0:
				t.Errorf("refused: %v", r.Refusals)
			case c.line > 0 && (len(r.Refusals) != 1 || r.Refusals[0].Line != c.line || r.Refusals[0].Path != "/"+c.path):
				t.Errorf("refusals are %v, want one at /%s:%d", r.Refusals, c.path, c.line)
			}
			if none := plan(t, tree, pin.Want{Mode: pin.None}, nil); len(none.Refusals)+len(none.Files) > 0 {
				t.Errorf("without a pin there is to do: %v", none)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	cases := []struct {
		name, path, text, want string
	}{
		{"kernel on hold", "var/lib/dpkg/status", "Package: linux-image-amd64\nStatus: hold ok installed\n\nPackage: bash\nStatus: hold ok installed\n", "on hold, so no update of the kernel comes, and no fix: linux-image-amd64"},
		{"dkms source", "usr/src/nvidia-590.48/dkms.conf", "PACKAGE_NAME=nvidia\n", "modules from DKMS: nvidia-590.48: every kernel in 7.0.6 and later needs them built"},
		{"dkms state", "var/lib/dkms/zfs/2.3/source", "", "modules from DKMS: zfs"},
		{"kernel excluded", "etc/dnf/dnf.conf", "[main]\nexcludepkgs=kernel*\n", "/etc/dnf/dnf.conf:2: kernel* is excluded whatever its version"},
		{"kernel locked", "etc/zypp/locks", "\ntype: package\nmatch_type: glob\ncase_sensitive: on\nsolvable_name: kernel-default\n\n", "/etc/zypp/locks:2: kernel-default is locked whatever its version"},
		{"kernel ignored", "etc/pacman.conf", "[options]\nIgnorePkg = linux\n", "IgnorePkg names the kernel"},
		{"ostree", "usr/bin/rpm-ostree", "", "the kernel comes with the commit of the system"},
		{"kernel forbidden", "etc/apt/preferences.d/x", "Package: linux-image-*\nPin: release *\nPin-Priority: -1\n", "/etc/apt/preferences.d/x:1: linux-image-* is pinned to release * with priority -1: kernels that the pin allows may not be installed"},
	}
	for _, c := range cases {
		files := machine()
		has := func(files map[string]string) bool {
			tree, _ := treeOf(t, files)
			return slices.ContainsFunc(plan(t, tree, floorOf(t, "7.0.6"), nil).Warnings, func(w string) bool { return strings.Contains(w, c.want) })
		}
		if has(files) {
			t.Errorf("%s: warned without a cause: %s", c.name, c.want)
		}
		files[c.path] = c.text
		if !has(files) {
			t.Errorf("%s: no warning with %q", c.name, c.want)
		}
	}
}

func TestNoPackageManager(t *testing.T) {
	tree, _ := treeOf(t, map[string]string{"etc/hostname": "x\n"})
	r := plan(t, tree, floorOf(t, "7.0.6"), nil)
	if len(r.Managers)+len(r.Files)+len(r.Refusals) > 0 || len(r.Warnings) != 1 {
		t.Errorf("result is %+v, want one warning and nothing else", r)
	}
}

// TestFollowsLinksInsideTheTree: /etc/yum.conf is a link to dnf.conf, and absolute links
// are those of the tree.
func TestFollowsLinksInsideTheTree(t *testing.T) {
	tree, dir := treeOf(t, map[string]string{"usr/etc/dnf.conf": "[main]\n", "etc/dnf/": ""})
	must(t, os.Symlink("/usr/etc/dnf.conf", filepath.Join(dir, "etc/dnf/dnf.conf")))
	must(t, os.Symlink("dnf/dnf.conf", filepath.Join(dir, "etc/yum.conf")))
	r := plan(t, tree, floorOf(t, "7.0.6"), nil)
	if len(r.Files) != 1 || r.Files[0].Path != "/usr/etc/dnf.conf" || r.Files[0].Added == "" {
		t.Fatalf("files are %+v, want /usr/etc/dnf.conf alone", r.Files)
	}
	write(t, dir, r.Files)
	write(t, dir, mustRemove(t, tree, added(r.Files)))
	if data, err := rootfs.ReadFile(tree, "/etc/yum.conf", 100); err != nil || string(data) != "[main]\n" {
		t.Errorf("after removal dnf.conf is %q (%v), want what it was", data, err)
	}
}

func TestTooLarge(t *testing.T) {
	files := machine()
	files["etc/apk/world"] = strings.Repeat("linux-lts\n", 1<<19)
	tree, _ := treeOf(t, files)
	if _, err := pin.Plan(tree, floorOf(t, "7.0.6"), nil); err == nil || !strings.Contains(err.Error(), "limit is") {
		t.Errorf("error is %v, want one about the limit", err)
	}
}
