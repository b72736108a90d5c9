package pin

import (
	"strconv"
	"strings"
)

// Patterns for numbers name every digit, since a dash in a class would end the name of
// a package for dnf; so they read the same in a glob and in a regular expression.
const (
	anyDigit  = "[0123456789]"
	leadDigit = "[123456789]"
)

// class matches one digit from lo to hi.
func class(lo, hi byte) string {
	if lo == hi {
		return string(lo)
	}
	var b strings.Builder
	for d := lo; d <= hi; d++ {
		b.WriteByte(d)
	}
	return "[" + b.String() + "]"
}

// lessThan gives patterns that together match every number below n.
func lessThan(n int) []string {
	var out []string
	s := strconv.Itoa(n)
	for digits := 1; digits < len(s); digits++ {
		out = append(out, ofDigits(digits))
	}
	for i := range len(s) {
		lo := byte('0')
		if i == 0 && len(s) > 1 {
			lo = '1'
		}
		if s[i] > lo {
			out = append(out, s[:i]+class(lo, s[i]-1)+strings.Repeat(anyDigit, len(s)-i-1))
		}
	}
	return out
}

// moreThan gives patterns that together match every number above n, up to maxDigits.
func moreThan(n int) []string {
	var out []string
	if n < 0 {
		return append([]string{anyDigit}, moreThan(9)...)
	}
	s := strconv.Itoa(n)
	for i := range len(s) {
		if s[i] < '9' {
			out = append(out, s[:i]+class(s[i]+1, '9')+strings.Repeat(anyDigit, len(s)-i-1))
		}
	}
	for digits := len(s) + 1; digits <= maxDigits; digits++ {
		out = append(out, ofDigits(digits))
	}
	return out
}

// ofDigits matches every number of so many digits.
func ofDigits(digits int) string {
	if digits == 1 {
		return anyDigit
	}
	return leadDigit + strings.Repeat(anyDigit, digits-1)
}

// shape is a set of versions: those whose leading numbers match, each one of its
// alternatives.
type shape struct {
	numbers [][]string
	short   bool     // no number follows: what is not written is zero
	rc      []string // only release candidates whose number matches; nil: all versions
}

func only(n int) []string { return []string{strconv.Itoa(n)} }

// below are the versions under the lower bound.
func (b bounds) below() []shape {
	low := b.low
	major, minor, patch := only(low.Major), only(low.Minor), only(low.Patch)
	out := []shape{
		{numbers: [][]string{lessThan(low.Major)}},
		{numbers: [][]string{major, lessThan(low.Minor)}},
		{numbers: [][]string{major, minor, lessThan(low.Patch)}},
	}
	if low.Patch > 0 {
		out = append(out, shape{numbers: [][]string{major, minor}, short: true})
	}
	if low.Patch > 0 || low.Minor > 0 {
		out = append(out, shape{numbers: [][]string{major}, short: true})
	}
	rc := []string{anyDigit}
	if low.Candidate {
		rc = lessThan(low.RC)
	}
	out = append(out, shape{numbers: [][]string{major, minor, patch}, rc: rc})
	if low.Patch == 0 {
		out = append(out, shape{numbers: [][]string{major, minor}, short: true, rc: rc})
	}
	return nonEmpty(out)
}

// above are the versions at and over the upper bound.
func (b bounds) above() []shape {
	if !b.closed {
		return nil
	}
	major, minor := only(b.high[0]), only(b.high[1])
	out := []shape{{numbers: [][]string{moreThan(b.high[0])}}}
	if b.high[1] == 0 && b.high[2] == 0 {
		return append(out, shape{numbers: [][]string{major}})
	}
	out = append(out, shape{numbers: [][]string{major, moreThan(b.high[1])}})
	if b.high[2] == 0 {
		return append(out, shape{numbers: [][]string{major, minor}})
	}
	return append(out, shape{numbers: [][]string{major, minor, moreThan(b.high[2] - 1)}})
}

// nonEmpty leaves out what can match nothing.
func nonEmpty(shapes []shape) []shape {
	var out []shape
	for _, s := range shapes {
		if len(s.numbers[len(s.numbers)-1]) > 0 && (s.rc == nil || len(s.rc) > 0) {
			out = append(out, s)
		}
	}
	return out
}

// regexOf gives a POSIX extended regular expression for package versions, with or
// without an epoch, of any of the shapes; case does not count.
func regexOf(shapes []shape) string {
	var parts []string
	for _, s := range shapes {
		parts = append(parts, s.regex())
	}
	short := strings.NewReplacer(anyDigit, "[0-9]", leadDigit, "[1-9]")
	return short.Replace("^([0-9]+:)?" + group(parts))
}

// regex is for what follows the epoch.
func (s shape) regex() string {
	var parts []string
	for _, alternatives := range s.numbers {
		parts = append(parts, group(alternatives))
	}
	out := strings.Join(parts, `\.`)
	// Beside digits, what may not follow: else the epoch would pass for the major number.
	more := ":"
	if s.short {
		more += "."
	}
	if s.rc == nil {
		return out + "([^0-9" + more + "]|$)"
	}
	// "~rc2" follows the numbers at once, "-070100rc2" later; "arc2" is no candidate.
	out += "([^0-9a-z" + more + "]|[^0-9" + more + "].*[^a-z])rc" + group(s.rc)
	if s.rc[0] != anyDigit || len(s.rc) > 1 {
		out += "([^0-9]|$)"
	}
	return out
}

func group(alternatives []string) string {
	if len(alternatives) == 1 {
		return alternatives[0]
	}
	return "(" + strings.Join(alternatives, "|") + ")"
}

// globs gives patterns for VERSION-RELEASE of an rpm package.
func (s shape) globs() []string {
	versions := []string{""}
	for i, alternatives := range s.numbers {
		var next []string
		for _, v := range versions {
			for _, a := range alternatives {
				if i > 0 {
					a = "." + a
				}
				next = append(next, v+a)
			}
		}
		versions = next
	}
	var out []string
	for _, v := range versions {
		out = append(out, s.endings(v)...)
	}
	return out
}

// endings are the ways in which a version goes on behind its numbers. Fedora's
// release candidates have theirs in the release: 7.1.0-0.rc2.
func (s shape) endings(v string) []string {
	switch {
	case len(s.rc) == 1 && s.rc[0] == anyDigit:
		return []string{v + "-0.rc*", v + "[~_]rc*-*"}
	case s.rc != nil:
		var out []string
		for _, rc := range s.rc {
			out = append(out, v+"-0.rc"+rc+".*", v+"[~_]rc"+rc+"-*")
		}
		return out
	case s.short && len(s.numbers) == 1:
		return nil // no rpm kernel has a version of one number
	case s.short:
		return []string{v + "-*", v + "[~_]*-*"}
	case len(s.numbers) == 1:
		return []string{v + ".*-*"}
	}
	return []string{v + "-*", v + "[.~_]*-*"}
}
