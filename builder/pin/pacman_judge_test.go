package pin_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPacmanIgnores: an upgrade leaves the kernel alone under a ceiling, and takes it
// along without one. The database and the repository are made by hand: packages are
// not needed to plan an upgrade.
func TestPacmanIgnores(t *testing.T) {
	pacman := tool(t, "pacman", "pacman-package-manager")
	desc := func(name, version string) string {
		return fmt.Sprintf("%%FILENAME%%\n%s-%s-x86_64.pkg.tar.zst\n\n%%NAME%%\n%s\n\n%%VERSION%%\n%s\n\n%%ARCH%%\nx86_64\n\n%%CSIZE%%\n1\n\n%%ISIZE%%\n1\n\n", name, version, name, version)
	}
	var db bytes.Buffer
	w := tar.NewWriter(&db)
	files := map[string]string{"var/lib/pacman/local/ALPM_DB_VERSION": "9\n", "cache/": ""}
	for _, name := range []string{"linux", "linux-headers", "linux-lts", "linux-firmware", "bash"} {
		text := desc(name, "7.2.1.arch1-1")
		must(t, w.WriteHeader(&tar.Header{Name: name + "-7.2.1.arch1-1/desc", Mode: 0o644, Size: int64(len(text))}))
		_, err := w.Write([]byte(text))
		must(t, err)
		local := "var/lib/pacman/local/" + name + "-7.0.6.arch1-1/"
		files[local+"desc"], files[local+"files"] = desc(name, "7.0.6.arch1-1"), "%FILES%\n"
	}
	must(t, w.Close())
	files["var/lib/pacman/sync/t.db"] = db.String()
	files["etc/pacman.conf"] = "[options]\nArchitecture = x86_64\nSigLevel = Never\nIgnorePkg = foreign\n\n[t]\nServer = file:///nowhere\n"
	tree, dir := treeOf(t, files)
	upgrades := func() string {
		out, err := run(t, nil, pacman, "--config", dir+"/etc/pacman.conf", "--root", dir, "--dbpath", dir+"/var/lib/pacman", "--cachedir", dir+"/cache",
			"--noconfirm", "-Sup", "--print-format", "%n")
		if err != nil {
			t.Fatalf("pacman: %v\n%s", err, out)
		}
		var names []string
		for line := range strings.Lines(out) {
			if !strings.HasPrefix(line, "warning:") && !strings.HasPrefix(line, "::") {
				names = append(names, strings.TrimSpace(line))
			}
		}
		return strings.Join(names, " ")
	}
	const all = "bash linux linux-firmware linux-headers linux-lts"
	if got := upgrades(); got != all {
		t.Fatalf("without a pin pacman upgrades %q, want %q", got, all)
	}
	floor := plan(t, tree, floorOf(t, "7.0.6"), nil)
	write(t, dir, floor.Files)
	if got := upgrades(); got != all {
		t.Errorf("with a floor pacman upgrades %q, want %q", got, all)
	}
	branch := plan(t, tree, branchOf(t, "7.0.6"), added(floor.Files))
	write(t, dir, branch.Files)
	if got, want := upgrades(), "bash linux-firmware"; got != want {
		t.Errorf("with a ceiling pacman upgrades %q, want %q", got, want)
	}
	write(t, dir, mustRemove(t, tree, added(branch.Files)))
	if data, err := os.ReadFile(filepath.Join(dir, "etc/pacman.conf")); err != nil || string(data) != files["etc/pacman.conf"] {
		t.Errorf("after removal pacman.conf is %q (%v)", data, err)
	}
}
