package policy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/kerngate/kerngate/initcheck/advisory"
	"github.com/kerngate/kerngate/initcheck/kver"
)

// Headers of the tables that repeat.
const (
	moduleHeader   = "[[module]]"
	advisoryHeader = "[[advisory]]"
)

// writer writes the part of TOML that parse reads: one key a line, whose value is a
// number, a boolean, a basic string, or a list of those strings.
type writer struct{ strings.Builder }

func (w *writer) key(key, value string) { w.WriteString(key + " = " + value + "\n") }

func (w *writer) text(key, value string) {
	if value != "" {
		w.key(key, quoted(value))
	}
}

func (w *writer) yes(key string, value bool) {
	if value {
		w.key(key, "true")
	}
}

func (w *writer) list(key string, words []string) {
	if len(words) == 0 {
		return
	}
	all := make([]string, len(words))
	for i, word := range words {
		all[i] = quoted(word)
	}
	w.key(key, "["+strings.Join(all, ", ")+"]")
}

// quoted is a basic string of TOML. Only printable text gets here, of which it escapes
// two characters.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// text is the policy without header and end line. What is empty is left out.
func (p Policy) text() string {
	var w writer
	w.key("schema", strconv.Itoa(p.Schema))
	w.text("profile", p.Profile)
	w.text("profile_digest", p.Digest)
	w.text("floor", p.Floor)
	w.yes("accept_fixed", p.AcceptFixed)
	w.yes("accept_mitigated", p.AcceptMitigated)
	w.yes("override", p.Override)
	w.text("unknown", string(p.Unknown))
	if p.MaxAge != 0 {
		w.key("max_age", strconv.Itoa(p.MaxAge))
	}
	w.text("stale", string(p.Stale))
	for _, m := range p.Modules {
		w.WriteString("\n" + moduleHeader + "\n")
		w.text("name", m.Name)
		w.list("refuse_if", texts(m.RefuseIf, func(c Condition) string { return string(c) }))
		w.text("reason", m.Reason)
		w.list("initcalls", m.Initcalls)
	}
	for _, a := range p.Advisories {
		w.advisory(a)
	}
	return w.String()
}

func (w *writer) advisory(a advisory.Advisory) {
	w.WriteString("\n" + advisoryHeader + "\n")
	w.text("cve", a.CVE)
	w.text("date", a.Date)
	w.text("source", a.Source)
	w.list("modules", a.Modules)
	w.list("introduced", texts(a.Introduced, kver.Release.String))
	w.list("fixed", texts(a.Fixed, kver.Release.String))
	w.list("rows", texts(a.Rows, advisory.Row.String))
}

func texts[T any](list []T, text func(T) string) []string {
	var out []string
	for _, v := range list {
		out = append(out, text(v))
	}
	return out
}

// parse reads the lines of a policy. What is of the wrong form has a fault and is left
// out.
func parse(lines []string) (p Policy, faults []error) {
	table, seen := "", map[string]bool{}
	for i, line := range lines {
		switch {
		case line == "" || line[0] == '#':
			continue
		case line == moduleHeader:
			p.Modules = append(p.Modules, Module{})
			table, seen = "module.", map[string]bool{}
			continue
		case line == advisoryHeader:
			p.Advisories = append(p.Advisories, advisory.Advisory{})
			table, seen = "advisory.", map[string]bool{}
			continue
		}
		key, value, found := strings.Cut(line, " = ")
		if !found || strings.Trim(key, "abcdefghijklmnopqrstuvwxyz_") != "" {
			// What follows belongs to nobody knows which table.
			return p, append(faults, fmt.Errorf("line %d is %.80q, want key = value, %s or %s", i+1, line, moduleHeader, advisoryHeader))
		}
		key = table + key
		if seen[key] {
			faults = append(faults, fmt.Errorf("line %d: key %.80s is there twice", i+1, key))
		} else if err := p.set(key, value); err != nil {
			faults = append(faults, fmt.Errorf("line %d: %w", i+1, err))
		}
		seen[key] = true
	}
	return p, faults
}

