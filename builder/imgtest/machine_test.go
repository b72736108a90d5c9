package imgtest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kerngate/kerngate/builder/machine"
)

// patience is far above what a shell script needs to print a line.
const patience = 5 * time.Minute

// scriptedMachine is a machine whose QEMU is a shell script.
func scriptedMachine(t *testing.T, script string) *Machine {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "qemu-system-x86_64"), "#!/bin/sh\n"+script+"\n")
	kernel := filepath.Join(dir, "vmlinuz")
	write(t, kernel, "")
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return Start(t, MachineOptions{Disk: kernel, Kernel: kernel, Accel: machine.TCG})
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}
