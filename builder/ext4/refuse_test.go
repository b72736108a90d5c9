package ext4

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kerngate/kerngate/builder/rootfs"
)

func TestRefusedEditsLeaveTheImageAlone(t *testing.T) {
	image := newFixtures(t).copyOf(t, setNamed(t, "default_4k"))
	before := hashFile(t, image)
	good := writeEdit("/etc/good", 0o644, []byte("x"))
	with := func(change func(e *rootfs.Edit)) []rootfs.Edit {
		e := good
		change(&e)
		return []rootfs.Edit{good, e}
	}
	path := func(name string) []rootfs.Edit { return with(func(e *rootfs.Edit) { e.Path = name }) }
	xattr := func(name string, size int) []rootfs.Edit {
		return with(func(e *rootfs.Edit) { e.Xattrs = map[string][]byte{name: make([]byte, size)} })
	}
	for _, c := range []struct {
		name  string
		edits []rootfs.Edit
		is    error  // nil for any
		want  string // part of the text
	}{
		{"absent parent", path("/absent/x"), fs.ErrNotExist, "parent directory"},
		{"parent is a link", path("/links/fast/x"), rootfs.ErrSymlink, "/links/fast/x"},
		{"parent is a file", path("/etc/hosts/x"), syscall.ENOTDIR, "parent"},
		{"parent is below a file", path("/etc/hosts/x/y"), syscall.ENOTDIR, "parent"},
		{"file over directory", path("/etc"), fs.ErrExist, "holds a directory"},
		{"relative name", path("etc/x"), fs.ErrInvalid, "rooted"},
		{"unclean name", path("/etc/../x"), fs.ErrInvalid, "clean"},
		{"line break in name", path("/etc/a\nb"), fs.ErrInvalid, "line break"},
		{"carriage return in name", path("/etc/a\rb"), fs.ErrInvalid, "line break"},
		{"zero byte in name", path("/etc/a\x00b"), fs.ErrInvalid, "zero byte"},
		{"name too long", path("/etc/" + strings.Repeat("n", maxNameLen+1)), fs.ErrInvalid, "256 bytes"},
		{"root as a file", path("/"), nil, "root directory"},
		{"unknown operation", with(func(e *rootfs.Edit) { e.Op = "link" }), nil, `operation is "link"`},
		{"type bits in mode", with(func(e *rootfs.Edit) { e.Mode |= fs.ModeDevice }), nil, "permission bits only"},
		{"no modification time", with(func(e *rootfs.Edit) { e.ModTime = time.Time{} }), nil, "modification time"},
		{"modification time too late", with(func(e *rootfs.Edit) { e.ModTime = time.Unix(1<<34, 0) }), nil, "modification time"},
		{"mkdir over file", with(func(e *rootfs.Edit) { e.Op, e.Path = rootfs.Mkdir, "/etc/hosts" }), fs.ErrExist, "something else"},
		{"modify absent", with(func(e *rootfs.Edit) { e.Op, e.Path = rootfs.SetAttributes, "/etc/absent" }), fs.ErrNotExist, "modify /etc/absent"},
		{"modify a link", with(func(e *rootfs.Edit) { e.Op, e.Path = rootfs.SetAttributes, "/links/fast" }), nil, "it is a symbolic link"},
		{"modify with too much", with(func(e *rootfs.Edit) {
			e.Op, e.Path, e.Xattrs = rootfs.SetAttributes, "/etc/hosts", map[string][]byte{"user.x": make([]byte, 4096)}
		}), ErrNoSpace, "attributes need"},
		{"append to nothing", []rootfs.Edit{good, appendEdit("/etc/absent", 0, nil)}, fs.ErrNotExist, "append /etc/absent"},
		{"append to a directory", []rootfs.Edit{good, appendEdit("/etc/empty.d", 0, nil)}, fs.ErrExist, "holds a directory"},
		{"append to a link", []rootfs.Edit{good, appendEdit("/links/fast", 0, nil)}, nil, "it is a symbolic link"},
		{"append keeps too much", []rootfs.Edit{good, appendEdit("/etc/hosts", 21, nil)}, nil, "21 bytes shall stay, the file has 20"},
		{"append keeps less than nothing", []rootfs.Edit{good, appendEdit("/etc/hosts", -1, nil)}, nil, "-1 bytes shall stay"},
		{"append keeps too much of what was made", []rootfs.Edit{good, appendEdit("/etc/good", 2, nil)}, nil, "2 bytes shall stay, the file has 1"},
		{"append to what was removed", []rootfs.Edit{{Op: rootfs.Remove, Path: "/empty"}, appendEdit("/empty", 0, nil)}, fs.ErrNotExist, "append /empty"},
		{"remove absent", with(func(e *rootfs.Edit) { e.Op, e.Path = rootfs.Remove, "/etc/absent" }), fs.ErrNotExist, "remove /etc/absent"},
		{"remove full directory", with(func(e *rootfs.Edit) { e.Op, e.Path = rootfs.Remove, "/etc" }), syscall.ENOTEMPTY, "names"},
		{"remove what is already removed", []rootfs.Edit{{Op: rootfs.Remove, Path: "/empty"}, {Op: rootfs.Remove, Path: "/empty"}}, fs.ErrNotExist, "/empty"},
		{"empty link target", with(func(e *rootfs.Edit) { e.Op = rootfs.Symlink }), nil, "link target"},
		{"link target too long", with(func(e *rootfs.Edit) { e.Op, e.Target = rootfs.Symlink, strings.Repeat("x", 4096) }), nil, "4096 bytes"},
		{"line break in link target", with(func(e *rootfs.Edit) { e.Op, e.Target = rootfs.Symlink, "a\nb" }), nil, "link target"},
		{"command too long", with(func(e *rootfs.Edit) { e.Op, e.Target = rootfs.Symlink, strings.Repeat(`"`, 4090) }), nil, "debugfs cannot take"},
		{"unknown attribute", xattr("fancy.name", 1), nil, "fancy.name"},
		{"inline data as attribute", xattr("system.data", 1), nil, "system.data"},
		{"attribute larger than a block", xattr("user.x", 4097), ErrUnsupported, "4097"},
		{"attribute larger than its room", xattr("user.x", 4096), ErrNoSpace, "attributes need"},
		{"no blocks", with(func(e *rootfs.Edit) { e.Data = make([]byte, fixtureBytes) }), ErrNoSpace, "free blocks"},
		{"no inodes", tooManyFiles(), ErrNoSpace, "free inodes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Edit(context.Background(), image, 0, c.edits)
			if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %v with %q", err, c.is, c.want)
			}
			if hashFile(t, image) != before {
				t.Fatal("the image changed")
			}
		})
	}
}

