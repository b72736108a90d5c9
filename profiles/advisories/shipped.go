package advisories

import (
	"embed"
	"slices"
	"strings"
	"sync"
)

//go:embed *.toml
var shipped embed.FS

// Shipped lists the shipped tables by CVE.
func Shipped() []Table { return slices.Clone(parsedShipped()) }

var parsedShipped = sync.OnceValue(func() []Table {
	entries, err := shipped.ReadDir(".")
	if err != nil {
		panic("BUG: the embedded directory does not read: " + err.Error())
	}
	var tables []Table
	for _, e := range entries {
		data, err := shipped.ReadFile(e.Name())
		if err != nil {
			panic("BUG: an embedded file does not read: " + err.Error())
		}
		t, err := Parse(e.Name(), data)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		tables = append(tables, t)
	}
	return tables
})

// Lookup finds the shipped table of a CVE.
func Lookup(cve string) (Table, bool) {
	i, found := slices.BinarySearchFunc(parsedShipped(), cve, func(t Table, cve string) int { return strings.Compare(t.CVE, cve) })
	if !found {
		return Table{}, false
	}
	return parsedShipped()[i], true
}
