package rootfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// TestMain fixes the mask that decides the modes of what the tests plant.
func TestMain(m *testing.M) {
	syscall.Umask(0o022)
	os.Exit(m.Run())
}

func stamp() time.Time { return time.Unix(1_600_000_000, 123_000_000) }

// edit makes edits that an unprivileged user can do: the owner is who runs the test.
func edit(op rootfs.Op, name string) rootfs.Edit {
	return rootfs.Edit{Op: op, Path: name, Mode: 0o644, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), ModTime: stamp()}
}

func write(name, data string, mode fs.FileMode) rootfs.Edit {
	e := edit(rootfs.WriteFile, name)
	e.Data, e.Mode = []byte(data), mode
	return e
}

func grow(name string, keep int64, data string, mode fs.FileMode) rootfs.Edit {
	e := write(name, data, mode)
	e.Op, e.Keep = rootfs.Append, keep
	return e
}

func symlink(name, target string) rootfs.Edit {
	e := edit(rootfs.Symlink, name)
	e.Target = target
	return e
}

func mkdir(name string, mode fs.FileMode) rootfs.Edit {
	e := edit(rootfs.Mkdir, name)
	e.Mode = mode
	return e
}

func modify(name string, mode fs.FileMode) rootfs.Edit {
	e := edit(rootfs.SetAttributes, name)
	e.Mode = mode
	return e
}

func remove(name string) rootfs.Edit { return rootfs.Edit{Op: rootfs.Remove, Path: name} }

