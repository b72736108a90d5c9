package profiles

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestKnownTable checks that modules.toml agrees with itself and with how the kernel
// forms the names that it asks for.
func TestKnownTable(t *testing.T) {
	table, err := decodeKnown(knownText)
	if err != nil {
		t.Fatal(err)
	}
	if len(table.Module) < 25 {
		t.Fatalf("the table has %d modules, want at least 25", len(table.Module))
	}
	owner := make(map[string]string)
	for _, r := range table.Module {
		if before, seen := owner[r.Name]; seen {
			t.Errorf("%s: the name is used by %s", r.Name, before)
		}
		owner[r.Name] = r.Name
	}
	for _, r := range table.Module {
		checkRow(t, r)
		for _, d := range r.Depends {
			if owner[d] == "" && !slices.Contains(table.Outside, d) {
				t.Errorf("%s: depends on %s, which is neither a row nor outside", r.Name, d)
			}
		}
		for _, a := range r.Aliases {
			// An alias that is another module's name, or belongs to two, would block both.
			if before, seen := owner[strings.ReplaceAll(a, "-", "_")]; seen && before != r.Name {
				t.Errorf("%s: the alias %s belongs to %s", r.Name, a, before)
			}
			owner[strings.ReplaceAll(a, "-", "_")] = r.Name
		}
	}
	checkOutside(t, table)
}

var (
	moduleForm   = regexp.MustCompile(`^[a-zA-Z0-9_]+$`)
	configForm   = regexp.MustCompile(`^[A-Z][A-Z0-9_]+$`)
	functionForm = regexp.MustCompile(`^[a-z_][a-z0-9_]+$`)
	aliasForm    = regexp.MustCompile(`^[a-zA-Z0-9_]+(-[a-zA-Z0-9_]+)+$|^ip6?t_[A-Z]+$`)
	noInit       = []string{"nf_dup_ipv4", "nf_dup_ipv6"} // libraries: modules without a function to run
	families     = []string{"af_alg", "aead", "ipsec", "rxrpc", "rds", "net"}
)

func checkRow(t *testing.T, r knownRow) {
	t.Helper()
	if !moduleForm.MatchString(r.Name) {
		t.Errorf("%q: is no module name with underscores", r.Name)
	}
	if !functionForm.MatchString(r.Initcall) && !slices.Contains(noInit, r.Name) {
		t.Errorf("%s: initcall %q is no function name", r.Name, r.Initcall)
	}
	if !configForm.MatchString(r.Config) || strings.HasPrefix(r.Config, "CONFIG_") {
		t.Errorf("%s: config %q is no Kconfig symbol without CONFIG_", r.Name, r.Config)
	}
	if !slices.Contains(families, r.Family) {
		t.Errorf("%s: family is %q, want one of %v", r.Name, r.Family, families)
	}
	for _, a := range r.Aliases {
		if !aliasForm.MatchString(a) || a == r.Name {
			t.Errorf("%s: %q is no alias", r.Name, a)
		}
	}
	for _, id := range r.CVEs {
		if cve.FindString(id) != id {
			t.Errorf("%s: %q is no CVE identifier", r.Name, id)
		}
	}
	for list, values := range map[string][]string{"aliases": r.Aliases, "depends": r.Depends, "cves": r.CVEs} {
		if values == nil {
			t.Errorf("%s: %s is not said, want [] if there are none", r.Name, list)
		}
		if !slices.IsSorted(values) || len(slices.Compact(slices.Clone(values))) != len(values) {
			t.Errorf("%s: %s are %v, want them sorted, each once", r.Name, list, values)
		}
	}
	// alg_bind() in crypto/af_alg.c: request_module("algif-%s").
	if kind, ok := strings.CutPrefix(r.Name, "algif_"); ok && !slices.Equal(r.Aliases, []string{"algif-" + kind}) {
		t.Errorf("%s: aliases are %v, want [algif-%s]", r.Name, r.Aliases, kind)
	}
}

func checkOutside(t *testing.T, table knownTable) {
	t.Helper()
	for _, name := range table.Outside {
		used := false
		for _, r := range table.Module {
			if r.Name == name {
				t.Errorf("%s is a row and outside", name)
			}
			used = used || slices.Contains(r.Depends, name)
		}
		if !used {
			t.Errorf("%s is outside and no row depends on it", name)
		}
	}
}

// TestKnownAliases wants the request names of the modules that the shipped profiles
// block, from the kernel's own sources: net/socket.c "net-pf-%d" with the family's number,
// net/xfrm/xfrm_state.c "xfrm-type-%d-%d" and "xfrm-offload-%d-%d" with AF_INET 2,
// AF_INET6 10 and the protocol.
func TestKnownAliases(t *testing.T) {
	for name, want := range map[string][]string{
		"af_alg":       {"net-pf-38"},
		"algif_aead":   {"algif-aead"},
		"esp4":         {"xfrm-type-2-50"},
		"esp6":         {"xfrm-type-10-50"},
		"esp4_offload": {"xfrm-offload-2-50"},
		"esp6_offload": {"xfrm-offload-10-50"},
		"rxrpc":        {"net-pf-33"},
		"rds":          {"net-pf-21"},
		"ah6":          {"xfrm-type-10-51"},
		"ipcomp":       {"xfrm-type-2-108"},
		"xt_TEE":       {"ip6t_TEE", "ipt_TEE"},
		"nft_dup_ipv4": {"nft-expr-2-dup"},
		"xfrm_iptfs":   {"xfrm-iptfs"},
		"krb5":         {},
	} {
		m, ok := Lookup(name)
		if !ok || !slices.Equal(m.Aliases, want) {
			t.Errorf("Lookup(%q) gives aliases %v, found %v, want %v", name, m.Aliases, ok, want)
		}
	}
	if m, ok := Lookup("algif-aead"); ok {
		t.Errorf("Lookup of an alias gives %v, want nothing", m)
	}
}

func TestKnownDependants(t *testing.T) {
	for name, want := range map[string][]string{
		"af_alg":      {"algif_aead", "algif_hash", "algif_rng", "algif_skcipher"},
		"esp4":        {"esp4_offload"},
		"rxrpc":       {"kafs"},
		"rds":         {"rds_rdma", "rds_tcp"},
		"nf_dup_ipv4": {"nft_dup_ipv4", "xt_TEE"},
		"algif_aead":  {},
	} {
		if m, _ := Lookup(name); !slices.Equal(m.Dependants, want) {
			t.Errorf("dependants of %s are %v, want %v", name, m.Dependants, want)
		}
	}
}

// TestKnownModulesAreCopies wants a caller's change to stay with the caller.
func TestKnownModulesAreCopies(t *testing.T) {
	KnownModules()[0].Aliases[0] = "changed"
	if got := KnownModules()[0].Aliases[0]; got == "changed" {
		t.Error("a change to the result of KnownModules is seen by the next caller")
	}
}
