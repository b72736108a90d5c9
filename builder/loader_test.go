package builder_test

import (
	"slices"
	"testing"

	"github.com/kerngate/kerngate/builder"
	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/profiles"
)

// treeWith is a root with more files in it.
func treeWith(t *testing.T, files map[string]string) rootfs.Tree {
	t.Helper()
	dir := newRoot(t)
	if err := imgtest.WriteFiles(dir, 0o644, files); err != nil {
		t.Fatal(err)
	}
	return imgtest.OpenDir(t, dir)
}

// TestBusyboxIsAsked holds that a load path is judged by the modprobe that the tree has:
// busybox knows no install lines, and takes no line for a dependency.
func TestBusyboxIsAsked(t *testing.T) {
	p := request(t, "", "").Profile
	for i := range p.Modules {
		p.Modules[i].Block = []profiles.Block{profiles.BlockModprobe}
	}
	const dir = "usr/lib/modules/" + release + "/"
	const deps = "kernel/crypto/algif_aead.ko: kernel/crypto/af_alg.ko\nkernel/crypto/af_alg.ko:\n"
	for _, c := range []struct{ name, modprobe, want string }{
		{"kmod", "-> ../bin/kmod", "closed"},
		{"busybox", "-> ../bin/busybox", "open"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := treeWith(t, map[string]string{"usr/bin/kmod": "", "usr/bin/busybox": "", "usr/sbin/modprobe": c.modprobe,
				"etc/modprobe.d/a.conf": "install af_alg /bin/false\n", dir + "modules.dep": deps, dir + "kernel/crypto/algif_aead.ko": "x", dir + "kernel/crypto/af_alg.ko": "x"})
			v, err := builder.Verify(tree, p, "kerngate test", stubChecker)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(v.LoadPaths, func(l builder.LoadPath) bool { return l.Module == "af_alg" && l.Path == "dependency" })
			if i < 0 || v.LoadPaths[i].State != c.want {
				t.Errorf("load paths are %+v, want that of a dependency %s", v.LoadPaths, c.want)
			}
		})
	}
}

// TestRemovalFindsHiddenFiles holds that a removed module has no file left that the next
// depmod would bring back.
func TestRemovalFindsHiddenFiles(t *testing.T) {
	p := request(t, "", "").Profile
	for i := range p.Modules {
		p.Modules[i].Remove = p.Modules[i].Name == "algif_aead"
	}
	const dir = "usr/lib/modules/" + release + "/"
	tree := treeWith(t, map[string]string{dir + "updates/algif-aead.ko": "", dir + "kernel/crypto/algif_aead.ko.xz": "", dir + "kernel/crypto/algif_aead_x.ko": "",
		dir + "modules.dep": "updates/algif-aead.ko:\n"})
	plan, err := builder.NewPlan(tree, p, "kerngate test", stubChecker)
	if err != nil {
		t.Fatal(err)
	}
	var removed []string
	for _, c := range plan.Changes {
		if c.Op == rootfs.Remove {
			removed = append(removed, c.Path)
		}
	}
	want := []string{"/" + dir + "kernel/crypto/algif_aead.ko.xz", "/" + dir + "updates/algif-aead.ko"}
	if !slices.Equal(removed, want) {
		t.Errorf("removed %q, want %q", removed, want)
	}
}
