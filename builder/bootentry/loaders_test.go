package bootentry_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/bootentry"
)

// TestInitrdsAreFound holds which files an entry is found to start its kernel with.
func TestInitrdsAreFound(t *testing.T) {
	const menu = "menuentry X {\n linux /boot/vmlinuz-6.1 root=/dev/vda1\n %s\n}\n"
	for _, test := range []struct {
		name string
		tree memory
		want string
	}{
		{"two files", memory{"/boot/grub/grub.cfg": fmt.Appendf(nil, menu, "initrd /boot/a.img /boot/b.img")}, "/boot/a.img /boot/b.img"},
		{"a variable that the linux line does not name", memory{"/live/odd.img": nil, "/boot/grub/grub.cfg": fmt.Appendf(nil, "set d=/live\n"+menu, "initrd $d/odd.img")}, "/live/odd.img"},
		{"files in a variable", memory{"/a.img": nil, "/b.img": nil, "/boot/grub/grub.cfg": fmt.Appendf(nil, "set all='/a.img /b.img'\n"+menu, "initrd $all")}, "/a.img /b.img"},
		{"either of two values", memory{"/a/i": nil, "/b/i": nil, "/boot/grub/grub.cfg": fmt.Appendf(nil, "if x; then\nset d=/a\nelse\nset d=/b\nfi\n"+menu, "initrd $d/i")}, "/a/i /b/i"},
		{"a variable that is not set", memory{"/boot/grub/grub.cfg": fmt.Appendf(nil, menu, "initrd /boot/a.img $more")}, "/boot/a.img"},
		{"nothing there", memory{"/boot/grub/grub.cfg": fmt.Appendf(nil, "set d=/live\n"+menu, "initrd $d/odd.img")}, "/live/odd.img"},
		{"tuned's variable", memory{"/boot/initramfs-1.img": nil, "/boot/loader/entries/a.conf": []byte("linux /vmlinuz-1\ninitrd /initramfs-1.img $tuned_initrd\noptions ro\n")}, "/boot/initramfs-1.img"},
		{"tuned's variable, set", memory{"/boot/initramfs-1.img": nil, "/boot/tuned.img": nil, "/boot/grub2/grubenv": []byte("# GRUB Environment Block\ntuned_initrd=/tuned.img\n####"),
			"/boot/loader/entries/a.conf": []byte("linux /vmlinuz-1\ninitrd /initramfs-1.img $tuned_initrd\noptions ro\n")}, "/boot/initramfs-1.img /boot/tuned.img"},
		{"a blank in a name", memory{"/boot/my initrd": nil, "/boot/loader/entries/a.conf": []byte("linux /vmlinuz-1\ninitrd /my initrd\noptions ro\n")}, "/boot/my initrd"},
		{"an argument", memory{"/efi/odd.img": nil, "/efi/loader/entries/a.conf": []byte("linux /vmlinuz-1\noptions ro initrd=\\odd.img\n")}, "/efi/odd.img"},
		{"an argument with an address", memory{"/efi/loader/entries/a.conf": []byte("linux /vmlinuz-1\noptions ro initrd=0x8000,1M\n")}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := read(t, test.tree)
			if len(c.Entries) != 1 || len(c.Problems) != 0 {
				t.Fatalf("entries are %v, problems %v, want one entry", c.Entries, c.Problems)
			}
			if got := strings.Join(c.Entries[0].Initrds, " "); got != test.want {
				t.Errorf("initramfs images are %q, want %q", got, test.want)
			}
		})
	}
}

