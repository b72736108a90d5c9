package inference

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/profiles"
)

// TestFindEnds gives units that are made to keep us busy: each took minutes, or for ever,
// before there was a limit to it.
func TestFindEnds(t *testing.T) {
	const unit = "etc/systemd/system/x.service"
	runs := func(script string) map[string]string {
		return map[string]string{unit: "[Service]\nExecStart=/s.sh", "s.sh": "#!/bin/sh\n" + script}
	}
	with := func(files map[string]string, name, content string) map[string]string {
		files[name] = content
		return files
	}
	aliases := map[string]string{unit: "[Service]\n"}
	for i := range maxNames + 1 {
		aliases[fmt.Sprintf("etc/systemd/system/a%d.service", i)] = "-> x.service"
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"continued lines":        {map[string]string{unit: "[Service]\nA=" + strings.Repeat("\\\n", 1<<19-20)}, ""},
		"a script that calls it": {runs(strings.Repeat("sh /s.sh\n", 28_000)), ""},
		"scripts in a script":    {with(runs(strings.Repeat("sh /t.sh;", 28_000)), "t.sh", "#!/bin/sh\n"+strings.Repeat("a ", 110_000)), ""},
		"Python in a script":     {with(runs(strings.Repeat("python3 /t.py;", 18_000)), "t.py", strings.Repeat("import a\n", 28_000)), ""},
		"compose files":          {with(runs(strings.Repeat("docker compose -f /c.yaml up;", 9_000)), "c.yaml", strings.Repeat("image: a/b\n", 23_000)), ""},
		"settings":               {map[string]string{unit: "[Service]\n" + strings.Repeat("A=\n", maxSettings+1)}, "/etc/systemd/system/x.service: more than 20000 settings"},
		"other names":            {aliases, "unit x.service has 65 other names, limit is 64"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Find(imgtest.Tree(t, 0o644, c.files), profiles.KnownServers())
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	r := newReader(rootfs.NewOverlay(imgtest.OpenDir(t, t.TempDir())))
	r.bytes = maxBytes
	r.tree.(*rootfs.Overlay).Write("/a", []byte("a"))
	if _, _, err := r.read("/a", 1); err == nil || !strings.Contains(err.Error(), "bytes in all") {
		t.Errorf("a byte above the limit of all: %v", err)
	}
}

// askedTree counts how often it is asked for a name.
type askedTree struct {
	rootfs.Tree
	asked map[string]int
}

func (a askedTree) Lstat(name string) (rootfs.Info, error) {
	a.asked[name]++
	return a.Tree.Lstat(name)
}

// TestNamesAreFollowedOnce: what many scripts name is looked up once, be it there or not; names
// beyond what is remembered are looked up all the same.
func TestNamesAreFollowedOnce(t *testing.T) {
	script := "#!/bin/sh\nabsent\npresent\n"
	files := map[string]string{
		"etc/systemd/system/a.service": "[Service]\nExecStart=/a.sh", "a.sh": script,
		"etc/systemd/system/b.service": "[Service]\nExecStart=/b.sh", "b.sh": script + strings.Repeat("absent\n", 20),
		"usr/local/sbin/present": "ELF", "usr/bin/other": "",
	}
	tree := askedTree{imgtest.Tree(t, 0o644, files), map[string]int{}}
	if _, err := Find(tree, profiles.KnownServers()); err != nil {
		t.Fatal(err)
	}
	if got := tree.asked["/usr/bin/absent"]; got != 1 {
		t.Errorf("asked for a file that is absent %d times, want once", got)
	}
	// Its type is looked at for each unit.
	if got := tree.asked["/usr/local/sbin/present"]; got != 3 {
		t.Errorf("asked for a file that is present %d times, want 1 and 2", got)
	}
	r := newReader(tree)
	r.kept = maxKept
	for range 2 {
		if literal, found, err := r.follow("/usr/bin/other"); literal != "/usr/bin/other" || !found || err != nil {
			t.Errorf("a name beyond the limit leads to %q, %t (%v)", literal, found, err)
		}
	}
	if got := tree.asked["/usr/bin/other"]; got != 2 {
		t.Errorf("asked %d times for a name that is not remembered, want 2", got)
	}
}
