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
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Where things are in the images of mkimage.
const (
	rootPartition = 2    // its number
	espOffset     = "1M" // as mtools take it
)

// TestBoot runs the scenarios of every day.
func TestBoot(t *testing.T) { runScenarios(t, false) }

// runScenarios runs those that are for make soak, or those that are not.
func runScenarios(t *testing.T, soak bool) {
	t.Helper()
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
	run := 0
	for _, name := range names {
		s := readScenario(t, name)
		if s.soak != soak {
			continue
		}
		run++
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			image := Image(t, s.image)
			t.Parallel()
			slots <- struct{}{}
			defer func() { <-slots }()
			s.run(t, kerngate, image)
		})
	}
	if run == 0 {
		t.Fatal("no scenario to run")
	}
}

// run makes the disk that the scenario says, boots it and looks at what it printed.
func (s *scenario) run(t *testing.T, kerngate string, image DebianImage) {
	before := stat(t, image.Disk)
	disk, predicted := s.disk(t, kerngate, image.Disk)
	vmlinuz, initrd, err := image.Kernel(s.kernel)
	if err != nil {
		t.Fatal(err)
	}
	if s.profile != "" && !s.firmware {
		initrd = patchedInitrd(t, disk, initrd)
	}
	start := time.Now()
	m := Start(t, MachineOptions{Disk: disk, Firmware: s.firmware, Kernel: vmlinuz, Initrd: initrd, Append: s.append})
	if s.ends != nil {
		if _, err := m.Expect(s.ends.String(), DefaultTimeout); err != nil {
			t.Fatal(err)
		}
		t.Logf("ended after %.1f s", time.Since(start).Seconds())
	} else {
		report, err := m.Report(DefaultTimeout)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("booted %s in %.1f s", report.Kernel, time.Since(start).Seconds())
		hold(t, "report", strings.Split(report.Text, "\n"), s.report)
	}
	hold(t, "console", m.Console(), s.console)
	for _, line := range m.Console() {
		if strings.HasPrefix(line, "late: ") { // what the scenario's own script measured
			t.Log(line)
		}
	}
	if s.probes() {
		s.holdLoadPaths(t, m, predicted)
	}
	if t.Failed() {
		t.Logf("console:\n%s", strings.Join(m.Console(), "\n"))
	}
	if after := stat(t, image.Disk); after != before {
		t.Errorf("the cached image was written to: %s, before %s", after, before)
	}
}

// patchedInitrd copies out of a patched disk the initramfs whose original lies beside
// the image: QEMU boots with that one, as a boot loader would.
func patchedInitrd(t *testing.T, disk, original string) string {
	t.Helper()
	dir := t.TempDir()
	release := strings.TrimPrefix(filepath.Base(original), "initrd-")
	out := filepath.Join(dir, "initrd")
	command(t, dir, "debugfs", "-R", "dump /boot/initrd.img-"+release+" initrd", rootAt(t, dir, disk))
	if info, err := os.Stat(out); err != nil || info.Size() == 0 {
		t.Fatalf("initramfs of %s in the patched disk: %v", release, err)
	}
	return out
}