func tooManyFiles() []rootfs.Edit {
	var edits []rootfs.Edit
	for i := range 6000 {
		edits = append(edits, writeEdit(fmt.Sprintf("/etc/f%d", i), 0o644, nil))
	}
	return edits
}

func TestNoSpaceSaysHowMuch(t *testing.T) {
	image := newFixtures(t).copyOf(t, setNamed(t, "default_4k"))
	free, _, err := openImage(t, image, 0).Free()
	must(t, err)
	data := make([]byte, (free+1)*4096)
	var space *NoSpaceError
	if err := Edit(context.Background(), image, 0, []rootfs.Edit{writeEdit("/big", 0o644, data)}); !errors.As(err, &space) {
		t.Fatalf("error is %v, want a NoSpaceError", err)
	}
	if space.Resource != "blocks" || space.Got != free || space.Want <= free {
		t.Errorf("error is %+v, want %d blocks got and more wanted", space, free)
	}
}

// TestFullFileSystem fills up to the margin: what the estimate lets pass must fit.
func TestFullFileSystem(t *testing.T) {
	for _, name := range []string{"default_4k", "default_1k", "no_extents", "bigalloc"} {
		t.Run(name, func(t *testing.T) {
			image := newFixtures(t).copyOf(t, setNamed(t, name))
			size := int64(fixtureBytes)
			var space *NoSpaceError
			for {
				err := Edit(context.Background(), image, 0, []rootfs.Edit{writeEdit("/fill", 0o644, randomBytes(50, int(size)))})
				if err == nil {
					break
				}
				if !errors.As(err, &space) {
					t.Fatal(err)
				}
				size -= int64(space.Want-space.Got) * openImage(t, image, 0).sb.BlockSize
			}
			if out, code := e2tool(t, "e2fsck", "-fn", image); code != 0 {
				t.Errorf("e2fsck -fn exits with %d: %s", code, out)
			}
			free, _, err := openImage(t, image, 0).Free()
			must(t, err)
			t.Logf("%d bytes written, %d blocks left", size, free)
			if space == nil {
				t.Error("the image was never too small")
			}
			// The room of what is replaced counts.
			must(t, Edit(context.Background(), image, 0, []rootfs.Edit{writeEdit("/fill", 0o644, randomBytes(51, int(size)))}))
		})
	}
}

