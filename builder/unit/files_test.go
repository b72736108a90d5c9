package unit_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/builder/unit"
	"github.com/kerngate/kerngate/profiles"
)

// TestOps holds that every file and every directory above it is known as ours, since only
// such are taken out again.
func TestOps(t *testing.T) {
	c := all([]string{"vllm.service", "vllm@.service", "vllm-.service", "local-ai.socket"})
	seen := 0
	for _, f := range unit.Files(header, c) {
		want := rootfs.WriteFile
		if f.Target != "" {
			want = rootfs.Symlink
		}
		for name := f.Path; name != "/usr/lib/systemd" && name != "/usr/lib"; name = filepath.Dir(name) {
			if got := unit.OpOf(name); got != want {
				t.Errorf("%s is written by %q, want %q", name, got, want)
			}
			want = rootfs.Mkdir
			seen++
		}
	}
	if seen < 40 {
		t.Errorf("only %d paths looked at", seen)
	}
	for _, name := range []string{
		"", "/", "/usr/lib", "/usr/lib/systemd/system/vllm.service", "/usr/lib/systemd/system/vllm.service.d/x.conf", "/usr/lib/systemd/user/vllm.service.d/zz-kerngate.conf",
		"/usr/lib/systemd/user/initcheck.service", "/usr/lib/udev/rules.d/50-kerngate.rules", "/etc/udev/rules.d/99-kerngate.rules", "/usr/lib/systemd/system/x.d/y/50-kerngate.conf",
	} {
		if got := unit.OpOf(name); got != "" {
			t.Errorf("%q is written by %q, want never", name, got)
		}
	}
}

// TestFilesOf holds which files a setting adds.
func TestFilesOf(t *testing.T) {
	paths := func(c unit.Config) []string {
		var out []string
		for _, f := range unit.Files(header, c) {
			out = append(out, f.Path)
		}
		return out
	}
	base := unit.Config{Units: []string{"vllm.service", "local-ai.socket"}}
	without := paths(base)
	for name, c := range map[string]struct {
		change func(*unit.Config)
		want   []string
	}{
		"nothing": {func(*unit.Config) {}, nil},
		"watch": {func(c *unit.Config) { c.Watch = []string{"rds"} },
			[]string{"/usr/lib/udev/rules.d/99-kerngate.rules", "/usr/lib/systemd/system/initcheck-breach.service", "/usr/lib/systemd/system/initcheck-breached.target"}},
		"watch and report": {func(c *unit.Config) { c.Watch, c.ReportOnly = []string{"rds"}, true },
			[]string{"/usr/lib/udev/rules.d/99-kerngate.rules", "/usr/lib/systemd/system/initcheck-breach.service"}},
		"deny":            {func(c *unit.Config) { c.Deny = []string{"AF_RDS"} }, []string{"/usr/lib/systemd/system/vllm.service.d/zz-kerngate.conf"}},
		"boot assessment": {func(c *unit.Config) { c.BootAssessment = true }, []string{"/usr/lib/systemd/system/boot-complete.target.d/50-kerngate.conf"}},
	} {
		changed := base
		c.change(&changed)
		var added []string
		for _, p := range paths(changed) {
			if !slices.Contains(without, p) {
				added = append(added, p)
			}
		}
		if !slices.Equal(added, c.want) {
			t.Errorf("%s adds %q, want %q", name, added, c.want)
		}
	}
}

// TestFamilies holds that each alias of a known module that stands for an address family has
// its name.
func TestFamilies(t *testing.T) {
	form := regexp.MustCompile(`^net-pf-[0-9]+$`)
	var found []string
	for _, m := range profiles.KnownModules() {
		for _, alias := range m.Aliases {
			name, ok := unit.Family(alias)
			if ok != form.MatchString(alias) {
				t.Errorf("alias %s of %s: family %q, %v", alias, m.Name, name, ok)
			}
			if ok {
				found = append(found, name)
			}
		}
	}
	if want := []string{"AF_ALG", "AF_KEY", "AF_RDS", "AF_RXRPC"}; !slices.Equal(found, want) {
		t.Errorf("families are %q, want %q", found, want)
	}
}

// TestDocsNameEveryFile wants each file in the table of docs/gate.md.
func TestDocsNameEveryFile(t *testing.T) {
	page, err := os.ReadFile("../../docs/gate.md")
	if err != nil {
		t.Fatal(err)
	}
	table, _, _ := strings.Cut(string(page), "\n\n## ")
	for _, f := range unit.Files(header, all([]string{"vllm.service"})) {
		name := strings.Replace(f.Path, "/vllm.service.d/", "/UNIT.d/", 1)
		if short := strings.Replace(name, unit.Dir, "…", 1); !strings.Contains(table, "`"+name+"`") && !strings.Contains(table, "`"+short+"`") {
			t.Errorf("the table of docs/gate.md lacks %s", name)
		}
	}
}
