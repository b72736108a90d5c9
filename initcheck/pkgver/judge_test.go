package pkgver_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/initcheck/pkgver"
)

// pairs is how many generated pairs each judge gets.
const pairs = 12000

// generate makes pairs of versions out of an alphabet. Half of them differ in one
// place, where the rules for the end, for zeros and for separators bite.
func generate(seed uint64, n int, shape func(r *rand.Rand, part func(alphabet string) string) string, mutations string) [][2]string {
	r := rand.New(rand.NewPCG(seed, 7))
	part := func(alphabet string) string {
		b := make([]byte, r.IntN(7))
		for i := range b {
			b[i] = alphabet[r.IntN(len(alphabet))]
		}
		return string(b)
	}
	out := make([][2]string, 0, n)
	for len(out) < n {
		a := shape(r, part)
		b := a
		if r.IntN(2) == 0 {
			b = shape(r, part)
		} else {
			// Behind the epoch: one that is no number is nothing to compare.
			low := strings.IndexByte(a, ':') + 1
			i := low + r.IntN(len(a)-low+1)
			b = a[:i] + string(mutations[r.IntN(len(mutations))]) + a[min(i+r.IntN(2), len(a)):]
		}
		out = append(out, [2]string{a, b})
	}
	return out
}

func choose(r *rand.Rand, words ...string) string { return words[r.IntN(len(words))] }

func debianShape(r *rand.Rand, part func(string) string) string {
	v := choose(r, "", "", "", "0:", "1:", "2:") + strconv.Itoa(r.IntN(13)) + part("0019abzAZ.+~~")
	if r.IntN(2) == 0 {
		v += "-1" + part("01aZ.+~")
	}
	return v
}

func rpmShape(r *rand.Rand, part func(string) string) string {
	v := choose(r, "", "", "", "0:", "1:") + strconv.Itoa(r.IntN(13)) + part("0019abzAZ.._~^+")
	if r.IntN(2) == 0 {
		v += "-" + strconv.Itoa(r.IntN(4)) + part("0a.~^")
	}
	return v
}

func pacmanShape(r *rand.Rand, part func(string) string) string {
	v := choose(r, "", "", "", "0:", "1:") + strconv.Itoa(r.IntN(13)) + part("0019abzAZ.._+")
	if r.IntN(2) == 0 {
		v += "-" + strconv.Itoa(r.IntN(4)) + part("01.")
	}
	return v
}

// kernels are versions of real kernel packages, so that the pairs are not all made up.
var kernels = map[string][]string{
	"dpkg": {"6.12.86-1", "6.12.117-1", "6.1.170-3", "7.3~rc1-1~exp1", "7.3-1", "6.12.86-1~bpo12+1", "5.10.251-4", "5.10.262-1",
		"6.8.0-117.117", "6.8.0-117.117~22.04.1", "5.15.0-1116.125", "5.15.0-1116", "7.0.0-22.22", "6.1.170-1~deb11u1", "1:6.1-1"},
	"rpm": {"4.18.0-553.123.1.el8_10", "5.14.0-611.54.1.el9_7", "5.14.0-611.54.1.el9_7.0.1", "5.14.0-687.10.1.el9_8", "1:6.1.170-210.320.amzn2023",
		"6.1.170-210.320.amzn2023", "6.1.170-213.321.amzn2023", "7.0.4-200.fc44", "7.0.7-200.fc44", "7.1.0~rc3-1", "7.1.0^20260501-1", "6.6.139.1-1.azl3", "7.1.0-1"},
	"pacman": {"7.0.6.arch1-1", "7.0.6.arch1-2", "7.0.10.arch1-1", "7.1rc3-1", "7.1-1", "7.1.arch1-1", "6.18.36-1", "6.18.36.hardened1-1", "1:6.18-1"},
}

func allOf(words []string) [][2]string {
	var out [][2]string
	for _, a := range words {
		for _, b := range words {
			out = append(out, [2]string{a, b})
		}
	}
	return out
}

