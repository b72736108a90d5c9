package image

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// volumes are the ways in which the root of a disk is made, with mke2fs' options, and
// whether a sketch of it is expected to do.
var volumes = []struct {
	name, options string
	sketch        bool
}{
	{"ext4", "-t ext4 -b 4096", true},
	{"ext4 of Debian 13", "-t ext4 -b 4096 -O metadata_csum_seed", true},
	{"ext4 with orphan file", "-t ext4 -b 4096 -O orphan_file", false},
	{"no 64bit", "-t ext4 -b 4096 -O ^64bit", true},
	{"RHEL 7", "-t ext4 -b 4096 -O ^metadata_csum,uninit_bg", true},
	{"no checksums", "-t ext4 -b 4096 -O ^metadata_csum,^uninit_bg", true},
	{"no flex_bg, small groups", "-t ext4 -b 4096 -O ^flex_bg,^resize_inode -g 1024", true},
	{"no journal", "-t ext4 -b 4096 -O ^has_journal", true},
	{"small inodes", "-t ext4 -b 4096 -I 128", true},
	{"ext3", "-t ext3 -b 4096", true},
	{"ext2", "-t ext2 -b 4096", true},
	{"1k blocks", "-t ext4 -b 1024", false},
	{"inline data", "-t ext4 -b 4096 -O inline_data", false},
	{"bigalloc", "-t ext4 -b 4096 -O bigalloc", false},
	{"ea_inode", "-t ext4 -b 4096 -O ea_inode", false},
	{"quota", "-t ext4 -b 4096 -O quota", false},
	{"meta_bg", "-t ext4 -b 4096 -O meta_bg,^resize_inode", false},
}

// editsInPlace are one of each kind; what they replace is in fillRoot.
func editsInPlace() []rootfs.Edit {
	at := time.Unix(1750000000, 0)
	holes := make([]byte, 3<<20) // blocks of zeros among others
	for i := 0; i < len(holes); i += 40000 {
		holes[i] = 1
	}
	holes[len(holes)-1] = 1
	e := []rootfs.Edit{
		{Op: rootfs.WriteFile, Path: "/etc/new", Data: []byte("new\n"), Mode: 0o644},
		{Op: rootfs.WriteFile, Path: "/usr/sbin/large", Data: bytes.Repeat([]byte("large "), 1<<19), Mode: 0o755, Xattrs: map[string][]byte{"security.capability": []byte("cap"), "user.long": bytes.Repeat([]byte("x"), 900)}},
		{Op: rootfs.WriteFile, Path: "/usr/sbin/holes", Data: holes, Mode: 0o755},
		{Op: rootfs.WriteFile, Path: "/etc/replaced", Data: []byte("shorter\n"), Mode: 0o600},
		{Op: rootfs.Remove, Path: "/etc/removed"},
		{Op: rootfs.Symlink, Path: "/etc/link", Target: "new"},
		{Op: rootfs.Symlink, Path: "/etc/long-link", Target: strings.Repeat("long/", 40)},
		{Op: rootfs.Mkdir, Path: "/etc/dir", Mode: 0o755},
	}
	for i := range 60 {
		e = append(e, rootfs.Edit{Op: rootfs.WriteFile, Path: "/etc/dir/" + strings.Repeat("n", i%50+1) + time.Duration(i).String(), Data: []byte("x"), Mode: 0o644})
	}
	for i := range e {
		e[i].ModTime = at
	}
	return e
}

