package kernel

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/kerngate/kerngate/builder/packages"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// Limits on what is read to find a package by its files.
const (
	maxFileList  = 32 << 20  // bytes of one list; kernels have some 400 KiB
	maxFileLists = 512 << 20 // of all lists together; a desktop has some 40 MiB
)

// ErrNoOwner says that no package has the kernel among its files.
var ErrNoOwner = errors.New("no package that the database lists has the kernel among its files")

// Owner finds the package that put the kernel into the tree: the one whose files have its
// image, or else the list of what is built into it. Packages with a name of the kernel's kind
// are asked first. Where the database keeps no file lists, the name alone decides.
func (k Kernel) Owner(t rootfs.Tree, in packages.Installed) (packages.Package, error) {
	wanted := k.ownFiles()
	var likely, others []packages.Package
	for _, p := range in.Packages {
		if strings.HasPrefix(p.Name, "linux") || strings.Contains(p.Name, "kernel") || strings.Contains(p.Name, k.Release) {
			likely = append(likely, p)
		} else {
			others = append(others, p)
		}
	}
	search := &ownerSearch{tree: t, wanted: wanted, apk: map[string]map[string]int{}}
	for _, list := range [][]packages.Package{likely, others} {
		found, best := packages.Package{}, len(wanted)
		for _, p := range list {
			rank, err := search.rank(p)
			if err != nil {
				return packages.Package{}, fmt.Errorf("cannot read the files of package %s: %w", p.Name, err)
			}
			if rank < best {
				found, best = p, rank
			}
		}
		if best < len(wanted) {
			return found, nil
		}
	}
	if named := in.Named("linux-image-" + k.Release); len(named) == 1 {
		return named[0], nil
	}
	return packages.Package{}, ErrNoOwner
}

// ownFiles are the files of a kernel that no other package has, best first, as file lists
// have them without the slash in front. Directories of modules are shared by many.
func (k Kernel) ownFiles() map[string]int {
	out := map[string]int{}
	for _, name := range []string{k.Image, "/boot/vmlinuz-" + k.Release, "/usr/lib/modules/" + k.Release + "/vmlinuz",
		"/lib/modules/" + k.Release + "/modules.builtin", "/usr/lib/modules/" + k.Release + "/modules.builtin"} {
		name = strings.TrimPrefix(name, "/")
		if _, twice := out[name]; !twice && name != "" {
			out[name] = len(out)
		}
	}
	return out
}

// ownerSearch looks for files in the lists of packages. A rank is the number of the best
// file that a package has, or the number of all where it has none.
type ownerSearch struct {
	tree   rootfs.Tree
	wanted map[string]int
	read   int64                     // bytes, of all lists
	apk    map[string]map[string]int // ranks, by the file that lists all packages of apk, and name
}

func (s *ownerSearch) rank(p packages.Package) (int, error) {
	switch {
	case strings.HasSuffix(p.Database, "/dpkg/status"):
		info := path.Join(path.Dir(p.Database), "info")
		best, err := s.inList(path.Join(info, p.Name+".list"))
		if errors.Is(err, fs.ErrNotExist) {
			best, err = s.inList(path.Join(info, p.Name+":"+p.Arch+".list"))
		}
		return s.orNone(best, err)
	case strings.HasSuffix(p.Database, "/pacman/local"):
		return s.orNone(s.inList(path.Join(p.Database, p.Name+"-"+p.Version, "files")))
	case strings.HasSuffix(p.Database, "/apk/db/installed"):
		return s.inAPK(p)
	}
	return len(s.wanted), nil
}

// orNone takes a list that is not there for one without files.
func (s *ownerSearch) orNone(best int, err error) (int, error) {
	if errors.Is(err, fs.ErrNotExist) {
		return len(s.wanted), nil
	}
	return best, err
}

// inList reads lists with one path a line: dpkg's, and pacman's below %FILES%.
func (s *ownerSearch) inList(name string) (best int, err error) {
	best = len(s.wanted)
	err = s.lines(name, func(line []byte) {
		if rank, found := s.wanted[string(bytes.TrimPrefix(line, []byte("/")))]; found {
			best = min(best, rank)
		}
	})
	return best, err
}

// inAPK reads the file of all packages of apk once: P: names one, F: a directory of it, and
// R: a file there.
func (s *ownerSearch) inAPK(p packages.Package) (int, error) {
	ranks, known := s.apk[p.Database]
	if !known {
		ranks = map[string]int{}
		s.apk[p.Database] = ranks
		name, dir := "", ""
		err := s.lines(p.Database, func(line []byte) {
			key, value, _ := bytes.Cut(line, []byte(":"))
			switch string(key) {
			case "P":
				name = string(value)
			case "F":
				dir = string(value)
			case "R":
				if rank, found := s.wanted[path.Join(dir, string(value))]; found {
					if best, twice := ranks[name]; !twice || rank < best {
						ranks[name] = rank
					}
				}
			}
		})
		if err != nil {
			return 0, err
		}
	}
	if rank, found := ranks[p.Name]; found {
		return rank, nil
	}
	return len(s.wanted), nil
}

func (s *ownerSearch) lines(name string, each func([]byte)) error {
	f, err := s.tree.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if s.read += f.Size(); f.Size() > maxFileList || s.read > maxFileLists {
		return fmt.Errorf("%s: size is %d bytes, limits are %d, and %d for all lists together", name, f.Size(), maxFileList, maxFileLists)
	}
	in := bufio.NewScanner(io.NewSectionReader(f, 0, f.Size()))
	for in.Scan() {
		each(in.Bytes())
	}
	return in.Err()
}
