package modprobe_test

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/modprobe"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/profiles"
)

var update = flag.Bool("update", false, "write the golden files")

// tree makes a tree of files; content "-> TARGET" makes a link.
func tree(t *testing.T, files map[string]string) *rootfs.Dir {
	t.Helper()
	return imgtest.Tree(t, 0o755, files)
}

// kmod gives the lines that kmod reads from one file, as it understands them,
// sorted. Options are left out: the running kernel's command line adds some.
func kmod(t *testing.T, conf []byte) []string {
	t.Helper()
	path, err := exec.LookPath("modprobe")
	if err != nil {
		path = "/usr/sbin/modprobe"
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal("modprobe is not installed: apt-get install kmod")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "it.conf"), conf, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(path, "--showconfig", "-C", dir, "-d", dir, "-S", "0.0.0").Output()
	if err != nil {
		t.Fatalf("modprobe --showconfig: %v", err)
	}
	text, _, found := strings.Cut(string(out), "# End of configuration files")
	if !found {
		t.Fatalf("modprobe --showconfig ends early:\n%s", out)
	}
	var lines []string
	for l := range strings.SplitSeq(text, "\n") {
		if words := blanks(l); len(words) > 1 && words[0] != "options" {
			lines = append(lines, strings.Join(words, " "))
		}
	}
	slices.Sort(lines)
	return lines
}

func blanks(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '\t' })
}

// ours gives the lines that we read from one file, spelt as kmod does.
func ours(t *testing.T, conf string) []string {
	t.Helper()
	lines, err := modprobe.Read(tree(t, map[string]string{"etc/modprobe.d/it.conf": conf}))
	if err != nil {
		t.Fatal(err)
	}
	needs := map[string]int{"blacklist": 2, "install": 3, "remove": 3, "alias": 3, "softdep": 3}
	var out []string
	for _, l := range lines {
		if n := needs[l.Words[0]]; n == 0 || len(l.Words) < n {
			continue
		}
		words := slices.Clone(l.Words)
		words[1] = strings.ReplaceAll(words[1], "-", "_")
		switch words[0] {
		case "blacklist":
			words = words[:2]
		case "alias":
			words = words[:3]
		}
		out = append(out, strings.Join(words, " "))
	}
	slices.Sort(out)
	return out
}

// TestReadsAsKmod has kmod as the judge of every trick that a file can hold.
func TestReadsAsKmod(t *testing.T) {
	for _, c := range []struct{ name, conf, want string }{
		{"plain", "install a /bin/false\nblacklist b\nalias c off\nsoftdep d pre: e\n", "alias c off|blacklist b|install a /bin/false|softdep d pre: e"},
		{"no newline at the end", "blacklist a", "blacklist a"},
		{"empty", "", ""},
		{"blank lines", "\n\n \n\t\nblacklist a\n\n", "blacklist a"},
		{"tabs and runs of blanks", "\t install \t a\t/bin/false   x\n", "install a /bin/false x"},
		{"dashes", "blacklist a-b-c\n", "blacklist a_b_c"},
		{"comment", "# blacklist a\nblacklist b # note\n", "blacklist b"},
		{"comment behind blanks", "  # blacklist a\n  #x y\n", ""},
		{"note is part of the command", "install a /bin/false # note\n", "install a /bin/false # note"},
		{"continued", "install a \\\n  /bin/false\nblacklist b\n", "blacklist b|install a /bin/false"},
		{"continued within a word", "sof\\\ntdep a pre: \\\nb\n", "softdep a pre: b"},
		{"continued comment", "# hidden \\\nblacklist a\nblacklist b\n", "blacklist b"},
		{"continued at the end", "blacklist a\\\n", "blacklist a"},
		{"backslash elsewhere is dropped", "inst\\all a /bin/false\nblack\\list b\n", "blacklist b|install a /bin/false"},
		{"two backslashes are one and continue nothing", "blacklist a\\\\\nblacklist b\n", `blacklist a\|blacklist b`},
		{"CRLF becomes part of the last word", "install a /bin/false\r\nblacklist b\r\n", "blacklist b\r|install a /bin/false\r"},
		{"only blanks and tabs part words", "blacklist a\vb\nblacklist c\u00a0d\n", "blacklist a\vb|blacklist c\u00a0d"},
		{"zero byte ends a line", "blacklist a\x00b\nblacklist\x00 c\nblacklist d\n", "blacklist a|blacklist d"},
		{"capitals mean nothing", "INSTALL a /bin/false\nblacklist b\n", "blacklist b"},
		{"too few words", "install a\nalias b\nblacklist\nblacklist c\n", "blacklist c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := strings.Join(ours(t, c.conf), "|"); got != c.want {
				t.Errorf("we read %q, want %q", got, c.want)
			}
			if judge := strings.Join(kmod(t, []byte(c.conf)), "|"); judge != c.want {
				t.Errorf("kmod reads %q, want %q", judge, c.want)
			}
		})
	}
}

