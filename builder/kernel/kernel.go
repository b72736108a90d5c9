// Package kernel finds the kernels installed in a tree and says for each what
// became of a module: not built, absent, loadable or built in.
//
// A kernel is a directory under lib/modules with lists of its modules, with its
// image in /boot or, as newer distributions do, beside the modules. The release
// inside an x86 image, and the version beside it, are read from its setup header
// (Documentation/arch/x86/boot.rst, kernel_version); those of an arm64 image from
// the text that /proc/version shows, also where it is packed with gzip
// (Documentation/arch/arm64/booting.rst, drivers/firmware/efi/libstub/zboot.c). Images
// of other architectures, and those packed otherwise, are found but not read.
//
// The package that a kernel came with is looked up in the file lists of dpkg, apk and
// pacman. RPM's are not read: its kernels have the package version in their release.
package kernel

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/initcheck/kver"
)

// Limits on what an image can make us keep.
const (
	maxList    = 8 << 20 // bytes of modules.dep or modules.builtin; the largest distribution kernels have less than 2 MiB
	maxKernels = 256     // real images have a handful
	maxModules = 1 << 20 // of all kernels together; a distribution kernel has some 7000
)

// State is what became of a module in one kernel.
type State string

// The states.
const (
	Absent   State = "absent"    // of the module directory; another package may have it
	NotBuilt State = "not built" // absent, and the kernel's configuration says why
	Loadable State = "loadable"
	BuiltIn  State = "built in"
)

// Kernel is one installed kernel.
type Kernel struct {
	Release      string // name of its module directory, what uname -r prints
	Modules      string // literal path of the module directory
	Image        string // literal path of its image, empty when there is none
	ImageRelease string // release in the image's own header, empty when not read
	Banner       string // all that the image says of itself, the release first; empty when not read

	loadable map[string]bool
	builtIn  map[string]bool
}

// State says what became of a module, without a look at the configuration: see
// [Kernel.StateBy]. Dashes and underscores are alike.
func (k Kernel) State(module string) State {
	name := ModuleName(module)
	switch {
	case k.builtIn[name]:
		return BuiltIn
	case k.loadable[name]:
		return Loadable
	default:
		return Absent
	}
}

// Count gives the number of loadable and of built-in modules.
func (k Kernel) Count() (loadable, builtIn int) { return len(k.loadable), len(k.builtIn) }

// ModuleName turns a path, a file name or a spelling into the name that
// /proc/modules shows: no directory, no .ko suffix, underscores.
func ModuleName(file string) string {
	name := path.Base(file)
	if i := strings.Index(name, ".ko"); i > 0 {
		name = name[:i]
	}
	return strings.ReplaceAll(name, "-", "_")
}

// List finds the kernels of a tree, oldest release first.
func List(t rootfs.Tree) ([]Kernel, error) {
	var out []Kernel
	seen, modules := map[string]bool{}, 0
	for _, dir := range []string{"/usr/lib/modules", "/lib/modules"} {
		literal, entries, err := readDir(t, dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			name := path.Join(literal, e.Name)
			if seen[name] {
				continue
			}
			seen[name] = true
			k, found, err := read(t, e, literal)
			if err != nil {
				return nil, fmt.Errorf("cannot read kernel %s: %w", e.Name, err)
			}
			if !found {
				continue
			}
			out = append(out, k)
			if modules += len(k.loadable) + len(k.builtIn); len(out) > maxKernels || modules > maxModules {
				return nil, fmt.Errorf("%s: more than %d kernels or %d modules", dir, maxKernels, maxModules)
			}
		}
	}
	slices.SortStableFunc(out, compareReleases)
	return out, findImages(t, out)
}

// compareReleases orders kernels by release; names that are no releases go first.
func compareReleases(a, b Kernel) int {
	x, errX := kver.Parse(a.Release)
	y, errY := kver.Parse(b.Release)
	switch {
	case errX == nil && errY == nil && kver.Compare(x, y) != 0:
		return kver.Compare(x, y)
	case (errX == nil) != (errY == nil) && errX != nil:
		return -1
	case (errX == nil) != (errY == nil):
		return 1
	default:
		return strings.Compare(a.Release, b.Release)
	}
}

// readDir lists the directory that name leads to; a missing one is empty.
func readDir(t rootfs.Tree, name string) (literal string, entries []rootfs.Entry, err error) {
	literal, err = rootfs.Resolve(t, name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	entries, err = t.ReadDir(literal)
	return literal, entries, err
}

// read reads one module directory, or one that a link leads to, as modprobe(8)
// does. One without modules.dep, such as the empty shell that a removed kernel
// leaves, is no kernel.
func read(t rootfs.Tree, e rootfs.Entry, parent string) (Kernel, bool, error) {
	k := Kernel{Release: e.Name, loadable: map[string]bool{}, builtIn: map[string]bool{}}
	if e.Type != fs.ModeDir && e.Type != fs.ModeSymlink {
		return k, false, nil
	}
	dir, err := rootfs.Resolve(t, path.Join(parent, e.Name))
	if errors.Is(err, fs.ErrNotExist) {
		return k, false, nil
	}
	if err != nil {
		return k, false, err
	}
	k.Modules = dir
	built, err := rootfs.ReadFile(t, dir+"/modules.builtin", maxList)
	if builtMissing := errors.Is(err, fs.ErrNotExist); err != nil && !builtMissing {
		return k, false, err
	}
	found, listErr := k.readLoadable(t, len(bytes.TrimSpace(built)) > 0)
	switch {
	case listErr != nil || !found:
		return k, false, listErr
	case err != nil:
		return k, false, fmt.Errorf("cannot tell what is built in: %w", err)
	}
	for line := range bytes.Lines(built) {
		if name := strings.TrimSpace(string(line)); name != "" {
			k.builtIn[ModuleName(name)] = true
		}
	}
	return k, true, nil
}

// readLoadable reads modules.dep. Where depmod(8) has left its binary form alone, or has
// not run yet, modules.order of the kernel's own build tells nearly the same. A directory
// with none of them is a kernel if that has built-in modules: one that loads none.
func (k *Kernel) readLoadable(t rootfs.Tree, hasBuiltIn bool) (isKernel bool, err error) {
	for _, name := range []string{"/modules.dep", "/modules.order"} {
		list, err := rootfs.ReadFile(t, k.Modules+name, maxList)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		for line := range bytes.Lines(list) {
			file, _, isDep := bytes.Cut(bytes.TrimSpace(line), []byte(":"))
			if len(file) > 0 && isDep == (name == "/modules.dep") {
				k.loadable[ModuleName(string(file))] = true
			}
		}
		return name == "/modules.dep" || hasBuiltIn || len(k.loadable) > 0, nil
	}
	if only, err := rootfs.Exists(t, k.Modules+"/modules.dep.bin"); err != nil || only {
		return false, cmp.Or(err, errors.New("it has modules.dep.bin, and neither modules.dep nor modules.order: write them with depmod(8)"))
	}
	return hasBuiltIn, nil
}
