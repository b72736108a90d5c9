package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// Generator is the program that wrote an image.
type Generator string

// Generators that leave traces in what they write.
const (
	InitramfsTools Generator = "initramfs-tools"
	Dracut         Generator = "dracut"
	Mkinitcpio     Generator = "mkinitcpio"
	Booster        Generator = "booster"
	Unknown        Generator = "unknown"
)

// Loader is the program that loads modules by name.
type Loader string

// Loaders.
const (
	Kmod     Loader = "kmod"
	Busybox  Loader = "busybox"
	NoLoader Loader = "none"    // no modprobe: an init that loads modules itself, or nothing does
	Other    Loader = "unknown" // a modprobe that is neither
)

// Module is one module file.
type Module struct {
	Path    string // literal, in the merged view
	Name    string // with underscores
	Release string // of the kernel it is for; empty where the path does not tell
	Size    int64  // bytes, links followed; one of no bytes cannot be loaded
}

// Facts are what an image says of the loading of modules.
type Facts struct {
	Releases  []string // of kernels, by lib/modules/REL, sorted
	Modules   []Module // by path
	Modprobe  Loader
	Config    []string // modprobe.d files, literal paths, sorted
	Generator Generator
	Microcode bool // an early archive updates the processor's microcode
}

// Facts looks for what matters in the merged view.
func (img *Image) Facts() (Facts, error) { return img.Tree().facts() }

func (t *Tree) facts() (Facts, error) {
	f := Facts{Generator: t.generator(), Microcode: t.has("/kernel/x86/microcode")}
	releases := map[string]bool{}
	err := t.walk(func(name string, n *node) {
		dir, base := path.Split(name)
		dir = path.Clean(dir)
		if path.Base(dir) == "modules" && path.Base(path.Dir(dir)) == "lib" && n.mode.IsDir() {
			releases[base] = true
		}
		if path.Base(dir) == "modprobe.d" && !n.mode.IsDir() && strings.HasSuffix(base, ".conf") {
			f.Config = append(f.Config, name)
		}
		if module, ok := moduleName(base); ok && !n.mode.IsDir() {
			f.Modules = append(f.Modules, Module{Path: name, Name: module, Release: releaseOf(name), Size: t.sizeOf(name)})
		}
	})
	if err != nil {
		return Facts{}, err
	}
	for release := range releases {
		f.Releases = append(f.Releases, release)
	}
	slices.Sort(f.Releases)
	f.Modprobe, err = t.loader()
	return f, err
}

// walk calls back for every name but the root, sorted within each directory.
func (t *Tree) walk(visit func(name string, n *node)) error {
	type place struct {
		name string
		n    *node
	}
	for todo := []place{{"/", t.view.root}}; len(todo) > 0; {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if at.name != "/" {
			visit(at.name, at.n)
		}
		if len(at.name) > maxPath {
			return fmt.Errorf("initramfs: directories are nested over %d bytes of names: %w", maxPath, ErrLimit)
		}
		for _, base := range slices.Backward(slices.Sorted(maps.Keys(at.n.children))) {
			todo = append(todo, place{path.Join(at.name, base), at.n.children[base]})
		}
	}
	return nil
}

// moduleName takes a file name for a module's: NAME.ko, and compressed.
func moduleName(base string) (string, bool) {
	for _, suffix := range []string{".ko", ".ko.gz", ".ko.xz", ".ko.zst"} {
		if name, ok := strings.CutSuffix(base, suffix); ok && name != "" {
			return strings.ReplaceAll(name, "-", "_"), true
		}
	}
	return "", false
}

// releaseOf is REL of lib/modules/REL/....
func releaseOf(name string) string {
	_, rest, found := strings.Cut(name, "/lib/modules/")
	release, _, below := strings.Cut(rest, "/")
	if !found || !below {
		return ""
	}
	return release
}

// sizeOf is the size of the file that a name leads to; a link to nothing has none.
func (t *Tree) sizeOf(name string) int64 {
	info, err := rootfs.Stat(t, name)
	if err != nil || !info.Mode.IsRegular() {
		return 0
	}
	return info.Size
}

func (t *Tree) has(name string) bool {
	found, err := rootfs.Exists(t, name)
	return err == nil && found
}

// generator tells who wrote the image by files that only one of them puts there.
func (t *Tree) generator() Generator {
	switch {
	case t.has("/conf/initramfs.conf") && t.has("/scripts/functions"):
		return InitramfsTools
	case t.has("/usr/lib/dracut") || t.has("/lib/dracut"):
		return Dracut
	case t.has("/init_functions") && t.has("/config"):
		return Mkinitcpio
	case t.has("/etc/booster.init.yaml"):
		return Booster
	}
	return Unknown
}

// loader finds out what the kernel's and everybody's modprobe is: by the name that a
// link ends in, else by words in the program.
func (t *Tree) loader() (Loader, error) {
	for _, name := range []string{"/sbin/modprobe", "/usr/sbin/modprobe", "/bin/modprobe", "/usr/bin/modprobe"} {
		literal, err := rootfs.Resolve(t, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("cannot find modprobe: %w", err)
		}
		switch base := path.Base(literal); {
		case base == "kmod":
			return Kmod, nil
		case strings.HasPrefix(base, "busybox"):
			return Busybox, nil
		}
		program, err := rootfs.ReadFile(t, literal, maxReadFile)
		if err != nil {
			return "", fmt.Errorf("cannot read modprobe: %w", err)
		}
		switch {
		case bytes.Contains(program, []byte("BusyBox v")):
			return Busybox, nil
		case bytes.Contains(program, []byte("kmod_module_")) || bytes.Contains(program, []byte("kmod version")):
			return Kmod, nil
		}
		return Other, nil
	}
	return NoLoader, nil
}
