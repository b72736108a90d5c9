package sideeffect

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/imgtest"
)

const wanted = "[Unit]\nDescription=x\n[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"

// sample has a unit in every state that an administrator can bring it into.
var sample = map[string]string{
	"usr/lib/systemd/system/multi-user.target":                         "[Unit]\nDescription=x\n",
	"usr/lib/systemd/system/enabled.service":                           wanted,
	"etc/systemd/system/multi-user.target.wants/enabled.service":       "-> /usr/lib/systemd/system/enabled.service",
	"usr/lib/systemd/system/required.service":                          wanted,
	"etc/systemd/system/multi-user.target.requires/required.service":   "-> ../../../../usr/lib/systemd/system/required.service",
	"usr/lib/systemd/system/disabled.service":                          wanted,
	"usr/lib/systemd/system/static.service":                            "[Service]\nExecStart=/bin/true\n",
	"usr/lib/systemd/system/shipped.service":                           "[Service]\nExecStart=/bin/true\n",
	"usr/lib/systemd/system/multi-user.target.wants/shipped.service":   "-> ../shipped.service",
	"usr/lib/systemd/system/masked.service":                            wanted,
	"etc/systemd/system/masked.service":                                "-> /dev/null",
	"etc/systemd/system/multi-user.target.wants/masked.service":        "-> /usr/lib/systemd/system/masked.service",
	"usr/lib/systemd/system/empty.service":                             wanted,
	"etc/systemd/system/empty.service":                                 "",
	"usr/lib/systemd/system/aliased.service":                           wanted + "Alias=other.service\n",
	"etc/systemd/system/other.service":                                 "-> /usr/lib/systemd/system/aliased.service",
	"etc/systemd/system/own.service":                                   wanted,
	"etc/systemd/system/multi-user.target.wants/own.service":           "-> /etc/systemd/system/own.service",
	"etc/systemd/system/replaced.service":                              wanted,
	"usr/lib/systemd/system/replaced.service":                          "[Service]\nExecStart=/bin/false\n",
	"etc/systemd/system/multi-user.target.wants/gone.service":          "-> /usr/lib/systemd/system/gone.service",
	"usr/lib/systemd/system/other-name.service":                        wanted,
	"etc/systemd/system/multi-user.target.wants/wrong-target.service":  "-> /usr/lib/systemd/system/other-name.service",
	"usr/local/lib/systemd/system/local.service":                       wanted,
	"etc/systemd/system/multi-user.target.wants/local.service":         "-> /usr/local/lib/systemd/system/local.service",
	"etc/systemd/system.control/multi-user.target.wants/early.service": "-> /usr/lib/systemd/system/early.service",
	"usr/lib/systemd/system/early.service":                             wanted,
}

// TestAgreesWithSystemctl lets "systemctl is-enabled" judge, over the sample and over this
// machine's own units.
func TestAgreesWithSystemctl(t *testing.T) {
	if _, err := exec.LookPath("systemctl"); err != nil {
		t.Fatal("no systemctl: apt-get install systemd")
	}
	t.Run("sample", func(t *testing.T) {
		dir := t.TempDir()
		if err := imgtest.WriteFiles(dir, 0o644, sample); err != nil {
			t.Fatal(err)
		}
		agreeWithSystemctl(t, dir, 12)
	})
	t.Run("this machine", func(t *testing.T) {
		dir := t.TempDir()
		for _, from := range []string{"/usr/lib/systemd/system", "/etc/systemd/system"} {
			if err := os.CopyFS(filepath.Join(dir, from), os.DirFS(from)); err != nil {
				t.Fatal(err)
			}
		}
		agreeWithSystemctl(t, dir, 100)
	})
}

// agreeWithSystemctl compares every unit that has a file; templates and aliases are left
// out, as the package says.
func agreeWithSystemctl(t *testing.T, dir string, least int) {
	t.Helper()
	tree := imgtest.OpenDir(t, dir)
	units, err := readUnits(tree)
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, name := range slices.Sorted(maps.Keys(units)) {
		if strings.Contains(name, "@") {
			continue
		}
		out, _ := exec.Command("systemctl", "--root="+dir, "is-enabled", name).Output()
		want := strings.TrimSpace(string(out))
		if want == "alias" || want == "" {
			continue
		}
		compared++
		u := units[name]
		got := fmt.Sprintf("enabled %v, masked %v", u.enabled && !u.masked, u.masked)
		if expected := fmt.Sprintf("enabled %v, masked %v", want == "enabled", want == "masked"); got != expected {
			t.Errorf("%s: %s, systemctl says %s", name, got, want)
		}
	}
	if compared < least {
		t.Fatalf("%d units compared, want at least %d", compared, least)
	}
	t.Logf("%d units: %d agree with systemctl is-enabled", compared, compared)
}

// TestStarts has what is-enabled does not tell: what the distribution itself starts, and
// services without a unit.
func TestStarts(t *testing.T) {
	files := maps.Clone(sample)
	maps.Copy(files, map[string]string{
		"etc/rc3.d/S01scripted":        "-> ../init.d/scripted",
		"etc/rc3.d/K01stopped":         "-> ../init.d/stopped",
		"etc/rc3.d/S01disabled":        "-> ../init.d/disabled",
		"etc/rc3.d/README":             "x",
		"etc/runlevels/default/openrc": "-> /etc/init.d/openrc",
	})
	tree := imgtest.Tree(t, 0o644, files)
	units, err := readUnits(tree)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"enabled.service":  "/etc/systemd/system/multi-user.target.wants/enabled.service",
		"shipped.service":  "/usr/lib/systemd/system/multi-user.target.wants/shipped.service",
		"aliased.service":  "/etc/systemd/system/other.service",
		"disabled.service": "", // its script is not heeded where there is a unit
		"gone.service":     "",
		"scripted.service": "/etc/rc3.d/S01scripted",
		"stopped.service":  "",
		"openrc.service":   "/etc/runlevels/default/openrc",
	} {
		if got := units[name].startedBy; got != want {
			t.Errorf("%s is started by %q, want %q", name, got, want)
		}
	}
}

// TestTooManyUnits has one directory too full.
func TestTooManyUnits(t *testing.T) {
	tree := imgtest.Tree(t, 0o644, map[string]string{"etc/systemd/system/a.service": "x"})
	r := &unitReader{tree: tree, units: units{}, seen: map[string]bool{}, entries: maxUnits}
	if err := r.directory("/etc/systemd/system", true); err == nil || !strings.Contains(err.Error(), "more than 50000 entries") {
		t.Errorf("got %v, want that there are too many", err)
	}
}
