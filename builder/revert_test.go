package builder_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder"
	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/profiles"
)

// fixtures are targets of all layouts, by name.
var fixtures = map[string]func(*testing.T) string{
	"smallest tree":                 newRoot,
	"smallest disk":                 newDisk,
	"GRUB, zstd, kmod":              grubRoot,
	"GRUB on a disk":                func(t *testing.T) string { return onDisk(t, grubRoot(t)) },
	"boot entry, gzip, busybox":     blsRoot,
	"ESP, /boot and root on a disk": threeVolumes,
}

func onDisk(t *testing.T, root string) string {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk.raw")
	if err := imgtest.WriteDisk(disk, "gpt", imgtest.Part{FS: "ext4", Dir: root, Size: 32 * imgtest.MiB, Type: "L"}); err != nil {
		t.Fatal(err)
	}
	return disk
}

// dumpTarget writes down what the system of a target would see.
func dumpTarget(t *testing.T, name string) string {
	t.Helper()
	target, err := image.Open(name, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	text, err := rootfs.Dump(target.Tree(), false)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// lineDiff gives the lines that only one of two texts has.
func lineDiff(a, b string) string {
	var out strings.Builder
	for _, pair := range [][3]string{{"- ", a, b}, {"+ ", b, a}} {
		has := map[string]bool{}
		for line := range strings.Lines(pair[2]) {
			has[line] = true
		}
		for line := range strings.Lines(pair[1]) {
			if !has[line] {
				out.WriteString(pair[0] + line)
			}
		}
	}
	return out.String()
}

func load(t *testing.T, name string) profiles.Profile {
	t.Helper()
	p, err := profiles.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func build(t *testing.T, r builder.Request) *builder.Result {
	t.Helper()
	result, err := builder.Apply(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func verify(t *testing.T, r builder.Request) *builder.Verification {
	t.Helper()
	target, err := image.Open(r.Target, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	v, err := builder.Verify(target.Tree(), r.Profile, r.Tool, r.Checker)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestRevertIsTheInverse: apply, then revert, leaves the target as it was: names, content,
// modes, owners, links.
func TestRevertIsTheInverse(t *testing.T) {
	runs := 0
	for name, fixture := range fixtures {
		for _, profile := range profiles.Names() {
			runs++
			t.Run(name+"/"+profile, func(t *testing.T) {
				t.Parallel()
				r := request(t, fixture(t), "")
				r.Profile = load(t, profile)
				before := dumpTarget(t, r.Target)
				if len(build(t, r).Plan.Changes) == 0 {
					t.Fatal("the build changed nothing, so this proves nothing")
				}
				result, err := builder.Revert(t.Context(), r)
				if err != nil {
					t.Fatal(err)
				}
				if last := result.Plan.Changes[len(result.Plan.Changes)-1].Path; !strings.HasPrefix(builder.ManifestPath, last) {
					t.Errorf("last change is at %s, want the manifest or its directories", last)
				}
				if after := dumpTarget(t, r.Target); after != before {
					t.Errorf("the target is not as it was:\n%s", lineDiff(before, after))
				}
				if v := verify(t, r); v.Conforms {
					t.Error("the reverted target conforms")
				}
				if _, err := builder.Revert(t.Context(), r); !errors.As(err, &builder.NotPatchedError{}) {
					t.Errorf("reverted again: %v, want %v", err, builder.NotPatchedError{})
				}
			})
		}
	}
	if runs < 12 {
		t.Errorf("runs are %d, want some for each fixture and profile", runs)
	}
}

// TestRevertAfterProfiles: what several builds put in is taken out at once.
func TestRevertAfterProfiles(t *testing.T) {
	r := request(t, grubRoot(t), "")
	before := dumpTarget(t, r.Target)
	for _, name := range []string{"llm-node", "copy-fail", "dirty-frag"} {
		r.Profile = load(t, name)
		build(t, r)
	}
	if _, err := builder.Revert(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if after := dumpTarget(t, r.Target); after != before {
		t.Errorf("the tree is not as it was:\n%s", lineDiff(before, after))
	}
}

// TestRevertRefuses: what was changed since is not taken out, and then nothing is.
func TestRevertRefuses(t *testing.T) {
	cases := map[string]struct{ file, text, want string }{
		"our modprobe.d file edited": {"etc/modprobe.d/00-kerngate.conf", "# mine now\n", "/etc/modprobe.d/00-kerngate.conf: it is no longer wanted, and was changed since"},
		"the initramfs cut off":      {initramfsPath, "070701", "/" + initramfsPath},
		"a hostile manifest":         {"usr/lib/kerngate/manifest.json", "{}", "schema is 0, want 1"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := request(t, grubRoot(t), "")
			build(t, r)
			if err := os.WriteFile(filepath.Join(r.Target, c.file), []byte(c.text), 0o644); err != nil {
				t.Fatal(err)
			}
			before := dumpTarget(t, r.Target)
			_, err := builder.Revert(t.Context(), r)
			var hinted interface{ Hint() string }
			if err == nil || !strings.Contains(err.Error(), c.want) || !errors.As(err, &hinted) || hinted.Hint() == "" {
				t.Errorf("error is %v, want one with %q and a hint", err, c.want)
			}
			if after := dumpTarget(t, r.Target); after != before {
				t.Errorf("the tree was changed:\n%s", lineDiff(before, after))
			}
		})
	}
}

// TestRevertOfWhatIsGone: what somebody deleted or made anew since is no obstacle.
func TestRevertOfWhatIsGone(t *testing.T) {
	root := grubRoot(t)
	r := request(t, root, "")
	before := dumpTarget(t, root)
	initramfs, err := os.ReadFile(filepath.Join(root, initramfsPath))
	if err != nil {
		t.Fatal(err)
	}
	build(t, r)
	for _, name := range []string{"etc/modprobe.d/00-kerngate.conf", "usr/sbin/initcheck"} {
		if err := os.Remove(filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, root, 0o600, map[string]string{initramfsPath: string(initramfs), "boot/grub/grub.cfg": grubConfig})
	if _, err := builder.Revert(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if after := dumpTarget(t, root); after != before {
		t.Errorf("the tree is not as it was:\n%s", lineDiff(before, after))
	}
}
