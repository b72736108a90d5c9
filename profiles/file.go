package profiles

import (
	"errors"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"

	"github.com/kerngate/kerngate/initcheck/policy"
)

// maxFile is the largest profile file in bytes: the longest lists that the limits
// allow do not reach half of it in practice.
const maxFile = 64 << 10

// file is one profile file, checked but with nothing merged into it.
type file struct {
	name        string
	description string
	kernel      kernelPart
	extends     []mention
	modules     []Module // in the order of the file, globs expanded
	accept      []Accept
	gate        gatePart
	report      Report
	findings    Findings
}

// mention is a word of a file and where it stands.
type mention struct {
	text string
	line int
}

// parseFile reads and checks one file. Shown is what findings call it. The result is
// never nil; what has findings is left out of it.
func parseFile(shown string, data []byte) *file {
	v := &validator{file: shown}
	f := &file{}
	if values, root := v.decode(data); values != nil {
		if v.version(values, root) {
			v.table(schema, values, root, "")
			f.fill(v, values, root)
		}
	}
	v.findings.sortByLine()
	f.findings = v.findings
	return f
}

// decode returns nil and a finding if data is no TOML.
func (v *validator) decode(data []byte) (map[string]any, *node) {
	if len(data) > maxFile {
		v.report(1, "", "is larger than %d bytes", maxFile)
		return nil, nil
	}
	text := string(data)
	if !utf8.ValidString(text) {
		v.report(1, "", "is not UTF-8")
		return nil, nil
	}
	root, at, err := locate(text)
	if errors.Is(err, errNesting) {
		v.report(at.line, "", "%s", err)
		return nil, nil
	}
	if err != nil {
		// The library finds the same fault and says it better. It gets the text only
		// up to that line, because nesting is bounded only in what was located.
		text = text[:at.endOfLine()]
	}
	values := make(map[string]any)
	if _, syntax := toml.Decode(text, &values); syntax != nil {
		v.syntax(syntax, at.line)
		return nil, nil
	}
	if err != nil {
		v.report(at.line, "", "%s", err)
		return nil, nil
	}
	return values, root
}

// endOfLine is behind the newline, which the library's messages speak of.
func (l *locator) endOfLine() int {
	l.skipTo("\n")
	l.take("\n")
	return l.pos
}

// syntax reports what the library says. It counts a fault at the end of a line to the
// next one, where the locator did not get to: last is the locator's line.
func (v *validator) syntax(err error, last int) {
	var parse toml.ParseError
	if !errors.As(err, &parse) {
		v.report(1, "", "is not TOML: %s", printable(err.Error()))
		return
	}
	line := min(max(parse.Position.Line, 1), last)
	v.report(line, "", "is not TOML: %s", printable(strings.TrimSuffix(parse.Message, ".")))
}

// printable is for messages of the library, which may repeat bytes of the file.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// version reports a file of another schema alone: against this one everything else
// in it would be noise.
func (v *validator) version(values map[string]any, root *node) bool {
	n, ok := values["schema"].(int64)
	if ok && n != schemaVersion {
		v.report(root.at("schema").line, "schema", "is %d, want %d", n, schemaVersion)
		return false
	}
	return true
}

// fill takes over the values. What is of a wrong type reads as absent, and has its
// finding already.
func (f *file) fill(v *validator, values map[string]any, root *node) {
	f.name = stringOf(values["name"])
	f.description = stringOf(values["description"])
	f.extends = extendsOf(values["extends"], root.at("extends"))
	f.accept = wordsOf(Accepts(), values["accept"])
	kernel, _ := values["kernel"].(map[string]any)
	f.kernel = kernelOf(v, kernel, root.at("kernel"))
	gate, _ := values["gate"].(map[string]any)
	f.gate = gateOf(gate, root.at("gate"))
	f.report = reportOf(values["report"])
	f.fillModules(v, values["module"], root.at("module"))
}

func extendsOf(value any, at *node) []mention {
	elements, _ := asArray(value)
	var refs []mention
	for i, e := range elements {
		if ref, ok := e.(string); ok && checkText(ref) == "" {
			refs = append(refs, mention{ref, at.index(i).line})
		}
	}
	return refs
}

func (f *file) fillModules(v *validator, value any, at *node) {
	entries, _ := asArray(value)
	first := make(map[string]mention)
	for i, e := range entries {
		values, _ := e.(map[string]any)
		place := at.index(i)
		m := moduleOf(values)
		if isEmptyList(values["block"]) && isEmptyList(values["refuse_if"]) && !m.Remove {
			v.report(place.at("refuse_if").line, "module.refuse_if", "is empty, and so is block: the module would be neither blocked nor watched")
		}
		here := mention{stringOf(values["name"]), place.at("name").line}
		for _, name := range matchKnown(here.text) {
			if before, seen := first[name]; seen {
				v.report(here.line, "module.name", "%s is covered twice, first by %q in line %d", name, before.text, before.line)
				continue
			}
			first[name] = here
			m.Name = name
			m.Known, _ = Lookup(name)
			if m.Known.Initcall == "" && slices.Contains(m.Block, BlockInitcall) {
				v.report(here.line, "module.block", "has \"initcall\", and %s has no known init function: list the other blocks", name)
			}
			f.modules = append(f.modules, m)
		}
	}
}

// moduleOf reads an entry but its name. What is not said is blocked and watched.
func moduleOf(values map[string]any) Module {
	m := Module{
		Reason:   stringOf(values["reason"]),
		Block:    allBlocks(),
		RefuseIf: []policy.Condition{policy.Loaded, policy.BuiltIn},
	}
	if said, ok := values["block"]; ok {
		m.Block = wordsOf(m.Block, said)
	}
	m.Remove, _ = values["remove"].(bool)
	if said, ok := values["refuse_if"]; ok {
		m.RefuseIf = wordsOf(m.RefuseIf, said)
	}
	return m
}

func isEmptyList(value any) bool {
	elements, ok := asArray(value)
	return ok && len(elements) == 0
}

// wordsOf returns those of all the words that a list says, in the order of all.
func wordsOf[W ~string](all []W, list any) []W {
	said := stringsOf(list)
	words := []W{}
	for _, w := range all {
		if slices.Contains(said, string(w)) {
			words = append(words, w)
		}
	}
	return words
}

func stringOf(value any) string {
	s, _ := value.(string)
	return s
}

func stringsOf(value any) []string {
	elements, _ := asArray(value)
	var texts []string
	for _, e := range elements {
		if s, ok := e.(string); ok {
			texts = append(texts, s)
		}
	}
	return texts
}

// globForm leaves out what else path.Match knows: classes and escapes.
var globForm = regexp.MustCompile(`^[a-zA-Z0-9_*?]{1,64}$`)

// matchKnown lists the known modules that a name or glob means, sorted.
func matchKnown(glob string) []string {
	if !globForm.MatchString(glob) {
		return nil
	}
	var names []string
	for _, m := range parsedKnown() {
		if ok, err := path.Match(glob, m.Name); err == nil && ok {
			names = append(names, m.Name)
		}
	}
	return names
}

// suggestModule prefers the owner of an alias over a similar name.
func suggestModule(word string) string {
	var names []string
	for _, m := range parsedKnown() {
		if slices.Contains(m.Aliases, word) {
			return didYouMean(m.Name, []string{m.Name})
		}
		names = append(names, m.Name)
	}
	return didYouMean(word, names)
}
