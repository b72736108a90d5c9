package kver_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/initcheck/kver"
)

func release(numbers ...int) kver.Release {
	r := kver.Release{Major: numbers[0], Minor: numbers[1]}
	if len(numbers) > 2 {
		r.Patch = numbers[2]
	}
	if len(numbers) > 3 {
		r.Rebuild = numbers[3]
	}
	return r
}

func candidate(rc int, numbers ...int) kver.Release {
	r := release(numbers...)
	r.Candidate, r.RC = true, rc
	return r
}

var parsed = []struct {
	name, in string
	want     kver.Release
}{
	{"mainline", "7.1", release(7, 1)},
	{"mainline with a zero", "7.1.0", release(7, 1)},
	{"mainline candidate", "7.1-rc2", candidate(2, 7, 1)},
	{"mainline candidate as uname gives it", "7.1.0-rc2", candidate(2, 7, 1)},
	{"candidate from git", "7.1.0-rc2-00123-gabcdef012345", candidate(2, 7, 1)},
	{"candidate, tree touched", "7.1.0-rc2+", candidate(2, 7, 1)},
	{"stable", "7.0.6", release(7, 0, 6)},
	{"stable candidate", "7.0.6-rc1", candidate(1, 7, 0, 6)},
	{"stable, tree touched", "7.0.6+", release(7, 0, 6)},
	{"long patch number", "4.14.336", release(4, 14, 336)},
	{"2.6 stable", "2.6.32.71", release(2, 6, 32, 71)},
	{"linux-next", "7.1.0-rc3-next-20260501", candidate(3, 7, 1)},
	{"realtime", "6.12.8-rt8", release(6, 12, 8)},
	{"debian 12", "6.1.0-56-cloud-amd64", release(6, 1)},
	{"debian 13", "6.12.107+deb13-cloud-amd64", release(6, 12, 107)},
	{"debian 14", "7.2.12+deb14-cloud-amd64", release(7, 2, 12)},
	{"debian experimental hides its candidate", "7.3-amd64", release(7, 3)},
	{"debian backport", "6.12.9+bpo-amd64", release(6, 12, 9)},
	{"ubuntu", "7.0.0-22-generic", release(7, 0)},
	{"ubuntu cloud", "6.8.0-1021-aws", release(6, 8)},
	{"ubuntu mainline build, candidate", "7.1.0-070100rc3-generic", candidate(3, 7, 1)},
	{"ubuntu mainline build, release", "7.0.6-070006-generic", release(7, 0, 6)},
	{"rhel 9", "5.14.0-611.54.1.el9_7.x86_64", release(5, 14)},
	{"rhel 8", "4.18.0-553.16.1.el8_10.x86_64", release(4, 18)},
	{"rhel 7", "3.10.0-1160.119.1.el7.x86_64", release(3, 10)},
	{"rhel 6", "2.6.32-754.35.1.el6.x86_64", release(2, 6, 32)},
	{"fedora", "7.0.4-200.fc44.x86_64", release(7, 0, 4)},
	{"fedora candidate", "7.1.0-0.rc3.260501gabc.25.fc45.x86_64", candidate(3, 7, 1)},
	{"fedora merge window", "7.1.0-0.rc0.260415gabc.4.fc45.x86_64", candidate(0, 7, 1)},
	{"fedora candidate with git", "5.14.0-0.rc7.git0.54.fc35.x86_64", candidate(7, 5, 14)},
	{"amazon 2023", "6.1.168-203.330.amzn2023.x86_64", release(6, 1, 168)},
	{"azure linux", "6.6.139.1-1.azl3", release(6, 6, 139, 1)},
	{"wsl", "5.10.179.1-microsoft-standard-WSL2", release(5, 10, 179, 1)},
	{"suse", "6.4.0-150600.23.47-default", release(6, 4)},
	{"tumbleweed", "7.0.6-1-default", release(7, 0, 6)},
	{"suse candidate", "7.1.0-rc3-1-default", candidate(3, 7, 1)},
	{"arch", "7.0.6-arch1-1", release(7, 0, 6)},
	{"arch candidate", "7.1.0-rc3-1-mainline", candidate(3, 7, 1)},
	{"gentoo revision is no candidate", "7.0.6-gentoo-r1", release(7, 0, 6)},
	{"alpine", "6.12.20-0-lts", release(6, 12, 20)},
	{"talos", "6.18.29-talos", release(6, 18, 29)},
	{"flatcar", "6.12.87-flatcar", release(6, 12, 87)},
	{"container-optimized os", "6.6.97+", release(6, 6, 97)},
	{"android", "6.6.30-android15-8-g0123abcd-ab12345678", release(6, 6, 30)},
	{"raspberry pi", "6.12.25+rpt-rpi-2712", release(6, 12, 25)},
	{"proxmox", "6.8.12-9-pve", release(6, 8, 12)},
	{"oracle", "5.15.0-305.176.4.el9uek.x86_64", release(5, 15)},
	{"word after a dot", "6.1.10.custom", release(6, 1, 10)},
	{"local version with no separator", "6.1.10custom", release(6, 1, 10)},
	{"rc inside a word is no candidate", "7.1.0-src3-generic", release(7, 1)},
	{"rc of rcar is no candidate", "7.1.0-rcar3", release(7, 1)},
	{"rc with no number is no candidate", "7.1.0-rc-generic", release(7, 1)},
	{"first true candidate counts", "7.1.0-arc9-rc4", candidate(4, 7, 1)},
	{"longest", "7.1." + strings.Repeat("x", 60), release(7, 1)},
	{"largest number", "65535.65535.65535", release(65535, 65535, 65535)},
}

