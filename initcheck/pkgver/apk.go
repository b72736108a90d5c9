package pkgver

import (
	"cmp"
	"slices"
	"strings"
)

// APK returns -1, 0 or 1 as apk orders number{.number}…{letter}{_suffix{number}}…{-rN}.
// A hash behind a tilde does not count.
//
// Numbers after the first are compared as text where one has a leading zero: 1.06 comes
// before 1.1.
func APK(a, b string) int {
	versionA, buildA := apkParts(a)
	versionB, buildB := apkParts(b)
	return cmp.Or(apkVersion(versionA, versionB), compareNumbers(buildA, buildB))
}

// apkParts takes the build and the hash off the end.
func apkParts(s string) (version, build string) {
	if i := strings.LastIndex(s, "-r"); i >= 0 {
		s, build = s[:i], s[i+2:]
	}
	version, _, _ = strings.Cut(s, "~")
	return version, build
}

func apkVersion(a, b string) int {
	numbersA, restA := cutWhile(a, numberOrDot)
	numbersB, restB := cutWhile(b, numberOrDot)
	letterA, restA := cutWhile(restA, isLetter)
	letterB, restB := cutWhile(restB, isLetter)
	return cmp.Or(
		apkNumbers(strings.Split(numbersA, "."), strings.Split(numbersB, ".")),
		cmp.Compare(letterA, letterB),
		apkSuffixes(restA, restB),
	)
}

func apkNumbers(a, b []string) int {
	for i := range min(len(a), len(b)) {
		compare := compareNumbers
		if i > 0 && (strings.HasPrefix(a[i], "0") || strings.HasPrefix(b[i], "0")) {
			compare = cmp.Compare[string]
		}
		if c := compare(a[i], b[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

// apkSuffixes compares one suffix after the other; none stands between "rc" and "cvs".
func apkSuffixes(a, b string) int {
	for a != "" || b != "" {
		var suffixA, suffixB string
		suffixA, a = cutSuffix(a)
		suffixB, b = cutSuffix(b)
		wordA, numberA := cutWhile(suffixA, isLetter)
		wordB, numberB := cutWhile(suffixB, isLetter)
		if c := cmp.Or(cmp.Compare(apkRank(wordA), apkRank(wordB)), compareNumbers(numberA, numberB)); c != 0 {
			return c
		}
	}
	return 0
}

// cutSuffix takes the first suffix, without its underscore, off the front.
func cutSuffix(s string) (suffix, rest string) {
	s = strings.TrimPrefix(s, "_")
	if i := strings.IndexByte(s, '_'); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

// apkRank is the place in the list of suffixes that apk-package(5) gives. A word that
// is not in it comes first, so that it never passes for newer.
func apkRank(word string) int {
	return slices.Index([]string{"alpha", "beta", "pre", "rc", "", "cvs", "svn", "git", "hg", "p"}, word)
}

func numberOrDot(c byte) bool { return isDigit(c) || c == '.' }
