package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// stamp has nanoseconds; inodes of 128 bytes cut them off.
func stamp() time.Time { return time.Unix(1_700_000_000, 123_456_789) }

// operation is one Edit call of the matrix and the names to be judged after it.
type operation struct {
	name  string
	edits []rootfs.Edit
}

func writeEdit(path string, mode fs.FileMode, data []byte) rootfs.Edit {
	return rootfs.Edit{Op: rootfs.WriteFile, Path: path, Mode: mode, UID: 0, GID: 42, ModTime: stamp(), Data: data}
}

func appendEdit(path string, keep int64, data []byte) rootfs.Edit {
	e := writeEdit(path, 0o644, data)
	e.Op, e.Keep = rootfs.Append, keep
	return e
}

func operations() []operation {
	one := func(name string, edits ...rootfs.Edit) operation { return operation{name, edits} }
	link := func(path, target string) rootfs.Edit {
		return rootfs.Edit{Op: rootfs.Symlink, Path: path, ModTime: stamp(), Target: target}
	}
	labelled := writeEdit("/etc/labelled", 0o600, []byte("relabelled\n"))
	set := writeEdit("/etc/with-attributes", 0o644, []byte("attributes\n"))
	set.Xattrs = map[string][]byte{"user.one": []byte("1"), "security.selinux": []byte("other\x00"), "user.big": randomBytes(30, 600)}
	modify := func(path string, mode fs.FileMode, xattrs map[string][]byte) rootfs.Edit {
		return rootfs.Edit{Op: rootfs.SetAttributes, Path: path, Mode: mode, UID: 70000, GID: 42, ModTime: stamp(), Xattrs: xattrs}
	}
	return []operation{
		one("modify file", modify("/deep/er/still/"+strings.Repeat("n", maxNameLen), 0o711|fs.ModeSetuid, nil)),
		one("modify hard link", modify("/etc/hosts-too", 0o604, nil)),
		one("modify large and sparse files", modify("/bin/big", 0o400, nil), modify("/sparse", 0o600, nil), modify("/unwritten", 0o640, nil)),
		one("modify directory", modify("/many", 0o750|fs.ModeSticky, nil), modify("/links", 0o711, nil)),
		one("modify keeps attributes", modify("/etc/labelled", 0o640, nil), modify("/etc/shadow", 0o600, nil)),
		one("modify attributes", modify("/bin/su", 0o755|fs.ModeSetuid, map[string][]byte{"security.selinux": []byte("su_exec_t\x00"), "user.big": randomBytes(33, 650)}),
			modify("/etc/inline100", 0o600, map[string][]byte{"user.small": []byte("s")}), modify("/many", 0o755, map[string][]byte{"security.selinux": []byte("many_t\x00")})),
		one("modify attributes again", modify("/bin/su", 0o755, map[string][]byte{"user.big": randomBytes(34, 300), "user.other": []byte("o")})),
		one("modify attributes away", modify("/bin/su", 0o755, map[string][]byte{}), modify("/many", 0o755, map[string][]byte{})),
		one("create small", writeEdit("/etc/new.conf", 0o644, []byte("new\n"))),
		one("create empty", writeEdit("/etc/empty.conf", 0o400, nil)),
		one("create 4 MB", writeEdit("/etc/big.bin", 0o755|fs.ModeSetuid, randomBytes(31, 4<<20))),
		one("create with holes", writeEdit("/etc/sparse.bin", 0o644, append(make([]byte, 1<<20), 1))),
		one("replace shorter", writeEdit("/bin/su", 0o755|fs.ModeSetuid|fs.ModeSetgid, []byte("short\n"))),
		one("replace longer", writeEdit("/empty", 0o644, randomBytes(32, 100_000))),
		one("replace hard link", writeEdit("/etc/hosts-too", 0o644, []byte("no longer hosts\n"))),
		one("mkdir and file", rootfs.Edit{Op: rootfs.Mkdir, Path: "/etc/new.d", Mode: 0o750 | fs.ModeSticky, UID: 70000, GID: 70001, ModTime: stamp()},
			writeEdit("/etc/new.d/inside", 0o644, []byte("inside\n"))),
		one("mkdir existing", rootfs.Edit{Op: rootfs.Mkdir, Path: "/etc/empty.d", Mode: 0o700, UID: 3, ModTime: stamp()}),
		one("symlink short", link("/etc/short-link", "../bin/su")),
		one("symlink long", link("/etc/long-link", strings.Repeat("long/", 100))),
		one("symlink over file", link("/etc/new.conf", "/dev/null")),
		one("append to a long file", appendEdit("/bin/big", 3<<20+17, randomBytes(35, 300_000))),
		one("append behind a part", appendEdit("/bin/su", 5, randomBytes(36, 70_000)), appendEdit("/holes", 600_001, []byte("end\n"))),
		one("append to files with holes", appendEdit("/sparse", 2<<20, []byte("end\n")), appendEdit("/unwritten", 50_000, randomBytes(37, 5000))),
		one("append to hard link", appendEdit("/etc/hosts-too", 3, []byte("+too\n"))),
		one("append to small files", appendEdit("/etc/inline100", 100, []byte("+")), appendEdit("/many/name-0009", 0, []byte("first\n")), appendEdit("/etc/labelled", 0, nil)),
		one("cut short", appendEdit("/bin/big", 4097, nil), appendEdit("/etc/shadow", 4, nil)),
		one("remove file", rootfs.Edit{Op: rootfs.Remove, Path: "/bin/big"}),
		one("replace keeps large attributes", writeEdit("/etc/shadow", 0o640, []byte("root:!\n"))),
		one("remove with attribute block", rootfs.Edit{Op: rootfs.Remove, Path: "/etc/shadow"}),
		one("remove directory", rootfs.Edit{Op: rootfs.Remove, Path: "/deep/er/still/" + strings.Repeat("n", maxNameLen)},
			rootfs.Edit{Op: rootfs.Remove, Path: "/deep/er/still"}),
		one("remove link", rootfs.Edit{Op: rootfs.Remove, Path: "/links/slow"}),
		one("mode by replacing", writeEdit("/etc/hosts", 0o600, []byte("127.0.0.1 localhost\n"))),
		one("file in indexed directory", writeEdit("/many/another", 0o644, []byte("another\n")), rootfs.Edit{Op: rootfs.Remove, Path: "/many/name-0007"}),
		one("replace keeps attributes", labelled),
		one("set attributes", set),
		one("odd names", writeEdit(`/etc/a "quoted" <12> name`, 0o644, []byte("odd\n")), writeEdit("/-dash", 0o644, nil), writeEdit("/tab\tand end ", 0o644, nil),
			writeEdit("/etc/<12>", 0o644, []byte("twelve\n")), link(`/#'back\slash`, `"-R" $HOME`)),
	}
}

