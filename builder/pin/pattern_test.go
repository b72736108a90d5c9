package pin

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/kerngate/kerngate/initcheck/kver"
)

func TestNumberPatterns(t *testing.T) {
	matches := func(patterns []string, n int) int {
		count := 0
		for _, p := range patterns {
			if ok, err := path.Match(p, strconv.Itoa(n)); err != nil {
				t.Fatal(err)
			} else if ok {
				count++
			}
		}
		return count
	}
	checked := 0
	for limit := -1; limit <= 1205; limit += 1 + limit/40 {
		for n := 0; n < 1000; n += 1 + n/50 {
			checked++
			if got, want := matches(lessThan(max(limit, 0)), n) > 0, n < limit; got != want {
				t.Fatalf("lessThan(%d) on %d: got %v, want %v", limit, n, got, want)
			}
			if got, want := matches(moreThan(limit), n) > 0, n > limit; got != want {
				t.Fatalf("moreThan(%d) on %d: got %v, want %v", limit, n, got, want)
			}
		}
	}
	t.Logf("%d comparisons of numbers agree", checked)
}

func mustRelease(t testing.TB, text string) Release {
	t.Helper()
	r, err := kver.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return Release(r)
}

func mustBounds(t testing.TB, w Want) bounds {
	t.Helper()
	b, err := w.bounds()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ranges are pins of every kind.
func ranges(t testing.TB) []Want {
	floor := func(text string) Want { return Want{Mode: Floor, Floor: mustRelease(t, text)} }
	out := []Want{
		floor("7.0.6"), floor("7.1"), floor("7.0"), floor("6.12.88"), floor("6.1.172"), floor("7.1-rc2"), floor("7.10.10"), floor("10.2.3"), floor("5.10.255"),
	}
	for _, text := range []string{"7.0.6", "6.18.29", "7.1-rc2", "9.9.9", "7.0"} {
		r := mustRelease(t, text)
		out = append(out, Want{Mode: Branch, Floor: r}, Want{Mode: Exact, Floor: r})
	}
	with := floor("6.12.88")
	with.Ceiling = mustRelease(t, "8.0")
	return append(out, with)
}

// releases are kernels around everything that a range in the tests has as a bound.
func releases() []Release {
	var out []Release
	for _, major := range []int{4, 5, 6, 7, 8, 9, 10, 11, 70} {
		for _, minor := range []int{0, 1, 2, 9, 10, 11, 12, 13, 17, 18, 19, 100} {
			for _, patch := range []int{0, 1, 5, 6, 7, 9, 10, 11, 28, 29, 30, 60, 87, 88, 89, 99, 100, 171, 172, 255, 337} {
				out = append(out, Release{Major: major, Minor: minor, Patch: patch})
			}
			for _, rc := range []int{1, 2, 3, 10} {
				out = append(out, Release{Major: major, Minor: minor, Candidate: true, RC: rc})
			}
		}
	}
	return out
}

// within is what the patterns shall come to, by the checker's own order.
func within(b bounds, r Release) bool {
	if kver.Compare(kver.Release(r), kver.Release(b.low)) < 0 {
		return false
	}
	return !b.closed || r.numbers().compare(b.high) < 0
}

// debianVersions are the versions that packages of one kernel have.
func debianVersions(r Release) []string {
	base := fmt.Sprintf("%d.%d.%d", r.Major, r.Minor, r.Patch)
	if r.Candidate {
		short := fmt.Sprintf("%d.%d", r.Major, r.Minor)
		return []string{
			fmt.Sprintf("%s~rc%d-1~exp1", short, r.RC), fmt.Sprintf("%s~rc%d-1", base, r.RC),
			fmt.Sprintf("%s-070100rc%d.202605101200", base, r.RC), fmt.Sprintf("1:%s-rc%d-1", base, r.RC),
		}
	}
	out := []string{base + "-1", base + "-22.22", base + ".22.22", base + "-1~bpo12+1", "1:" + base + "-1+rpt1", base + "-070006.202605", base, base + "-35.35~24.04.1"}
	if r.Patch == 0 {
		short := fmt.Sprintf("%d.%d", r.Major, r.Minor)
		out = append(out, short+"-1", short+"-1~exp1", short+"+1-1")
	}
	return out
}

func TestRegularExpressionsAgreeWithKernelOrder(t *testing.T) {
	checked := 0
	for _, w := range ranges(t) {
		b := mustBounds(t, w)
		var forbidden []*regexp.Regexp
		for _, shapes := range [][]shape{b.below(), b.above()} {
			if len(shapes) > 0 {
				forbidden = append(forbidden, regexp.MustCompile("(?i)"+regexOf(shapes)))
			}
		}
		for _, r := range releases() {
			for _, version := range debianVersions(r) {
				checked++
				got := !slices.ContainsFunc(forbidden, func(re *regexp.Regexp) bool { return re.MatchString(version) })
				if want := within(b, r); got != want {
					t.Errorf("%s %v: version %s allowed: got %v, want %v", w.Mode, b, version, got, want)
				}
			}
		}
	}
	t.Logf("%d versions judged as the kernel's order does", checked)
}

// rpmVersions are VERSION-RELEASE.ARCH of packages of one kernel.
func rpmVersions(r Release) []string {
	base := fmt.Sprintf("%d.%d.%d", r.Major, r.Minor, r.Patch)
	if r.Candidate {
		return []string{
			fmt.Sprintf("%s-0.rc%d.260501gabc.25.fc45.x86_64", base, r.RC),
			fmt.Sprintf("%d.%d~rc%d-1.1.x86_64", r.Major, r.Minor, r.RC),
			fmt.Sprintf("%s_rc%d-1.x86_64", base, r.RC),
		}
	}
	return []string{base + "-300.fc45.x86_64", base + "-1.1.noarch", base + "-5.14.el9_7.aarch64", base + ".1-1.azl3.x86_64"}
}

func TestGlobsAgreeWithKernelOrder(t *testing.T) {
	checked := 0
	for _, w := range ranges(t) {
		b := mustBounds(t, w)
		var forbidden []string
		for _, s := range slices.Concat(b.below(), b.above()) {
			forbidden = append(forbidden, s.globs()...)
		}
		for _, r := range releases() {
			for _, version := range rpmVersions(r) {
				checked++
				got := !slices.ContainsFunc(forbidden, func(glob string) bool {
					ok, err := path.Match(glob+".*", version)
					return ok && err == nil
				})
				if want := within(b, r); got != want {
					t.Errorf("%s %v: version %s allowed: got %v, want %v", w.Mode, b, version, got, want)
				}
			}
		}
	}
	t.Logf("%d versions judged as the kernel's order does", checked)
}

func TestImpossiblePins(t *testing.T) {
	cases := map[string]Want{
		"unknown mode":              {Mode: "latest", Floor: Release{Major: 7}},
		"no floor":                  {Mode: Floor},
		"ceiling at the floor":      {Mode: Floor, Floor: Release{Major: 7}, Ceiling: Release{Major: 7}},
		"ceiling below the floor":   {Mode: Floor, Floor: Release{Major: 7, Minor: 1}, Ceiling: Release{Major: 7, Patch: 6}},
		"ceiling is a candidate":    {Mode: Floor, Floor: Release{Major: 7}, Ceiling: Release{Major: 8, Candidate: true, RC: 1}},
		"fourth number":             {Mode: Floor, Floor: Release{Major: 7, Rebuild: 1}},
		"number is a date":          {Mode: Floor, Floor: Release{Major: 20260501}},
		"candidate and its release": {Mode: Floor, Floor: Release{Major: 7, Candidate: true, RC: 1}, Ceiling: Release{Major: 7}},
	}
	for name, w := range cases {
		if _, err := w.bounds(); err == nil {
			t.Errorf("%s: accepted, want an error", name)
		}
	}
}

func TestScopes(t *testing.T) {
	b := mustBounds(t, Want{Mode: Branch, Floor: mustRelease(t, "7.0.6")})
	for version, want := range map[string]scope{
		"6.1.*": outside, "6.1*": outside, "7.0.*": overlapping, "7.0.5-1": outside, "7.0.6-1": inside, "7.0.12": inside,
		"7.1": outside, "*": overlapping, "/^6/": overlapping, "1:7.0.8-1+rpt1": inside, "7*": overlapping, "7.*": overlapping,
		"99999999999999999999": overlapping,
	} {
		if got := b.scopeOf(leadingNumbers(version)); got != want {
			t.Errorf("%s in %v: got %d, want %d", version, b, got, want)
		}
	}
}
