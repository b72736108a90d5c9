package modprobe_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/modprobe"
)

// depmodFiles are the files that depmod writes.
var depmodFiles = []string{"modules.dep", "modules.alias", "modules.symbols", "modules.softdep", "modules.weakdep", "modules.devname",
	"modules.dep.bin", "modules.alias.bin", "modules.symbols.bin", "modules.builtin.bin", "modules.builtin.alias.bin"}

// deletions counts what a comparison with depmod saw.
type deletions struct{ sets, modules, identical, reordered, second int }

func (d deletions) String() string {
	return fmt.Sprintf("%d sets of %d modules deleted: of depmod's files %d are identical, %d have lines of modules.dep in another order, %d lack a symbol that two modules export", d.sets, d.modules, d.identical, d.reordered, d.second)
}

// compareWithout deletes random modules, and those we care about, from a copy of a
// module tree made of links, and holds our index against the one depmod then writes.
func compareWithout(t *testing.T, depmod []string, moduleRoot, release string, sets int) deletions {
	t.Helper()
	index := readIndex(t, moduleRoot, release)
	var d deletions
	for i := range sets {
		gone := removable(t, index, moduleRoot, release, i)
		ours, err := index.Without(gone)
		if err != nil {
			t.Fatalf("without %s: %v", gone, err)
		}
		root := t.TempDir()
		cloneWithout(t, filepath.Join(moduleRoot, "lib/modules", release), filepath.Join(root, "lib/modules", release), gone)
		if out, err := exec.Command(depmod[0], append(slices.Clone(depmod[1:]), "-b", root, release)...).CombinedOutput(); err != nil {
			t.Fatalf("depmod: %v\n%s", err, out)
		}
		d.sets++
		d.modules += len(gone)
		d.judge(t, ours, filepath.Join(moduleRoot, "lib/modules", release), filepath.Join(root, "lib/modules", release), gone)
		os.RemoveAll(root)
	}
	return d
}

// judge compares every file byte by byte.
func (d *deletions) judge(t *testing.T, ours map[string][]byte, before, after string, gone []string) {
	t.Helper()
	second := false
	for _, name := range depmodFiles {
		want, err := os.ReadFile(filepath.Join(after, name))
		if os.IsNotExist(err) {
			continue
		}
		got, changed := ours[name]
		if !changed {
			got, _ = os.ReadFile(filepath.Join(before, name))
		}
		switch {
		case err != nil:
			t.Fatal(err)
		case bytes.Equal(got, want):
			d.identical++
		case name == "modules.dep" && sameDependencies(got, want), name == "modules.dep.bin" && len(got) == len(want):
			d.reordered++
		case name == "modules.symbols" && d.secondExporter(t, got, want, filepath.Join(before, name), gone), name == "modules.symbols.bin" && second:
			second = true
			d.second++
		default:
			t.Errorf("without %s: %s differs from depmod's: %d bytes, want %d%s", gone, name, len(got), len(want), firstDifference(got, want))
		}
	}
}

// secondExporter says whether all that depmod has and we have not are symbols that a
// deleted module exported, too: an index names one exporter alone.
func (d *deletions) secondExporter(t *testing.T, got, want []byte, before string, gone []string) bool {
	t.Helper()
	old, err := os.ReadFile(before)
	if err != nil {
		t.Fatal(err)
	}
	ours := strings.Split(string(got), "\n")
	for line := range strings.Lines(string(want)) {
		words := strings.Fields(line)
		if !slices.Contains(ours, strings.TrimSuffix(line, "\n")) && !slices.ContainsFunc(gone, func(m string) bool {
			return strings.Contains(string(old), words[0]+" "+words[1]+" "+m+"\n")
		}) {
			return false
		}
	}
	return len(got) < len(want)
}

