package builder_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder"
	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/profiles"
)

// bzImage is as much of an x86 kernel image as tells its version
// (Documentation/arch/x86/boot.rst, kernel_version).
func bzImage(version string) string {
	out := make([]byte, 0x800)
	copy(out[0x1fe:], "\x55\xaa\x00\x00HdrS")
	binary.LittleEndian.PutUint16(out[0x20e:], 0x300)
	copy(out[0x500:], version)
	return string(out)
}

// kernelRoot is a tree with one kernel and what tells who built it: the banner of its image
// and its package, either of which may be empty.
func kernelRoot(t *testing.T, release, banner, pack, system string, more map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "root")
	if err := imgtest.WriteRoot(dir, release); err != nil {
		t.Fatal(err)
	}
	files := maps.Clone(more)
	if files == nil {
		files = map[string]string{}
	}
	files["etc/os-release"] = "ID=" + system + "\nVERSION_ID=\"1\"\n"
	if banner != "" {
		files["boot/vmlinuz-"+release] = bzImage(release + " (x@y) " + banner)
	}
	if pack != "" {
		files["var/lib/dpkg/status"] = fmt.Sprintf("Package: linux-image-%s\nStatus: install ok installed\nArchitecture: amd64\nVersion: %s\n", release, pack)
	}
	write(t, dir, 0o644, files)
	return dir
}

