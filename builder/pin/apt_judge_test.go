package pin_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/pin"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// tool finds a judge.
func tool(t testing.TB, name, pkg string) string {
	t.Helper()
	found, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: apt install %s", name, pkg)
	}
	return found
}

func run(t testing.TB, env []string, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(append(os.Environ(), "LC_ALL=C"), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// aptTree is a machine without root: its own apt configuration, database and one
// repository.
type aptTree struct {
	t   testing.TB
	dir string
}

// debian is one package of the made-up repository.
type debian struct{ name, version, depends, arch string }

func (d debian) String() string {
	s := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: x <x@example.org>\nDescription: x\n", d.name, d.version, orElse(d.arch, "amd64"))
	if d.depends != "" {
		s += "Depends: " + d.depends + "\n"
	}
	return s
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func newAptTree(t testing.TB, repository, installed []debian) *aptTree {
	tool(t, "apt-get", "apt")
	var packages, status strings.Builder
	for i, d := range repository {
		fmt.Fprintf(&packages, "%sFilename: ./%d.deb\nSize: 1\nSHA256: %064d\n\n", d, i, 0)
	}
	for _, d := range installed {
		fmt.Fprintf(&status, "%sStatus: install ok installed\n\n", d)
	}
	_, dir := treeOf(t, map[string]string{
		"repo/Packages": packages.String(), "var/lib/dpkg/status": status.String(),
		"etc/apt/preferences.d/": "", "etc/apt/apt.conf.d/": "", "etc/apt/trusted.gpg.d/": "",
		"var/lib/apt/lists/partial/": "", "var/cache/apt/archives/partial/": "",
	})
	must(t, os.WriteFile(filepath.Join(dir, "etc/apt/sources.list"), []byte("deb [trusted=yes] file:"+dir+"/repo ./\n"), 0o644))
	a := &aptTree{t, dir}
	if out, err := a.apt("apt-get", "update"); err != nil {
		t.Fatalf("apt-get update: %v\n%s", err, out)
	}
	return a
}

func (a *aptTree) apt(name string, args ...string) (string, error) {
	a.t.Helper()
	options := []string{
		"-o", "Dir=" + a.dir, "-o", "Dir::State::status=" + a.dir + "/var/lib/dpkg/status", "-o", "APT::Architecture=amd64",
		"-o", "APT::Architectures::=amd64", "-o", "APT::Architectures::=i386", "-o", "APT::Sandbox::User=", "-o", "Debug::NoLocking=1",
		"-o", "Acquire::Languages=none", "-o", "Dir::Bin::Methods=/usr/lib/apt/methods", "-o", "Acquire::AllowInsecureRepositories=1",
	}
	return run(a.t, []string{"APT_CONFIG=/dev/null"}, name, append(options, args...)...)
}

// pin writes what a plan gives for the tree.
func (a *aptTree) pin(w pin.Want) {
	a.t.Helper()
	tree, err := rootfs.OpenDir(a.dir)
	must(a.t, err)
	defer tree.Close()
	r := plan(a.t, tree, w, nil)
	if len(r.Refusals) > 0 {
		a.t.Fatalf("refused: %v", r.Refusals)
	}
	write(a.t, a.dir, r.Files)
}

// installs gives NAME=VERSION of what a simulated command would install.
func (a *aptTree) installs(args ...string) ([]string, error) {
	a.t.Helper()
	out, err := a.apt("apt-get", append([]string{"-s"}, args...)...)
	var names []string
	for line := range strings.Lines(out) {
		words := strings.Fields(line)
		if len(words) < 3 || words[0] != "Inst" {
			continue
		}
		for _, w := range words[2:] {
			if version, found := strings.CutPrefix(w, "("); found {
				names = append(names, words[1]+"="+version)
				break
			}
		}
	}
	return names, err
}

// series are the kernels of the repository, in Debian's and Ubuntu's manner.
var series = []struct{ release, version string }{
	{"6.1.0-56", "6.1.192-2"}, {"6.12.117+deb13", "6.12.117-1"}, {"7.0.5+deb14", "7.0.5-1"}, {"7.0.0-22", "7.0.0-22.22"},
	{"7.0.6+deb14", "7.0.6-1"}, {"7.0.10+deb14", "7.0.10-1"}, {"7.1-rc2", "7.1~rc2-1~exp1"}, {"7.2.13+deb14", "7.2.13-1"},
}

// families are the names that one kernel has packages of; %s is its release.
var families = []string{
	"linux-image-%s-amd64", "linux-image-%s-cloud-amd64", "linux-image-%s-amd64-unsigned", "linux-image-unsigned-%s-generic", "linux-image-%s-generic",
	"linux-image-%s-rt-amd64", "linux-headers-%s-amd64", "linux-headers-%s-common", "linux-headers-%s-generic", "linux-modules-%s-generic",
	"linux-modules-extra-%s-generic", "linux-modules-%s-amd64", "linux-binary-%s-amd64", "linux-base-%s-amd64", "linux-signed-image-%s-generic",
	"linux-hwe-7.0-headers-%s", "proxmox-kernel-%s-pve-signed", "pve-kernel-%s-pve",
}

// metas depend on the newest kernel of a version.
var metas = []string{
	"linux-image-amd64", "linux-image-cloud-amd64", "linux-headers-amd64", "linux-base-amd64", "linux-base-cloud-amd64",
	"linux-generic", "linux-image-generic", "linux-headers-generic", "linux-generic-hwe-26.04", "linux-image-generic-hwe-26.04", "linux-virtual",
	"linux-lowlatency", "linux-aws", "linux-azure", "linux-gcp", "linux-oracle", "linux-azure-lts-26.04", "linux-image-virtual", "linux-modules-extra-aws",
	"linux-oem-26.04", "linux-nvidia-64k", "linux-raspi",
}

// bystanders have a low version, and no pin may touch them.
var bystanders = []debian{
	{"linux-base", "4.9", "", "all"}, {"linux-base-sgx", "4.5ubuntu9", "", "all"}, {"linux-libc-dev", "6.1.192-2", "", ""},
	{"linux-firmware", "2.0", "", "all"}, {"linux-tools-common", "6.8.0-117.117", "", "all"}, {"linux-perf", "6.1.192-2", "", ""},
	{"linux-source", "6.1.192-2", "", "all"}, {"linux-doc", "6.1.192-2", "", "all"}, {"util-linux", "2.38", "", ""}, {"proxmox-default-kernel", "1.1.0", "", "all"},
	{"linux-cloud-tools-generic", "6.8.0-117.117", "", ""}, {"linux-kbuild-6.1", "6.1.192-2", "", ""},
}

func kernelRepository() []debian {
	out := append([]debian(nil), bystanders...)
	for _, s := range series {
		for _, f := range families {
			out = append(out, debian{name: fmt.Sprintf(f, s.release), version: s.version})
		}
		out = append(out, debian{fmt.Sprintf("linux-image-%s-amd64", s.release), s.version, "", "i386"})
		for _, m := range metas {
			out = append(out, debian{m, s.version, fmt.Sprintf("linux-image-%s-amd64 (= %s)", s.release, s.version), ""})
		}
		// A meta package that no pin names.
		out = append(out, debian{"linux-unheard-of", s.version, fmt.Sprintf("linux-image-%s-amd64", s.release), ""})
	}
	return out
}

// candidates gives what apt would install of each package, by name and architecture.
func (a *aptTree) candidates() map[string]string {
	a.t.Helper()
	args := []string{"policy", ".*"}
	for _, s := range series {
		args = append(args, fmt.Sprintf("linux-image-%s-amd64:i386", s.release))
	}
	out, err := a.apt("apt-cache", args...)
	must(a.t, err)
	found := map[string]string{}
	name := ""
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, " ") {
			name = strings.TrimSuffix(strings.TrimSpace(line), ":")
		}
		if version, is := strings.CutPrefix(strings.TrimSpace(line), "Candidate: "); is && name != "" {
			found[name] = version
		}
	}
	return found
}

func TestAptCandidates(t *testing.T) {
	a := newAptTree(t, kernelRepository(), nil)
	free := a.candidates()
	cases := []struct {
		name    string
		want    pin.Want
		allowed []string // versions
	}{
		{"floor 7.0.6", floorOf(t, "7.0.6"), []string{"7.0.6-1", "7.0.10-1", "7.1~rc2-1~exp1", "7.2.13-1"}},
		{"floor 7.1", floorOf(t, "7.1"), []string{"7.2.13-1"}},
		{"branch 7.0", branchOf(t, "7.0.6"), []string{"7.0.6-1", "7.0.10-1"}},
		{"branch 6.12", branchOf(t, "6.12.88"), []string{"6.12.117-1"}},
		{"exact 7.0.6", pin.Want{Mode: pin.Exact, Floor: release(t, "7.0.6")}, []string{"7.0.6-1"}},
	}
	judged := 0
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a.pin(c.want)
			got := a.candidates()
			for _, s := range series {
				want := "(none)"
				if slices.Contains(c.allowed, s.version) {
					want = s.version
				}
				for _, name := range append(slices.Clone(families), "linux-image-%s-amd64:i386") {
					name = fmt.Sprintf(name, s.release)
					judged++
					if got[name] != want {
						t.Errorf("%s: candidate is %q, want %q", name, got[name], want)
					}
					if free[name] != s.version {
						t.Errorf("without a pin, %s: candidate is %q, want %q", name, free[name], s.version)
					}
				}
			}
			for _, name := range metas {
				judged++
				if want := c.allowed[len(c.allowed)-1]; got[name] != want {
					t.Errorf("%s: candidate is %q, want %q", name, got[name], want)
				}
			}
			for _, d := range bystanders {
				judged++
				if got[d.name] != d.version {
					t.Errorf("%s: candidate is %q, want %q: no pin is for it", d.name, got[d.name], d.version)
				}
			}
		})
	}
	t.Logf("%d candidates judged by apt", judged)
}