// TestOtherLoaders holds that no way to start a kernel is passed over in silence.
func TestOtherLoaders(t *testing.T) {
	image := makeUKI(t, osrel(), cmdline("quiet"), linux())
	script := func(lines string) memory { return memory{"/boot/grub/grub.cfg": []byte(lines + "\n")} }
	beside := func(m memory, name string, data []byte) memory { m[name] = data; return m }
	for _, test := range []struct {
		name    string
		tree    memory
		paths   string // of entries that a splice changes
		problem string
	}{
		{"Xen on arm64", script("xen_hypervisor /xen.gz\nxen_module /vmlinuz-1 quiet"), "/boot/grub/grub.cfg", ""},
		{"Xen, kernel with an option", script("multiboot2 /xen.gz\nmodule2 --nounzip /vmlinuz-1 quiet"), "/boot/grub/grub.cfg", ""},
		{"Xen, kernel in a variable", script("set k=/vmlinuz-1\nmultiboot2 /xen.gz\nmodule2 $k quiet"), "/boot/grub/grub.cfg", ""},
		{"Xen's initramfs", script("multiboot2 /xen.gz\nmodule2 --nounzip /initrd.img-1"), "", ""},
		{"another system", script("chainloader +1"), "", ""},
		{"another system by force", script("chainloader --force (hd0,1)/EFI/x.efi"), "", ""},
		{"a kernel as a program", script("chainloader /boot/vmlinuz-1 root=/dev/vda1"), "", "line 1: chainloader gives arguments"},
		{"an EFI shell", memory{"/boot/efi/STARTUP.NSH": []byte("\\vmlinuz.efi root=/dev/vda1 initrd=\\i\n")}, "", "from an EFI shell"},
		{"an EFI shell that starts GRUB", memory{"/boot/efi/startup.nsh": []byte("\\EFI\\debian\\grubx64.efi\n")}, "", ""},
		{"what goes into grub.cfg as it is", memory{"/etc/grub.d/40_custom": []byte("#!/bin/sh\nexec tail -n +3 $0\n# own\nmenuentry X {\n linux /vmlinuz-1 quiet\n}\n"),
			"/etc/grub.d/10_linux": []byte("#!/bin/sh\necho \"linux $1\"\n")}, "/etc/grub.d/40_custom", ""},
		{"what grub-mkconfig passes over", memory{"/etc/grub.d/.40_custom": []byte("exec tail -n +3 $0\nlinux /v\n"), "/etc/grub.d/40_custom~": []byte("exec tail -n +3 $0\nlinux /v\n"),
			"/etc/grub.d/40_custom.dpkg-old": []byte("exec tail -n +3 $0\nlinux /v\n")}, "", ""},
		{"a unified image in an odd place", beside(script("chainloader /images/a.efi"), "/images/a.efi", image), "/images/a.efi", ""},
		{"a unified image of an entry", memory{"/efi/loader/entries/a.conf": []byte("title A\nuki /odd/a.efi\n"), "/efi/odd/a.efi": image}, "/efi/odd/a.efi", ""},
		{"a unified image of an entry, in its place", memory{"/efi/loader/entries/a.conf": []byte("title A\nefi /EFI/Linux/a.efi\n"), "/efi/EFI/Linux/a.efi": image}, "/efi/EFI/Linux/a.efi", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := read(t, test.tree)
			edits, refusals := splice(t, c, want)
			var paths []string
			for _, e := range edits {
				paths = append(paths, e.Path)
			}
			if got := strings.Join(paths, " "); got != test.paths || len(refusals) > 0 {
				t.Errorf("changed %q, refused %v, want %q", got, refusals, test.paths)
			}
			found := slices.ContainsFunc(c.Problems, func(p bootentry.Problem) bool { return strings.Contains(p.Why, test.problem) })
			if found != (test.problem != "") {
				t.Errorf("problems are %v, want %q", c.Problems, test.problem)
			}
		})
	}
}

// TestFilesReadAfterOurs holds that our file beside a template is not thought to be the
// last where it is not.
func TestFilesReadAfterOurs(t *testing.T) {
	grub := func(last string) memory {
		return memory{"/usr/sbin/grub-mkconfig": []byte("for x in /etc/default/grub.d/*.cfg; do . $x; done\n"), "/etc/default/grub": []byte("GRUB_CMDLINE_LINUX=a\n"),
			"/etc/default/grub.d/zzz.cfg": []byte(last + "\n")}
	}
	for _, test := range []struct {
		name    string
		tree    memory
		refused string // file that the hint names
	}{
		{"sets something else", grub("GRUB_TIMEOUT=1"), ""},
		{"adds to it", grub(`GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX b"`), ""},
		{"sets it anew", grub("GRUB_CMDLINE_LINUX=quiet"), "/etc/default/grub.d/zzz.cfg"},
		{"adds a list that wins", grub(`GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX module_blacklist=b"`), "/etc/default/grub.d/zzz.cfg"},
		{"mkinitcpio", memory{"/etc/mkinitcpio.conf": nil, "/etc/cmdline.d/a.conf": []byte("root=a\n"), "/etc/cmdline.d/zzz.conf": []byte("module_blacklist=b\n")}, "/etc/cmdline.d/zzz.conf"},
		{"mkinitcpio, something else", memory{"/etc/mkinitcpio.conf": nil, "/etc/cmdline.d/zzz.conf": []byte("quiet\n")}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, refusals := splice(t, read(t, test.tree), want)
			if (len(refusals) > 0) != (test.refused != "") || (len(refusals) > 0 && !strings.HasPrefix(refusals[0].Hint, test.refused+" is read after it")) {
				t.Errorf("refusals are %+v, want one that names %q", refusals, test.refused)
			}
		})
	}
}
