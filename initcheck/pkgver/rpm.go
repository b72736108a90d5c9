package pkgver

import (
	"cmp"
	"errors"
	"strings"
)

// RPM returns -1, 0 or 1 as rpm orders [epoch:]version[-release]. No release comes
// before any, so that "7.0.7" is at or below every release of 7.0.7.
func RPM(a, b string) int {
	epochA, a := cutEpoch(a)
	epochB, b := cutEpoch(b)
	versionA, releaseA := cutLast(a, "-")
	versionB, releaseB := cutLast(b, "-")
	return cmp.Or(
		compareNumbers(epochA, epochB),
		rpmPart(versionA, versionB),
		cmp.Compare(min(len(releaseA), 1), min(len(releaseB), 1)),
		rpmPart(releaseA, releaseB),
	)
}

// CheckRPM tells what keeps a text from being a version of an RPM package.
func CheckRPM(version string) error {
	if err := check(version, "._+-:~^"); err != nil {
		return err
	}
	if _, rest := cutEpoch(version); rest == "" || strings.Contains(rest, ":") {
		return errors.New("has a colon behind more than an epoch, or nothing behind it")
	}
	return nil
}

// rpmPart compares segments of digits and of letters. What stands between them only
// separates, but for the tilde, which sorts before the end, and the caret, which sorts
// after the end and before everything else.
func rpmPart(a, b string) int {
	if a == b {
		return 0
	}
	for {
		_, a = cutWhile(a, rpmSeparator)
		_, b = cutWhile(b, rpmSeparator)
		rankA, rankB := rpmRank(a), rpmRank(b)
		if rankA != rankB {
			return cmp.Compare(rankA, rankB)
		}
		switch rankA {
		case rankEnd:
			return 0
		case rankTilde, rankCaret:
			a, b = a[1:], b[1:]
			continue
		}
		var c int
		if c, a, b = rpmSegment(a, b, rankA == rankDigits); c != 0 {
			return c
		}
	}
}

// What a segment starts with, in rpm's order.
const (
	rankTilde = iota
	rankEnd
	rankCaret
	rankLetters
	rankDigits
)

func rpmRank(s string) int {
	switch {
	case s == "":
		return rankEnd
	case s[0] == '~':
		return rankTilde
	case s[0] == '^':
		return rankCaret
	case isDigit(s[0]):
		return rankDigits
	}
	return rankLetters
}

// rpmSegment compares the first segments, which are of one kind, and gives the rests.
func rpmSegment(a, b string, digits bool) (c int, restA, restB string) {
	class, compare := isLetter, cmp.Compare[string]
	if digits {
		class, compare = isDigit, compareNumbers
	}
	headA, restA := cutWhile(a, class)
	headB, restB := cutWhile(b, class)
	return compare(headA, headB), restA, restB
}

func rpmSeparator(c byte) bool {
	return !isDigit(c) && !isLetter(c) && c != '~' && c != '^'
}