func TestOperationsOverFeatureSets(t *testing.T) {
	fix := newFixtures(t)
	var clean, refused atomic.Int64
	t.Run("all", func(t *testing.T) {
		for _, set := range featureSets() {
			t.Run(set.name, func(t *testing.T) {
				t.Parallel()
				image := fix.copyOf(t, set)
				for _, op := range operations() {
					t.Run(op.name, func(t *testing.T) {
						switch wasRefused := runOperation(t, set, op, image); {
						case t.Failed():
						case wasRefused:
							refused.Add(1)
						default:
							clean.Add(1)
						}
					})
				}
			})
		}
	})
	total := int64(len(operations()) * len(featureSets()))
	t.Logf("%d operations over %d feature sets: %d clean, %d refused", total, len(featureSets()), clean.Load(), refused.Load())
	if clean.Load() == 0 || clean.Load()+refused.Load() != total {
		t.Errorf("%d operations are right, want %d", clean.Load()+refused.Load(), total)
	}
}

// runOperation judges one edit and says whether it was refused, as it should be.
func runOperation(t *testing.T, set featureSet, op operation, image string) bool {
	t.Helper()
	wantRefused := set.refused != "" || !set.xattrs() && slices.ContainsFunc(op.edits, func(e rootfs.Edit) bool { return len(e.Xattrs) > 0 })
	hash := ""
	if wantRefused {
		hash = hashFile(t, image)
	}
	old, contents := before(t, image, op.edits)
	err := Edit(context.Background(), image, 0, op.edits)
	if wantRefused {
		if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), set.refused) {
			t.Errorf("error is %v, want it refused for %s", err, set.refused)
		}
		if hashFile(t, image) != hash {
			t.Error("image changed by a refused edit")
		}
		return true
	}
	if err != nil {
		t.Errorf("%v", err)
		return false
	}
	if out, code := e2tool(t, "e2fsck", "-fn", image); code != 0 {
		t.Errorf("e2fsck -fn exits with %d: %s", code, out)
	}
	f := openImage(t, image, 0)
	judgeByReader(t, op, f, old, contents)
	judgeByDebugfs(t, op, f, image, contents)
	return false
}

