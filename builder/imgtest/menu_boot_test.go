//go:build boot

package imgtest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestBootMenu boots images by their own boot loader, which starts a kernel below the
// floor before kerngate apply, and one that the gate lets through after it. The second
// kernel of each is one of the bookworm image's.
func TestBootMenu(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	kerngate := filepath.Join(root, "bin/kerngate")
	if _, err := os.Stat(kerngate); err != nil {
		t.Fatalf("%v: make build first", err)
	}
	two := Image(t, "bookworm")
	for _, c := range []struct {
		name, image string
		release     string // of the kernel that is added
		add         func(t *testing.T, dir string, own, added kernelFiles)
	}{
		{"GRUB", "trixie-grub", two.Kernels[len(two.Kernels)-1], addToGrub},
		{"systemd-boot", "forky-sdboot", two.Kernels[0], addToSystemdBoot},
	} {
		t.Run(c.name, func(t *testing.T) {
			image, dir := Image(t, c.image), t.TempDir()
			own, added := filesOf(t, image, image.Kernels[0]), filesOf(t, two, c.release)
			command(t, dir, "cp", "--sparse=always", "--reflink=auto", image.Disk, menuDisk)
			copyModules(t, dir, two.Disk, c.release)
			c.add(t, dir, own, added)
			judge(t, dir, menuDisk)
			below, above := own.release, added.release
			if c.name == "systemd-boot" {
				below, above = above, below
			}
			bootsKernel(t, filepath.Join(dir, menuDisk), own, below)
			command(t, dir, kerngate, "apply", "-o", "patched.raw", "--profile", "llm-node", menuDisk)
			command(t, dir, kerngate, "verify", "--profile", "llm-node", "patched.raw")
			judge(t, dir, "patched.raw")
			bootsKernel(t, filepath.Join(dir, "patched.raw"), own, above)
		})
	}
}

// menuDisk is the image with two kernels.
const menuDisk = "two.raw"

// kernelFiles are a kernel and its initramfs, beside an image.
type kernelFiles struct{ release, vmlinuz, initrd string }

func filesOf(t *testing.T, image DebianImage, release string) kernelFiles {
	t.Helper()
	vmlinuz, initrd, err := image.Kernel(release)
	if err != nil {
		t.Fatal(err)
	}
	return kernelFiles{release, vmlinuz, initrd}
}

// bootsKernel boots a disk by its own boot loader, and wants a kernel, and the inference
// unit up.
func bootsKernel(t *testing.T, disk string, some kernelFiles, release string) {
	t.Helper()
	m := Start(t, MachineOptions{Disk: disk, Firmware: true, Kernel: some.vmlinuz})
	defer m.Close()
	report, err := m.Report(DefaultTimeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s boots %s, vllm.service is %s", filepath.Base(disk), report.Kernel, report.Units["vllm.service"])
	if report.Kernel != release || report.Units["vllm.service"] != "active" {
		t.Errorf("%s: want kernel %s and vllm.service active; the report is\n%s", filepath.Base(disk), release, report.Text)
	}
}

// copyModules copies a kernel's modules from the root of one disk to that of another.
func copyModules(t *testing.T, dir, from, release string) {
	t.Helper()
	modules := "/usr/lib/modules/" + release
	command(t, dir, "debugfs", "-R", "rdump "+modules+" .", rootAt(t, dir, from))
	var script strings.Builder
	err := filepath.WalkDir(filepath.Join(dir, release), func(name string, e fs.DirEntry, err error) error {
		in := strings.TrimPrefix(name, filepath.Join(dir, release))
		switch {
		case err != nil:
			return err
		case e.IsDir():
			fmt.Fprintf(&script, "mkdir %s%s\n", modules, in)
		case e.Type().IsRegular():
			fmt.Fprintf(&script, "write %s %s%s\n", name, modules, in)
		}
		return nil
	})
	if err != nil || strings.Count(script.String(), ".ko") < 100 {
		t.Fatalf("%d bytes of modules in %s (%v), want some hundred files", script.Len(), modules, err)
	}
	editRoot(t, dir, menuDisk, script.String())
}

// addToGrub adds an entry behind the one that GRUB starts.
func addToGrub(t *testing.T, dir string, own, added kernelFiles) {
	t.Helper()
	volume := partitionAt(t, dir, menuDisk, "3")
	command(t, dir, "debugfs", "-R", "dump /grub/grub.cfg grub.cfg", volume)
	cfg := readText(t, filepath.Join(dir, "grub.cfg"))
	entry := regexp.MustCompile(`(?ms)^menuentry .*?^}\n`).FindString(cfg)
	other := strings.NewReplacer(own.release, added.release, "gnulinux-simple", "gnulinux-other", "menuentry 'Debian", "menuentry 'Other Debian").Replace(entry)
	if !strings.Contains(other, added.release) || !strings.Contains(other, "gnulinux-other") {
		t.Fatalf("grub.cfg has no entry to copy:\n%s", cfg)
	}
	if err := os.WriteFile(filepath.Join(dir, "grub.cfg"), []byte(strings.Replace(cfg, entry, entry+other, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"rm /grub/grub.cfg", "write grub.cfg /grub/grub.cfg", "write " + added.vmlinuz + " /vmlinuz-" + added.release, "write " + added.initrd + " /initrd.img-" + added.release} {
		command(t, dir, "debugfs", "-w", "-R", line, volume)
	}
}

// addToSystemdBoot adds an entry, and makes it the default.
func addToSystemdBoot(t *testing.T, dir string, own, added kernelFiles) {
	t.Helper()
	esp := menuDisk + "@@" + espOffset
	entry := "debian-" + own.release + ".conf"
	command(t, dir, "mcopy", "-i", esp, "::/loader/entries/"+entry, entry)
	text := readText(t, filepath.Join(dir, entry))
	other := regexp.MustCompile(`(?m)^initrd\s.*$`).ReplaceAllString(strings.ReplaceAll(text, own.release, added.release), "initrd /debian/"+added.release+"/initrd")
	if !strings.Contains(other, "/debian/"+added.release+"/linux") || !strings.Contains(other, "\ninitrd ") {
		t.Fatalf("the entry cannot be copied:\n%s", text)
	}
	name := "debian-" + added.release + ".conf"
	if err := os.WriteFile(filepath.Join(dir, name), []byte(other), 0o644); err != nil {
		t.Fatal(err)
	}
	command(t, dir, "mcopy", "-i", esp, name, "::/loader/entries/"+name)
	command(t, dir, "mmd", "-i", esp, "::/debian/"+added.release)
	command(t, dir, "mcopy", "-i", esp, added.vmlinuz, "::/debian/"+added.release+"/linux")
	command(t, dir, "mcopy", "-i", esp, added.initrd, "::/debian/"+added.release+"/initrd")
	chooseEntry(t, dir, menuDisk, name)
}

func readText(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
