package pin_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/pin"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// rpm is one package of a made-up repository.
type rpm struct{ name, version, release string }

func (r rpm) String() string { return r.name + "-" + r.version + "-" + r.release }

// rpmRepository writes the metadata of a repository, which is all that a dry run reads.
func rpmRepository(t testing.TB, packages []rpm) string {
	t.Helper()
	var primary strings.Builder
	fmt.Fprintf(&primary, `<?xml version="1.0" encoding="UTF-8"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="%d">
`, len(packages))
	for _, p := range packages {
		evr := fmt.Sprintf(`epoch="0" ver="%s" rel="%s"`, p.version, p.release)
		fmt.Fprintf(&primary, `<package type="rpm"><name>%s</name><arch>x86_64</arch><version %s/><checksum type="sha256" pkgid="YES">%x</checksum>
<summary>x</summary><description>x</description><packager/><url/><time file="1" build="1"/><size package="1" installed="1" archive="1"/><location href="%s.rpm"/>
<format><rpm:license>x</rpm:license><rpm:vendor/><rpm:group>x</rpm:group><rpm:buildhost>x</rpm:buildhost><rpm:sourcerpm/><rpm:header-range start="1" end="2"/>
<rpm:provides><rpm:entry name="%s" flags="EQ" %s/></rpm:provides></format></package>
`, p.name, evr, sha256.Sum256([]byte(p.String())), p, p.name, evr)
	}
	primary.WriteString("</metadata>\n")
	data := primary.String()
	_, dir := treeOf(t, map[string]string{
		"repodata/primary.xml": data,
		"repodata/repomd.xml": fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm"><revision>1</revision>
<data type="primary"><checksum type="sha256">%x</checksum><location href="repodata/primary.xml"/><timestamp>1</timestamp><size>%d</size></data></repomd>
`, sha256.Sum256([]byte(data)), len(data)),
	})
	return dir
}

// rpmSeries are kernels as Fedora, RHEL, openSUSE and others number them.
var rpmSeries = [][2]string{
	{"5.14.0", "611.el9_7"}, {"6.12.5", "1.1"}, {"7.0.0", "300.fc45"}, {"7.0.5", "1.1"}, {"7.0.6", "300.fc45"}, {"7.0.7", "5.14.el9"}, {"7.0.10", "1.1"},
	{"7.1.0", "0.rc2.260501gabc.25.fc45"}, {"7.1.0", "2.fc45"}, {"7.1~rc3", "1.1"}, {"7.2.1", "1.1"}, {"7.10.2", "1.1"}, {"10.0.1", "1.1"},
}

// rpmBystanders have a low version, and no pin may touch them.
var rpmBystanders = []rpm{
	{"kernel-headers", "5.14.0", "1"}, {"kernel-srpm-macros", "1.0", "1"}, {"kernel-rpm-macros", "205", "1"}, {"kernel-tools", "5.14.0", "1"},
	{"kernel-firmware", "20260501", "1"}, {"kernel-firmware-amdgpu", "20260501", "1"}, {"kernel-macros", "6.4.0", "1"}, {"kernelshark", "2.3.1", "1"},
}

func rpmPackages(names []string) []rpm {
	out := slices.Clone(rpmBystanders)
	for _, s := range rpmSeries {
		for _, name := range names {
			out = append(out, rpm{name, s[0], s[1]})
		}
	}
	return out
}

// rpmCases says which of rpmSeries each pin allows.
func rpmCases(t *testing.T) []struct {
	name    string
	want    pin.Want
	allowed []string // VERSION-RELEASE
} {
	below := func(from, to int) (out []string) {
		for _, s := range rpmSeries[from:to] {
			out = append(out, s[0]+"-"+s[1])
		}
		return out
	}
	ceiling := floorOf(t, "6.12")
	ceiling.Ceiling = release(t, "7.2")
	return []struct {
		name    string
		want    pin.Want
		allowed []string
	}{
		{"floor 7.0.6", floorOf(t, "7.0.6"), below(4, 13)},
		{"floor 7.1", floorOf(t, "7.1"), []string{"7.1.0-2.fc45", "7.2.1-1.1", "7.10.2-1.1", "10.0.1-1.1"}},
		{"floor 7.1-rc3", floorOf(t, "7.1-rc3"), below(8, 13)},
		{"branch 7.0", branchOf(t, "7.0.6"), below(4, 7)},
		{"exact 7.0.6", pin.Want{Mode: pin.Exact, Floor: release(t, "7.0.6")}, []string{"7.0.6-300.fc45"}},
		{"6.12 to below 7.2", ceiling, below(1, 10)},
	}
}

var dnfNames = []string{
	"kernel", "kernel-core", "kernel-modules", "kernel-modules-core", "kernel-modules-extra", "kernel-devel", "kernel-uki-virt", "kernel-debug-core",
	"kernel-rt-core", "kernel-64k-modules", "kernel-uek-core", "kernel-ml", "kernel-lt-core", "kernel6.12", "kernel-default", "kernel-longterm-core",
}

// dnf lists what of a repository dnf sees.
func dnf(t *testing.T, dir, repository string) []string {
	t.Helper()
	out, err := run(t, []string{"HOME=" + dir}, tool(t, "dnf", "dnf"), "-q", "-c", dir+"/etc/dnf/dnf.conf", "--installroot="+dir, "--setopt=reposdir=/nonexistent",
		"--setopt=cachedir="+dir+"/cache", "--setopt=logdir="+dir+"/log", "--setopt=persistdir="+dir+"/persist", "--repofrompath=t,file://"+repository,
		"--nogpgcheck", "--releasever=1", "--forcearch=x86_64", "--showduplicates", "list", "available")
	if err != nil {
		t.Fatalf("dnf: %v\n%s", err, out)
	}
	var names []string
	for line := range strings.Lines(out) {
		if words := strings.Fields(line); len(words) == 3 {
			names = append(names, strings.TrimSuffix(words[0], ".x86_64")+"-"+words[1])
		}
	}
	slices.Sort(names)
	return names
}

func TestDnfExcludes(t *testing.T) {
	packages := rpmPackages(dnfNames)
	repository := rpmRepository(t, packages)
	files := map[string]string{"etc/dnf/dnf.conf": "[main]\ngpgcheck=1\ninstallonly_limit=3\nexclude=foreign bar\nbest=True\n", "cache/": "", "log/": ""}
	tree, dir := treeOf(t, files)
	if got := dnf(t, dir, repository); len(got) != len(packages) {
		t.Fatalf("without a pin dnf sees %d packages, want %d", len(got), len(packages))
	}
	judged := 0
	old := map[string]string{}
	for _, c := range rpmCases(t) {
		t.Run(c.name, func(t *testing.T) {
			r := plan(t, tree, c.want, old)
			write(t, dir, r.Files)
			old = added(r.Files)
			var want []string
			for _, p := range packages {
				if slices.Contains(rpmBystanders, p) || slices.Contains(c.allowed, p.version+"-"+p.release) {
					want = append(want, p.String())
				}
			}
			slices.Sort(want)
			got := dnf(t, dir, repository)
			for _, p := range packages {
				judged++
				if g, w := slices.Contains(got, p.String()), slices.Contains(want, p.String()); g != w {
					t.Errorf("%v can be installed: got %v, want %v", p, g, w)
				}
			}
		})
	}
	t.Logf("%d packages judged by dnf", judged)
}

// zypper simulates an installation into a root of its own.
func zypper(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	return run(t, []string{"HOME=" + dir, "ZYPP_LOCKFILE_ROOT=" + dir}, tool(t, "zypper", "zypper"),
		append([]string{"--root", dir, "--non-interactive", "--no-gpg-checks", "--no-refresh"}, args...)...)
}

func TestZypperLocks(t *testing.T) {
	names := []string{"kernel-default", "kernel-azure-devel", "kernel-rt"}
	packages := rpmPackages(names)
	repository := rpmRepository(t, packages)
	// Somebody's lock, as zypper writes it.
	foreign := "\ntype: package\nmatch_type: glob\ncase_sensitive: on\nsolvable_name: foreign\n\n"
	tree, dir := treeOf(t, map[string]string{"etc/zypp/locks": foreign})
	if out, err := zypper(t, dir, "addrepo", "-G", "dir:"+repository, "r"); err != nil {
		t.Fatalf("zypper addrepo: %v\n%s", err, out)
	}
	if out, err := zypper(t, dir, "refresh"); err != nil {
		t.Fatalf("zypper refresh: %v\n%s", err, out)
	}
	installs := func(p rpm) bool {
		out, err := zypper(t, dir, "install", "--dry-run", p.name+"="+p.version+"-"+p.release)
		return err == nil && strings.Contains(out, "1 new package to install")
	}
	judged := 0
	old := map[string]string{}
	for _, c := range rpmCases(t)[:4] {
		t.Run(c.name, func(t *testing.T) {
			r := plan(t, tree, c.want, old)
			write(t, dir, r.Files)
			old = added(r.Files)
			for _, s := range rpmSeries {
				if strings.HasPrefix(s[1], "0.rc") {
					continue // Fedora's way, which zypper's distributions do not have
				}
				p := rpm{"kernel-default", s[0], s[1]}
				judged++
				if got, want := installs(p), slices.Contains(c.allowed, s[0]+"-"+s[1]); got != want {
					t.Errorf("%v can be installed: got %v, want %v", p, got, want)
				}
			}
			for _, p := range []rpm{{"kernel-azure-devel", "6.12.5", "1.1"}, {"kernel-rt", "5.14.0", "611.el9_7"}} {
				judged++
				if installs(p) {
					t.Errorf("%v can be installed, want it locked", p)
				}
			}
			judged++
			if p := rpmBystanders[0]; !installs(p) {
				t.Errorf("%v cannot be installed: no pin is for it", p)
			}
		})
	}
	write(t, dir, mustRemove(t, tree, old))
	if data, err := os.ReadFile(filepath.Join(dir, "etc/zypp/locks")); err != nil || string(data) != foreign {
		t.Fatalf("after removal the locks are %q (%v), want %q", data, err, foreign)
	}
	if p := packages[len(rpmBystanders)]; !installs(p) {
		t.Errorf("without a pin %v cannot be installed", p)
	}
	t.Logf("%d installations judged by zypper", judged)
}

// TestZypperRewritesOurLocks: zypper writes the file anew when its user adds a lock,
// and what it makes of ours must still be ours.
func TestZypperRewritesOurLocks(t *testing.T) {
	tree, dir := treeOf(t, map[string]string{"etc/zypp/": ""})
	w := branchOf(t, "7.0.6")
	r := plan(t, tree, w, nil)
	write(t, dir, r.Files)
	if out, err := zypper(t, dir, "addlock", "foreign"); err != nil {
		t.Fatalf("zypper addlock: %v\n%s", err, out)
	}
	if again := plan(t, tree, w, added(r.Files)); len(again.Gaps()) != 0 {
		t.Errorf("after zypper wrote the file again there is to do: %v", again.Gaps()[0].Lacks)
	}
	write(t, dir, mustRemove(t, tree, added(r.Files)))
	data, err := os.ReadFile(filepath.Join(dir, "etc/zypp/locks"))
	must(t, err)
	if text := string(data); strings.Contains(text, "kernel") || !strings.Contains(text, "foreign") {
		t.Errorf("after removal the locks are %q, want only the foreign one", text)
	}
}

func mustRemove(t testing.TB, tree rootfs.Tree, added map[string]string) []pin.File {
	t.Helper()
	files, err := pin.Remove(tree, added)
	must(t, err)
	return files
}
