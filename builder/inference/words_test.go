package inference

import (
	"strings"
	"testing"
)

// TestVariables: what stands for a name, and that no value grows without end.
func TestVariables(t *testing.T) {
	v := variables{}
	v.set("A", "x")
	v.set("LONG", strings.Repeat("y", 2*maxValue))
	for _, c := range []struct{ word, want string }{
		{"$A", "x"}, {"${A}b", "xb"}, {"${A:-z}", "x"}, {"${B:-z}", "z"}, {"$B", "$B"}, {"${B}", "${B}"}, {"$", "$"}, {"${A", "${A"}, {"a$A.b", "ax.b"},
		{"$LONG", strings.Repeat("y", maxValue)},
	} {
		if got := v.expand(c.word); got != c.want {
			t.Errorf("%.20s is %.20q of %d bytes, want %.20q of %d", c.word, got, len(got), c.want, len(c.want))
		}
	}
}