func TestParse(t *testing.T) {
	if len(parsed) < 40 {
		t.Fatalf("table has %d cases, want at least 40", len(parsed))
	}
	for _, c := range parsed {
		t.Run(c.name, func(t *testing.T) {
			got, err := kver.Parse(c.in)
			if err != nil {
				t.Fatalf("Parse(%q): %v", c.in, err)
			}
			if got != c.want {
				t.Errorf("Parse(%q) is %+v, want %+v", c.in, got, c.want)
			}
			if back, err := kver.Parse(got.String()); err != nil || back != got {
				t.Errorf("Parse(%q), its own String, is %+v, %v, want %+v", got.String(), back, err, got)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	cases := []struct{ name, in, want string }{
		{"nothing", "", "is empty"},
		{"a word", "linux", "does not start with a number"},
		{"leading blank", " 7.1", "printable ASCII"},
		{"leading v", "v7.1", "does not start with a number"},
		{"leading dash", "-7.1", "does not start with a number"},
		{"leading dot", ".7.1", "does not start with a number"},
		{"one number", "7", "has one number"},
		{"one number and a suffix", "7-rc2", "has one number"},
		{"dot at the end", "7.0.", "want a number or a word after the dot"},
		{"dot at the end of one number", "7.", "has one number"},
		{"empty number", "7..1", "has one number"},
		{"dot before the suffix", "7.0.-22", "want a number or a word after the dot"},
		{"five numbers", "6.6.139.1.2", "more than 4 numbers"},
		{"leading zero", "7.06", "leading zero"},
		{"leading zero in candidate", "7.1-rc02", "leading zero"},
		{"number too large", "7.65536", "above 65535"},
		{"number beyond int", "7.99999999999999999999", "above 65535"},
		{"candidate too large", "7.1-rc65536", "above 65535"},
		{"newline at the end", "7.0.6\n", "printable ASCII"},
		{"nul", "7.0.6\x00", "printable ASCII"},
		{"digits outside ASCII", "７.１", "printable ASCII"},
		{"too long", "7.1." + strings.Repeat("x", 61), "65 bytes long, want at most 64"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := kver.Parse(c.in)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Parse(%q) is %+v, %v, want an error with %q", c.in, got, err, c.want)
			}
			if got != (kver.Release{}) {
				t.Errorf("Parse(%q) is %+v beside its error, want the zero value", c.in, got)
			}
		})
	}
}

func TestParseFloor(t *testing.T) {
	cases := []struct {
		in   string
		want kver.Release
		err  string
	}{
		{"7.0.6", release(7, 0, 6), ""},
		{"7.1", release(7, 1), ""},
		{"7.1.0", release(7, 1), ""},
		{"7.1-rc2", candidate(2, 7, 1), ""},
		{"7.1.0-rc2", candidate(2, 7, 1), ""},
		{"6.6.139.1", release(6, 6, 139, 1), ""},
		{"7.0.0-22-generic", kver.Release{}, `"-22-generic" is no part of an upstream release`},
		{"6.12.107+deb13", kver.Release{}, `"+deb13" is no part of an upstream release`},
		{"7.1-rc2-1", kver.Release{}, `"-rc2-1" is no part of an upstream release`},
		{"7.1rc2", kver.Release{}, `"rc2" is no part of an upstream release`},
		{"7", kver.Release{}, "has one number"},
		{"", kver.Release{}, "is empty"},
	}
	for _, c := range cases {
		t.Run(c.in, func(t *testing.T) {
			got, err := kver.ParseFloor(c.in)
			if c.err == "" && (err != nil || got != c.want) {
				t.Errorf("ParseFloor(%q) is %+v, %v, want %+v", c.in, got, err, c.want)
			}
			if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("ParseFloor(%q) is %+v, %v, want an error with %s", c.in, got, err, c.err)
			}
		})
	}
}

func TestParseRunning(t *testing.T) {
	cases := []struct {
		name, release, version string
		want                   kver.Release
	}{
		{"debian candidate", "7.3-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 7.3~rc1-1~exp1 (2026-11-02)", candidate(1, 7, 3)},
		{"debian candidate, three numbers", "7.3.0-amd64", "#1 SMP Debian 7.3~rc12-1~exp1 (2026-11-02)", candidate(12, 7, 3)},
		{"debian release", "7.2.12+deb14-cloud-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 7.2.12-1 (2026-11-10)", release(7, 2, 12)},
		{"candidate of another base", "7.3-amd64", "#1 SMP Debian 7.2~rc1-1~exp1 (2026-08-02)", release(7, 3)},
		{"candidate of another patch", "7.3.1-amd64", "#1 SMP Debian 7.3~rc1-1~exp1 (2026-11-02)", release(7, 3, 1)},
		{"second word matches", "7.3-amd64", "gcc~rc9 7.3~rc2", candidate(2, 7, 3)},
		{"candidate in the release wins", "7.3-rc4", "Debian 7.3~rc1-1~exp1", candidate(4, 7, 3)},
		{"rc with no version before it", "7.3-amd64", "#1 ~rc1 (builder@~rc2)", release(7, 3)},
		{"no version", "7.0.6", "", release(7, 0, 6)},
		{"cut at the end of utsname", "7.3-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 7.3~rc1-1~exp1 (2026-11-02xxxxxx)", candidate(1, 7, 3)},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := kver.ParseRunning(c.release, c.version)
			if err != nil || got != c.want {
				t.Errorf("ParseRunning(%q, %q) is %+v, %v, want %+v", c.release, c.version, got, err, c.want)
			}
		})
	}
	for _, c := range []struct{ name, release, version string }{
		{"bad release", "linux", "#1 SMP"},
		{"control character in the version", "7.0.6", "#1 SMP\x1b[2J"},
		{"version too long", "7.0.6", strings.Repeat("x", 65)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := kver.ParseRunning(c.release, c.version); err == nil {
				t.Errorf("ParseRunning(%q, %q) is %+v, want an error", c.release, c.version, got)
			}
		})
	}
}

