package pin

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Release is the upstream part of a kernel release. Its fields are those of
// kver.Release, so that one converts to the other.
type Release struct {
	Major, Minor, Patch int
	Rebuild             int // must be 0: packages are told apart by three numbers
	Candidate           bool
	RC                  int
}

// String is 7.1 for 7.1.0, and 7.1-rc2.
func (r Release) String() string { return r.text("-rc") }

// text is String with a word of the manager's for release candidates.
func (r Release) text(rc string) string {
	s := fmt.Sprintf("%d.%d", r.Major, r.Minor)
	if r.Patch > 0 {
		s += "." + strconv.Itoa(r.Patch)
	}
	if r.Candidate {
		s += rc + strconv.Itoa(r.RC)
	}
	return s
}

func (r Release) numbers() numbers { return numbers{r.Major, r.Minor, r.Patch} }

func (r Release) check() error {
	for _, n := range []int{r.Major, r.Minor, r.Patch, r.RC} {
		if n < 0 || n > maxNumber {
			return fmt.Errorf("kernel release %v: number is %d, want 0 to %d", r, n, maxNumber)
		}
	}
	if r.Rebuild != 0 {
		return fmt.Errorf("kernel release %v has the fourth number %d, want three: packages are told apart by no more", r, r.Rebuild)
	}
	return nil
}

// numbers are major, minor and patch.
type numbers [3]int

func (n numbers) compare(o numbers) int {
	return cmp.Or(cmp.Compare(n[0], o[0]), cmp.Compare(n[1], o[1]), cmp.Compare(n[2], o[2]))
}

// bounds are the releases that a kernel may have: from low on, and below the numbers of
// high. Candidates of high are above: a branch does not hold those of the next.
type bounds struct {
	low    Release
	high   numbers
	closed bool // high counts
}

func (b bounds) String() string {
	if !b.closed {
		return fmt.Sprintf("%v and later", b.low)
	}
	return fmt.Sprintf("%v to below %v", b.low, b.ceiling())
}

// ceiling is high as a release.
func (b bounds) ceiling() Release {
	return Release{Major: b.high[0], Minor: b.high[1], Patch: b.high[2]}
}

// scope is what versions a pattern of somebody else's can mean.
type scope int

const (
	overlapping scope = iota // or not known
	outside
	inside
)

// scopeOf compares a version, or the front of one, with the bounds: the numbers that
// are not there can be any.
func (b bounds) scopeOf(leading []int) scope {
	if len(leading) == 0 {
		return overlapping
	}
	first, last := numbers{}, numbers{maxNumber + 1, maxNumber + 1, maxNumber + 1}
	for i := range min(len(leading), len(first)) {
		first[i], last[i] = leading[i], leading[i]
	}
	low := b.low.numbers()
	switch {
	case last.compare(low) < 0, b.closed && first.compare(b.high) >= 0:
		return outside
	case first.compare(low) >= 0 && (!b.closed || last.compare(b.high) < 0):
		return inside
	}
	return overlapping
}

// allows says whether some release is within the bounds that a comparison of versions
// lets through: "<", "<=", "=", ">=", ">", or "~" for a prefix.
func (b bounds) allows(comparator, version string) bool {
	leading := leadingNumbers(version)
	if len(leading) == 0 {
		return true
	}
	n := numbers{}
	copy(n[:], leading)
	switch comparator {
	case "=", "==":
		return b.scopeOf(n[:]) != outside
	case "~", "=~", "~=":
		return b.scopeOf(leading) != outside
	case "<":
		return n.compare(b.low.numbers()) > 0
	case "<=", "<~", "~<":
		return n.compare(b.low.numbers()) >= 0
	case ">", ">=", ">~", "~>":
		return !b.closed || n.compare(b.high) < 0
	}
	return true
}

// leadingNumbers gives the numbers that a package version begins with, its epoch left
// out: of "1:6.12.25-1" they are 6, 12 and 25. A number that runs into a wildcard is
// not whole and ends them.
func leadingNumbers(version string) []int {
	if epoch, rest, found := strings.Cut(version, ":"); found && strings.Trim(epoch, "0123456789") == "" {
		version = rest
	}
	var out []int
	for len(out) < 3 {
		end := len(version) - len(strings.TrimLeft(version, "0123456789"))
		if end == 0 || end < len(version) && strings.ContainsRune("*?[", rune(version[end])) {
			break
		}
		n, err := strconv.Atoi(version[:end])
		if err != nil || n > maxNumber {
			break
		}
		out, version = append(out, n), version[end:]
		if !strings.HasPrefix(version, ".") {
			break
		}
		version = version[1:]
	}
	return out
}
