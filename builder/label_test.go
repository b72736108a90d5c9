package builder_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder"
	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/rootfs"
)

const labelPolicy = `/.*	system_u:object_r:default_t:s0
/etc(/.*)?	system_u:object_r:etc_t:s0
/etc/modprobe\.d/.*	--	system_u:object_r:modules_conf_t:s0
/usr(/.*)?	system_u:object_r:usr_t:s0
/usr/s?bin/.*	--	system_u:object_r:bin_t:s0
/usr/lib/systemd/system(/.*)?	system_u:object_r:systemd_unit_t:s0
/usr/lib/systemd/system/.*	-l	system_u:object_r:systemd_link_t:s0
`

// labelledDisk makes a disk whose root has a policy, if any, and a label "old_t" on
// every name but one.
func labelledDisk(t *testing.T, policy string) (disk string, offset int64) {
	t.Helper()
	root := newRoot(t)
	if policy != "" {
		files := filepath.Join(root, "etc/selinux/targeted/contexts/files")
		if err := os.MkdirAll(files, 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(files, "file_contexts"), policy)
		writeFile(t, filepath.Join(files, "file_contexts.subs_dist"), "/usr/lib64 /usr/lib\n")
		writeFile(t, filepath.Join(root, "etc/selinux/config"), "SELINUX=enforcing\nSELINUXTYPE=targeted\n")
	}
	disk = filepath.Join(t.TempDir(), "disk.raw")
	if err := imgtest.WriteDisk(disk, "gpt", imgtest.Part{FS: "ext4", Dir: root, Size: 24 * imgtest.MiB, Type: "L"}); err != nil {
		t.Fatal(err)
	}
	target, err := image.Open(disk, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	all, err := imgtest.ReadTree(target.Tree())
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	for name := range all {
		if name != "/usr/lib/systemd/libsystemd-shared-252.so" {
			commands = append(commands, fmt.Sprintf(`ea_set "%s" security.selinux system_u:object_r:old_t:s0\000`, name))
		}
	}
	if len(commands) < 20 {
		t.Fatalf("the root has %d names to label", len(commands))
	}
	debugfs(t, disk, target.Root().Offset, commands...)
	return disk, target.Root().Offset
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func debugfs(t *testing.T, disk string, offset int64, commands ...string) {
	t.Helper()
	script := filepath.Join(t.TempDir(), "script")
	writeFile(t, script, strings.Join(commands, "\n")+"\n")
	cmd := exec.Command("debugfs", "-w", "-f", script, fmt.Sprintf("%s?offset=%d", disk, offset))
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if _, err := cmd.Output(); err != nil || strings.Count(stderr.String(), "\n") != 1 {
		t.Fatalf("debugfs: %v (apt-get install e2fsprogs): %s", err, stderr.String())
	}
}

func labelAt(t *testing.T, disk, name string) string {
	t.Helper()
	target, err := image.Open(disk, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	all, err := target.Tree().Xattrs(name)
	if err != nil {
		t.Fatal(err)
	}
	label := string(all["security.selinux"])
	if label != "" && !strings.HasSuffix(label, "\x00") {
		t.Errorf("label of %s is %q, want a zero byte at its end", name, label)
	}
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSuffix(label, "\x00"), "system_u:object_r:"), ":s0")
}

func planOf(t *testing.T, disk string) *builder.Plan {
	t.Helper()
	target, err := image.Open(disk, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	r := request(t, disk, "")
	plan, err := builder.NewPlan(target.Tree(), r.Profile, r.Tool, r.Checker)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func verifies(t *testing.T, disk string) *builder.Verification {
	t.Helper()
	target, err := image.Open(disk, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	r := request(t, disk, "")
	v, err := builder.Verify(target.Tree(), r.Profile, r.Tool, r.Checker)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// applyTo patches a disk into a new one beside it.
func applyTo(t *testing.T, disk string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out.raw")
	if _, err := builder.Apply(t.Context(), request(t, disk, out)); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestLabelsFollowThePolicy(t *testing.T) {
	want := map[string]string{
		"/etc/modprobe.d/00-kerngate.conf":                               "modules_conf_t",
		"/usr/lib/kerngate":                                              "usr_t",
		builder.ManifestPath:                                             "usr_t",
		"/usr/lib/systemd/system/initcheck.service":                      "systemd_unit_t",
		"/usr/lib/systemd/system/sysinit.target.wants/initcheck.service": "systemd_link_t",
		"/usr/lib/systemd/system/vllm.service.d":                         "systemd_unit_t",
		"/usr/lib/systemd/system/vllm.service.d/50-kerngate.conf":        "systemd_unit_t",
		"/etc/modprobe.d":                                                "old_t", // was there
		"/usr/lib/systemd/libsystemd-shared-252.so":                      "",      // was there
	}
	disk, offset := labelledDisk(t, labelPolicy)
	planned := 0
	for _, c := range planOf(t, disk).Changes {
		if strings.HasPrefix(c.Path, "/boot/") {
			continue // somebody else's: it keeps its label
		}
		if c.Before.Label != "" || c.After.Label == "" || !strings.Contains(c.After.String(), c.After.Label) {
			t.Errorf("%s: from %v to %v, want a label only after", c.Path, c.Before, c.After)
		}
		if label, listed := want[c.Path]; listed {
			planned++
			if c.After.Label != "system_u:object_r:"+label+":s0" {
				t.Errorf("%s is planned with %s, want %s", c.Path, c.After.Label, label)
			}
		}
	}
	if planned != len(want)-2 {
		t.Errorf("%d paths of the list are planned, want %d", planned, len(want)-2)
	}
	out := applyTo(t, disk)
	for name, label := range want {
		if got := labelAt(t, out, name); got != label {
			t.Errorf("%s has the label %q, want %q", name, got, label)
		}
	}
	if plan := planOf(t, out); !plan.Empty() || !verifies(t, out).Conforms {
		t.Errorf("the result does not conform: %v", plan.Changes)
	}

	// A label that is lost or wrong is found and mended; other attributes stay.
	const conf, link = "/etc/modprobe.d/00-kerngate.conf", "/usr/lib/systemd/system/sysinit.target.wants/initcheck.service"
	debugfs(t, out, offset, "ea_set "+conf+` security.selinux system_u:object_r:wrong_t:s0\000`, "ea_set "+conf+" user.note mine", "ea_rm "+link+" security.selinux")
	v := verifies(t, out)
	failed := map[string]string{}
	for _, c := range v.Checks {
		if !c.OK {
			failed[c.What] = c.Text
		}
	}
	if len(failed) != 2 || !strings.Contains(failed[conf], "wrong_t:s0, want") || !strings.Contains(failed[link], "systemd_link_t") {
		t.Errorf("verify finds %q, want the two labels", failed)
	}
	mended := applyTo(t, out)
	if got := labelAt(t, mended, conf) + " " + labelAt(t, mended, link); got != "modules_conf_t systemd_link_t" {
		t.Errorf("mended labels are %s", got)
	}
	target, err := image.Open(mended, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if all, err := target.Tree().Xattrs(conf); err != nil || string(all["user.note"]) != "mine" {
		t.Errorf("attributes are %q (%v), want the note kept", all, err)
	}
}

func TestLabelsWithoutADecision(t *testing.T) {
	const conf = "/etc/modprobe.d/00-kerngate.conf"
	for _, c := range []struct {
		name, policy string
		label        string // of conf
		warning      string
	}{
		{"no policy", "", "old_t", ""},
		{"policy that is broken", "/etc\n", "old_t", "file_contexts: line 1: it has 1 fields, want an expression, perhaps a type, and a context: new files"},
		{"line that RE2 cannot take", "/.*\tsystem_u:object_r:default_t:s0\n/etc/(?=m).*\tsystem_u:object_r:x_t:s0\n", "old_t", conf + " keeps its label or gets that of its directory: selinux: file_contexts line 2"},
		{"no label wanted", "/etc/.*\t<<none>>\n", "old_t", ""},
		{"no line that fits", "/usr/.*\tsystem_u:object_r:usr_t:s0\n", "old_t", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk, _ := labelledDisk(t, c.policy)
			warnings := strings.Join(planOf(t, disk).Warnings, "\n")
			if !strings.Contains(warnings, c.warning) || c.warning == "" && strings.Contains(warnings, "label") {
				t.Errorf("warnings are %q, want %q among them", warnings, c.warning)
			}
			out := applyTo(t, disk)
			if got := labelAt(t, out, conf); got != c.label {
				t.Errorf("label is %q, want %q", got, c.label)
			}
			if plan := planOf(t, out); !plan.Empty() {
				t.Errorf("a second plan has changes: %v", plan.Changes)
			}
		})
	}
}

func TestNoLabelsWhereTheRootHasNone(t *testing.T) {
	disk := newDisk(t)
	for _, c := range planOf(t, disk).Changes {
		if c.After.Label != "" {
			t.Errorf("%s is planned with the label %s", c.Path, c.After.Label)
		}
	}
	if all := planOf(t, disk).Edits(request(t, disk, "").Time); len(all) == 0 || all[0].Xattrs != nil || all[0].Op == rootfs.Remove {
		t.Errorf("edits are %d, the first has attributes", len(all))
	}
}
