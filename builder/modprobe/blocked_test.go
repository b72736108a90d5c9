package modprobe_test

import (
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/modprobe"
)

// ourBlock is what we write for two modules.
var ourBlock = string(modprobe.Text(header, []modprobe.Block{{Module: "algif_aead", Aliases: []string{"algif-aead"}}, {Module: "esp4", Aliases: []string{"xfrm-type-2-50"}}}, "/bin/false"))

// TestBlocked has the measured tables of load paths, by kmod and by busybox: which are
// open under which lines.
func TestBlocked(t *testing.T) {
	root, release := fixture(t)
	index := readIndex(t, root, release)
	const file = "etc/modprobe.d/00-kerngate.conf"
	for _, c := range []struct {
		name, conf    string
		req           modprobe.Request
		module        string
		kmod, busybox string // by what it is blocked; empty: open
	}{
		{"nothing", "", modprobe.Request{Name: "algif-aead"}, "algif_aead", "", ""},
		{"blacklist, by name", "blacklist algif_aead", modprobe.Request{Name: "algif-aead"}, "algif_aead", "", ""},
		{"blacklist, by name with -b", "blacklist algif-aead", modprobe.Request{Name: "algif_aead", UseBlacklist: true}, "algif_aead", file + ":1: blacklist", file + ":1: blacklist"},
		{"blacklist, by alias", "blacklist esp4", modprobe.Request{Name: "xfrm-type-2-50"}, "esp4", file + ":1: blacklist", file + ":1: blacklist"},
		{"blacklist, as a dependency", "blacklist esp4", modprobe.Request{Name: "xfrm-offload-2-50"}, "esp4", "", ""},
		{"install", "install algif_aead /bin/false", modprobe.Request{Name: "algif-aead"}, "algif_aead", file + ":1: install", ""},
		{"install, but its own dependency", "install algif_aead /bin/false", modprobe.Request{Name: "algif-aead"}, "af_alg", "", ""},
		{"install, as a dependency", "install esp4 /bin/false", modprobe.Request{Name: "esp4_offload"}, "esp4", file + ":1: install", ""},
		{"install of a dependency keeps the rest out", "install esp4 /bin/false", modprobe.Request{Name: "esp4_offload"}, "esp4_offload", file + ":1: install", ""},
		{"install, with -i", "install algif_aead /bin/false", modprobe.Request{Name: "algif_aead", IgnoreInstall: true}, "algif_aead", "", ""},
		{"install of something unknown", "install algif_aead /usr/local/bin/x", modprobe.Request{Name: "algif_aead"}, "algif_aead", "", ""},
		{"install with a way out", "install algif_aead /bin/false || /sbin/modprobe -i algif_aead", modprobe.Request{Name: "algif_aead"}, "algif_aead", "", ""},
		{"install of another module", "install esp40 /bin/false", modprobe.Request{Name: "esp4"}, "esp4", "", ""},
		{"install and softdep", "install algif_aead /bin/false\nsoftdep algif_aead pre: tun", modprobe.Request{Name: "algif_aead"}, "algif_aead", "", ""},
		{"alias off, by name", "alias algif-aead off", modprobe.Request{Name: "algif_aead"}, "algif_aead", file + ":1: alias", file + ":1: alias"},
		{"alias off, by alias: busybox goes on to modules.alias", "alias xfrm-type-2-50 off", modprobe.Request{Name: "xfrm-type-2-50"}, "esp4", file + ":1: alias", ""},
		{"alias off, as a dependency", "alias esp4 off", modprobe.Request{Name: "esp4_offload"}, "esp4", "", ""},
		{"all of ours, by name", ourBlock, modprobe.Request{Name: "algif-aead"}, "algif_aead", file + ":6: alias", file + ":6: alias"},
		{"all of ours, by alias", ourBlock, modprobe.Request{Name: "xfrm-type-2-50"}, "esp4", file + ":11: alias", file + ":10: blacklist"},
		{"all of ours, by its own name", ourBlock, modprobe.Request{Name: "esp4"}, "esp4", file + ":9: install", ""},
		{"not there", "", modprobe.Request{Name: "ghost"}, "algif_aead", "no module", "the file of ghost is not there"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := imgtest.WriteFiles(dir, 0o644, map[string]string{file: c.conf}); err != nil {
				t.Fatal(err)
			}
			config, err := modprobe.ReadConfig(imgtest.OpenDir(t, dir))
			if err != nil {
				t.Fatal(err)
			}
			r := modprobe.Resolver{Config: config, Index: index}
			hold := func(program, want, by string, blocked bool, err error) {
				t.Helper()
				if err != nil || blocked != (want != "") || !strings.Contains(by, want) {
					t.Errorf("%s: blocked is %v by %q, %v, want by %q", program, blocked, by, err, want)
				}
			}
			by, blocked, err := r.Blocked(c.req, c.module)
			hold("kmod", c.kmod, by, blocked, err)
			by, blocked, err = r.BlockedBusybox(c.req, c.module)
			hold("busybox", c.busybox, by, blocked, err)
		})
	}
}

// TestSteps has what steps tell beside the order, which kmod judges.
func TestSteps(t *testing.T) {
	root, release := fixture(t)
	config, err := modprobe.ReadConfig(tree(t, map[string]string{"etc/modprobe.d/x.conf": "install esp4 /bin/false $CMDLINE_OPTS\noptions esp4 a=1\nsoftdep tun pre: esp6 post: algif-hash\nalias gate off"}))
	if err != nil {
		t.Fatal(err)
	}
	r := modprobe.Resolver{Config: config.WithCommandLine("quiet esp6.b=2 modprobe.blacklist=esp4,af-alg"), Index: readIndex(t, root, release)}
	for _, c := range []struct{ name, want string }{
		{"tun", "insert esp6 pre softdep b=2|insert tun requested|insert af_alg dependency|insert algif_hash post softdep"},
		{"esp4_offload", "run esp4 dependency a=1 [/bin/false a=1]|insert esp4_offload requested idle"},
		{"gate", "missing off alias"},
		{"xfrm-type-2-50", "blacklisted esp4 alias"},
		{"net-pf-38", "insert af_alg alias"},
	} {
		steps, err := r.Kmod(modprobe.Request{Name: c.name})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range steps {
			if strings.Contains(s.Path, "xfrm") || strings.Contains(s.Path, "/lib/") && strings.Contains(s.Path, "crypto/lib") {
				continue
			}
			text := strings.TrimSpace(strings.Join([]string{string(s.Kind), s.Module, string(s.Why), s.Options}, " "))
			if s.Command != "" {
				text += " [" + s.Command + "]"
			}
			if s.Idle {
				text += " idle"
			}
			got = append(got, text)
		}
		if joined := strings.Join(got, "|"); joined != c.want {
			t.Errorf("%s: steps are\n%s, want\n%s", c.name, joined, c.want)
		}
	}
}
