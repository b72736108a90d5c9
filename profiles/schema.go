package profiles

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/kerngate/kerngate/initcheck/kver"
	"github.com/kerngate/kerngate/initcheck/policy"
)

// schemaVersion is the only value of the key schema that this build takes.
const schemaVersion = 1

// Limits. A profile is written by hand: these are far above need, and far below what
// could make the policy exceed policy.Limit once all files of a chain are merged.
const (
	maxModules = 256 // [[module]] entries in a file; the table of known modules has a tenth of it
	maxUnits   = 512 // units, in a file and after merging
	maxText    = 200 // bytes of a description or reason
	maxUnit    = 255 // bytes of a unit name: systemd.unit(5)
)

// kind is the TOML type of a key's value.
type kind string

const (
	kindString  kind = "a string"
	kindInteger kind = "an integer"
	kindBoolean kind = "a boolean"
	kindTable   kind = "a table"
	kindStrings kind = "an array of strings"
	kindTables  kind = "an array of tables"

	kindDirectory kind = "true, false or a string" // whether, or in which directory
)

// field is one key of the schema.
type field struct {
	key      string
	kind     kind
	required bool
	fields   []field             // of kindTable and kindTables
	check    func(string) string // of every string, or each in an array: what is wrong with it, "" if nothing
	max      int                 // of an array: most elements; 0 means no limit but the file's
	min      int                 // of an array: fewest elements
	empty    string              // of an array with min: what to do instead
}

// schema lists every key. A key that is not here is an error: a setting that is
// read by nobody must not look as if it did something.
var schema = []field{
	{key: "schema", kind: kindInteger, required: true},
	{key: "name", kind: kindString, required: true, check: checkName},
	{key: "description", kind: kindString, required: true, check: checkText},
	{key: "extends", kind: kindStrings, check: checkText, max: maxFiles - 1},
	{key: "accept", kind: kindStrings, check: oneOf(words(Accepts())...)},
	{key: "kernel", kind: kindTable, fields: kernelFields},
	{key: "module", kind: kindTables, max: maxModules, fields: []field{
		{key: "name", kind: kindString, required: true, check: checkModule},
		{key: "reason", kind: kindString, required: true, check: checkText},
		{key: "block", kind: kindStrings, check: oneOf(words(allBlocks())...)},
		{key: "remove", kind: kindBoolean},
		{key: "refuse_if", kind: kindStrings, check: oneOf(string(policy.Loaded), string(policy.BuiltIn))},
	}},
	{key: "gate", kind: kindTable, fields: gateFields},
	{key: "report", kind: kindTable, fields: reportFields},
}

var nameForm = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

func checkName(s string) string {
	if !nameForm.MatchString(s) {
		return fmt.Sprintf("is %s, want 1 to 64 of a-z, 0-9 and -", quote(s))
	}
	return ""
}

// checkText keeps control and formatting characters out of text that ends up in
// configuration files, on the console and in the journal.
func checkText(s string) string {
	switch {
	case strings.TrimSpace(s) == "":
		return "is empty"
	case len(s) > maxText:
		return fmt.Sprintf("is %d bytes long, want at most %d", len(s), maxText)
	}
	for i, r := range s {
		if !unicode.IsPrint(r) {
			return fmt.Sprintf("has the character %U at byte %d, want one line of printable text", r, i)
		}
	}
	return ""
}

func checkFloor(s string) string {
	if _, err := kver.ParseFloor(s); err != nil {
		return err.Error()
	}
	return ""
}

func checkModule(s string) string {
	if names := matchKnown(s); len(names) > 0 {
		return ""
	}
	if strings.ContainsAny(s, "*?") {
		return fmt.Sprintf("%s matches no known module", quote(s))
	}
	return fmt.Sprintf("%s is no known module%s", quote(s), suggestModule(s))
}

func oneOf(words ...string) func(string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = fmt.Sprintf("%q", w)
	}
	return func(s string) string {
		if slices.Contains(words, s) {
			return ""
		}
		return fmt.Sprintf("is %s, want %s", quote(s), strings.Join(quoted, " or "))
	}
}

// unitForm is a valid unit name of the two types that start inference servers:
// systemd.unit(5), "Unit File Load Path" and "String Escaping". What follows @ is
// the instance, empty for a template.
var unitForm = regexp.MustCompile(`^[a-zA-Z0-9:_.\\-]+(@[a-zA-Z0-9:_.\\@-]*)?\.(service|socket)$`)

