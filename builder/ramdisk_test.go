package builder_test

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/u-root/u-root/pkg/cpio"

	"github.com/kerngate/kerngate/builder"
)

// ramdiskOf is an initramfs image with one file.
func ramdiskOf(t *testing.T, name string) string {
	t.Helper()
	var b bytes.Buffer
	w := cpio.Newc.Writer(&b)
	if err := cpio.WriteRecords(w, []cpio.Record{cpio.StaticFile(name, "content", 0o644)}); err != nil {
		t.Fatal(err)
	}
	if err := cpio.WriteTrailer(w); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// planWith plans for a root with more files in it.
func planWith(t *testing.T, files map[string]string) *builder.Plan {
	t.Helper()
	plan, err := builder.NewPlan(treeWith(t, files), request(t, "", "").Profile, "kerngate test", stubChecker)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestInitramfsImagesAreFound(t *testing.T) {
	places := []string{
		"/boot/initrd.img-1", "/boot/initramfs-linux.img", "/boot/booster-linux.img", "/boot/INITRD.IMG", "/boot/firmware/initramfs8", "/boot/efi/initrd.img",
		"/boot/ostree/debian-0/initramfs-1.img", "/boot/0123/7.2.12/initrd", "/boot/efi/0123/7.2.12/initrd", "/efi/initrd", "/efi/EFI/initrd.img", "/efi/0123/7.2.12/initrd",
		"/usr/lib/modules/" + release + "/initramfs.img", "/var/lib/kdump/initrd.img-" + release,
	}
	files := map[string]string{"boot/notes.img": "no image", "boot/vmlinuz-1": "MZ"}
	for _, name := range places {
		files[strings.TrimPrefix(name, "/")] = ramdiskOf(t, "init")
	}
	plan := planWith(t, files)
	for _, name := range places {
		if !slices.ContainsFunc(plan.Changes, func(c builder.Change) bool { return c.Path == name }) {
			t.Errorf("%s gets no block", name)
		}
	}
	for _, name := range []string{"boot/notes.img", "boot/vmlinuz-1"} {
		if slices.ContainsFunc(plan.Changes, func(c builder.Change) bool { return c.Path == filepath.Join("/", name) }) {
			t.Errorf("%s gets a block, and is no initramfs", name)
		}
	}
}

func TestInitramfsImagesThatCannotBeSeenInto(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"not in the image", map[string]string{"boot/grub/grub.cfg": "linux /vmlinuz-1\ninitrd /elsewhere/a.img /elsewhere/b.img\n"},
			"/boot/grub/grub.cfg:1: its initramfs /elsewhere/b.img is not in the image"},
		{"modules in a squashfs", map[string]string{"boot/initramfs-1kdump.img": ramdiskOf(t, "squashfs-root.img")},
			"/boot/initramfs-1kdump.img: modules in the file system /squashfs-root.img inside it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan := planWith(t, c.files)
			if !slices.ContainsFunc(plan.Warnings, func(w string) bool { return strings.HasPrefix(w, c.want) }) {
				t.Errorf("warnings are %q, want one that begins with %q", plan.Warnings, c.want)
			}
		})
	}
}
