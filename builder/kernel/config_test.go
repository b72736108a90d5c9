package kernel_test

import (
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/kernel"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// only gives the one kernel of a tree, and its configuration.
func only(t *testing.T, tree rootfs.Tree) (kernel.Kernel, kernel.Config, error) {
	t.Helper()
	list, err := kernel.List(tree)
	if err != nil || len(list) != 1 {
		t.Fatalf("got %d kernels, %v, want one", len(list), err)
	}
	c, err := list[0].Config(tree)
	return list[0], c, err
}

func TestStateBy(t *testing.T) {
	const text = "# Linux/x86 6.1.0 Kernel Configuration\nCONFIG_CC_VERSION_TEXT=\"gcc =y\"\nCONFIG_CRYPTO_USER_API_AEAD=m\nCONFIG_NET_KEY=y\r\n  CONFIG_TLS=m\n" +
		"# CONFIG_RDS is not set\n#CONFIG_INET_AH=m\nCONFIG_AFS_FS=n\nCONFIG_EMPTY=\nCONFIG_RXRPC_DEBUG=mmm\nXCONFIG_INET_ESP=m\nCONFIG_INET_ESP_OFFLOAD=m"
	for _, c := range []struct {
		name, module, symbol string
		want                 kernel.State
	}{
		{"has the file, is set", "algif_aead", "CRYPTO_USER_API_AEAD", kernel.Loadable},
		{"has the file, is not set", "algif_aead", "RDS", kernel.Loadable},
		{"built in, is not set", "af_alg", "RDS", kernel.BuiltIn},
		{"set to m without a file", "tls", "TLS", kernel.Absent},
		{"set to y without a file", "af_key", "NET_KEY", kernel.Absent},
		{"last line without an end", "esp4_off", "INET_ESP_OFFLOAD", kernel.Absent},
		{"said not to be set", "rds", "RDS", kernel.NotBuilt},
		{"a comment", "ah4", "INET_AH", kernel.NotBuilt},
		{"set to n", "kafs", "AFS_FS", kernel.NotBuilt},
		{"no value", "x", "EMPTY", kernel.NotBuilt},
		{"another value", "x", "RXRPC_DEBUG", kernel.NotBuilt},
		{"another prefix", "esp6", "INET_ESP", kernel.NotBuilt},
		{"not named", "rxrpc", "AF_RXRPC", kernel.NotBuilt},
		{"not named, but the front of one that is", "x", "CRYPTO_USER_API", kernel.NotBuilt},
		{"no symbol known", "x", "", kernel.Absent},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, config, err := only(t, tree(t, installed(map[string]string{"boot/config-6.1.0": text}, "usr/lib/modules/6.1.0")))
			if err != nil {
				t.Fatal(err)
			}
			if got := k.StateBy(config, c.module, c.symbol); got != c.want {
				t.Errorf("%s, built by %q, is %s, want %s", c.module, c.symbol, got, c.want)
			}
			if got := k.StateBy(kernel.Config{}, c.module, c.symbol); got != k.State(c.module) {
				t.Errorf("without a configuration it is %s, want %s", got, k.State(c.module))
			}
		})
	}
}

func TestConfigPlaces(t *testing.T) {
	const dir = "usr/lib/modules/6.1.0/"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string // path, or the fault
	}{
		{"beside the image", map[string]string{"boot/config-6.1.0": "CONFIG_A=y\n", dir + "config": "CONFIG_B=y\n"}, "/boot/config-6.1.0"},
		{"beside the modules", map[string]string{dir + "config": "CONFIG_B=y\n", "boot/config-6.1.01": "CONFIG_A=y\n"}, "/usr/lib/modules/6.1.0/config"},
		{"by a link", map[string]string{"boot/config-6.1.0": "-> ../" + dir + "config", dir + "config": "CONFIG_B=y\n"}, "/usr/lib/modules/6.1.0/config"},
		{"a link to nothing", map[string]string{"boot/config-6.1.0": "-> gone"}, ""},
		{"none", map[string]string{}, ""},
		{"empty", map[string]string{"boot/config-6.1.0": ""}, "/boot/config-6.1.0: no line sets a symbol to y or m"},
		{"not one", map[string]string{"boot/config-6.1.0": "GRUB_DEFAULT=y\n"}, "/boot/config-6.1.0: no line sets a symbol to y or m"},
		{"large", map[string]string{"boot/config-6.1.0": strings.Repeat("#", 4<<20+1)}, "size is 4194305 bytes, limit is 4194304"},
		{"a directory", map[string]string{"boot/config-6.1.0/x": ""}, "it is a directory, want a regular file"},
		{"links in a circle", map[string]string{"boot/config-6.1.0": "-> config-6.1.0"}, "more than 40 symbolic links"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, config, err := only(t, tree(t, installed(c.files, "usr/lib/modules/6.1.0")))
			switch {
			case err == nil && config.Path != c.want:
				t.Errorf("found %q, want %q", config.Path, c.want)
			case err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want) || config.Path != ""):
				t.Errorf("got %q, %v, want %q", config.Path, err, c.want)
			}
		})
	}
}

// FuzzConfig wants a symbol to count as set only where a line says so.
func FuzzConfig(f *testing.F) {
	d := imgtest.Tree(f, 0o644, nil)
	for _, seed := range []string{"CONFIG_A=m\n", "# CONFIG_A is not set\nCONFIG_B=y\n", "CONFIG_A=\"m\"\r\nCONFIG_AA=m", "=\nCONFIG_=y"} {
		f.Add([]byte(seed))
	}
	k := kernel.Kernel{Release: "6.1.0", Modules: "/usr/lib/modules/6.1.0"}
	f.Fuzz(func(t *testing.T, data []byte) {
		over := rootfs.NewOverlay(d)
		over.Write("/boot/config-6.1.0", data)
		c, err := k.Config(over)
		if err != nil {
			return
		}
		said := strings.Contains(string(data), "CONFIG_A=m") || strings.Contains(string(data), "CONFIG_A=y")
		if got := k.StateBy(c, "a", "A"); got == kernel.Absent && !said {
			t.Errorf("%q sets CONFIG_A, want it not built", data)
		}
	})
}
