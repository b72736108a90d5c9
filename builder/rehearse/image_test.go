package rehearse

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kerngate/kerngate/builder"
	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/machine"
	"github.com/kerngate/kerngate/builder/unit"
)

const (
	oldRelease = "6.1.0-56-cloud-amd64"
	newRelease = "7.2.12+deb14-cloud-amd64"
)

// gated is the manifest of a build that gated one unit.
var gated = fmt.Sprintf(`{"schema": 1, "tool": "kerngate test", "profile": "llm-node", "profile_digest": "sha256:00", "entries": [
	{"path": %q, "op": "write", "mode": "0644", "sha256": "%064x", "reason": "gate"}]}`, unit.DropInPath("vllm.service"), 0)

// disk makes an image with the files, and a root of an old and a new kernel, and opens
// it.
func disk(t *testing.T, scheme string, files map[string]string) *image.Target {
	t.Helper()
	root := t.TempDir()
	if err := imgtest.WriteRoot(root, oldRelease); err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(root, "boot/loader/entries/debian.conf"))
	all := map[string]string{"usr/lib/modules/" + newRelease + "/modules.dep": "", "usr/lib/modules/" + newRelease + "/modules.builtin": ""}
	for _, release := range []string{oldRelease, newRelease} {
		all["boot/vmlinuz-"+release], all["boot/initrd.img-"+release] = "kernel "+release, "initramfs "+release
	}
	for name, text := range files {
		all[name] = text
	}
	if err := imgtest.WriteFiles(root, 0o644, all); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if text == "" {
			os.Remove(filepath.Join(root, name))
		}
	}
	name := filepath.Join(t.TempDir(), "disk.raw")
	parts := []imgtest.Part{{Dir: root, FS: "ext4", Size: 24 * imgtest.MiB, Type: "L"}}
	if scheme != "none" {
		parts = slices.Insert(parts, 0, imgtest.Part{FS: "vfat", Size: 4 * imgtest.MiB, Type: "U"})
	}
	if err := imgtest.WriteDisk(name, scheme, parts...); err != nil {
		t.Fatal(err)
	}
	target, err := image.Open(name, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	return target
}

// entry is a boot loader entry of type 1.
func entry(release, options string) string {
	return fmt.Sprintf("title Debian %s\nversion %[1]s\nlinux /boot/vmlinuz-%[1]s\ninitrd /boot/initrd.img-%[1]s\noptions %s\n", release, options)
}

