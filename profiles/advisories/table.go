package advisories

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"

	"github.com/kerngate/kerngate/initcheck/advisory"
	"github.com/kerngate/kerngate/initcheck/kver"
)

// schemaVersion is the version of the form.
const schemaVersion = 1

// Table is what is known of one CVE: what decides, and what is for the reader.
type Table struct {
	advisory.Advisory
	Name  string         // what people call it; may be empty
	Title string         // of the CVE record
	Never []kver.Release // branches, ascending, that got no fix
	Notes []string       // one for each row; may be empty
}

// form is a table as the file has it.
type form struct {
	Schema       int       `toml:"schema" json:"schema"`
	CVE          string    `toml:"cve" json:"cve"`
	Name         string    `toml:"name" json:"name,omitempty"`
	Title        string    `toml:"title" json:"title"`
	Date         string    `toml:"date" json:"date"`
	Source       string    `toml:"source" json:"source"`
	Modules      []string  `toml:"modules" json:"modules,omitempty"`
	Introduced   []string  `toml:"introduced" json:"introduced,omitempty"`
	Fixed        []string  `toml:"fixed" json:"fixed,omitempty"`
	Never        []string  `toml:"never" json:"never,omitempty"`
	Distribution []formRow `toml:"distribution" json:"distribution,omitempty"`
}

type formRow struct {
	ID         string `toml:"id" json:"id"`
	Stream     string `toml:"stream" json:"stream"`
	Fixed      string `toml:"fixed" json:"fixed,omitempty"`
	Seen       string `toml:"seen" json:"seen,omitempty"`
	Open       string `toml:"open" json:"open,omitempty"`
	Never      bool   `toml:"never" json:"never,omitempty"`
	Unaffected bool   `toml:"unaffected" json:"unaffected,omitempty"`
	Source     string `toml:"source" json:"source"`
	Note       string `toml:"note" json:"note,omitempty"`
}

// Load reads a table from a regular file.
func Load(file string) (Table, error) {
	data, err := readRegular(file, maxTable)
	if err != nil {
		return Table{}, fmt.Errorf("cannot read advisory: %w", err)
	}
	return Parse(file, data)
}

// readRegular reads a file that must not be larger than limit.
func readRegular(name string, limit int64) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return data, err
}

// Parse reads a table. Shown is what errors call it. All faults of the content come
// back together.
func Parse(shown string, data []byte) (Table, error) {
	t, err := parse(data)
	if err != nil {
		return Table{}, fmt.Errorf("advisory %s: %w", filepath.Base(shown), err)
	}
	return t, nil
}

func parse(data []byte) (Table, error) {
	if len(data) > maxTable {
		return Table{}, fmt.Errorf("is larger than %d bytes", maxTable)
	}
	text := string(data)
	if !utf8.ValidString(text) {
		return Table{}, errors.New("is not UTF-8")
	}
	if err := checkLayout(text); err != nil {
		return Table{}, err
	}
	var f form
	meta, err := toml.Decode(text, &f)
	if err != nil {
		return Table{}, fmt.Errorf("is not TOML: %s", printable(err.Error()))
	}
	if meta.IsDefined("schema") && f.Schema != schemaVersion {
		return Table{}, fmt.Errorf("schema is %d, want %d", f.Schema, schemaVersion)
	}
	return f.table(meta)
}

// checkLayout takes one key a line and nothing nested: the TOML library is quadratic in
// nesting.
func checkLayout(text string) error {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		key, value, found := strings.Cut(line, " = ")
		switch {
		case line == "" || line[0] == '#' || line == "[[distribution]]":
		case !found || strings.Trim(key, "abcdefghijklmnopqrstuvwxyz") != "":
			return fmt.Errorf("line %d is %.80q, want key = value or [[distribution]]", n, line)
		case strings.HasPrefix(value, `"""`), strings.HasPrefix(value, "'''"), strings.HasPrefix(value, "{"),
			strings.HasPrefix(value, "[") && strings.ContainsAny(value[1:], "[{"):
			return fmt.Errorf("line %d: the value of %s is nested or longer than a line", n, key)
		}
	}
	return nil
}