// sample is a directory with one of everything, all of it years old.
func sample(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	plant(t, dir, "etc/hosts = 127.0.0.1", "etc/locked = secret", "etc/rc -> ../lib/rc", "etc/dangling -> nowhere", "lib/rc = rc",
		"empty/", "full/inside/one = 1", "full/inside/two = 2", "old.d/only = x", "etc/two = linked")
	err := errors.Join(
		os.Chmod(filepath.Join(dir, "etc/locked"), 0o4750),
		os.Chmod(filepath.Join(dir, "empty"), 0o1777),
		os.Link(filepath.Join(dir, "etc/two"), filepath.Join(dir, "etc/two-too")),
		syscall.Mkfifo(filepath.Join(dir, "etc/pipe"), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	label(t, filepath.Join(dir, "etc/hosts"), "user.origin", "planted")
	label(t, filepath.Join(dir, "empty"), "user.origin", "planted")
	makeOld(t, dir)
	return dir
}

// makeOld gives every file and directory a time of its own in the past.
func makeOld(t *testing.T, dir string) {
	t.Helper()
	at := time.Unix(1_000_000_000, 0)
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if at = at.Add(time.Hour + time.Microsecond); err != nil || e.Type() == fs.ModeSymlink {
			return err
		}
		return os.Chtimes(name, at, at)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func dump(t *testing.T, tree rootfs.Tree) string {
	t.Helper()
	text, err := rootfs.Dump(tree, true)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text, ".kerngate-") {
		t.Errorf("something is left over:\n%s", text)
	}
	return text
}

func fine() error { return nil }

// line finds what a dump says of a name, without its time.
func line(t *testing.T, tree rootfs.Tree, name string) string {
	t.Helper()
	for l := range strings.SplitSeq(dump(t, tree), "\n") {
		if rest, ok := strings.CutPrefix(l, name+" "); ok {
			what, at := rest[:strings.LastIndexByte(rest, ' ')], rest[strings.LastIndexByte(rest, ' ')+1:]
			if at == stamp().UTC().Format(time.RFC3339Nano) {
				return what + " stamped"
			}
			return what
		}
	}
	return ""
}

func TestApply(t *testing.T) {
	owner := fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())
	const newSum, emptySum, keptSum = "11507a0e2f5e69d5", "e3b0c44298fc1c14", "fbdef99b6910750d" // sha256sum of "new", of nothing and of "kept+more"
	for _, c := range []struct {
		name  string
		edits []rootfs.Edit
		want  map[string]string // by name; empty: absent
	}{
		{"new file", []rootfs.Edit{write("/etc/new", "new", 0o640)},
			map[string]string{"/etc/new": "file 0640 O 3 bytes sha256:" + newSum + " stamped"}},
		{"empty file", []rootfs.Edit{write("/etc/new", "", 0o400)},
			map[string]string{"/etc/new": "file 0400 O 0 bytes sha256:" + emptySum + " stamped"}},
		{"set-uid file", []rootfs.Edit{write("/etc/new", "new", 0o755|fs.ModeSetuid|fs.ModeSetgid)},
			map[string]string{"/etc/new": "file 6755 O 3 bytes sha256:" + newSum + " stamped"}},
		{"replaced file", []rootfs.Edit{write("/etc/locked", "new", 0o600)},
			map[string]string{"/etc/locked": "file 0600 O 3 bytes sha256:" + newSum + " stamped"}},
		{"one of two hard links", []rootfs.Edit{write("/etc/two", "new", 0o600)},
			map[string]string{"/etc/two": "file 0600 O 3 bytes sha256:" + newSum + " stamped", "/etc/two-too": "file 0644 O 6 bytes sha256:2272bea616a05ae1"}},
		{"file over a link", []rootfs.Edit{write("/etc/rc", "new", 0o600)},
			map[string]string{"/etc/rc": "file 0600 O 3 bytes sha256:" + newSum + " stamped", "/lib/rc": "file 0644 O 2 bytes sha256:7581e0d493f6ab3f"}},
		{"file over a dangling link", []rootfs.Edit{write("/etc/dangling", "new", 0o600)},
			map[string]string{"/etc/dangling": "file 0600 O 3 bytes sha256:" + newSum + " stamped", "/etc/nowhere": ""}},
		{"file over a FIFO", []rootfs.Edit{write("/etc/pipe", "new", 0o600)},
			map[string]string{"/etc/pipe": "file 0600 O 3 bytes sha256:" + newSum + " stamped"}},
		{"same file twice", []rootfs.Edit{write("/etc/hosts", "first", 0o600), write("/etc/hosts", "new", 0o644)},
			map[string]string{"/etc/hosts": "file 0644 O 3 bytes sha256:" + newSum + ` user.origin="planted" stamped`}},
		{"longer file", []rootfs.Edit{write("/etc/hosts", "kept?", 0o600), grow("/etc/hosts", 4, "+more", 0o640)},
			map[string]string{"/etc/hosts": "file 0640 O 9 bytes sha256:" + keptSum + ` user.origin="planted" stamped`}},
		{"longer file, twice", []rootfs.Edit{write("/etc/locked", "kept?", 0o600), grow("/etc/locked", 5, "", 0o600), grow("/etc/locked", 4, "+", 0o600), grow("/etc/locked", 5, "more", 0o755|fs.ModeSetuid)},
			map[string]string{"/etc/locked": "file 4755 O 9 bytes sha256:" + keptSum + " stamped"}},
		{"nothing kept", []rootfs.Edit{grow("/etc/locked", 0, "new", 0o600)},
			map[string]string{"/etc/locked": "file 0600 O 3 bytes sha256:" + newSum + " stamped"}},
		{"shorter file", []rootfs.Edit{grow("/etc/locked", 0, "", 0o600)},
			map[string]string{"/etc/locked": "file 0600 O 0 bytes sha256:" + emptySum + " stamped"}},
		{"one of two hard links made longer", []rootfs.Edit{write("/lib/rc", "kept", 0o644), grow("/etc/two", 0, "kept", 0o600), grow("/etc/two", 4, "+more", 0o600)},
			map[string]string{"/etc/two": "file 0600 O 9 bytes sha256:" + keptSum + " stamped", "/etc/two-too": "file 0644 O 6 bytes sha256:2272bea616a05ae1"}},
		{"new link", []rootfs.Edit{symlink("/etc/link", "/dev/null")}, map[string]string{"/etc/link": "symlink O -> /dev/null stamped"}},
		{"link over a link", []rootfs.Edit{symlink("/etc/rc", "../new")}, map[string]string{"/etc/rc": "symlink O -> ../new stamped"}},
		{"link over a file", []rootfs.Edit{symlink("/etc/hosts", "rc")}, map[string]string{"/etc/hosts": "symlink O -> rc stamped"}},
		{"new directory with a file", []rootfs.Edit{mkdir("/etc/d", 0o750), mkdir("/etc/d/e", 0o755|fs.ModeSetgid), write("/etc/d/e/f", "new", 0o644)},
			map[string]string{"/etc/d": "directory 0750 O stamped", "/etc/d/e": "directory 2755 O stamped", "/etc/d/e/f": "file 0644 O 3 bytes sha256:" + newSum + " stamped"}},
		{"directory that exists", []rootfs.Edit{mkdir("/full", 0o700)}, map[string]string{"/full": "directory 0700 O stamped", "/full/inside": "directory 0755 O"}},
		{"attributes of a file", []rootfs.Edit{modify("/etc/locked", 0o600|fs.ModeSetgid)},
			map[string]string{"/etc/locked": "file 2600 O 6 bytes sha256:2bb80d537b1da3e3"}},
		{"attributes of one of two hard links", []rootfs.Edit{modify("/etc/two", 0o604)},
			map[string]string{"/etc/two": "file 0604 O 6 bytes sha256:2272bea616a05ae1 2 links", "/etc/two-too": "file 0604 O 6 bytes sha256:2272bea616a05ae1 2 links"}},
		{"attributes of a directory", []rootfs.Edit{modify("/full", 0o700)}, map[string]string{"/full": "directory 0700 O", "/full/inside": "directory 0755 O"}},
		{"attributes of what was made", []rootfs.Edit{write("/etc/hosts", "new", 0o600), modify("/etc/hosts", 0o644)},
			map[string]string{"/etc/hosts": "file 0644 O 3 bytes sha256:" + newSum + ` user.origin="planted" stamped`}},
		{"root directory", []rootfs.Edit{mkdir("/", 0o711)}, map[string]string{"/": "directory 0711 O stamped"}},
		{"remove a file", []rootfs.Edit{remove("/etc/hosts")}, map[string]string{"/etc/hosts": ""}},
		{"remove a link", []rootfs.Edit{remove("/etc/rc")}, map[string]string{"/etc/rc": "", "/lib/rc": "file 0644 O 2 bytes sha256:7581e0d493f6ab3f"}},
		{"remove an empty directory", []rootfs.Edit{remove("/empty")}, map[string]string{"/empty": ""}},
		{"remove what is in a directory, and it", []rootfs.Edit{remove("/full/inside/one"), remove("/full/inside/two"), remove("/full/inside"), remove("/full")},
			map[string]string{"/full": "", "/full/inside": "", "/full/inside/one": ""}},
		{"put a file where a directory was", []rootfs.Edit{remove("/old.d/only"), remove("/old.d"), write("/old.d", "new", 0o644)},
			map[string]string{"/old.d": "file 0644 O 3 bytes sha256:" + newSum + " stamped"}},
		{"put a directory where a file was", []rootfs.Edit{remove("/etc/hosts"), mkdir("/etc/hosts", 0o755), write("/etc/hosts/x", "new", 0o644)},
			map[string]string{"/etc/hosts": "directory 0755 O stamped"}},
		{"take away what was made", []rootfs.Edit{mkdir("/new", 0o755), write("/new/x", "new", 0o644), remove("/new/x"), remove("/new")},
			map[string]string{"/new": ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := open(t, sample(t))
			for i := range 2 { // what is done twice is done
				if i == 1 && strings.Contains(fmt.Sprint(c.edits), string(rootfs.Remove)) {
					break
				}
				checked := false
				if err := tree.Apply(c.edits, func() error { checked = true; return nil }); err != nil || !checked {
					t.Fatalf("round %d: %v, checked: %v", i, err, checked)
				}
				for name, want := range c.want {
					want = strings.ReplaceAll(want, " O", " "+owner)
					got := line(t, tree, name)
					if !strings.Contains(want, "user.") {
						got = strings.ReplaceAll(got, ` user.origin="planted"`, "")
					}
					if got != want {
						t.Errorf("round %d: %s is %q, want %q", i, name, got, want)
					}
				}
			}
		})
	}
}

// impossible are edits that cannot be made, with a piece of what is said.
func impossible() map[string]struct {
	edit  rootfs.Edit
	fault string
} {
	return map[string]struct {
		edit  rootfs.Edit
		fault string
	}{
		"file over a directory":        {write("/full", "x", 0o644), "it is a directory"},
		"link over a directory":        {symlink("/empty", "x"), "it is a directory"},
		"file over the root":           {write("/", "x", 0o644), "it is a directory"},
		"directory over a file":        {mkdir("/etc/hosts", 0o755), "it is a regular file"},
		"directory over a link":        {mkdir("/etc/rc", 0o755), "it is a symbolic link"},
		"no parent":                    {write("/nope/x", "x", 0o644), "no such file"},
		"parent is a file":             {write("/etc/hosts/x", "x", 0o644), "not exist"},
		"parent is a link":             {write("/etc/rc/x", "x", 0o644), rootfs.ErrSymlink.Error()},
		"remove nothing":               {remove("/nope"), "no such file"},
		"remove a full directory":      {remove("/full"), "it holds inside"},
		"remove the root":              {remove("/"), "cannot remove /"},
		"attributes of nothing":        {modify("/nope", 0o644), "no such file"},
		"attributes of a link":         {modify("/etc/dangling", 0o644), "it is a symbolic link"},
		"impossible attribute, modify": {withXattr(modify("/etc/hosts", 0o600)), "cannot set nowhere.at.all"},
		"longer nothing":               {grow("/nope", 0, "x", 0o644), "no such file"},
		"longer directory":             {grow("/full", 0, "x", 0o644), "it is a directory"},
		"longer link":                  {grow("/etc/rc", 0, "x", 0o644), "it is a symbolic link"},
		"longer FIFO":                  {grow("/etc/pipe", 0, "x", 0o644), "it is a special file"},
		"more kept than there is":      {grow("/etc/locked", 7, "x", 0o644), "7 bytes shall stay, the file has 6"},
		"less than nothing kept":       {grow("/etc/locked", -1, "x", 0o644), "-1 bytes shall stay"},
		"impossible attribute, longer": {withXattr(grow("/etc/locked", 6, "x", 0o644)), "cannot set nowhere.at.all"},
		"unknown operation":            {edit("rename", "/etc/hosts"), `operation is "rename"`},
		"name too long":                {write("/etc/"+strings.Repeat("n", 256), "x", 0o644), "name too long"},
		"impossible attribute, file":   {withXattr(write("/etc/hosts", "x", 0o644)), "cannot set nowhere.at.all"},
		"impossible attribute, new":    {withXattr(write("/etc/new-one", "x", 0o644)), "cannot set nowhere.at.all"},
		"impossible attribute, link":   {withXattr(symlink("/etc/hosts", "x")), "cannot set nowhere.at.all"},
		"impossible attribute, dir":    {withXattr(mkdir("/etc/new.d", 0o755)), "cannot set nowhere.at.all"},
		"impossible attribute, on dir": {withXattr(mkdir("/empty", 0o755)), "cannot set nowhere.at.all"},
		"empty link":                   {symlink("/etc/hosts", ""), "no such file"},
	}
}

// withXattr asks for an attribute of a namespace that no file system has.
func withXattr(e rootfs.Edit) rootfs.Edit {
	e.Xattrs = map[string][]byte{"nowhere.at.all": []byte("x")}
	return e
}

// good are edits of every kind, several on the same names.
func good() []rootfs.Edit {
	return []rootfs.Edit{
		write("/etc/hosts", "new", 0o600), symlink("/etc/rc", "hosts"), mkdir("/etc/d", 0o755), write("/etc/d/f", "f", 0o644),
		remove("/etc/pipe"), remove("/old.d/only"), remove("/old.d"), symlink("/old.d", "etc"), write("/etc/two", "x", 0o644),
		mkdir("/empty", 0o700), write("/empty/x", "x", 0o644), write("/etc/hosts", "newer", 0o644), mkdir("/", 0o700),
		modify("/etc/two-too", 0o600), modify("/full/inside", 0o700),
		remove("/full/inside/one"), remove("/full/inside/two"), remove("/full/inside"), remove("/full"),
		grow("/lib/rc", 2, "-more", 0o755), grow("/lib/rc", 1, "", 0o600), grow("/etc/hosts", 3, "+", 0o644),
		modify("/etc/locked", 0o640), grow("/etc/locked", 3, "x", 0o640), remove("/etc/locked"),
	}
}

// TestRollback puts an edit that cannot be made at every place of a list.
func TestRollback(t *testing.T) {
	edits := good()
	for name, bad := range impossible() {
		t.Run(name, func(t *testing.T) {
			tree := open(t, sample(t))
			want := dump(t, tree)
			for at := range 3 { // the later places change what the bad edit meets
				list := append(append([]rootfs.Edit{}, edits[:at]...), bad.edit)
				err := tree.Apply(list, func() error { t.Error("checked although an edit was not made"); return nil })
				if at == 0 && (err == nil || !strings.Contains(err.Error(), bad.fault)) {
					t.Errorf("error is %v, want %q in it", err, bad.fault)
				}
				if err == nil {
					t.Fatalf("place %d: no error", at)
				}
				if got := dump(t, tree); got != want {
					t.Fatalf("place %d: the tree is\n%s\nwant\n%s", at, got, want)
				}
			}
		})
	}
	t.Run("at every place", func(t *testing.T) {
		tree := open(t, sample(t))
		want := dump(t, tree)
		for at := range len(edits) + 1 {
			list := append(append([]rootfs.Edit{}, edits[:at]...), remove("/never"))
			if err := tree.Apply(list, fine); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("place %d: error is %v, want not exist", at, err)
			}
			if got := dump(t, tree); got != want {
				t.Fatalf("place %d: the tree is\n%s\nwant\n%s", at, got, want)
			}
		}
	})
	t.Run("check says no", func(t *testing.T) {
		tree := open(t, sample(t))
		want := dump(t, tree)
		no := errors.New("no")
		for at := 1; at <= len(edits); at++ {
			if err := tree.Apply(edits[:at], func() error { return no }); !errors.Is(err, no) {
				t.Fatalf("%d edits: error is %v, want no", at, err)
			}
			if got := dump(t, tree); got != want {
				t.Fatalf("%d edits: the tree is\n%s\nwant\n%s", at, got, want)
			}
		}
		if err := tree.Apply(edits, fine); err != nil {
			t.Fatalf("the edits cannot be made at all: %v", err)
		}
		if got := dump(t, tree); got == want {
			t.Error("the edits change nothing: this test proves nothing")
		}
	})
}

