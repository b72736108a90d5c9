package imgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
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
	dir := strings.TrimSuffix(string(out), "\n")
	if err := keepImages(dir, time.Now()); err != nil {
		fmt.Fprintf(log, "the cache of images stays as it is: %v\n", err)
	}
	return openImage(dir)
}

// unused is how long an image of another recipe is kept after its last use: it has half a
// gigabyte and is made again in two minutes, and somebody may work on two branches. No test
// runs for as long.
const unused = 48 * time.Hour

// keepImages notes that the image in dir is used now, and removes those of the same name
// and another recipe that nobody uses any more, and what a build of one left when killed.
func keepImages(dir string, now time.Time) error {
	if err := os.Chtimes(dir, time.Time{}, now); err != nil {
		return err
	}
	name := imageDir.FindStringSubmatch(filepath.Base(dir))
	if name == nil {
		return fmt.Errorf("%s is not called NAME-RECIPE", dir)
	}
	cache := filepath.Dir(dir)
	entries, err := os.ReadDir(cache)
	if err != nil {
		return err
	}
	for _, e := range entries {
		other := imageDir.FindStringSubmatch(e.Name())
		if other == nil || other[1] != name[1] || e.Name() == filepath.Base(dir) || !e.IsDir() {
			continue
		}
		info, err := e.Info()
		if err != nil || now.Sub(info.ModTime()) < unused {
			continue // gone already, or still wanted
		}
		if err := removeImage(filepath.Join(cache, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// imageDir is NAME-RECIPE, with what mktemp adds while it is being made.
var imageDir = regexp.MustCompile(`^(.+)-[0-9a-f]{16}(\.\w+)?$`)

// removeImage takes the name away first: nobody finds half an image under it.
func removeImage(dir string) error {
	away, err := os.MkdirTemp(filepath.Dir(dir), "removed-")
	if err != nil {
		return err
	}
	if err := os.Rename(dir, filepath.Join(away, "image")); err != nil {
		return errors.Join(err, os.Remove(away))
	}
	return os.RemoveAll(away)
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
