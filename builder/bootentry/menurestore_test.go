package bootentry_test

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/bootentry"
)

// carried is a tree with the edits made.
func carried(tree memory, edits []bootentry.Edit) memory {
	out := maps.Clone(tree)
	for _, e := range edits {
		if out[e.Path] = e.Data; e.Delete {
			delete(out, e.Path)
		}
	}
	return out
}

// bootFiles are a tree with two kernels, and systemd-boot with the newer one as a.conf
// and the older as b.conf, which is first in the menu; or GRUB.
func bootFiles(grub bool, more memory) memory {
	tree := memory{"/boot/vmlinuz-" + newKernel: []byte("k"), "/boot/vmlinuz-" + oldKernel: []byte("k")}
	if !grub {
		maps.Copy(tree, memory{"/efi/EFI/systemd/systemd-bootx64.efi": []byte("MZ"), "/efi/n": []byte("k"), "/efi/o": []byte("k"),
			"/efi/loader/entries/a.conf": []byte("title a\nversion " + newKernel + "\nlinux /n\n"), "/efi/loader/entries/b.conf": []byte("title b\nversion " + oldKernel + "\nlinux /o\n")})
	}
	maps.Copy(tree, more)
	return tree
}

const twoEntries = "menuentry old --id old { linux /boot/vmlinuz-" + oldKernel + "\n}\nmenuentry new --id new { linux /boot/vmlinuz-" + newKernel + "\n}\n"

// TestTakenBackToTheByte promotes and takes back; only the newer kernel may start in
// between.
func TestTakenBackToTheByte(t *testing.T) {
	grub := func(text string) memory { return memory{"/boot/grub/grub.cfg": []byte(text + twoEntries)} }
	loader := func(text string) memory { return memory{"/efi/loader/loader.conf": []byte(text)} }
	template := grub("set default=old\n")
	maps.Copy(template, memory{"/usr/sbin/grub-mkconfig": []byte("#!/bin/sh\n"), "/etc/default/grub": []byte("GRUB_DEFAULT=old")})
	tests := map[string]struct {
		files memory
		grub  bool
		words string // one of those for the manifest
	}{
		"no loader.conf":                      {words: "default.new=a.conf"},
		"loader.conf is empty":                {files: loader(""), words: "default=a.conf"},
		"loader.conf without an end":          {files: loader("timeout 3"), words: "default=a.conf"},
		"loader.conf with DOS lines":          {files: loader("timeout 3\r\ndefault b.conf\r\n"), words: "default=a.conf,b.conf"},
		"the wanted default does not stand":   {files: loader("default a.conf\ndefault b.conf\n"), words: "default.1=a.conf,b.conf"},
		"a key without a value":               {files: loader("default\ntimeout 3\n"), words: "default.1=a.conf"},
		"a value in quotes":                   {files: loader("default \"b.conf\"\n"), words: "default=a.conf,%22b.conf%22"},
		"another system on the machine":       {files: loader("default auto-windows\n"), words: "default=a.conf,auto-windows"},
		"a pattern of other systems":          {files: loader("default auto-*\n"), words: "default=a.conf,auto-%2A"},
		"the wanted default in another arm":   {files: grub("if [ x = y ]; then\nset default=\"new\"\nelse\nset default=\"old\"\nfi\n"), grub: true, words: "default.1=%22new%22,%22old%22"},
		"the wanted default is set over":      {files: grub("set default=\"new\"\nset default=\"old\"\n"), grub: true, words: "default.1=%22new%22,%22old%22"},
		"two arms, both possible":             {files: grub("if [ $grub_platform = efi ]; then\nset default=\"0\"\nelse\nset default=old\nfi\n"), grub: true, words: "default=%22new%22,%220%22"},
		"no default":                          {files: grub(""), grub: true, words: "default=%22new%22"},
		"two commands in a line":              {files: grub("set default=0; set timeout=5\n"), grub: true, words: "default=%22new%22,0"},
		"/etc/default/grub without an end":    {files: template, grub: true, words: "GRUB_DEFAULT=%22new%22"},
		"extlinux.conf without an end":        {files: memory{"/boot/extlinux/extlinux.conf": []byte("default menu.c32\nlabel o\n linux /vmlinuz-" + oldKernel + "\nlabel n\n linux /vmlinuz-" + newKernel)}, grub: true, words: "menu=default"},
		"a default whose kernel is not there": {files: grub("set default=gone\nmenuentry gone --id gone { linux /boot/vmlinuz-7.9.9\n}\n"), grub: true, words: "default=%22new%22,gone"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			tree := bootFiles(test.grub, test.files)
			p := promote(t, read(t, tree), bootentry.Wish{Allowed: []string{"7.9.9", newKernel}, Barred: []string{oldKernel}, Mode: bootentry.DemoteEntries})
			var words []string
			for name, text := range p.Added {
				words = append(words, strings.Fields(text)...)
				if err := bootentry.CheckMenuWords(name, text); err != nil {
					t.Error(err)
				}
			}
			if !slices.Contains(words, test.words) || len(p.Refusals) > 0 {
				t.Errorf("words are %q, refusals %v, want %q among them, and none", words, p.Refusals, test.words)
			}
			after := carried(tree, p.Edits)
			m := menuOf(t, read(t, after)).Loaders[0]
			if len(m.Default) != 1 || !slices.Equal(m.Items[m.Default[0]].Releases, []string{newKernel}) || m.Unknown != "" {
				t.Errorf("the default is %v of %v (unknown: %q), want %s alone", m.Default, m.Items, m.Unknown, newKernel)
			}
			edits, gone, err := read(t, after).Restore(p.Added)
			if err != nil || len(gone) > 0 {
				t.Fatalf("not taken back: %v, %v", gone, err)
			}
			if back := carried(after, edits); !maps.EqualFunc(back, tree, bytes.Equal) {
				t.Errorf("taken back %q, the tree is %q, want %q", words, back, tree)
			}
		})
	}
}