func patched(t *testing.T, more string) profiles.Profile {
	t.Helper()
	p, err := profiles.LoadBytes("test", []byte(`schema = 1
name = "test"
description = "test"
[kernel]
floor = "7.0.6"
accept_fixed = true
advisories = ["CVE-2026-31431"]
`+more+"\n[gate]\nunits = [\"vllm.service\"]\n"))
	if err != nil {
		t.Fatal(err)
	}
	return p
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

// TestGateVerdict wants of the gate offline what the checker says at boot.
func TestGateVerdict(t *testing.T) {
	const debian, banner = "6.1.0-56-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)"
	entry := func(release string, lines ...string) map[string]string {
		files := map[string]string{}
		for i, line := range lines {
			files[fmt.Sprintf("boot/loader/entries/%d.conf", i)] = "version " + release + "\nlinux /boot/vmlinuz-" + release + "\noptions " + line + "\n"
		}
		files["boot/loader/entries/debian.conf"] = files["boot/loader/entries/0.conf"]
		return files
	}
	const mitigated = "accept_mitigated = true\n"
	const blocked = mitigated + "[[module]]\nname = \"algif_aead\"\nreason = \"CVE-2026-31431\"\nrefuse_if = [\"loaded\"]\n"
	const watched = "[[module]]\nname = \"algif_aead\"\nreason = \"CVE-2026-31431\"\nblock = []\nrefuse_if = [\"loaded\", \"builtin\"]\n"
	keptOut := strings.Replace(watched, "block = []", `block = ["initcall"]`, 1)
	builtIn := func(release string, more map[string]string) map[string]string {
		files := map[string]string{"usr/lib/modules/" + release + "/modules.builtin": "kernel/crypto/algif_aead.ko\n"}
		maps.Copy(files, more)
		return files
	}
	for _, c := range []struct {
		name, release, banner, pack, system string
		more                                map[string]string
		profile                             string
		pass                                bool
		why                                 string
	}{
		{name: "Debian's word by the banner", release: debian, banner: banner, system: "debian", pass: true, why: "debian 6.1.192-2 (6.1) is at or above 6.1.170-1"},
		{name: "Debian's word by the package", release: debian, pack: "6.1.192-2", system: "debian", pass: true, why: "debian 6.1.192-2 (6.1) is at or above 6.1.170-1"},
		{name: "an old package", release: debian, pack: "6.1.169-1", system: "debian", why: "CVE-2026-31431 is vulnerable: debian 6.1.169-1 (6.1) is below 6.1.170-1"},
		{name: "a kernel of one's own under Debian's name", release: debian, banner: "#2 SMP Mon Nov 16", pack: "6.1.192-2", system: "debian", why: "CVE-2026-31431 is unknown: a kernel of unknown make"},
		{name: "a package that the kernel is not of", release: debian, banner: banner, pack: "6.1.1-1", system: "debian", pass: true, why: "6.1.192-2"},
		{name: "Ubuntu's word by the configuration", release: "6.8.0-117-generic", banner: "#117-Ubuntu SMP", system: "ubuntu", pass: true, why: "ubuntu 6.8.0-117.117 (linux 6.8) is at or above",
			more: map[string]string{"boot/config-6.8.0-117-generic": "CONFIG_A=y\nCONFIG_VERSION_SIGNATURE=\"Ubuntu 6.8.0-117.117-generic 6.8.12\"\n"}},
		{name: "RHEL's word by the release", release: "5.14.0-611.54.1.el9_7.x86_64", system: "rhel", pass: true, why: "is at or above 5.14.0-611.54.1.el9_7"},
		{name: "AlmaLinux is not RHEL", release: "5.14.0-611.48.1.el9_7.x86_64", system: "almalinux", why: "CVE-2026-31431 is vulnerable: almalinux 5.14.0-611.48.1.el9_7"},
		{name: "upstream, fixed", release: "6.12.90", system: "debian", pass: true, why: "it contains 6.12.90, and 6.12.85 has the fix"},
		{name: "upstream, not fixed", release: "6.12.84", system: "debian", why: "CVE-2026-31431 is vulnerable: upstream 6.12.84"},
		{name: "the image is of an older release", release: "7.2.12", system: "debian", more: map[string]string{"boot/vmlinuz-7.2.12": bzImage("6.12.84 (x@y) #1 SMP")}, why: "kernel 6.12.84 is below the floor 7.0.6"},
		{name: "a candidate by its banner", release: "7.0-amd64", banner: "#1 SMP Debian 7.0~rc6-1~exp1 (2026-03-30)", system: "debian", why: "kernel 7.0-amd64, which is 7.0-rc6, is below the floor"},
		{name: "mitigated by the entry", release: "6.12.84", system: "debian", more: entry("6.12.84", "ro module_blacklist=algif_aead"), profile: mitigated, pass: true, why: "algif_aead: module_blacklist= keeps it out"},
		{name: "mitigated by what the build adds", release: "6.12.84", system: "debian", profile: blocked, pass: true, why: "algif_aead: module_blacklist= keeps it out"},
		{name: "mitigated in one entry of two", release: "6.12.84", system: "debian", more: entry("6.12.84", "ro module_blacklist=algif_aead", "ro single"), profile: mitigated, why: "CVE-2026-31431 is vulnerable"},
		{name: "mitigation that the profile does not take", release: "6.12.84", system: "debian", more: entry("6.12.84", "ro module_blacklist=algif_aead"), why: "CVE-2026-31431 is mitigated"},
		{name: "beside quotes", release: "6.12.84", system: "debian", more: entry("6.12.84", `x="a b" module_blacklist=algif_aead`), profile: mitigated, pass: true, why: "algif_aead: module_blacklist= keeps it out"},
		{name: "inside another's quotes", release: "6.12.84", system: "debian", more: entry("6.12.84", `x="a module_blacklist=algif_aead b"`), profile: mitigated, why: "CVE-2026-31431 is vulnerable"},
		{name: "built in", release: "6.12.90", system: "debian", more: builtIn("6.12.90", nil), profile: watched, why: "module algif_aead is built into the kernel (CVE-2026-31431)"},
		{name: "built in, and kept out by what the build adds", release: "6.12.90", system: "debian", more: builtIn("6.12.90", nil), profile: keptOut, pass: true, why: "6.12.85 has the fix"},
		{name: "built in, and kept out in an entry that the build adds to", release: "6.12.90", system: "debian", more: builtIn("6.12.90", entry("6.12.90", "ro initcall_blacklist=af_alg_init")), profile: keptOut, pass: true, why: "6.12.85 has the fix"},
		{name: "built in, and kept out by the entry, but the profile does not say so", release: "6.12.90", system: "debian", more: builtIn("6.12.90", entry("6.12.90", "ro initcall_blacklist=algif_aead_init")), profile: watched, why: "module algif_aead is built into the kernel"},
		{name: "built in, in a kernel that knows no names", release: "6.12.90", system: "debian", more: builtIn("6.12.90", map[string]string{"boot/config-6.12.90": "CONFIG_MODULES=y\n"}), profile: keptOut, why: "the kernel has no algif_aead_init that initcall_blacklist= could keep it from calling"},
		{name: "built in, in a kernel that knows names", release: "6.12.90", system: "debian", more: builtIn("6.12.90", map[string]string{"boot/config-6.12.90": "CONFIG_KALLSYMS=y\n"}), profile: keptOut, pass: true, why: "6.12.85 has the fix"},
		{name: "built in, in a kernel that calls stubs", release: "6.12.90", system: "debian", more: builtIn("6.12.90", map[string]string{"boot/config-6.12.90": "CONFIG_KALLSYMS=y\nCONFIG_LTO_CLANG=y\n"}), profile: keptOut, why: "stubs, which have other names (CONFIG_LTO_CLANG)"},
		{name: "mitigated although built in", release: "6.12.84", system: "debian", more: builtIn("6.12.84", nil), profile: mitigated + keptOut, pass: true, why: "algif_aead: built in, and initcall_blacklist= keeps it from starting"},
		{name: "break-glass on the line", release: "6.12.84", system: "debian", more: entry("6.12.84", "ro initcheck.override=x"), why: "CVE-2026-31431 is vulnerable"},
		{name: "modprobe.d alone does not count", release: "6.12.84", system: "debian", more: map[string]string{"etc/modprobe.d/a.conf": "install algif_aead /bin/false\n"}, profile: mitigated, why: "CVE-2026-31431 is vulnerable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := open(t, kernelRoot(t, c.release, c.banner, c.pack, c.system, c.more))
			v, err := builder.Verify(target.Tree(), patched(t, c.profile), "kerngate test", stubChecker)
			if err != nil || len(v.Gate) != 1 {
				t.Fatalf("got %+v, %v, want one verdict", v, err)
			}
			if got := v.Gate[0]; got.Kernel != c.release || got.Pass != c.pass || !strings.Contains(strings.Join(got.Why, "\n"), c.why) {
				t.Errorf("verdict is %+v, want pass %t with %q", got, c.pass, c.why)
			}
		})
	}
}

