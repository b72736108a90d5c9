package inference

import (
	"fmt"
	"strings"
	"testing"

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
			_, err := Find(openTree(t, plant(t, c.files)), profiles.KnownServers())
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	r := newReader(rootfs.NewOverlay(openTree(t, t.TempDir())))
	r.bytes = maxBytes
	r.tree.(*rootfs.Overlay).Write("/a", []byte("a"))
	if _, _, err := r.read("/a", 1); err == nil || !strings.Contains(err.Error(), "bytes in all") {
		t.Errorf("a byte above the limit of all: %v", err)
	}
}