// before gives what the names of the edits hold: for a new name only the attributes
// that it inherits by the contract of rootfs.Edit. Contents are what the files shall
// hold after the edits.
func before(t *testing.T, image string, edits []rootfs.Edit) (old map[string]imgtest.Object, contents map[string][]byte) {
	t.Helper()
	f := openImage(t, image, 0)
	old, contents = map[string]imgtest.Object{}, map[string][]byte{}
	for _, e := range edits {
		var o imgtest.Object
		var err error
		o.Xattrs, err = f.Xattrs(e.Path)
		if errors.Is(err, fs.ErrNotExist) {
			o.Xattrs = map[string][]byte{}
			if label, err := f.Xattrs(filepath.Dir(e.Path)); err == nil && label["security.selinux"] != nil {
				o.Xattrs["security.selinux"] = label["security.selinux"]
			}
			if _, err := f.Lstat(filepath.Dir(e.Path)); errors.Is(err, fs.ErrNotExist) {
				o.Xattrs = old[filepath.Dir(e.Path)].Xattrs
			}
		} else {
			must(t, err)
			o.Info, err = f.Lstat(e.Path)
			must(t, err)
			if o.Mode.IsRegular() {
				o.SHA256 = sumOf(t, f, e.Path)
			}
		}
		old[e.Path], contents[e.Path] = o, e.Data
		if e.Op == rootfs.Append {
			whole := contentOf(t, f, e.Path)
			contents[e.Path] = slices.Concat(whole[:min(int(e.Keep), len(whole))], e.Data)
		}
	}
	return old, contents
}

func judgeByReader(t *testing.T, op operation, f *FS, old map[string]imgtest.Object, contents map[string][]byte) {
	t.Helper()
	for _, e := range op.edits {
		info, err := f.Lstat(e.Path)
		if e.Op == rootfs.Remove {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %s is still there (%v)", op.name, e.Path, err)
			}
			continue
		}
		data := contents[e.Path]
		want := rootfs.Info{Mode: e.Mode, UID: e.UID, GID: e.GID, Size: int64(len(data)), ModTime: stamp().UTC(), Links: 1, Inode: info.Inode}
		if f.sb.InodeSize == minInodeSize {
			want.ModTime = want.ModTime.Truncate(time.Second)
		}
		switch e.Op {
		case rootfs.SetAttributes:
			mode := old[e.Path].Mode.Type() | e.Mode
			want = old[e.Path].Info
			want.Mode, want.UID, want.GID = mode, e.UID, e.GID
			if got := sumIfFile(t, f, e.Path, mode); got != old[e.Path].SHA256 {
				t.Errorf("%s: content of %s changed", op.name, e.Path)
			}
		case rootfs.Mkdir:
			want.Mode, want.Size, want.Links = e.Mode|fs.ModeDir, info.Size, 2
		case rootfs.Symlink:
			want.Mode, want.Size = fs.ModeSymlink|0o777, int64(len(e.Target))
			if got, err := f.Readlink(e.Path); err != nil || got != e.Target {
				t.Errorf("%s: %s leads to %q (%v), want %q", op.name, e.Path, got, err, e.Target)
			}
		case rootfs.WriteFile, rootfs.Append:
			if got := contentOf(t, f, e.Path); !bytes.Equal(got, data) {
				t.Errorf("%s: %s has %d bytes %.40q, want %d bytes %.40q", op.name, e.Path, len(got), got, len(data), data)
			}
		}
		if info != want {
			t.Errorf("%s: %s is %+v (%v), want %+v", op.name, e.Path, info, err, want)
		}
		attributes := e.Xattrs
		if attributes == nil {
			attributes = old[e.Path].Xattrs
		}
		if got, err := f.Xattrs(e.Path); err != nil || !maps.EqualFunc(got, attributes, bytes.Equal) {
			t.Errorf("%s: %s has attributes %.200q (%v), want %.200q", op.name, e.Path, got, err, attributes)
		}
	}
}

