package kernel_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/kernel"
	"github.com/kerngate/kerngate/builder/rootfs"
)

const armBanner = "6.1.0-56-arm64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40) #1 SMP Debian 6.1.192-2 (2026-11-16)"

// arm64Image is as much of an Image as tells its version: the magic at byte 56, and
// linux_banner after the text with which the kernel prints it.
func arm64Image(before int, banner string) string {
	head := make([]byte, 64)
	copy(head, "MZ")
	copy(head[56:], "ARM\x64")
	return string(head) + strings.Repeat("\x00", before) + "Linux version %s (x) #%s\n\x00Linux version " + banner + "\n\x00" + strings.Repeat("\x00", 100)
}

func gzipped(t *testing.T, data string) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write([]byte(data)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// zboot is an EFI program that unpacks itself.
func zboot(packed, method string) string {
	head := make([]byte, 64)
	copy(head, "MZ\x00\x00zimg")
	binary.LittleEndian.PutUint32(head[8:], 64)
	binary.LittleEndian.PutUint32(head[12:], uint32(len(packed)))
	copy(head[24:], method+"\x00")
	return string(head) + packed + "behind"
}

func TestBanner(t *testing.T) {
	const x86 = "6.1.0-56-amd64 (debian-kernel@lists.debian.org) #1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)"
	const version = "#1 SMP Debian 6.1.192-2 (2026-11-16)"
	for _, c := range []struct{ name, image, banner, version string }{
		{"bzImage", bzImage(x86), x86, "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)"},
		{"bzImage without a version", bzImage("6.1.0"), "6.1.0", ""},
		{"Image", arm64Image(0, armBanner), armBanner, version},
		{"text across a window", arm64Image(1<<16-64-60, armBanner), armBanner, version},
		{"text across the next window", arm64Image(1<<17-64-90, armBanner), armBanner, version},
		{"packed", gzipped(t, arm64Image(3<<20, armBanner)), armBanner, version},
		{"unpacks itself", zboot(gzipped(t, arm64Image(1000, armBanner)), "gzip"), armBanner, version},
		{"packed in another way", zboot("x", "zstd22"), "", ""},
		{"payload that is not packed", zboot("x", "gzip"), "", ""},
		{"cut within the text", arm64Image(0, armBanner)[:150], "", ""},
		{"a text without end", arm64Image(0, strings.Repeat("6", 2000)), "", ""},
		{"would garble a terminal", arm64Image(0, "6.1.0 \x1b[2J #1"), "", ""},
		{"no text", strings.Repeat("\x00", 56) + "ARM\x64" + strings.Repeat("\x00", 300_000), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			list, err := kernel.List(tree(t, installed(map[string]string{"boot/vmlinuz-6.1.0": c.image}, "usr/lib/modules/6.1.0")))
			if err != nil || len(list) != 1 {
				t.Fatalf("got %d kernels, %v", len(list), err)
			}
			if got := list[0]; got.Banner != c.banner || got.Version() != c.version {
				t.Errorf("banner is %q, version %q, want %q and %q", got.Banner, got.Version(), c.banner, c.version)
			}
		})
	}
}

// TestImageByItsRelease: Alpine names its images by flavour.
func TestImageByItsRelease(t *testing.T) {
	list, err := kernel.List(tree(t, installed(map[string]string{
		"boot/vmlinuz-lts": bzImage("6.12.1-0-lts (x) #1-Alpine"), "boot/vmlinuz-virt": bzImage("6.12.2-0-virt (x) #1"), "boot/vmlinuz": "-> vmlinuz-lts",
	}, "lib/modules/6.12.1-0-lts")))
	const want = "6.12.1-0-lts modules=/lib/modules/6.12.1-0-lts image=/boot/vmlinuz-lts says=6.12.1-0-lts"
	if err != nil || describe(list) != want {
		t.Errorf("got %s, %v, want %s", describe(list), err, want)
	}
}

