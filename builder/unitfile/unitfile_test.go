package unitfile_test

import (
	"slices"
	"testing"

	"github.com/kerngate/kerngate/builder/unitfile"
)

// What systemd itself makes of unit files is held by package inference, which compares.
func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []unitfile.Setting
	}{
		"blanks":                  {"[Unit]\n A = b \n", []unitfile.Setting{{"Unit", "A", "b", "f", 2}}},
		"no section":              {"A=b\n", nil},
		"comments":                {"[Unit]\n#A=b\n ;A=b\n", nil},
		"continued":               {"[Unit]\nA=b\\\nc\n", []unitfile.Setting{{"Unit", "A", "b c", "f", 3}}},
		"continued over comments": {"[Unit]\nA=\\\n# b\n; c\n\nB=d", []unitfile.Setting{{"Unit", "A", "", "f", 5}, {"Unit", "B", "d", "f", 6}}},
		"escaped backslash":       {"[Unit]\nA=b\\\\\nB=c\n", []unitfile.Setting{{"Unit", "A", `b\\`, "f", 2}, {"Unit", "B", "c", "f", 3}}},
		"ends of lines":           {"[Unit]\rA=b\x00B=c\r\nC=d\n\rD=e", []unitfile.Setting{{"Unit", "A", "b", "f", 2}, {"Unit", "B", "c", "f", 3}, {"Unit", "C", "d", "f", 4}, {"Unit", "D", "e", "f", 5}}},
	} {
		if got := unitfile.Parse("f", []byte(c.text)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q is %+v, want %+v", name, c.text, got, c.want)
		}
	}
}

func TestWords(t *testing.T) {
	for value, want := range map[string][]string{
		` a  "b c"'d' `: {"a", "b cd"},
		`"77" \x41 \q`:  {"77", "A", `\q`},
		`a "b`:          {"a", "b"},
		`a b c d`:       {"a", "b", "c"},
		``:              nil,
	} {
		if got := unitfile.Words(value, 3); !slices.Equal(got, want) {
			t.Errorf("%q is %q, want %q", value, got, want)
		}
	}
}
