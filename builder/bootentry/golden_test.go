package bootentry_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/kerngate/kerngate/builder/bootentry"
	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/rootfs"
)

var update = flag.Bool("update", false, "write the golden files anew")

// want is what the goldens block.
var want = bootentry.Want{
	Modules:   []string{"algif_aead", "rxrpc"},
	Initcalls: []string{"algif_aead_init"},
	Header:    "# Written by kerngate.\n",
}

// makeDir writes files into a new directory. A name that ends in " ->" is a symbolic
// link to its content.
func makeDir(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		link, isLink := strings.CutSuffix(name, " ->")
		full := filepath.Join(dir, link)
		err := os.MkdirAll(filepath.Dir(full), 0o755)
		if isLink {
			err = errors.Join(err, os.Symlink(strings.TrimSpace(string(data)), full))
		} else {
			err = errors.Join(err, os.WriteFile(full, data, 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func read(t testing.TB, tree rootfs.Tree) *bootentry.Config {
	t.Helper()
	c, err := bootentry.Read(tree)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// apply writes edits into a directory.
func apply(t testing.TB, dir string, edits []bootentry.Edit) {
	t.Helper()
	for _, e := range edits {
		name := filepath.Join(dir, e.Path)
		var err error
		if e.Delete {
			err = os.Remove(name)
		} else {
			err = errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, e.Data, 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func splice(t testing.TB, c *bootentry.Config, w bootentry.Want) ([]bootentry.Edit, []bootentry.Refusal) {
	t.Helper()
	edits, refusals, err := c.Splice(w)
	if err != nil {
		t.Fatal(err)
	}
	return edits, refusals
}

func archiveFiles(t testing.TB, name string) map[string][]byte {
	t.Helper()
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, f := range archive.Files {
		data := f.Data
		switch {
		case filepath.Base(f.Name) == "grubenv":
			data = fmt.Appendf(nil, "%s%s", data, strings.Repeat("#", 1024-len(data)))
		case strings.HasSuffix(f.Name, "cmdline.nonl"):
			f.Name = strings.TrimSuffix(f.Name, ".nonl")
			data = bytes.TrimSuffix(data, []byte("\n"))
		}
		files[f.Name] = data
	}
	return files
}

// TestTrees reads whole trees, splices what blocks two modules, and compares with
// NAME.golden: what was found, and the lines that changed.
func TestTrees(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) < 15 {
		t.Fatalf("%d trees in testdata (%v), want at least 15", len(names), err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			files := archiveFiles(t, name)
			dir := makeDir(t, files)
			c := read(t, imgtest.OpenDir(t, dir))
			edits, refusals := splice(t, c, want)
			got := describe(t, c, dir, edits, refusals)
			golden := strings.TrimSuffix(name, ".txtar") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			wanted, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(wanted) {
				t.Errorf("got:\n%s\nwant:\n%s", got, wanted)
			}
			checkTree(t, dir, edits, refusals, !strings.HasSuffix(t.Name(), "-oneway"))
		})
	}
}

// checkTree holds what is true of every tree: once is enough, removing gives back the
// bytes, and the boot loaders' own programs agree.
func checkTree(t *testing.T, dir string, edits []bootentry.Edit, refusals []bootentry.Refusal, reversible bool) {
	t.Helper()
	before := map[string][]byte{}
	for _, e := range edits {
		if !e.New {
			before[e.Path] = mustRead(t, filepath.Join(dir, e.Path))
		}
	}
	judge(t, dir)
	apply(t, dir, edits)
	judge(t, dir)
	c := read(t, imgtest.OpenDir(t, dir))
	again, refusedAgain := splice(t, c, want)
	if len(again) != 0 || len(refusedAgain) != len(refusals) {
		t.Errorf("a second time: %d edits and refusals %v, want no edits and %v", len(again), refusedAgain, refusals)
	}
	if gaps := c.Missing(want); len(gaps) > 0 && len(refusals) == 0 {
		t.Errorf("%v still lacks %v %v", gaps[0].Entry, gaps[0].Modules, gaps[0].Initcalls)
	}
	removed, _, err := c.Remove(everywhere(c, want))
	if err != nil {
		t.Fatal(err)
	}
	apply(t, dir, removed)
	judge(t, dir)
	for _, e := range edits {
		got, err := os.ReadFile(filepath.Join(dir, e.Path))
		if e.New {
			if !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is still there after Remove (%v)", e.Path, err)
			}
		} else if reversible && !bytes.Equal(got, before[e.Path]) {
			t.Errorf("%s after Remove:\n%s\nwant:\n%s", e.Path, got, before[e.Path])
		}
	}
}

func mustRead(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func describe(t *testing.T, c *bootentry.Config, dir string, edits []bootentry.Edit, refusals []bootentry.Refusal) string {
	t.Helper()
	var b strings.Builder
	for _, e := range c.Entries {
		fmt.Fprintf(&b, "entry %s: %s", e.Source, e)
		for _, flag := range []struct {
			on   bool
			name string
		}{{e.Template, "template"}, {e.Signed, "signed"}} {
			if flag.on {
				b.WriteString(" " + flag.name)
			}
		}
		b.WriteString("\n")
		if e.Kernel != "" {
			fmt.Fprintf(&b, "  kernel %s release %q initrds %v\n", e.Kernel, e.Release, e.Initrds)
		}
		fmt.Fprintf(&b, "  arguments %q\n", e.CommandLine)
	}
	for _, p := range c.Problems {
		fmt.Fprintf(&b, "problem %s\n", p)
	}
	for _, n := range c.Notes {
		fmt.Fprintf(&b, "note %s\n", n)
	}
	for _, r := range refusals {
		fmt.Fprintf(&b, "refused %s\n", r.Error())
		if r.Hint != "" {
			fmt.Fprintf(&b, "  hint %s\n", r.Hint)
		}
	}
	for _, e := range edits {
		fmt.Fprintf(&b, "edit %s\n", e.Path)
		var old []byte
		if !e.New {
			old = mustRead(t, filepath.Join(dir, e.Path))
		}
		b.WriteString(changedLines(t, string(old), string(e.Data)))
	}
	return b.String()
}

// changedLines shows two texts' difference; the change is short, so diff is asked.
func changedLines(t *testing.T, before, after string) string {
	t.Helper()
	dir := makeDir(t, map[string][]byte{"a": []byte(before), "b": []byte(after)})
	out, err := exec.Command("diff", "-a", filepath.Join(dir, "a"), filepath.Join(dir, "b")).Output()
	if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Fatalf("diff: %v", err)
	}
	return strings.ReplaceAll(string(out), "\x00", `\0`)
}

// judge asks the boot loaders' programs about every file they know.
func judge(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		switch base := d.Name(); {
		case base == "grub.cfg" || base == "custom.cfg":
			run(t, "grub-common", "grub-script-check", name)
		case base == "grubenv":
			if n := len(mustRead(t, name)); n != 1024 {
				t.Errorf("%s has %d bytes, want 1024", name, n)
			}
			run(t, "grub-common", "grub-editenv", name, "list")
		case strings.Contains(name, "/etc/default/") || base == "update-extlinux.conf":
			run(t, "dash", "sh", "-n", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// run runs a judge and gives its output.
func run(t testing.TB, pkg, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("%v: apt-get install %s", err, pkg)
	}
	if err != nil {
		t.Errorf("%s %v: %v\n%s", program, args, err, out)
	}
	return string(out)
}

// everywhere says that the same was added to every entry.
func everywhere(c *bootentry.Config, w bootentry.Want) map[string]bootentry.Want {
	added := map[string]bootentry.Want{}
	for _, e := range c.Entries {
		added[e.Path] = w
	}
	return added
}
