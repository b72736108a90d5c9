package selinux_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/builder/selinux"
)

// treeWith makes a tree from files by name.
func treeWith(t testing.TB, files map[string]string) rootfs.Tree {
	t.Helper()
	return imgtest.Tree(t, 0o644, files)
}

const (
	config = "/etc/selinux/config"
	files  = "/etc/selinux/default/contexts/files/"
)

// debianPolicy reads the policy of Debian's selinux-policy-default, which is
// installed on this machine, from a tree with copies of its files.
func debianPolicy(t testing.TB) *selinux.Policy {
	t.Helper()
	all := map[string]string{config: "SELINUXTYPE=default\n"}
	for _, suffix := range []string{"", ".homedirs", ".subs_dist"} {
		data, err := os.ReadFile(files + "file_contexts" + suffix)
		if err != nil {
			t.Fatalf("%v: apt-get install selinux-policy-default", err)
		}
		all[files+"file_contexts"+suffix] = string(data)
	}
	p, err := selinux.Read(treeWith(t, all))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// query is a path of a type.
type query struct {
	path string
	kind fs.FileMode
}

// judgeKind names a type as matchpathcon -m does.
func judgeKind(kind fs.FileMode) string {
	return map[fs.FileMode]string{0: "file", fs.ModeDir: "dir", fs.ModeSymlink: "lnk_file", fs.ModeNamedPipe: "pipe",
		fs.ModeSocket: "sock_file", fs.ModeDevice: "blk_file", fs.ModeDevice | fs.ModeCharDevice: "chr_file"}[kind]
}

func kinds() []fs.FileMode {
	return []fs.FileMode{0, fs.ModeDir, fs.ModeSymlink, fs.ModeNamedPipe, fs.ModeSocket, fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice}
}

// judge asks matchpathcon; "<<none>>" is its word for no label. Paths that lead
// elsewhere on this machine are left out: it resolves them first.
func judge(t testing.TB, contexts string, list []query) map[query]string {
	t.Helper()
	out := map[query]string{}
	for _, kind := range kinds() {
		var paths []string
		for _, q := range list {
			if q.kind == kind && !leadsElsewhere(q.path) {
				paths = append(paths, q.path)
			}
		}
		slices.Sort(paths)
		for part := range slices.Chunk(slices.Compact(paths), 500) {
			args := append([]string{"-f", contexts, "-m", judgeKind(kind)}, part...)
			text, err := exec.Command("matchpathcon", args...).Output()
			if err != nil {
				t.Fatalf("matchpathcon: %v (apt-get install selinux-utils)", err)
			}
			for i, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
				name, label, _ := strings.Cut(line, "\t")
				if i >= len(part) || name != part[i] {
					t.Fatalf("matchpathcon answers %q", line)
				}
				out[query{name, kind}] = label
			}
		}
	}
	return out
}

func leadsElsewhere(name string) bool {
	for at := name; at != "/"; at = path.Dir(at) {
		if info, err := os.Lstat(at); err == nil && info.Mode().Type() == fs.ModeSymlink {
			return true
		}
	}
	return false
}

// compare gives how many answers are those of the judge.
func compare(t *testing.T, p *selinux.Policy, contexts string, list []query) int {
	t.Helper()
	same := 0
	for q, want := range judge(t, contexts, list) {
		label, ok, err := p.Label(q.path, q.kind)
		if !ok {
			label = "<<none>>"
		}
		if err != nil || label != want {
			t.Errorf("%s as %s gets %s (%v), want %s", q.path, judgeKind(q.kind), label, err, want)
			continue
		}
		same++
	}
	return same
}