// rootDisk makes a disk whose root has free blocks full of old data, as a used one has.
func rootDisk(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	tree, disk := filepath.Join(dir, "root"), filepath.Join(dir, "disk.raw")
	if err := imgtest.WriteRoot(tree, "6.1.0-1-amd64"); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"etc/replaced": strings.Repeat("old\n", 9000), "etc/removed": strings.Repeat("gone\n", 9000)} {
		if err := os.WriteFile(filepath.Join(tree, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := imgtest.WriteDisk(disk, "gpt", imgtest.Part{Size: 48 * imgtest.MiB, Type: "L"}); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(bytes.Repeat([]byte("old data "), 5<<20), imgtest.MiB); err != nil {
		t.Fatal(err)
	}
	args := append(strings.Fields(options), "-q", "-F", "-E", "offset=1048576,root_owner=0:0,nodiscard,lazy_itable_init=0", "-d", tree, disk, "48m")
	if out, err := exec.Command("/usr/sbin/mke2fs", args...).CombinedOutput(); err != nil {
		t.Fatalf("mke2fs %s: %v: %s (apt-get install e2fsprogs)", options, err, out)
	}
	return disk
}

// TestSketchIsEnough makes the same edits through a sketch and through a whole draft:
// the images are equal to the bit.
func TestSketchIsEnough(t *testing.T) {
	sketches := 0
	for _, v := range volumes {
		t.Run(v.name, func(t *testing.T) {
			disk := rootDisk(t, v.options)
			before, err := os.ReadFile(disk)
			if err != nil {
				t.Fatal(err)
			}
			var after [][]byte
			for _, allow := range []bool{true, false} {
				if !allow && !v.sketch {
					continue // the same again
				}
				if err := os.WriteFile(disk, before, 0o644); err != nil {
					t.Fatal(err)
				}
				if sketch := editThroughDraft(t, disk, allow); sketch != (allow && v.sketch) {
					t.Errorf("draft is a sketch: %t, want %t", sketch, v.sketch)
				} else if sketch {
					sketches++
				}
				if out, err := exec.Command("/usr/sbin/e2fsck", "-fn", disk+"?offset=1048576").CombinedOutput(); err != nil {
					t.Errorf("e2fsck: %v: %s", err, out)
				}
				data, err := os.ReadFile(disk)
				if err != nil {
					t.Fatal(err)
				}
				after = append(after, data)
			}
			if bytes.Equal(after[0], before) || !bytes.Equal(after[0], after[len(after)-1]) {
				t.Error("the image was not changed, or not as through a whole draft")
			}
		})
	}
	t.Logf("%d volumes, %d sketches of them", len(volumes), sketches)
}

func editThroughDraft(t *testing.T, disk string, allow bool) (sketch bool) {
	t.Helper()
	target, err := Open(disk, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	d := target.Shadow(allow)
	defer d.Close()
	if err := d.Edit(t.Context(), editsInPlace()); err != nil {
		t.Fatal(err)
	}
	tree, err := d.Tree(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	holdsEdits(t, tree)
	changes, err := d.Changes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = d.Commit(t.Context(), changes, func(tree rootfs.Tree) error {
		holdsEdits(t, tree)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return d.drafts[target.root].(*extDraft).sketch
}

// holdsEdits reads what was written, and what was there before.
func holdsEdits(t *testing.T, tree rootfs.Tree) {
	t.Helper()
	for _, e := range append(editsInPlace(), rootfs.Edit{Op: rootfs.WriteFile, Path: "/etc/modprobe.d/distribution.conf", Data: []byte("options loop max_loop=8\n")}) {
		if e.Op != rootfs.WriteFile {
			continue
		}
		if got, err := rootfs.ReadFile(tree, e.Path, 4<<20); err != nil || !slices.Equal(got, e.Data) {
			t.Errorf("%s holds %d bytes, %v, want %d bytes as written", e.Path, len(got), err, len(e.Data))
		}
	}
}

// TestUnchanged: what tells that somebody wrote to an image since it was opened.
func TestUnchanged(t *testing.T) {
	for name, c := range map[string]struct {
		age  time.Duration
		do   func(t *testing.T, disk string)
		want bool
	}{
		"nothing":                        {time.Hour, func(*testing.T, string) {}, true},
		"of this moment":                 {0, func(*testing.T, string) {}, false},
		"of a moment to come":            {-time.Hour, func(*testing.T, string) {}, false},
		"another file under the name":    {time.Hour, replace, false},
		"written, and the time set back": {time.Hour, setBack, false},
	} {
		t.Run(name, func(t *testing.T) {
			disk := rootDisk(t, "")
			setTime(t, disk, time.Now().Add(-c.age))
			target, err := Open(disk, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer target.Close()
			c.do(t, disk)
			if got := target.Unchanged(); got != c.want {
				t.Errorf("unchanged is %t, want %t", got, c.want)
			}
		})
	}
}

// setBack gives a file the time that it has, when the clock of the file system has gone on.
func setBack(t *testing.T, name string) {
	t.Helper()
	for before := stat(t, name); changed(stat(t, name)) == changed(before); {
		setTime(t, name, before.ModTime())
	}
}

func stat(t *testing.T, name string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func setTime(t *testing.T, name string, at time.Time) {
	t.Helper()
	if err := os.Chtimes(name, at, at); err != nil {
		t.Fatal(err)
	}
}

// replace puts a copy in the place of a file, with its time.
func replace(t *testing.T, name string) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name+".new", data, 0o644); err != nil {
		t.Fatal(err)
	}
	setTime(t, name+".new", stat(t, name).ModTime())
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}