// agree compares answers of -1, 0 or 1, one a pair; an empty one is the judge's word
// that the pair is no pair of versions.
func agree(t *testing.T, judge string, cases [][2]string, answers []string, compare func(a, b string) int) {
	t.Helper()
	if len(answers) != len(cases) {
		t.Fatalf("%s gives %d answers, want %d", judge, len(answers), len(cases))
	}
	counted := [3]int{}
	refused, wrong := 0, 0
	for i, c := range cases {
		if answers[i] == "none" {
			refused++
			continue
		}
		want, err := strconv.Atoi(answers[i])
		if err != nil || want < -1 || want > 1 {
			t.Fatalf("%s answers %q on %q", judge, answers[i], c)
		}
		counted[want+1]++
		if got := compare(c[0], c[1]); got != want {
			if wrong++; wrong <= 10 {
				t.Errorf("order of %q and %q is %d, %s says %d", c[0], c[1], got, judge, want)
			}
		}
	}
	for i, n := range counted {
		if n < 10 {
			t.Errorf("%s answered %d on %d pairs, want at least 10 for the test to mean something", judge, i-1, n)
		}
	}
	t.Logf("%s: %d pairs: %d agree, %d do not; %d are no versions to it", judge, len(cases), len(cases)-refused-wrong, wrong, refused)
}

// run gives a judge the pairs as a file of lines and takes its answers, one a line.
func run(t *testing.T, hint string, cases [][2]string, command func(file string) *exec.Cmd) []string {
	t.Helper()
	var text strings.Builder
	for _, c := range cases {
		fmt.Fprintf(&text, "%s %s\n", c[0], c[1])
	}
	file := filepath.Join(t.TempDir(), "pairs")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := command(file)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s\n%s", cmd.Path, err, &stderr, hint)
	}
	return strings.Fields(string(out))
}

// TestDpkgAgainstItsLibrary asks the comparison that dpkg's own tools use, which takes
// all pairs at once.
func TestDpkgAgainstItsLibrary(t *testing.T) {
	const program = `use Dpkg::Version; while (<>) { my ($a, $b) = split; my ($x, $y) = map { Dpkg::Version->new($_) } $a, $b;
		print $x->is_valid && $y->is_valid ? version_compare($a, $b) : "none", "\n"; }`
	cases := append(generate(1, pairs, debianShape, "01a.~+"), allOf(kernels["dpkg"])...)
	answers := run(t, "install libdpkg-perl", cases, func(file string) *exec.Cmd { return exec.Command("perl", "-e", program, file) })
	agree(t, "Dpkg::Version", cases, answers, pkgver.Dpkg)
}

// dpkgAnswers asks dpkg itself, which takes one pair a process.
func dpkgAnswers(t *testing.T, cases [][2]string) []string {
	const program = `while read -r a b; do
		if dpkg --compare-versions "$a" lt "$b"; then echo -1; elif dpkg --compare-versions "$a" eq "$b"; then echo 0; else echo 1; fi
	done <"$1"`
	return run(t, "install dpkg", cases, func(file string) *exec.Cmd { return exec.Command("sh", "-c", program, "sh", file) })
}

func TestDpkgAgainstDpkg(t *testing.T) {
	cases := append(generate(2, 300, debianShape, "01a.~+"), allOf(kernels["dpkg"])...)
	agree(t, "dpkg --compare-versions", cases, dpkgAnswers(t, cases), pkgver.Dpkg)
}

func TestRPMAgainstRPM(t *testing.T) {
	cases := append(generate(3, pairs, rpmShape, "01a.~+^_"), allOf(kernels["rpm"])...)
	answers := run(t, "install rpm", cases, func(file string) *exec.Cmd {
		return exec.Command("rpm", "--eval", `%{lua: for line in io.lines("`+file+`") do local a, b = line:match("(%S+) (%S+)") print(rpm.vercmp(a, b) .. "\n") end}`)
	})
	agree(t, "rpm.vercmp", cases, answers, pkgver.RPM)
}

// TestPacmanAgainstLibalpm asks the library that vercmp is a wrapper of.
func TestPacmanAgainstLibalpm(t *testing.T) {
	const program = `
import ctypes, ctypes.util, sys
alpm = ctypes.CDLL(ctypes.util.find_library("alpm"))
for line in open(sys.argv[1]):
    a, b = line.encode().split()
    print(alpm.alpm_pkg_vercmp(a, b))`
	cases := append(generate(4, pairs, pacmanShape, "01a.+_"), allOf(kernels["pacman"])...)
	answers := run(t, "install pacman-package-manager and python3", cases, func(file string) *exec.Cmd { return exec.Command("python3", "-c", program, file) })
	agree(t, "alpm_pkg_vercmp", cases, answers, pkgver.Pacman)
}
