package imgtest

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Newest is the kernel name that stands for the newest kernel of an image. Debian
// testing moves on; tests that need some kernel above the floor ask for this one.
const Newest = "newest"

// DebianImage is a disk image made by testdata/boot/mkimage, in its cache. Its files
// are shared by all tests and must not be written.
type DebianImage struct {
	Dir     string
	Disk    string   // raw; GPT with an ESP and an ext4 root as second partition; /boot may be a third
	Kernels []string // releases, oldest first
}

// MakeImage returns the image called name (the script lists them), and makes it first
// if it is not in the cache; that takes a minute or two, mmdebstrap, a network and
// root or sudo. What the making says goes to log.
func MakeImage(ctx context.Context, name string, log io.Writer) (DebianImage, error) {
	root, err := moduleRoot()
	if err != nil {
		return DebianImage{}, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(root, "testdata/boot/mkimage"), name)
	cmd.Stderr = log
	out, err := cmd.Output()
	if err != nil {
		return DebianImage{}, fmt.Errorf("cannot make the %s image: %w", name, err)
	}
	return openImage(strings.TrimSuffix(string(out), "\n"))
}

func openImage(dir string) (DebianImage, error) {
	list, err := os.ReadFile(filepath.Join(dir, "kernels"))
	if err != nil {
		return DebianImage{}, err
	}
	d := DebianImage{Dir: dir, Disk: filepath.Join(dir, "disk.raw"), Kernels: strings.Fields(string(list))}
	if len(d.Kernels) == 0 {
		return DebianImage{}, fmt.Errorf("%s lists no kernel", filepath.Join(dir, "kernels"))
	}
	return d, nil
}

// Kernel returns the file names of a kernel of the image and of its initramfs. It is
// asked for by the first numbers of its release ("6.1"), or as [Newest].
func (d DebianImage) Kernel(want string) (vmlinuz, initrd string, err error) {
	for i, release := range d.Kernels {
		if want == Newest && i == len(d.Kernels)-1 || release == want || strings.HasPrefix(release, want+".") {
			return filepath.Join(d.Dir, "vmlinuz-"+release), filepath.Join(d.Dir, "initrd-"+release), nil
		}
	}
	return "", "", fmt.Errorf("image has no kernel %q, only %s", want, strings.Join(d.Kernels, ", "))
}

// moduleRoot finds the directory of go.mod at or above the working directory, which
// in a test is the directory of its package.
func moduleRoot() (string, error) {
	at, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := at; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod at or above %s", at)
		}
	}
}
