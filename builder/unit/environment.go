package unit

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/builder/unitfile"
)

// redirects are variables by which systemd reads other units, generators or kernel command
// lines than the machine's: docs/ENVIRONMENT.md of systemd.
var redirects = []string{"SYSTEMD_UNIT_PATH", "SYSTEMD_GENERATOR_PATH", "SYSTEMD_ENVIRONMENT_GENERATOR_PATH", "SYSTEMD_PROC_CMDLINE"}

// Redirects says whether an assignment in the environment of systemd, NAME=VALUE, has it read
// other units than those that lie in the tree.
func Redirects(assignment string) bool {
	name, _, assigned := strings.Cut(assignment, "=")
	return assigned && slices.Contains(redirects, name)
}

// managerConfs are the settings of the service managers, of the system and of users:
// systemd-system.conf(5). /run is empty when a machine starts.
var (
	managerConfs    = []string{"system.conf", "user.conf"}
	managerConfDirs = []string{"/etc/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd", "/lib/systemd"}
)

// environmentConflicts finds settings of the service managers that redirect them, or by
// DefaultEnvironment= the managers of users.
func environmentConflicts(t rootfs.Tree) ([]Conflict, error) {
	var out []Conflict
	for _, conf := range managerConfs {
		files, err := managerFiles(t, conf)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			why, err := redirectLine(t, file)
			if err != nil {
				return nil, err
			}
			if why != "" {
				out = append(out, Conflict{file, why})
			}
		}
	}
	return out, nil
}

// managerFiles lists a settings file, the first there is, and its drop-ins: of equally named
// ones the first. A drop-in may have the name of the file itself.
func managerFiles(t rootfs.Tree, conf string) ([]string, error) {
	main := ""
	var out []string
	add := func(literal, name string) {
		if !slices.ContainsFunc(out, func(f string) bool { return path.Base(f) == name }) {
			out = append(out, path.Join(literal, name))
		}
	}
	for _, dir := range managerConfDirs {
		file, err := rootfs.ResolveParent(t, path.Join(dir, conf))
		if err == nil && main == "" {
			main = file
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		literal, entries, err := readDir(t, path.Join(dir, conf+".d"))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name, ".conf") {
				add(literal, e.Name)
			}
		}
	}
	if main != "" {
		out = append([]string{main}, out...)
	}
	return out, nil
}

// redirectLine says what a settings file redirects, or nothing.
func redirectLine(t rootfs.Tree, file string) (string, error) {
	info, err := rootfs.Stat(t, file)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && !info.Mode.IsRegular()) {
		return "", nil // a mask
	}
	if err != nil {
		return "", err
	}
	data, err := rootfs.ReadFile(t, file, maxFile)
	if err != nil {
		return "", err
	}
	for key, value := range assignments(data) {
		if key != "ManagerEnvironment" && key != "DefaultEnvironment" {
			continue
		}
		if i := slices.IndexFunc(unitfile.Words(value, len(value)), mayRedirect); i >= 0 {
			return fmt.Sprintf("its line %q has service managers read other units than the gate's", key+"="+value), nil
		}
	}
	return "", nil
}

// mayRedirect takes a specifier in the name of a variable for a part of one of ours:
// systemd resolves it (config_parse_environ in src/core/load-fragment.c), and some are
// empty. No other variable has one.
func mayRedirect(assignment string) bool {
	name, _, _ := strings.Cut(assignment, "=")
	return strings.Contains(name, "%") || Redirects(assignment)
}
