package pkgver

import "cmp"

// Pacman returns -1, 0 or 1 as vercmp orders [epoch:]version[-release]. The release
// counts only where both have one.
func Pacman(a, b string) int {
	epochA, a := cutEpoch(a)
	epochB, b := cutEpoch(b)
	versionA, releaseA := cutLast(a, "-")
	versionB, releaseB := cutLast(b, "-")
	if c := cmp.Or(compareNumbers(epochA, epochB), pacmanPart(versionA, versionB)); c != 0 {
		return c
	}
	if releaseA == "" || releaseB == "" {
		return 0
	}
	return pacmanPart(releaseA, releaseB)
}

// pacmanPart is an old form of rpm's order: it knows neither tilde nor caret, letters at
// the end come before the end (1.0rc1 before 1.0), and a longer separator comes after a
// shorter one.
func pacmanPart(a, b string) int {
	if a == b {
		return 0
	}
	for a != "" && b != "" {
		var separatorA, separatorB string
		separatorA, a = cutWhile(a, notAlphanumeric)
		separatorB, b = cutWhile(b, notAlphanumeric)
		if a == "" || b == "" {
			break
		}
		if c := cmp.Compare(len(separatorA), len(separatorB)); c != 0 {
			return c
		}
		if digitsA, digitsB := isDigit(a[0]), isDigit(b[0]); digitsA != digitsB {
			if digitsA {
				return 1
			}
			return -1
		}
		var c int
		if c, a, b = rpmSegment(a, b, isDigit(a[0])); c != 0 {
			return c
		}
	}
	return pacmanEnd(a, b)
}

// pacmanEnd decides where one of the two has run out.
func pacmanEnd(a, b string) int {
	switch {
	case a == "" && b == "":
		return 0
	case a == "" && !isLetter(b[0]), a != "" && isLetter(a[0]):
		return -1
	}
	return 1
}

func notAlphanumeric(c byte) bool { return !isDigit(c) && !isLetter(c) }
