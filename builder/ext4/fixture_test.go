package ext4

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// featureSet is one way to make a file system with mke2fs.
type featureSet struct {
	name    string
	args    string // of mke2fs
	refused string // feature for which Edit refuses it
	many    bool   // with manyNames names in /many, else fewNames
}

// featureSets cover what distributions use, and every feature the reader knows.
func featureSets() []featureSet {
	return []featureSet{
		{name: "default_4k", args: "-t ext4 -b 4096", many: true},
		{name: "default_1k", args: "-t ext4 -b 1024", many: true},
		{name: "default_2k", args: "-t ext4 -b 2048"},
		{name: "64k_blocks", args: "-t ext4 -b 65536 -O ^has_journal,^metadata_csum"},
		{name: "ext2", args: "-t ext2 -b 1024"},
		{name: "ext2_revision_0", args: "-t ext2 -r 0 -b 1024"},
		{name: "ext3", args: "-t ext3 -b 4096"},
		{name: "inode_128", args: "-t ext4 -b 4096 -I 128"},
		{name: "inode_1024", args: "-t ext4 -b 4096 -I 1024"},
		{name: "gdt_csum", args: "-t ext4 -b 4096 -O ^metadata_csum,uninit_bg", many: true},
		{name: "no_csum", args: "-t ext4 -b 4096 -O ^metadata_csum,^uninit_bg", many: true},
		{name: "no_64bit", args: "-t ext4 -b 4096 -O ^64bit"},
		{name: "no_64bit_gdt_csum", args: "-t ext4 -b 1024 -O ^64bit,^metadata_csum,uninit_bg"},
		{name: "inline_data", args: "-t ext4 -b 4096 -O inline_data"},
		{name: "bigalloc", args: "-t ext4 -b 4096 -O bigalloc -C 65536"},
		{name: "bigalloc_1k", args: "-t ext4 -b 1024 -O bigalloc -C 16384"},
		{name: "meta_bg", args: "-t ext4 -b 1024 -O meta_bg,^resize_inode"},
		{name: "no_journal", args: "-t ext4 -b 4096 -O ^has_journal"},
		{name: "large_dir", args: "-t ext4 -b 1024 -O large_dir", many: true},
		{name: "sparse_super2", args: "-t ext4 -b 1024 -O sparse_super2,^resize_inode"},
		{name: "no_extents", args: "-t ext4 -b 1024 -O ^extent,^64bit"},
		{name: "no_flex_bg", args: "-t ext4 -b 1024 -O ^flex_bg"},
		{name: "no_dir_index", args: "-t ext4 -b 4096 -O ^dir_index", many: true},
		{name: "no_filetype", args: "-t ext4 -b 4096 -O ^filetype"},
		{name: "quota", args: "-t ext4 -b 4096 -O quota"},
		{name: "project", args: "-t ext4 -b 4096 -O project,quota"},
		{name: "ea_inode", args: "-t ext4 -b 4096 -O ea_inode"},
		{name: "metadata_csum_seed", args: "-t ext4 -b 4096 -O metadata_csum_seed"},
		{name: "orphan_file", args: "-t ext4 -b 4096 -O orphan_file"},
		{name: "fast_commit", args: "-t ext4 -b 4096 -O fast_commit"},
		{name: "casefold", args: "-t ext4 -b 4096 -O casefold", many: true},
		{name: "encrypt", args: "-t ext4 -b 4096 -O encrypt"},
		{name: "verity", args: "-t ext4 -b 4096 -O verity"},
		{name: "mmp", args: "-t ext4 -b 4096 -O mmp", refused: "mmp"},
	}
}

// xattrs says whether the file system can hold attributes: revision 0 has no
// features, so none.
func (s featureSet) xattrs() bool { return s.name != "ext2_revision_0" }

const (
	fixtureBytes = 40 << 20
	manyNames    = 3000
	fewNames     = 400 // still enough for an index over blocks of 4 KiB
)

