// Package kver reads and orders kernel releases.
//
// A release is what uname -r prints: the upstream version that the kernel's
// Makefile composes (VERSION.PATCHLEVEL.SUBLEVEL and EXTRAVERSION), followed by
// whatever the distribution adds. The package takes out the upstream part and
// orders it: release candidates come before their release, "7.1" and "7.1.0" are
// the same, and a distribution's own numbers after the first "-" do not count.
// So 7.0.0-22-generic is 7.0 here, whatever its maker has backported to it.
//
// Left out on purpose: package versions of the distributions (package pkgver) and any
// opinion on which release is safe (package advisory).
package kver

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	// maxText is the room in struct utsname without its NUL (__NEW_UTS_LEN).
	maxText = 64
	// maxNumber bounds every number. The largest seen upstream is 4.9.337; five
	// digits leave room, and keep a build date from passing as a version.
	maxNumber = 65535
	// maxNumbers is VERSION.PATCHLEVEL.SUBLEVEL and one more, which 2.6 used for
	// stable releases and vendors use for their rebuilds.
	maxNumbers = 4
)

// Release is the upstream part of a kernel release. The zero value is no release;
// use Parse. Two releases are the same exactly when they are == .
type Release struct {
	Major, Minor, Patch int
	// Rebuild is the fourth number: 1 in 6.6.139.1-1.azl3. It only decides between
	// releases that are otherwise equal, so a floor of three numbers never sees it.
	Rebuild int
	// Candidate tells that this is release candidate number RC of the release that
	// the numbers name. Fedora counts from 0: rc0 is a snapshot before rc1.
	Candidate bool
	RC        int
}

// Parse reads a kernel release as uname -r gives it, such as "7.1-rc2",
// "6.12.107+deb13-cloud-amd64" or "7.1.0-0.rc3.260501gabc.25.fc45.x86_64".
//
// Two to four decimal numbers come first; what follows them is the
// distribution's, and is searched for nothing but a release candidate: "rc" and
// digits, with no letter before them.
func Parse(release string) (Release, error) {
	if err := checkText(release, '!'); err != nil {
		return Release{}, fmt.Errorf("kernel release %.80q: %w", release, err)
	}
	numbers, suffix, err := leadingNumbers(release)
	if err != nil {
		return Release{}, fmt.Errorf("kernel release %q: %w", release, err)
	}
	r := Release{Major: numbers[0], Minor: numbers[1], Patch: numbers[2], Rebuild: numbers[3]}
	if r.RC, r.Candidate, err = candidate(suffix); err != nil {
		return Release{}, fmt.Errorf("kernel release %q: %w", release, err)
	}
	return r, nil
}

// ParseFloor reads a lowest allowed release as people write it in a profile:
// "7.0.6" or "7.1-rc2". Any suffix but -rcN is an error, since the order would
// silently ignore it.
func ParseFloor(floor string) (Release, error) {
	r, err := Parse(floor)
	if err != nil {
		return Release{}, err
	}
	suffix := strings.TrimLeft(floor, "0123456789.")
	if suffix == "" || r.Candidate && suffix == "-rc"+strconv.Itoa(r.RC) {
		return r, nil
	}
	return Release{}, fmt.Errorf("kernel floor %q: %q is no part of an upstream release, want the form 7.0.6 or 7.1-rc2", floor, suffix)
}

// ParseRunning reads the release of the running kernel from both fields of
// utsname. The version (uname -v) matters for Debian's release candidates: 7.3~rc1
// calls itself "7.3-amd64" in the release, and only the version, which carries
// the package version, says "Debian 7.3~rc1-1~exp1".
func ParseRunning(release, version string) (Release, error) {
	r, err := Parse(release)
	if err != nil {
		return Release{}, err
	}
	if err := checkText(version, ' '); err != nil && version != "" {
		return Release{}, fmt.Errorf("kernel version %.80q: %w", version, err)
	}
	if r.Candidate {
		return r, nil
	}
	for _, word := range strings.Fields(version) {
		if !strings.Contains(word, "~rc") {
			continue
		}
		p, err := Parse(word)
		if err != nil || !p.Candidate {
			continue
		}
		if p.Major == r.Major && p.Minor == r.Minor && p.Patch == r.Patch {
			r.Candidate, r.RC = true, p.RC
			return r, nil
		}
	}
	return r, nil
}

