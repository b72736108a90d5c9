package kernel_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/kernel"
	"github.com/kerngate/kerngate/builder/packages"
)

// status is dpkg's stanza of an installed package.
func status(name, version string) string {
	return "Package: " + name + "\nStatus: install ok installed\nArchitecture: amd64\nVersion: " + version + "\n\n"
}

func TestOwner(t *testing.T) {
	const release, info = "6.1.0-56-amd64", "var/lib/dpkg/info/"
	image := bzImage(release + " (x) #1")
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string // package and version
	}{
		{"Debian", map[string]string{
			"var/lib/dpkg/status":                     status("linux-image-"+release, "6.1.192-2") + status("linux-base", "4.9") + status("nvidia", "1"),
			info + "linux-image-" + release + ".list": "/.\n/boot\n/boot/vmlinuz-" + release + "\n/lib/modules/" + release + "\n",
			info + "linux-base.list":                  "/boot\n", info + "nvidia.list": "/lib/modules/" + release + "\n",
		}, "linux-image-" + release + " 6.1.192-2"},
		{"Ubuntu, image and modules apart", map[string]string{
			"var/lib/dpkg/status":                             status("linux-modules-"+release, "6.1.0-56.57") + status("linux-image-"+release, "6.1.0-56.56"),
			info + "linux-modules-" + release + ":amd64.list": "/lib/modules/" + release + "/modules.builtin\n",
			info + "linux-image-" + release + ".list":         "/boot/vmlinuz-" + release + "\n",
		}, "linux-image-" + release + " 6.1.0-56.56"},
		{"modules alone", map[string]string{
			"var/lib/dpkg/status":       status("strange", "3"),
			info + "strange.list":       "/usr/lib/modules/" + release + "/modules.builtin\n",
			"boot/vmlinuz-" + release:   "",
			info + "linux-elsewhere.md": "",
		}, "strange 3"},
		{"modules that came later", map[string]string{
			"var/lib/dpkg/status":                              status("linux-modules-nvidia-"+release, "3"),
			info + "linux-modules-nvidia-" + release + ".list": "/usr/lib/modules/" + release + "\n/usr/lib/modules/" + release + "/nvidia.ko\n",
		}, ""},
		{"a longer name", map[string]string{
			"var/lib/dpkg/status":     status("linux-image", "3"),
			info + "linux-image.list": "/boot/vmlinuz-" + release + "1\n",
		}, ""},
		{"no file lists", map[string]string{"var/lib/dpkg/status": status("linux-image-"+release, "6.1.192-2")}, "linux-image-" + release + " 6.1.192-2"},
		{"apk", map[string]string{
			"boot/vmlinuz-lts":     image,
			"lib/apk/db/installed": "P:busybox\nV:1.37-r0\nF:bin\nR:busybox\n\nP:linux-lts\nV:6.1.192-r0\nF:boot\nR:vmlinuz-lts\nF:lib/modules/" + release + "\nR:modules.builtin\n\nP:other\nV:2\nF:boot\nR:x\n\n",
		}, "linux-lts 6.1.192-r0"},
		{"pacman", map[string]string{
			"var/lib/pacman/local/linux-lts-6.1.192-1/files": "%FILES%\nusr/\nusr/lib/modules/" + release + "/vmlinuz\n", "var/lib/pacman/local/linux-lts-6.1.192-1/desc": "",
			"var/lib/pacman/local/zlib-1.3-2/files": "%FILES%\nusr/lib/libz.so\n",
		}, "linux-lts 6.1.192-1"},
		{"rpm", map[string]string{"var/lib/rpm/rpmdb.sqlite": "x"}, ""},
		{"no packages", map[string]string{"etc/hosts": ""}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := tree(t, installed(c.files, "usr/lib/modules/"+release))
			list, err := kernel.List(d)
			if err != nil || len(list) != 1 {
				t.Fatalf("got %d kernels, %v", len(list), err)
			}
			in, err := packages.List(d)
			if err != nil {
				t.Fatal(err)
			}
			p, err := list[0].Owner(d, in)
			if got := strings.TrimSpace(p.Name + " " + p.Version); got != c.want || (c.want == "") != errors.Is(err, kernel.ErrNoOwner) {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestOwnerRefuses(t *testing.T) {
	const info = "var/lib/dpkg/info/linux-image-6.1.0.list"
	for _, c := range []struct {
		name  string
		files map[string]string
		fault string
	}{
		{"large list", map[string]string{info: strings.Repeat("x", 32<<20+1)}, "size is 33554433 bytes, limits are 33554432"},
		{"long line", map[string]string{info: strings.Repeat("x", 1<<20)}, "token too long"},
		{"list is a directory", map[string]string{info + "/x": ""}, "cannot read the files of package linux-image-6.1.0: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.files["var/lib/dpkg/status"] = status("linux-image-6.1.0", "1")
			d := tree(t, installed(c.files, "usr/lib/modules/6.1.0"))
			list, err := kernel.List(d)
			if err != nil || len(list) != 1 {
				t.Fatalf("got %d kernels, %v", len(list), err)
			}
			in, err := packages.List(d)
			if err != nil {
				t.Fatal(err)
			}
			if p, err := list[0].Owner(d, in); err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("got %+v, %v, want an error with %q", p, err, c.fault)
			}
		})
	}
}