// TestCheckSeesResult asks from within the check: verify reads the tree there.
func TestCheckSeesResult(t *testing.T) {
	tree := open(t, sample(t))
	err := tree.Apply([]rootfs.Edit{remove("/old.d/only"), remove("/old.d"), write("/etc/new", "new", 0o644)}, func() error {
		if found, err := rootfs.Exists(tree, "/old.d"); found || err != nil {
			t.Errorf("the removed directory is still there (%v)", err)
		}
		data, err := rootfs.ReadFile(tree, "/etc/new", 10)
		if string(data) != "new" {
			t.Errorf("the new file holds %q, %v", data, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestReplacedFileKeepsXattrs(t *testing.T) {
	dir := sample(t)
	if !label(t, filepath.Join(dir, "etc/hosts"), "user.second", "2") {
		return
	}
	tree := open(t, dir)
	explicit := write("/etc/two", "x", 0o644)
	explicit.Xattrs = map[string][]byte{"user.mine": []byte("3")}
	none := write("/lib/rc", "x", 0o644)
	none.Xattrs = map[string][]byte{}
	label(t, filepath.Join(dir, "lib/rc"), "user.gone", "4")
	onDir := mkdir("/empty", 0o755)
	onDir.Xattrs = map[string][]byte{"user.dir": []byte("5")}
	want := dump(t, tree)
	edits := []rootfs.Edit{write("/etc/hosts", "new", 0o644), explicit, none, onDir, write("/etc/fresh", "x", 0o644), mkdir("/full", 0o755)}
	if err := tree.Apply(edits, func() error { return fs.ErrInvalid }); !errors.Is(err, fs.ErrInvalid) {
		t.Fatal(err)
	}
	if got := dump(t, tree); got != want {
		t.Errorf("taken back, the tree is\n%s\nwant\n%s", got, want)
	}
	if err := tree.Apply(edits, fine); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"/etc/hosts": `user.origin="planted" user.second="2"`, "/etc/two": `user.mine="3"`, "/lib/rc": "", "/etc/fresh": "", "/empty": `user.dir="5"`,
	} {
		_, attributes, _ := strings.Cut(line(t, tree, name), "user.")
		if attributes = strings.TrimSuffix("user."+attributes, " stamped"); attributes != want && attributes+want != "user." {
			t.Errorf("%s has %q, want %q", name, attributes, want)
		}
	}
}

// TestSELinuxLabels gives new inodes the label of their directory. Where only root
// may set labels, the edits end in an error and change nothing.
func TestSELinuxLabels(t *testing.T) {
	dir := sample(t)
	const etc, own = "system_u:object_r:etc_t:s0", "system_u:object_r:own_t:s0"
	switch err := unix.Lsetxattr(filepath.Join(dir, "etc"), "security.selinux", []byte(etc), 0); {
	case errors.Is(err, unix.EPERM):
		labelled := write("/etc/new", "x", 0o644)
		labelled.Xattrs = map[string][]byte{"security.selinux": []byte("l")}
		tree := open(t, dir)
		want := dump(t, tree)
		if err := tree.Apply([]rootfs.Edit{labelled}, fine); !errors.Is(err, unix.EPERM) || dump(t, tree) != want {
			t.Errorf("error is %v, want EPERM and an unchanged tree", err)
		}
		return
	case errors.Is(err, unix.ENOTSUP):
		t.Logf("%s has no labels", dir)
		return
	case err != nil:
		t.Fatal(err)
	}
	label(t, filepath.Join(dir, "etc/hosts"), "security.selinux", own)
	tree := open(t, dir)
	edits := []rootfs.Edit{write("/etc/new", "x", 0o644), symlink("/etc/link", "x"), mkdir("/etc/d", 0o755), symlink("/etc/d/link", "x"),
		write("/etc/hosts", "x", 0o644), write("/etc/rc", "x", 0o644)}
	if err := tree.Apply(edits, fine); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"new": etc, "link": etc, "d": etc, "d/link": etc, "hosts": own, "rc": etc} {
		if got := readLabel(t, filepath.Join(dir, "etc", name)); got != want {
			t.Errorf("label of %s is %q, want %q", name, got, want)
		}
		if all, err := tree.Xattrs("/etc/" + name); err != nil || string(all["security.selinux"]) != want {
			t.Errorf("attributes of %s are %q (%v), want the label %q", name, all, err, want)
		}
	}
}

// TestUnprivileged runs the tests of this file once more as nobody, who owns the
// trees that they make.
func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("these tests run unprivileged already")
		return
	}
	asNobody(t, 5, "^(TestApply|TestRollback|TestReplacedFileKeepsXattrs|TestSELinuxLabels|TestXattrs)$")
}

// asNobody runs tests of this program as nobody, and wants as many of them to pass.
func asNobody(t *testing.T, want int, pattern string, environ ...string) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "kerngate-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	const nobody = 65534
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(program)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "tests"), binary, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "tests"), "-test.run", pattern, "-test.v")
	cmd.Dir, cmd.Env = dir, append(append(os.Environ(), "TMPDIR="+dir), environ...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if passed := strings.Count(string(out), "\n--- PASS"); err != nil || passed != want {
		t.Errorf("as nobody: %v, %d tests passed, want %d\n%s", err, passed, want, out)
	}
}