// ascending holds releases in their order, each below the next.
var ascending = []string{
	"2.6.32", "2.6.32.71", "4.14.336", "5.10.179.1-microsoft-standard-WSL2",
	"6.1.0-56-cloud-amd64", "6.1.168-203.330.amzn2023.x86_64", "6.6.139", "6.6.139.1-1.azl3", "6.6.140",
	"6.12.107+deb13-cloud-amd64", "7.0-rc7", "7.0.0-22-generic", "7.0.4-200.fc44.x86_64", "7.0.5", "7.0.6-rc1", "7.0.6", "7.0.10",
	"7.1.0-0.rc0.260415gabc.4.fc45.x86_64", "7.1-rc1", "7.1-rc2", "7.1.0-070100rc3-generic", "7.1-rc10", "7.1.0.1-rc11", "7.1", "7.1.1",
	"7.2.12+deb14-cloud-amd64", "10.0",
}

func TestCompareAscending(t *testing.T) {
	for i, a := range ascending {
		for j, b := range ascending {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := kver.Compare(parse(t, a), parse(t, b)); got != want {
				t.Errorf("Compare(%s, %s) is %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestCompareEqual(t *testing.T) {
	for _, pair := range [][2]string{
		{"7.1", "7.1.0"}, {"7.1-rc2", "7.1.0-rc2"}, {"7.0.0-22-generic", "7.0"},
		{"7.1.0-rc3-1-default", "7.1.0-0.rc3.260501gabc.25.fc45.x86_64"}, {"6.6.139.0", "6.6.139"},
	} {
		a, b := parse(t, pair[0]), parse(t, pair[1])
		if kver.Compare(a, b) != 0 || a != b {
			t.Errorf("%s is %+v and %s is %+v, want them the same", pair[0], a, pair[1], b)
		}
	}
}

// TestCompareIsTotalOrder takes releases from a small space, so that ties and
// near misses are common.
func TestCompareIsTotalOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	small := func() kver.Release {
		r := release(rng.IntN(3), rng.IntN(3), rng.IntN(2), rng.IntN(2))
		if rng.IntN(2) == 0 {
			r.Candidate, r.RC = true, rng.IntN(3)
		}
		return r
	}
	for range 20000 {
		a, b, c := small(), small(), small()
		ab, bc, ac := kver.Compare(a, b), kver.Compare(b, c), kver.Compare(a, c)
		if ab != -kver.Compare(b, a) {
			t.Fatalf("Compare(%v, %v) is %d, and the other way round %d", a, b, ab, kver.Compare(b, a))
		}
		if (ab == 0) != (a == b) {
			t.Fatalf("Compare(%+v, %+v) is %d, want 0 exactly when they are the same", a, b, ab)
		}
		if ab <= 0 && bc <= 0 && ac > 0 {
			t.Fatalf("%v <= %v <= %v, but Compare of the first and the last is %d", a, b, c, ac)
		}
	}
}

func TestBranch(t *testing.T) {
	for _, c := range []struct{ in, want string }{{"7.0.6", "7.0"}, {"7.1-rc3", "7.1"}, {"7.0.6-rc1", "7.0"}, {"6.6.139.1-1.azl3", "6.6"}} {
		if got := parse(t, c.in).Branch(); got.String() != c.want {
			t.Errorf("branch of %s is %s, want %s", c.in, got, c.want)
		}
	}
}

func TestCandidateOf(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"7.1-rc2", "7.1", true}, {"7.0.6-rc1", "7.0.6", true}, {"7.1", "7.1", false}, {"7.1-rc2", "7.1-rc3", false},
		{"7.1-rc2", "7.1.1", false}, {"7.1-rc2", "7.0", false}, {"8.1-rc2", "7.1", false},
	} {
		if got := parse(t, c.a).CandidateOf(parse(t, c.b)); got != c.want {
			t.Errorf("%s is a candidate of %s: %t, want %t", c.a, c.b, got, c.want)
		}
	}
}

func TestSortIsStableUnderShuffle(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		got := slices.Clone(ascending)
		rng.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
		slices.SortFunc(got, func(a, b string) int { return kver.Compare(parse(t, a), parse(t, b)) })
		if !slices.Equal(got, ascending) {
			t.Fatalf("sorted order is %q, want %q", got, ascending)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range parsed {
		if _, err := kver.Parse(c.in); err != nil {
			f.Fatalf("seed %q: %v", c.in, err)
		}
		f.Add(c.in, "#1 SMP Debian 7.3~rc1-1~exp1 (2026-11-02)")
	}
	f.Fuzz(func(t *testing.T, release, version string) {
		r, err := kver.Parse(release)
		if err != nil {
			return
		}
		back, err := kver.Parse(r.String())
		if err != nil || back != r {
			t.Errorf("Parse(%q) is %+v, but Parse of its String %q is %+v, %v", release, r, r, back, err)
		}
		running, err := kver.ParseRunning(release, version)
		if err == nil && kver.Compare(running, r) > 0 {
			t.Errorf("ParseRunning(%q, %q) is %v, above %v: the version may only lower a release", release, version, running, r)
		}
	})
}

func ExampleCompare() {
	floor, _ := kver.ParseFloor("7.1")
	for _, s := range []string{"7.0.0-22-generic", "7.1.0-0.rc3.260501gabc.25.fc45.x86_64", "7.1.0-3-amd64"} {
		r, _ := kver.Parse(s)
		fmt.Println(r, kver.Compare(r, floor) >= 0)
	}
	// Output:
	// 7.0 false
	// 7.1-rc3 false
	// 7.1 true
}

func parse(t *testing.T, s string) kver.Release {
	t.Helper()
	r, err := kver.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