// written are paths that the builder writes.
func written() []string {
	return []string{"/etc/modprobe.d/00-kerngate.conf", "/usr/lib/kerngate", "/usr/lib/kerngate/manifest.json", "/usr/lib/initcheck/initcheck",
		"/usr/lib/kerngate/initcheck", "/etc/initcheck/policy.toml", "/etc/kerngate/policy.toml", "/usr/lib/systemd/system/initcheck.service",
		"/usr/lib/systemd/system/sysinit.target.wants/initcheck.service", "/usr/lib/systemd/system/vllm.service.d/50-kerngate.conf",
		"/etc/systemd/system/vllm.service.d", "/etc/apt/preferences.d/kerngate", "/etc/default/grub", "/boot/grub/grub.cfg", "/boot/initrd.img-6.1.0",
		"/etc/initramfs-tools/hooks/kerngate", "/etc/udev/rules.d/99-kerngate.rules", "/", "/usr", "/var/lib/kerngate"}
}

func TestAgreesWithMatchpathcon(t *testing.T) {
	p := debianPolicy(t)
	var list []query
	for _, name := range written() {
		for _, kind := range kinds() {
			list = append(list, query{name, kind})
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i, expr := range expressions(t) {
		if i%3 != 0 && strings.HasPrefix(expr, "/usr") {
			continue // half of them
		}
		sample := generate(t, expr, random)
		for _, name := range []string{sample, sample + "x", path.Join(sample, "below")} {
			list = append(list, query{path.Clean("/" + name), kinds()[random.IntN(len(kinds()))]})
		}
	}
	start := time.Now()
	same := compare(t, p, files+"file_contexts", list)
	t.Logf("%d paths get the label that matchpathcon gives them, in %v with it", same, time.Since(start).Round(time.Millisecond))
	if same < 2000 {
		t.Errorf("compared %d paths, want 2000", same)
	}
}

// expressions are those of Debian's policy.
func expressions(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, suffix := range []string{"", ".homedirs"} {
		data, err := os.ReadFile(files + "file_contexts" + suffix)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			if f := strings.Fields(line); len(f) > 1 && !strings.HasPrefix(f[0], "#") {
				out = append(out, f[0])
			}
		}
	}
	return out
}

// generate gives a path that an expression matches.
func generate(t *testing.T, expr string, random *rand.Rand) string {
	t.Helper()
	tree, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	write(&b, tree, random)
	return b.String()
}

func write(b *strings.Builder, re *syntax.Regexp, random *rand.Rand) {
	times := 1
	switch re.Op {
	case syntax.OpLiteral:
		b.WriteString(string(re.Rune))
		return
	case syntax.OpCharClass:
		at := 2 * random.IntN(len(re.Rune)/2)
		if r := re.Rune[at] + rune(random.IntN(int(re.Rune[at+1]-re.Rune[at])+1)); r > ' ' && r < 0x7F && r != '/' {
			b.WriteRune(r)
		} else {
			b.WriteByte('k')
		}
		return
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteByte("abc019-_.x"[random.IntN(10)])
		return
	case syntax.OpAlternate:
		write(b, re.Sub[random.IntN(len(re.Sub))], random)
		return
	case syntax.OpStar:
		times = random.IntN(4)
	case syntax.OpPlus:
		times = 1 + random.IntN(3)
	case syntax.OpQuest:
		times = random.IntN(2)
	case syntax.OpRepeat:
		times = re.Min
	}
	for range times {
		for _, sub := range re.Sub {
			write(b, sub, random)
		}
	}
}

// rules has one case of everything that decides between lines.
const rules = `# comment

/.*	u:r:default:s0
/etc(/.*)?	u:r:etc:s0
/etc/a\.b	u:r:literal:s0
/etc/a.*	u:r:late:s0
/etc/dir	-d	u:r:dir:s0
/etc/link	-l	u:r:link:s0
/etc/pipe	-p	u:r:pipe:s0
/etc/sock	-s	u:r:sock:s0
/etc/block	-b	u:r:block:s0
/etc/char	-c	u:r:char:s0
/etc/file	--	u:r:file:s0
/etc/none	<<none>>
/etc/twice	u:r:first:s0
/etc/twice	--	u:r:second:s0
/opt/one|/opt/two	u:r:bar:s0
/srv/a(b|c)d|/srv/e	u:r:bars:s0
/(opt|srv)/three	u:r:group:s0
/op.?/four	u:r:nostem:s0
/opt/q{2,3}	u:r:count:s0
/opt/[[:digit:]]+\.d	u:r:class:s0
`

func TestRulesAgreeWithMatchpathcon(t *testing.T) {
	all := map[string]string{
		config:                            "# c\nSELINUX=enforcing\n SELINUXTYPE=other \nSELINUXTYPE=default  \n",
		files + "file_contexts":           rules,
		files + "file_contexts.homedirs":  "/home/[^/]+\tu:r:home:s0\n/etc/homedirs.*\tu:r:homedirs:s0\n",
		files + "file_contexts.local":     "/etc/homedirs/x\tu:r:local:s0\n/opt/.*z\tu:r:local:s0\n",
		files + "file_contexts.subs":      "# c\n/x /etc\n/x /home\n/y/z /etc\n/y /opt\n/elsewhere /\n",
		files + "file_contexts.subs_dist": "/home2 /opt\n/home /home3\n",
	}
	p, err := selinux.Read(treeWith(t, all))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range all {
		if err := os.WriteFile(filepath.Join(dir, path.Base(name)), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var list []query
	for _, name := range strings.Fields(`/ /etc /etc/ab /etc/a.b /etc/aa /etc/dir /etc/link /etc/pipe /etc/sock /etc/block /etc/char /etc/file /etc/none /etc/none/x
		/etc/twice /opt/one /opt/two /opt/one/x /x/opt/two /opt/three /srv/three /srv/abd /srv/e /srv/ed /srv/x/srv/e /op/four /opt/four /opq/four /opt/qq /opt/qqq /opt/qqqq /opt/12.d /opt/12xd
		/home/u /home/u/v /etc/homedirs /etc/homedirs/x /opt/yz /x /x/dir /xx /y/z/dir /y/three /elsewhere /elsewhere/etc/dir /home2/three /usr/share`) {
		for _, kind := range kinds() {
			list = append(list, query{name, kind})
		}
	}
	if same := compare(t, p, filepath.Join(dir, "file_contexts"), list); same < 200 {
		t.Errorf("%d of %d answers agree", same, len(list))
	}
}

func TestNoPolicy(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"nothing":     {},
		"config only": {config: "SELINUXTYPE=default\n"},
		"other type":  {config: "SELINUXTYPE=targeted\n", files + "file_contexts": rules},
	} {
		if _, err := selinux.Read(treeWith(t, files)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: error is %v, want not exist", name, err)
		}
	}
}

func TestRefusedPolicies(t *testing.T) {
	contexts := func(text string) map[string]string {
		return map[string]string{config: "SELINUXTYPE=default\n", files + "file_contexts": text}
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"type leads out", map[string]string{config: "SELINUXTYPE=../../tmp\n"}, `SELINUXTYPE is "../../tmp"`},
		{"type is empty", map[string]string{config: "SELINUXTYPE=\n"}, `SELINUXTYPE is ""`},
		{"one field", contexts("/a u:r:t:s0\n/etc\n"), "file_contexts: line 2: it has 1 fields"},
		{"four fields", contexts("/etc -- a b\n"), "line 1: it has 4 fields"},
		{"unknown type", contexts("/etc -x a\n"), `type is "-x"`},
		{"long line", contexts("/" + strings.Repeat("x", 5000) + " a\n"), "it has 5004 bytes"},
		{"large file", contexts(strings.Repeat("# comment\n", 1<<20)), "limit is 8388608"},
		{"many lines", contexts(strings.Repeat("/ a\n", 200_001)), "more than 200000 lines"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := selinux.Read(treeWith(t, c.files)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q in it", err, c.want)
			}
		})
	}
}

