package kernel

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/u-root/u-root/pkg/boot/bzimage"

	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/initcheck/kver"
)

// Limits on an image's word of itself.
const (
	maxBanner   = 1 << 10   // the kernel's own buffer for it is smaller
	maxUnpacked = 256 << 20 // bytes of an arm64 Image that are searched; Debian's has some 40 MiB
	maxImages   = 256       // files in /boot that are looked into
)

// imageNames begin the names of kernel images in /boot.
var imageNames = []string{"vmlinuz", "vmlinux", "Image", "kernel"}

// Version is what uname -v of the kernel prints, empty when the image was not read.
func (k Kernel) Version() string {
	_, version, found := strings.Cut(k.Banner, " #")
	if !found {
		return ""
	}
	return "#" + version
}

// bootImage is a kernel image in /boot.
type bootImage struct {
	path   string // literal
	banner string
}

// release is the one that the image says, or else the one that its name does.
func (b bootImage) release() string {
	if b.banner != "" {
		return releaseOf(b.banner)
	}
	_, release, _ := strings.Cut(path.Base(b.path), "-")
	if _, err := kver.Parse(release); err != nil {
		return ""
	}
	return release
}

// findImages looks for the kernels' images where distributions put them: by name, and
// else by what the images in /boot say that they are.
func findImages(t rootfs.Tree, kernels []Kernel) error {
	var lacking []*Kernel
	for i := range kernels {
		if err := kernels[i].findImage(t); err != nil {
			return fmt.Errorf("cannot read the image of kernel %s: %w", kernels[i].Release, err)
		}
		if kernels[i].Image == "" {
			lacking = append(lacking, &kernels[i])
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	images, err := bootImages(t)
	if err != nil {
		return err
	}
	for _, k := range lacking {
		for _, b := range images {
			if b.banner != "" && b.release() == k.Release {
				k.Image, k.Banner, k.ImageRelease = b.path, b.banner, k.Release
			}
		}
	}
	return nil
}

func (k *Kernel) findImage(t rootfs.Tree) error {
	for _, name := range []string{"/boot/vmlinuz-" + k.Release, k.Modules + "/vmlinuz", "/boot/vmlinux-" + k.Release, "/boot/Image-" + k.Release} {
		literal, err := rootfs.Resolve(t, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		k.Image = literal
		k.Banner, err = readBanner(t, literal)
		k.ImageRelease = releaseOf(k.Banner)
		return err
	}
	return nil
}

// bootImages lists the kernel images that lie in /boot itself.
func bootImages(t rootfs.Tree) ([]bootImage, error) {
	dir, entries, err := readDir(t, "/boot")
	if err != nil {
		return nil, err
	}
	var out []bootImage
	for _, e := range entries {
		if !e.Type.IsRegular() || !isImageName(e.Name) {
			continue
		}
		if len(out) == maxImages {
			return nil, fmt.Errorf("%s: more than %d kernel images", dir, maxImages)
		}
		name := path.Join(dir, e.Name)
		banner, err := readBanner(t, name)
		if err != nil {
			return nil, err
		}
		out = append(out, bootImage{name, banner})
	}
	return out, nil
}

// isImageName wants a dash behind the word, or nothing: kernel8.img is of other machines,
// vmlinuz.old a link or a copy.
func isImageName(name string) bool {
	word, _, _ := strings.Cut(name, "-")
	for _, known := range imageNames {
		if word == known {
			return true
		}
	}
	return false
}

// readBanner reads what an image says of itself; nothing where it is of no known form.
func readBanner(t rootfs.Tree, literal string) (string, error) {
	f, err := t.Open(literal)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if version, err := bzimage.KVer(io.NewSectionReader(f, 0, f.Size())); err == nil {
		return printable(version), nil
	}
	return arm64Banner(f), nil
}

// arm64Banner searches an image for the text of /proc/version. An image that is packed is
// unpacked up to there: as a whole, or as the payload of one that unpacks itself.
func arm64Banner(f rootfs.File) string {
	head := make([]byte, 64)
	if _, err := f.ReadAt(head, 0); err != nil {
		return ""
	}
	at, size := int64(0), f.Size()
	switch {
	case string(head[56:60]) == "ARM\x64":
		return searchBanner(io.NewSectionReader(f, 0, size))
	case string(head[:2]) == "MZ" && string(head[4:8]) == "zimg" && string(head[24:29]) == "gzip\x00":
		at, size = int64(binary.LittleEndian.Uint32(head[8:])), int64(binary.LittleEndian.Uint32(head[12:]))
	case head[0] != 0x1f || head[1] != 0x8b:
		return ""
	}
	packed, err := gzip.NewReader(io.NewSectionReader(f, at, size))
	if err != nil {
		return ""
	}
	return searchBanner(packed)
}

// searchBanner finds linux_banner of init/version.c: "Linux version ", the release, who
// built it with what, and the version, up to the end of its line.
func searchBanner(r io.Reader) string {
	in := bufio.NewReaderSize(io.LimitReader(r, maxUnpacked), 1<<16)
	mark := []byte("Linux version ")
	for {
		window, err := in.Peek(in.Size())
		at := bytes.Index(window, mark)
		switch {
		case at < 0 && err != nil:
			return ""
		case at < 0:
			at = len(window) - len(mark)
		case len(window)-at < len(mark)+maxBanner && err == nil && at > 0: // it may go on behind the window
		default:
			text, _, ended := bytes.Cut(window[at+len(mark):], []byte("\n"))
			// There is a form of it too, with %s for the release.
			if banner := printable(string(text)); ended && banner != "" && '0' <= banner[0] && banner[0] <= '9' {
				return banner
			}
			at += len(mark)
		}
		if _, err := in.Discard(at); err != nil {
			return ""
		}
	}
}

// releaseOf gives the release at the front of a banner.
func releaseOf(banner string) string {
	release, _, _ := strings.Cut(banner, " ")
	return release
}

// printable gives a banner, or nothing where it would garble a terminal.
func printable(banner string) string {
	if !isPrintable(banner) || len(banner) > maxBanner {
		return ""
	}
	return banner
}

func isPrintable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
}

// Mismatch is something of the installed kernels that does not fit together.
type Mismatch struct {
	Path string `json:"path"`
	Why  string `json:"why"`
}

// Mismatches finds modules without a kernel image, kernel images without modules, and
// images that are of another release than the modules beside them.
func Mismatches(t rootfs.Tree, kernels []Kernel) ([]Mismatch, error) {
	var out []Mismatch
	known := map[string]bool{}
	for _, k := range kernels {
		known[k.Release], known[k.Image] = true, true
		switch {
		case k.Image == "":
			out = append(out, Mismatch{k.Modules, "it holds modules of kernel " + k.Release + ", whose image is not in the tree"})
		case k.ImageRelease != "" && k.ImageRelease != k.Release:
			out = append(out, Mismatch{k.Image, fmt.Sprintf("it says that it is %s, its modules are those of %s", k.ImageRelease, k.Release)})
		}
	}
	images, err := bootImages(t)
	if err != nil {
		return nil, err
	}
	for _, b := range images {
		if release := b.release(); release != "" && !known[release] && !known[b.path] {
			out = append(out, Mismatch{b.path, "it is kernel " + release + ", whose modules are not in the tree"})
		}
	}
	return out, nil
}
