package modprobe_test

import (
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/modprobe"
)

func TestKernelRefuses(t *testing.T) {
	for _, c := range []struct{ name, cmdline, by string }{
		{"nothing", "root=/dev/vda1 quiet", ""},
		{"module", "quiet module_blacklist=algif_aead", "module_blacklist=algif_aead"},
		{"one of several", "module_blacklist=esp4,algif_aead,x", "module_blacklist=esp4,algif_aead,x"},
		{"dash in the module's name", "module_blacklist=algif-aead", ""},
		{"dash in the argument's name", "module-blacklist=algif_aead", "module-blacklist=algif_aead"},
		{"other module", "module_blacklist=algif_aead2,xalgif_aead", ""},
		{"the last one counts", "module_blacklist=algif_aead module_blacklist=esp4", ""},
		{"the last one counts, empty", "module_blacklist=algif_aead module_blacklist=", ""},
		{"the last one has no value", "module_blacklist=algif_aead module_blacklist", "module_blacklist=algif_aead"},
		{"the last one is too long", "module_blacklist=algif_aead module_blacklist=" + strings.Repeat("x", 1025), "module_blacklist=algif_aead"},
		{"quoted value", `module_blacklist="esp4,algif_aead"`, "module_blacklist=esp4,algif_aead"},
		{"quoted whole", `"module_blacklist=algif_aead"`, "module_blacklist=algif_aead"},
		{"in another value", `x="a module_blacklist=algif_aead"`, ""},
		{"behind --", "quiet -- module_blacklist=algif_aead", ""},
		{"modprobe's", "modprobe.blacklist=algif_aead", ""},
		{"initcall", "initcall_blacklist=algif_aead_init", "initcall_blacklist=algif_aead_init"},
		{"initcalls add up", "initcall_blacklist=algif_aead_init initcall_blacklist=esp4_init", "initcall_blacklist=algif_aead_init"},
		{"other initcall", "initcall_blacklist=algif_aead", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if by, refused := modprobe.KernelRefuses(c.cmdline, "algif_aead", "algif_aead_init"); by != c.by || refused != (c.by != "") {
				t.Errorf("refused is %v by %q, want by %q", refused, by, c.by)
			}
		})
	}
	if _, refused := modprobe.KernelRefuses("module_blacklist= initcall_blacklist=", "", ""); refused {
		t.Error("a module without a name is refused")
	}
}

// commandLines are what kmod finds in a kernel command line, as --showconfig prints it.
var commandLines = []struct{ name, cmdline, want string }{
	{"options", "quiet esp4.a=1 af-alg.b=x,y root=/dev/vda1.x", "options esp4 a=1|options af_alg b=x,y"},
	{"flag", "esp4.debug rw", "options esp4 debug"},
	{"blacklist keeps dashes", "modprobe.blacklist=a-b,c modprobe.blacklist=d", "blacklist a-b|blacklist c|blacklist d"},
	{"quoted value", `esp4.a="x y" z`, `options esp4 a="x y"`},
	{"quoted whole", `"esp4.a=x y" z`, `options esp4 a="x y"`},
	{"second dot", "a.b.c=1 a.b=c.d", "options a b=c.d"},
	{"other modprobe parameter", "modprobe.x=1", "options modprobe x=1"},
	{"open quote", `a.b="c d`, ""},
	{"brackets", "a].b=1 [x-y].c=1", "options [x-y] c=1"},
	{"quote in the name", `a"b".c=1 "d.e" f.g=2`, "options f g=2"},
	{"quotes that join", `a"b.c=1 "d.e f.g=2`, "options f g=2"},
	{"white space", "a.b=1\tc.d=2\n e.f=3\n", "options a b=1|options c d=2|options e f=3"},
}

func TestWithCommandLine(t *testing.T) {
	for _, c := range commandLines {
		t.Run(c.name, func(t *testing.T) {
			if got := ourCommandLine(t, c.cmdline); got != c.want {
				t.Errorf("we read %s, want %s", got, c.want)
			}
		})
	}
}

func ourCommandLine(t *testing.T, cmdline string) string {
	t.Helper()
	config, err := modprobe.ReadConfig(tree(t, map[string]string{"etc/x": ""}))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range config.WithCommandLine(cmdline).Lines() {
		got = append(got, strings.Join(l.Words, " "))
	}
	return strings.Join(got, "|")
}