// TestUndecidedLines has lines that RE2 cannot take: they are refused for what they
// could match, and for nothing else.
func TestUndecidedLines(t *testing.T) {
	p, err := selinux.Read(treeWith(t, map[string]string{config: "SELINUXTYPE=default\n", files + "file_contexts": `/.*	u:r:default:s0
/etc/(?!shadow).*	u:r:ahead:s0
/etc/host.*	u:r:host:s0
/opt/(a)\1	--	u:r:again:s0
/srv/` + strings.Repeat("x{1000}", 42) + "	u:r:huge:s0\n"}))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path  string
		kind  fs.FileMode
		label string
		fault string
	}{
		{"/etc/passwd", 0, "", "file_contexts line 2: /etc/(?!shadow).*: "},
		{"/etc/hosts", 0, "u:r:host:s0", ""},
		{"/etc", fs.ModeDir, "u:r:default:s0", ""},
		{"/opt/aa", 0, "", `line 4: /opt/(a)\1: `},
		{"/opt/aa", fs.ModeDir, "u:r:default:s0", ""},
		{"/srv/x", 0, "", "stands for more than 40960 characters"},
		{"/usr", fs.ModeDir, "u:r:default:s0", ""},
	} {
		label, ok, err := p.Label(c.path, c.kind)
		if c.fault == "" && (label != c.label || !ok || err != nil) || c.fault != "" && (ok || err == nil || !strings.Contains(err.Error(), c.fault)) {
			t.Errorf("%s of type %v gets %q, %t, %v; want %q and %q", c.path, c.kind, label, ok, err, c.label, c.fault)
		}
	}
}

