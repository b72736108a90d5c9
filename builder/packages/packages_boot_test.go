//go:build boot

package packages_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/packages"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// TestBootAgreesWithDpkg compares the packages of real images with what dpkg-query says of
// their databases.
func TestBootAgreesWithDpkg(t *testing.T) {
	for _, name := range []string{"bookworm", "forky"} {
		t.Run(name, func(t *testing.T) {
			target, err := image.Open(imgtest.Image(t, name).Disk, image.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer target.Close()
			in, err := packages.List(target.Tree())
			if err != nil {
				t.Fatal(err)
			}
			status, err := rootfs.ReadFile(target.Tree(), "/var/lib/dpkg/status", 64<<20)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			files := map[string]string{"status": string(status), "updates/.keep": "", "info/.keep": ""}
			if err := imgtest.WriteFiles(filepath.Join(dir, "dpkg"), 0o644, files); err != nil {
				t.Fatal(err)
			}
			got, want := strings.Split(words(in), "\n"), dpkgQuery(t, filepath.Join(dir, "dpkg"))
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("packages are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			t.Logf("%d packages: %d agree with dpkg-query", len(want)-1, len(got)-1)
		})
	}
}
