package pin_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/pin"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/initcheck/kver"
)

// treeOf writes files into a directory and opens it; a name that ends in a slash is a
// directory.
func treeOf(t testing.TB, files map[string]string) (*rootfs.Dir, string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		full := filepath.Join(dir, name)
		if name[len(name)-1] == '/' {
			must(t, os.MkdirAll(full, 0o755))
			continue
		}
		must(t, os.MkdirAll(filepath.Dir(full), 0o755))
		must(t, os.WriteFile(full, []byte(text), 0o644))
	}
	return imgtest.OpenDir(t, dir), dir
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write carries files of a plan out in a directory.
func write(t testing.TB, dir string, files []pin.File) {
	t.Helper()
	for _, f := range files {
		full := filepath.Join(dir, f.Path)
		if f.Delete {
			must(t, os.RemoveAll(full))
			continue
		}
		must(t, os.MkdirAll(filepath.Dir(full), 0o755))
		must(t, os.WriteFile(full, f.Data, f.Mode))
	}
}

// added is what a manifest keeps of a plan.
func added(files []pin.File) map[string]string {
	out := map[string]string{}
	for _, f := range files {
		if !f.Ours {
			out[f.Path] = f.Added
		}
	}
	return out
}

func release(t testing.TB, text string) pin.Release {
	t.Helper()
	r, err := kver.Parse(text)
	must(t, err)
	return pin.Release(r)
}

func floorOf(t testing.TB, text string) pin.Want {
	t.Helper()
	return pin.Want{Mode: pin.Floor, Floor: release(t, text), Header: "# Kernel pin of a test.\n"}
}

func branchOf(t testing.TB, text string) pin.Want {
	t.Helper()
	w := floorOf(t, text)
	w.Mode = pin.Branch
	return w
}

func plan(t testing.TB, tree rootfs.Tree, w pin.Want, old map[string]string) pin.Result {
	t.Helper()
	r, err := pin.Plan(tree, w, old)
	must(t, err)
	return r
}
