package inference

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/kerngate/kerngate/builder/imgtest"
)

// TestQuadletsAgainstPodman wants of the quadlets in testdata the services that Podman's own
// generator made of them.
func TestQuadletsAgainstPodman(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/quadlets.txtar")
	if err != nil {
		t.Fatal(err)
	}
	files, want := map[string]string{}, []string{}
	for _, f := range archive.Files {
		if f.Name == "want" {
			want = strings.Split(strings.TrimSpace(string(f.Data)), "\n")
			continue
		}
		files[f.Name] = strings.TrimSuffix(string(f.Data), "\n")
	}
	if len(want) < 15 {
		t.Fatalf("%d services wanted, want at least 15", len(want))
	}
	r := newReader(imgtest.Tree(t, 0o644, files))
	set, err := readQuadlets(r, quadletDirs)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newScope(r, System, systemDirs)
	if err != nil {
		t.Fatal(err)
	}
	set.addTo(s)
	var got []string
	for name, f := range s.files {
		image, enabled := "-", "not-enabled"
		if path.Ext(f.path) == ".container" {
			image = set.image(last(f.quad.settings, "Container", "Image"))
		}
		if len(s.pulled[name]) > 0 || strings.Contains(name, "tpl@.") && len(values(f.quad.settings, "Install", "WantedBy")) > 0 {
			enabled = "enabled" // of a template Podman keeps the line; without an instance it starts nothing
		}
		got = append(got, fmt.Sprintf("%s %s %s %s", name, f.path, image, enabled))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	t.Logf("services: %d", len(got))
}
