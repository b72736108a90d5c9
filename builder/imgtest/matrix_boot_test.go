//go:build boot

package imgtest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// matrixTimeout is how long a boot with all states may take: about three minutes on
// idle cores. It only ends what hangs.
const matrixTimeout = 40 * time.Minute

// matrixUnit starts the program when the boot has ended. It is no oneshot: the boot
// would not end while it runs, and systemd would write between its lines.
const matrixUnit = `[Unit]
After=multi-user.target boot-report.service
[Service]
ExecStart=/usr/local/sbin/gatematrix
`

// matrixFstab has the root alone: the units of other volumes would wait for their
// devices.
const matrixFstab = "LABEL=root / ext4 errors=remount-ro 0 1\n"

// matrixImage is one for each version of systemd. Debian testing moves on: there a later
// version has to come out like the one that the tables name.
type matrixImage struct {
	systemd, image, kernel string
	moves                  bool
}

var matrixImages = []matrixImage{
	{systemd: "252", image: "bookworm", kernel: Newest},
	{systemd: "257", image: "trixie-grub", kernel: "6.12"},
	{systemd: "262", image: "forky", kernel: Newest, moves: true},
}

// is tells whether a report's version, "262 (262-1)", is that of the image.
func (m matrixImage) is(version string) bool {
	got, want := 0, 0
	if _, err := fmt.Sscanf(version, "%d", &got); err != nil {
		return false
	}
	if _, err := fmt.Sscanf(m.systemd, "%d", &want); err != nil {
		return false
	}
	return got == want || m.moves && got > want
}

// TestBootMatrix runs all states and starters in one boot for each version of systemd.
func TestBootMatrix(t *testing.T) {
	slots := make(chan struct{}, min(2, runtime.NumCPU()))
	for _, m := range matrixImages {
		t.Run("systemd"+m.systemd, func(t *testing.T) {
			t.Parallel()
			slots <- struct{}{}
			defer func() { <-slots }()
			table := matrixOf(t, m.patched(t), m)
			count, wrong := table.compare(m.systemd, matrixStates)
			wrong = append(wrong, table.unseen(matrixStates)...)
			total := len(matrixStates) * len(matrixStarters)
			t.Logf("systemd %s: %d cells: %d closed, %d start, %d open by name", m.systemd, total, count[matrixClosed], count[matrixStarts], count[matrixOpen])
			if len(wrong) > 0 || total == 0 {
				t.Errorf("%d of %d cells:\n%s", len(wrong), total, strings.Join(wrong, "\n"))
			}
		})
	}
}

// TestBootMatrixControl: with the usual Requires= and After= in the drop-ins servers
// start although the checker has not passed. So it is ours that hold them, and the
// program sees it when they do not.
func TestBootMatrixControl(t *testing.T) {
	m := matrixImages[0]
	skipped := []string{"unit-masked", "unit-missing", "condition-false", "failure-ignored"}
	states := append([]string{"refuses"}, skipped...)
	table := matrixOf(t, m.patched(t), m, "matrix.control", "matrix.states="+strings.Join(states, ","))
	ran := 0
	for _, did := range table.ran {
		if did {
			ran++
		}
	}
	t.Logf("systemd %s, Requires= and After= alone: %d of %d cells ran", m.systemd, ran, len(table.ran))
	want := map[string]bool{"refuses wants": false, "refuses manual": false}
	for _, state := range states {
		want[state+" ignore-dependencies"] = true
	}
	for _, state := range skipped {
		want[state+" wants"] = true
	}
	for cell, should := range want {
		if did, found := table.ran[cell]; !found || did != should {
			t.Errorf("%s: ran is %v (measured: %v), want %v", cell, did, found, should)
		}
	}
}