// TestSomebodyElsesDirectory: nobody, in directories that belong to root, may write
// into one and not into the other, and may set the times of neither.
func TestSomebodyElsesDirectory(t *testing.T) {
	const variable = "ROOTFS_TEST_TREE"
	name := os.Getenv(variable)
	if name == "" {
		if os.Geteuid() != 0 {
			t.Log("only root can make such a tree")
			return
		}
		name = t.TempDir()
		plant(t, name, "closed/x = x", "open/x = x")
		if err := errors.Join(os.Chmod(filepath.Dir(name), 0o755), os.Chmod(filepath.Join(name, "open"), 0o777)); err != nil {
			t.Fatal(err)
		}
		asNobody(t, 1, "^TestSomebodyElsesDirectory$", variable+"="+name)
		return
	}
	dir := open(t, name)
	err := dir.Apply([]rootfs.Edit{write("/closed/new", "x", 0o644)}, fine)
	if !errors.Is(err, fs.ErrPermission) || errors.Is(err, rootfs.ErrPartlyChanged) {
		t.Errorf("in a closed directory: error is %v, want %v alone", err, fs.ErrPermission)
	}
	refuse := errors.New("refused")
	err = dir.Apply([]rootfs.Edit{write("/open/new", "x", 0o644)}, func() error { return refuse })
	if !errors.Is(err, refuse) || errors.Is(err, rootfs.ErrPartlyChanged) {
		t.Errorf("taken back in an open directory: error is %v, want %v alone", err, refuse)
	}
	if err := dir.Apply([]rootfs.Edit{write("/open/new", "x", 0o644)}, fine); err != nil {
		t.Errorf("in an open directory: %v", err)
	}
}

