//go:build boot

package imgtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// matrixTimeout is how long all states may take: about two minutes on idle cores.
const matrixTimeout = 12 * time.Minute

// matrixUnit starts the program when the boot has ended. It is no oneshot: the boot
// would not end while it runs, and systemd would write between its lines.
const matrixUnit = `[Unit]
After=multi-user.target boot-report.service
[Service]
ExecStart=/usr/local/sbin/gatematrix
`

func TestBootMatrix(t *testing.T) {
	for _, m := range matrixImages {
		t.Run("systemd"+m.systemd, func(t *testing.T) {
			cells, notes := bootMatrix(t, m, "")
			t.Log(notes)
			t.Log(cells)
		})
	}
}

// bootMatrix boots a patched image with the program in it, and gives its table.
func bootMatrix(t *testing.T, m matrixImage, edit string, arguments ...string) (cells, notes []string) {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	image := Image(t, m.image)
	const disk = "disk.raw"
	command(t, dir, filepath.Join(root, "bin/kerngate"), "apply", "-o", disk, "--profile", filepath.Join(root, "testdata/boot/matrix/profile.toml"), image.Disk)
	command(t, ".", "go", "build", "-trimpath", "-o", filepath.Join(dir, "gatematrix"), "./gatematrix")
	if err := os.WriteFile(filepath.Join(dir, "unit"), []byte(matrixUnit), 0o644); err != nil {
		t.Fatal(err)
	}
	editRoot(t, dir, disk, edit+`
write gatematrix /usr/local/sbin/gatematrix
write unit /etc/systemd/system/gate-matrix.service
symlink /etc/systemd/system/multi-user.target.wants/gate-matrix.service ../gate-matrix.service
`)
	judge(t, dir, disk)
	vmlinuz, initrd, err := image.Kernel(m.kernel)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	machine := Start(t, MachineOptions{Disk: filepath.Join(dir, disk), Kernel: vmlinuz, Initrd: initrd, Append: arguments, Timeout: matrixTimeout})
	report, err := machine.Report(matrixTimeout)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(report.Systemd, m.systemd) {
		t.Fatalf("image %s has systemd %s, want %s", m.image, report.Systemd, m.systemd)
	}
	t.Logf("booted in %.1f s", time.Since(start).Seconds())
	if _, err := machine.Expect("^@@BEGIN gate-matrix", matrixTimeout); err != nil {
		t.Fatal(err)
	}
	begin := machine.seen
	_, err = machine.Expect("^@@END gate-matrix", matrixTimeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("done after %.1f s", time.Since(start).Seconds())
	fmt.Println(strings.Join(machine.Console(), "\n"))
	return machine.Console()[begin : machine.seen-1], nil
}

type matrixImage struct{ systemd, image, kernel string }

var matrixImages = []matrixImage{
	{"252", "bookworm", Newest},
	{"257", "trixie-grub", Newest},
	{"262", "forky", Newest},
}
