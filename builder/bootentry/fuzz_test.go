package bootentry_test

import (
	"bytes"
	"maps"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/bootentry"
)

// fuzzFile splices a tree in which one file has any content, beside others that stay,
// and holds what is true of every result.
func fuzzFile(t *testing.T, name string, data []byte, beside memory) {
	tree := memory{name: data}
	maps.Copy(tree, beside)
	c, err := bootentry.Read(tree)
	if err != nil {
		t.Fatal(err)
	}
	edits, refusals, err := c.Splice(want)
	if err != nil {
		t.Fatal(err)
	}
	after := maps.Clone(tree)
	for _, e := range edits {
		if old := tree[e.Path]; !strings.HasSuffix(e.Path, "grubenv") && !strings.HasSuffix(e.Path, ".efi") && !e.New && !strings.Contains(e.Path, "zz-kerngate") && !isInside(old, e.Data) {
			t.Errorf("%s lost bytes:\n%q\n%q", e.Path, old, e.Data)
		}
		after[e.Path] = e.Data
	}
	again, err := bootentry.Read(after)
	if err != nil {
		t.Fatal(err)
	}
	if gaps := again.Missing(want); len(gaps) > 0 && len(refusals) == 0 {
		t.Errorf("%v still lacks %v without a refusal", gaps[0].Entry, gaps[0].Want)
	}
	if len(refusals) == 0 {
		if edits, refusals, err := again.Splice(want); err != nil || len(edits)+len(refusals) > 0 {
			t.Errorf("a second time: edits %v, refusals %v, %v", edits, refusals, err)
		}
	}
	if len(again.Problems) > len(c.Problems) {
		t.Errorf("problems after the change: %v, before: %v", again.Problems, c.Problems)
	}
	if _, _, err := again.Remove(everywhere(again, want)); err != nil {
		t.Fatal(err)
	}
}

// isInside says whether the bytes of a are in b, in order.
func isInside(a, b []byte) bool {
	for _, c := range b {
		if len(a) > 0 && a[0] == c {
			a = a[1:]
		}
	}
	return len(a) == 0
}

// seeds adds texts and asserts that each is understood and gives an entry.
func seeds(f *testing.F, name string, beside memory, texts ...string) {
	f.Helper()
	for _, text := range texts {
		tree := memory{name: []byte(text)}
		maps.Copy(tree, beside)
		c, err := bootentry.Read(tree)
		if err != nil || len(c.Problems) > 0 || len(c.Entries) == 0 {
			f.Fatalf("seed %q: entries %v, problems %v, %v", text, c.Entries, c.Problems, err)
		}
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) { fuzzFile(t, name, data, beside) })
}

// fromTree takes the file name of a tree in testdata.
func fromTree(f *testing.F, tree, name string) string {
	f.Helper()
	data, found := archiveFiles(f, "testdata/"+tree+".txtar")[name]
	if !found {
		f.Fatalf("%s has no %s", tree, name)
	}
	return string(data)
}

func FuzzGrubScript(f *testing.F) {
	seeds(f, "/boot/grub/grub.cfg", nil,
		fromTree(f, "debian12", "boot/grub/grub.cfg"), fromTree(f, "ubuntu", "boot/grub/grub.cfg"),
		fromTree(f, "suse", "boot/grub2/grub.cfg"), fromTree(f, "merge", "boot/grub/grub.cfg"), fromTree(f, "fedora41", "boot/grub2/grub.cfg"),
		"set x=\"$x a\"\nset kernelopts='a \"b'\nlinux /v ${x} \"a b\" $kernelopts -- 1\n")
}

func FuzzGrubEnv(f *testing.F) {
	seeds(f, "/boot/grub2/grubenv", memory{"/boot/loader/entries/a.conf": []byte("linux /v\noptions $kernelopts\n")},
		fromTree(f, "rhel8", "boot/efi/EFI/redhat/grubenv"), "# GRUB Environment Block\nkernelopts=a\\\\b\\\nc\n########")
}

func FuzzBLS(f *testing.F) {
	seeds(f, "/boot/loader/entries/a.conf", memory{"/boot/grub2/grub.cfg": []byte("set kernelopts=\"a module_blacklist=b\"\nset kernelopts=\"c\"\n")},
		fromTree(f, "fedora41", "boot/loader/entries/abc-6.11.4-301.fc41.x86_64.conf"), fromTree(f, "systemd-boot", "efi/loader/entries/0123-6.12.8.conf"),
		"linux /v\noptions $kernelopts ${kernelopts}x\noptions\n")
}