// TestParentsKeepTheirTimes: what is put into a directory, replaced in it and removed
// from it leaves its modification time, so that the same edits give the same tree.
func TestParentsKeepTheirTimes(t *testing.T) {
	name := sample(t)
	dir, err := rootfs.OpenDir(name)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	parents := []string{"/etc", "/empty", "/full/inside"}
	before := map[string]time.Time{}
	for _, p := range parents {
		info, err := dir.Lstat(p)
		if err != nil {
			t.Fatal(err)
		}
		before[p] = info.ModTime
	}
	edits := []rootfs.Edit{write("/etc/hosts", "new", 0o644), mkdir("/empty/sub", 0o755), write("/empty/sub/x", "x", 0o644), remove("/full/inside/one")}
	if err := dir.Apply(edits, fine); err != nil {
		t.Fatal(err)
	}
	for _, p := range parents {
		info, err := dir.Lstat(p)
		if err != nil {
			t.Fatal(err)
		}
		if !info.ModTime.Equal(before[p]) {
			t.Errorf("time of %s is %v, was %v", p, info.ModTime, before[p])
		}
	}
}

// TestRollbackThatCannotBeMade: whoever reads the error learns that the directory is
// not as it was.
func TestRollbackThatCannotBeMade(t *testing.T) {
	name := sample(t)
	dir, err := rootfs.OpenDir(name)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	refuse := errors.New("refused")
	err = dir.Apply([]rootfs.Edit{write("/etc/hosts", "new", 0o644)}, func() error {
		saved, err := filepath.Glob(filepath.Join(name, "etc/.kerngate-undo-*"))
		if err != nil || len(saved) != 1 {
			t.Fatalf("saved files: %v (%v), want one", saved, err)
		}
		return errors.Join(refuse, os.Remove(saved[0]))
	})
	if !errors.Is(err, refuse) || !errors.Is(err, rootfs.ErrPartlyChanged) {
		t.Errorf("error is %v, want %v and %v", err, refuse, rootfs.ErrPartlyChanged)
	}
	err = dir.Apply([]rootfs.Edit{write("/etc/hosts", "new", 0o644)}, func() error { return refuse })
	if !errors.Is(err, refuse) || errors.Is(err, rootfs.ErrPartlyChanged) {
		t.Errorf("error is %v, want %v alone", err, refuse)
	}
}

