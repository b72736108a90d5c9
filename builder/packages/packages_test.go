package packages_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/packages"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// list reads the databases of a tree that is made of files.
func list(t *testing.T, files map[string]string) (packages.Installed, error) {
	t.Helper()
	return packages.List(imgtest.Tree(t, 0o644, files))
}

// words gives packages as "name version arch", one a line.
func words(in packages.Installed) string {
	var out strings.Builder
	for _, p := range in.Packages {
		fmt.Fprintln(&out, strings.TrimSpace(p.Name+" "+p.Version+" "+p.Arch))
	}
	return out.String()
}

const dpkgStatus = `Package: bluez
Status: install ok installed
Priority: optional
Architecture: amd64
Version: 5.66-1+deb12u2
Conffiles:
 /etc/bluetooth/main.conf 1234
Description: Bluetooth tools
 Version: 1 is text here, and so is
 Package: other

package: Libc6
STATUS: hold ok half-configured
architecture: i386
version: 2.36-9

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: known
Status: purge ok not-installed
Architecture: amd64
`

func TestList(t *testing.T) {
	for name, c := range map[string]struct {
		files  map[string]string
		want   string
		unread string
	}{
		"nothing": {files: map[string]string{"etc/hostname": "x"}},
		"dpkg":    {files: map[string]string{"var/lib/dpkg/status": dpkgStatus}, want: "Libc6 2.36-9 i386\nbluez 5.66-1+deb12u2 amd64\n"},
		"dpkg without last newline": {
			files: map[string]string{"var/lib/dpkg/status": "Package: a\nStatus: install ok installed\nVersion: 1"}, want: "a 1\n"},
		"dpkg with long lines": {
			files: map[string]string{"var/lib/dpkg/status": "Package: a\nStatus: install ok installed\nDepends: " + strings.Repeat("x", 200_000) + "\nVersion: 1\n"}, want: "a 1\n"},
		"dpkg status missing": {files: map[string]string{"var/lib/dpkg/status": "Package: a\nVersion: 1\n"}},
		"distroless": {
			files: map[string]string{
				"var/lib/dpkg/status.d/tzdata":         "Package: tzdata\nVersion: 2026a\nArchitecture: all\n",
				"var/lib/dpkg/status.d/tzdata.md5sums": "0123  usr/share\n\n\n0123  x\n",
				"var/lib/dpkg/status.d/base":           "Package: base-files\nVersion: 12\nArchitecture: amd64\n",
			}, want: "base-files 12 amd64\ntzdata 2026a all\n"},
		"apk": {
			files: map[string]string{
				"lib":                      "-> usr/lib",
				"usr/lib/apk/db/installed": "C:Q1x=\nP:iwd\nV:3.9-r0\nA:x86_64\nF:etc\nM:0:0:755\nR:x\na:0:0:644\n\nP:musl\nV:1.2.5-r1\nA:x86_64\n\n",
			}, want: "iwd 3.9-r0 x86_64\nmusl 1.2.5-r1 x86_64\n"},
		"pacman": {
			files: map[string]string{
				"var/lib/pacman/local/ALPM_DB_VERSION":               "9",
				"var/lib/pacman/local/strongswan-6.0.1-2/desc":       "",
				"var/lib/pacman/local/python-foo-bar-1:2.0.r3-1/des": "",
			}, want: "python-foo-bar 1:2.0.r3-1\nstrongswan 6.0.1-2\n"},
		"rpm is said to be unread": {
			files:  map[string]string{"usr/lib/sysimage/rpm/rpmdb.sqlite": "x", "var/lib/rpm": "-> ../../usr/lib/sysimage/rpm"},
			unread: "/usr/lib/sysimage/rpm/rpmdb.sqlite"},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := list(t, c.files)
			if err != nil {
				t.Fatal(err)
			}
			if got := words(in); got != c.want {
				t.Errorf("packages are\n%swant\n%s", got, c.want)
			}
			if got := strings.Join(in.Unread, " "); got != c.unread {
				t.Errorf("unread is %q, want %q", got, c.unread)
			}
		})
	}
}