// TestBreakGlassInTheImage: what is meant for one boot must not stand in an image.
func TestBreakGlassInTheImage(t *testing.T) {
	const release, entry = "7.2.12", "boot/loader/entries/a.conf"
	for _, c := range []struct {
		name, line string
		permit     bool
		want       string
	}{
		{"permitted", "ro initcheck.override=\"ticket 4711\"", true, `/boot/loader/entries/a.conf:2: it has initcheck.override="ticket 4711", which opens the gate`},
		{"not permitted", "ro initcheck.override=x", false, ""},
		{"no reason", "ro initcheck.override=x initcheck.override=", true, ""},
		{"left to init", "ro -- initcheck.override=x", true, ""},
		{"none", "ro", true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := map[string]string{entry: "linux /boot/vmlinuz-" + release + "\noptions " + c.line + "\n"}
			p := patched(t, "")
			p.Gate.Override = c.permit
			v, err := builder.Verify(open(t, kernelRoot(t, release, "", "", "debian", files)).Tree(), p, "kerngate test", stubChecker)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, check := range v.Checks {
				if text := check.What + ": " + check.Text; !check.OK && strings.Contains(text, "opens the gate in every boot") {
					got = append(got, text)
				}
			}
			if len(got) > 1 || (len(got) == 1) != (c.want != "") || !strings.HasPrefix(strings.Join(got, ""), c.want) {
				t.Errorf("faults are %q, want %q", got, c.want)
			}
		})
	}
}

