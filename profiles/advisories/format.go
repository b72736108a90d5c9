package advisories

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/kerngate/kerngate/initcheck/advisory"
	"github.com/kerngate/kerngate/initcheck/kver"
)

// Format writes the table as a file, which Parse reads back. The same table gives the
// same bytes.
func Format(t Table) []byte {
	var b bytes.Buffer
	if t.Name != "" {
		fmt.Fprintf(&b, "# %s\n\n", t.Name)
	}
	fmt.Fprintf(&b, "schema = %d\n", schemaVersion)
	text := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s = %s\n", key, quote(value))
		}
	}
	text("cve", t.CVE)
	text("name", t.Name)
	text("title", t.Title)
	text("date", t.Date)
	text("source", t.Source)
	fmt.Fprintf(&b, "modules = %s\n", list(t.Modules))
	fmt.Fprintf(&b, "introduced = %s\n", list(texts(t.Introduced)))
	fmt.Fprintf(&b, "fixed = %s\n", list(texts(t.Fixed)))
	if len(t.Never) > 0 {
		fmt.Fprintf(&b, "never = %s\n", list(texts(t.Never)))
	}
	for i, r := range t.Rows {
		b.WriteString("\n[[distribution]]\n")
		text("id", r.Distribution)
		text("stream", r.Stream)
		if r.State == advisory.RowFixed || r.State == advisory.RowSeen {
			text(string(r.State), r.Version)
		} else {
			fmt.Fprintf(&b, "%s = true\n", r.State)
		}
		text("open", r.Open)
		text("source", r.Source)
		if i < len(t.Notes) {
			text("note", t.Notes[i])
		}
	}
	return b.Bytes()
}

// MarshalJSON gives the table with the keys of the file.
func (t Table) MarshalJSON() ([]byte, error) {
	f := form{
		Schema: schemaVersion, CVE: t.CVE, Name: t.Name, Title: t.Title, Date: t.Date, Source: t.Source, Modules: t.Modules,
		Introduced: texts(t.Introduced), Fixed: texts(t.Fixed), Never: texts(t.Never),
	}
	for i, r := range t.Rows {
		row := formRow{ID: r.Distribution, Stream: r.Stream, Open: r.Open, Source: r.Source}
		switch r.State {
		case advisory.RowFixed:
			row.Fixed = r.Version
		case advisory.RowSeen:
			row.Seen = r.Version
		case advisory.RowNever:
			row.Never = true
		case advisory.RowUnaffected:
			row.Unaffected = true
		}
		if i < len(t.Notes) {
			row.Note = t.Notes[i]
		}
		f.Distribution = append(f.Distribution, row)
	}
	return json.Marshal(f)
}

func texts(releases []kver.Release) []string {
	var out []string
	for _, r := range releases {
		out = append(out, r.String())
	}
	return out
}

func list(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// quote writes a basic string of TOML. Of what Go escapes, printable text has only the
// quote and the backslash, which TOML escapes alike.
func quote(s string) string { return strconv.Quote(s) }