func sumIfFile(t *testing.T, f *FS, name string, mode fs.FileMode) (sum [32]byte) {
	t.Helper()
	if mode.IsRegular() {
		sum = sumOf(t, f, name)
	}
	return sum
}

func judgeByDebugfs(t *testing.T, op operation, f *FS, image string, contents map[string][]byte) {
	t.Helper()
	dir := t.TempDir()
	var commands []string
	for i, e := range op.edits {
		if e.Op != rootfs.Remove {
			commands = append(commands, "stat "+quote(e.Path))
		}
		if e.Op == rootfs.WriteFile || e.Op == rootfs.Append {
			commands = append(commands, fmt.Sprintf("dump %s %s/%d", quote(e.Path), dir, i))
		}
	}
	if commands == nil {
		return
	}
	stats := strings.Split(debugfsScript(t, image, commands...), "debugfs: stat ")[1:]
	for i, e := range op.edits {
		if e.Op == rootfs.Remove {
			continue
		}
		stat := stats[0]
		stats = stats[1:]
		if want := fmt.Sprintf("User: %5d   Group: %5d", e.UID, e.GID); !strings.Contains(stat, want) {
			t.Errorf("%s: debugfs stat lacks %q: %s", op.name, want, stat)
		}
		if want := fmt.Sprintf("Mode:  0%03o ", storedMode(e.Mode)); e.Op != rootfs.Symlink && !strings.Contains(stat, want) {
			t.Errorf("%s: debugfs stat lacks %q: %s", op.name, want, stat)
		}
		if e.Op != rootfs.WriteFile && e.Op != rootfs.Append {
			continue
		}
		got, err := os.ReadFile(fmt.Sprintf("%s/%d", dir, i))
		must(t, err)
		want := contents[e.Path]
		if f.HasFeature("inline_data") && len(want) < iBlockSize && len(got) >= len(want) {
			got = got[:len(want)] // debugfs dumps all of i_block
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: debugfs reads %d bytes of %s, want %d", op.name, len(got), e.Path, len(want))
		}
	}
}

func TestOtherHardLinkKeepsItsContent(t *testing.T) {
	image := newFixtures(t).copyOf(t, setNamed(t, "default_4k"))
	must(t, Edit(context.Background(), image, 0, []rootfs.Edit{writeEdit("/etc/hosts-too", 0o644, []byte("changed\n"))}))
	f := openImage(t, image, 0)
	info, err := f.Lstat("/etc/hosts")
	must(t, err)
	if got := contentOf(t, f, "/etc/hosts"); string(got) != "127.0.0.1 localhost\n" || info.Links != 1 {
		t.Errorf("/etc/hosts is %q with %d links, want it as before with 1", got, info.Links)
	}
}

func TestEditAtOffsetAndOddImageName(t *testing.T) {
	const offset = 3 << 20
	image := filepath.Join(t.TempDir(), "disk?offset=7 & more.img")
	copySparse(t, newFixtures(t).image(t, setNamed(t, "default_1k")), image, offset)
	must(t, Edit(context.Background(), image, offset, []rootfs.Edit{writeEdit("/etc/new", 0o644, []byte("x"))}))
	if got := contentOf(t, openImage(t, image, offset), "/etc/new"); string(got) != "x" {
		t.Errorf("content is %q, want x", got)
	}
	plain := filepath.Join(t.TempDir(), "disk")
	must(t, os.Symlink(image, plain))
	if out, code := e2tool(t, "e2fsck", "-fn", fmt.Sprintf("%s?offset=%d", plain, offset)); code != 0 {
		t.Errorf("e2fsck -fn exits with %d: %s", code, out)
	}
}

func TestSameEditsGiveSameBytes(t *testing.T) {
	fix := newFixtures(t)
	for _, name := range []string{"default_4k", "inline_data", "no_extents"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var edits []rootfs.Edit
			for _, op := range operations() {
				edits = append(edits, op.edits...)
			}
			// The last inode to go keeps its time of deletion.
			edits = append(edits, rootfs.Edit{Op: rootfs.Remove, Path: "/etc/hosts"})
			sums := map[string]bool{}
			for range 2 {
				image := fix.copyOf(t, setNamed(t, name))
				must(t, Edit(context.Background(), image, 0, edits))
				sums[hashFile(t, image)] = true
				time.Sleep(1100 * time.Millisecond) // the clock must not matter
			}
			if len(sums) != 1 {
				t.Error("the same edits gave different images")
			}
		})
	}
}

