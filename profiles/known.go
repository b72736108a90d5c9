package profiles

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/BurntSushi/toml"
)

// ModuleInfo is what is known of a kernel module.
type ModuleInfo struct {
	Name     string `json:"name"`     // as in /proc/modules: underscores, xt_TEE with its capitals
	Config   string `json:"config"`   // Kconfig symbol that builds it, without CONFIG_
	Initcall string `json:"initcall"` // function name for initcall_blacklist=; empty: it has none
	// Aliases are the names that the kernel asks modprobe for, beside Name: "net-pf-38",
	// "algif-aead", "xfrm-type-2-50". Sorted.
	Aliases    []string `json:"aliases"`
	Depends    []string `json:"depends"`    // modules that are loaded before it, in this table or not
	Dependants []string `json:"dependants"` // modules of this table that load it
	Family     string   `json:"family"`     // "af_alg", "aead", "ipsec", "rxrpc", "rds" or "net"
	CVEs       []string `json:"cves"`       // of this family of faults, sorted
	Source     string   `json:"source"`     // where the facts are from
}

//go:embed modules.toml
var knownText string

// knownTable is the form of modules.toml, whose head explains the keys.
type knownTable struct {
	Source  string     `toml:"source"`
	Outside []string   `toml:"outside"`
	Module  []knownRow `toml:"module"`
}

type knownRow struct {
	Name     string   `toml:"name"`
	Config   string   `toml:"config"`
	Initcall string   `toml:"initcall"`
	Aliases  []string `toml:"aliases"`
	Depends  []string `toml:"depends"`
	Family   string   `toml:"family"`
	CVEs     []string `toml:"cves"`
	Source   string   `toml:"source"`
}

// parsedKnown holds the table once decoded; callers get copies.
var parsedKnown = sync.OnceValue(func() []ModuleInfo {
	table, err := decodeKnown(knownText)
	if err != nil {
		panic("BUG: modules.toml, which a test checks: " + err.Error())
	}
	return table.infos()
})

func decodeKnown(text string) (knownTable, error) {
	var table knownTable
	md, err := toml.Decode(text, &table)
	if err != nil {
		return knownTable{}, err
	}
	if extra := md.Undecoded(); len(extra) > 0 {
		return knownTable{}, fmt.Errorf("unknown keys %v", extra)
	}
	return table, nil
}

// infos sorts the rows and works out who depends on whom, so that the table states
// each dependency once.
func (t knownTable) infos() []ModuleInfo {
	infos := make([]ModuleInfo, len(t.Module))
	for i, r := range t.Module {
		infos[i] = ModuleInfo{
			Name: r.Name, Config: r.Config, Initcall: r.Initcall, Aliases: r.Aliases, Depends: r.Depends,
			Dependants: []string{}, Family: r.Family, CVEs: r.CVEs, Source: r.Source,
		}
		if r.Source == "" {
			infos[i].Source = t.Source
		}
	}
	slices.SortFunc(infos, func(a, b ModuleInfo) int { return strings.Compare(a.Name, b.Name) })
	for i := range infos {
		for _, other := range infos {
			if slices.Contains(other.Depends, infos[i].Name) {
				infos[i].Dependants = append(infos[i].Dependants, other.Name)
			}
		}
	}
	return infos
}

func (m ModuleInfo) clone() ModuleInfo {
	m.Aliases = slices.Clone(m.Aliases)
	m.Depends = slices.Clone(m.Depends)
	m.Dependants = slices.Clone(m.Dependants)
	m.CVEs = slices.Clone(m.CVEs)
	return m
}

// KnownModules returns the modules that a profile may name, by name.
func KnownModules() []ModuleInfo {
	known := parsedKnown()
	infos := make([]ModuleInfo, len(known))
	for i, m := range known {
		infos[i] = m.clone()
	}
	return infos
}

// Lookup finds a module by its name, spelt as in /proc/modules.
func Lookup(name string) (ModuleInfo, bool) {
	known := parsedKnown()
	i, found := slices.BinarySearchFunc(known, name, func(m ModuleInfo, name string) int {
		return strings.Compare(m.Name, name)
	})
	if !found {
		return ModuleInfo{}, false
	}
	return known[i].clone(), true
}
