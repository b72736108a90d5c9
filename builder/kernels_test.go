package builder_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder"
)

// entryAfter is the boot entry of a root after a build, with the plan for it.
func entryAfter(t *testing.T, files map[string]string) (string, *builder.Plan, error) {
	t.Helper()
	plan, err := builder.NewPlan(treeWith(t, files), request(t, "", "").Profile, "kerngate test", stubChecker)
	if err != nil {
		return "", nil, err
	}
	i := slices.IndexFunc(plan.Changes, func(c builder.Change) bool { return c.Path == "/boot/loader/entries/debian.conf" })
	if i < 0 {
		t.Fatal("the boot entry does not change")
	}
	text, _ := plan.Changes[i].Text()
	return text, plan, nil
}

func TestInitcallsOfKernelsWithoutModules(t *testing.T) {
	const other = "boot/loader/entries/other.conf"
	for _, c := range []struct {
		name     string
		files    map[string]string
		initcall string // on every command line
		warning  string
	}{
		{"kernel of the tree", map[string]string{}, "", ""},
		{"one that has only built-in modules", map[string]string{"usr/lib/modules/6.6.0/modules.builtin": "kernel/crypto/af_alg.ko\n"}, "initcall_blacklist=af_alg_init\n", ""},
		{"no list", map[string]string{other: "linux /boot/vmlinuz-6.6.0\noptions ro\n", "boot/vmlinuz-6.6.0": "MZ", "boot/vmlinuz-" + release: "MZ"},
			"initcall_blacklist=af_alg_init,algif_aead_init,", "/boot/loader/entries/other.conf:2: it starts a kernel whose list of modules is not in the image: what /boot/vmlinuz-6.6.0 has built in is not known"},
		{"entry of a kernel that is gone", map[string]string{other: "linux /boot/vmlinuz-6.6.0\noptions ro\n"}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, plan, err := entryAfter(t, c.files)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(text, "initcall_blacklist="); got != (c.initcall != "") || !strings.Contains(text, c.initcall) {
				t.Errorf("entry is %q, want in it %q", text, c.initcall)
			}
			told := slices.ContainsFunc(plan.Warnings, func(w string) bool { return strings.Contains(w, "built in is not known") })
			if told != (c.warning != "") || (told && !slices.Contains(plan.Warnings, c.warning)) {
				t.Errorf("warnings are %q, want %q", plan.Warnings, c.warning)
			}
		})
	}
}

func TestKernelThatHeedsNoCommandLine(t *testing.T) {
	for _, c := range []struct{ name, config, want string }{
		{"x86", "CONFIG_CMDLINE_BOOL=y\nCONFIG_CMDLINE_OVERRIDE=y\n", "/boot/config-" + release + ": kernel " + release + " has CONFIG_CMDLINE_OVERRIDE"},
		{"arm64", "CONFIG_CMDLINE_FORCE=y\n", "has CONFIG_CMDLINE_FORCE"},
		{"one that heeds it", "CONFIG_CMDLINE_BOOL=y\n# CONFIG_CMDLINE_OVERRIDE is not set\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := entryAfter(t, map[string]string{"boot/config-" + release: c.config})
			if (err != nil) != (c.want != "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
}