// TestModifyXattrs sets attributes and an owner, which would take capabilities away.
func TestModifyXattrs(t *testing.T) {
	dir := sample(t)
	tree := open(t, dir)
	capability := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	relabelled, owned := modify("/etc/hosts", 0o640), modify("/etc/locked", 0o711|fs.ModeSetuid)
	relabelled.Xattrs = map[string][]byte{"user.mine": []byte("1")}
	onDir := modify("/empty", 0o700)
	onDir.Xattrs = map[string][]byte{}
	want := map[string]string{"/etc/hosts": "map[user.mine:1]", "/etc/locked": "map[]", "/empty": "map[]"}
	if os.Getuid() == 0 {
		if err := unix.Setxattr(filepath.Join(dir, "etc/locked"), "security.capability", capability, 0); err != nil {
			t.Fatal(err)
		}
		owned.UID = 77
		want["/etc/locked"] = fmt.Sprintf("map[security.capability:%s]", capability)
	}
	before := dump(t, tree)
	edits := []rootfs.Edit{relabelled, owned, onDir}
	if err := tree.Apply(edits, func() error { return fs.ErrInvalid }); !errors.Is(err, fs.ErrInvalid) {
		t.Fatal(err)
	}
	if got := dump(t, tree); got != before {
		t.Errorf("taken back, the tree is\n%s\nwant\n%s", got, before)
	}
	if err := tree.Apply(edits, fine); err != nil {
		t.Fatal(err)
	}
	for name, want := range want {
		all, err := tree.Xattrs(name)
		texts := map[string]string{}
		for key, value := range all {
			if !strings.HasPrefix(key, "system.") && key != "security.selinux" { // the host's
				texts[key] = string(value)
			}
		}
		if got := fmt.Sprint(texts); err != nil || got != want {
			t.Errorf("%s has attributes %q (%v), want %q", name, got, err, want)
		}
	}
	if info, err := tree.Lstat("/etc/locked"); err != nil || info.Mode != owned.Mode || info.UID != owned.UID {
		t.Errorf("/etc/locked is %v of %d (%v), want %v of %d", info.Mode, info.UID, err, owned.Mode, owned.UID)
	}
}
