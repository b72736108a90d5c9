//go:build boot

package imgtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// rootPartition is the number of the root partition in the images of mkimage.
const rootPartition = 2

// scenario is one boot: testdata/boot/*.txtar; its README describes the form.
type scenario struct {
	image   string            // a name that mkimage knows
	kernel  string            // as in DebianImage.Kernel
	profile string            // name, or a file of the archive; empty: image stays as it is
	edit    string            // debugfs commands run on the root after apply
	console []expectation     // held against every console line
	report  []expectation     // held against every line of the report
	files   map[string][]byte // for profile and edit
}

// expectation is a regular expression that some line must match, or none may.
type expectation struct {
	re   *regexp.Regexp
	none bool
}

func TestBoot(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(root, "testdata/boot/*.txtar"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no scenarios: %v, %v", names, err)
	}
	kerngate := filepath.Join(root, "bin/kerngate")
	if _, err := os.Stat(kerngate); err != nil {
		t.Fatalf("%v: make build first", err)
	}
	// Two emulated machines at once, and no more than there are cores: their guests
	// have timeouts of their own.
	slots := make(chan struct{}, min(2, runtime.NumCPU()))
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			s := readScenario(t, name)
			image := Image(t, s.image)
			t.Parallel()
			slots <- struct{}{}
			defer func() { <-slots }()
			s.run(t, kerngate, image)
		})
	}
}

// run patches the image as the scenario says, boots it and looks at what it printed.
func (s *scenario) run(t *testing.T, kerngate string, image DebianImage) {
	disk := image.Disk
	before := stat(t, disk)
	if s.profile != "" {
		disk = s.patch(t, kerngate, image.Disk)
	}
	vmlinuz, initrd, err := image.Kernel(s.kernel)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	m := Start(t, MachineOptions{Disk: disk, Kernel: vmlinuz, Initrd: initrd})
	report, err := m.Report(DefaultTimeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("booted %s in %.1f s", report.Kernel, time.Since(start).Seconds())
	hold(t, "console", m.Console(), s.console)
	hold(t, "report", strings.Split(report.Text, "\n"), s.report)
	if t.Failed() {
		t.Logf("console:\n%s", strings.Join(m.Console(), "\n"))
	}
	if after := stat(t, image.Disk); after != before {
		t.Errorf("the cached image was written to: %s, before %s", after, before)
	}
}

// patch returns a patched copy of the disk, with the scenario's edits in it.
func (s *scenario) patch(t *testing.T, kerngate, disk string) string {
	dir := t.TempDir()
	for name, data := range s.files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	profile := s.profile
	if _, ok := s.files[profile]; ok {
		profile = "./" + profile
	}
	command(t, dir, kerngate, "apply", "--profile", profile, "-o", "patched.raw", disk)
	command(t, dir, kerngate, "verify", "--profile", profile, "patched.raw")
	judge(t, dir, "patched.raw")
	if s.edit != "" {
		editRoot(t, dir, "patched.raw", s.edit)
		judge(t, dir, "patched.raw")
	}
	return filepath.Join(dir, "patched.raw")
}

// judge holds a disk against the checkers of its formats.
func judge(t *testing.T, dir, disk string) {
	t.Helper()
	command(t, dir, "e2fsck", "-fn", rootAt(t, dir, disk))
	if out := command(t, dir, "sgdisk", "-v", disk); !strings.Contains(out, "No problems found") {
		t.Fatalf("sgdisk finds problems:\n%s", out)
	}
}

// editRoot runs debugfs commands on the root. The exit code of debugfs is 0 on nearly
// every error; what it writes to stderr behind its version is the error.
func editRoot(t *testing.T, dir, disk, script string) {
	t.Helper()
	file := filepath.Join(dir, "edit.debugfs")
	if err := os.WriteFile(file, []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("debugfs", "-w", "-f", file, rootAt(t, dir, disk))
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	_, complaints, _ := strings.Cut(stderr.String(), "\n")
	if err != nil || complaints != "" {
		t.Fatalf("debugfs: %v\n%s\n%s", err, complaints, out)
	}
}

// rootAt names the root partition as e2fsprogs takes it: file?offset=bytes.
func rootAt(t *testing.T, dir, disk string) string {
	t.Helper()
	out := command(t, dir, "sgdisk", "-i", fmt.Sprint(rootPartition), disk)
	found := regexp.MustCompile(`First sector: (\d+)`).FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("sgdisk names no first sector:\n%s", out)
	}
	var sector int64
	fmt.Sscan(found[1], &sector)
	return fmt.Sprintf("%s?offset=%d", disk, sector*512)
}

// command runs a program that must succeed, and returns what it printed.
func command(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return string(out)
}

func stat(t *testing.T, name string) string {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d bytes, %s", info.Size(), info.ModTime())
}

// hold tells which expectations the lines do not meet.
func hold(t *testing.T, where string, lines []string, want []expectation) {
	t.Helper()
	for _, e := range want {
		met := ""
		for _, line := range lines {
			if e.re.MatchString(line) {
				met = line
				break
			}
		}
		switch {
		case e.none && met != "":
			t.Errorf("%s has a line that matches %q, want none: %s", where, e.re, met)
		case !e.none && met == "":
			t.Errorf("%s has no line that matches %q", where, e.re)
		}
	}
}

// readScenario reads a scenario strictly: what is misspelt must not go unchecked.
func readScenario(t *testing.T, name string) *scenario {
	t.Helper()
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	s := &scenario{files: map[string][]byte{}}
	for _, line := range textLines(archive.Comment) {
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "image":
			s.image = value
		case "kernel":
			s.kernel = value
		case "profile":
			s.profile = value
		default:
			t.Fatalf("%s: unknown line %q", name, line)
		}
	}
	for _, f := range archive.Files {
		switch f.Name {
		case "edit":
			s.edit = string(f.Data)
		case "console":
			s.console = expectations(t, f.Data)
		case "report":
			s.report = expectations(t, f.Data)
		default:
			s.files[f.Name] = f.Data
		}
	}
	if s.image == "" || s.kernel == "" || len(s.report) == 0 || s.profile == "" && s.edit != "" {
		t.Fatalf("%s: needs image, kernel and report; edit needs profile", name)
	}
	return s
}

func expectations(t *testing.T, text []byte) []expectation {
	t.Helper()
	var list []expectation
	for _, line := range textLines(text) {
		expr, none := strings.CutPrefix(line, "! ")
		re, err := regexp.Compile(expr)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, expectation{re, none})
	}
	return list
}

// textLines are the lines of a text without comments and empty lines.
func textLines(text []byte) []string {
	var lines []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimRight(line, "\n"); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}
