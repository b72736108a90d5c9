package bootentry_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/kerngate/kerngate/builder/bootentry"
	"github.com/kerngate/kerngate/builder/imgtest"
)

// wishOf reads what an archive's comment asks for: lines "allow:", "bar:", "mode:".
func wishOf(t testing.TB, name string) (bootentry.Wish, map[string]bool) {
	t.Helper()
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	w := bootentry.Wish{Mode: bootentry.RemoveEntries, Header: "# Written by kerngate.\n"}
	flags := map[string]bool{}
	for line := range strings.Lines(string(archive.Comment)) {
		key, value, found := strings.Cut(strings.TrimSpace(line), ": ")
		switch {
		case !found:
		case key == "allow":
			w.Allowed = strings.Fields(value)
		case key == "bar":
			w.Barred = strings.Fields(value)
		case key == "mode":
			w.Mode = bootentry.Mode(value)
		case key == "flags":
			for _, f := range strings.Fields(value) {
				flags[f] = true
			}
		}
	}
	return w, flags
}

func menuOf(t testing.TB, c *bootentry.Config) bootentry.Menu {
	t.Helper()
	m, err := c.Menu(nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func describeMenu(b *strings.Builder, m bootentry.Menu) {
	for _, l := range m.Loaders {
		fmt.Fprintf(b, "%s %s: default %v fallback %v", l.Loader, l.Path, l.Default, l.Fallback)
		if l.Unknown != "" {
			fmt.Fprintf(b, ", not known: %s", l.Unknown)
		}
		b.WriteString("\n")
		for n, i := range l.Items {
			fmt.Fprintf(b, "  %d %s:%d %q id %q", n, i.Path, i.Line, i.Title, i.ID)
			if i.Linux {
				fmt.Fprintf(b, " starts %v", i.Releases)
			}
			for _, f := range []struct {
				on   bool
				name string
			}{{i.Unnamed, "unnamed"}, {i.Recovery, "recovery"}, {i.Maybe, "maybe"}, {i.Spent, "spent"}} {
				if f.on {
					b.WriteString(" " + f.name)
				}
			}
			b.WriteString("\n")
		}
	}
	for _, n := range m.Notes {
		fmt.Fprintf(b, "note %s\n", n)
	}
}

func promote(t testing.TB, c *bootentry.Config, w bootentry.Wish) bootentry.Promotion {
	t.Helper()
	p, err := c.Promote(w)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestMenus evaluates whole trees, promotes what each asks for, and compares with
// NAME.golden: the menus before and after, and the lines that changed.
func TestMenus(t *testing.T) {
	names, err := filepath.Glob("testdata/menu/*.txtar")
	if err != nil || len(names) < 10 {
		t.Fatalf("%d trees in testdata/menu (%v), want at least 10", len(names), err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			w, flags := wishOf(t, name)
			dir := makeDir(t, archiveFiles(t, name))
			judge(t, dir)
			c := read(t, imgtest.OpenDir(t, dir))
			p := promote(t, c, w)
			got := describePromotion(t, dir, c, p, w, flags)
			golden := strings.TrimSuffix(name, ".txtar") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if wanted := string(mustRead(t, golden)); got != wanted {
				t.Errorf("got:\n%s\nwant:\n%s", got, wanted)
			}
		})
	}
}

// describePromotion carries a promotion out, and holds what is true of every one: once
// is enough, the programs of the boot loaders take the files, and taking back gives the
// bytes unless entries were cut out.
func describePromotion(t *testing.T, dir string, c *bootentry.Config, p bootentry.Promotion, w bootentry.Wish, flags map[string]bool) string {
	t.Helper()
	var b strings.Builder
	describeMenu(&b, menuOf(t, c))
	before := map[string][]byte{}
	for _, e := range p.Edits {
		fmt.Fprintf(&b, "edit %s new %v delete %v\n", e.Path, e.New, e.Delete)
		if !e.New {
			before[e.Path] = mustRead(t, filepath.Join(dir, e.Path))
		}
		if !e.Delete {
			b.WriteString(changedLines(t, string(before[e.Path]), string(e.Data)))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Added)) {
		fmt.Fprintf(&b, "added %s: %s\n", name, p.Added[name])
	}
	for _, n := range p.Notes {
		fmt.Fprintf(&b, "note %s\n", n)
	}
	for _, r := range p.Refusals {
		fmt.Fprintf(&b, "refused %s\n  hint %s\n", r.Error(), r.Hint)
	}
	apply(t, dir, p.Edits)
	judge(t, dir)
	after := read(t, imgtest.OpenDir(t, dir))
	if again := promote(t, after, w); len(again.Edits) > 0 || len(again.Refusals) != len(p.Refusals) {
		t.Errorf("a second time: %d edits, refusals %v, want none and %v", len(again.Edits), again.Refusals, p.Refusals)
	}
	b.WriteString("then\n")
	describeMenu(&b, menuOf(t, after))
	edits, gone, err := after.Restore(p.Added)
	if err != nil {
		t.Fatal(err)
	}
	apply(t, dir, edits)
	for _, r := range gone {
		fmt.Fprintf(&b, "not restored %s\n", r.Error())
	}
	for name, data := range before {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if !flags["oneway"] && (err != nil || !bytes.Equal(got, data)) {
			t.Errorf("%s after Restore (%v):\n%s\nwant:\n%s", name, err, got, data)
		}
	}
	if flags["oneway"] && len(gone) == 0 {
		t.Error("nothing is gone, want the tree without the flag oneway")
	}
	return b.String()
}

// TestVersionsAgainstSystemd compares with systemd-analyze, which has the order that
// systemd-boot has.
func TestVersionsAgainstSystemd(t *testing.T) {
	versions := []string{"", "6.1.0-28-amd64", "6.1.0-30-amd64", "6.12.107+deb13-cloud-amd64", "6.12.9+deb13-cloud-amd64", "7.1~rc2-amd64", "7.1-amd64", "7.1-rc2",
		"7.1", "7.1.0", "7.01", "7.1^20260101", "7.1.a", "7.1a", "7.1a1", "abc", "ABC", "0-rescue", "6.11.4-301.fc41.x86_64", "6.11.4-301.fc41.x86_64+debug",
		"0123-6.12.8.conf", "0123-6.12.8+3-1.conf", "0123-6.12.80.conf", "~", "-", "^", ".", "00", "0", "1_2", "1 2", "7.2.12+deb14-amd64"}
	n := 0
	for i, a := range versions {
		for _, b := range versions[i:] {
			out, err := exec.Command("systemd-analyze", "compare-versions", "--", a, b).CombinedOutput()
			if errors.Is(err, exec.ErrNotFound) {
				t.Fatalf("%v: apt-get install systemd", err)
			}
			fields := strings.Fields(strings.TrimPrefix(string(out), a))
			want := map[bool]int{strings.Contains(string(out), " < "): -1, strings.Contains(string(out), " > "): 1}[true]
			if len(fields) == 0 || !strings.ContainsAny(string(out), "<>=") {
				t.Fatalf("systemd-analyze says %q (%v)", out, err)
			}
			if got := bootentry.CompareVersions(a, b); got != want {
				t.Errorf("%q and %q: %d, systemd-analyze says %q", a, b, got, out)
			}
			if back := bootentry.CompareVersions(b, a); back != -want {
				t.Errorf("%q and %q: %d, want %d", b, a, back, -want)
			}
			n++
		}
	}
	t.Logf("%d pairs of versions: all agree unless said", n)
}

// TestImageMenu orders unified kernel images by what their .osrel sections say.
func TestImageMenu(t *testing.T) {
	image := func(release, osRelease string) []byte {
		return makeUKI(t, section{".osrel", 0x100000, []byte(osRelease)}, section{".uname", 0x101000, []byte(release)}, cmdline("ro"), linux())
	}
	files := map[string][]byte{
		"efi/EFI/Linux/a.efi":    image(oldKernel, "ID=debian\nVERSION_ID=\"13\"\nPRETTY_NAME=Old\n"),
		"efi/EFI/Linux/b+3.efi":  image(newKernel, "ID=debian\nVERSION_ID=14\n"),
		"efi/EFI/Linux/c.efi":    image(oldKernel, "IMAGE_ID=aaa\nID=debian\nIMAGE_VERSION=1\n"),
		"efi/loader/loader.conf": []byte("timeout 1\n"),
	}
	dir := makeDir(t, files)
	c := read(t, imgtest.OpenDir(t, dir))
	ids := func(c *bootentry.Config) (out []string) {
		for _, l := range menuOf(t, c).Loaders {
			for _, n := range l.Default {
				out = append(out, "default "+l.Items[n].ID)
			}
			for _, i := range l.Items {
				out = append(out, i.ID)
			}
		}
		return out
	}
	if got, want := ids(c), []string{"default c.efi", "c.efi", "b+3.efi", "a.efi"}; !slices.Equal(got, want) {
		t.Errorf("menu is %q, want %q", got, want)
	}
	w := bootentry.Wish{Allowed: []string{newKernel}, Barred: []string{oldKernel}, Mode: bootentry.DemoteEntries}
	p := promote(t, c, w)
	if len(p.Refusals) > 0 || len(p.Edits) != 1 || string(p.Edits[0].Data) != "timeout 1\ndefault b*.efi\n" {
		t.Errorf("demoted: edits %v, refusals %v, want one edit: default b*.efi", p.Edits, p.Refusals)
	}
	w.Mode = bootentry.RemoveEntries
	p = promote(t, c, w)
	apply(t, dir, p.Edits)
	if got, want := ids(read(t, imgtest.OpenDir(t, dir))), []string{"default b+3.efi", "b+3.efi"}; len(p.Refusals) > 0 || !slices.Equal(got, want) {
		t.Errorf("removed: menu is %q (%v), want %q", got, p.Refusals, want)
	}
}

// TestKernelsByImage knows a kernel by its image where the name says nothing.
func TestKernelsByImage(t *testing.T) {
	tree := memory{"/boot/extlinux/extlinux.conf": []byte("default lts\nlabel lts\n linux /vmlinuz-lts\nlabel edge\n linux /vmlinuz-edge\n"),
		"/boot/vmlinuz-lts": []byte("k"), "/boot/vmlinuz-edge": []byte("k")}
	w := bootentry.Wish{Allowed: []string{newKernel}, Barred: []string{oldKernel}, Mode: bootentry.DemoteEntries,
		Kernels: map[string]string{"/boot/vmlinuz-lts": oldKernel, "/boot/vmlinuz-edge": newKernel}}
	p := promote(t, read(t, tree), w)
	if len(p.Refusals) > 0 || len(p.Edits) != 1 || !strings.HasPrefix(string(p.Edits[0].Data), "default edge\n") {
		t.Errorf("edits %v, refusals %v, want one edit that begins with default edge", p.Edits, p.Refusals)
	}
}

// TestWishes that contradict themselves are errors.
func TestWishes(t *testing.T) {
	c := read(t, memory{"/etc/hostname": nil})
	for name, w := range map[string]bootentry.Wish{
		"no mode":            {Allowed: []string{newKernel}},
		"allowed and barred": {Allowed: []string{newKernel}, Barred: []string{newKernel}, Mode: bootentry.DemoteEntries},
	} {
		if _, err := c.Promote(w); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for _, words := range []string{"timeout=3", "default", "default=%zz"} {
		if _, _, err := c.Restore(map[string]string{"/boot/loader/loader.conf": words}); err == nil {
			t.Errorf("Restore of %q: no error", words)
		}
	}
}

// TestDefaults evaluates small configurations whose default is known from the loaders'
// manuals.
func TestDefaults(t *testing.T) {
	const two = "menuentry old --id old { linux /boot/vmlinuz-" + oldKernel + " }\nmenuentry new --id new { linux /boot/vmlinuz-" + newKernel + " }\n"
	entry := func(release, more string) []byte { return []byte("title x\nlinux /" + release + "\n" + more) }
	tests := []struct {
		name              string
		files             memory
		defaults, onError []string // IDs
	}{
		{"set and unset", memory{"/boot/grub/grub.cfg": []byte("set default=new\nunset default\n" + two)}, []string{"old"}, nil},
		{"no environment block", memory{"/boot/grub/grub.cfg": []byte("if load_env; then\n set default=new\nfi\n" + two)}, []string{"old"}, nil},
		{"perhaps another configuration", memory{"/boot/grub/grub.cfg": []byte("if [ \"$grub_platform\" = efi ]; then\n configfile /boot/grub/efi.cfg\nfi\nset default=1\n" + two), "/boot/grub/efi.cfg": []byte("true\n")}, []string{"new"}, nil},
		{"either branch", memory{"/boot/grub/grub.cfg": []byte("if [ \"$grub_cpu\" = i386 ]; then set default=0; else set default=1; fi\n" + two)}, []string{"old", "new"}, nil},
		{"negated", memory{"/boot/grub/grub.cfg": []byte("if ! [ -n \"$x\" ]; then set default=1; fi\n" + two)}, []string{"new"}, nil},
		{"numbers", memory{"/boot/grub/grub.cfg": []byte("set n=3\nif [ $n -ge 2 -a $n -lt 10 ]; then set default=0x1; fi\n" + two)}, []string{"new"}, nil},
		{"a name that begins with a number", memory{"/boot/grub/grub.cfg": []byte("set default=1new\n" + strings.Replace(two, "old --id old", "old --id 1new", 1))}, []string{"new", "1new"}, nil},
		{"escaped", memory{"/boot/grub/grub.cfg": []byte("set default='a>>b>new'\nsubmenu 'a>b' {\n" + two + "}\n")}, []string{"new"}, nil},
		{"beyond the end", memory{"/boot/grub/grub.cfg": []byte("set default=7\nset fallback='new 9'\n" + two)}, []string{"old"}, []string{"new"}},
		{"no attempts left", memory{"/efi/loader/loader.conf": []byte("preferred a*\n"), "/efi/loader/entries/a+0-3.conf": entry("a", ""), "/efi/loader/entries/b.conf": entry("b", ""),
			"/efi/a": nil, "/efi/b": nil}, []string{"b.conf"}, nil},
		{"attempts left", memory{"/efi/loader/loader.conf": nil, "/efi/loader/entries/c+1.conf": entry("a", ""), "/efi/loader/entries/b.conf": entry("b", ""),
			"/efi/a": nil, "/efi/b": nil}, []string{"c+1.conf"}, []string{"b.conf"}},
		{"a program is missing", memory{"/efi/loader/loader.conf": nil, "/efi/loader/entries/c.conf": entry("a", ""), "/efi/loader/entries/b.conf": entry("b", ""), "/efi/b": nil}, []string{"b.conf"}, nil},
		{"keys before none", memory{"/efi/loader/loader.conf": nil, "/efi/loader/entries/c.conf": entry("a", ""), "/efi/loader/entries/b.conf": entry("b", "sort-key z\n"), "/efi/a": nil, "/efi/b": nil}, []string{"b.conf"}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := menuOf(t, read(t, test.files))
			if len(m.Loaders) != 1 {
				t.Fatalf("%d boot loaders (notes %q), want 1", len(m.Loaders), m.Notes)
			}
			l := m.Loaders[0]
			ids := func(list []int) (out []string) {
				for _, n := range list {
					out = append(out, l.Items[n].ID)
				}
				return out
			}
			if got := ids(l.Default); !slices.Equal(got, test.defaults) {
				t.Errorf("default %q, want %q", got, test.defaults)
			}
			if got := ids(l.Fallback); !slices.Equal(got, test.onError) {
				t.Errorf("fallback %q, want %q", got, test.onError)
			}
		})
	}
}

// TestRecoveryIsNoDefault takes the usual entry of a kernel, not the one for repairs,
// and what may start after a failure counts too.
func TestRecoveryIsNoDefault(t *testing.T) {
	tree := memory{"/boot/grub/grub.cfg": []byte("menuentry 'Linux (recovery mode)' { linux /boot/vmlinuz-" + newKernel + " }\nmenuentry usual { linux /boot/vmlinuz-" + newKernel + " }\n")}
	w := bootentry.Wish{Allowed: []string{newKernel}, Barred: []string{oldKernel}, Mode: bootentry.DemoteEntries}
	p := promote(t, read(t, tree), w)
	if len(p.Refusals) > 0 || len(p.Edits) != 1 || !strings.HasPrefix(string(p.Edits[0].Data), "set default=\"usual\"\n") {
		t.Errorf("edits %v, refusals %v, want a default of usual", p.Edits, p.Refusals)
	}
	tree = memory{"/efi/loader/loader.conf": nil, "/efi/loader/entries/n+3.conf": []byte("linux /vmlinuz-" + newKernel + "\n"), "/efi/loader/entries/a.conf": []byte("linux /vmlinuz-" + oldKernel + "\n"),
		"/efi/vmlinuz-" + newKernel: nil, "/efi/vmlinuz-" + oldKernel: nil}
	p = promote(t, read(t, tree), w)
	if len(p.Refusals) > 0 || len(p.Edits) != 1 || string(p.Edits[0].Data) != "default n*.conf\n" {
		t.Errorf("edits %v, refusals %v, want a default that holds after three failures", p.Edits, p.Refusals)
	}
}
