package probe

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/kerngate/kerngate/initcheck"
)

var now = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

func readKernel(files map[string]string) initcheck.KernelFacts {
	root := fstest.MapFS{}
	for name, text := range files {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return ReadKernel(root, release, now)
}

func TestReadKernel(t *testing.T) {
	k := readKernel(map[string]string{
		"etc/os-release":                          "NAME=\"Debian GNU/Linux\"\nID=debian\nVERSION_ID=\"13\"\n",
		"proc/version_signature":                  "Ubuntu 6.8.0-124.124-generic 6.8.12\n",
		"proc/cmdline":                            "BOOT_IMAGE=/vmlinuz root=/dev/vda1 module_blacklist=esp4,esp6 ro quiet\n",
		"lib/modules/" + release + "/modules.dep": "kernel/crypto/algif_aead.ko.xz: kernel/crypto/af_alg.ko.xz\nkernel/crypto/af_alg.ko.xz:\nkernel/net/rxrpc/rxrpc.ko:\n",
	})
	if k.ID != "debian" || k.VersionID != "13" || k.Signature != "Ubuntu 6.8.0-124.124-generic 6.8.12" || k.LivePatched || !k.Now.Equal(now) {
		t.Errorf("facts are %+v", k)
	}
	if !k.Denied.Read || !k.Denied.Has("esp4") || !k.Denied.Has("esp6") || k.Denied.Has("rxrpc") || k.Denied.Len() != 2 {
		t.Errorf("denied are %+v", k.Denied)
	}
	if !k.Available.Read || !k.Available.Has("algif-aead") || !k.Available.Has("rxrpc") || k.Available.Has("esp4") || k.Available.Len() != 3 {
		t.Errorf("available are %+v", k.Available)
	}
}

// TestReadKernelOfNothing: nothing readable is no facts, and no reason to stop.
func TestReadKernelOfNothing(t *testing.T) {
	k := readKernel(nil)
	if k.ID != "" || k.Signature != "" || k.LivePatched || k.Denied.Read || k.Available.Read {
		t.Errorf("facts are %+v, want none", k)
	}
}

func TestDenied(t *testing.T) {
	for _, c := range []struct {
		name, cmdline string
		read          bool
		want          string // names, sorted by the case
	}{
		{"none", "ro quiet\n", true, ""},
		{"the last counts", "module_blacklist=esp4 module_blacklist=esp6\n", true, "esp6"},
		{"a later empty one takes all away", "module_blacklist=esp4 module_blacklist=\n", true, ""},
		{"a name with a dash denies nothing", "module_blacklist=algif-aead,esp4\n", true, "esp4"},
		{"the parameter may have a dash", "module-blacklist=esp4\n", true, "esp4"},
		{"what is init's own", "ro -- module_blacklist=esp4\n", true, ""},
		{"modprobe's own is another", "modprobe.blacklist=esp4\n", true, ""},
		{"initcalls are another", "initcall_blacklist=esp4_init\n", true, ""},
		{"inside quotes it is another's", "x=\"a module_blacklist=esp4 b\"\n", true, ""},
		{"beside quotes", "x=\"a b\" module_blacklist=esp4\n", true, "esp4"},
		{"in quotes", "module_blacklist=\"esp4,esp6\" x\n", true, "esp4 esp6"},
		{"the whole in quotes", "\"module_blacklist=esp4,esp6\"\n", true, "esp4 esp6"},
		{"a quote that is never closed", "module_blacklist=\"esp4\n", true, "esp4"},
		{"a value that the kernel finds too long", "module_blacklist=esp6 module_blacklist=esp4," + strings.Repeat("x", 1020) + "\n", true, "esp6"},
		{"dashes in quotes", "\"--\" module_blacklist=esp4\n", true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := readKernel(map[string]string{"proc/cmdline": c.cmdline}).Denied
			if d.Read != c.read {
				t.Fatalf("denied are %+v, want them read: %t", d, c.read)
			}
			for _, name := range []string{"esp4", "esp6", "algif_aead"} {
				if got, want := d.Has(name), strings.Contains(c.want, name); got != want {
					t.Errorf("%s is denied: %t, want %t", name, got, want)
				}
			}
		})
	}
}

func TestLivePatched(t *testing.T) {
	if !readKernel(map[string]string{"sys/kernel/livepatch/kpatch_1/enabled": "1\n"}).LivePatched {
		t.Error("a live patch is not seen")
	}
	if !readKernel(map[string]string{"sys/kernel/livepatch": "no directory"}).LivePatched {
		t.Error("a directory that cannot be read is taken for empty")
	}
}

func TestOSRelease(t *testing.T) {
	for _, c := range []struct{ name, text, id, version string }{
		{"plain", "ID=fedora\nVERSION_ID=44\n", "fedora", "44"},
		{"double quotes", "ID=\"rhel\"\nVERSION_ID=\"9.7\"\n", "rhel", "9.7"},
		{"single quotes", "ID='amzn'\nVERSION_ID='2023'\n", "amzn", "2023"},
		{"the last counts", "ID=a\nID=b\n", "b", ""},
		{"others are not ID", "ID_LIKE=debian\nVARIANT_ID=x\n", "", ""},
		{"lone quote", "ID=\"\n", "\"", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, file := range []string{"etc/os-release", "usr/lib/os-release"} {
				if k := readKernel(map[string]string{file: c.text}); k.ID != c.id || k.VersionID != c.version {
					t.Errorf("%s: %q, %q, want %q, %q", file, k.ID, k.VersionID, c.id, c.version)
				}
			}
		})
	}
	if k := readKernel(map[string]string{"etc/os-release": "ID=debian\n" + strings.Repeat("#", maxLine)}); k.ID != "" {
		t.Errorf("of a file that is too large ID is %q, want none", k.ID)
	}
}
