package inference

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// Where quadlets lie in a tree that is not running, strongest first:
// podman-systemd.unit(5), "DESCRIPTION". In quadletUsers each numeric directory is for the
// user of that number, the rest for all.
var quadletDirs = []string{"/etc/containers/systemd", "/usr/share/containers/systemd"}

const (
	quadletUsers = "/etc/containers/systemd/users"
	quadletHome  = ".config/containers/systemd"
)

// quadletSections are the kinds of quadlets that are read, with the section that holds
// their settings. Images and builds are read for the names that containers refer to.
var quadletSections = map[string]string{
	".container": "Container", ".kube": "Kube", ".pod": "Pod", ".image": "Image", ".build": "Build",
}

// quadlet is a file that Podman's generator turns into a service.
type quadlet struct {
	path     string
	section  string
	settings []setting
}

// service names the service that a quadlet becomes.
func (q *quadlet) service() string {
	ext := path.Ext(q.path)
	stem := strings.TrimSuffix(path.Base(q.path), ext)
	if own := last(q.settings, q.section, "ServiceName"); own != "" && !strings.Contains(own, "/") {
		return own + ".service"
	}
	if ext != ".container" && ext != ".kube" {
		stem += "-" + ext[1:]
	}
	return stem + ".service"
}

// wantedBy says by what the service is started once it is generated: [Install] of the
// quadlet. A template needs an instance for that.
func (q *quadlet) wantedBy() []string {
	name := splitName(path.Base(q.path))
	if name.at && !name.isInstance() && last(q.settings, "Install", "DefaultInstance") == "" {
		return nil
	}
	var out []string
	for _, key := range []string{"WantedBy", "RequiredBy", "UpheldBy"} {
		for _, s := range values(q.settings, "Install", key) {
			out = append(out, q.path+": "+key+"="+s.Value)
		}
	}
	return out
}

// quadletSet are the quadlets of one manager, by file name.
type quadletSet struct {
	*scope
	files map[string]string // literal paths
	all   map[string]*quadlet
}

// readQuadlets walks through quadlet directories and loads what lies there.
func readQuadlets(r *reader, dirs []string) (*quadletSet, error) {
	set := &quadletSet{scope: &scope{reader: r, dropIns: map[string][]string{}}, files: map[string]string{}, all: map[string]*quadlet{}}
	for _, dir := range dirs {
		if err := set.walk(dir, maxDepth); err != nil {
			return nil, err
		}
	}
	for name, file := range set.files {
		if err := set.loadQuadlet(name, file); err != nil {
			return nil, err
		}
	}
	return set, nil
}

// walk takes the quadlets of a directory and of those below it, but of those that are for
// other users.
func (s *quadletSet) walk(dir string, depth int) error {
	literal, entries, err := s.list(dir)
	if err != nil || depth == 0 || slices.Contains(s.dirs, literal) {
		return err
	}
	s.dirs = append(s.dirs, literal)
	var below []string // a file wins over one of its name further down
	for _, e := range entries {
		name := path.Join(literal, e.Name)
		stem, isDropIns := strings.CutSuffix(e.Name, ".d")
		_, isQuadlet := quadletSections[path.Ext(e.Name)]
		switch {
		case isDropIns:
			s.dropIns[path.Join(literal, stem)] = append(s.dropIns[path.Join(literal, stem)], name)
		case e.Type == fs.ModeDir && !isForOthers(dir, e.Name):
			below = append(below, name)
		case isQuadlet && s.files[e.Name] == "":
			s.files[e.Name] = name
		}
	}
	for _, name := range below {
		if err := s.walk(name, depth-1); err != nil {
			return err
		}
	}
	return nil
}

// isForOthers says whether a directory holds what another manager reads: users' below the
// system's, and one user's below that of all. The vendor's has none for users.
func isForOthers(dir, name string) bool {
	return path.Join(dir, name) == quadletUsers || dir == quadletUsers && isNumber(name)
}

func isNumber(name string) bool { return name != "" && strings.Trim(name, "0123456789") == "" }

func (s *quadletSet) loadQuadlet(name, file string) error {
	ext := path.Ext(name)
	dropIns, err := s.dropInFiles([]string{name}, ext[1:])
	if err != nil {
		return err
	}
	settings, err := s.load(file, dropIns)
	s.all[name] = &quadlet{path: file, section: quadletSections[ext], settings: settings}
	return err
}

// addTo puts the services of the quadlets into a manager's units, where nothing stronger
// has the name: generated units come after the administrator's and before the vendor's.
func (s *quadletSet) addTo(to *scope) {
	for name, q := range s.all {
		ext := path.Ext(name)
		if ext == ".image" || ext == ".build" {
			continue // they fetch and build, and start nothing that serves
		}
		service := q.service()
		if f, taken := to.files[service]; taken && !isVendors(f.path) {
			continue
		}
		to.files[service] = unitFile{path: q.path, quad: q}
		if by := q.wantedBy(); len(by) > 0 {
			to.pulled[service] = append(to.pulled[service], by...)
		}
	}
}

func isVendors(file string) bool {
	return rootfs.Below(file, "/usr") || rootfs.Below(file, "/lib") || strings.Contains(file, "/.local/share/")
}

// image follows a container's Image= to the quadlet that it names, if it does:
// podman-systemd.unit(5), "Image=".
func (s *quadletSet) image(value string) string {
	q, found := s.all[value]
	if !found {
		return value
	}
	if q.section == "Build" {
		return last(q.settings, "Build", "ImageTag")
	}
	return last(q.settings, "Image", "Image")
}