// e2tool runs one of e2fsprogs and gives all it said.
func e2tool(t testing.TB, name string, args ...string) (string, int) {
	t.Helper()
	path := name
	for _, dir := range searchDirs() {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			path = filepath.Join(dir, name)
			break
		}
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("cannot run %s (apt-get install e2fsprogs): %v", name, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// debugfsScript runs commands and fails on anything that debugfs complains about.
func debugfsScript(t testing.TB, image string, commands ...string) string {
	t.Helper()
	script := filepath.Join(t.TempDir(), "script")
	writeTestFile(t, script, []byte(strings.Join(commands, "\n")+"\n"), 0o644)
	progs, err := findPrograms(searchDirs())
	if err != nil {
		t.Fatalf("%v (apt-get install e2fsprogs)", err)
	}
	cmd := exec.Command(progs.debugfs, "-w", "-f", script, image)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if rest := strings.Split(strings.TrimSpace(stderr.String()), "\n"); err != nil || len(rest) > 1 {
		t.Fatalf("debugfs: %v: %s", err, stderr.String())
	}
	return string(out)
}

func writeTestFile(t testing.TB, name string, data []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(name, data, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func randomBytes(seed uint64, n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed)})
	data := make([]byte, n)
	_, _ = r.Read(data)
	return data
}

// sourceTree makes the directory that images are populated from.
func sourceTree(t testing.TB, dir string, names int) string {
	t.Helper()
	for _, d := range []string{"", "etc", "etc/empty.d", "bin", "many", "deep/er/still", "links"} {
		must(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	file := func(name string, data []byte, mode os.FileMode) {
		writeTestFile(t, filepath.Join(dir, name), data, mode)
	}
	file("etc/hosts", []byte("127.0.0.1 localhost\n"), 0o644)
	file("etc/shadow", []byte("root:*\n"), 0o640)
	file("etc/labelled", []byte("labelled\n"), 0o644)
	file("etc/inline100", randomBytes(1, 100), 0o600)
	file("empty", nil, 0o444)
	file("bin/su", randomBytes(2, 5000), 0o755|os.ModeSetuid)
	file("bin/big", randomBytes(3, 3<<20+17), 0o755)
	file("unwritten", randomBytes(4, 9000), 0o644)
	file("deep/er/still/"+strings.Repeat("n", maxNameLen), []byte("x"), 0o644)
	for i := range names {
		file(fmt.Sprintf("many/name-%04d", i), nil, 0o644)
	}
	sparse := make([]byte, 2<<20)
	for i, at := range []int{0, 70000, 300001, 1 << 20, 2<<20 - 5} {
		copy(sparse[at:], randomBytes(uint64(10+i), 5000))
	}
	file("sparse", sparse, 0o644)
	// Pieces enough for a tree of extents, and a hole before the first.
	holes := make([]byte, 1<<20)
	for at := 128 << 10; at <= len(holes); at += 128 << 10 {
		copy(holes[at-3000:], randomBytes(uint64(20+at>>17), 3000))
	}
	file("holes", holes, 0o644)
	must(t, os.Symlink("../etc/hosts", filepath.Join(dir, "links/fast")))
	must(t, os.Symlink(strings.Repeat("s", 59), filepath.Join(dir, "links/59")))
	must(t, os.Symlink(strings.Repeat("s", 60), filepath.Join(dir, "links/60")))
	must(t, os.Symlink(strings.Repeat("long/", 150), filepath.Join(dir, "links/slow")))
	must(t, os.Link(filepath.Join(dir, "etc/hosts"), filepath.Join(dir, "etc/hosts-too")))
	stamp := time.Unix(1_600_000_000, 0)
	must(t, filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.Type() == os.ModeSymlink {
			return err
		}
		return os.Chtimes(name, stamp, stamp)
	}))
	return dir
}

// fixtures makes images once and hands out copies.
type fixtures struct {
	dir  string
	few  string // source trees
	many string
	mu   sync.Mutex
	made map[string]*sync.Once
}

var sharedFixtures fixtures

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "ext4-test-")
	if err != nil {
		panic(err)
	}
	sharedFixtures = fixtures{dir: dir, made: map[string]*sync.Once{}}
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		panic(err)
	}
	os.Exit(code)
}

func newFixtures(t testing.TB) *fixtures {
	f := &sharedFixtures
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.few == "" {
		f.few = sourceTree(t, filepath.Join(f.dir, "few"), fewNames)
		f.many = sourceTree(t, filepath.Join(f.dir, "many"), manyNames)
	}
	return f
}

func (f *fixtures) source(set featureSet) string {
	if set.many {
		return f.many
	}
	return f.few
}

// image gives the path of a read-only image of the feature set.
func (f *fixtures) image(t testing.TB, set featureSet) string {
	t.Helper()
	name := filepath.Join(f.dir, set.name+".img")
	f.mu.Lock()
	once := f.made[set.name]
	if once == nil {
		once = &sync.Once{}
		f.made[set.name] = once
	}
	f.mu.Unlock()
	once.Do(func() { f.make(t, set, name) })
	return name
}

