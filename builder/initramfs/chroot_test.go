package initramfs

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// system is a Debian system in a directory, with a kernel and one generator.
type system struct {
	dir     string
	release string
	command []string // that writes the image anew
}

// systems are what regeneration is tried with. Debian 12 and later differ in how
// initramfs-tools treats modules; dracut is as Fedora has it.
var systems = []struct {
	suite, generator string
	command          []string // RELEASE stands for the kernel's
}{
	{"bookworm", "initramfs-tools", []string{"update-initramfs", "-u", "-k", "RELEASE"}},
	{"forky", "initramfs-tools", []string{"update-initramfs", "-u", "-k", "RELEASE"}},
	{"forky", "dracut", []string{"dracut", "--force", "--no-hostonly", "/boot/initrd.img-RELEASE", "RELEASE"}},
}

// makeSystem unpacks a system that mmdebstrap made, once, into a cache beside the
// images of imgtest.
func makeSystem(t testing.TB, i int) system {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("a chroot needs root")
	}
	s := systems[i]
	options := []string{"--variant=apt", "--format=tar", "--include=" + s.generator + ",linux-image-cloud-amd64,kmod,zstd,xz-utils"}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	recipe := sha256.Sum256([]byte(strings.Join(append(options, s.suite), " ")))
	archive := filepath.Join(cache, "kerngate", "chroots", fmt.Sprintf("%s-%s-%x.tar", s.suite, s.generator, recipe[:8]))
	if _, err := os.Stat(archive); err != nil {
		bootstrap(t, archive, s.suite, options)
	}
	out := system{dir: t.TempDir()}
	filter(t, "tar", nil, "tar", "-x", "-C", out.dir, "--exclude=./dev/*", "-f", archive)
	releases, err := os.ReadDir(filepath.Join(out.dir, "lib/modules"))
	if err != nil || len(releases) != 1 {
		t.Fatalf("kernels in the system: %v, %v, want one", releases, err)
	}
	out.release = releases[0].Name()
	for _, word := range s.command {
		out.command = append(out.command, strings.ReplaceAll(word, "RELEASE", out.release))
	}
	return out
}

// bootstrap runs mmdebstrap with this machine's way to fetch packages.
func bootstrap(t testing.TB, archive, suite string, options []string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(archive), 0o755); err != nil {
		t.Fatal(err)
	}
	var fetch []byte
	for line := range strings.Lines(string(filter(t, "apt", nil, "apt-config", "dump"))) {
		if key, _, _ := strings.Cut(line, " "); strings.HasPrefix(key, "Acquire::Check-") || strings.HasPrefix(key, "Acquire::http") || strings.HasPrefix(key, "Acquire::Retries") {
			fetch = append(fetch, line...)
		}
	}
	conf := filepath.Join(t.TempDir(), "apt.conf")
	if err := os.WriteFile(conf, fetch, 0o644); err != nil {
		t.Fatal(err)
	}
	partial := archive + fmt.Sprintf(".%d", os.Getpid())
	filter(t, "mmdebstrap", nil, append(append([]string{"mmdebstrap", "--aptopt=" + conf}, options...), suite, partial)...)
	if err := os.Rename(partial, archive); err != nil {
		t.Fatal(err)
	}
}

// run runs a command in the system, with what generators expect of a running one.
func (s system) run(t testing.TB, command ...string) string {
	t.Helper()
	// Inside a chroot unshare cannot make the mounts private itself.
	const enter = `{ mount --make-rprivate / 2>/dev/null || :; } && cd "$0" && mount --bind /dev dev && mount -t proc proc proc && exec chroot . "$@"`
	cmd := exec.Command("unshare", append([]string{"--mount", "--propagation", "unchanged", "sh", "-c", enter, s.dir}, command...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s\n%s", strings.Join(command, " "), err, out, &stderr)
	}
	return string(out)
}

func (s system) write(t testing.TB, mode os.FileMode, files map[string]string) {
	t.Helper()
	if err := imgtest.WriteFiles(s.dir, mode, files); err != nil {
		t.Fatal(err)
	}
}

func (s system) tree(t testing.TB) *rootfs.Dir {
	t.Helper()
	return imgtest.OpenDir(t, s.dir)
}

// image reads the initramfs image in the system.
func (s system) image(t testing.TB) *Image {
	t.Helper()
	f, err := os.Open(filepath.Join(s.dir, "boot/initrd.img-"+s.release))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	img, err := Open(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return img
}
