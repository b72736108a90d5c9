package bootentry

import (
	"cmp"
	"strings"
)

// compareVersions orders versions as boot loaders do (UAPI.10 Version Format
// Specification, "Version Comparison"): negative if a is older than b.
func compareVersions(a, b string) int {
	for {
		a, b = strings.TrimLeftFunc(a, notInVersion), strings.TrimLeftFunc(b, notInVersion)
		if strings.HasPrefix(a, "~") || strings.HasPrefix(b, "~") {
			if c := later(a, b, "~"); c != 0 {
				return c
			}
			a, b = a[1:], b[1:]
		}
		if a == "" || b == "" {
			return cmp.Compare(min(len(a), 1), min(len(b), 1))
		}
		for _, separator := range []string{"-", "^", "."} {
			if c := later(a, b, separator); c != 0 {
				return c
			}
			if strings.HasPrefix(a, separator) {
				a, b = a[1:], b[1:]
			}
		}
		var c int
		if a, b, c = comparePart(a, b); c != 0 {
			return c
		}
	}
}

// later puts the one that begins with a separator first.
func later(a, b, separator string) int {
	older := func(s string) int {
		if strings.HasPrefix(s, separator) {
			return 0
		}
		return 1
	}
	return cmp.Compare(older(a), older(b))
}

// comparePart compares leading numbers, or leading letters where neither has one.
func comparePart(a, b string) (restA, restB string, c int) {
	isDigit := func(r rune) bool { return r >= '0' && r <= '9' }
	isLetter := func(r rune) bool { return r|0x20 >= 'a' && r|0x20 <= 'z' }
	if startsWithDigit(a) || startsWithDigit(b) {
		restA, restB = strings.TrimLeftFunc(a, isDigit), strings.TrimLeftFunc(b, isDigit)
		x, y := a[:len(a)-len(restA)], b[:len(b)-len(restB)]
		if c = cmp.Compare(min(len(x), 1), min(len(y), 1)); c != 0 {
			return restA, restB, c
		}
		x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
		return restA, restB, cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y))
	}
	restA, restB = strings.TrimLeftFunc(a, isLetter), strings.TrimLeftFunc(b, isLetter)
	return restA, restB, strings.Compare(a[:len(a)-len(restA)], b[:len(b)-len(restB)])
}

func notInVersion(r rune) bool {
	return !strings.ContainsRune("~-^.", r) && (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z')
}
