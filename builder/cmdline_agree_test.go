package builder_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/kerngate/kerngate/builder/bootentry"
	"github.com/kerngate/kerngate/initcheck/probe"
)

// TestCheckerReadsCommandLinesAlike has the checker and the builder read the same made-up
// kernel command lines, quotes and all.
func TestCheckerReadsCommandLinesAlike(t *testing.T) {
	const lines = 20_000
	pieces := []string{"module_blacklist=", " module_blacklist=a,", " module-blacklist=b", ` module_blacklist="c`, " initcall_blacklist=a", ` initcall_blacklist="b,`, "x=", "a", "b", "c", "a-b", ",", ",", `"`, `"`, " ", " ", " ", "--", " -- ", "=", "\t", "\xa0", "ä", strings.Repeat("y", 1030)}
	names := []string{"a", "b", "c"}
	random := rand.New(rand.NewPCG(1, 2))
	found := 0
	for range lines {
		var b strings.Builder
		for range 1 + random.IntN(14) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		line := b.String()
		root := fstest.MapFS{"proc/cmdline": {Data: []byte(line + "\n")}}
		denied, skipped := probe.ReadKernel(root, "", time.Time{}).Denied, probe.ReadInitcalls(root, nil).Skipped
		modules, initcalls := bootentry.Effective(line)
		for _, name := range names {
			want, wantCall := slices.Contains(modules, name), slices.Contains(initcalls, name)
			if denied.Has(name) != want || skipped.Has(name) != wantCall {
				t.Fatalf("%q: to the checker module %s is denied: %t, and function %s skipped: %t; to the builder %t and %t",
					line, name, denied.Has(name), name, skipped.Has(name), want, wantCall)
			}
			if want || wantCall {
				found++
			}
		}
	}
	if found < lines/20 {
		t.Fatalf("names found in blacklists: %d, want some in every twentieth of %d lines", found, lines)
	}
	t.Logf("%d lines agree, with %d names in their blacklists", lines, found)
}
