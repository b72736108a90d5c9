package rootfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// plant fills a directory from lines "NAME/", "NAME = CONTENT" and "NAME -> TARGET".
func plant(t *testing.T, dir string, lines ...string) {
	t.Helper()
	if len(lines) == 0 {
		t.Fatal("nothing to plant")
	}
	for _, line := range lines {
		name, rest, _ := strings.Cut(line, " ")
		file := filepath.Join(dir, name)
		above := filepath.Dir(file)
		if strings.HasSuffix(name, "/") {
			above = file
		}
		err := os.MkdirAll(above, 0o755)
		if target, ok := strings.CutPrefix(rest, "-> "); ok && err == nil {
			err = os.Symlink(target, file)
		} else if content, ok := strings.CutPrefix(rest, "= "); ok && err == nil {
			err = os.WriteFile(file, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// open opens a directory as a tree until the test ends.
func open(t *testing.T, dir string) *rootfs.Dir {
	t.Helper()
	tree, err := rootfs.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	})
	return tree
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir,
		"usr/lib/modules/", "usr/share/", "lib -> usr/lib", "sbin -> /usr/sbin", "usr/sbin/tool = x",
		"etc/passwd = root", "etc/hosts -> ../usr/share/../../etc/passwd", "etc/self -> .", "etc/slash -> ../lib/",
		"loop -> loop", "ping -> pong", "pong -> ping", "a/b/c/d = deep", "a/up -> ../a/b/../b/c",
		"dangling -> missing/file", "through -> gone/../lib/new", "under -> gone/x/../y",
		"out -> ../../../../../../etc/passwd", "host -> /etc/passwd", "proc -> /proc/self/root/etc/passwd",
		"file/x = x", "odd -> etc/passwd/below", "usr/share/deep -> ../lib/modules")
	before := ""
	for i := range rootfs.MaxLinks { // a chain as long as allowed, and one longer
		name := fmt.Sprintf("chain%d", i)
		plant(t, dir, name+" -> "+map[bool]string{true: "etc/passwd", false: before}[before == ""])
		before = name
	}
	plant(t, dir, "toolong -> "+before)
	tree := open(t, dir)

	const gone, bad = "missing", "error"
	for _, c := range []struct {
		name, give, want, fault string
		parent                  bool
	}{
		{name: "root", give: "/", want: "/"},
		{name: "empty", give: "", want: "/"},
		{name: "plain", give: "/etc/passwd", want: "/etc/passwd"},
		{name: "no slash in front", give: "etc/passwd", want: "/etc/passwd"},
		{name: "relative link in the middle", give: "/lib/modules", want: "/usr/lib/modules"},
		{name: "absolute link in the middle", give: "/sbin/tool", want: "/usr/sbin/tool"},
		{name: "link at the end", give: "/lib", want: "/usr/lib"},
		{name: "link at the end kept", give: "/lib", want: "/lib", parent: true},
		{name: "link in the middle, end kept", give: "/etc/self/hosts", want: "/etc/hosts", parent: true},
		{name: "dots in a target", give: "/a/up/d", want: "/a/b/c/d"},
		{name: "target with a slash behind", give: "/etc/slash/modules", want: "/usr/lib/modules"},
		{name: "link to itself as a directory", give: "/etc/self/self/self/passwd", want: "/etc/passwd"},
		{name: "name with dots", give: "/a/b/../../etc/./passwd", want: "/etc/passwd"},
		{name: "dots above the root", give: "/../../../etc/passwd", want: "/etc/passwd"},
		{name: "relative escape", give: "/out", want: "/etc/passwd"},
		{name: "absolute escape", give: "/host", want: "/etc/passwd"},
		{name: "escape by proc", give: "/proc", want: "/proc/self/root/etc/passwd", fault: bad}, // proc is the loop itself
		{name: "missing", give: "/etc/new", want: "/etc/new", fault: gone},
		{name: "missing with its directories", give: "/lib/new/dir/file", want: "/usr/lib/new/dir/file", fault: gone},
		{name: "dangling", give: "/dangling", want: "/missing/file", fault: gone},
		{name: "dangling kept", give: "/dangling", want: "/dangling", parent: true},
		{name: "dots behind something missing", give: "/under", want: "/gone/y", fault: gone},
		{name: "links above something missing", give: "/through", want: "/usr/lib/new", fault: gone},
		{name: "below a file", give: "/etc/passwd/x", want: "/etc/passwd/x", fault: gone},
		{name: "target below a file", give: "/odd", want: "/etc/passwd/below", fault: gone},
		{name: "loop", give: "/loop", fault: bad},
		{name: "loop of two", give: "/ping", fault: bad},
		{name: "loop in the middle", give: "/loop/x", fault: bad, parent: true},
		{name: "as many links as allowed", give: "/" + before, want: "/etc/passwd"},
		{name: "one link too many", give: "/toolong", fault: bad},
	} {
		t.Run(c.name, func(t *testing.T) {
			resolve := rootfs.Resolve
			if c.parent {
				resolve = rootfs.ResolveParent
			}
			got, err := resolve(tree, c.give)
			fault := ""
			switch {
			case errors.Is(err, fs.ErrNotExist):
				fault = gone
			case err != nil:
				fault, got = bad, c.want
			}
			if got != c.want || fault != c.fault {
				t.Errorf("%s leads to %q, %q (%v), want %q, %q", c.give, got, fault, err, c.want, c.fault)
			}
		})
	}
}

// TestNeverTheHost looks for a file that only the host has.
func TestNeverTheHost(t *testing.T) {
	outside := t.TempDir()
	plant(t, outside, "secret = host", "tree/etc/", "tree/abs -> "+outside+"/secret", "tree/rel -> ../secret", "tree/dir -> ..",
		"tree/etc/far -> ../../../../../../../../../.."+outside+"/secret")
	tree := open(t, filepath.Join(outside, "tree"))
	for _, name := range []string{"/abs", "/rel", "/dir/secret", "/etc/far", "/../secret"} {
		if data, err := rootfs.ReadFile(tree, name, 100); err == nil || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: read %q, error %v, want it not to exist", name, data, err)
		}
		if found, err := rootfs.Exists(tree, name); found || err != nil {
			t.Errorf("%s: exists %v, %v, want false", name, found, err)
		}
	}
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, "ten = 0123456789", "link -> ten", "dir/", "empty = ")
	tree := open(t, dir)
	for _, c := range []struct {
		name, file, want, fault string
		limit                   int64
	}{
		{"below the limit", "/ten", "0123456789", "", 11},
		{"at the limit", "/link", "0123456789", "", 10},
		{"above the limit", "/ten", "", "size is 10 bytes, limit is 9", 9},
		{"empty", "/empty", "", "", 0},
		{"directory", "/dir", "", "it is a directory, want a regular file", 9},
		{"missing", "/nope", "", "does not exist", 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := rootfs.ReadFile(tree, c.file, c.limit)
			if string(got) != c.want || (err == nil) != (c.fault == "") || (err != nil && !strings.Contains(err.Error(), c.fault)) {
				t.Errorf("got %q, %v, want %q, error %q", got, err, c.want, c.fault)
			}
		})
	}
	if info, err := rootfs.Stat(tree, "/link"); err != nil || info.Size != 10 || !info.Mode.IsRegular() {
		t.Errorf("stat of a link is %+v, %v, want that of its file", info, err)
	}
}