// putIntoJournal makes an image whose journal holds a fresh content for /etc/hosts,
// and the directory block of /etc as it was: replayed after an edit, it would take
// the new names away.
func putIntoJournal(t *testing.T, image string) (fresh []byte) {
	t.Helper()
	var commands []string
	fresh = append([]byte("10.0.0.1  from-log\n\n"), make([]byte, 4096-20)...)
	f := openImage(t, image, 0)
	for name, content := range map[string][]byte{"/etc/hosts": fresh, "/etc": nil} {
		n, err := f.lookup("test", name)
		must(t, err)
		c, err := f.content(n)
		must(t, err)
		r, err := c.run(0)
		must(t, err)
		if content == nil {
			content = make([]byte, 4096)
			must(t, f.readBlock(content, r.phys))
		}
		file := filepath.Join(t.TempDir(), "block")
		writeTestFile(t, file, content, 0o644)
		commands = append(commands, fmt.Sprintf("journal_write -b %d %s", r.phys, file))
	}
	debugfsScript(t, image, append(append([]string{"journal_open"}, commands...), "journal_close")...)
	return fresh[:20]
}

func TestJournalIsReplayedFirst(t *testing.T) {
	image := newFixtures(t).copyOf(t, setNamed(t, "default_4k"))
	fresh := putIntoJournal(t, image)
	f := openImage(t, image, 0)
	if got := contentOf(t, f, "/etc/hosts"); !f.NeedsRecovery() || string(got) != "127.0.0.1 localhost\n" {
		t.Fatalf("journal needs recovery: %t, /etc/hosts is %q; want a stale one", f.NeedsRecovery(), got)
	}
	must(t, Edit(context.Background(), image, 0, []rootfs.Edit{writeEdit("/etc/new", 0o644, []byte("x"))}))
	f = openImage(t, image, 0)
	if got := contentOf(t, f, "/etc/hosts"); f.NeedsRecovery() || !bytes.Equal(got, fresh) {
		t.Errorf("journal needs recovery: %t, /etc/hosts is %q; want what the journal held", f.NeedsRecovery(), got)
	}
	if out, code := e2tool(t, "e2fsck", "-fn", image); code != 0 {
		t.Errorf("e2fsck -fn exits with %d: %s", code, out)
	}
}

func TestReplay(t *testing.T) {
	image := newFixtures(t).copyOf(t, setNamed(t, "default_4k"))
	fresh := putIntoJournal(t, image)
	must(t, Replay(context.Background(), image))
	f := openImage(t, image, 0)
	if got := contentOf(t, f, "/etc/hosts"); f.NeedsRecovery() || !bytes.Equal(got, fresh) {
		t.Errorf("journal needs recovery: %t, /etc/hosts is %q; want what the journal held", f.NeedsRecovery(), got)
	}
	before := hashFile(t, image)
	must(t, Replay(context.Background(), image))
	if hashFile(t, image) != before {
		t.Error("a second replay changed the image")
	}
}

func TestJournalAtOffsetIsRefused(t *testing.T) {
	const offset = 1 << 20
	volume := newFixtures(t).copyOf(t, setNamed(t, "default_4k"))
	putIntoJournal(t, volume)
	image := filepath.Join(t.TempDir(), "disk")
	copySparse(t, volume, image, offset)
	before := hashFile(t, image)
	if err := Edit(context.Background(), image, offset, []rootfs.Edit{writeEdit("/x", 0o644, nil)}); !errors.Is(err, ErrJournal) {
		t.Errorf("error is %v, want %v", err, ErrJournal)
	}
	if hashFile(t, image) != before {
		t.Error("the image changed")
	}
}

