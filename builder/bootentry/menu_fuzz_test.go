package bootentry_test

import (
	"bytes"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/bootentry"
)

const newKernel, oldKernel = "7.2.12+deb14-amd64", "6.12.107+deb13-amd64"

// fuzzMenu promotes in a tree in which one file has any content, and holds what is true
// of every result.
func fuzzMenu(t *testing.T, name string, data []byte, mode bootentry.Mode, beside memory) {
	tree := memory{name: data, "/boot/vmlinuz-" + newKernel: []byte("k"), "/boot/vmlinuz-" + oldKernel: []byte("k")}
	maps.Copy(tree, beside)
	c, err := bootentry.Read(tree)
	if err != nil {
		t.Fatal(err)
	}
	w := bootentry.Wish{Allowed: []string{newKernel}, Barred: []string{oldKernel, "6.1.0-30-amd64"}, Mode: mode}
	p, err := c.Promote(w)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Refusals) > 0 {
		return
	}
	after := maps.Clone(tree)
	for _, e := range p.Edits {
		if after[e.Path] = e.Data; e.Delete {
			delete(after, e.Path)
		}
	}
	c, err = bootentry.Read(after)
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Menu(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range m.Loaders {
		for _, n := range l.Default {
			if slices.ContainsFunc(l.Items, func(i bootentry.MenuItem) bool { return i.Linux }) && !slices.Equal(l.Items[n].Releases, []string{newKernel}) {
				t.Errorf("%s %s starts %v, want only %s", l.Loader, l.Path, l.Items[n], newKernel)
			}
		}
	}
	if p, err := c.Promote(w); err != nil || len(p.Edits)+len(p.Refusals) > 0 {
		t.Errorf("a second time: edits %v, refusals %v, %v", p.Edits, p.Refusals, err)
	}
	edits, gone, err := c.Restore(p.Added)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range edits {
		if after[e.Path] = e.Data; e.Delete {
			delete(after, e.Path)
		}
	}
	maps.DeleteFunc(after, func(name string, _ []byte) bool { return slices.Contains(bootentry.MenuFiles(), name) })
	if len(gone) == 0 && !maps.EqualFunc(after, tree, bytes.Equal) {
		t.Errorf("taken back %v, the tree is %q, want %q", p.Added, after, tree)
	}
}

// addMenuSeeds takes the files of the trees in testdata whose name has a part, and
// holds that each makes a menu that starts Linux.
func addMenuSeeds(f *testing.F, part, as string, beside memory) {
	f.Helper()
	names, err := filepath.Glob("testdata/menu/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	seeds := 0
	for _, name := range names {
		for path, data := range archiveFiles(f, name) {
			if strings.Contains(path, "vmlinuz") || !strings.Contains(path, part) {
				continue
			}
			tree := memory{as: data, "/boot/vmlinuz-" + newKernel: []byte("k"), "/boot/vmlinuz-" + oldKernel: []byte("k")}
			maps.Copy(tree, beside)
			m := menuOf(f, read(f, tree))
			if len(m.Loaders) == 1 && slices.ContainsFunc(m.Loaders[0].Items, func(i bootentry.MenuItem) bool { return i.Linux }) {
				f.Add(data, byte(seeds))
				seeds++
			}
		}
	}
	if seeds < 3 {
		f.Fatalf("%d seeds make a menu, want at least 3", seeds)
	}
}

func modeOf(b byte) bootentry.Mode {
	return []bootentry.Mode{bootentry.RemoveEntries, bootentry.DemoteEntries}[b%2]
}

func FuzzMenuGrub(f *testing.F) {
	addMenuSeeds(f, "boot/grub/grub.cfg", "/boot/grub/grub.cfg", nil)
	f.Fuzz(func(t *testing.T, data []byte, mode byte) {
		fuzzMenu(t, "/boot/grub/grub.cfg", data, modeOf(mode), nil)
	})
}

func FuzzMenuSyslinux(f *testing.F) {
	addMenuSeeds(f, "linux/", "/boot/syslinux/syslinux.cfg", nil)
	f.Fuzz(func(t *testing.T, data []byte, mode byte) {
		fuzzMenu(t, "/boot/syslinux/syslinux.cfg", data, modeOf(mode), nil)
	})
}

func FuzzMenuLoaderConf(f *testing.F) {
	beside := memory{}
	for release, name := range map[string]string{newKernel: "b", oldKernel: "a+3"} {
		beside["/efi/0/"+release+"/linux"] = []byte("k")
		beside["/efi/loader/entries/"+name+".conf"] = []byte("title x\nlinux /0/" + release + "/linux\n")
	}
	addMenuSeeds(f, "loader.conf", "/efi/loader/loader.conf", beside)
	f.Fuzz(func(t *testing.T, data []byte, mode byte) {
		fuzzMenu(t, "/efi/loader/loader.conf", data, modeOf(mode), beside)
	})
}

func FuzzMenuGrubEnv(f *testing.F) {
	cfg := archiveFiles(f, "testdata/menu/debian-saved-demote.txtar")["boot/grub/grub.cfg"]
	beside := memory{"/boot/grub/grub.cfg": cfg}
	addMenuSeeds(f, "grubenv", "/boot/grub/grubenv", beside)
	f.Fuzz(func(t *testing.T, data []byte, mode byte) {
		fuzzMenu(t, "/boot/grub/grubenv", data, modeOf(mode), beside)
	})
}

func FuzzMenuRestore(f *testing.F) {
	f.Add("default=a,b gone=c", []byte("default a\n"))
	f.Fuzz(func(t *testing.T, words string, data []byte) {
		tree := memory{"/boot/loader/loader.conf": data, "/boot/grub/grub.cfg": data, "/boot/grub/grubenv": data, "/etc/default/grub": data}
		for name := range tree {
			_, _, _ = read(t, tree).Restore(map[string]string{name: words})
		}
	})
}
