//go:build boot

package rehearse

import (
	"bytes"
	"crypto/sha256"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kerngate/kerngate/builder/bootentry"
	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/imgtest"
)

// kerngate is the program as make build leaves it.
const kerngate = "../../bin/kerngate"

// patched is a copy of an image of mkimage that kerngate has patched.
func patched(t *testing.T, name string, accept ...string) *image.Target {
	t.Helper()
	out := filepath.Join(t.TempDir(), "patched.raw")
	args := []string{"apply", "-q", "--profile", "llm-node", "-o", out}
	for _, word := range accept {
		args = append(args, "--accept", word)
	}
	if text, err := exec.Command(kerngate, append(args, imgtest.Image(t, name).Disk)...).CombinedOutput(); err != nil {
		t.Fatalf("kerngate apply: %v: make build first\n%s", err, text)
	}
	return open(t, out)
}

func open(t *testing.T, name string) *image.Target {
	t.Helper()
	target, err := image.Open(name, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	return target
}

// TestBootRehearse boots real images. On none of them is anything written.
func TestBootRehearse(t *testing.T) {
	tests := map[string]struct {
		image    string
		accept   []string
		kernel   string // first numbers of its release; empty: the image's choice
		firmware bool
		expect   string
		verdict  string
		unit     string
		line     string // on the kernel's command line
		systemd  string // pattern; Debian testing moves on
	}{
		"passes":                        {image: "forky", accept: []string{"external-cmdline"}, verdict: Pass, unit: Running, line: "root=/dev/vda2", systemd: "26[2-9]"},
		"refuses":                       {image: "bookworm", accept: []string{"external-cmdline"}, kernel: "6.1", expect: Refuse, verdict: Refuse, unit: HeldBack, systemd: "252"},
		"entry of systemd-boot":         {image: "forky-sdboot", verdict: Pass, unit: Running, line: "module_blacklist=af_alg", systemd: "26[2-9]"},
		"through systemd-boot":          {image: "forky-sdboot", firmware: true, verdict: Pass, unit: Running, systemd: "26[2-9]"},
		"through GRUB, with quiet":      {image: "trixie-grub", accept: []string{"unbootable-gate"}, firmware: true, expect: Refuse, verdict: Refuse, unit: HeldBack, systemd: "257"},
		"entry of GRUB, a /boot volume": {image: "trixie-grub", accept: []string{"unbootable-gate"}, expect: Refuse, verdict: Refuse, unit: HeldBack, line: "module_blacklist=af_alg", systemd: "257"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			target := patched(t, test.image, test.accept...)
			before := digest(t, target.Path)
			var console bytes.Buffer
			o := Options{Expect: test.expect, Firmware: test.firmware, Timeout: 2 * DefaultTimeout, Console: &console}
			if test.kernel != "" {
				o.Kernel = release(t, test.image, test.kernel)
			}
			start := time.Now()
			r, err := Rehearse(t.Context(), target, o)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("verdict after %.0f s, all after %.0f s", r.SecondsToVerdict, time.Since(start).Seconds())
			if r.Verdict != test.verdict || r.Source != "report" || !r.AsExpected || !regexp.MustCompile("^"+test.systemd+"$").MatchString(r.Systemd) {
				t.Errorf("verdict %s from %s, cause %q, systemd %s; want %s, %s\n%s", r.Verdict, r.Source, r.Cause, r.Systemd, test.verdict, test.systemd, &console)
			}
			r.Expect = map[string]string{Pass: Refuse, Refuse: Pass}[r.Verdict]
			if r.judge(nil, nil); r.AsExpected {
				t.Errorf("verdict %s counts as expected, too, where %s is", r.Verdict, r.Expect)
			}
			i := slices.IndexFunc(r.Units, func(u Unit) bool { return u.Name == "vllm.service" })
			if i < 0 || r.Units[i].State != test.unit {
				t.Errorf("units are %+v, want vllm.service %s", r.Units, test.unit)
			}
			if !strings.Contains(r.CommandLine, test.line) {
				t.Errorf("command line is %q, want %q in it", r.CommandLine, test.line)
			}
			if digest(t, target.Path) != before {
				t.Error("the image was written to")
			}
		})
	}
}

// TestBootRehearseNotPatched: an image of Debian's as it is.
func TestBootRehearseNotPatched(t *testing.T) {
	r, err := Rehearse(t.Context(), open(t, imgtest.Image(t, "forky").Disk), Options{})
	if err != nil || r.AsExpected || !strings.Contains(r.Cause, "nothing of kerngate is in it") {
		t.Errorf("got %+v, %v", r, err)
	}
}

// TestBootRehearseWithoutRoot: what goes wrong before the gate is told.
func TestBootRehearseWithoutRoot(t *testing.T) {
	target := patched(t, "forky", "external-cmdline")
	r, err := Rehearse(t.Context(), target, Options{Append: []string{"root=/dev/vdz"}})
	if err != nil || r.AsExpected || !strings.Contains(r.Cause, "/dev/vdz does not exist") || len(r.Console) == 0 {
		t.Errorf("got %+v, %v", r, err)
	}
}

// TestBootUnified holds what is taken out of a unified kernel image against objcopy.
func TestBootUnified(t *testing.T) {
	target := open(t, imgtest.Image(t, "forky-sdboot").Disk)
	config, err := bootentry.Read(target.Tree())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(config.Entries, func(e bootentry.Entry) bool { return e.Source == bootentry.UKI })
	if i < 0 {
		t.Fatal("the image has no unified kernel image")
	}
	dir := t.TempDir()
	kernel, initrd, err := Boot{Kernel: config.Entries[i].Kernel, unified: true}.extract(target.Tree(), dir)
	if err != nil {
		t.Fatal(err)
	}
	whole := filepath.Join(dir, "unified.efi")
	if err := gather(whole, target.Tree(), 1<<30, config.Entries[i].Kernel); err != nil {
		t.Fatal(err)
	}
	for section, got := range map[string]string{".linux": kernel, ".initrd": initrd} {
		want := filepath.Join(dir, "want"+section)
		if text, err := exec.Command("objcopy", "-O", "binary", "--only-section="+section, whole, want).CombinedOutput(); err != nil {
			t.Fatalf("objcopy: %v: apt-get install binutils\n%s", err, text)
		}
		info, err := os.Stat(got)
		if err != nil || info.Size() == 0 || digest(t, got) != digest(t, want) {
			t.Errorf("section %s: %v, %v, not as objcopy has it", section, info, err)
		}
	}
}

func release(t *testing.T, name, numbers string) string {
	t.Helper()
	for _, r := range imgtest.Image(t, name).Kernels {
		if strings.HasPrefix(r, numbers+".") {
			return r
		}
	}
	t.Fatalf("image %s has no kernel %s", name, numbers)
	return ""
}

func digest(t *testing.T, name string) [sha256.Size]byte {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