func TestUncleanIsCheckedFirst(t *testing.T) {
	image := newFixtures(t).copyOf(t, setNamed(t, "ext2"))
	// A bitmap that calls everything free would make debugfs overwrite files.
	f := openImage(t, image, 0)
	n, err := f.lookup("test", "/bin/big")
	must(t, err)
	c, err := f.content(n)
	must(t, err)
	r, err := c.run(20)
	must(t, err)
	debugfsScript(t, image, fmt.Sprintf("freeb %d %d", r.phys, r.count), "ssv state 0")
	must(t, Edit(context.Background(), image, 0, []rootfs.Edit{writeEdit("/etc/new", 0o644, randomBytes(40, 1<<20))}))
	f = openImage(t, image, 0)
	want, err := os.ReadFile(newFixtures(t).few + "/bin/big")
	must(t, err)
	if got := contentOf(t, f, "/bin/big"); !bytes.Equal(got, want) {
		t.Error("/bin/big was overwritten")
	}
}

func TestLaterEditsSeeEarlierOnes(t *testing.T) {
	image := newFixtures(t).copyOf(t, setNamed(t, "default_1k"))
	dir := func(path string) rootfs.Edit {
		return rootfs.Edit{Op: rootfs.Mkdir, Path: path, Mode: 0o755, ModTime: stamp()}
	}
	remove := func(path string) rootfs.Edit { return rootfs.Edit{Op: rootfs.Remove, Path: path} }
	must(t, Edit(context.Background(), image, 0, []rootfs.Edit{
		dir("/a"), dir("/a/b"), writeEdit("/a/b/c", 0o644, []byte("1")), writeEdit("/a/b/c", 0o600, []byte("22")),
		dir("/gone"), rootfs.Edit{Op: rootfs.Symlink, Path: "/to-gone", Target: "gone", ModTime: stamp()}, writeEdit("/gone/x", 0o644, nil), remove("/gone/x"), remove("/gone"),
		remove("/etc/empty.d"), writeEdit("/etc/empty.d", 0o644, []byte("a file now")),
		remove("/links/fast"), dir("/links/fast"), writeEdit("/links/fast/x", 0o644, nil),
	}))
	f := openImage(t, image, 0)
	if got := contentOf(t, f, "/a/b/c"); string(got) != "22" {
		t.Errorf("/a/b/c is %q, want 22", got)
	}
	if _, err := f.Lstat("/gone"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("/gone: error is %v, want it absent", err)
	}
	if label, err := f.Xattrs("/etc/empty.d"); err != nil || string(label["security.selinux"]) != "etc_label" {
		t.Errorf("/etc/empty.d has attributes %q (%v), want its parent's label", label, err)
	}
}

// A large attribute of an inode with two names goes with the second.
func TestBothHardLinksReplaced(t *testing.T) {
	image := newFixtures(t).copyOf(t, setNamed(t, "ea_inode"))
	debugfsScript(t, image, "ln /etc/shadow /etc/shadow-too", "sif /etc/shadow links_count 2")
	must(t, Edit(context.Background(), image, 0, []rootfs.Edit{
		writeEdit("/etc/shadow", 0o600, []byte("a")), writeEdit("/etc/shadow-too", 0o600, []byte("b")), writeEdit("/etc/shadow", 0o600, []byte("c")),
	}))
	f := openImage(t, image, 0)
	for _, name := range []string{"/etc/shadow", "/etc/shadow-too"} {
		all, err := f.Xattrs(name)
		if err != nil || !bytes.Equal(all["user.huge"], randomBytes(21, hugeXattrBytes)) {
			t.Errorf("%s lost user.huge (%v)", name, err)
		}
	}
	if out, code := e2tool(t, "e2fsck", "-fn", image); code != 0 {
		t.Errorf("e2fsck -fn exits with %d: %s", code, out)
	}
}

func TestTimesAfter2038(t *testing.T) {
	image := newFixtures(t).copyOf(t, setNamed(t, "default_4k"))
	e := writeEdit("/etc/late", 0o644, nil)
	for _, when := range []time.Time{time.Unix(1<<31-1, 999_999_999), time.Unix(1<<31, 0), time.Unix(1<<32+5, 1), time.Unix(1<<31-1+3<<32, 0), time.Unix(1, 0)} {
		e.ModTime = when
		if err := Edit(context.Background(), image, 0, []rootfs.Edit{e}); err != nil {
			t.Errorf("%v: %v", when, err)
			continue
		}
		if info, err := openImage(t, image, 0).Lstat(e.Path); err != nil || !info.ModTime.Equal(when) {
			t.Errorf("time is %v (%v), want %v", info.ModTime, err, when)
		}
	}
}