// Compare returns -1 if a comes before b, 0 if they are the same, 1 if a comes
// after b.
func Compare(a, b Release) int {
	// The candidate goes before the fourth number: a vendor's rebuild of a
	// candidate must not pass for the release.
	return cmp.Or(
		cmp.Compare(a.Major, b.Major),
		cmp.Compare(a.Minor, b.Minor),
		cmp.Compare(a.Patch, b.Patch),
		cmp.Compare(a.stage(), b.stage()),
		cmp.Compare(a.Rebuild, b.Rebuild),
	)
}

// Branch is the release that opened the stable branch: 7.0 for 7.0.6 and for 7.0-rc3.
func (r Release) Branch() Release {
	return Release{Major: r.Major, Minor: r.Minor}
}

// CandidateOf tells whether r is a release candidate of the release that other is.
func (r Release) CandidateOf(other Release) bool {
	return r.Candidate && !other.Candidate && r.Major == other.Major && r.Minor == other.Minor && r.Patch == other.Patch
}

// stage orders release candidates, and the release after all of them.
func (r Release) stage() int {
	if r.Candidate {
		return r.RC
	}
	return maxNumber + 1
}

// String gives the release as upstream writes it: "7.1-rc2", "7.1", "7.0.6".
// Parse reads it back to the same Release.
func (r Release) String() string {
	b := strconv.AppendInt(nil, int64(r.Major), 10)
	b = strconv.AppendInt(append(b, '.'), int64(r.Minor), 10)
	if r.Patch != 0 || r.Rebuild != 0 {
		b = strconv.AppendInt(append(b, '.'), int64(r.Patch), 10)
	}
	if r.Rebuild != 0 {
		b = strconv.AppendInt(append(b, '.'), int64(r.Rebuild), 10)
	}
	if r.Candidate {
		b = strconv.AppendInt(append(b, "-rc"...), int64(r.RC), 10)
	}
	return string(b)
}

// checkText refuses what cannot stand in utsname. Lowest is the first character
// that may: the version has blanks in it, the release has not.
func checkText(s string, lowest byte) error {
	if s == "" {
		return errors.New("is empty")
	}
	if len(s) > maxText {
		return fmt.Errorf("is %d bytes long, want at most %d", len(s), maxText)
	}
	for i := range len(s) {
		if s[i] < lowest || s[i] > '~' {
			return fmt.Errorf("byte %d is %#02x, want printable ASCII", i, s[i])
		}
	}
	return nil
}

// leadingNumbers splits s into its two to four leading numbers, zero where absent,
// and the rest.
func leadingNumbers(s string) (numbers [maxNumbers]int, rest string, err error) {
	rest = s
	for i := range numbers {
		digits := leadingDigits(rest)
		if numbers[i], err = number(digits); err != nil {
			return numbers, "", err
		}
		rest = rest[len(digits):]
		if !dotDigit(rest) {
			if i == 0 {
				return numbers, "", errors.New("has one number, want at least two, as in 7.1")
			}
			return numbers, rest, checkSuffix(rest)
		}
		if i < maxNumbers-1 {
			rest = rest[1:]
		}
	}
	return numbers, "", fmt.Errorf("has more than %d numbers", maxNumbers)
}

// checkSuffix refuses a dangling dot: "7.0." is a truncated release. A dot with
// a word after it is how some vendors start their part.
func checkSuffix(suffix string) error {
	if strings.HasPrefix(suffix, ".") && (len(suffix) == 1 || !isLetter(suffix[1])) {
		return fmt.Errorf("%q follows the numbers, want a number or a word after the dot", suffix)
	}
	return nil
}

// candidate finds the first "rc" with digits after it and no letter before it.
func candidate(suffix string) (rc int, found bool, err error) {
	for i := range len(suffix) {
		if !strings.HasPrefix(suffix[i:], "rc") || i > 0 && isLetter(suffix[i-1]) {
			continue
		}
		digits := leadingDigits(suffix[i+len("rc"):])
		if digits == "" {
			continue
		}
		rc, err = number(digits)
		return rc, err == nil, err
	}
	return 0, false, nil
}

// number reads a bounded decimal number as upstream writes it. A leading zero is
// refused: it would let two spellings, "7.06" and "7.6", mean one release.
func number(digits string) (int, error) {
	if digits == "" {
		return 0, errors.New("does not start with a number, want the form 7.0.6")
	}
	if len(digits) > 1 && digits[0] == '0' {
		return 0, fmt.Errorf("number %s has a leading zero", digits)
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n > maxNumber {
		return 0, fmt.Errorf("number %s is above %d", digits, maxNumber)
	}
	return n, nil
}

func leadingDigits(s string) string {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return s[:n]
}

func dotDigit(s string) bool {
	return len(s) > 1 && s[0] == '.' && isDigit(s[1])
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