func FuzzSyslinux(f *testing.F) {
	seeds(f, "/boot/extlinux/extlinux.conf", nil,
		fromTree(f, "u-boot-menu", "boot/extlinux/extlinux.conf"), fromTree(f, "alpine", "boot/extlinux.conf"),
		"APPEND a\nLABEL b\nKERNEL c\nLABEL d\nLINUX e", "INCLUDE extlinux.conf\nlabel x\nlinux y\nappend -\n")
}

func FuzzGrubDefault(f *testing.F) {
	seeds(f, "/etc/default/grub", nil,
		fromTree(f, "debian12", "etc/default/grub"), fromTree(f, "suse", "etc/default/grub"), fromTree(f, "grub-default-opaque", "etc/default/grub"),
		"A=`x` GRUB_CMDLINE_LINUX=a\"b\"'c'\\ d$A; export GRUB_CMDLINE_LINUX\nB=${A:-$(echo ')')}\n")
}

func FuzzGrubDefaultDropIn(f *testing.F) {
	seeds(f, "/etc/default/grub", memory{"/usr/sbin/grub-mkconfig": []byte(". /etc/default/grub.d/x")},
		fromTree(f, "debian12", "etc/default/grub"), "GRUB_CMDLINE_LINUX='module_blacklist=a'\nGRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX b\"\n")
}

func FuzzKernelCmdline(f *testing.F) {
	seeds(f, "/etc/kernel/cmdline", nil,
		fromTree(f, "fedora41", "etc/kernel/cmdline"), "# no\na \"b c\" \"module_blacklist=d\"\n-- e\n", "a=\"\" \"\" module_blacklist=\"", "initcall_blacklist=a module_blacklist=b")
}

func FuzzImage(f *testing.F) {
	small := func(sections ...section) string { return string(smallPE(sections)) }
	seeds(f, "/efi/EFI/Linux/a.efi", nil,
		small(osrel(), uname(), cmdline("root=a"), section{".linux", 0x200000, []byte("k")}),
		small(osrel(), section{".linux", 0x200000, []byte("k")}))
}

// smallPE writes a minimal PE32+ file, since mutations of a real stub hit code only.
func smallPE(sections []section) []byte {
	out := make([]byte, 0x400)
	copy(out, "MZ")
	put := func(at int, size int, v uint64) {
		for i := range size {
			out[at+i] = byte(v >> (8 * i))
		}
	}
	put(0x3c, 4, 0x40)
	copy(out[0x40:], "PE\x00\x00")
	put(0x44, 2, 0x8664)
	put(0x46, 2, uint64(len(sections)))
	put(0x54, 2, 240)
	put(0x58, 2, 0x20b)
	put(0x58+32, 4, 0x1000)
	put(0x58+36, 4, 0x200)
	put(0x58+56, 4, 0x300000)
	put(0x58+60, 4, 0x400)
	put(0x58+64, 4, 1) // a checksum, to be kept up
	put(0x58+108, 4, 16)
	for i, s := range sections {
		at := 0x58 + 240 + 40*i
		copy(out[at:], s.name)
		put(at+8, 4, uint64(len(s.data)))
		put(at+12, 4, s.address)
		raw := (len(s.data) + 511) &^ 511
		put(at+16, 4, uint64(raw))
		put(at+20, 4, uint64(len(out)))
		out = append(out, append(bytes.Clone(s.data), make([]byte, raw-len(s.data))...)...)
	}
	return out
}

// TestSmallPE: what the fuzz target starts from is a PE file to others too.
func TestSmallPE(t *testing.T) {
	data := smallPE([]section{osrel(), cmdline("root=a"), {".linux", 0x200000, []byte("k")}})
	if n := len(parse(t, data).Sections); n != 3 {
		t.Errorf("debug/pe sees %d sections, want 3", n)
	}
	if got := sectionOf(t, data, ".cmdline"); !bytes.HasPrefix(got, []byte("root=a")) {
		t.Errorf("objcopy sees %q, want root=a", got)
	}
}

func FuzzArguments(f *testing.F) {
	for _, text := range []string{`a b="c d" "e f=g" -- h`, `module_blacklist="a,b" x`, `"`, `a="`, `=b`, "a\xa0b"} {
		if len(bootentry.Arguments(text)) == 0 {
			f.Fatalf("seed %q has no arguments", text)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, a := range bootentry.Arguments(s) {
			if !strings.Contains(s, a.Name) || !strings.Contains(s, a.Value) || (a.Value != "" && !a.HasValue) {
				t.Errorf("%q has %+v", s, a)
			}
		}
	})
}
