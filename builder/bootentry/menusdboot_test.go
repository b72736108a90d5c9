package bootentry_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/bootentry"
)

// sdTree is an ESP with loader.conf and entries, each "NAME: LINES" with / for the end of
// a line and the kernels that they start.
func sdTree(conf string, entries ...string) memory {
	tree := memory{"/efi/EFI/systemd/systemd-bootx64.efi": nil, "/efi/loader/loader.conf": []byte(conf)}
	for _, e := range entries {
		name, lines, _ := strings.Cut(e, ": ")
		if lines == "" {
			lines = "linux \\vmlinuz"
		}
		lines = strings.ReplaceAll(strings.ReplaceAll(lines, "/", "\n"), `\`, "/")
		tree["/efi/loader/entries/"+name] = []byte(lines + "\n")
		for line := range strings.Lines(lines) {
			if fields := strings.Fields(line); len(fields) == 2 && strings.HasPrefix(fields[1], "/") {
				tree["/efi"+fields[1]] = []byte("k")
			}
		}
	}
	return tree
}

// ids are the names of items.
func ids(l bootentry.LoaderMenu, list []int) (out []string) {
	for _, n := range list {
		out = append(out, l.Items[n].ID)
	}
	return out
}

// TestSystemdBootDefaults: what starts by default and after failures, as
// src/boot/boot.c of systemd chooses. Several are versions that differ.
func TestSystemdBootDefaults(t *testing.T) {
	for _, c := range []struct {
		name, conf  string
		entries     []string
		want, after string // IDs with blanks between
		unknown     string
	}{
		{"no attempts left goes to the end", "", []string{"z+0-3.conf", "b.conf", "a.conf"}, "b.conf", "", ""},
		{"no attempts left, and alone", "", []string{"z+0-3.conf"}, "z+0-3.conf", "", ""},
		{"no attempts left, before a program", "", []string{"z+0.conf", "a.conf: efi \\memtest.efi"}, "a.conf", "", ""},
		{"default names one without attempts", "default z*\n", []string{"z+0-3.conf", "b.conf"}, "z+0-3.conf", "", ""},
		{"default names another one first", "default *.conf\n", []string{"z+0-3.conf", "b.conf"}, "b.conf", "", ""},
		{"default without the counters", "default z.conf\n", []string{"z+0-3.conf", "b.conf"}, "b.conf z+0-3.conf", "", ""},
		{"default with the counters", "default b+3.conf\n", []string{"z.conf", "b+3.conf"}, "b+3.conf z.conf", "", ""},
		{"default with the counters of now", "default b+3.conf\n", []string{"b+3.conf", "a.conf"}, "b+3.conf", "a.conf", ""},
		{"preferred passes over no attempts left", "preferred z*\n", []string{"z+0-3.conf", "b.conf"}, "b.conf", "", ""},
		{"preferred is of newer versions", "preferred a*\ndefault b*\n", []string{"a.conf", "b.conf", "c.conf"}, "b.conf a.conf", "", ""},
		{"preferred until it has failed", "preferred a*\ndefault b*\n", []string{"a+1.conf", "b.conf", "c.conf"}, "b.conf a+1.conf", "", ""},
		{"preferred until it has failed, and then the first", "preferred a*\n", []string{"a+1.conf", "b.conf"}, "b.conf a+1.conf", "", ""},
		{"one after the other fails", "", []string{"c+3.conf", "b+2-1.conf", "a2.conf", "a1.conf"}, "c+3.conf", "b+2-1.conf a2.conf", ""},
		{"all fail", "", []string{"c+3.conf", "b+1.conf"}, "c+3.conf", "b+1.conf", ""},
		{"a pattern holds after failures", "default c*\n", []string{"c+3.conf", "b.conf"}, "c+3.conf", "", ""},
		{"a pattern goes on to the next", "default c*\n", []string{"c2+3.conf", "c1.conf", "b.conf"}, "c2+3.conf", "c1.conf", ""},
		{"more attempts left first", "", []string{"x+1-2.conf: linux \\k/sort-key a/version 1", "x+2-1.conf: linux \\k/sort-key a/version 1"}, "x+2-1.conf", "x+1-2.conf", ""},
		{"counters move an ID", "", []string{"a+3.conf", "a2.conf"}, "a+3.conf a2.conf", "", ""},
		{"counters of no digits", "", []string{"b+x.conf", "a+3-.conf"}, "b+x.conf", "", ""},

		{"an id without .conf", "default a\n", []string{"a.conf", "b.conf"}, "b.conf", "", ""},
		{"another case", "default A.CONF\n", []string{"a.conf", "b.conf"}, "a.conf", "", ""},
		{"another case of the name", "default a.conf\n", []string{"A.conf", "b.conf"}, "A.conf", "", ""},
		{"the last default", "default b.conf\ndefault a.conf\n", []string{"a.conf", "b.conf"}, "a.conf", "", ""},
		{"the last default has no value", "default a.conf\ndefault\n", []string{"a.conf", "b.conf"}, "a.conf", "", ""},
		{"the last default names nothing", "default a.conf\ndefault x.conf\n", []string{"a.conf", "b.conf"}, "b.conf", "", ""},
		{"a word with @ that is not known", "default a.conf\ndefault @newest\n", []string{"a.conf", "b.conf"}, "b.conf a.conf", "", ""},
		{"double quotes", "default \"a.conf\"\n", []string{"a.conf", "b.conf"}, "a.conf", "", ""},
		{"single quotes", "default 'a.conf'\n", []string{"a.conf", "b.conf"}, "b.conf a.conf", "", ""},
		{"one quote", "default \"\n", []string{"a.conf", "b.conf"}, "b.conf", "", ""},
		{"a key in capitals", "DEFAULT a.conf\n", []string{"a.conf", "b.conf"}, "b.conf", "", ""},
		{"a remark", "#default a.conf\n", []string{"a.conf", "b.conf"}, "b.conf", "", ""},
		{"a carriage return ends a line", "timeout 3\rdefault a.conf\n", []string{"a.conf", "b.conf"}, "a.conf", "", ""},
		{"lines as on Windows", "timeout 3\r\ndefault a.conf\r\n", []string{"a.conf", "b.conf"}, "a.conf", "", ""},
		{"a question mark", "default a?conf\n", []string{"a.conf", "b.conf"}, "a.conf", "", ""},
		{"a set", "default [xa].conf\n", []string{"a.conf", "b.conf"}, "a.conf", "", ""},
		{"a set with a range", "default [0-a].conf\n", []string{"a.conf", "b.conf"}, "a.conf", "", ""},
		{"a range the wrong way round", "default [c-a].conf\n", []string{"b.conf", "d.conf"}, "d.conf", "", ""},
		{"a set that nothing negates", "default [!b].conf\n", []string{"a.conf", "b.conf", "c.conf"}, "b.conf", "", ""},
		{"a set with a bracket", "default []a].conf\n", []string{"a.conf", "b.conf"}, "a.conf", "", ""},
		{"a set with a backslash", "default [\\a-\\b].conf\n", []string{"b.conf", "c.conf"}, "b.conf", "", ""},
		{"a set with a dash at its end", "default [a-].conf\n", []string{"-.conf", "b.conf"}, "-.conf", "", ""},
		{"a set with a dash behind a range", "default [a-b-d].conf\n", []string{"c.conf", "d.conf", "e.conf"}, "d.conf", "", ""},
		{"a set without an end", "default [a\n", []string{"[a", "a.conf", "b.conf"}, "b.conf", "", ""},
		{"a backslash", "default \\a.conf\n", []string{"a.conf", "b.conf"}, "a.conf", "", ""},
		{"a backslash at the end", "default a.conf\\\n", []string{"a.conf", "b.conf"}, "b.conf", "", ""},
		{"a dot is a dot", "default a.c.nf\n", []string{"a.conf", "b.conf"}, "b.conf", "", ""},

		{"what was started last", "default @saved\n", []string{"a.conf"}, "a.conf", "", "@saved"},
		{"what was started last, in capitals", "default @SAVED\n", []string{"a.conf"}, "a.conf", "", "@saved"},
		{"preferred what was started last", "preferred @saved\n", []string{"a.conf"}, "a.conf", "", "@saved"},
		{"what the machine has", "default auto-win*\n", []string{"a.conf"}, "a.conf", "", "finds on the machine"},
		{"a profile of an image", "default a.efi@1\n", []string{"a.conf"}, "a.conf", "", "profile of an image"},
		{"a zero byte", "default a.conf\n\x00default b.conf\n", []string{"a.conf", "b.conf"}, "a.conf", "", "zero byte"},

		{"a pattern without an end", "default " + strings.Repeat("*", 1025) + "\n", []string{"a.conf"}, "a.conf", "", "more than 1024 bytes"},
		{"a long pattern", "default " + strings.Repeat("*", 1023) + "a\n", []string{"a.conf", "b.conf"}, "b.conf", "", ""},

		{"another architecture", "default b.conf\n", []string{"a.conf", "b.conf: architecture aa64/linux \\k"}, "a.conf", "", ""},
		{"another architecture behind", "", []string{"a.conf", "b.conf: linux \\k/architecture IA32"}, "a.conf", "", ""},
		{"this architecture", "", []string{"a.conf", "b.conf: architecture x64/linux \\k"}, "b.conf", "", ""},
		{"this architecture, and another", "", []string{"a.conf", "b.conf: architecture x64/architecture aa64/linux \\k"}, "a.conf", "", ""},
		{"older versions tell cases apart", "", []string{"a.conf", "b.conf: architecture X64/linux \\k"}, "b.conf a.conf", "", ""},
		{"none is for this machine", "", []string{"b.conf: architecture aa64/linux \\k"}, "", "", "for another machine"},

		{"a program sorts first", "", []string{"a.conf", "memtest.conf: efi \\memtest.efi"}, "memtest.conf", "", ""},
		{"a hidden name", "default .z.conf\n", []string{"a.conf", ".z.conf", "auto-x.conf"}, "a.conf", "", ""},
		{"two programs", "", []string{"a.conf", "b.conf: linux \\k/efi \\l"}, "b.conf a.conf", "", ""},
		{"two programs, and the last is missing", "", []string{"a.conf", "b.conf: linux \\k/uki l"}, "b.conf a.conf", "", ""},
		{"a program twice", "", []string{"a.conf", "b.conf: linux \\k/linux \\k"}, "b.conf", "", ""},
		{"a program without a value", "", []string{"a.conf", "b.conf: linux \\k/linux"}, "b.conf", "", ""},
		{"an image on a network", "", []string{"a.conf", "b.conf: uki-url http:x"}, "b.conf a.conf", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := menuOf(t, read(t, sdTree(c.conf, c.entries...)))
			if len(m.Loaders) != 1 {
				t.Fatalf("%d boot loaders, want 1", len(m.Loaders))
			}
			l := m.Loaders[0]
			if got := strings.Join(ids(l, l.Default), " "); got != c.want {
				t.Errorf("default %q, want %q", got, c.want)
			}
			if got := strings.Join(ids(l, l.Fallback), " "); got != c.after {
				t.Errorf("after failures %q, want %q", got, c.after)
			}
			if (l.Unknown == "") != (c.unknown == "") || !strings.Contains(l.Unknown, c.unknown) {
				t.Errorf("unknown %q, want %q", l.Unknown, c.unknown)
			}
			spent := slices.ContainsFunc(l.Default, func(n int) bool { return l.Items[n].Spent })
			if noted := slices.ContainsFunc(m.Notes, func(n string) bool { return strings.Contains(n, "no boot attempts left") }); noted != spent {
				t.Errorf("notes %q, want one of attempts: %t", m.Notes, spent)
			}
		})
	}
}

// TestMachineOfEntries: without systemd-boot's program the image says for which machine
// the entries are, or they do.
func TestMachineOfEntries(t *testing.T) {
	image := makeUKI(t, osrel(), uname(), cmdline("ro"), linux())
	for _, c := range []struct {
		name    string
		more    memory
		entries []string
		want    string
		maybe   bool
	}{
		{"a program of another name", memory{"/efi/EFI/BOOT/BOOTAA64.EFI": nil}, []string{"a.conf: architecture aa64/linux \\k", "b.conf: architecture x64/linux \\k"}, "a.conf", false},
		{"two programs", memory{"/efi/EFI/BOOT/BOOTAA64.EFI": nil, "/efi/EFI/BOOT/BOOTX64.EFI": nil}, []string{"a.conf: architecture aa64/linux \\k"}, "a.conf", true},
		{"two programs and an image", memory{"/efi/EFI/Linux/i.efi": image, "/efi/EFI/BOOT/BOOTAA64.EFI": nil, "/efi/EFI/BOOT/BOOTX64.EFI": nil}, []string{"a.conf: architecture x64/linux \\k"}, "i.efi a.conf", false},
		{"an image", memory{"/efi/EFI/Linux/i.efi": image}, []string{"a.conf: architecture aa64/linux \\k", "b.conf: architecture x64/linux \\k"}, "i.efi b.conf", false},
		{"an image of another machine", memory{"/efi/EFI/Linux/i.efi": image, "/efi/EFI/BOOT/BOOTAA64.EFI": nil}, []string{"a.conf"}, "a.conf", false},
		{"images of hidden names", memory{"/efi/EFI/Linux/.i.efi": image, "/efi/EFI/Linux/auto-i.efi": image}, []string{"a.conf"}, "a.conf", false},
		{"all entries say the same", nil, []string{"a.conf: architecture aa64/linux \\k", "b.conf: architecture aa64/linux \\k"}, "b.conf a.conf", false},
		{"some entries say so", nil, []string{"a.conf: architecture aa64/linux \\k", "b.conf"}, "b.conf a.conf", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := sdTree("timeout 3\n", c.entries...)
			delete(tree, "/efi/EFI/systemd/systemd-bootx64.efi")
			for name, data := range c.more {
				tree[name] = data
			}
			l := menuOf(t, read(t, tree)).Loaders[0]
			var all []int
			maybe := false
			for n, i := range l.Items {
				all, maybe = append(all, n), maybe || i.Maybe
			}
			if got := strings.Join(ids(l, all), " "); got != c.want || maybe != c.maybe {
				t.Errorf("entries %q, some maybe: %t, want %q and %t", got, maybe, c.want, c.maybe)
			}
		})
	}
}

// TestPromoteSystemdBoot: the entry that is made the default, and what cannot be.
func TestPromoteSystemdBoot(t *testing.T) {
	const other = "7.1.5-amd64"
	old, new, third := "linux \\vmlinuz-"+oldKernel, "linux \\vmlinuz-"+newKernel, "linux \\vmlinuz-"+other
	for _, c := range []struct {
		name, conf string
		entries    []string
		want       string // loader.conf after; empty: as before
		refused    string
	}{
		{"used up attempts give way", "default old*\n", []string{"new+0-3.conf: " + new, "third.conf: " + third, "old.conf: " + old}, "default third.conf\n", ""},
		{"used up attempts, and no other", "default old*\n", []string{"new+0-3.conf: " + new, "old.conf: " + old}, "default new*.conf\n", ""},
		{"a default with used up attempts", "default new*\n", []string{"new+0-3.conf: " + new, "third.conf: " + third}, "default third.conf\n", ""},
		{"not what the machine does not show", "default old*\n", []string{"new.conf: architecture aa64/" + new, "third.conf: " + third, "old.conf: " + old}, "default third.conf\n", ""},
		{"not what it may not show", "default old*\n", []string{"new.conf: architecture X64/" + new, "third.conf: " + third, "old.conf: " + old}, "default third.conf\n", ""},
		{"a word with @ that is not known", "default old.conf\ndefault @newest\n", []string{"new.conf: " + new, "old.conf: " + old}, "default old.conf\ndefault new.conf\n", ""},
		{"a chain of failures", "", []string{"z+3.conf: " + new, "y+3.conf: " + third, "x.conf: " + old}, "default z*.conf\n", ""},
		{"a kernel that is a program", "", []string{"z.conf: efi \\vmlinuz-" + oldKernel, "a.conf: " + new}, "default a.conf\n", ""},
		{"a program sorts first", "", []string{"memtest.conf: efi \\memtest.efi", "a.conf: " + new}, "default a.conf\n", ""},
		{"a name with @", "default old*\n", []string{"@new.conf: " + new, "old.conf: " + old}, "", "no pattern of loader.conf names it alone"},
		{"a name in quotes", "default old*\n", []string{"'new.conf: " + new, "old.conf: " + old}, "", "no pattern of loader.conf names it alone"},
		{"a name that another begins with", "default old*\n", []string{"new+1.conf: " + new, "new-2.conf: " + old}, "", "no pattern of loader.conf names it alone"},
		{"a zero byte", "default old.conf\n\x00", []string{"new.conf: " + new, "old.conf: " + old}, "", "it has a zero byte, where systemd-boot stops reading"},
		{"none is for this machine", "", []string{"new.conf: architecture aa64/" + new}, "", "nobody can tell what systemd-boot starts: all its entries are for another machine"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := bootentry.Wish{Allowed: []string{newKernel, other}, Barred: []string{oldKernel}, Mode: bootentry.DemoteEntries}
			p := promote(t, read(t, sdTree(c.conf, c.entries...)), w)
			got := ""
			for _, e := range p.Edits {
				got += string(e.Data)
			}
			why := ""
			for _, r := range p.Refusals {
				why += r.Why
			}
			if got != c.want || (why == "") != (c.refused == "") || !strings.Contains(why, c.refused) {
				t.Errorf("loader.conf becomes %q, refused %q, want %q and %q", got, why, c.want, c.refused)
			}
		})
	}
}

// TestImagesWithOtherKernels: systemd-boot takes every program with an .osrel section for an
// entry, and the first profile of an image for the image.
func TestImagesWithOtherKernels(t *testing.T) {
	second := section{".ename", 0x102000, []byte(newKernel)} // objcopy adds no section twice
	for _, c := range []struct {
		name             string
		image            []byte
		want             string
		isLinux, unnamed bool
	}{
		{"a program", makeUKI(t, osrel()), "z.efi", false, false},
		{"a kernel", makeUKI(t, osrel(), uname(), cmdline("ro"), linux()), "z.efi", true, false},
		{"two kernels", makeUKI(t, osrel(), uname(), second, cmdline("ro"), linux()), "z.efi", true, true},
		{"neither kernel nor description", makeUKI(t, cmdline("ro")), "a.conf", true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := sdTree("", "a.conf: linux \\vmlinuz-"+newKernel)
			tree["/efi/loader/entries/a.conf"] = append(tree["/efi/loader/entries/a.conf"], "sort-key z\n"...)
			tree["/efi/EFI/Linux/z.efi"] = bytes.ReplaceAll(c.image, []byte(".ename\x00"), []byte(".uname\x00"))
			l := menuOf(t, read(t, tree)).Loaders[0]
			if got := strings.Join(ids(l, l.Default), " "); got != c.want {
				t.Fatalf("default %q, want %q", got, c.want)
			}
			if i := l.Items[l.Default[0]]; i.Linux != c.isLinux || i.Unnamed != c.unnamed {
				t.Errorf("a kernel: %t, without a name: %t, want %t and %t", i.Linux, i.Unnamed, c.isLinux, c.unnamed)
			}
		})
	}
}

// TestGrubOfSdbootutil: openSUSE's grub2-bls reads the entries, and not loader.conf.
func TestGrubOfSdbootutil(t *testing.T) {
	for _, c := range []struct{ dir, program, want string }{
		{"systemd", "/usr/share/grub2/x86_64-efi/grubbls.efi", ""},
		{"opensuse", "/usr/lib/systemd/boot/efi/systemd-bootx64.efi", "grub2-bls in /efi/EFI/opensuse"},
		{"BOOT", "/usr/lib/systemd/boot/efi/systemd-bootx64.efi", ""},
		{"BOOT", "/usr/share/grub2/x86_64-efi/grub.efi", ""},
		{"BOOT", "/usr/share/grub2/x86_64-efi/grubbls.efi", "grub2-bls in /efi/EFI/BOOT"},
	} {
		dir, want := c.dir, c.want
		tree := sdTree("", "old.conf: linux \\vmlinuz-"+oldKernel, "new.conf: linux \\vmlinuz-"+newKernel)
		delete(tree, "/efi/EFI/systemd/systemd-bootx64.efi")
		tree["/efi/EFI/"+dir+"/installed_by_sdbootutil"], tree[c.program] = nil, nil
		c := read(t, tree)
		if got := menuOf(t, c).Loaders[0].Unknown; (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: unknown %q, want %q", dir, got, want)
		}
		why := ""
		for _, r := range promote(t, c, bootentry.Wish{Allowed: []string{newKernel}, Barred: []string{oldKernel}, Mode: bootentry.DemoteEntries}).Refusals {
			why += r.Why
		}
		if (why == "") != (want == "") || !strings.Contains(why, want) {
			t.Errorf("%s: refused %q, want %q", dir, why, want)
		}
	}
}

// TestNotWhatItSeems: entries of which one starts, and another seems to.
func TestNotWhatItSeems(t *testing.T) {
	entry := func(release string) []byte { return []byte("linux /vmlinuz-" + release + "\n") }
	for _, c := range []struct {
		name string
		tree memory
		want string // releases by default
	}{
		{"loader.conf of the volume with the program", memory{
			"/boot/loader/loader.conf": []byte("default new.conf\n"), "/efi/loader/loader.conf": []byte("default old.conf\n"), "/efi/EFI/systemd/systemd-bootx64.efi": nil,
			"/efi/loader/entries/old.conf": entry(oldKernel), "/efi/vmlinuz-" + oldKernel: nil, "/efi/loader/entries/new.conf": entry(newKernel), "/efi/vmlinuz-" + newKernel: nil,
		}, oldKernel},
		{"one name on two volumes", memory{
			"/efi/EFI/systemd/systemd-bootx64.efi": nil,
			"/efi/loader/entries/a.conf":           entry(oldKernel), "/efi/vmlinuz-" + oldKernel: nil, "/boot/loader/entries/a.conf": entry(newKernel), "/boot/vmlinuz-" + newKernel: nil,
		}, newKernel + " " + oldKernel},
		{"one place in order", memory{
			"/efi/EFI/systemd/systemd-bootx64.efi": nil,
			"/efi/loader/entries/a-01.conf":        entry(oldKernel), "/efi/vmlinuz-" + oldKernel: nil, "/efi/loader/entries/a-1.conf": entry(newKernel), "/efi/vmlinuz-" + newKernel: nil,
		}, newKernel + " " + oldKernel},
		{"one place in order, and one named", memory{
			"/efi/EFI/systemd/systemd-bootx64.efi": nil, "/efi/loader/loader.conf": []byte("default a-1.conf\n"),
			"/efi/loader/entries/a-01.conf": entry(oldKernel), "/efi/vmlinuz-" + oldKernel: nil, "/efi/loader/entries/a-1.conf": entry(newKernel), "/efi/vmlinuz-" + newKernel: nil,
		}, newKernel},
		{"a kernel that is elsewhere", memory{
			"/efi/EFI/systemd/systemd-bootx64.efi": nil,
			"/efi/loader/entries/new.conf":         entry(newKernel), "/boot/vmlinuz-" + newKernel: nil, "/efi/loader/entries/a.conf": entry(oldKernel), "/efi/vmlinuz-" + oldKernel: nil,
		}, newKernel + " " + oldKernel},
		{"openSUSE", memory{
			"/efi/EFI/systemd/systemd-bootx64.efi":                                                     nil,
			"/efi/loader/entries/suse-7.2.12-1-default-3.conf":                                         []byte("version 3@7.2.12-1-default\nsort-key opensuse-tumbleweed\nlinux /opensuse-tumbleweed/7.2.12-1-default/linux-93cc5df7b58e0e42d0e3eab4d2fe38c8fb17e0c1\n"),
			"/efi/opensuse-tumbleweed/7.2.12-1-default/linux-93cc5df7b58e0e42d0e3eab4d2fe38c8fb17e0c1": nil,
		}, "7.2.12-1-default"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := menuOf(t, read(t, c.tree)).Loaders[0]
			var got []string
			for _, n := range l.Default {
				got = append(got, l.Items[n].Releases...)
			}
			slices.Sort(got)
			slices.Reverse(got)
			if strings.Join(got, " ") != c.want {
				t.Errorf("kernels by default are %q, want %q", got, c.want)
			}
		})
	}
}