// TestLargeSparseImageStaysSparse: what an edit costs goes with what it writes, not with
// the size of the image.
func TestLargeSparseImageStaysSparse(t *testing.T) {
	image := filepath.Join(t.TempDir(), "large.img")
	if out, code := e2tool(t, "mke2fs", "-q", "-F", "-t", "ext4", image, "2G"); code != 0 {
		t.Fatal(out)
	}
	var edits []rootfs.Edit
	for i := range 10 {
		edits = append(edits, writeEdit(fmt.Sprintf("/file-%d", i), 0o644, randomBytes(uint64(i), 1000)))
	}
	before, start := allocated(t, image), time.Now()
	must(t, Edit(context.Background(), image, 0, edits))
	grown := allocated(t, image) - before
	t.Logf("10 files on a 2 GiB image: %v, %d bytes more", time.Since(start), grown)
	if grown > 4<<20 {
		t.Errorf("image holds %d bytes more, want some for 10 files of 1000", grown)
	}
}

// allocated is how many bytes of a file have blocks: st_blocks of stat(2).
func allocated(t *testing.T, name string) int64 {
	t.Helper()
	var s syscall.Stat_t
	must(t, syscall.Stat(name, &s))
	return s.Blocks * 512
}

func TestCancelledEdit(t *testing.T) {
	image := newFixtures(t).copyOf(t, setNamed(t, "default_4k"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Edit(ctx, image, 0, []rootfs.Edit{writeEdit("/x", 0o644, nil)}); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want it cancelled", err)
	}
}

func TestNothingStaysInTemporaryDirectory(t *testing.T) {
	fix := newFixtures(t)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	good := fix.copyOf(t, setNamed(t, "default_4k"))
	must(t, Edit(context.Background(), good, 0, []rootfs.Edit{writeEdit("/x", 0o644, nil)}))
	if err := Edit(context.Background(), good, 0, []rootfs.Edit{writeEdit("/absent/x", 0o644, nil)}); err == nil {
		t.Error("edit below an absent directory worked")
	}
	left, err := filepath.Glob(filepath.Join(temp, "kerngate-*"))
	must(t, err)
	if len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// An inode is given other attributes through one name, then loses another name.
func TestModifyAndReplaceHardLinks(t *testing.T) {
	image := newFixtures(t).copyOf(t, setNamed(t, "default_4k"))
	label := map[string][]byte{"security.selinux": []byte("hosts_t\x00")}
	modify := rootfs.Edit{Op: rootfs.SetAttributes, Path: "/etc/hosts", Mode: 0o600, UID: 7, ModTime: stamp(), Xattrs: label}
	again := modify
	again.Path, again.Mode, again.Xattrs = "/etc/made", 0o611, nil
	root := modify
	root.Path, root.Mode = "/", 0o711
	must(t, Edit(context.Background(), image, 0, []rootfs.Edit{
		modify, writeEdit("/etc/hosts-too", 0o644, []byte("apart\n")), writeEdit("/etc/made", 0o644, []byte("made\n")), again, root,
	}))
	f := openImage(t, image, 0)
	for _, c := range []struct {
		name, content string
		mode          fs.FileMode
		label         string
	}{
		{"/etc/hosts", "127.0.0.1 localhost\n", 0o600, "hosts_t\x00"},
		{"/etc/hosts-too", "apart\n", 0o644, "hosts_t\x00"},
		{"/etc/made", "made\n", 0o611, "etc_label"},
	} {
		info, err := f.Lstat(c.name)
		must(t, err)
		all, err := f.Xattrs(c.name)
		must(t, err)
		if got := contentOf(t, f, c.name); string(got) != c.content || info.Mode != c.mode || info.Links != 1 || string(all["security.selinux"]) != c.label {
			t.Errorf("%s holds %q, mode %v, %d links, attributes %q; want %q, %v, 1 and the label %q", c.name, got, info.Mode, info.Links, all, c.content, c.mode, c.label)
		}
	}
	if info, err := f.Lstat("/"); err != nil || info.Mode.Perm() != 0o711 {
		t.Errorf("mode of / is %v (%v), want 0711", info.Mode, err)
	}
	if out, code := e2tool(t, "e2fsck", "-fn", image); code != 0 {
		t.Errorf("e2fsck -fn exits with %d: %s", code, out)
	}
}
