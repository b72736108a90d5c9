package modprobe_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/modprobe"
)

// configDirs are the directories of configuration, strongest first.
var configDirs = []string{"etc/modprobe.d", "run/modprobe.d", "usr/local/lib/modprobe.d", "usr/lib/modprobe.d", "lib/modprobe.d"}

// kmodProgram is a modprobe to compare with.
type kmodProgram struct {
	command []string
	version int // major
}

// installedKmod is the modprobe of this machine.
func installedKmod(t testing.TB) kmodProgram {
	t.Helper()
	path, err := exec.LookPath("modprobe")
	if err != nil {
		path = "/usr/sbin/modprobe"
	}
	out, err := exec.Command(path, "--version").Output()
	if err != nil {
		t.Fatalf("modprobe does not run (%v): apt-get install kmod", err)
	}
	k := kmodProgram{command: []string{path}}
	if _, err := fmt.Sscanf(string(out), "kmod version %d", &k.version); err != nil {
		t.Fatalf("modprobe is not kmod's: %s", out)
	}
	return k
}

// dryRun gives what modprobe says it would do, and whether it succeeds. Root holds
// the modules, and the configuration in configDirs.
func (k kmodProgram) dryRun(t testing.TB, root, release string, req modprobe.Request) (lines []string, ok bool) {
	t.Helper()
	args := append(slices.Clone(k.command[1:]), "-n", "-v", "-d", root, "-S", release)
	for _, dir := range configDirs {
		args = append(args, "-C", filepath.Join(root, dir))
	}
	if req.UseBlacklist {
		args = append(args, "-b")
	}
	if req.IgnoreInstall {
		args = append(args, "-i")
	}
	args = append(args, "--", req.Name)
	cmd := exec.Command(k.command[0], append(args, strings.Fields(req.Options)...)...)
	cmd.Env = []string{"LC_ALL=C"}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var failed *exec.ExitError
	if err != nil && (!errors.As(err, &failed) || failed.ExitCode() != 1) {
		t.Fatalf("modprobe: %v\n%s", err, stderr.String())
	}
	for line := range strings.Lines(stdout.String()) {
		line = strings.TrimRight(line, " \n")
		lines = append(lines, strings.Replace(line, root, "", 1))
	}
	return lines, err == nil
}

// shown spells steps as a dry run of kmod prints them. What does nothing is not
// printed: modules that are built in, missing or blacklisted.
func shown(t testing.TB, steps []modprobe.Step) []string {
	t.Helper()
	var out []string
	for _, s := range steps {
		switch s.Kind {
		case modprobe.Insert:
			out = append(out, strings.TrimRight("insmod "+s.Path+" "+s.Options, " "))
		case modprobe.Missing:
			if s.Path != "" { // the index names a file that is gone: a dry run does not look
				out = append(out, strings.TrimRight("insmod "+s.Path+" "+s.Options, " "))
			}
		case modprobe.Run:
			// A dry run prints the command as it is written.
			_, rest, _ := strings.Cut(s.By.Text, "install")
			_, rest, found := strings.Cut(rest, s.By.Words[1])
			if !found || strings.ReplaceAll(rest[1:], "$CMDLINE_OPTS", s.Options) != s.Command {
				t.Errorf("command is %q, the line is %q", s.Command, s.By.Text)
			}
			out = append(out, strings.TrimRight("install "+rest[1:]+" "+s.Options, " "))
		}
	}
	return out
}

// generator makes random configurations out of names that mean something on a kernel.
type generator struct {
	*rand.Rand
	modules              []string // of the kernel, some of which need others
	aliases              []string
	hot                  []string // names that this configuration is about
	commands, parameters []string
}

func newGenerator(seed uint64, modules, aliases []string) *generator {
	g := &generator{
		Rand: rand.New(rand.NewPCG(seed, 0x6b67)), modules: modules, aliases: aliases,
		commands:   []string{"/bin/false", "/bin/true", "/sbin/modprobe -i x $CMDLINE_OPTS", "echo  a\tb # note", "/bin/false # $CMDLINE_OPTS$CMDLINE_OPTS", ":"},
		parameters: []string{"a=1", "debug", "x=y  z=1", "p=\"q r\"", "a=1\tb=2"},
	}
	for range 6 {
		g.hot = append(g.hot, g.anyName())
	}
	return g
}

