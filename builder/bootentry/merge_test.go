package bootentry_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/bootentry"
)

func TestEffective(t *testing.T) {
	for _, test := range []struct {
		name, cmdline      string
		modules, initcalls string
	}{
		{"nothing", "quiet ro", "", ""},
		{"both", "module_blacklist=a,b initcall_blacklist=c", "a b", "c"},
		{"last module_blacklist wins", "module_blacklist=a,b module_blacklist=c", "c", ""},
		{"initcall_blacklist adds up", "initcall_blacklist=a initcall_blacklist=b,c", "", "a b c"},
		{"dash in the parameter's name", "module-blacklist=a initcall-blacklist=b", "a", "b"},
		{"dash in a module's name stays", "module_blacklist=algif-aead", "algif-aead", ""},
		{"behind two dashes", "quiet -- module_blacklist=a", "", ""},
		{"quoted value", `module_blacklist="a,b" initcall_blacklist="c d"`, "a b", "c d"},
		{"quoted argument", `"module_blacklist=a,b" x`, "a b", ""},
		{"quote within", `x="y module_blacklist=a"`, "", ""},
		{"without a value the earlier one stays", "module_blacklist=a module_blacklist", "a", ""},
		{"empty", "module_blacklist=a module_blacklist=", "", ""},
		{"too long is ignored", "module_blacklist=a module_blacklist=" + strings.Repeat("b", 1025), "a", ""},
		{"other parameter", "modprobe.blacklist=a rd.driver.blacklist=b", "", ""},
		{"upper case", "MODULE_BLACKLIST=a", "", ""},
		{"no-break space parts", "a\xa0module_blacklist=b", "b", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			modules, initcalls := bootentry.Effective(test.cmdline)
			if got := strings.Join(modules, " "); got != test.modules {
				t.Errorf("modules are %q, want %q", got, test.modules)
			}
			if got := strings.Join(initcalls, " "); got != test.initcalls {
				t.Errorf("initcalls are %q, want %q", got, test.initcalls)
			}
		})
	}
}

// TestLimits: what the kernel or the format would not take is refused, and the file
// stays as it is.
func TestLimits(t *testing.T) {
	bls := func(options string) memory {
		return memory{"/boot/loader/entries/a.conf": []byte("linux /v\noptions " + options + "\n")}
	}
	var includes = memory{}
	for i := range 30 {
		includes[fmt.Sprintf("/boot/extlinux/%d.conf", i)] = fmt.Appendf(nil, "include %d.conf\nlabel a\nlinux /v\n", i+1)
	}
	includes["/boot/extlinux/extlinux.conf"] = []byte("include 0.conf\n")
	many := "linux /v $a\n"
	for i := range 9 {
		many += fmt.Sprintf("set a=%d\n", i)
	}
	for _, test := range []struct {
		name    string
		tree    memory
		refused string
		problem string
	}{
		{"line too long", bls(strings.Repeat("a ", 900)), "command line would have", ""},
		{"string too long", bls("module_blacklist=" + strings.Repeat("b", 1020)), "module_blacklist= would have 1037 bytes, the kernel takes 1024", ""},
		{"string was too long", bls("module_blacklist=" + strings.Repeat("b", 1100)), "the kernel takes 1024 and ignores it", ""},
		{"environment block is full", memory{"/boot/grub/grubenv": fmt.Appendf(nil, "# GRUB Environment Block\nkernelopts=%s\n%s", strings.Repeat("a", 970), strings.Repeat("#", 17))},
			"environment block has 17 free bytes", ""},
		{"environment block without header", memory{"/boot/grub/grubenv": bytes.Repeat([]byte{0}, 1024)}, "", "environment block begins with"},
		{"includes without end", includes, "", "more than 16 deep"},
		{"file too large", memory{"/boot/grub/grub.cfg": make([]byte, 1<<20+1)}, "", "size is 1048577 bytes, limit is 1048576"},
		{"blocks without end", memory{"/boot/grub/grub.cfg": bytes.Repeat([]byte("{\n"), 100)}, "", "more than 64 blocks within each other"},
		{"variable with many values", memory{"/boot/grub/grub.cfg": []byte(many)}, "", "possible values"},
		{"no room for another header", memory{"/efi/EFI/Linux/a.efi": smallPE(slices.Repeat([]section{{".linux", 0x1000, nil}}, 17))}, "no room for another section", ""},
		{"section beyond the file", memory{"/efi/EFI/Linux/a.efi": smallPE([]section{{".linux", 0x1000, make([]byte, 600)}})[:0x500]}, "", "PE: section .linux ends at 0x800, file at 0x500"},
		{"unclosed quote in a shell file", memory{"/etc/default/grub": []byte("A=1\nGRUB_CMDLINE_LINUX=\"a\n")}, "", "line 3: quote is never closed"},
		{"blacklist among commands", memory{"/etc/default/grub": []byte("if x; then\nGRUB_CMDLINE_LINUX=module_blacklist=a\nfi\n")}, "", "among commands"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := read(t, test.tree)
			edits, refusals := splice(t, c, want)
			if test.refused != "" && (len(refusals) == 0 || !strings.Contains(refusals[0].Why, test.refused) || len(edits) > 0) {
				t.Errorf("%d edits, refusals %v, want %q and no edits", len(edits), refusals, test.refused)
			}
			if test.problem != "" && !slices.ContainsFunc(c.Problems, func(p bootentry.Problem) bool { return strings.Contains(p.Why, test.problem) }) {
				t.Errorf("problems are %v, want %q", c.Problems, test.problem)
			}
		})
	}
}