func TestMismatches(t *testing.T) {
	const dir = "usr/lib/modules/6.1.0-1-amd64"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"none", installed(map[string]string{"boot/vmlinuz-6.1.0-1-amd64": bzImage("6.1.0-1-amd64 x")}, dir), ""},
		{"image that cannot be read", installed(map[string]string{"boot/vmlinuz-6.1.0-1-amd64": "x"}, dir), ""},
		{"rescue image", installed(map[string]string{"boot/vmlinuz-6.1.0-1-amd64": bzImage("6.1.0-1-amd64 x"), "boot/vmlinuz-0-rescue-57": bzImage("6.1.0-1-amd64 x")}, dir), ""},
		{"no image", installed(map[string]string{}, dir), "/" + dir + ": it holds modules of kernel 6.1.0-1-amd64, whose image is not in the tree"},
		{"another release", installed(map[string]string{"boot/vmlinuz-6.1.0-1-amd64": bzImage("6.1.0-2-amd64 x")}, dir),
			"/boot/vmlinuz-6.1.0-1-amd64: it says that it is 6.1.0-2-amd64, its modules are those of 6.1.0-1-amd64"},
		{"no modules", map[string]string{"boot/vmlinuz-6.1.0-1-amd64": bzImage("6.1.0-1-amd64 x"), "boot/vmlinuz-5.10.0": "x", "boot/vmlinuz-lts": "x", "boot/vmlinuz.old": "x", "boot/initrd.img-6.1.0": "x", "boot/config-6.1.0": "x"},
			"/boot/vmlinuz-5.10.0: it is kernel 5.10.0, whose modules are not in the tree\n/boot/vmlinuz-6.1.0-1-amd64: it is kernel 6.1.0-1-amd64, whose modules are not in the tree"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := tree(t, c.files)
			list, err := kernel.List(d)
			if err != nil {
				t.Fatal(err)
			}
			found, err := kernel.Mismatches(d, list)
			var got []string
			for _, m := range found {
				got = append(got, m.Path+": "+m.Why)
			}
			if err != nil || strings.Join(got, "\n") != c.want {
				t.Errorf("got\n%s\n%v\nwant\n%s", strings.Join(got, "\n"), err, c.want)
			}
		})
	}
}

func TestTooManyImages(t *testing.T) {
	files := map[string]string{}
	for i := range 257 {
		files[fmt.Sprintf("boot/vmlinuz-6.1.%d", i)] = "x"
	}
	if _, err := kernel.Mismatches(tree(t, files), nil); err == nil || !strings.Contains(err.Error(), "more than 256 kernel images") {
		t.Errorf("got %v, want an error of the limit", err)
	}
}

func TestSignature(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"Ubuntu's", "CONFIG_A=y\nCONFIG_VERSION_SIGNATURE=\"Ubuntu 6.8.0-117.117-generic 6.8.12\"\n", "Ubuntu 6.8.0-117.117-generic 6.8.12"},
		{"another's", "CONFIG_A=y\nCONFIG_CC_VERSION_TEXT=\"gcc\"\n", ""},
		{"would garble a terminal", "CONFIG_A=y\nCONFIG_VERSION_SIGNATURE=\"\x1b[2J\"\n", ""},
		{"long", "CONFIG_A=y\nCONFIG_VERSION_SIGNATURE=\"" + strings.Repeat("x", 2000) + "\"\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, config, err := only(t, tree(t, installed(map[string]string{"boot/config-6.1.0": c.text}, "usr/lib/modules/6.1.0")))
			if err != nil || config.Signature != c.want {
				t.Errorf("signature is %q, %v, want %q", config.Signature, err, c.want)
			}
		})
	}
}

// FuzzBanner wants whatever is found to be a printable line.
func FuzzBanner(f *testing.F) {
	for _, seed := range []string{arm64Image(10, armBanner), bzImage("6.1.0 (x) #1 SMP")} {
		f.Add([]byte(seed))
	}
	d := imgtest.Tree(f, 0o644, installed(map[string]string{"boot/keep": ""}, "usr/lib/modules/6.1.0"))
	f.Fuzz(func(t *testing.T, data []byte) {
		over := rootfs.NewOverlay(d)
		over.Write("/boot/vmlinuz-6.1.0", data)
		list, err := kernel.List(over)
		if err != nil || len(list) != 1 {
			t.Fatalf("got %d kernels, %v", len(list), err)
		}
		if strings.ContainsFunc(list[0].Banner, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("banner is %q", list[0].Banner)
		}
	})
}
