package inference

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/unitfile"
)

// plant makes a tree; content "-> TARGET" makes a link.
func plant(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	if err := imgtest.WriteFiles(dir, 0o644, files); err != nil {
		t.Fatal(err)
	}
	return dir
}

// dumped is what systemd says of a unit that it loaded.
type dumped struct {
	fragment string
	dropIns  []string
	commands []string
}

// loadBySystemd lets systemd itself load units, in test mode, from the directories of a
// tree, and gives what its dump says, by the unit's name. A unit default.target in the
// tree must want them.
func loadBySystemd(t *testing.T, root string, dirs []string) map[string]dumped {
	t.Helper()
	const program = "/lib/systemd/systemd"
	if _, err := os.Stat(program); err != nil {
		t.Fatal("systemd is not installed: apt-get install systemd")
	}
	var search []string
	for _, dir := range dirs {
		search = append(search, filepath.Join(root, dir))
	}
	runtime := filepath.Join(root, "xdg")
	if err := os.Mkdir(runtime, 0o777); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--user", "--test", "--no-pager", "--log-level=err")
	cmd.Env = []string{"HOME=" + runtime, "XDG_RUNTIME_DIR=" + runtime, "SYSTEMD_UNIT_PATH=" + strings.Join(search, ":"), "PATH=/usr/bin:/bin"}
	if os.Getuid() == 0 { // test mode does not run as root
		const nobody = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		for dir := root; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chown(runtime, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("systemd --test: %v", err)
	}
	return parseDump(root, string(out))
}

func parseDump(root, text string) map[string]dumped {
	out := map[string]dumped{}
	name := ""
	for line := range strings.SplitSeq(text, "\n") {
		trimmed := strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(trimmed, "-> Unit "); ok {
			name = strings.TrimSuffix(rest, ":")
			out[name] = dumped{}
			continue
		}
		u := out[name]
		if v, ok := strings.CutPrefix(trimmed, "Fragment Path: "); ok {
			u.fragment = strings.TrimPrefix(v, root)
		} else if v, ok := strings.CutPrefix(trimmed, "DropIn Path: "); ok {
			u.dropIns = append(u.dropIns, strings.TrimPrefix(v, root))
		} else if v, ok := strings.CutPrefix(trimmed, "Command Line: "); ok {
			u.commands = append(u.commands, v)
		}
		if name != "" {
			out[name] = u
		}
	}
	return out
}

// TestLoadAgainstSystemd makes trees at random of few names, so that they collide, and
// wants of every unit the file, the drop-ins and the commands that systemd finds.
func TestLoadAgainstSystemd(t *testing.T) {
	dirs := []string{"/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"}
	names := []string{"a.service", "a-b.service", "a-b-c.service", "a@.service", "a@x.service", "a-b@.service", "a-b@x.service", "a-b@x-y.service", "z.service", "z@.service"}
	extra := []string{"a-.service", "a-b-.service", "a-@.service", "a-@x.service", "service"}
	units, agree := 0, 0
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 6))
		files := map[string]string{"/usr/lib/systemd/system/default.target": "[Unit]\nWants=" + strings.Join(slices.DeleteFunc(slices.Clone(names), func(n string) bool { return strings.Contains(n, "@.") }), " ") + " z@q.service\n"}
		for _, dir := range dirs {
			for _, name := range names {
				switch r.IntN(9) {
				case 0, 1:
					files[dir+"/"+name] = "[Service]\nExecStart=/bin/echo " + dir + "\n"
				case 2:
					files[dir+"/"+name] = "-> /dev/null"
				case 3:
					files[dir+"/"+name] = "-> " + sameForm(r, names, name)
				}
			}
			for _, name := range slices.Concat(names, extra) {
				for _, conf := range []string{"10-a.conf", "20-b.conf"} {
					text := map[int]string{0: "[Service]\nExecStart=\nExecStart=/bin/echo " + name + " " + conf + "\n", 1: "[Unit]\nDescription=x\n", 2: "-> /dev/null"}[r.IntN(9)]
					if text != "" {
						files[dir+"/"+name+".d/"+conf] = text
					}
				}
			}
		}
		root := plant(t, trimmed(files))
		judged := loadBySystemd(t, root, dirs)
		s, err := newScope(newReader(imgtest.OpenDir(t, root)), System, dirs)
		if err != nil {
			t.Fatal(err)
		}
		aliases, err := s.aliases()
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range judged {
			if path := want.fragment; filepath.Ext(name) != ".service" || path == "" || !strings.HasPrefix(path, "/") {
				continue
			}
			units++
			got := ours(t, s, name, aliases)
			if len(want.commands) == 0 && len(got.dropIns) == 0 {
				want.dropIns = nil // of a masked unit they do not matter
			}
			if got.fragment != want.fragment || !sameSet(got.dropIns, want.dropIns) || !slices.Equal(got.commands, want.commands) {
				t.Errorf("seed %d, %s:\ngot  %v\nwant %v", seed, name, got, want)
				continue
			}
			agree++
		}
	}
	t.Logf("units: %d, agree: %d", units, agree)
	if units < 60 {
		t.Errorf("units that systemd loaded: %d, want some more", units)
	}
}