// TestBootMatrixWhole boots into those states that a start by hand does not show: in
// the transaction of a boot systemd drops what it cannot start and goes on.
func TestBootMatrixWhole(t *testing.T) {
	states := map[string]string{
		"unit-masked":     "symlink /etc/systemd/system/initcheck.service /dev/null",
		"unit-missing":    "rm /usr/lib/systemd/system/initcheck.service",
		"condition-false": "mkdir /etc/systemd/system/initcheck.service.d\nwrite condition /etc/systemd/system/initcheck.service.d/50-site.conf",
	}
	slots := make(chan struct{}, min(2, runtime.NumCPU()))
	for _, m := range matrixImages {
		for state, edit := range states {
			t.Run(state+"_systemd"+m.systemd, func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				d := m.patched(t)
				if err := os.WriteFile(filepath.Join(d.dir, "condition"), []byte("[Unit]\nConditionPathExists=/nonexistent\n"), 0o644); err != nil {
					t.Fatal(err)
				}
				editRoot(t, d.dir, d.file, edit+"\n")
				_, report := d.boot(t)
				if report.Units["vllm.service"] != "inactive" || report.Units["initcheck.service"] != "inactive" {
					t.Errorf("units are %v, want both inactive\n%s", report.Units, report.Text)
				}
			})
		}
	}
}

// matrixDisk is a patched copy of an image with the program in it.
type matrixDisk struct{ dir, file, vmlinuz, initrd string }

func (m matrixImage) patched(t *testing.T) matrixDisk {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	image := Image(t, m.image)
	d := matrixDisk{dir: t.TempDir(), file: "disk.raw"}
	if d.vmlinuz, d.initrd, err = image.Kernel(m.kernel); err != nil {
		t.Fatal(err)
	}
	d.initrd = withoutLoads(t, d.dir, d.initrd)
	profile := filepath.Join(root, "testdata/boot/matrix/profile.toml")
	command(t, d.dir, filepath.Join(root, "bin/kerngate"), "apply", "-o", d.file, "--profile", profile, image.Disk)
	command(t, ".", "go", "build", "-trimpath", "-o", filepath.Join(d.dir, "gatematrix"), "./gatematrix")
	for name, text := range map[string]string{"unit": matrixUnit, "fstab": matrixFstab} {
		if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	editRoot(t, d.dir, d.file, `rm /etc/fstab
write fstab /etc/fstab
write gatematrix /usr/local/sbin/gatematrix
write unit /etc/systemd/system/gate-matrix.service
symlink /etc/systemd/system/multi-user.target.wants/gate-matrix.service ../gate-matrix.service
`)
	return d
}

// withoutLoads copies an initramfs in which the script for load-path tests, if there is
// one, does nothing: trying modules takes longer than the rest of the boot. What comes
// last in an initramfs wins, if it begins at a multiple of 512 bytes.
func withoutLoads(t *testing.T, dir, initrd string) string {
	t.Helper()
	const script = "usr/local/lib/load-paths/initramfs"
	out := filepath.Join(dir, "initrd")
	command(t, dir, "mkdir", "-p", "over/"+filepath.Dir(script))
	if err := os.WriteFile(filepath.Join(dir, "over", script), []byte("exit 0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	command(t, dir, "cp", initrd, out)
	command(t, dir, "truncate", "--size=%512", out)
	command(t, dir, "sh", "-c", "cd over && find usr | cpio --quiet -o -H newc >>../initrd")
	return out
}

// boot starts the disk and waits for its report.
func (d matrixDisk) boot(t *testing.T, arguments ...string) (*Machine, Report) {
	t.Helper()
	judge(t, d.dir, d.file)
	machine := Start(t, MachineOptions{
		Disk: filepath.Join(d.dir, d.file), Kernel: d.vmlinuz, Initrd: d.initrd, Append: arguments, Timeout: matrixTimeout,
	})
	report, err := machine.Report(matrixTimeout)
	if err != nil {
		t.Fatal(err)
	}
	return machine, report
}

// matrixOf boots a disk and gives the table that the program prints.
func matrixOf(t *testing.T, d matrixDisk, m matrixImage, arguments ...string) matrixTable {
	t.Helper()
	start := time.Now()
	machine, report := d.boot(t, arguments...)
	if !m.is(report.Systemd) {
		t.Fatalf("image %s has systemd %q, want %s", m.image, report.Systemd, m.systemd)
	}
	if report.Units["vllm.service"] != "active" || report.Units["initcheck.service"] != "active" {
		t.Fatalf("after the boot the units are %v, want both active\n%s", report.Units, report.Text)
	}
	booted := time.Since(start)
	lines, end, err := gateMatrix.await(machine, matrixTimeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("booted in %.0f s, done after %.0f s", booted.Seconds(), time.Since(start).Seconds())
	table, err := parseMatrix(lines, end)
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(lines, "\n"))
	}
	return table
}
