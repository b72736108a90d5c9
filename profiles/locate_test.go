package profiles

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
)

// document numbers its lines in the values: each key that ends in a number stands in
// the line of that number.
const document = `a1 = "text # no comment" # a comment
b2 = 'c:\'
"quoted \u0061 3" = 1
'literal "4"' = """
d5 = "no key"
\""" e6 = "no key" \
"""""
f8 = '''
[g9]
\'''
h11.i11."j.11" = { k11 = 1, l11 = [ { m11 = 2 } ] }
n12 = [
  13, # ] a comment
  "14 ]",
  [ 15, 15,
    16 ],
  { o17 = [
    18 ] },
]
   [ p20 . q20 ]
r21 = 1979-05-27 07:32:00 # s

[[t23]]
u24 = { v24 = { w24 = true } }
[t23.x25]
y26 = [ ]
[[t23]]
z28 = -1.5e3
[[t23.aa29]]
bb30 = 1
[[t23.aa29]]
`

// TestLocateLines wants every key of the document at the line that its name tells.
func TestLocateLines(t *testing.T) {
	for name, text := range map[string]string{
		"LF":    document,
		"CRLF":  strings.ReplaceAll(document, "\n", "\r\n"),
		"BOM":   "\ufeff" + document,
		"noEOL": strings.TrimSuffix(document, "\n"),
	} {
		t.Run(name, func(t *testing.T) {
			values := make(map[string]any)
			if _, err := toml.Decode(text, &values); err != nil {
				t.Fatalf("the document is no TOML: %v", err)
			}
			root, _, err := locate(text)
			if err != nil {
				t.Fatal(err)
			}
			if n := checkNumbered(t, values, root); n != 25 {
				t.Errorf("%d keys were compared, want 25", n)
			}
		})
	}
}

// checkNumbered compares the line of each key and each number in n12, and counts them.
func checkNumbered(t *testing.T, value any, at *node) (count int) {
	t.Helper()
	switch typed := value.(type) {
	case map[string]any:
		for key, v := range typed {
			count += 1 + checkNumbered(t, v, at.at(key))
			if want := lastNumber(key); at.keys[key] == nil || at.at(key).line != want {
				t.Errorf("key %q: line %d, want %d", key, at.at(key).line, want)
			}
		}
	case int64:
		if typed > 10 && at.line != int(typed) {
			t.Errorf("element %d: line %d", typed, at.line)
		}
	default:
		elements, _ := asArray(value)
		if len(elements) != len(at.items) && len(elements) > 0 {
			t.Errorf("array in line %d: %d elements located, want %d", at.line, len(at.items), len(elements))
		}
		for i, e := range elements {
			count += checkNumbered(t, e, at.index(i))
		}
	}
	return count
}

func lastNumber(key string) int {
	digits := key[strings.LastIndexFunc(strings.TrimRight(key, `"`), func(r rune) bool { return r < '0' || r > '9' })+1:]
	n := 0
	fmt.Sscanf(digits, "%d", &n)
	return n
}

// TestLocateTablesOfArray wants the line of each table's own header.
func TestLocateTablesOfArray(t *testing.T) {
	root, _, err := locate(document)
	if err != nil {
		t.Fatal(err)
	}
	tables := root.at("t23")
	if got := []int{tables.index(0).line, tables.index(1).line, tables.index(1).at("aa29").index(1).line}; !slices.Equal(got, []int{23, 27, 31}) {
		t.Errorf("tables of t23 are in lines %v, want [23 27 31]", got)
	}
	if got := tables.index(1).at("missing").line; got != 27 {
		t.Errorf("a missing key is put in line %d, want 27, its table's", got)
	}
}