// fixtureXattrs are set on /etc/labelled, the large one on /etc/shadow.
func fixtureXattrs() map[string][]byte {
	return map[string][]byte{
		"user.note":           []byte("a note"),
		"security.selinux":    []byte("system_u:object_r:etc_t:s0\x00"),
		"security.capability": {1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"trusted.empty":       {},
		aclAccess:             testACL(),
	}
}

// testACL is user::rw- user:1000:r-- group::r-- mask::r-- other::--- as getxattr(2)
// gives it.
func testACL() []byte {
	acl := le32(aclGivenVersion)
	for _, e := range [][3]uint32{{1, 6, ^uint32(0)}, {2, 4, 1000}, {4, 4, ^uint32(0)}, {16, 4, ^uint32(0)}, {32, 0, ^uint32(0)}} {
		acl = binary.LittleEndian.AppendUint16(acl, uint16(e[0]))
		acl = binary.LittleEndian.AppendUint16(acl, uint16(e[1]))
		acl = append(acl, le32(e[2])...)
	}
	return acl
}

const (
	bigXattrBytes  = 700  // too large for an inode, small enough for a block of 1 KiB
	hugeXattrBytes = 4000 // too large for a block of 4 KiB beside the other
)

func (f *fixtures) make(t testing.TB, set featureSet, name string) {
	t.Helper()
	args := append([]string{"-q", "-F", "-E", "hash_seed=00000000-1111-2222-3333-444444444444", "-U", "c0ffee00-0000-4000-8000-000000000001",
		"-L", "fixture", "-N", "8192", "-d", f.source(set)}, strings.Fields(set.args)...)
	if out, code := e2tool(t, "mke2fs", append(args, name, fmt.Sprintf("%dk", fixtureBytes>>10))...); code != 0 {
		t.Fatalf("mke2fs %s: %s", set.args, out)
	}
	if set.refused != "" {
		return // each open of an mmp image takes ten seconds
	}
	commands := []string{"fallocate /unwritten 20 40", "sif /unwritten size 100000"}
	if strings.Contains(set.args, "revision") || strings.Contains(set.args, "65536 -O ^has") {
		commands = []string{"fallocate /unwritten 2 4", "sif /unwritten size 300000"}
	}
	value := func(i int, data []byte) string {
		file := filepath.Join(f.dir, fmt.Sprintf("%s-%d", set.name, i))
		writeTestFile(t, file, data, 0o644)
		return file
	}
	i := 0
	for key, data := range fixtureXattrs() {
		commands = append(commands, fmt.Sprintf("ea_set -f %s /etc/labelled %s", value(i, data), key))
		i++
	}
	commands = append(commands,
		fmt.Sprintf("ea_set -f %s /etc/shadow user.big", value(i, randomBytes(20, bigXattrBytes))),
		"ea_set /etc security.selinux etc_label")
	if set.name == "ea_inode" {
		commands = append(commands, fmt.Sprintf("ea_set -f %s /etc/shadow user.huge", value(i+1, randomBytes(21, hugeXattrBytes))))
	}
	debugfsScript(t, name, commands...)
	if out, code := e2tool(t, "e2fsck", "-fyD", name); code > 1 {
		t.Fatalf("e2fsck -fyD %s: %s", set.name, out)
	}
	// Gives the directory one entry over a whole block, whose length is encoded in
	// blocks of 64 KiB.
	debugfsScript(t, name, "expand_dir /etc/empty.d")
	dirtyUnwritten(t, name)
}

// dirtyUnwritten fills what an unwritten extent covers, so that it shows when the
// blocks are read.
func dirtyUnwritten(t testing.TB, image string) {
	t.Helper()
	f := openImage(t, image, 0)
	n, err := f.lookup("test", "/unwritten")
	must(t, err)
	if n.flags&flagExtents == 0 {
		return // debugfs wrote zeros instead
	}
	bs := f.sb.BlockSize
	inside := int64(21) // of the blocks that make gives to fallocate
	if bs == maxBlockSize {
		inside = 3
	}
	words := strings.Fields(debugfsScript(t, image, fmt.Sprintf("bmap /unwritten %d", inside)))
	block, err := strconv.ParseInt(words[4], 10, 64)
	must(t, err)
	if block == 0 {
		t.Fatalf("block %d of /unwritten is a hole: %q", inside, words)
	}
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	must(t, err)
	_, err = file.WriteAt(bytes.Repeat([]byte{0xA5}, int(bs)), block*bs)
	must(t, errors.Join(err, file.Close()))
}

// copyOf gives a writable sparse copy.
func (f *fixtures) copyOf(t testing.TB, set featureSet) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "copy.img")
	copySparse(t, f.image(t, set), name, 0)
	return name
}

func copySparse(t testing.TB, from, to string, offset int64) {
	t.Helper()
	data, err := os.ReadFile(from)
	must(t, err)
	out, err := os.Create(to)
	must(t, err)
	defer out.Close()
	must(t, out.Truncate(offset+int64(len(data))))
	const step = 64 << 10
	zero := make([]byte, step)
	for at := 0; at < len(data); at += step {
		if part := data[at:min(at+step, len(data))]; !bytes.Equal(part, zero[:len(part)]) {
			_, err := out.WriteAt(part, offset+int64(at))
			must(t, err)
		}
	}
}

func openImage(t testing.TB, image string, offset int64) *FS {
	t.Helper()
	file, err := os.Open(image)
	must(t, err)
	t.Cleanup(func() { file.Close() })
	info, err := file.Stat()
	must(t, err)
	f, err := Open(io.NewSectionReader(file, offset, info.Size()-offset), info.Size()-offset)
	must(t, err)
	return f
}

func hashFile(t testing.TB, name string) string {
	t.Helper()
	file, err := os.Open(name)
	must(t, err)
	defer file.Close()
	h := sha256.New()
	_, err = io.Copy(h, file)
	must(t, err)
	return hex.EncodeToString(h.Sum(nil))
}