func pick[T any](g *generator, list []T) T { return list[g.IntN(len(list))] }

// name is a module, an alias, or nothing known, in some spelling.
func (g *generator) name() string {
	if g.IntN(3) > 0 { // lines and requests must meet
		return g.spell(pick(g, g.hot))
	}
	return g.spell(g.anyName())
}

func (g *generator) anyName() string {
	var name string
	switch n := g.IntN(10); {
	case n < 6:
		name = pick(g, g.modules)
	case n < 8:
		name = strings.NewReplacer("*", "1", "?", "x", "[", "", "]", "").Replace(pick(g, g.aliases))
	case n < 9:
		name = pick(g, []string{"off", "ghost", "no-such", "symbol:crypto_aead_encrypt", "a.b"})
	default:
		name = pick(g, g.modules) + pick(g, []string{"0", "x", ".ko"})
	}
	return name
}

func (g *generator) spell(name string) string {
	if g.IntN(3) == 0 && !strings.ContainsAny(name, "[]") {
		from, to := "_", "-"
		if g.IntN(2) == 0 {
			from, to = to, from
		}
		name = strings.Replace(name, from, to, 1+g.IntN(3))
	}
	return name
}

// pattern is a name with wildcards in it.
func (g *generator) pattern() string {
	name := g.name()
	if g.IntN(6) == 0 {
		name = pick(g, g.aliases)
	}
	if len(name) < 3 || g.IntN(4) > 0 {
		return name
	}
	at := 1 + g.IntN(len(name)-2)
	switch g.IntN(8) {
	case 0, 1:
		return name[:at] + "*"
	case 2:
		return name[:at] + "?" + name[at+1:]
	case 3:
		return name[:at] + "[" + name[at:at+1] + "-z]" + name[at+1:]
	case 4:
		return name[:at] + "[!-" + name[at:at+1] + "]" + name[at+1:]
	case 5:
		return "*" + name[at:]
	case 6:
		return name[:at] + pick(g, []string{"[", "]", "[^a-c]*", "[[:alpha:]]*", "[]a]*", "[a-]*", "*[0-9]"})
	default:
		return "*"
	}
}

func (g *generator) blank() string {
	return pick(g, []string{" ", " ", " ", " ", " ", "\t", "  ", " \t ", "   "})
}

// line is one logical line, with a continuation somewhere now and then.
func (g *generator) line() string {
	var words []string
	switch g.IntN(13) {
	case 12:
		words = []string{"blacklist", g.name()}
	case 0, 1:
		words = []string{"install", g.pattern(), pick(g, g.commands)}
	case 2, 3:
		words = []string{"alias", g.pattern(), pick(g, []string{"off", g.name(), g.name()})}
	case 4:
		words = []string{"blacklist", g.name()}
	case 5, 6:
		words = []string{"options", g.name(), pick(g, g.parameters)}
	case 7, 8, 9:
		words = []string{"softdep", g.pattern()}
		for range g.IntN(3) {
			words = append(words, pick(g, []string{"pre:", "post:", "pre:", "post:", "per:"}))
			for range g.IntN(3) {
				words = append(words, g.name())
			}
		}
	case 10:
		words = []string{"remove", g.name(), "/bin/true"}
	default:
		words = pick(g, [][]string{{"# install", pick(g, g.modules), "/bin/true"}, {"#"}, {""}, {"install"}, {"options", "a"}, {"INSTALL", pick(g, g.modules), "x"}, {"include", "/etc/x"}, {"blacklist"}, {"alias", "a"}, {"softdep", "*"}})
	}
	out := pick(g, []string{"", "", "", "", " ", "\t"}) + words[0]
	for _, w := range words[1:] {
		out += g.blank() + w
	}
	out += pick(g, []string{"", "", "", "", "", " ", "\t", "\r", " # note"})
	if len(out) > 0 && g.IntN(8) == 0 {
		at := g.IntN(len(out))
		out = out[:at] + pick(g, []string{"\\\n", "\\\n", "\\"}) + out[at:]
	}
	return out
}

