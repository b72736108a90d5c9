package builder

import (
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/bootentry"
	"github.com/kerngate/kerngate/builder/kernel"
)

// TestLoaderFaults: what of a boot menu is not as a profile wants it.
func TestLoaderFaults(t *testing.T) {
	item := func(title string, releases ...string) bootentry.MenuItem {
		return bootentry.MenuItem{Path: "/boot/grub/grub.cfg", Line: 1, Title: title, Linux: len(releases) > 0, Releases: releases}
	}
	unnamed, unsaid := item("unnamed"), item("unsaid", "7.2.1")
	unnamed.Linux, unnamed.Unnamed, unsaid.Unnamed = true, true, true
	wish := bootentry.Wish{Allowed: []string{"7.2.1"}, Barred: []string{"6.12.1"}}
	for _, c := range []struct {
		name              string
		items             []bootentry.MenuItem
		defaults, onError []int
		unknown           string
		removes           bool
		want              []string
	}{
		{"as it should be", []bootentry.MenuItem{item("new", "7.2.1"), item("old", "6.12.1"), item("memtest")}, []int{0}, nil, "", false, nil},
		{"a barred default", []bootentry.MenuItem{item("old", "6.12.1")}, []int{0}, nil, "", false, []string{"GRUB starts /boot/grub/grub.cfg:1 (old) by default, and the gate refuses its kernel 6.12.1"}},
		{"a barred default that is to go", []bootentry.MenuItem{item("old", "6.12.1")}, []int{0}, nil, "", true, []string{"(old) by default, and the gate refuses"}},
		{"a default of two kernels", []bootentry.MenuItem{item("both", "7.2.1", "6.12.1")}, []int{0}, nil, "", false, []string{"its kernel 7.2.1, 6.12.1"}},
		{"a default that is no Linux", []bootentry.MenuItem{item("memtest"), item("new", "7.2.1")}, []int{0}, nil, "", false, []string{"(memtest) by default, and nothing says that the gate lets its kernel through"}},
		{"a default without a release", []bootentry.MenuItem{unnamed}, []int{0}, nil, "", false, []string{"(unnamed) by default, and nothing says"}},
		{"a default with one release and another kernel", []bootentry.MenuItem{unsaid}, []int{0}, nil, "", false, []string{"(unsaid) by default, and nothing says"}},
		{"a barred one after a failure", []bootentry.MenuItem{item("new", "7.2.1"), item("old", "6.12.1")}, []int{0}, []int{1}, "", false, []string{"(old) after a failure, and the gate refuses its kernel 6.12.1"}},
		{"another one after a failure", []bootentry.MenuItem{item("new", "7.2.1"), item("memtest")}, []int{0}, []int{1}, "", false, nil},
		{"a barred one that is to go", []bootentry.MenuItem{item("new", "7.2.1"), item("old", "6.12.1")}, []int{0}, nil, "", true, []string{"GRUB has /boot/grub/grub.cfg:1 (old), and the gate refuses its kernel 6.12.1"}},
		{"nobody knows", []bootentry.MenuItem{item("new", "7.2.1")}, []int{0}, nil, "the script computes it", false, []string{"/boot/grub/grub.cfg: nobody can tell which entry GRUB starts by default: the script computes it"}},
		{"nobody knows, and a barred one perhaps", []bootentry.MenuItem{item("old", "6.12.1")}, []int{0}, nil, "x", false, []string{"nobody can tell", "(old) by default"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := bootentry.LoaderMenu{Loader: "GRUB", Path: "/boot/grub/grub.cfg", Items: c.items, Default: c.defaults, Fallback: c.onError, Unknown: c.unknown}
			got := loaderFaults(l, wish, c.removes)
			if !slices.EqualFunc(got, c.want, strings.Contains) {
				t.Errorf("faults are %q, want %q", got, c.want)
			}
		})
	}
}

// TestNewestFirst orders kernels as one wants them started.
func TestNewestFirst(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int // -1: a is first
	}{
		{"7.2.1-amd64", "7.1.9-amd64", -1},
		{"7.10.0", "7.9.0", -1},
		{"7.2", "7.2-rc3", -1},
		{"6.12.107+deb13-amd64", "6.12.9+deb13-amd64", -1},
		{"7.0.0-22-generic", "7.0.0-9-generic", -1},
		{"7.2.1-amd64", "7.2.1-cloud-amd64", 0},
		{"7.0.0-99999999999999999999-x", "7.0.0-9-x", -1},
		{"linux-12", "linux-9", -1},
		{"7.2.1", "linux", -1},
	} {
		if got := newestFirst(c.a, c.b); got != c.want {
			t.Errorf("%s and %s: %d, want %d", c.a, c.b, got, c.want)
		}
		if back := newestFirst(c.b, c.a); back != -c.want {
			t.Errorf("%s and %s: %d, want %d", c.b, c.a, back, -c.want)
		}
	}
}

// TestMenuWords: their order does not tell of how many builds there were.
func TestMenuWords(t *testing.T) {
	for _, c := range []struct{ words, want, reason string }{
		{" default=a,b", "default=a,b", "start kernel 7.2.1 unless"},
		{"default=a gone=x default=b gone=y", "gone=x gone=y default=a default=b", "no entries for kernels that the gate refuses"},
		{"gone=x gone=x", "gone=x", "no entries"},
	} {
		got := goneFirst(c.words)
		if got != c.want || !strings.Contains(menuReason(got, "7.2.1"), c.reason) {
			t.Errorf("%q is %q for %q, want %q for %q", c.words, got, menuReason(got, "7.2.1"), c.want, c.reason)
		}
	}
	if got := string(withoutComments([]byte("# of another profile\n#\nGRUB_DEFAULT=x\n# y\n"))); got != "GRUB_DEFAULT=x\n# y\n" {
		t.Errorf("without its header it is %q", got)
	}
	if got := string(withoutComments([]byte("# nothing else"))); got != "" {
		t.Errorf("a header alone becomes %q", got)
	}
}

// TestImagesOf: a kernel without an image has no path by which it could be known.
func TestImagesOf(t *testing.T) {
	got := imagesOf([]kernel.Kernel{{Release: "7.2.1", Image: "/boot/vmlinuz-7.2.1"}, {Release: "6.12.1"}})
	if len(got) != 1 || got["/boot/vmlinuz-7.2.1"] != "7.2.1" {
		t.Errorf("images are %v, want the one of 7.2.1", got)
	}
}
