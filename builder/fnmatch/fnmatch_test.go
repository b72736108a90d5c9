package fnmatch_test

import (
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/fnmatch"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"", "", true}, {"*", "", true}, {"*", "a/b", true}, {"a*c*e", "abcde", true}, {"a*c*e", "abcdef", false}, {"?", "/", true}, {"?", "", false},
		{"[a-c]x", "bx", true}, {"[!a-c]x", "bx", false}, {"[^a-c]x", "dx", true}, {"[]a]", "]", true}, {"[a", "[a", true}, {"[", "[", true}, {"[]", "[]", true},
		{"[[:alpha:]]1", "a1", true}, {"[[:digit:]]", "a", false}, {"[[.-.]a]", "-", true}, {"[a-]", "-", true}, {"[c-a]", "b", false}, {"\\*", "*", true}, {"\\*", "a", false}, {"a\\", "a", false},
		{"[[:A:]x", ":x", true}, {"[[:z:]", "z", true}, {"[[:a", "[[:a", true},
		{"[" + strings.Repeat("[:", 1<<19), "a", false}, // ends soon: nobody looks for the end of a class twice
		{strings.Repeat("*a", 40) + "b", strings.Repeat("a", 200), false},
	} {
		if got := fnmatch.Match(c.pattern, c.name); got != c.want {
			t.Errorf("%q matches %q: %v, want %v", c.pattern, c.name, got, c.want)
		}
	}
}