// files makes a configuration: names and contents, "-> TARGET" for a link.
func (g *generator) files() map[string]string {
	out := map[string]string{}
	bases := []string{"00-a.conf", "50-b.conf", "m.conf", "modules.conf", "n.conf", "z.conf", "readme", ".hidden.conf", "x.alias", ".conf", "a.conf~"}
	for range 1 + g.IntN(7) {
		name := pick(g, configDirs) + "/" + pick(g, bases)
		var b strings.Builder
		for range g.IntN(7) {
			b.WriteString(g.line() + "\n")
		}
		content := b.String()
		switch g.IntN(12) {
		case 0:
			content = "-> /dev/null"
		case 1:
			content = ""
		case 2:
			content = strings.TrimSuffix(content, "\n")
		case 3:
			content = strings.ReplaceAll(content, "\n", "\r\n")
		case 4:
			content = "-> ../../nowhere"
		}
		if strings.HasSuffix(content, `\`) { // kmod 30 reads a byte that is not there
			content += "\n"
		}
		out[name] = content
	}
	return out
}

func (g *generator) request() modprobe.Request {
	return modprobe.Request{Name: g.name(), UseBlacklist: g.IntN(4) == 0, IgnoreInstall: g.IntN(4) == 0, Options: pick(g, []string{"", "", "", "late=1", "late=1 b"})}
}

// agreement counts what a comparison saw.
type agreement struct{ configs, requests, inserts, runs, missing, notFound, blacklisted int }

func (a agreement) String() string {
	return fmt.Sprintf("%d configurations, %d requests: all agree (%d insertions, %d commands, %d nameless, %d not found, %d blacklisted)",
		a.configs, a.requests, a.inserts, a.runs, a.missing, a.notFound, a.blacklisted)
}

// compare holds our answers against modprobe's, over random configurations for the
// kernel in moduleRoot/lib/modules/release.
func compare(t *testing.T, k kmodProgram, moduleRoot, release string, seed uint64, configs, requests int) agreement {
	t.Helper()
	var a agreement
	index := readIndex(t, moduleRoot, release)
	names, aliases := interesting(t, filepath.Join(moduleRoot, "lib/modules", release))
	for i := range uint64(configs) {
		g := newGenerator(seed+i, names, aliases)
		root, files := t.TempDir(), g.files()
		r := modprobe.Resolver{Config: configuration(t, k, root, moduleRoot, files), Index: index}
		a.configs++
		for range requests {
			req := g.request()
			a.requests++
			steps, err := r.Kmod(req)
			if err != nil && !errors.Is(err, modprobe.ErrNotFound) {
				t.Fatalf("seed %d: %v", seed+i, err)
			}
			got := shown(t, steps)
			want, ok := k.dryRun(t, root, release, req)
			if !slices.Equal(got, want) || ok != (err == nil) {
				t.Fatalf("seed %d, request %+v:\nwe say\n\t%s\n(%v), modprobe says\n\t%s\n(success: %v) with\n%s", seed+i, req,
					strings.Join(got, "\n\t"), err, strings.Join(want, "\n\t"), ok, printed(files))
			}
			a.count(steps, err)
		}
		os.RemoveAll(root)
	}
	return a
}

// configuration writes a configuration into root, with a link to the modules, and
// reads it as a version of kmod does on this machine.
func configuration(t testing.TB, k kmodProgram, root, moduleRoot string, files map[string]string) *modprobe.Config {
	t.Helper()
	files["lib/modules"] = "-> " + filepath.Join(moduleRoot, "lib/modules")
	if err := imgtest.WriteFiles(root, 0o644, files); err != nil {
		t.Fatal(err)
	}
	config, err := modprobe.Reading{Kmod: k.version}.Config(imgtest.OpenDir(t, root))
	if err != nil {
		t.Fatal(err)
	}
	cmdline, err := os.ReadFile("/proc/cmdline") // modprobe heeds the one of this machine
	if err != nil {
		t.Fatal(err)
	}
	return config.WithCommandLine(string(cmdline))
}

func readIndex(t testing.TB, moduleRoot, release string) *modprobe.Index {
	t.Helper()
	index, err := modprobe.ReadIndex(imgtest.OpenDir(t, moduleRoot), "/lib/modules/"+release)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

// interesting gives names that mean something on a kernel: modules that need many
// others, those we care about, and aliases.
func interesting(t testing.TB, dir string) (modules, aliases []string) {
	t.Helper()
	read := func(name string) []string {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(string(data)), "\n")
	}
	wanted := regexp.MustCompile(`/(af_alg|algif_|esp[46]|xfrm|rxrpc|kafs|authenc|crc32|btrfs|tls|udp_tunnel|dummy|nf_|crypto_)`)
	for i, line := range read("modules.dep") {
		file, needs, _ := strings.Cut(line, ":")
		name, _, _ := strings.Cut(filepath.Base(file), ".")
		if wanted.MatchString("/"+file) || strings.Count(needs, " ") > 4 && i%7 == 0 || i%67 == 0 {
			modules = append(modules, name)
		}
	}
	for i, line := range read("modules.alias") {
		if words := strings.Fields(line); i > 0 && (i%53 == 0 || strings.HasPrefix(words[1], "net-pf") || strings.HasPrefix(words[1], "xfrm")) {
			aliases = append(aliases, words[1])
		}
	}
	for i, line := range read("modules.builtin") {
		if name, _, _ := strings.Cut(filepath.Base(line), "."); i%41 == 0 {
			modules = append(modules, name)
		}
	}
	for i, line := range read("modules.softdep") {
		if words := strings.Fields(line); i > 0 && i < 12 {
			modules = append(modules, words[1])
		}
	}
	return modules, append(aliases, "fs-ext4", "net-pf-1", "crypto-sha256")
}

func (a *agreement) count(steps []modprobe.Step, err error) {
	if err != nil {
		a.notFound++
	}
	for _, s := range steps {
		switch s.Kind {
		case modprobe.Insert:
			a.inserts++
		case modprobe.Run:
			a.runs++
		case modprobe.Missing:
			a.missing++
		case modprobe.Blacklisted:
			a.blacklisted++
		}
	}
}

// sparse demands that a comparison met every kind of answer often.
func (a agreement) sparse(t *testing.T) {
	t.Helper()
	for what, n := range map[string]int{"insertions": a.inserts, "commands": a.runs, "modules without a file": a.missing, "names not found": a.notFound, "blacklisted": a.blacklisted} {
		if n < a.configs/50+1 {
			t.Errorf("only %d %s in %d configurations: nothing was compared", n, what, a.configs)
		}
	}
}

func printed(files map[string]string) string {
	var b strings.Builder
	for name, content := range files {
		fmt.Fprintf(&b, "%s\n%q\n", name, content)
	}
	return b.String()
}

// TestResolvesAsKmod has kmod's dry run as the judge, on a part of a real kernel; the
// boot tests have whole kernels, more configurations and another version.
func TestResolvesAsKmod(t *testing.T) {
	root, release := fixture(t)
	a := compare(t, installedKmod(t), root, release, 1, 150, 4)
	a.sparse(t)
	t.Log(a)
}

// fixture makes a tree with the modules of testdata/index, empty files all of them.
func fixture(t testing.TB) (root, release string) {
	t.Helper()
	dirs, err := filepath.Glob("testdata/index/*")
	if err != nil || len(dirs) != 1 {
		t.Fatalf("module indexes are %q, %v, want one", dirs, err)
	}
	root, release = t.TempDir(), filepath.Base(dirs[0])
	dir := filepath.Join(root, "lib/modules", release)
	if err := os.CopyFS(dir, os.DirFS(dirs[0])); err != nil {
		t.Fatal(err)
	}
	dep, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(dep)) {
		file, _, _ := strings.Cut(line, ":")
		file = filepath.Join(dir, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return root, release
}
