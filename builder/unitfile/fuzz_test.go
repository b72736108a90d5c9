package unitfile_test

import (
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/unitfile"
)

// FuzzParse looks for crashes, and for settings and words that a file cannot have.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"[Service]\nExecStart=/bin/sh -c 'a \"b\" \\x41'\n", "[Unit]\r\nA=b\\\n# c\n d\x00B=\"e", "\ufeff[Unit]\nRestrictAddressFamilies=~AF_ALG \\u00e9 \\101",
	} {
		if len(unitfile.Parse("seed", []byte(seed))) == 0 {
			f.Fatalf("seed %q has no settings", seed)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<16 {
			return
		}
		last := 0
		for _, s := range unitfile.Parse("f", []byte(text)) {
			if s.Line <= last || s.Section == "" {
				t.Errorf("setting %+v after line %d", s, last)
			}
			last = s.Line
			if strings.ContainsAny(s.Key+s.Value, "\n\r\x00") || strings.Trim(s.Value, " \t") != s.Value {
				t.Errorf("setting %+v has an end of line or blanks around it", s)
			}
			const limit = 5
			words := unitfile.Words(s.Value, limit)
			if len(words) > limit || len(strings.Join(words, " ")) > len(s.Value) {
				t.Errorf("words of %q are %q, want at most %d, and not more than there is", s.Value, words, limit)
			}
			if got := unitfile.Unescape(s.Value); len(got) > len(s.Value) {
				t.Errorf("%q is %q without escapes, which is longer", s.Value, got)
			}
		}
	})
}