func TestNewBoot(t *testing.T) {
	const old, new = "boot/loader/entries/debian-" + oldRelease + ".conf", "boot/loader/entries/debian-" + newRelease + ".conf"
	both := map[string]string{old: entry(oldRelease, "root=LABEL=root old"), new: entry(newRelease, "root=LABEL=root new")}
	tests := map[string]struct {
		scheme  string
		files   map[string]string
		release string
		want    Boot // without the entry
		entry   string
		passed  string // of the notes
		wantErr string
	}{
		"default entry": {files: both, entry: new,
			want: Boot{Kernel: "/boot/vmlinuz-" + newRelease, Initrds: []string{"/boot/initrd.img-" + newRelease}, Release: newRelease, CommandLine: "root=LABEL=root new"}},
		"another release": {files: both, entry: old, release: oldRelease,
			want: Boot{Kernel: "/boot/vmlinuz-" + oldRelease, Initrds: []string{"/boot/initrd.img-" + oldRelease}, Release: oldRelease, CommandLine: "root=LABEL=root old"}},
		"grub": {files: map[string]string{"boot/grub/grub.cfg": "set default=1\nmenuentry 'new' {\n\tlinux /boot/vmlinuz-" + newRelease + " root=/dev/vda2 new\n}\n" +
			"menuentry 'old' {\n\tlinux /boot/vmlinuz-" + oldRelease + " root=/dev/vda2 old\n\tinitrd /boot/initrd.img-" + oldRelease + "\n}\n"}, entry: "boot/grub/grub.cfg:6",
			want: Boot{Kernel: "/boot/vmlinuz-" + oldRelease, Initrds: []string{"/boot/initrd.img-" + oldRelease}, Release: oldRelease, CommandLine: "root=/dev/vda2 old"}},
		"no entry, GPT": {
			want: Boot{Kernel: "/boot/vmlinuz-" + newRelease, Initrds: []string{"/boot/initrd.img-" + newRelease}, Release: newRelease, CommandLine: "root=/dev/vda2 ro"}},
		"no entry, no table": {scheme: "none", release: oldRelease,
			want: Boot{Kernel: "/boot/vmlinuz-" + oldRelease, Initrds: []string{"/boot/initrd.img-" + oldRelease}, Release: oldRelease, CommandLine: "root=/dev/vda ro"}},
		"no entry, a template": {scheme: "mbr", files: map[string]string{"etc/kernel/cmdline": "root=LABEL=root ro quiet\n"},
			want: Boot{Kernel: "/boot/vmlinuz-" + newRelease, Initrds: []string{"/boot/initrd.img-" + newRelease}, Release: newRelease, CommandLine: "root=LABEL=root ro quiet"}},
		"grub, the default without its kernel": {files: map[string]string{"boot/grub/grub.cfg": "set default=0\nmenuentry 'gone' {\n\tlinux /boot/vmlinuz-7.9.9 root=/dev/vda2\n}\n" +
			"menuentry 'old' {\n\tlinux /boot/vmlinuz-" + oldRelease + " root=/dev/vda2 old\n}\n"}, entry: "boot/grub/grub.cfg:6", passed: "boot/grub/grub.cfg:3 (gone) is the default, and its kernel or an initramfs is not in the image",
			want: Boot{Kernel: "/boot/vmlinuz-" + oldRelease, Release: oldRelease, CommandLine: "root=/dev/vda2 old"}},
		"grub, another system by default": {files: map[string]string{"boot/grub/grub.cfg": "set default=0\nmenuentry 'Windows' {\n\tchainloader /EFI/Microsoft/Boot/bootmgfw.efi\n}\n" +
			"menuentry 'old' {\n\tlinux /boot/vmlinuz-" + oldRelease + " root=/dev/vda2 old\n}\n"}, entry: "boot/grub/grub.cfg:6", passed: "boot/grub/grub.cfg:2 (Windows) by default, which is no Linux kernel",
			want: Boot{Kernel: "/boot/vmlinuz-" + oldRelease, Release: oldRelease, CommandLine: "root=/dev/vda2 old"}},
		"entry without its kernel": {passed: "is the default, and its kernel", files: map[string]string{new: strings.ReplaceAll(entry(newRelease, "root=LABEL=root"), "vmlinuz", "gone")},
			want: Boot{Kernel: "/boot/vmlinuz-" + newRelease, Initrds: []string{"/boot/initrd.img-" + newRelease}, Release: newRelease, CommandLine: "root=/dev/vda2 ro"}},
		"no such release": {release: "5.10", wantErr: "it has no kernel 5.10"},
		"no kernel":       {files: map[string]string{"boot/vmlinuz-" + oldRelease: "", "boot/vmlinuz-" + newRelease: ""}, wantErr: "it has no kernel that could be booted"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := NewBoot(disk(t, cmp.Or(test.scheme, "gpt"), test.files), test.release)
			if test.wantErr != "" {
				var problem *builder.Problem
				if !errors.As(err, &problem) || problem.Fact != test.wantErr || problem.Hint() == "" {
					t.Errorf("error is %v, want %q with a hint", err, test.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if (test.entry == "") != (got.Entry == "") || !strings.Contains(got.Entry, test.entry) {
				t.Errorf("entry is %q, want %q", got.Entry, test.entry)
			}
			if notes := strings.Join(got.passed, "\n"); (notes == "") != (test.passed == "") || !strings.Contains(notes, test.passed) {
				t.Errorf("notes are %q, want %q", notes, test.passed)
			}
			got.Entry, got.passed = "", nil
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", test.want) {
				t.Errorf("got %+v\nwant %+v", got, test.want)
			}
		})
	}
}

func TestExtract(t *testing.T) {
	target := disk(t, "gpt", nil)
	dir := t.TempDir()
	b := Boot{Kernel: "/boot/vmlinuz-" + oldRelease, Initrds: []string{"/boot/initrd.img-" + oldRelease, "/boot/initrd.img-" + newRelease}}
	kernel, initrd, err := b.extract(target.Tree(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(kernel); err != nil || string(data) != "kernel "+oldRelease {
		t.Errorf("kernel is %q, %v", data, err)
	}
	want := make([]byte, initrdAlign)
	copy(want, "initramfs "+oldRelease)
	want = append(want, "initramfs "+newRelease...)
	if data, err := os.ReadFile(initrd); err != nil || !bytes.Equal(data, want) {
		t.Errorf("initramfs is %q, %v, want %q", data, err, want)
	}
	b.Initrds = slices.Repeat([]string{"/boot/initrd.img-" + oldRelease}, maxInitrds+1)
	if _, _, err := b.extract(target.Tree(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "has 17 initramfs files, limit is 16") {
		t.Errorf("error for too many files: %v", err)
	}
	if err := gather(filepath.Join(dir, "small"), target.Tree(), 10, b.Kernel); err == nil || !strings.Contains(err.Error(), "want at most 10") {
		t.Errorf("error for a kernel that is too large: %v", err)
	}
}

// playQEMU puts a script in the place of QEMU that plays a recorded console and then
// what is given.
func playQEMU(t *testing.T, console, then string) {
	t.Helper()
	recording, err := filepath.Abs(filepath.Join("testdata", console))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script := "#!/bin/sh\nprintf '%s\\n' \"$*\" >" + filepath.Join(dir, "arguments") + "\ncat " + recording + "\n" + then + "\n"
	if err := os.WriteFile(filepath.Join(dir, "qemu-system-x86_64"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("TMPDIR", t.TempDir())
}

func TestRehearse(t *testing.T) {
	const silent, ends = "exec sleep 600", "exit 0"
	const enough = 8 * time.Second // for a script to be started and to print, while all the time is waited out
	// What bash of systemd 257 said, as answers to two questions: the nonces are put in.
	const asked = `printf '# ' >&3
answer() {
	read -r line <&3
	nonce=${line#*"' "}
	nonce=${nonce%% *}
	printf '\n@@%s running\ndegraded\n@@%s checked\n@@%s boot\nb1\n@@%s systemd\nsystemd 252 (252.39)\n' $nonce $nonce $nonce $nonce >&3
	printf '@@%s units\nId=vllm.service\nLoadState=loaded\nActiveState=%s\nSubState=x\n' $nonce "$1" >&3
	printf '@@%s report\n{"schema": 1, "verdict": "refuse", "boot_id": "b1"}\n@@%s end\r\n' $nonce $nonce >&3
}
answer inactive; answer `
	tests := map[string]struct {
		console, then string
		expect        string
		timeout       time.Duration
		verdict       string
		source        string
		cause         string // empty: as expected
		units         string
	}{
		"asked":                 {"bookworm-6.1.console", asked + "inactive; " + silent, Refuse, 0, Refuse, "report", "", "vllm.service: held back"},
		"asked, fails open":     {"bookworm-6.1.console", asked + "active; " + silent, Refuse, 0, Refuse, "report", "the gate refused, and vllm.service runs all the same", "vllm.service: running"},
		"console alone":         {"forky-7.2.console", silent, Pass, enough, Pass, "console", "", ""},
		"ends after refusing":   {"bookworm-6.1.console", ends, Refuse, 0, Refuse, "console", "", ""},
		"ends after passing":    {"forky-7.2.console", ends, Pass, 0, Pass, "console", "the gate passed, and then the boot ended: qemu ended: the guest powered off or rebooted", ""},
		"no root":               {"no-root.console", ends, Pass, 0, None, "", "the gate gave no verdict: ALERT!  /dev/vdz does not exist.  Dropping to a shell!", ""},
		"time is over":          {"/dev/null", "echo hello; " + silent, Pass, enough, None, "", `the gate gave no verdict: the time is over (see --timeout); last it said "hello"`, ""},
		"time is over, no word": {"/dev/null", silent, Pass, time.Second, None, "", "the gate gave no verdict: the time is over, and nothing came from the console: a boot loader's command line must have console=ttyS0", ""},
	}
	target := disk(t, "gpt", map[string]string{"usr/lib/kerngate/manifest.json": gated})
	before := sum(t, target.Path)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.console == "/dev/null" {
				test.console = "../../../../../../../../../../dev/null"
			}
			playQEMU(t, test.console, test.then)
			var steps []string
			r, err := Rehearse(t.Context(), target, Options{Expect: test.expect, Accel: machine.TCG, Timeout: cmp.Or(test.timeout, 5*time.Minute),
				Progress: func(s Step) {
					if s.New {
						steps = append(steps, s.Text)
					}
				}})
			if err != nil {
				t.Fatal(err)
			}
			if r.Verdict != test.verdict || r.Source != test.source || r.Cause != test.cause || r.AsExpected != (test.cause == "") {
				t.Errorf("verdict %q from %q, cause %q; want %q from %q, %q", r.Verdict, r.Source, r.Cause, test.verdict, test.source, test.cause)
			}
			if (len(r.Console) > 0) != (test.cause != "" && !strings.Contains(test.cause, "no word") && !strings.Contains(test.cause, "nothing came")) {
				t.Errorf("shows %d console lines", len(r.Console))
			}
			units := ""
			for _, u := range r.Units {
				units += u.Name + ": " + u.State
			}
			if units != test.units {
				t.Errorf("units are %q, want %q", units, test.units)
			}
			if test.source == "console" && len(steps) < 5 {
				t.Errorf("steps are %q", steps)
			}
			if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
	if sum(t, target.Path) != before {
		t.Error("the image was written to")
	}
}

func TestRehearseInterrupted(t *testing.T) {
	target := disk(t, "gpt", map[string]string{"usr/lib/kerngate/manifest.json": gated})
	playQEMU(t, "no-root.console", "exec sleep 600")
	ctx, cancel := context.WithCancel(t.Context())
	r, err := Rehearse(ctx, target, Options{Accel: machine.TCG, Progress: func(Step) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %+v, %v, want that it was cancelled", r, err)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestNotPatched: such an image is not booted at all.
func TestNotPatched(t *testing.T) {
	t.Setenv("PATH", t.TempDir()+":"+os.Getenv("PATH"))
	r, err := Rehearse(t.Context(), disk(t, "gpt", nil), Options{})
	if err != nil || r.AsExpected || r.Verdict != None || !strings.Contains(r.Cause, "nothing of kerngate is in it: no /usr/lib/kerngate/manifest.json") || r.Accel != "" {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestDirectoryIsRefused(t *testing.T) {
	root := t.TempDir()
	if err := imgtest.WriteRoot(root, newRelease); err != nil {
		t.Fatal(err)
	}
	target, err := image.Open(root, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	var problem *builder.Problem
	if _, err := Rehearse(t.Context(), target, Options{}); !errors.As(err, &problem) {
		t.Errorf("error is %v, want a problem with a hint", err)
	}
}

func sum(t *testing.T, name string) [sha256.Size]byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(data)
}
