package probe

import (
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
)

const kallsyms = `0000000000000000 A fixed_percpu_data
ffffffff83a0b1c0 t algif_aead_init
ffffffff83a0b1d0 T af_alg_init
ffffffffc0a0b1d0 t rxrpc_init	[rxrpc]
`

func tree(cmdline, symbols string) fstest.MapFS {
	out := fstest.MapFS{}
	if cmdline != "" {
		out["proc/cmdline"] = &fstest.MapFile{Data: []byte(cmdline)}
	}
	if symbols != "" {
		out["proc/kallsyms"] = &fstest.MapFile{Data: []byte(symbols)}
	}
	return out
}

func TestReadInitcalls(t *testing.T) {
	wanted := []string{"af_alg_init", "algif_aead_init", "rxrpc_init", "esp4_init"}
	for _, c := range []struct{ name, cmdline, want string }{
		{"none", "ro quiet\n", ""},
		{"one", "initcall_blacklist=af_alg_init\n", "af_alg_init"},
		{"several", "initcall_blacklist=af_alg_init,esp4_init ro\n", "af_alg_init esp4_init"},
		{"several arguments add up", "initcall_blacklist=af_alg_init ro initcall_blacklist=esp4_init\n", "af_alg_init esp4_init"},
		{"an empty one takes none away", "initcall_blacklist=af_alg_init initcall_blacklist=\n", "af_alg_init"},
		{"the parameter may have a dash", "initcall-blacklist=af_alg_init\n", "af_alg_init"},
		{"a name with a dash is none", "initcall_blacklist=af-alg-init\n", ""},
		{"a longer name is another", "initcall_blacklist=af_alg_init2,xaf_alg_init\n", ""},
		{"modules are another", "module_blacklist=af_alg_init\n", ""},
		{"in quotes", "initcall_blacklist=\"af_alg_init,esp4_init\"\n", "af_alg_init esp4_init"},
		{"what is init's own", "ro -- initcall_blacklist=af_alg_init\n", ""},
		{"inside another's quotes", "x=\"a initcall_blacklist=af_alg_init b\"\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ReadInitcalls(tree(c.cmdline, kallsyms), wanted)
			if !got.Skipped.Read || !got.Known.Read {
				t.Fatalf("initcalls are %+v, want both read", got)
			}
			for _, name := range wanted {
				if got, want := got.Skipped.Has(name), strings.Contains(c.want, name); got != want {
					t.Errorf("%s is skipped: %t, want %t", name, got, want)
				}
				// What is of a loaded module is no function of the kernel's own.
				if got, want := got.Known.Has(name), strings.HasPrefix(name, "a"); got != want {
					t.Errorf("%s is known: %t, want %t", name, got, want)
				}
			}
		})
	}
}

func TestReadInitcallsUnread(t *testing.T) {
	got := ReadInitcalls(tree("", ""), []string{"a"})
	if got.Skipped.Read || got.Known.Read {
		t.Errorf("of nothing initcalls are %+v, want none read", got)
	}
	got = ReadInitcalls(tree("ro\n", strings.Repeat("x", 1<<17)), []string{"a"})
	if !got.Skipped.Read || got.Known.Read {
		t.Errorf("of a line without an end initcalls are %+v, want the symbols not read", got)
	}
}

// TestReadInitcallsBehindStubs: what a kernel with stubs calls has other names, wherever in
// the list the stubs show.
func TestReadInitcallsBehindStubs(t *testing.T) {
	const stub = "ffffffff83a0b200 T __initstub__kmod_algif_aead__321_459_algif_aead_init6\n"
	for name, symbols := range map[string]string{"before": stub + kallsyms, "behind": kallsyms + stub} {
		got := ReadInitcalls(tree("initcall_blacklist=algif_aead_init\n", symbols), []string{"algif_aead_init"})
		if got.Known.Read || !strings.Contains(got.Known.Err, "calls __initstub__kmod_algif_aead__321_459_algif_aead_init6 and other stubs") {
			t.Errorf("%s: symbols are %+v, want them not read for the stub", name, got.Known)
		}
	}
}

func TestReadOverride(t *testing.T) {
	for _, c := range []struct {
		name, cmdline, reason string
		given                 bool
	}{
		{"none", "ro quiet\n", "", false},
		{"one word", "ro initcheck.override=ticket-4711 quiet\n", "ticket-4711", true},
		{"quoted", "ro initcheck.override=\"new driver, see #4711\" quiet\n", "new driver, see #4711", true},
		{"all of it quoted", "\"initcheck.override=new driver\" quiet\n", "new driver", true},
		{"the last wins", "initcheck.override=a initcheck.override=b\n", "b", true},
		{"an empty one after it", "initcheck.override=a initcheck.override=\n", "", true},
		{"empty", "initcheck.override=\n", "", true},
		{"blanks only", "initcheck.override=\"  \"\n", "", true},
		{"no value", "initcheck.override\n", "", false},
		{"of another name", "xinitcheck.override=a initcheck.overrides=b\n", "", false},
		{"init's own", "-- initcheck.override=a\n", "", false},
		{"inside another's quotes", "x=\"b initcheck.override=a\"\n", "", false},
		{"quote that is never closed", "initcheck.override=\"new driver\n", "new driver", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			reason, given, err := ReadOverride(tree(c.cmdline, ""))
			if err != nil || reason != c.reason || given != c.given {
				t.Errorf("override is %q, %t, %v, want %q, %t", reason, given, err, c.reason, c.given)
			}
		})
	}
	if _, given, err := ReadOverride(tree("", "")); given || err == nil {
		t.Errorf("without a command line: %t, %v, want an error", given, err)
	}
}

func FuzzArguments(f *testing.F) {
	for seed, want := range map[string]argument{
		`ro module_blacklist=a,b quiet`: {"module_blacklist", "a,b"},
		`x="a b" -- y=z`:                {"x", "a b"},
		`"x=a b"`:                       {"x", "a b"},
		`==a`:                           {"=", "a"},
	} {
		if got, err := arguments(tree(seed, "")); err != nil || !reflect.DeepEqual(got, []argument{want}) {
			f.Fatalf("seed %q: %q, %v, want %q", seed, got, err, want)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		args, err := arguments(fstest.MapFS{"proc/cmdline": {Data: []byte(text)}})
		if err != nil && len(text) <= maxLine {
			t.Fatalf("%q: %v", text, err)
		}
		for _, a := range args {
			if a.name == "" || !strings.Contains(text, a.name) || !strings.Contains(text, a.value) {
				t.Errorf("argument %q is not in %q", a, text)
			}
		}
	})
}
