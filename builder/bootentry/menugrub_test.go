package bootentry_test

import (
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/bootentry"
)

// TestGrubWithoutEntries: a grub.cfg that makes no menu entries is never silence. Either
// another file makes them, or it is said that nobody can tell, or that there are none.
func TestGrubWithoutEntries(t *testing.T) {
	const entry = "menuentry new --id new { linux /boot/vmlinuz-" + newKernel + " }\n"
	bls := []byte("title x\nlinux /vmlinuz-" + newKernel + "\n")
	for _, c := range []struct {
		name, config string
		more         memory
		want         string // IDs that start by default
		unknown      string
		note         string
	}{
		{"nothing", "set timeout=3\n", nil, "", "", "/boot/grub/grub.cfg: this GRUB starts nothing by default: it makes no menu entries"},
		{"not even a line", "", nil, "", "", "it makes no menu entries"},
		{"another grub.cfg", "configfile /boot/grub2/grub.cfg\n", memory{"/boot/grub2/grub.cfg": []byte(entry)}, "new", "", ""},
		{"another grub.cfg in an unusual place", "configfile /boot/grub/x/grub.cfg\n", memory{"/boot/grub/x/grub.cfg": []byte(entry)}, "new", "", ""},
		{"another file", "configfile $prefix/other.cfg\n", memory{"/boot/grub/other.cfg": []byte(entry)}, "new", "", ""},
		{"a file that is not there", "set timeout=3\nconfigfile ($dev)/boot/grub2/grub.cfg\n", nil, "", "goes on with ($dev)/boot/grub2/grub.cfg in line 2, which the tree does not have", ""},
		{"a file that is perhaps read and not there", "if [ $grub_platform = efi ]; then source (hd1)/x.cfg; fi\n", nil, "", "goes on with (hd1)/x.cfg in line 1", ""},
		{"a file that is not there, behind entries", entry + "configfile (hd1)/x.cfg\n", nil, "new", "goes on with (hd1)/x.cfg in line 2", ""},
		{"a script that is not there, behind entries", entry + "source (hd1)/x.cfg\n", nil, "new", "", ""},
		{"a file that is perhaps read, behind entries", entry + "if [ $grub_platform = efi ]; then configfile (hd1)/x.cfg; fi\n", nil, "new", "", ""},
		{"a file behind an entry of a submenu", entry + "submenu a { configfile (hd1)/x.cfg }\n", nil, "new", "", ""},
		{"a file that is not there, and a script that is", "configfile (hd1)/x.cfg\nsource /boot/grub/y.cfg\n", memory{"/boot/grub/y.cfg": []byte(entry)}, "new", "goes on with (hd1)/x.cfg in line 1", ""},
		{"boot loader entries", "blscfg\n", memory{"/boot/loader/entries/a.conf": bls, "/boot/vmlinuz-" + newKernel: nil}, "a", "", ""},
		{"no boot loader entries", "blscfg\n", nil, "", "the tree has no boot loader entry that GRUB can start", ""},
		{"no boot loader entries for GRUB", "blscfg\n", memory{"/boot/loader/entries/a.conf": []byte("efi /vmlinuz-" + newKernel + "\n"), "/boot/vmlinuz-" + newKernel: nil}, "", "the tree has no boot loader entry that GRUB can start", ""},
		{"a boot loader entry of a network", "blscfg\n", memory{"/boot/loader/entries/a.conf": []byte("uki-url http://x\n")}, "", "the tree has no boot loader entry that GRUB can start", ""},
		{"images", "uki\n", nil, "", "those of the command uki, which are not known", "what the command uki adds to the menu is not known"},
		{"a kernel at once", "linux /boot/vmlinuz-" + newKernel + "\nboot\n", nil, "", "it boots without its menu", ""},
		{"no script of GRUB", "if true; then\n", nil, "", "the script cannot be followed: ", ""},
		{"calls without end", "function f { f\n }\nf\n" + entry, nil, "", "call each other without end", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := memory{"/boot/grub/grub.cfg": []byte(c.config)}
			for name, data := range c.more {
				tree[name] = data
			}
			m := menuOf(t, read(t, tree))
			got, unknown := "", ""
			for _, l := range m.Loaders {
				if l.Loader == "GRUB" {
					got, unknown = got+strings.Join(ids(l, l.Default), " "), unknown+l.Unknown
				}
			}
			if got != c.want || (unknown == "") != (c.unknown == "") || !strings.Contains(unknown, c.unknown) {
				t.Errorf("default %q, unknown %q, want %q and %q", got, unknown, c.want, c.unknown)
			}
			if notes := strings.Join(m.Notes, "\n"); (notes == "") != (c.note == "") || !strings.Contains(notes, c.note) {
				t.Errorf("notes %q, want %q", notes, c.note)
			}
			w := bootentry.Wish{Allowed: []string{newKernel}, Barred: []string{oldKernel}, Mode: bootentry.DemoteEntries}
			if p := promote(t, read(t, tree), w); (len(p.Refusals) == 0) != (c.unknown == "") {
				t.Errorf("refusals %v, want some: %t", p.Refusals, c.unknown != "")
			}
		})
	}
}

// TestEntryWithZeroByte: what lies behind it is read by nobody but us.
func TestEntryWithZeroByte(t *testing.T) {
	c := read(t, memory{"/boot/loader/entries/a.conf": []byte("linux /k\n\x00options ro\n"), "/boot/k": nil})
	if len(c.Entries) > 0 || len(c.Problems) != 1 || !strings.Contains(c.Problems[0].String(), "/boot/loader/entries/a.conf: it has a zero byte, where boot loaders stop reading") {
		t.Errorf("entries %v, problems %v, want none and the zero byte", c.Entries, c.Problems)
	}
}