// TestDefaultThatCannotBeTold is refused: the script asks, computes or does not wait.
func TestDefaultThatCannotBeTold(t *testing.T) {
	for _, line := range []string{"read default", "regexp --set=default '(o.*)' old", "regexp --set=1:default '(o.*)' old", "search --set default -f /x", "probe --set=default -u $root",
		"eval \"set default=old\"", "eval \"$cmdpath\"", "linux /boot/vmlinuz-" + oldKernel + "\nboot", "if [ $grub_platform = efi ]; then boot; fi"} {
		tree := bootFiles(true, memory{"/boot/grub/grub.cfg": []byte("set default=new\n" + line + "\n" + twoEntries)})
		p := promote(t, read(t, tree), bootentry.Wish{Allowed: []string{newKernel}, Barred: []string{oldKernel}, Mode: bootentry.DemoteEntries})
		if menuOf(t, read(t, tree)).Loaders[0].Unknown == "" || len(p.Refusals) == 0 {
			t.Errorf("%s: refusals %v, want one", line, p.Refusals)
		}
	}
	for _, line := range []string{"search --no-floppy --fs-uuid --set=root 1234-default", "regexp --set 1:x '(.*)' y", "increment boot_indeterminate", "eval true"} {
		tree := bootFiles(true, memory{"/boot/grub/grub.cfg": []byte("set default=new\n" + line + "\n" + twoEntries)})
		if menuOf(t, read(t, tree)).Loaders[0].Unknown != "" {
			t.Errorf("%s: the default is unknown, want new", line)
		}
	}
}

// TestTakenBackFromAChangedFile finds a setting where somebody has moved it to, and leaves
// one alone that somebody has changed.
func TestTakenBackFromAChangedFile(t *testing.T) {
	const name = "/efi/loader/loader.conf"
	for _, c := range []struct{ words, data, want string }{
		{"default.1=a,b", "default x\ndefault a\n", "default x\ndefault b\n"},
		{"default.1=a,b", "timeout 1\ndefault a\n", "timeout 1\ndefault b\n"},
		{"default=a,b", "default x\ndefault a\n", "default x\ndefault b\n"},
		{"default.1=a,b", "default x\ndefault y\n", "default x\ndefault y\n"},
		{"default.new=a", "default a\ntimeout 1\n", "timeout 1\n"},
		{"default.new=a", "default x\n", "default x\n"},
		{"default=b,a default=c,b", "default c\n", "default a\n"},
	} {
		tree := memory{name: []byte(c.data)}
		edits, _, err := read(t, tree).Restore(map[string]string{name: c.words})
		if got := string(carried(tree, edits)[name]); err != nil || got != c.want {
			t.Errorf("%q without %s is %q, %v, want %q", c.data, c.words, got, err, c.want)
		}
	}
	for _, words := range []string{"default.=a", "default.0=a", "default.01x=a", "default.-1=a", "default.1.2=a", "default.99999999999=a", "gone.new.x=a"} {
		if err := bootentry.CheckMenuWords(name, words); err == nil {
			t.Errorf("%q: no error", words)
		}
	}
}

// TestNoPlaceForLoaderConf: the directory is not ours to make.
func TestNoPlaceForLoaderConf(t *testing.T) {
	image := func(release string) []byte {
		return makeUKI(t, osrel(), section{".uname", 0x101000, []byte(release)}, cmdline("ro"), linux())
	}
	tree := memory{"/efi/EFI/systemd/systemd-bootx64.efi": []byte("MZ"), "/efi/EFI/Linux/b.efi": image(oldKernel), "/efi/EFI/Linux/a.efi": image(newKernel)}
	p := promote(t, read(t, tree), bootentry.Wish{Allowed: []string{newKernel}, Barred: []string{oldKernel}, Mode: bootentry.DemoteEntries})
	if len(p.Edits) > 0 || len(p.Refusals) == 0 || !strings.Contains(p.Refusals[0].Why, "there is no directory for /efi/loader/loader.conf") {
		t.Errorf("edits %v, refusals %v, want none and one of the directory", p.Edits, p.Refusals)
	}
}