func TestLineNumbers(t *testing.T) {
	lines, err := modprobe.Read(tree(t, map[string]string{"etc/modprobe.d/it.conf": "# one\n\nblacklist \\\n a\nblacklist b\n"}))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range lines {
		got = append(got, l.String())
	}
	want := []string{"/etc/modprobe.d/it.conf:3: blacklist a", "/etc/modprobe.d/it.conf:5: blacklist b"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestFilesInForce has what was measured: base names decide the order over all
// directories, and of equal ones the strongest directory's stands.
func TestFilesInForce(t *testing.T) {
	got := read(t, map[string]string{
		"etc/modprobe.d/m.conf":           "blacklist etc-m",
		"usr/lib/modprobe.d/a.conf":       "blacklist lib-a",
		"usr/lib/modprobe.d/m.conf":       "blacklist never",
		"usr/lib/modprobe.d/masked.conf":  "blacklist never",
		"etc/modprobe.d/masked.conf":      "-> /dev/null",
		"usr/lib/modprobe.d/empty.conf":   "blacklist never",
		"etc/modprobe.d/empty.conf":       "",
		"usr/local/lib/modprobe.d/z.conf": "blacklist local-z",
		"usr/lib/modprobe.d/z.conf":       "blacklist never",
		"etc/modprobe.d/readme":           "blacklist never",
		"etc/modprobe.d/m.conf.bak":       "blacklist never",
		"etc/modprobe.d/link.conf":        "-> ../../opt/real",
		"opt/real":                        "blacklist link",
		"etc/modprobe.d/gone.conf":        "-> /nowhere",
		"etc/modprobe.d/host.conf":        "-> /etc/passwd",
		"etc/modprobe.d/dir.conf/x":       "blacklist never",
		"run/modprobe.d/z.conf":           "blacklist never",
		"lib":                             "-> usr/lib",
	})
	if want := "lib-a link etc-m local-z"; got != want {
		t.Errorf("read %s, want %s", got, want)
	}
	if got := read(t, map[string]string{"etc/hosts": ""}); got != "" {
		t.Errorf("without any directory: read %s", got)
	}
	if got := read(t, map[string]string{"lib/modprobe.d/b.conf": "blacklist lib", "usr/lib/modprobe.d/a.conf": "blacklist usr"}); got != "usr lib" {
		t.Errorf("lib is a directory of its own: read %s, want usr lib", got)
	}
}

func read(t *testing.T, files map[string]string) string {
	t.Helper()
	lines, err := modprobe.Read(tree(t, files))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range lines {
		got = append(got, l.Words[1])
	}
	return strings.Join(got, " ")
}

func TestReadLimit(t *testing.T) {
	large := strings.Repeat("# a comment\n", 1<<20/12+1)
	if _, err := modprobe.Read(tree(t, map[string]string{"etc/modprobe.d/a.conf": large})); err == nil || !strings.Contains(err.Error(), "limit is 1048576") {
		t.Errorf("a file above the limit: %v", err)
	}
}

func TestConflicts(t *testing.T) {
	blocks := []modprobe.Block{{Module: "algif_aead"}, {Module: "esp4"}}
	for _, c := range []struct{ name, file, conf, want string }{
		{"softdep", "usr/lib/modprobe.d/x.conf", "softdep algif_aead pre: x", "algif_aead: a softdep line overrides the install line of its own module (/usr/lib/modprobe.d/x.conf:1: softdep algif_aead pre: x)"},
		{"softdep with a dash", "etc/modprobe.d/x.conf", "softdep algif-aead post: x", "algif_aead: a softdep"},
		{"softdep with a glob", "etc/modprobe.d/x.conf", "softdep alg* pre: x", "algif_aead: a softdep"},
		{"softdep for all", "etc/modprobe.d/x.conf", "softdep * pre: x", "algif_aead: a softdep"},
		{"softdep with a negated class", "etc/modprobe.d/x.conf", "softdep [!b]lgif_aead pre: x", "algif_aead: a softdep"},
		{"softdep with a range", "etc/modprobe.d/x.conf", "softdep [a-b]lgif-aead pre: x", "algif_aead: a softdep"},
		{"softdep with a named class, a bad line", "etc/modprobe.d/x.conf", "softdep [[:alpha:]]sp4 pre: x", ""},
		{"softdep in pieces", "etc/modprobe.d/x.conf", "soft\\\ndep algif_ae\\ad pre: x", "algif_aead: a softdep"},
		{"softdep in our own file", "etc/modprobe.d/00-kerngate.conf", "softdep algif_aead pre: x", ""},
		{"earlier install", "etc/modprobe.d/00-aaa.conf", "install algif_aead /sbin/modprobe -i algif_aead", "algif_aead: an earlier install line wins over ours"},
		{"earlier install in another directory", "usr/lib/modprobe.d/00-aaa.conf", "install algif-aead /bin/true", "algif_aead: an earlier install line"},
		{"earlier install with a glob", "usr/lib/modprobe.d/00-aaa.conf", "install esp? /bin/true", "esp4: an earlier install line"},
		{"insmod by another's install line", "etc/modprobe.d/x.conf", "install tun /sbin/insmod /lib/modules/x/esp4.ko.xz", "esp4: the install line of another module inserts it"},
		{"modprobe -i by another's install line", "etc/modprobe.d/x.conf", "install tun echo; modprobe -qi algif-aead", "algif_aead: the install line of another"},
		{"modprobe by another's install line", "etc/modprobe.d/x.conf", "install tun modprobe algif_aead", ""},
		{"modprobe -i of esp40 by another's install line", "etc/modprobe.d/x.conf", "install tun modprobe -i esp40", ""},
		{"later install", "etc/modprobe.d/01-aaa.conf", "install algif_aead /bin/true", ""},
		{"other module", "etc/modprobe.d/00-aaa.conf", "softdep esp4_offload pre: x\ninstall xesp4 /bin/true\nsoftdep rxrpc pre: algif_aead", ""},
		{"harmless lines", "etc/modprobe.d/00-aaa.conf", "blacklist algif_aead\noptions algif_aead x=1\nalias algif_aead off\nremove algif_aead /bin/true\n# softdep algif_aead pre: x", ""},
		{"broken glob", "etc/modprobe.d/00-aaa.conf", "softdep [alg pre: x", ""},
		{"half a line", "etc/modprobe.d/00-aaa.conf", "softdep", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			lines, err := modprobe.Read(tree(t, map[string]string{c.file: c.conf}))
			if err != nil {
				t.Fatal(err)
			}
			found := modprobe.Conflicts(lines, blocks)
			got := ""
			if len(found) > 0 {
				got = found[0].String()
			}
			if !strings.HasPrefix(got, c.want) || (got == "") != (c.want == "") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestNotes(t *testing.T) {
	blocks := []modprobe.Block{{Module: "algif_aead"}, {Module: "esp4"}}
	for _, c := range []struct{ name, file, conf, want string }{
		{"Ubuntu's conffile", "etc/modprobe.d/disable-algif_aead.conf", "install algif_aead /bin/false", "algif_aead: a file of the distribution's kmod package blocks it, too; leave it to the package (/etc/modprobe.d/disable-algif_aead.conf:1: install algif_aead /bin/false)"},
		{"somebody's block", "etc/modprobe.d/x.conf", "\nblacklist esp4", "esp4: it is blocked here, too; our install line comes first (/etc/modprobe.d/x.conf:2: blacklist esp4)"},
		{"another name", "usr/lib/modprobe.d/x.conf", "alias ipsec esp4", "esp4: another name leads to it"},
		{"elsewhere", "usr/lib/modprobe.d/x.conf", "alias esp4 tun", "esp4: its name leads to another module"},
		{"alias off", "usr/lib/modprobe.d/x.conf", "alias esp4 off", ""},
		{"a conflict is none", "etc/modprobe.d/x.conf", "softdep esp4 pre: x", ""},
		{"other module", "etc/modprobe.d/x.conf", "blacklist esp40\nalias esp4_offload esp40", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			lines, err := modprobe.Read(tree(t, map[string]string{c.file: c.conf}))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if found := modprobe.Notes(lines, blocks); len(found) > 0 {
				got = found[0].String()
			}
			if !strings.HasPrefix(got, c.want) || (got == "") != (c.want == "") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestMasked has files that others of the same name hide, ours among them.
func TestMasked(t *testing.T) {
	files := map[string]string{
		"etc/modprobe.d/00-kerngate.conf": "install esp4 /bin/false", "run/modprobe.d/00-kerngate.conf": "", "usr/lib/modprobe.d/00-kerngate.conf": "-> /dev/null",
		"etc/modprobe.d/x.conf": "-> /dev/null", "lib/modprobe.d/x.conf": "blacklist never", "etc/modprobe.d/y.conf": "-> /nowhere", "usr/lib/modprobe.d/y.conf": "blacklist seen", "etc/modprobe.d/old.alias": "blacklist old",
	}
	for _, c := range []struct {
		name             string
		reading          modprobe.Reading
		ours, all, lines int
	}{
		{"running", modprobe.Reading{}, 2, 3, 2},
		{"at boot", modprobe.Reading{AtBoot: true}, 1, 2, 2},
		{"kmod 30: a link to nowhere masks, .alias files count", modprobe.Reading{Kmod: 30}, 2, 4, 2},
	} {
		config, err := c.reading.Config(tree(t, files))
		if err != nil {
			t.Fatal(err)
		}
		if ours, all, lines := len(config.MaskedBlock()), len(config.Masked), len(config.Lines()); ours != c.ours || all != c.all || lines != c.lines {
			t.Errorf("%s: %d files of our name hidden, %d in all, %d lines, want %d, %d, %d: %v", c.name, ours, all, lines, c.ours, c.all, c.lines, config.Masked)
		}
	}
}

const header = "# Written by a test.\n"

// shipped gives the blocks of a shipped profile.
func shipped(t *testing.T, name string) []modprobe.Block {
	t.Helper()
	p, err := profiles.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	var out []modprobe.Block
	for _, m := range p.Modules {
		if slices.Contains(m.Block, profiles.BlockModprobe) {
			out = append(out, modprobe.Block{Module: m.Name, Reason: m.Reason, Aliases: m.Known.Aliases})
		}
	}
	if len(out) < 5 {
		t.Fatalf("profile %s blocks %d modules: nothing to test", name, len(out))
	}
	return out
}

// TestText has kmod as the judge: it must read exactly the lines that we mean.
func TestText(t *testing.T) {
	blocks := shipped(t, "llm-node")
	got := modprobe.Text(header, blocks, "/bin/false")
	golden := filepath.Join("testdata", "llm-node.conf")
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(golden, got, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("text is\n%s\nwant\n%s\n(go test -update writes the golden file)", got, want)
	}
	var meant []string
	for _, b := range blocks {
		meant = append(meant, "install "+b.Module+" /bin/false", "blacklist "+b.Module)
		for _, a := range b.Aliases {
			meant = append(meant, "alias "+strings.ReplaceAll(a, "-", "_")+" off")
		}
	}
	slices.Sort(meant)
	if judge := kmod(t, got); !slices.Equal(judge, meant) {
		t.Errorf("kmod reads\n%s\nwe mean\n%s", strings.Join(judge, "\n"), strings.Join(meant, "\n"))
	}
	lines, err := modprobe.Read(tree(t, map[string]string{strings.TrimPrefix(modprobe.File, "/"): string(got)}))
	if conflicts := modprobe.Conflicts(lines, blocks); err != nil || len(conflicts) > 0 || len(lines) != len(meant) {
		t.Errorf("read back: %d lines, %v, conflicts with itself %v, want %d lines", len(lines), err, conflicts, len(meant))
	}
}

// TestTextWithAnyReason: no reason may swallow the lines below it or add one.
func TestTextWithAnyReason(t *testing.T) {
	for _, reason := range []string{"", `ends in a backslash\`, `two\\`, "line\ninstall b /bin/true", "carriage\rreturn", "zero\x00byte", "ünï ⚙"} {
		text := modprobe.Text(header, []modprobe.Block{{Module: "esp4", Reason: reason}}, "/bin/false")
		if got := strings.Join(kmod(t, text), "|"); got != "blacklist esp4|install esp4 /bin/false" {
			t.Errorf("with the reason %q kmod reads %q", reason, got)
		}
	}
}

func TestFalse(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"merged", map[string]string{"bin": "-> usr/bin", "usr/bin/false": "x"}, "/bin/false"},
		{"two directories", map[string]string{"bin/false": "x", "usr/bin/false": "x"}, "/bin/false"},
		{"only in usr", map[string]string{"bin/true": "x", "usr/bin/false": "x"}, "/usr/bin/false"},
		{"busybox", map[string]string{"bin/false": "-> busybox", "bin/busybox": "x"}, "/bin/false"},
		{"dangling", map[string]string{"bin/false": "-> busybox"}, ""},
		{"directory", map[string]string{"bin/false/x": "x"}, ""},
		{"none", map[string]string{"bin/true": "x"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := modprobe.False(tree(t, c.files))
			if got != c.want || (err == nil) != (c.want != "") {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
	t.Run("not executable", func(t *testing.T) {
		dir := t.TempDir()
		if err := errors.Join(os.Mkdir(filepath.Join(dir, "bin"), 0o755), os.WriteFile(filepath.Join(dir, "bin/false"), nil, 0o644)); err != nil {
			t.Fatal(err)
		}
		if got, err := modprobe.False(imgtest.OpenDir(t, dir)); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %q, %v, want an error of its own", got, err)
		}
	})
}

// FuzzRead looks for crashes, and for words that a line cannot have.
func FuzzRead(f *testing.F) {
	seeds := []string{"install a /bin/false\nblacklist b\n", "softdep \\\n a pre: b", "# x\\\nblacklist a\nblacklist b\r\n", "black\\list a\x00\nalias b off"}
	for _, seed := range seeds {
		if len(parse(f, seed)) == 0 {
			f.Fatalf("seed %q has no lines", seed)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, conf string) {
		if len(conf) > 1<<16 {
			return
		}
		lines := parse(t, conf)
		if want := strings.Count(conf, "\n") + 1; len(lines) > want {
			t.Errorf("%d lines out of %d", len(lines), want)
		}
		last := 0
		for _, l := range lines {
			if l.Number <= last || len(l.Words) == 0 {
				t.Errorf("line %d with %q after line %d", l.Number, l.Words, last)
			}
			last = l.Number
			for _, w := range l.Words {
				if w == "" || strings.ContainsAny(w, " \t\n\x00") {
					t.Errorf("line %d has the word %q", l.Number, w)
				}
			}
		}
		modprobe.Conflicts(lines, []modprobe.Block{{Module: "algif_aead"}})
	})
}

func parse(t testing.TB, conf string) []modprobe.Line {
	t.Helper()
	lines, err := modprobe.Read(oneFile(conf))
	if err != nil {
		t.Fatal(err)
	}
	return lines
}