// FuzzRead holds that any policy is read or refused, and answers soon.
func FuzzRead(f *testing.F) {
	seeds := []struct{ contexts, subs, name string }{
		{rules, "/x /etc\n", "/etc/a.b"},
		{"/.*\tu:r:t:s0\n/a(b|c)*\t--\tu:r:t:s0\n", "", "/abc"},
		{"/(a{100}){100}\tu:r:t:s0\n", "/ /x", "/aaa"},
	}
	read := func(t testing.TB, contexts, subs string) (*selinux.Policy, error) {
		return selinux.Read(treeWith(t, map[string]string{config: "SELINUXTYPE=default\n", files + "file_contexts": contexts, files + "file_contexts.subs": subs}))
	}
	for _, s := range seeds {
		if _, err := read(f, s.contexts, s.subs); err != nil {
			f.Fatalf("seed does not parse: %v", err)
		}
		f.Add(s.contexts, s.subs, s.name)
	}
	f.Fuzz(func(t *testing.T, contexts, subs, name string) {
		p, err := read(t, contexts, subs)
		if err != nil {
			return
		}
		start := time.Now()
		label, ok, err := p.Label(name, 0)
		if ok && (label == "" || err != nil) {
			t.Errorf("label is %q with error %v", label, err)
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("answer took %v", took)
		}
	})
}

// TestManyExpressions bounds what a hostile policy costs.
func TestManyExpressions(t *testing.T) {
	var b strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&b, "/.*(a|b){50}(c?){50}x%d\tu:r:t:s0\n", i)
	}
	p, err := selinux.Read(treeWith(t, map[string]string{config: "SELINUXTYPE=default\n", files + "file_contexts": b.String()}))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/etc/" + strings.Repeat("ab", 1000), "/etc/ab"} {
		start := time.Now()
		_, ok, err := p.Label(name, 0)
		took := time.Since(start)
		t.Logf("%d bytes: %v", len(name), took.Round(time.Millisecond))
		if ok || err == nil || !strings.Contains(err.Error(), "cost more than") {
			t.Errorf("matched: %t, %v; want it given up", ok, err)
		}
		if took > time.Minute { // about a second, on an idle machine
			t.Errorf("took %v", took)
		}
	}
	if _, ok, err := p.Label("/"+strings.Repeat("x", 5000), 0); ok || err == nil {
		t.Errorf("a path of 5001 bytes: %t, %v; want an error", ok, err)
	}
}