// checkerUnits are the gate and what watches for it, which cannot be held back by themselves:
// also not by a prefix of theirs.
var checkerUnits = []string{"initcheck.service", "initcheck-breach.service", "initcheck-.service"}

func checkUnit(s string) string {
	switch {
	case len(s) > maxUnit:
		return fmt.Sprintf("is %d bytes long, want at most %d", len(s), maxUnit)
	case slices.Contains(checkerUnits, s):
		return fmt.Sprintf("%q is the gate itself", s)
	case !unitForm.MatchString(s):
		return fmt.Sprintf("%s is no name of a .service or .socket", quote(s))
	}
	return ""
}

// validator checks one decoded file against the schema.
type validator struct {
	file     string
	findings Findings
}

func (v *validator) report(line int, key, format string, args ...any) {
	v.findings = append(v.findings, Finding{v.file, line, key, fmt.Sprintf(format, args...)})
}

// table checks the keys of one table. Prefix is its dotted key and a dot.
func (v *validator) table(fields []field, values map[string]any, at *node, prefix string) {
	known := make([]string, len(fields))
	for i, f := range fields {
		known[i] = f.key
		value, ok := values[f.key]
		switch {
		case ok:
			v.value(f, value, at.at(f.key), prefix+f.key)
		case f.required:
			v.report(at.line, prefix+f.key, "is required")
		}
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(known, key) {
			v.report(at.at(key).line, prefix+quoteKey(key), "is no key of schema %d%s", schemaVersion, didYouMean(key, known))
		}
	}
}

func (v *validator) value(f field, value any, at *node, key string) {
	switch typed := value.(type) {
	case string:
		if f.kind == kindString || f.kind == kindDirectory {
			v.text(f, typed, at.line, key)
			return
		}
	case int64:
		if f.kind == kindInteger {
			return
		}
	case bool:
		if f.kind == kindBoolean || f.kind == kindDirectory {
			return
		}
	case map[string]any:
		if f.kind == kindTable {
			v.table(f.fields, typed, at, key+".")
			return
		}
	default:
		if elements, ok := asArray(value); ok && (f.kind == kindStrings || f.kind == kindTables) {
			v.array(f, elements, at, key)
			return
		}
	}
	v.report(at.line, key, "is %s, want %s", typeName(value), f.kind)
}

func (v *validator) array(f field, elements []any, at *node, key string) {
	if len(elements) < f.min {
		v.report(at.line, key, "is empty: %s", f.empty)
	}
	if f.max > 0 && len(elements) > f.max {
		v.report(at.line, key, "has %d elements, want at most %d", len(elements), f.max)
		return
	}
	first := make(map[string]int)
	for i, e := range elements {
		line := at.index(i).line
		switch typed := e.(type) {
		case map[string]any:
			if f.kind == kindTables {
				v.table(f.fields, typed, at.index(i), key+".")
				continue
			}
		case string:
			if f.kind == kindStrings {
				v.text(f, typed, line, key)
				if before, seen := first[typed]; seen {
					v.report(line, key, "%s is listed twice, first in line %d", quote(typed), before)
				} else {
					first[typed] = line
				}
				continue
			}
		}
		v.report(line, key, "holds %s, want %s", typeName(e), f.kind)
	}
}

func (v *validator) text(f field, s string, line int, key string) {
	if wrong := f.check(s); wrong != "" {
		v.report(line, key, "%s", wrong)
	}
}

// asArray unifies the two forms in which the TOML library returns arrays.
func asArray(value any) ([]any, bool) {
	switch typed := value.(type) {
	case []any:
		return typed, true
	case []map[string]any:
		elements := make([]any, len(typed))
		for i, t := range typed {
			elements[i] = t
		}
		return elements, true
	}
	return nil, false
}

func typeName(value any) string {
	switch value.(type) {
	case string:
		return string(kindString)
	case int64:
		return string(kindInteger)
	case float64:
		return "a float"
	case bool:
		return string(kindBoolean)
	case map[string]any:
		return string(kindTable)
	case []any, []map[string]any:
		return "an array"
	}
	return "a date or time"
}

// quote prints a value of unknown content and length.
func quote(s string) string {
	return fmt.Sprintf("%.80q", s)
}

var bareKey = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,80}$`)

func quoteKey(key string) string {
	if bareKey.MatchString(key) {
		return key
	}
	return quote(key)
}
