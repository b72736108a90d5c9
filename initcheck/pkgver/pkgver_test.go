package pkgver_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/initcheck/pkgver"
)

var orders = map[string]func(a, b string) int{"dpkg": pkgver.Dpkg, "rpm": pkgver.RPM, "pacman": pkgver.Pacman, "apk": pkgver.APK}

// ascending holds versions in the order of their managers, each below the next. That of
// apk is by apk-package(5); Debian has no apk to ask.
var ascending = map[string][]string{
	"dpkg": {"6.12.86-1~bpo12+1", "6.12.86-1", "6.12.86-1+b1", "6.12.86-2", "7.3~rc1-1~exp1", "7.3-1", "1:6.1-1"},
	"rpm": {"5.14.0-611.54.1.el9_7", "5.14.0-611.54.1.el9_7.0.1", "5.14.0-611.54.3.el9_7", "5.14.0-611.55.1.el9_7", "7.0.7", "7.0.7-200.fc44",
		"7.1.0~rc2-1", "7.1.0-1", "7.1.0^20260501-1", "7.1.0.1-1", "1:6.1.170-210.320.amzn2023"},
	"pacman": {"7.1rc3-1", "7.1-1", "7.1.arch1-1", "7.1.arch1-2", "7.1.1-1", "1:6.18-1"},
	"apk": {"6.12.9-r3", "6.12.10_alpha", "6.12.10_alpha2_pre", "6.12.10_alpha2", "6.12.10_beta1", "6.12.10_pre2", "6.12.10_rc1", "6.12.10_rc2-r0", "6.12.10-r0",
		"6.12.10-r9", "6.12.10-r10", "6.12.10_git20260101-r0", "6.12.10_p9-r0", "6.12.10_p10-r0", "6.12.10a", "6.12.10b-r1", "6.12.10.1", "6.18.06", "6.18.1", "6.18.10"},
}

func TestAscending(t *testing.T) {
	for name, versions := range ascending {
		compare := orders[name]
		for i, a := range versions {
			for j, b := range versions {
				if got, want := compare(a, b), min(max(i-j, -1), 1); got != want {
					t.Errorf("%s: order of %s and %s is %d, want %d", name, a, b, got, want)
				}
			}
		}
	}
}

func TestEqual(t *testing.T) {
	for name, pairs := range map[string][][2]string{
		"dpkg":   {{"6.12.86", "6.12.86-0"}, {"0:6.12.86-1", "6.12.86-1"}, {"6.012-1", "6.12-1"}},
		"rpm":    {{"0:6.1-1", "6.1-1"}, {"6_1-1", "6.1-1"}, {"6.01-1", "6.1-1"}},
		"pacman": {{"6.1", "6.1-3"}, {"0:6.1-1", "6.1-1"}},
		"apk":    {{"6.1~0a1b-r0", "6.1-r0"}, {"6.1", "6.1-r0"}},
	} {
		for _, p := range pairs {
			if got := orders[name](p[0], p[1]); got != 0 {
				t.Errorf("%s: order of %s and %s is %d, want 0", name, p[0], p[1], got)
			}
		}
	}
}

func TestCheck(t *testing.T) {
	long := strings.Repeat("1", 257)
	for _, c := range []struct {
		name    string
		check   func(string) error
		version string
		want    string // part of the error; empty: none
	}{
		{"debian", pkgver.CheckDpkg, "6.12.86-1", ""},
		{"debian with all its characters", pkgver.CheckDpkg, "1:6.12~rc1+dfsg:2-1.1~bpo12+1", ""},
		{"debian, none", pkgver.CheckDpkg, "", "is empty"},
		{"debian, a word first", pkgver.CheckDpkg, "v6.12-1", "start with a digit"},
		{"debian, epoch alone", pkgver.CheckDpkg, "1:", "start with a digit"},
		{"debian, a blank", pkgver.CheckDpkg, "6.12 -1", `has ' '`},
		{"debian, underscore", pkgver.CheckDpkg, "6.12_1", `has '_'`},
		{"debian, too long", pkgver.CheckDpkg, long, "257 bytes long, want at most 256"},
		{"rpm", pkgver.CheckRPM, "1:6.1.170-210.320.amzn2023", ""},
		{"rpm with tilde and caret", pkgver.CheckRPM, "7.1~rc1^git-1.el9_7", ""},
		{"rpm, none", pkgver.CheckRPM, "", "is empty"},
		{"rpm, two colons", pkgver.CheckRPM, "1:6:1-1", "colon"},
		{"rpm, a control character", pkgver.CheckRPM, "6.1\x1b-1", `has '\x1b'`},
		{"rpm, too long", pkgver.CheckRPM, long, "257 bytes long"},
	} {
		err := c.check(c.version)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: check of %q gives %v, want %q", c.name, c.version, err, c.want)
		}
	}
}

// FuzzOrders holds every order to being one: it answers both ways round alike, takes a
// version for equal to itself, and sorts three versions without a cycle.
func FuzzOrders(f *testing.F) {
	for _, versions := range ascending {
		for i := range len(versions) - 2 {
			f.Add(versions[i], versions[i+1], versions[i+2])
		}
	}
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if len(a)+len(b)+len(c) > 1000 {
			return
		}
		for name, compare := range orders {
			if compare(a, a) != 0 || compare(a, b) != -compare(b, a) {
				t.Errorf("%s: %q and %q: %d and %d", name, a, b, compare(a, b), compare(b, a))
			}
			// pacman's own order has cycles: it has letters before the end, and the end before
			// digits, but looks at the separators first.
			if name != "pacman" && pkgver.CheckRPM(a+b+c) == nil {
				transitive(t, name, compare, a, b, c)
			}
		}
	})
}

func transitive(t *testing.T, name string, compare func(a, b string) int, versions ...string) {
	slices.SortFunc(versions, compare)
	if compare(versions[0], versions[2]) > 0 {
		t.Errorf("%s: %q are in a cycle", name, versions)
	}
}

func ExampleDpkg() {
	fmt.Println(pkgver.Dpkg("7.3~rc1-1~exp1", "7.3-1"))
	// Output: -1
}
