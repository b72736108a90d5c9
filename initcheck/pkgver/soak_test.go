//go:build soak

package pkgver_test

import (
	"testing"

	"github.com/kerngate/kerngate/initcheck/pkgver"
)

// TestSoakDpkgAgainstDpkg starts dpkg up to twice for each pair.
func TestSoakDpkgAgainstDpkg(t *testing.T) {
	cases := generate(5, pairs, debianShape, "01a.~+")
	agree(t, "dpkg --compare-versions", cases, dpkgAnswers(t, cases), pkgver.Dpkg)
}