// firstDifference shows the first line that differs.
func firstDifference(got, want []byte) string {
	a, b := bytes.Split(got, []byte("\n")), bytes.Split(want, []byte("\n"))
	for i := range min(len(a), len(b)) {
		if !bytes.Equal(a[i], b[i]) {
			return fmt.Sprintf("\nline %d is  %.200q\nwant %.200q", i+1, a[i], b[i])
		}
	}
	return ""
}

// sameDependencies compares modules.dep but for the order within lines.
func sameDependencies(a, b []byte) bool {
	sorted := func(data []byte) []string {
		var out []string
		for line := range strings.Lines(string(data)) {
			words := strings.Fields(line)
			slices.Sort(words[1:])
			out = append(out, strings.Join(words, " "))
		}
		return out
	}
	return slices.Equal(sorted(a), sorted(b))
}

// cloneWithout copies a module directory by hard links, some modules left out.
func cloneWithout(t *testing.T, from, to string, gone []string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-rl", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
	for _, name := range depmodFiles { // depmod replaces them, links to ours all the same
		os.Remove(filepath.Join(to, name))
	}
	dep, err := os.ReadFile(filepath.Join(from, "modules.dep"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(dep)) {
		file, _, _ := strings.Cut(line, ":")
		name, _, _ := strings.Cut(filepath.Base(file), ".")
		if slices.Contains(gone, strings.ReplaceAll(name, "-", "_")) {
			if err := os.Remove(filepath.Join(to, file)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// removable gives modules to delete together with all that need them.
func removable(t *testing.T, index interface{ Dependants(string) []string }, moduleRoot, release string, seed int) []string {
	t.Helper()
	dep, err := os.ReadFile(filepath.Join(moduleRoot, "lib/modules", release, "modules.dep"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(dep)) {
		file, _, _ := strings.Cut(line, ":")
		name, _, _ := strings.Cut(filepath.Base(file), ".")
		names = append(names, strings.ReplaceAll(name, "-", "_"))
	}
	var gone []string
	if fixed := [][]string{{"algif_aead"}, {"af_alg"}, {"esp4", "esp6"}, {"tun"}, {"btrfs"}}; seed < len(fixed) {
		gone = fixed[seed]
	} else {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		for range 1 + r.IntN(5) {
			gone = append(gone, names[r.IntN(len(names))])
		}
	}
	for _, name := range slices.Clone(gone) {
		gone = append(gone, index.Dependants(name)...)
	}
	slices.Sort(gone)
	return slices.Compact(gone)
}

// TestWithout has the index of a part of a kernel: what must be refused, and that
// nothing but the modules goes. Depmod is the judge in the boot tests, which have the
// module files that it reads.
func TestWithout(t *testing.T) {
	root, release := fixture(t)
	index := readIndex(t, root, release)
	for _, c := range []struct{ module, want string }{
		{"af_alg", "af_alg is needed by algif_aead, algif_hash, algif_rng, algif_skcipher"},
		{"no-such", "no module no_such"},
	} {
		if _, err := index.Without([]string{c.module}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("without %s: %v, want %q", c.module, err, c.want)
		}
	}
	files, err := index.Without([]string{"algif-aead", "esp4", "esp4_offload", "tun"})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "lib/modules", release)
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var changed []string
	for name := range files {
		changed = append(changed, strings.TrimPrefix(name, "modules."))
	}
	slices.Sort(changed)
	if got, want := strings.Join(changed, " "), "alias alias.bin dep dep.bin devname symbols symbols.bin"; got != want {
		t.Errorf("changed are %s, want %s", got, want)
	}
	k := installedKmod(t)
	for name, want := range map[string]bool{"algif_aead": false, "xfrm-type-2-50": false, "xfrm-offload-2-50": false, "tun": false, "esp6": true, "xfrm-type-10-50": true, "algif_hash": true, "symbol:af_alg_poll": true} {
		lines, found := k.dryRun(t, root, release, modprobe.Request{Name: name})
		if found != want || (len(lines) > 0) != want {
			t.Errorf("modprobe %s inserts %q, want any: %v", name, lines, want)
		}
	}
}