func TestNoE2fsprogs(t *testing.T) {
	image := newFixtures(t).copyOf(t, setNamed(t, "default_4k"))
	before := hashFile(t, image)
	edits := []rootfs.Edit{writeEdit("/x", 0o644, nil)}
	half := t.TempDir()
	writeTestFile(t, filepath.Join(half, "debugfs"), []byte("#!/bin/sh\n"), 0o755)
	for _, c := range []struct {
		dirs []string
		want string
	}{
		{nil, "debugfs"},
		{[]string{t.TempDir()}, "debugfs"},
		{[]string{half}, "e2fsck"},
	} {
		if err := edit(context.Background(), c.dirs, image, 0, nil, edits); !errors.Is(err, ErrNoE2fsprogs) || !strings.Contains(err.Error(), "no "+c.want) {
			t.Errorf("error is %v, want %v for %s", err, ErrNoE2fsprogs, c.want)
		}
	}
	if hashFile(t, image) != before {
		t.Error("the image changed")
	}
}

// A debugfs that complains, and an e2fsck that gives up, must both be errors.
func TestProgramsThatComplain(t *testing.T) {
	fix := newFixtures(t)
	progs, err := findPrograms(searchDirs())
	must(t, err)
	for _, c := range []struct{ name, debugfs, e2fsck, want string }{
		{"debugfs says something", "echo 'debugfs 1.47.0 (5-Feb-2023)' >&2; echo 'write: it went wrong' >&2", "exit 0", "it went wrong"},
		{"debugfs does nothing", "echo 'debugfs 1.47.0 (5-Feb-2023)' >&2", "exit 0", "cannot confirm /x"},
		{"e2fsck gives up", "exec " + progs.debugfs + ` "$@"`, "echo UNEXPECTED; exit 4", "exit code is 4"},
		{"debugfs dies", "kill -9 $$", "exit 0", "cannot run debugfs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			writeTestFile(t, filepath.Join(dir, "debugfs"), []byte("#!/bin/sh\n"+c.debugfs+"\n"), 0o755)
			writeTestFile(t, filepath.Join(dir, "e2fsck"), []byte("#!/bin/sh\n"+c.e2fsck+"\n"), 0o755)
			image := fix.copyOf(t, setNamed(t, "default_4k"))
			err := edit(context.Background(), []string{dir}, image, 0, nil, []rootfs.Edit{writeEdit("/x", 0o644, []byte("x"))})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestUnsupportedFeaturesAreNamed(t *testing.T) {
	fix := newFixtures(t)
	edits := []rootfs.Edit{writeEdit("/x", 0o644, nil)}
	for _, c := range []struct {
		feature  string
		readable bool
	}{
		{"shared_blocks", true}, {"FEATURE_R20", true}, {"FEATURE_C30", true}, {"read-only", true},
		{"FEATURE_I30", false}, {"dirdata", false}, {"journal_dev", false},
	} {
		t.Run(c.feature, func(t *testing.T) {
			image := fix.copyOf(t, setNamed(t, "no_csum"))
			setFeature(t, image, c.feature)
			before := hashFile(t, image)
			err := Edit(context.Background(), image, 0, edits)
			if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), c.feature) {
				t.Errorf("Edit: error is %v, want %v naming %s", err, ErrUnsupported, c.feature)
			}
			if hashFile(t, image) != before {
				t.Error("the image changed")
			}
			data, err := os.ReadFile(image)
			must(t, err)
			_, err = Open(strings.NewReader(string(data)), int64(len(data)))
			if c.readable != (err == nil) || err != nil && !strings.Contains(err.Error(), c.feature) {
				t.Errorf("Open: error is %v, readable should be %t", err, c.readable)
			}
		})
	}
}

// setFeature sets a bit in a superblock without checksum.
func setFeature(t *testing.T, image, feature string) {
	t.Helper()
	for word, names := range map[int64]func(int) string{0x5C: compatNames, 0x60: incompatNames, 0x64: roCompatNames} {
		for bit := range 32 {
			fallback := map[int64]string{0x5C: "FEATURE_C", 0x60: "FEATURE_I", 0x64: "FEATURE_R"}[word]
			if featureName(names, fallback, bit) != feature {
				continue
			}
			file, err := os.OpenFile(image, os.O_RDWR, 0)
			must(t, err)
			defer file.Close()
			b := make([]byte, 1)
			at := superblockOffset + word + int64(bit/8)
			_, err = file.ReadAt(b, at)
			must(t, err)
			b[0] |= 1 << (bit % 8)
			_, err = file.WriteAt(b, at)
			must(t, err)
			return
		}
	}
	t.Fatalf("no feature %q", feature)
}

func TestSpecialDirectories(t *testing.T) {
	fix := newFixtures(t)
	for _, c := range []struct{ set, feature, flags string }{
		{"casefold", "casefold", "0x40080000"},
		{"encrypt", "encrypt", "0x80800"},
	} {
		t.Run(c.set, func(t *testing.T) {
			image := fix.copyOf(t, setNamed(t, c.set))
			debugfsScript(t, image, "sif /etc/empty.d flags "+c.flags)
			before := hashFile(t, image)
			err := Edit(context.Background(), image, 0, []rootfs.Edit{writeEdit("/etc/empty.d/x", 0o644, nil)})
			if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), c.feature) {
				t.Errorf("error is %v, want %v naming %s", err, ErrUnsupported, c.feature)
			}
			if hashFile(t, image) != before {
				t.Error("the image changed")
			}
			if _, err := openImage(t, image, 0).Lstat("/etc/empty.d"); err != nil {
				t.Errorf("Lstat of the directory: %v", err)
			}
		})
	}
}

func TestNotAFileSystem(t *testing.T) {
	image := filepath.Join(t.TempDir(), "zeros")
	writeTestFile(t, image, make([]byte, 1<<20), 0o644)
	edits := []rootfs.Edit{writeEdit("/x", 0o644, nil)}
	for _, offset := range []int64{0, 4096, 1<<20 - 10, 1 << 20} {
		if err := Edit(context.Background(), image, offset, edits); !errors.Is(err, ErrNotExt4) {
			t.Errorf("offset %d: error is %v, want %v", offset, err, ErrNotExt4)
		}
	}
	for _, offset := range []int64{-1, 1<<20 + 1} {
		if err := Edit(context.Background(), image, offset, edits); err == nil || !strings.Contains(err.Error(), "offset is") {
			t.Errorf("offset %d: error is %v, want it refused", offset, err)
		}
	}
	if err := Edit(context.Background(), image+"-absent", 0, edits); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent image: error is %v", err)
	}
}
