package ext4

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// Files that end in zeros, or have nothing else, are holes at their end; with inline
// data debugfs gets their size wrong when left to itself.
func TestFilesThatEndInZeros(t *testing.T) {
	fix := newFixtures(t)
	sets := []featureSet{
		setNamed(t, "default_4k"), setNamed(t, "no_extents"), setNamed(t, "inline_data"),
		{name: "inline_data_1k", args: "-t ext4 -b 1024 -I 512 -O inline_data"},
		{name: "inline_data_bigalloc", args: "-t ext4 -b 4096 -O inline_data,bigalloc -C 16384"},
	}
	files := 0
	for _, set := range sets {
		t.Run(set.name, func(t *testing.T) {
			image := fix.copyOf(t, set)
			var edits []rootfs.Edit
			want := map[string][]byte{}
			for _, head := range []int{0, 1, 50, 100, 5000, 70_000} {
				for _, zeros := range []int{1, 50, 100, 200, 1024, 5000, 100_000} {
					name := fmt.Sprintf("/etc/%d-%d", head, zeros)
					want[name] = append(randomBytes(1, head), make([]byte, zeros)...)
					edits = append(edits, writeEdit(name, 0o644, want[name]))
				}
			}
			edits = append(edits, appendEdit("/etc/0-5000", 3000, nil), appendEdit("/bin/big", 0, make([]byte, 9000)), appendEdit("/etc/1-1", 1, make([]byte, 7000)))
			want["/etc/0-5000"], want["/bin/big"], want["/etc/1-1"] = make([]byte, 3000), make([]byte, 9000), append(randomBytes(1, 1), make([]byte, 7000)...)
			must(t, Edit(context.Background(), image, 0, edits))
			f := openImage(t, image, 0)
			for name, data := range want {
				if got := contentOf(t, f, name); !bytes.Equal(got, data) {
					t.Errorf("%s has %d bytes, want %d", name, len(got), len(data))
				}
				files++
			}
			if n := compareWithDebugfs(t, f, image); n < fewNames {
				t.Errorf("compared %d names with debugfs, want %d", n, fewNames)
			}
			if out, code := e2tool(t, "e2fsck", "-fn", image); code != 0 {
				t.Errorf("e2fsck -fn exits with %d: %s", code, out)
			}
		})
	}
	t.Logf("%d files that end in zeros over %d feature sets", files, len(sets))
}