func TestNamesAreChecked(t *testing.T) {
	c := read(t, memory{"/etc/kernel/cmdline": []byte("quiet\n")})
	for _, name := range []string{"", "a-b", "a b", "a,b", "a\n", `a"`, "a$b", "é"} {
		if _, _, err := c.Splice(bootentry.Want{Modules: []string{name}}); err == nil {
			t.Errorf("module %q is taken", name)
		}
	}
}

// TestShellAgrees has sh read random settings, before and after the change, and
// compares what the variable then holds.
func TestShellAgrees(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 4))
	parts := []string{"a", "quiet", `"b c"`, `'d "e'`, `\ f`, `"$A"`, `${A}`, `"x${A}y"`, `"\$z\\"`, `"q\"r"`, "'s'\\\nt", "\"u\\\nv\"", `"module_blacklist=pcspkr"`, "''", `""`, "=", "--x"}
	const files = 200
	changed, compared := 0, 0
	for range files {
		var b strings.Builder
		b.WriteString("# settings\nA='one two'\n")
		for range random.IntN(3) {
			b.WriteString([]string{"", "export ", "  "}[random.IntN(3)] + "GRUB_CMDLINE_LINUX=")
			for range random.IntN(4) {
				b.WriteString(parts[random.IntN(len(parts))])
			}
			b.WriteString([]string{"\n", " # note\n", "; B=$A\n", "\n\n"}[random.IntN(4)])
		}
		text := b.String()
		c := read(t, memory{"/etc/default/grub": []byte(text)})
		if len(c.Problems) > 0 {
			t.Fatalf("%q: %v", text, c.Problems)
		}
		if got, want := c.Entries[0].CommandLine, shellValue(t, text); got != want {
			t.Errorf("%q: value is %q, sh says %q", text, got, want)
		}
		compared++
		edits, refusals := splice(t, c, want)
		if len(refusals) > 0 {
			continue
		}
		after := text
		for _, e := range edits {
			after = string(e.Data)
			changed++
		}
		modules, initcalls := bootentry.Effective(shellValue(t, after))
		if !slices.Contains(modules, "algif_aead") || !slices.Contains(initcalls, "algif_aead_init") {
			t.Errorf("%q became %q, which blocks %v %v", text, after, modules, initcalls)
		}
		if strings.Contains(text, "pcspkr") && slices.Contains(func() []string { m, _ := bootentry.Effective(shellValue(t, text)); return m }(), "pcspkr") && !slices.Contains(modules, "pcspkr") {
			t.Errorf("%q became %q, which lets pcspkr in", text, after)
		}
	}
	if t.Logf("%d settings: sh agrees on %d values, %d changed", files, compared, changed); changed < files/2 {
		t.Errorf("%d of %d settings changed, want most", changed, files)
	}
}

func shellValue(t *testing.T, text string) string {
	t.Helper()
	dir := makeDir(t, map[string][]byte{"settings": []byte(text)})
	cmd := exec.Command("sh", "-c", `. "$1"; printf %s "${GRUB_CMDLINE_LINUX-}"`, "sh", filepath.Join(dir, "settings"))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("sh on %q: %v", text, err)
	}
	return string(out)
}
