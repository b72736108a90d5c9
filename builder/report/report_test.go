package report_test

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/report"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/initcheck/notify"
	"github.com/kerngate/kerngate/initcheck/notify/catalog"
	"github.com/kerngate/kerngate/initcheck/policy"
	"github.com/kerngate/kerngate/profiles"
)

var update = flag.Bool("update", false, "write the golden files")

const header = "# Written by a test.\n"

// everything asks for every channel.
var everything = profiles.Report{Motd: true, NodeExporter: []string{profiles.TextfileDir, "/srv/textfiles"}, NodeProblemDetector: true, NodeFeatureDiscovery: true}

// TestFiles holds all texts and links against a golden file.
func TestFiles(t *testing.T) {
	var b strings.Builder
	for _, f := range report.Files(header, everything) {
		b.WriteString(strings.TrimSpace(f.Path+" "+f.Target) + "\n  " + f.Reason + "\n")
		for line := range strings.Lines(string(f.Data)) {
			b.WriteString("  | " + line)
		}
	}
	const golden = "testdata/files.golden"
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(golden, []byte(b.String()), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || b.String() != string(want) {
		t.Errorf("files are\n%s\nwant those of %s (%v; go test -update writes it)", b.String(), golden, err)
	}
}

// TestEachChannel wants a channel's files if it is asked for, and only then.
func TestEachChannel(t *testing.T) {
	for name, c := range map[string]struct {
		want  profiles.Report
		files []string
	}{
		"nobody":                 {profiles.Report{}, nil},
		"motd":                   {profiles.Report{Motd: true}, []string{"/etc/motd.d/initcheck", "/etc/issue.d/initcheck.issue"}},
		"node_exporter":          {profiles.Report{NodeExporter: []string{"/a", "/b"}}, []string{"/a/initcheck.prom", "/b/initcheck.prom"}},
		"node_problem_detector":  {profiles.Report{NodeProblemDetector: true}, []string{"/etc/node-problem-detector.d/custom-plugin-monitor/initcheck.json"}},
		"node_feature_discovery": {profiles.Report{NodeFeatureDiscovery: true}, []string{"/usr/lib/tmpfiles.d/kerngate.conf", "/usr/lib/systemd/system/kerngate-features.service", "/usr/lib/systemd/system/multi-user.target.wants/kerngate-features.service", "/usr/lib/systemd/system/kerngate-features.path", "/usr/lib/systemd/system/multi-user.target.wants/kerngate-features.path"}},
	} {
		t.Run(name, func(t *testing.T) {
			always := []string{catalog.Path, "/usr/lib/systemd/system/kerngate-catalog.service", "/usr/lib/systemd/system/multi-user.target.wants/kerngate-catalog.service"}
			var got []string
			for _, f := range report.Files(header, c.want) {
				got = append(got, f.Path)
			}
			if want := append(always, c.files...); strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("files are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// TestOpOf wants every path, and its parents, and nothing that is somebody else's.
func TestOpOf(t *testing.T) {
	files := report.Files(header, everything)
	if len(files) < 10 {
		t.Fatalf("only %d files", len(files))
	}
	for _, f := range files {
		want := rootfs.WriteFile
		if f.Target != "" {
			want = rootfs.Symlink
		}
		if got := report.OpOf(f.Path); got != want {
			t.Errorf("%s is %q, want %q", f.Path, got, want)
		}
		for dir := path.Dir(f.Path); dir != "/" && !strings.HasPrefix(dir, "/srv"); dir = path.Dir(dir) {
			if got := report.OpOf(dir); got != rootfs.Mkdir {
				t.Errorf("%s is %q, want %q", dir, got, rootfs.Mkdir)
			}
		}
	}
	for _, name := range []string{"/", "/srv", "/srv/textfiles", "/etc/motd", "/etc/issue", "/etc/passwd", "/etc/motd.d/other", "/var/lib/dpkg", "/usr/lib/systemd/system/vllm.service"} {
		if got := report.OpOf(name); got != "" {
			t.Errorf("%s is %q, want nothing", name, got)
		}
	}
}

// TestLinksLeadToRun: what says "pass" must not outlive the boot that said it.
func TestLinksLeadToRun(t *testing.T) {
	places := map[string]bool{policy.Motd: true, policy.Metrics: true}
	links := 0
	for _, f := range report.Files(header, everything) {
		if f.Target == "" || strings.HasPrefix(f.Target, "../") {
			continue
		}
		links++
		if !places[f.Target] {
			t.Errorf("%s leads to %s, which the checker does not write", f.Path, f.Target)
		}
	}
	if links != 4 {
		t.Errorf("links: %d, want 4", links)
	}
}

// installed writes the files into a new tree, with what the units run.
func installed(t *testing.T, files []report.File) string {
	t.Helper()
	root := t.TempDir()
	tree := map[string]string{"usr/lib/systemd/system/initcheck.service": "[Service]\nExecStart=/bin/sh\n", "var/lib/systemd/catalog/.dir": ""}
	for _, target := range []string{"sysinit", "basic", "multi-user", "paths", "shutdown"} {
		tree["usr/lib/systemd/system/"+target+".target"] = "[Unit]\n"
	}
	for _, f := range files {
		tree[f.Path] = string(f.Data)
		if f.Target != "" {
			tree[f.Path] = "-> " + f.Target
		}
	}
	err := imgtest.WriteFiles(root, 0o644, tree)
	if err == nil {
		err = imgtest.WriteFiles(root, 0o755, map[string]string{"bin/sh": ""})
	}
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// run is what a program says; it must not fail, unless it may.
func run(t *testing.T, debian string, argv ...string) string {
	t.Helper()
	name, err := exec.LookPath(argv[0])
	if err != nil {
		t.Fatalf("%s is not installed: apt-get install %s", argv[0], debian)
	}
	out, err := exec.Command(name, argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

func TestSystemdAcceptsTheUnits(t *testing.T) {
	root := installed(t, report.Files(header, everything))
	got := run(t, "systemd", "systemd-analyze", "verify", "--man=no", "--root="+root,
		"kerngate-catalog.service", "kerngate-features.service", "kerngate-features.path", "multi-user.target")
	if got != "" {
		t.Errorf("systemd-analyze verify says\n%s", got)
	}
}

// TestBadUnit is that systemd-analyze would say something.
func TestBadUnit(t *testing.T) {
	files := report.Files(header, everything)
	for i, f := range files {
		files[i].Data = []byte(strings.Replace(string(f.Data), "PathChanged=/run", "PathChanged=run", 1))
	}
	name, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatal("systemd-analyze is not installed: apt-get install systemd")
	}
	out, _ := exec.Command(name, "verify", "--man=no", "--root="+installed(t, files), "kerngate-features.path").CombinedOutput()
	if !strings.Contains(string(out), "Path must be absolute") && !strings.Contains(string(out), "not absolute") {
		t.Errorf("systemd-analyze verify says %q, want a word on the path", out)
	}
}

// TestCatalogueCompiles has journalctl compile the file with its header, and list it.
func TestCatalogueCompiles(t *testing.T) {
	root := installed(t, report.Files("# Written by kerngate.\n# Closes: CVE-2026-31431.\n", profiles.Report{}))
	if out := run(t, "systemd", "journalctl", "--update-catalog", "--root="+root); out != "" {
		t.Errorf("journalctl --update-catalog says\n%s", out)
	}
	list := run(t, "systemd", "journalctl", "--list-catalog", "--root="+root)
	for _, id := range []string{notify.MessagePass, notify.MessageRefuse, notify.MessageBreach, notify.MessageOverride} {
		if !strings.Contains(list, id+" kerngate: ") {
			t.Errorf("journalctl lists\n%s\nwithout %s", list, id)
		}
	}
}

// TestTmpfiles has systemd-tmpfiles make the directory, and take a copy of the last boot
// away at boot only.
func TestTmpfiles(t *testing.T) {
	files := report.Files(header, everything)
	root := installed(t, files)
	conf := ""
	for _, f := range files {
		if strings.Contains(f.Path, "/tmpfiles.d/") {
			conf = filepath.Join(root, f.Path)
		}
	}
	stale := filepath.Join(root, "etc/kubernetes/node-feature-discovery/features.d/initcheck")
	exists := func() bool { _, err := os.Lstat(stale); return err == nil }
	// Who is not root cannot give the directory to root: it is made here.
	if err := errors.Join(os.MkdirAll(filepath.Dir(stale), 0o755), os.WriteFile(stale, []byte("pass"), 0o644)); err != nil {
		t.Fatal(err)
	}
	run(t, "systemd", "systemd-tmpfiles", "--remove", "--root="+root, conf)
	if !exists() {
		t.Error("the copy is gone, though the system did not boot")
	}
	run(t, "systemd", "systemd-tmpfiles", "--boot", "--remove", "--root="+root, conf)
	if exists() {
		t.Error("the copy of the last boot is still there")
	}
}

// copied runs the command of the unit that copies features, in a tree of its own.
func copied(t *testing.T, root string) (string, error) {
	t.Helper()
	for _, f := range report.Files(header, everything) {
		script := regexp.MustCompile(`(?m)^ExecStart=/bin/sh -c '(.*)'$`).FindSubmatch(f.Data)
		if strings.HasSuffix(f.Path, "/system/kerngate-features.service") && script != nil {
			text := regexp.MustCompile(`/(run|etc)/`).ReplaceAllString(string(script[1]), root+"/$1/")
			out, err := exec.Command("/bin/sh", "-c", text).CombinedOutput()
			return string(out), err
		}
	}
	t.Fatal("no unit copies features")
	return "", nil
}

// TestCopyOfFeatures wants the copy to be what the checker wrote, or not there.
func TestCopyOfFeatures(t *testing.T) {
	root := t.TempDir()
	const from, to = "run/initcheck/features", "etc/kubernetes/node-feature-discovery/features.d/initcheck"
	write := func(name, text string) {
		t.Helper()
		if err := imgtest.WriteFiles(root, 0o644, map[string]string{name: text}); err != nil {
			t.Fatal(err)
		}
	}
	write(to, "stale\n")
	for _, want := range []string{"first\n", "second\n"} {
		write(from, want)
		if out, err := copied(t, root); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if got, err := os.ReadFile(filepath.Join(root, to)); string(got) != want || err != nil {
			t.Errorf("copy is %q, %v, want %q", got, err, want)
		}
	}
	if err := os.Remove(filepath.Join(root, from)); err != nil {
		t.Fatal(err)
	}
	if _, err := copied(t, root); err == nil {
		t.Error("nothing to copy: want an error")
	}
	if _, err := os.Lstat(filepath.Join(root, to)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing to copy: the old copy gives %v, want it gone", err)
	}
	entries, err := os.ReadDir(filepath.Join(root, filepath.Dir(to)))
	if err != nil || len(entries) != 0 {
		t.Errorf("the directory holds %v, %v, want nothing", entries, err)
	}
}

// TestProblemMonitor holds the rules that node-problem-detector checks when it starts.
func TestProblemMonitor(t *testing.T) {
	for _, f := range report.Files(header, profiles.Report{NodeProblemDetector: true}) {
		if !strings.HasSuffix(f.Path, ".json") {
			continue
		}
		var m struct {
			Plugin     string
			Conditions []struct{ Type, Reason, Message string }
			Rules      []struct {
				Type, Condition, Reason, Path string
				Args                          []string
			}
		}
		if err := json.Unmarshal(f.Data, &m); err != nil {
			t.Fatal(err)
		}
		if m.Plugin != "custom" || len(m.Conditions) != 1 || len(m.Rules) != 1 {
			t.Fatalf("monitor is %+v, want plugin custom with a condition and a rule", m)
		}
		if r := m.Rules[0]; r.Type != "permanent" || r.Condition != m.Conditions[0].Type || r.Path != policy.Binary || strings.Join(r.Args, " ") != "status --short" || r.Reason == m.Conditions[0].Reason {
			t.Errorf("rule is %+v for the condition %+v", r, m.Conditions[0])
		}
		return
	}
	t.Fatal("no monitor")
}

// TestDocsNameEveryFile wants each file in docs/report.md; links that start units apart.
func TestDocsNameEveryFile(t *testing.T) {
	page, err := os.ReadFile("../../docs/report.md")
	if err != nil {
		t.Fatal(err)
	}
	files := report.Files(header, profiles.Report{Motd: true, NodeExporter: []string{profiles.TextfileDir}, NodeProblemDetector: true, NodeFeatureDiscovery: true})
	for _, f := range files {
		known := strings.Contains(string(page), f.Path) || path.Dir(f.Path) == profiles.TextfileDir && strings.Contains(string(page), profiles.TextfileDir)
		unit := path.Dir(f.Path) == "/usr/lib/systemd/system" && strings.Contains(string(page), "`"+path.Base(f.Path)+"`")
		if !known && !unit && !strings.Contains(f.Path, ".wants/") {
			t.Errorf("docs/report.md lacks %s", f.Path)
		}
	}
}
