//go:build boot

package ext4

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/imgtest"
)

// realCut is the part of a Debian root that fills the feature sets: configuration,
// programs, libraries, units, documentation and the package database; realRoot adds
// the network modules of a kernel. Files over realFileLimit stay out, but for bash, so
// that 15 images take a minute.
func realCut() []string {
	return []string{"/etc", "/usr/bin", "/usr/sbin", "/usr/lib/systemd", "/usr/lib/udev", "/usr/lib/x86_64-linux-gnu", "/var/lib/dpkg", "/usr/share/doc", "/usr/share/man/man1"}
}

const (
	realFileLimit  = 1 << 20
	realImageKiB   = 512 << 10 // sparse; blocks of 64 KiB need as much
	realLeastNames = 4000
	realManyNames  = 1200
)

// differentReads are the feature sets that lay out inodes, directories or content in a way of
// their own.
func differentReads() []string {
	return []string{"default_4k", "64k_blocks", "ext2_revision_0", "ext3", "inode_128", "gdt_csum", "no_64bit_gdt_csum", "inline_data", "bigalloc_1k", "meta_bg", "large_dir", "no_extents", "no_dir_index", "ea_inode", "casefold"}
}

// TestBootRealRootOverFeatureSets fills feature sets from a real Debian root and compares all
// there is to every name with debugfs. make soak has all sets; the unit tests have all of
// them with a small root.
func TestBootRealRootOverFeatureSets(t *testing.T) {
	var sets []featureSet
	for _, set := range featureSets() {
		if slices.Contains(differentReads(), set.name) {
			sets = append(sets, set)
		}
	}
	if len(sets) != len(differentReads()) {
		t.Fatalf("%d feature sets are called as in %q", len(sets), differentReads())
	}
	realRootAgrees(t, sets)
}

func realRootAgrees(t *testing.T, sets []featureSet) {
	t.Helper()
	t.Parallel()
	source, labels := realRoot(t)
	names := make([]int, len(sets))
	t.Run("sets", func(t *testing.T) {
		for i, set := range sets {
			t.Run(set.name, func(t *testing.T) {
				t.Parallel()
				names[i] = compareRealRoot(t, set, source, labels)
			})
		}
	})
	least := slices.Min(names)
	t.Logf("%d feature sets x %d names compared", len(sets), least)
	if least < realLeastNames {
		t.Errorf("at least %d names are compared, want %d", least, realLeastNames)
	}
}

func compareRealRoot(t *testing.T, set featureSet, source string, labels []string) int {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	args := append([]string{"-q", "-F", "-N", "16384", "-d", source}, strings.Fields(set.args)...)
	if out, code := e2tool(t, "mke2fs", append(args, image, fmt.Sprintf("%dk", realImageKiB))...); code != 0 {
		t.Fatalf("mke2fs %s: %s", set.args, out)
	}
	if set.xattrs() && set.refused == "" { // a writer waits ten seconds for mmp
		debugfsScript(t, image, labels...)
	}
	f := openImage(t, image, 0)
	n := compareWithDebugfs(t, f, image)
	checkRealRoot(t, f, set)
	return n
}

// checkRealRoot holds that the trees have what they are for.
func checkRealRoot(t *testing.T, f *FS, set featureSet) {
	t.Helper()
	su, err := f.Lstat("/usr/bin/su")
	if err != nil || su.Mode&fs.ModeSetuid == 0 {
		t.Errorf("/usr/bin/su is %v (%v), want it set-uid", su.Mode, err)
	}
	names, err := f.ReadDir("/var/lib/dpkg/info")
	if err != nil || len(names) < realManyNames {
		t.Errorf("/var/lib/dpkg/info has %d names (%v), want %d", len(names), err, realManyNames)
	}
	if target, err := f.Readlink("/etc/long"); err != nil || len(target) < 900 {
		t.Errorf("/etc/long leads to %q (%v), want a long target", target, err)
	}
	if set.xattrs() && set.refused == "" {
		if all, err := f.Xattrs("/usr/bin/bash"); err != nil || len(all["security.capability"]) == 0 || len(all["security.selinux"]) == 0 {
			t.Errorf("attributes of /usr/bin/bash are %q (%v), want a capability and a label", all, err)
		}
	}
	n, err := f.lookup("test", "/var/sparse")
	must(t, err)
	c, err := f.content(n)
	must(t, err)
	if r, err := c.run(1); err != nil || r.phys != 0 || r.count < 2 {
		t.Errorf("/var/sparse has %+v at block 1 (%v), want a hole", r, err)
	}
}