func TestAptInstallsAndUpgrades(t *testing.T) {
	below := series[2] // 7.0.5
	installed := []debian{
		{"linux-image-amd64", "7.0.6-1", "linux-image-7.0.6+deb14-amd64 (= 7.0.6-1)", ""}, {name: "linux-image-7.0.6+deb14-amd64", version: "7.0.6-1"},
	}
	old := []debian{
		{"linux-image-amd64", "6.12.117-1", "linux-image-6.12.117+deb13-amd64 (= 6.12.117-1)", ""}, {name: "linux-image-6.12.117+deb13-amd64", version: "6.12.117-1"},
	}
	only := func(versions ...string) []debian {
		return slices.DeleteFunc(kernelRepository(), func(d debian) bool {
			return strings.Contains(d.name, "linux-image") && !slices.Contains(versions, d.version)
		})
	}
	cases := []struct {
		name       string
		repository []debian
		installed  []debian
		args       []string
		want       []string // with a floor of 7.0.6; nil: refused or nothing
		free       []string // without
	}{
		{"below by name", kernelRepository(), nil, []string{"install", "linux-image-7.0.5+deb14-amd64"}, nil, []string{"linux-image-7.0.5+deb14-amd64=7.0.5-1"}},
		{"below, other architecture", kernelRepository(), nil, []string{"install", "linux-image-7.0.5+deb14-amd64:i386"}, nil, []string{"linux-image-7.0.5+deb14-amd64:i386=7.0.5-1"}},
		{"split package below", kernelRepository(), nil, []string{"install", "linux-binary-6.12.117+deb13-amd64"}, nil, []string{"linux-binary-6.12.117+deb13-amd64=6.12.117-1"}},
		{"meta package of a version below", kernelRepository(), nil, []string{"install", "linux-image-amd64=7.0.5-1"}, nil, []string{"linux-image-7.0.5+deb14-amd64=7.0.5-1", "linux-image-amd64=7.0.5-1"}},
		{"unknown meta package, nothing else there", only("7.0.5-1"), nil, []string{"install", "linux-unheard-of=7.0.5-1"}, nil, []string{"linux-image-7.0.5+deb14-amd64=7.0.5-1", "linux-unheard-of=7.0.5-1"}},
		{"meta package where only lower ones are", only("6.12.117-1", below.version), nil, []string{"install", "linux-image-amd64"}, nil, []string{"linux-image-7.0.5+deb14-amd64=7.0.5-1", "linux-image-amd64=7.0.5-1"}},
		{"above by name", kernelRepository(), nil, []string{"install", "linux-image-7.0.10+deb14-amd64"}, []string{"linux-image-7.0.10+deb14-amd64=7.0.10-1"}, []string{"linux-image-7.0.10+deb14-amd64=7.0.10-1"}},
		{"upgrade", kernelRepository(), installed, []string{"dist-upgrade"}, []string{"linux-image-7.2.13+deb14-amd64=7.2.13-1", "linux-image-amd64=7.2.13-1"}, []string{"linux-image-7.2.13+deb14-amd64=7.2.13-1", "linux-image-amd64=7.2.13-1"}},
		{"downgrade for a target release", only("6.12.117-1", below.version), installed, []string{"--allow-downgrades", "install", "linux-image-amd64=7.0.5-1"}, nil, []string{"linux-image-7.0.5+deb14-amd64=7.0.5-1", "linux-image-amd64=7.0.5-1"}},
		{"upgrade where only lower ones are", only("6.12.117-1", below.version), installed, []string{"dist-upgrade"}, nil, nil},
		{"upgrade from below to below", only("6.12.117-1", below.version), old, []string{"dist-upgrade"}, nil, []string{"linux-image-7.0.5+deb14-amd64=7.0.5-1", "linux-image-amd64=7.0.5-1"}},
		{"upgrade from below to above", kernelRepository(), old, []string{"dist-upgrade"}, []string{"linux-image-7.2.13+deb14-amd64=7.2.13-1", "linux-image-amd64=7.2.13-1"}, []string{"linux-image-7.2.13+deb14-amd64=7.2.13-1", "linux-image-amd64=7.2.13-1"}},
		// What no pin closes: see the package comment.
		{"below by name and version", kernelRepository(), nil, []string{"install", "linux-image-7.0.5+deb14-amd64=7.0.5-1"}, []string{"linux-image-7.0.5+deb14-amd64=7.0.5-1"}, []string{"linux-image-7.0.5+deb14-amd64=7.0.5-1"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a := newAptTree(t, c.repository, c.installed)
			free, _ := a.installs(c.args...)
			a.pin(floorOf(t, "7.0.6"))
			got, _ := a.installs(c.args...)
			for _, side := range []struct {
				what      string
				got, want []string
			}{{"with the pin", got, c.want}, {"without it", free, c.free}} {
				slices.Sort(side.got)
				if !slices.Equal(side.got, side.want) {
					t.Errorf("%s apt-get installs %q, want %q", side.what, side.got, side.want)
				}
			}
		})
	}
}

