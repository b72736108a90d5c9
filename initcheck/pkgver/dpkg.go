package pkgver

import (
	"cmp"
	"errors"
	"strings"
)

// Dpkg returns -1, 0 or 1 as dpkg orders [epoch:]upstream[-revision].
func Dpkg(a, b string) int {
	epochA, a := cutEpoch(a)
	epochB, b := cutEpoch(b)
	upstreamA, revisionA := cutLast(a, "-")
	upstreamB, revisionB := cutLast(b, "-")
	return cmp.Or(
		compareNumbers(epochA, epochB),
		dpkgPart(upstreamA, upstreamB),
		dpkgPart(revisionA, revisionB), // none is the same as 0
	)
}

// CheckDpkg tells what keeps a text from being a version of a Debian package.
func CheckDpkg(version string) error {
	if err := check(version, ".+-:~"); err != nil {
		return err
	}
	if _, rest := cutEpoch(version); rest == "" || !isDigit(rest[0]) {
		return errors.New("does not start with a digit")
	}
	return nil
}

// dpkgPart compares, in turns, what is no digit by the weight of its characters, and
// digits by their value.
func dpkgPart(a, b string) int {
	for a != "" || b != "" {
		var textA, textB, numberA, numberB string
		textA, a = cutWhile(a, notDigit)
		textB, b = cutWhile(b, notDigit)
		numberA, a = cutWhile(a, isDigit)
		numberB, b = cutWhile(b, isDigit)
		if c := cmp.Or(dpkgText(textA, textB), compareNumbers(numberA, numberB)); c != 0 {
			return c
		}
	}
	return 0
}

func dpkgText(a, b string) int {
	for i := range max(len(a), len(b)) {
		if c := cmp.Compare(dpkgWeight(a, i), dpkgWeight(b, i)); c != 0 {
			return c
		}
	}
	return 0
}

// dpkgWeight sorts the tilde before the end, the end before letters, and letters
// before the rest.
func dpkgWeight(s string, i int) int {
	switch {
	case i >= len(s):
		return 0
	case s[i] == '~':
		return -1
	case isLetter(s[i]):
		return int(s[i])
	}
	return int(s[i]) + 256
}

// cutLast splits at the last separator; without one all is the first part.
func cutLast(s, separator string) (before, after string) {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+len(separator):]
	}
	return s, ""
}

func notDigit(c byte) bool { return !isDigit(c) }