// TestHostileNesting wants an answer in good time for text that costs the TOML library
// minutes: quadratic in the depth of keys.
func TestHostileNesting(t *testing.T) {
	n := maxFile / 4
	cases := map[string]string{
		"dotted key":      strings.Repeat("a.", n) + "a = 1",
		"table header":    "[" + strings.Repeat("a.", n) + "a]\nb = 1",
		"bare header":     "[" + strings.Repeat("a.", n) + "a]",
		"inline tables":   "a = " + strings.Repeat("{a=", n),
		"tables in lines": "a = " + strings.Repeat("{\na=", n-9),
		"arrays":          "a = " + strings.Repeat("[", n),
		"mixed":           "a = " + strings.Repeat("[{a.a=", n/2),
		"header and keys": "[" + strings.Repeat("a.", 9) + "a]\n" + strings.Repeat("b.", 9) + "b = 1",
	}
	for name, text := range cases {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			f := parseFile("p.toml", []byte(text))
			if took := time.Since(start); took > time.Minute {
				t.Errorf("took %v", took)
			}
			if len(f.findings) != 1 || f.findings[0].Message != errNesting.Error() {
				t.Errorf("findings are %v, want one: %v", f.findings, errNesting)
			}
		})
	}
}

// TestHostileLastLine has the locator give up before deep nesting on the same line, which the
// TOML library then must refuse at once too.
func TestHostileLastLine(t *testing.T) {
	deep := strings.Repeat("a.", maxFile/4) + "a = 1"
	for _, text := range []string{"x x." + deep, `"\q".` + deep, "=" + deep, "[x" + " " + deep, "a = [1 " + deep, "a = {b = 1 " + deep, "]" + deep, "a = \n" + deep} {
		start := time.Now()
		f := parseFile("p.toml", []byte(text))
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%.12q… took %v", text, took)
		}
		if len(f.findings) != 1 {
			t.Errorf("%.12q…: findings are %v, want one", text, f.findings)
		}
	}
}

// FuzzLocate wants the locator to follow everything that the TOML library takes,
// with each of the library's keys in a line of the text, and each array of full length.
func FuzzLocate(f *testing.F) {
	seeds := []string{
		document, "a=1", "[a]\nb=[1,\n2]", "[[a.b]]\nc={d=[]}", `'a'."b" = """x\"""y"""""`, `a = "\""`, "a='''\n'''", "#\r\n\ta = 07:32:00",
	}
	for _, name := range slices.Concat(Names(), tables) {
		text, err := shipped.ReadFile(name + suffix)
		if err != nil {
			f.Fatal(err)
		}
		seeds = append(seeds, string(text))
	}
	for _, seed := range seeds {
		if _, err := toml.Decode(seed, &map[string]any{}); err != nil {
			f.Fatalf("seed %q is no TOML: %v", seed, err)
		}
		if _, _, err := locate(seed); err != nil {
			f.Fatalf("seed %q is not located: %v", seed, err)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4<<10 {
			return
		}
		root, at, err := locate(text)
		if errors.Is(err, errNesting) {
			return
		}
		values := make(map[string]any)
		md, syntax := toml.Decode(text, &values)
		if syntax != nil || strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") {
			return
		}
		if err != nil {
			t.Fatalf("the library takes it, the locator stops in line %d", at.line)
		}
		checkLocated(t, values, root, 1+strings.Count(text, "\n"))
		if len(md.Keys()) > 0 && len(root.keys) == 0 {
			t.Errorf("the library has the keys %v, the locator none", md.Keys())
		}
	})
}

func checkLocated(t *testing.T, value any, at *node, lines int) {
	t.Helper()
	if at.line < 1 || at.line > lines {
		t.Errorf("line %d is not in the text of %d lines", at.line, lines)
	}
	if table, ok := value.(map[string]any); ok {
		for key, v := range table {
			if at.keys[key] == nil {
				t.Errorf("key %q is not located", key)
				continue
			}
			checkLocated(t, v, at.keys[key], lines)
		}
		return
	}
	elements, _ := asArray(value)
	if len(elements) != len(at.items) {
		t.Errorf("%d elements are located, want %d", len(at.items), len(elements))
		return
	}
	for i, e := range elements {
		checkLocated(t, e, at.items[i], lines)
	}
}
