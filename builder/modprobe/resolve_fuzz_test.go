package modprobe_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kerngate/kerngate/builder/modprobe"
)

// FuzzResolve looks for crashes and for configurations that take for ever.
func FuzzResolve(f *testing.F) {
	root, release := fixture(f)
	index := readIndex(f, root, release)
	resolve := func(t testing.TB, conf, cmdline, name string) (steps int) {
		config, err := modprobe.ReadConfig(oneFile(conf))
		if err != nil {
			t.Fatal(err)
		}
		r := modprobe.Resolver{Config: config.WithCommandLine(cmdline), Index: index}
		for _, answer := range []func(modprobe.Request) ([]modprobe.Step, error){r.Kmod, r.Busybox} {
			for _, req := range []modprobe.Request{{Name: name}, {Name: name, UseBlacklist: true, IgnoreInstall: true, Options: "a"}} {
				got, err := answer(req)
				if err != nil && !errors.Is(err, modprobe.ErrNotFound) && !strings.Contains(err.Error(), "more than") {
					t.Errorf("%+v: %v", req, err)
				}
				steps += len(got)
			}
		}
		modprobe.KernelRefuses(cmdline, name, name)
		return steps
	}
	for _, seed := range []string{"softdep * pre: esp4 tun post: esp6 *\n", "alias tu* esp4\noptions esp4 a=1\n", "install tun x $CMDLINE_OPTS\n", "blacklist tun\n"} {
		if resolve(f, seed, "tun.a=1", "tun") == 0 {
			f.Fatalf("seed %q leads nowhere", seed)
		}
		f.Add(seed, "tun.a=1 modprobe.blacklist=tun", "tun")
	}
	f.Fuzz(func(t *testing.T, conf, cmdline, name string) {
		if len(conf) > 4096 {
			return
		}
		start := time.Now()
		resolve(t, conf, cmdline, name)
		if took := time.Since(start); took > time.Minute {
			t.Errorf("it took %s", took)
		}
	})
}