// realRoot copies the cut out of the image of Debian 12 and adds what it has none of.
// Labels are commands of debugfs that set attributes in an image of it.
func realRoot(t *testing.T) (source string, labels []string) {
	t.Helper()
	disk := imgtest.Image(t, "bookworm").Disk
	source = t.TempDir()
	var commands []string
	for _, dir := range realCut() {
		parent := filepath.Join(source, filepath.Dir(dir))
		must(t, os.MkdirAll(parent, 0o755))
		commands = append(commands, fmt.Sprintf("rdump %s %s", dir, parent))
	}
	modules := filepath.Join(source, "usr/lib/modules")
	must(t, os.MkdirAll(modules, 0o755))
	release := imgtest.Image(t, "bookworm").Kernels[0]
	commands = append(commands, fmt.Sprintf("rdump /usr/lib/modules/%s/kernel/net %s", release, modules))
	script := filepath.Join(t.TempDir(), "script")
	writeTestFile(t, script, []byte(strings.Join(commands, "\n")+"\n"), 0o644)
	// Without root it complains about owners, which do not matter.
	if out, code := e2tool(t, "debugfs", "-f", script, fmt.Sprintf("%s?offset=%d", disk, rootOffset(t, disk))); code != 0 {
		t.Fatalf("debugfs: %s", out)
	}
	labels = cutAndLabel(t, source)
	plantInRealRoot(t, source)
	return source, labels
}

// rootOffset gives the first byte of the second partition, as sgdisk finds it.
func rootOffset(t *testing.T, disk string) int64 {
	t.Helper()
	program, err := exec.LookPath("sgdisk")
	if err != nil {
		program = "/usr/sbin/sgdisk"
	}
	out, err := exec.Command(program, "--info=2", disk).Output()
	if err != nil {
		t.Fatalf("cannot run sgdisk (apt-get install gdisk): %v", err)
	}
	_, rest, _ := strings.Cut(string(out), "First sector: ")
	sector, err := strconv.ParseInt(strings.Fields(rest + " ?")[0], 10, 64)
	must(t, err)
	return sector * 512
}

// cutAndLabel removes large files and gives the commands that label every fourth one.
func cutAndLabel(t *testing.T, source string) (labels []string) {
	t.Helper()
	n := 0
	must(t, filepath.WalkDir(source, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.Type() != 0 {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Size() > realFileLimit && d.Name() != "bash" {
			return errors.Join(err, os.Remove(name))
		}
		if n++; n%4 == 0 {
			labels = append(labels, fmt.Sprintf("ea_set %s security.selinux system_u:object_r:type%d_t:s0", quote(strings.TrimPrefix(name, source)), n%7))
		}
		return nil
	}))
	value := filepath.Join(t.TempDir(), "capability")
	writeTestFile(t, value, fixtureXattrs()["security.capability"], 0o644)
	return append(slices.DeleteFunc(labels, func(l string) bool { return strings.Contains(l, "/usr/bin/bash") }),
		"ea_set /usr/bin/bash security.selinux system_u:object_r:shell_exec_t:s0",
		fmt.Sprintf("ea_set -f %s /usr/bin/bash security.capability", value))
}

// plantInRealRoot adds hard links, so many that a directory needs an index, long
// symbolic links, a sparse file, and the set-uid bits that a copy loses.
func plantInRealRoot(t *testing.T, source string) {
	t.Helper()
	for _, name := range []string{"su", "mount", "umount", "passwd"} {
		must(t, os.Chmod(filepath.Join(source, "usr/bin", name), 0o755|fs.ModeSetuid))
	}
	info := filepath.Join(source, "var/lib/dpkg/info")
	files, err := os.ReadDir(info)
	must(t, err)
	for i := 0; len(files)+i < realManyNames; i++ {
		old := files[i%len(files)].Name()
		must(t, os.Link(filepath.Join(info, old), filepath.Join(info, fmt.Sprintf("%04d-%s", i, old))))
	}
	must(t, os.Symlink(strings.Repeat("long/", 190), filepath.Join(source, "etc/long")))
	must(t, os.Symlink(strings.Repeat("x", iBlockSize), filepath.Join(source, "etc/slow")))
	sparse := make([]byte, 4<<20)
	for at := 0; at < len(sparse); at += 1 << 19 {
		copy(sparse[at:], randomBytes(uint64(at>>19), 700))
	}
	writeTestFile(t, filepath.Join(source, "var/sparse"), sparse, 0o644)
}
