//go:build boot

package profiles_test

import (
	"debug/elf"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/kernel"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/profiles"
)

// requestedByName are aliases that stand in no module: the kernel asks by these names.
// Debian takes RDS's own alias out, and 6.1 has none in act_pedit.
var requestedByName = []string{"algif-aead", "algif-hash", "algif-rng", "algif-skcipher", "xfrm-iptfs", "net-pf-21", "net-act-pedit"}

// TestBootTableAgreesWithModules holds the table against the module files of real
// kernels: the symbol table names the init function, modinfo(8) aliases and dependencies.
func TestBootTableAgreesWithModules(t *testing.T) {
	if _, err := exec.LookPath("modinfo"); err != nil {
		t.Fatal("no modinfo: apt-get install kmod")
	}
	compared := map[string]int{}
	for _, name := range []string{"bookworm", "trixie-grub", "forky"} {
		target, err := image.Open(imgtest.Image(t, name).Disk, image.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer target.Close()
		for file, release := range moduleFiles(t, target.Tree()) {
			known, ok := profiles.Lookup(nameOf(file))
			if !ok {
				continue
			}
			compared[release]++
			for _, wrong := range disagree(t, target.Tree(), file, known) {
				t.Errorf("%s %s: %s", release, known.Name, wrong)
			}
		}
	}
	if len(compared) < 3 {
		t.Fatalf("%d kernels compared, want at least 3", len(compared))
	}
	for release, n := range compared {
		if t.Logf("%s: %d modules of the table", release, n); n < 15 {
			t.Errorf("%s has %d modules of the table, want at least 15", release, n)
		}
	}
}

func nameOf(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// moduleFiles gives the release of every module file in a tree.
func moduleFiles(t *testing.T, tree rootfs.Tree) map[string]string {
	t.Helper()
	out := map[string]string{}
	var walk func(dir, release string)
	walk = func(dir, release string) {
		entries, err := tree.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name := path.Join(dir, e.Name)
			switch {
			case e.Type.IsDir() && release == "":
				walk(name, e.Name)
			case e.Type.IsDir():
				walk(name, release)
			case e.Type == fs.FileMode(0) && strings.Contains(e.Name, ".ko"):
				out[name] = release
			}
		}
	}
	walk("/usr/lib/modules", "")
	return out
}

// disagree lists where a row of the table differs from a module file.
func disagree(t *testing.T, tree rootfs.Tree, file string, known profiles.ModuleInfo) []string {
	t.Helper()
	ko := unpack(t, tree, file)
	var wrong []string
	if got := initFunction(t, ko); got != known.Initcall {
		wrong = append(wrong, fmt.Sprintf("init function is %q, table has %q", got, known.Initcall))
	}
	aliases := modinfo(t, ko, "alias")
	for _, a := range aliases {
		if a != known.Name && !slices.Contains(known.Aliases, a) {
			wrong = append(wrong, fmt.Sprintf("alias %s is not in the table", a))
		}
	}
	for _, a := range known.Aliases {
		if !slices.Contains(aliases, a) && !slices.Contains(requestedByName, a) {
			wrong = append(wrong, fmt.Sprintf("alias %s of the table is not in the module", a))
		}
	}
	for _, d := range modinfo(t, ko, "depends") {
		if d = strings.ReplaceAll(d, "-", "_"); !slices.Contains(known.Depends, d) {
			wrong = append(wrong, fmt.Sprintf("dependency %s is not in the table", d))
		}
	}
	return wrong
}

// unpack writes the module into a file, without its compression.
func unpack(t *testing.T, tree rootfs.Tree, file string) string {
	t.Helper()
	data, err := rootfs.ReadFile(tree, file, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "module"+path.Ext(file))
	if err := os.WriteFile(out, data, 0o644); err != nil {
		t.Fatal(err)
	}
	unpackers := map[string]string{".xz": "xz", ".zst": "zstd", ".gz": "gzip"}
	program, packed := unpackers[path.Ext(file)]
	if !packed {
		return out
	}
	plain, err := exec.Command(program, "-dc", out).Output()
	if err != nil {
		t.Fatalf("%s: %v (apt-get install %s)", file, err, program)
	}
	out = strings.TrimSuffix(out, path.Ext(out)) + ".ko"
	if err := os.WriteFile(out, plain, 0o644); err != nil {
		t.Fatal(err)
	}
	return out
}

func modinfo(t *testing.T, ko, field string) []string {
	t.Helper()
	out, err := exec.Command("modinfo", "-F", field, ko).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' || r == ',' })
}

// initFunction is the other name of init_module, which modpost makes an alias of it.
func initFunction(t *testing.T, ko string) string {
	t.Helper()
	f, err := elf.Open(ko)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil && err != io.EOF {
		t.Fatal(err)
	}
	at := slices.IndexFunc(symbols, func(s elf.Symbol) bool { return s.Name == "init_module" })
	if at < 0 {
		return ""
	}
	for _, s := range symbols {
		if s.Section == symbols[at].Section && s.Value == symbols[at].Value && s.Name != "init_module" && elf.ST_TYPE(s.Info) == elf.STT_FUNC {
			return s.Name
		}
	}
	return ""
}

// TestBootTableAgreesWithConfigurations holds the symbols of the table against real
// kernels: what their configuration sets to m has a module file, and nothing else has.
func TestBootTableAgreesWithConfigurations(t *testing.T) {
	kernels := 0
	for _, name := range []string{"bookworm", "bookworm-loads", "trixie-grub", "forky", "forky-sdboot"} {
		target, err := image.Open(imgtest.Image(t, name).Disk, image.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer target.Close()
		list, err := kernel.List(target.Tree())
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range list {
			compareStates(t, target.Tree(), k)
			kernels++
		}
	}
	if kernels < 5 {
		t.Fatalf("%d kernels compared, want at least 5", kernels)
	}
}

func compareStates(t *testing.T, tree rootfs.Tree, k kernel.Kernel) {
	t.Helper()
	config, err := k.Config(tree)
	if err != nil || config.Path == "" {
		t.Fatalf("%s: configuration %q, %v, want one", k.Release, config.Path, err)
	}
	data, err := rootfs.ReadFile(tree, config.Path, 4<<20)
	if err != nil {
		t.Fatal(err)
	}
	built := 0
	for _, m := range profiles.KnownModules() {
		want := kernel.NotBuilt
		switch text := "\n" + string(data); {
		case strings.Contains(text, "\nCONFIG_"+m.Config+"=m\n"):
			want = kernel.Loadable
			built++
		case strings.Contains(text, "\nCONFIG_"+m.Config+"=y\n"):
			want = kernel.BuiltIn
			built++
		}
		if got := k.StateBy(config, m.Name, m.Config); got != want {
			t.Errorf("%s: %s is %s, but %s makes it %s", k.Release, m.Name, got, m.Config, want)
		}
	}
	t.Logf("%s: %d of %d modules built, as %s says", k.Release, built, len(profiles.KnownModules()), config.Path)
}