func (f form) table(meta toml.MetaData) (Table, error) {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	known := []string{"schema", "cve", "name", "title", "date", "source", "modules", "introduced", "fixed", "never", "distribution"}
	knownOfRow := []string{"id", "stream", "fixed", "seen", "open", "never", "unaffected", "source", "note"}
	for _, key := range meta.Keys() {
		// The library would take FIXED for fixed.
		if of, list := key, known; len(key) == 1 && !slices.Contains(list, of[0]) || len(key) > 1 && !slices.Contains(knownOfRow, key[1]) {
			fault("key %.80s is unknown", key)
		}
	}
	if !meta.IsDefined("schema") {
		fault("schema is missing, want %d", schemaVersion)
	}
	for key, text := range map[string]string{"name": f.Name, "title": f.Title} {
		if !oneLine(text) {
			fault("%s is %.40q, want at most %d bytes of text on one line", key, text, maxLine)
		}
	}
	if f.Title == "" {
		fault("title is missing")
	}
	t := Table{Advisory: advisory.Advisory{CVE: f.CVE, Date: f.Date, Source: f.Source, Modules: f.Modules}, Name: f.Name, Title: f.Title}
	for _, list := range []struct {
		key  string
		from []string
		to   *[]kver.Release
	}{{"introduced", f.Introduced, &t.Introduced}, {"fixed", f.Fixed, &t.Fixed}, {"never", f.Never, &t.Never}} {
		var err error
		if *list.to, err = releases(list.from); err != nil {
			fault("%s: %w", list.key, err)
		}
	}
	for i, r := range f.Distribution {
		row, err := r.row()
		if err != nil {
			fault("distribution %d (%.40s %.40s): %w", i+1, r.ID, r.Stream, err)
		}
		t.Rows, t.Notes = append(t.Rows, row), append(t.Notes, r.Note)
	}
	// What could not be read is missing now, and Check says so once more.
	if err := errors.Join(append(faults, t.Check())...); err != nil {
		return Table{}, err
	}
	if err := t.checkNever(); err != nil {
		return Table{}, err
	}
	return t, nil
}

// maxLine bounds texts for the reader.
const maxLine = 200

func oneLine(text string) bool {
	return len(text) <= maxLine && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

func releases(texts []string) ([]kver.Release, error) {
	var list []kver.Release
	for _, text := range texts {
		r, err := kver.ParseFloor(text)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

func (r formRow) row() (advisory.Row, error) {
	row := advisory.Row{Distribution: r.ID, Stream: r.Stream, Open: r.Open, Source: r.Source}
	said := 0
	say := func(is bool, state advisory.State, version string) {
		if is {
			row.State, row.Version = state, version
			said++
		}
	}
	say(r.Fixed != "", advisory.RowFixed, r.Fixed)
	say(r.Seen != "", advisory.RowSeen, r.Seen)
	say(r.Never, advisory.RowNever, "")
	say(r.Unaffected, advisory.RowUnaffected, "")
	if said != 1 {
		return row, fmt.Errorf("it says %d of fixed, seen, never and unaffected, want one", said)
	}
	if !oneLine(r.Note) {
		return row, fmt.Errorf("note is %.40q, want at most %d bytes of text on one line", r.Note, maxLine)
	}
	return row, nil
}

// checkNever wants branches between the flaw and its end that fixed does not name.
func (t Table) checkNever() error {
	for i, b := range t.Never {
		if b != b.Branch() || i > 0 && kver.Compare(t.Never[i-1], b) >= 0 {
			return fmt.Errorf("never has %s, want branches such as 6.19, ascending", b)
		}
		inBranch := func(r kver.Release) bool { return r.Branch() == b }
		if slices.ContainsFunc(t.Fixed, inBranch) {
			return fmt.Errorf("never has %s, and fixed has a release of it", b)
		}
		first, last := t.Introduced[0].Branch(), t.Fixed[len(t.Fixed)-1].Branch()
		if kver.Compare(b, first) < 0 || kver.Compare(b, last) > 0 {
			return fmt.Errorf("never has %s, which is not between %s and %s", b, first, last)
		}
	}
	return nil
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
