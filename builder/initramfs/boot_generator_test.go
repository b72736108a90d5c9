//go:build boot

package initramfs

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// asked is configuration of a system that wants modules in its image, by every way a
// generator has; esp4 is blocked and esp6 is not. The hooks are executable.
var asked = map[string]struct{ files, hooks map[string]string }{
	"initramfs-tools": {
		files: map[string]string{"etc/initramfs-tools/modules": "algif_aead\nesp6\n"},
		hooks: map[string]string{"etc/initramfs-tools/hooks/asks": "#!/bin/sh\n[ \"$1\" != prereqs ] || exit 0\n. /usr/share/initramfs-tools/hook-functions\nmanual_add_modules esp4\n"},
	},
	"dracut": {
		files: map[string]string{"etc/dracut.conf.d/10-asks.conf": "add_drivers+=\" algif_aead \"\nforce_drivers+=\" esp4 esp6 \"\nfilesystems+=\" algif_skcipher \"\n"},
	},
}

// TestBootRegenerate has the generators of Debian write images with the block in the
// system. The name is for the tag: it needs root and packages, as boots do.
func TestBootRegenerate(t *testing.T) {
	for i, s := range systems {
		t.Run(s.suite+" "+s.generator, func(t *testing.T) {
			t.Parallel()
			sys := makeSystem(t, i)
			sys.write(t, 0o644, asked[s.generator].files)
			sys.write(t, 0o755, asked[s.generator].hooks)
			sys.run(t, sys.command...)
			blocked := []string{"af_alg", "algif_aead", "esp4"}
			if got := present(t, sys, append(blocked, "esp6")); len(got) != 4 {
				t.Fatalf("before: modules in the image are %q, want all: the test would prove nothing", got)
			}
			files, err := GeneratorFiles(sys.tree(t), "# test\n", blocked)
			if err != nil || len(files) != 1 {
				t.Fatalf("files are %v, %v, want one", files, err)
			}
			const config = "install esp4 /bin/false\n"
			sys.write(t, files[0].Mode, map[string]string{files[0].Path: string(files[0].Data)})
			sys.write(t, 0o644, map[string]string{ConfigPath: config})
			sys.run(t, sys.command...)
			if got := present(t, sys, append(blocked, "esp6")); !slices.Equal(got, []string{"esp6"}) {
				t.Errorf("after: modules in the image are %q, want esp6 alone", got)
			}
			got, err := rootfs.ReadFile(sys.image(t).Tree(), ConfigPath, maxKeptFile)
			if err != nil || string(got) != config {
				t.Errorf("after: %s is %q, %v", ConfigPath, got, err)
			}
		})
	}
}

// present lists which modules are in the image of a system, as we read it; the
// generator's own lister must say the same.
func present(t *testing.T, s system, modules []string) []string {
	t.Helper()
	f := facts(t, s.image(t))
	lister := []string{"lsinitramfs", "/boot/initrd.img-" + s.release}
	if f.Generator == Dracut {
		lister = []string{"lsinitrd", "/boot/initrd.img-" + s.release}
	}
	listed := s.run(t, lister...)
	var out []string
	for _, m := range modules {
		ours := slices.ContainsFunc(f.Modules, func(x Module) bool { return x.Name == m && x.Size > 0 })
		if theirs := strings.Contains(listed, "/"+m+".ko"); ours != theirs {
			t.Errorf("%s in the image: %v, %s says %v", m, ours, lister[0], theirs)
		}
		if ours {
			out = append(out, m)
		}
	}
	return out
}

// TestBootLists has lsinitramfs as the judge of images that Debian made.
func TestBootLists(t *testing.T) {
	images, names := 0, 0
	for _, suite := range []string{"bookworm", "forky"} {
		image := imgtest.Image(t, suite)
		for _, release := range image.Kernels {
			data := readFile(t, filepath.Join(image.Dir, "initrd-"+release))
			var got []string
			for _, e := range open(t, []byte(data)).Entries {
				got = append(got, e.Name)
			}
			if want := strings.Fields(judge(t, []byte(data), "initramfs-tools-core", "lsinitramfs")); !slices.Equal(got, want) || len(want) < 100 {
				t.Errorf("%s %s: got %d names, lsinitramfs lists %d: %q and %q differ", suite, release, len(got), len(want), difference(got, want), difference(want, got))
			}
			images++
			names += len(got)
		}
	}
	t.Logf("%d images, %d names: all agree with lsinitramfs", images, names)
}