func TestListRefuses(t *testing.T) {
	const status = "var/lib/dpkg/status"
	installed := "Status: install ok installed\n"
	for name, c := range map[string]struct {
		file, text, want string
	}{
		"no version":  {status, "Package: a\n" + installed, `stanza that ends in line 3: package has name "a" and version "", want both`},
		"no name":     {status, "\n\nVersion: 1\n" + installed + "\n", `stanza that ends in line 5: package has name "" and version "1", want both`},
		"field twice": {status, "Package: a\nPackage: b\n" + installed, `line 2: field "package" stands twice`},
		"long name":   {status, "Package: " + strings.Repeat("a", 300) + "\nVersion: 1\n" + installed, "is no word of printable characters"},
		"long field":  {status, "Package: " + strings.Repeat("a", 5000) + "\nVersion: 1\n" + installed, `line 1: field "package" stands twice in its stanza or is longer than 4096 bytes`},
		"escape":      {status, "Package: a\x1b[2J\nVersion: 1\n" + installed, "is no word of printable characters"},
		"apk":         {"lib/apk/db/installed", "P:a\n\n", `package has name "a" and version ""`},
		"distroless":  {"var/lib/dpkg/status.d/x", "Version: 1\n", "x: stanza that ends in line 2"},
		"directory":   {status + "/x", "", "cannot read the package database /var/lib/dpkg/status"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := list(t, map[string]string{c.file: c.text})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "cannot read the package database /") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestTooLarge has a database that only says that it is large.
func TestTooLarge(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "var/lib/dpkg/status")
	if err := imgtest.WriteFiles(dir, 0o644, map[string]string{"var/lib/dpkg/status": ""}); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, 64<<20+1); err != nil {
		t.Fatal(err)
	}
	_, err := packages.List(imgtest.OpenDir(t, dir))
	if want := "size is 67108865 bytes, limit is 67108864"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestNamed(t *testing.T) {
	in, err := list(t, map[string]string{"var/lib/dpkg/status.d/x": "Package: a\nVersion: 1\nArchitecture: i386\n\nPackage: ab\nVersion: 1\n\nPackage: a\nVersion: 1\nArchitecture: amd64\n"})
	if err != nil {
		t.Fatal(err)
	}
	if got := in.Named("a"); len(got) != 2 || got[0].Arch != "amd64" || got[1].Arch != "i386" {
		t.Errorf("Named(a) is %v, want two architectures", got)
	}
	for _, name := range []string{"", "A", "b", "aa"} {
		if got := in.Named(name); len(got) != 0 {
			t.Errorf("Named(%q) is %v, want none", name, got)
		}
	}
}

// TestAgreesWithDpkg lets dpkg-query judge: over this machine's own database, and over
// one with a package in each of dpkg's states.
func TestAgreesWithDpkg(t *testing.T) {
	if _, err := exec.LookPath("dpkg-query"); err != nil {
		t.Fatal("no dpkg-query: apt-get install dpkg")
	}
	own, err := os.ReadFile("/var/lib/dpkg/status")
	if err != nil {
		t.Fatalf("this machine has no dpkg database to compare with: %v", err)
	}
	var states strings.Builder
	for _, s := range []string{"not-installed", "config-files", "half-installed", "unpacked", "half-configured", "installed"} {
		fmt.Fprintf(&states, "Package: p-%s\nStatus: install ok %s\nArchitecture: amd64\nVersion: 1:2~rc1-3\nMaintainer: m <m@example.org>\nDescription: d\n\n", s, s)
	}
	for name, text := range map[string]string{"this machine": string(own), "every state": states.String()} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := imgtest.WriteFiles(dir, 0o644, map[string]string{"var/lib/dpkg/status": text, "var/lib/dpkg/updates/.keep": "", "var/lib/dpkg/info/.keep": ""}); err != nil {
				t.Fatal(err)
			}
			in, err := packages.List(imgtest.OpenDir(t, dir))
			if err != nil {
				t.Fatal(err)
			}
			got, want := strings.Split(words(in), "\n"), dpkgQuery(t, filepath.Join(dir, "var/lib/dpkg"))
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("packages differ:\ngot  %.2000q\nwant %.2000q", got, want)
			}
			t.Logf("%d packages: %d agree with dpkg-query", len(want)-1, len(got)-1)
		})
	}
}

// dpkgQuery lists the packages whose files are there.
func dpkgQuery(t *testing.T, admin string) []string {
	t.Helper()
	out, err := exec.Command("dpkg-query", "--admindir="+admin, "-W", "-f", "${db:Status-Status} ${Package} ${Version} ${Architecture}\n").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{""}
	for line := range strings.Lines(string(out)) {
		state, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if state != "config-files" && state != "not-installed" {
			lines = append(lines, rest)
		}
	}
	if len(lines) < 3 {
		t.Fatalf("dpkg-query lists %d packages, want more", len(lines)-1)
	}
	return lines
}

func FuzzDpkg(f *testing.F) {
	fuzz(f, "var/lib/dpkg/status", dpkgStatus, "Package: a\nStatus: install ok installed\nVersion: 1")
}

func FuzzApk(f *testing.F) {
	fuzz(f, "lib/apk/db/installed", "P:iwd\nV:3.9-r0\nA:x86_64\nF:etc\n\nP:musl\nV:1.2.5-r1\n")
}

func fuzz(f *testing.F, file string, seeds ...string) {
	dir := f.TempDir()
	read := func(t testing.TB, text []byte) (packages.Installed, error) {
		if err := imgtest.WriteFiles(dir, 0o644, map[string]string{file: string(text)}); err != nil {
			t.Fatal(err)
		}
		tree, err := rootfs.OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer tree.Close()
		return packages.List(tree)
	}
	for _, s := range seeds {
		if in, err := read(f, []byte(s)); err != nil || len(in.Packages) == 0 {
			f.Fatalf("seed %.40q gives %d packages and %v, want some", s, len(in.Packages), err)
		}
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		in, err := read(t, text)
		if err != nil {
			return
		}
		for _, p := range in.Packages {
			if p.Name == "" || p.Version == "" || strings.ContainsAny(p.Name+p.Version+p.Arch, " \n\x1b") {
				t.Errorf("package %+v is none", p)
			}
			if !slices.Contains(in.Named(p.Name), p) {
				t.Errorf("Named does not find %+v", p)
			}
		}
	})
}
