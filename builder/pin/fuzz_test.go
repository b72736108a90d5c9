package pin_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/pin"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// fuzzed are the foreign files that are parsed, each with text that must parse.
var fuzzed = []struct{ path, seed string }{
	{"etc/apt/preferences", "Explanation: x\nPackage: linux-image-* /^linux-/ src:linux:any\n linux-headers-*\nPin: version 6.*\nPin-Priority: 700\n"},
	{"etc/dnf/dnf.conf", "[main]\nexcludepkgs=foo, bar\n  baz\nexclude =\n"},
	{"etc/dnf/versionlock.toml", "version = \"1.0\"\n[[packages]]\nname = \"kernel\"\n[[packages.conditions]]\nkey = \"evr\"\ncomparator = \">=\"\nvalue = \"0:7.0.6-1\"\n"},
	{"etc/dnf/plugins/versionlock.list", "!kernel-6.1-1.*\n0:kernel-7.0.6-1.*\nkernel-core-0:7.0.6-1.*\n"},
	{"etc/zypp/locks", "\ntype: package\nversion: < 7\nmatch_type: glob\ncase_sensitive: on\nsolvable_name: kernel-default\n\n"},
	{"etc/pacman.conf", "[options]\nIgnorePkg = a b\n IgnorePkg=c\n[core]\n"},
	{"etc/apk/world", "linux-lts@edge>=6.12\n!linux-virt\nlinux-edge~7.0\n"},
	{"var/lib/dpkg/status", "Package: linux-image-amd64\nStatus: hold ok installed\nDescription: x\n y\n\n"},
}

// FuzzForeignFile: whatever a file holds, a plan ends, a second one has nothing to do,
// and removal leads back.
func FuzzForeignFile(f *testing.F) {
	for i, x := range fuzzed {
		tree, _ := treeOf(f, map[string]string{x.path: x.seed, "etc/apt/": "", "etc/dnf/dnf.conf.d/": ""})
		if r := plan(f, tree, branchOf(f, "7.0.6"), nil); len(r.Managers) == 0 {
			f.Fatalf("%s: no manager is found", x.path)
		}
		f.Add(uint8(i), []byte(x.seed))
	}
	empty, _ := treeOf(f, map[string]string{"etc/apt/": ""})
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		name := "/" + fuzzed[int(which)%len(fuzzed)].path
		tree := rootfs.NewOverlay(empty)
		tree.Write(name, data)
		w := branchOf(t, "7.0.6")
		r, err := pin.Plan(tree, w, nil)
		if err != nil {
			return
		}
		carryOut(tree, r.Files)
		again, err := pin.Plan(tree, w, added(r.Files))
		if err != nil {
			t.Fatalf("the second plan fails: %v", err)
		}
		if len(r.Refusals) > 0 {
			return // nobody applies it
		}
		if gaps := again.Gaps(); len(gaps) > 0 {
			t.Fatalf("the second plan changes %s: %s", gaps[0].Path, gaps[0].Lacks)
		}
		carryOut(tree, mustRemove(t, tree, added(r.Files)))
		left, err := rootfs.ReadFile(tree, name, 1<<24)
		gone := errors.Is(err, fs.ErrNotExist)
		if err != nil && !gone {
			t.Fatal(err)
		}
		// A last line without a newline got one, and a file of blanks is as good as none.
		got, want := string(left), string(data)
		if got != want && got != want+"\n" && !(gone && strings.TrimSpace(want) == "") {
			t.Fatalf("after removal %s is %q, want %q", name, got, want)
		}
	})
}

func carryOut(tree *rootfs.Overlay, files []pin.File) {
	for _, f := range files {
		if f.Delete {
			tree.Remove(f.Path)
		} else {
			tree.Write(f.Path, f.Data)
		}
	}
}