// holdLoadPaths compares the table that the prober prints with what the scenario
// expects and with what kerngate predicted.
func (s *scenario) holdLoadPaths(t *testing.T, m *Machine, predicted Cells) {
	t.Helper()
	cells, err := m.LoadPaths(DefaultTimeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d load paths: %d open, %d closed", len(cells), cells.Open(), len(cells)-cells.Open())
	wrong := s.loadPaths.differences(cells)
	if s.predict {
		c := CompareCells(predicted, cells)
		t.Logf("%d load paths are as kerngate verify says, %d are not", c.Agree, len(c.Differences))
		if c.Agree == 0 {
			t.Error("nothing that kerngate verify says was measured")
		}
		wrong = append(wrong, c.Differences...)
	}
	if len(wrong) > 0 {
		t.Errorf("load paths:\n%s\nall of them:\n%s", strings.Join(wrong, "\n"), cells)
	}
}

// disk returns the image's disk, or a copy that the scenario changes, and what kerngate
// says of its load paths where the scenario asks for that.
func (s *scenario) disk(t *testing.T, kerngate, original string) (string, Cells) {
	if s.profile == "" && s.edit == "" && s.entry == "" && !s.probes() {
		return original, nil
	}
	dir := t.TempDir()
	for name, data := range s.files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range s.packages {
		unpackPackage(t, dir, name)
	}
	const disk = "disk.raw"
	var predicted Cells
	if s.profile == "" {
		command(t, dir, "cp", "--sparse=always", "--reflink=auto", original, disk)
	} else {
		predicted = s.patch(t, dir, kerngate, original, disk)
	}
	edit := s.edit
	if s.probes() {
		command(t, ".", "go", "build", "-trimpath", "-o", filepath.Join(dir, "loadpaths"), "./loadpaths")
		edit += "\nwrite loadpaths /usr/local/sbin/loadpaths\n"
	}
	if edit != "" {
		editRoot(t, dir, disk, edit)
	}
	if s.entry != "" {
		chooseEntry(t, dir, disk, s.entry)
	}
	if s.tries != "" {
		countEntries(t, dir, disk, s.tries)
	}
	judge(t, dir, disk)
	return filepath.Join(dir, disk), predicted
}

// unpackPackage gets a package from where apt of this machine gets its own, and unpacks it
// into the directory NAME. Nothing is installed, and no script of it runs.
func unpackPackage(t *testing.T, dir, name string) {
	t.Helper()
	// Lists that are not there, or older than the mirror, are got anew.
	command(t, dir, "sh", "-c", `apt-get -q download "$0" || { apt-get -q update && apt-get -q download "$0"; }`, name)
	files, err := filepath.Glob(filepath.Join(dir, name+"_*.deb"))
	if err != nil || len(files) != 1 {
		t.Fatalf("package %s: %d files, %v, want one", name, len(files), err)
	}
	command(t, dir, "dpkg-deb", "--extract", files[0], name)
}

// patch writes a patched copy of the original.
func (s *scenario) patch(t *testing.T, dir, kerngate, original, disk string) Cells {
	profile := s.profile
	if _, ok := s.files[profile]; ok {
		profile = "./" + profile
	}
	options := []string{"--profile", profile}
	if !s.firmware {
		options = append(options, "--accept", "external-cmdline") // QEMU has it from us
	}
	if s.accept != "" {
		options = append(options, "--accept", s.accept)
	}
	command(t, dir, kerngate, slices.Concat([]string{"apply", "-o", disk}, options, []string{original})...)
	report := command(t, dir, kerngate, slices.Concat([]string{"verify", "--json"}, options, []string{disk})...)
	judge(t, dir, disk)
	if !s.predict {
		return nil
	}
	predicted, err := ParsePrediction([]byte(report))
	if err != nil {
		t.Fatal(err)
	}
	return predicted
}

// judge holds a disk against the checkers of its formats.
func judge(t *testing.T, dir, disk string) {
	t.Helper()
	if out := command(t, dir, "sgdisk", "-v", disk); !strings.Contains(out, "No problems found") {
		t.Fatalf("sgdisk finds problems:\n%s", out)
	}
	table := command(t, dir, "sgdisk", "-p", disk)
	partitions := regexp.MustCompile(`(?m)^ +(\d+) +(\d+) +(\d+) .* (\w+)$`).FindAllStringSubmatch(table, -1)
	if len(partitions) < rootPartition {
		t.Fatalf("sgdisk lists %d partitions, want at least %d:\n%s", len(partitions), rootPartition, table)
	}
	for _, p := range partitions {
		if p[4] != "esp" {
			command(t, dir, "e2fsck", "-fn", partitionAt(t, dir, disk, p[1]))
			continue
		}
		command(t, dir, "dd", "if="+disk, "of=esp.fat", "bs=512", "conv=sparse", "skip="+p[2], fmt.Sprintf("count=%d", number(t, p[3])-number(t, p[2])+1))
		command(t, dir, "fsck.vfat", "-n", "esp.fat")
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

// chooseEntry has systemd-boot take an entry, whose name is given as a glob.
func chooseEntry(t *testing.T, dir, disk, entry string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "loader.conf"), []byte("default "+entry+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	command(t, dir, "mcopy", "-o", "-i", disk+"@@"+espOffset, "loader.conf", "::/loader/loader.conf")
}

// countEntries gives each entry of systemd-boot a number of tries, by its name: see
// "Automatic Boot Assessment" in its documentation.
func countEntries(t *testing.T, dir, disk, tries string) {
	t.Helper()
	const entries = "::/loader/entries/"
	counted := 0
	for _, name := range strings.Fields(command(t, dir, "mdir", "-b", "-i", disk+"@@"+espOffset, entries)) {
		if stem, ok := strings.CutSuffix(name, ".conf"); ok {
			command(t, dir, "mren", "-i", disk+"@@"+espOffset, name, stem+"+"+tries+".conf")
			counted++
		}
	}
	if counted == 0 {
		t.Fatal("systemd-boot has no entry to count")
	}
}

// rootAt names the root partition as partitionAt does.
func rootAt(t *testing.T, dir, disk string) string {
	t.Helper()
	return partitionAt(t, dir, disk, fmt.Sprint(rootPartition))
}

// partitionAt names a partition as e2fsprogs takes it: file?offset=bytes.
func partitionAt(t *testing.T, dir, disk, partition string) string {
	t.Helper()
	out := command(t, dir, "sgdisk", "-i", partition, disk)
	found := regexp.MustCompile(`First sector: (\d+)`).FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("sgdisk names no first sector:\n%s", out)
	}
	return fmt.Sprintf("%s?offset=%d", disk, number(t, found[1])*512)
}

func number(t *testing.T, digits string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// command runs a program that must succeed, and returns what it printed.
func command(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "LC_ALL=C")
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