// TestFindings wants mitigated only where every way to load every module of the flaw is
// closed, by which mechanism ever.
func TestFindings(t *testing.T) {
	const release, cmdline = "6.12.84", "boot/loader/entries/debian.conf"
	line := func(words string) map[string]string {
		return map[string]string{cmdline: "linux /boot/vmlinuz-" + release + "\noptions " + words + "\n"}
	}
	for _, c := range []struct {
		name, cve, release, banner, pack, system string
		more                                     map[string]string
		status, rule                             string
	}{
		{name: "nothing closed", cve: "CVE-2026-31431", status: "vulnerable", rule: "6.12.85 has the fix"},
		{name: "closed on the command line", cve: "CVE-2026-31431", more: line("module_blacklist=algif_aead"), status: "mitigated", rule: "all closed, the last by module_blacklist=algif_aead on the kernel command line"},
		{name: "one of two modules closed", cve: "CVE-2026-43284", more: line("module_blacklist=esp4"), status: "vulnerable", rule: "6.12.87 has the fix"},
		{name: "both modules closed", cve: "CVE-2026-43284", more: line("module_blacklist=esp4,esp6"), status: "mitigated", rule: "esp6: ways to load it: "},
		{name: "modprobe.d leaves insmod", cve: "CVE-2026-31431", more: map[string]string{"etc/modprobe.d/a.conf": "install algif_aead /bin/false\n"}, status: "vulnerable", rule: "6.12.85 has the fix"},
		{name: "not in the kernel", cve: "CVE-2026-43494", status: "mitigated", rule: "rds: the kernel does not have it"},
		{name: "in the core", cve: "CVE-2026-46300", more: line("module_blacklist=esp4,esp6"), status: "vulnerable", rule: "6.12.91 has the fix"},
		{name: "built in, and its start blocked", cve: "CVE-2026-31431", status: "mitigated", rule: "initcall_blacklist=algif_aead_init",
			more: map[string]string{cmdline: line("initcall_blacklist=algif_aead_init")[cmdline], "usr/lib/modules/" + release + "/modules.builtin": "kernel/crypto/algif_aead.ko\n", "usr/lib/modules/" + release + "/modules.dep": "kernel/net/ipv4/esp4.ko:\n"}},
		{name: "built in, and stubs start it", cve: "CVE-2026-31431", status: "vulnerable", rule: "6.12.85 has the fix",
			more: map[string]string{cmdline: line("initcall_blacklist=algif_aead_init")[cmdline], "boot/config-" + release: "CONFIG_KALLSYMS=y\nCONFIG_LTO_CLANG=y\n", "usr/lib/modules/" + release + "/modules.builtin": "kernel/crypto/algif_aead.ko\n", "usr/lib/modules/" + release + "/modules.dep": "kernel/net/ipv4/esp4.ko:\n"}},
		{name: "banner and database differ", cve: "CVE-2026-31431", release: "6.1.0-56-amd64", banner: "#1 SMP Debian 6.1.192-2 (2026-11-16)", pack: "6.1.1-1", system: "debian",
			status: "unknown", rule: "the kernel says that it is of package 6.1.192-2, and the package database has 6.1.1-1"},
		{name: "another's kernel under Debian's name", cve: "CVE-2026-31431", release: "6.1.0-56-amd64", banner: "#2 SMP Mon Nov 16", pack: "6.1.192-2", system: "debian", status: "unknown", rule: "a kernel of unknown make"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.release == "" {
				c.release, c.system = release, "debian"
			}
			facts, err := builder.Inspect(open(t, kernelRoot(t, c.release, c.banner, c.pack, c.system, c.more)))
			if err != nil {
				t.Fatal(err)
			}
			if len(facts.Findings) != 22 {
				t.Errorf("findings are %d, want the 22 CVEs", len(facts.Findings))
			}
			for _, f := range facts.Findings {
				if f.CVE == c.cve && (string(f.Status) != c.status || !strings.Contains(f.Rule, c.rule) || f.Kernel != c.release) {
					t.Errorf("finding is %+v, want %s with %q", f, c.status, c.rule)
				}
			}
		})
	}
}

// TestDamagedDatabase: what cannot be read of a kernel is said, and stops no inspection.
func TestDamagedDatabase(t *testing.T) {
	root := kernelRoot(t, "6.1.0-56-amd64", "", "6.1.192-2", "debian", map[string]string{"var/lib/dpkg/info/linux-image-6.1.0-56-amd64.list": strings.Repeat("x", 1<<20)})
	facts, err := builder.Inspect(open(t, root))
	if err != nil || !strings.Contains(fmt.Sprint(facts.Warnings), "not all is known of kernel 6.1.0-56-amd64: cannot tell the package") {
		t.Errorf("got %+v, %v, want a warning of the package", facts, err)
	}
	if _, err := builder.Verify(open(t, root).Tree(), patched(t, ""), "kerngate test", stubChecker); err == nil || !strings.Contains(err.Error(), "cannot tell what the gate will say") {
		t.Errorf("verify gives %v, want an error", err)
	}
}

// TestMissingInitramfs: a kernel without one is told where others have one.
func TestMissingInitramfs(t *testing.T) {
	const without = "it holds modules of kernel"
	dir := filepath.Join(t.TempDir(), "root")
	for _, release := range []string{"6.12.84", "7.2.12"} {
		if err := imgtest.WriteRoot(dir, release); err != nil && !strings.Contains(err.Error(), "file exists") {
			t.Fatal(err)
		}
	}
	mismatches := func() string {
		facts, err := builder.Inspect(open(t, dir))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(facts.Mismatches)
	}
	if got := mismatches(); strings.Contains(got, "initramfs") || strings.Count(got, without) != 2 {
		t.Errorf("mismatches are %s, want the two images alone", got)
	}
	write(t, dir, 0o644, map[string]string{
		"boot/initrd.img-7.2.12":          "no archive",
		"boot/loader/entries/debian.conf": "version 7.2.12\nlinux /boot/vmlinuz-7.2.12\ninitrd /boot/initrd.img-7.2.12\n",
	})
	if got := mismatches(); !strings.Contains(got, "kernel 6.12.84 has no initramfs, and others have one") || strings.Contains(got, "kernel 7.2.12 has no initramfs") {
		t.Errorf("mismatches are %s, want that 6.12.84 alone has no initramfs", got)
	}
}