// sameForm picks a unit that an alias of a name may lead to.
func sameForm(r *rand.Rand, names []string, name string) string {
	n := splitName(name)
	for {
		to := splitName(names[r.IntN(len(names))])
		if to.at == n.at && to.instance == n.instance && to.prefix != n.prefix {
			return to.String()
		}
		if n.instance == "x-y" {
			return "/dev/null"
		}
	}
}

func trimmed(files map[string]string) map[string]string {
	out := map[string]string{}
	for name, text := range files {
		out[strings.TrimPrefix(name, "/")] = text
	}
	return out
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// ours is what we make of a unit, in the words of systemd's dump.
func ours(t *testing.T, s *scope, name string, aliases aliases) dumped {
	t.Helper()
	canonical, f, _ := s.resolve(name)
	if f.masked {
		return dumped{fragment: f.path}
	}
	dropIns, err := s.dropInFiles(aliases.names(canonical), "service")
	if err != nil {
		t.Fatal(err)
	}
	settings, err := s.load(f.path, dropIns)
	if err != nil {
		t.Fatal(err)
	}
	out := dumped{fragment: f.path, dropIns: dropIns}
	for _, v := range values(settings, "Service", "ExecStart") {
		out.commands = append(out.commands, v.Value)
	}
	return out
}

// TestSyntaxAgainstSystemd wants of lines with quotes, escapes, comments and continuations
// the words that systemd makes of them.
func TestSyntaxAgainstSystemd(t *testing.T) {
	pieces := []string{"a", "b c", `"`, `'`, `\`, `\\`, "\\\n", "\\\n# x\n", "\\\n; y \\\n", `\x41`, `\101`, `\s`, `\t`, `\u00e4`, `\"`, `\'`, " ", "\t", `"d e"`, `'f "g'`, "\r\n", "=", "#", "\n\n", `\q`, `\x4`}
	const cases = 400
	files := map[string]string{}
	var wants []string
	for i := range cases {
		r := rand.New(rand.NewPCG(uint64(i), 7))
		line := "/bin/echo "
		for range 1 + r.IntN(7) {
			line += pieces[r.IntN(len(pieces))]
		}
		name := fmt.Sprintf("u%d.service", i)
		files["units/"+name] = "[Service]\nExecStart=" + line + "\n"
		wants = append(wants, name)
	}
	files["units/default.target"] = "[Unit]\nWants=" + strings.Join(wants[:cases/2], " ") + "\nWants=" + strings.Join(wants[cases/2:], " ") + "\n"
	judged := loadBySystemd(t, plant(t, files), []string{"/units"})
	compared, agree := 0, 0
	for i, name := range wants {
		if len(judged[name].commands) != 1 {
			continue // systemd refuses the line, or ends it in a way that makes two commands
		}
		compared++
		found := values(unitfile.Parse("x", []byte(files["units/"+name])), "Service", "ExecStart")
		if len(found) != 1 {
			t.Errorf("case %d: %q: got %d assignments, want 1", i, files["units/"+name], len(found))
			continue
		}
		got, want := execCommands(found[0].Value), unitfile.Words(judged[name].commands[0], maxWords)
		if len(got) != 1 || !slices.Equal(got[0], want) {
			t.Errorf("case %d: %q: got %q, want %q", i, files["units/"+name], got, want)
			continue
		}
		agree++
	}
	t.Logf("lines: %d, systemd takes %d, agree: %d", cases, compared, agree)
	if compared < cases/3 {
		t.Errorf("lines that systemd takes: %d, want at least %d", compared, cases/3)
	}
}