// TestAptDowngradesBelow shows the worst a preference of somebody else can do, and that
// ours stops it: a priority above 1000 downgrades.
func TestAptDowngradesBelow(t *testing.T) {
	installed := []debian{
		{"linux-image-amd64", "7.2.13-1", "linux-image-7.2.13+deb14-amd64 (= 7.2.13-1)", ""}, {name: "linux-image-7.2.13+deb14-amd64", version: "7.2.13-1"},
	}
	repository := slices.DeleteFunc(kernelRepository(), func(d debian) bool { return d.version == "7.0.6-1" || d.version == "7.0.10-1" })
	a := newAptTree(t, repository, installed)
	must(t, os.WriteFile(a.dir+"/etc/apt/preferences.d/50-site", []byte("Package: linux-image-*\nPin: version 7.0.*\nPin-Priority: 1001\n"), 0o644))
	free, err := a.installs("--allow-downgrades", "dist-upgrade")
	must(t, err)
	if want := "linux-image-amd64=7.0.5-1"; !slices.Contains(free, want) {
		t.Fatalf("without a pin apt-get installs %q, want %s among them", free, want)
	}
	a.pin(floorOf(t, "7.0.6"))
	got, err := a.installs("--allow-downgrades", "dist-upgrade")
	must(t, err)
	if len(got) != 0 {
		t.Errorf("with a floor of 7.0.6 apt-get installs %q, want nothing", got)
	}
}