// set takes over one value.
func (p *Policy) set(key, value string) error {
	var err error
	switch key {
	case "schema": // read already
		p.Schema, err = strconv.Atoi(value)
	case "profile":
		p.Profile, err = unquoted(value)
	case "profile_digest":
		p.Digest, err = unquoted(value)
	case "floor":
		p.Floor, err = unquoted(value)
		if err == nil && p.Floor == "" {
			err = errors.New("is empty, want a release or no floor at all")
		}
	case "accept_fixed":
		p.AcceptFixed, err = boolean(value)
	case "accept_mitigated":
		p.AcceptMitigated, err = boolean(value)
	case "override":
		p.Override, err = boolean(value)
	case "unknown":
		err = setText(&p.Unknown, value)
	case "max_age":
		if p.MaxAge, err = strconv.Atoi(value); err != nil {
			err = fmt.Errorf("is %.40s, want a number of days", value)
		}
	case "stale":
		err = setText(&p.Stale, value)
	default:
		name, ofModule := strings.CutPrefix(key, "module.")
		if ofModule {
			return p.Modules[len(p.Modules)-1].set(name, value)
		}
		if name, ofAdvisory := strings.CutPrefix(key, "advisory."); ofAdvisory {
			return setAdvisory(&p.Advisories[len(p.Advisories)-1], name, value)
		}
		return fmt.Errorf("key %.80s is unknown", key)
	}
	return inKey(key, err)
}

func (m *Module) set(key, value string) error {
	var err error
	switch key {
	case "name":
		m.Name, err = unquoted(value)
	case "refuse_if":
		m.RefuseIf, err = list(value, func(word string) (Condition, error) { return Condition(word), nil })
	case "reason":
		m.Reason, err = unquoted(value)
	case "initcalls":
		m.Initcalls, err = list(value, func(word string) (string, error) { return word, nil })
	default:
		return fmt.Errorf("key module.%.80s is unknown", key)
	}
	return inKey("module."+key, err)
}

func setAdvisory(a *advisory.Advisory, key, value string) error {
	var err error
	switch key {
	case "cve":
		a.CVE, err = unquoted(value)
	case "date":
		a.Date, err = unquoted(value)
	case "source":
		a.Source, err = unquoted(value)
	case "modules":
		a.Modules, err = list(value, func(word string) (string, error) { return word, nil })
	case "introduced":
		a.Introduced, err = list(value, kver.ParseFloor)
	case "fixed":
		a.Fixed, err = list(value, kver.ParseFloor)
	case "rows":
		a.Rows, err = list(value, advisory.ParseRow)
	default:
		return fmt.Errorf("key advisory.%.80s is unknown", key)
	}
	return inKey("advisory."+key, err)
}

func inKey(key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %w", key, err)
}

func setText[T ~string](to *T, value string) error {
	text, err := unquoted(value)
	*to = T(text)
	return err
}

func boolean(value string) (bool, error) {
	if value != "true" && value != "false" {
		return false, fmt.Errorf("is %.40s, want true or false", value)
	}
	return value == "true", nil
}

// unquoted reads a basic string that is the whole value.
func unquoted(value string) (string, error) {
	text, rest, err := cutString(value)
	if err == nil && rest != "" {
		err = fmt.Errorf("has %.40q behind its value", rest)
	}
	return text, err
}

// list reads strings between brackets.
func list[T any](value string, read func(string) (T, error)) ([]T, error) {
	rest, found := strings.CutPrefix(value, "[")
	if !found {
		return nil, fmt.Errorf("is %.40s, want a list of texts", value)
	}
	var out []T
	for rest != "]" {
		if len(out) > 0 {
			if rest, found = strings.CutPrefix(rest, ", "); !found {
				return nil, fmt.Errorf("has %.40q, want a comma and a blank, or the end of the list", rest)
			}
		}
		var word string
		var err error
		if word, rest, err = cutString(rest); err != nil {
			return nil, err
		}
		v, err := read(word)
		if err != nil {
			return nil, fmt.Errorf("has an element that does not read: %w", err)
		}
		out = append(out, v)
	}
	return out, nil
}

// cutString takes a basic string off the front. It knows the two escapes that quoted
// writes.
func cutString(s string) (text, rest string, err error) {
	if s == "" || s[0] != '"' {
		return "", s, fmt.Errorf("is %.40s, want text in double quotes", s)
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], nil
		case '\\':
			if i++; i == len(s) || s[i] != '\\' && s[i] != '"' {
				return "", s, fmt.Errorf("has an escape in %.40s, want printable text", s)
			}
		}
		b.WriteByte(s[i])
	}
	return "", s, fmt.Errorf("is %.40s, want text in double quotes", s)
}
