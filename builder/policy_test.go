package builder_test

import (
	"reflect"
	"testing"

	"github.com/kerngate/kerngate/builder"
	"github.com/kerngate/kerngate/initcheck/advisory"
	"github.com/kerngate/kerngate/initcheck/policy"
	"github.com/kerngate/kerngate/profiles"
	"github.com/kerngate/kerngate/profiles/advisories"
)

// TestPolicyOfAdvisories wants what a profile says of advisories in the policy that the
// checker reads, for all tables that are shipped.
func TestPolicyOfAdvisories(t *testing.T) {
	p := profiles.Profile{Name: "p", Kernel: profiles.Kernel{
		Floor: "7.0.6", AcceptFixed: true, AcceptMitigated: true, Unknown: policy.Pass, MaxAge: 90, Stale: advisory.StaleWarn, Advisories: advisories.Shipped(),
	}}
	data, err := policy.Encode(builder.Policy(p))
	if err != nil {
		t.Fatal(err)
	}
	got, err := policy.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if !got.AcceptFixed || !got.AcceptMitigated || got.Unknown != policy.Pass || got.MaxAge != 90 || got.Stale != advisory.StaleWarn || got.Floor != "7.0.6" {
		t.Errorf("policy is %+v", got)
	}
	if len(got.Advisories) < 22 {
		t.Fatalf("advisories: %d, want the 22 shipped", len(got.Advisories))
	}
	for i, a := range got.Advisories {
		want := advisories.Shipped()[i].Advisory
		if a.CVE != want.CVE || a.Date != want.Date || !reflect.DeepEqual(a.Fixed, want.Fixed) || !reflect.DeepEqual(a.Introduced, want.Introduced) || len(a.Rows) != len(want.Rows) || len(a.Modules) != len(want.Modules) {
			t.Errorf("advisory is %+v, want %+v", a, want)
		}
	}
	t.Logf("a policy with all %d advisories has %d bytes", len(got.Advisories), len(data))
}

// TestPolicyOfInitcalls wants the functions that start a module in the policy where the
// profile blocks them, and nowhere else.
func TestPolicyOfInitcalls(t *testing.T) {
	p, err := profiles.LoadBytes("test", []byte(`schema = 1
name = "test"
description = "test"
[[module]]
name = "algif_aead"
reason = "r"
refuse_if = ["loaded", "builtin"]
block = ["modprobe", "initcall"]
[[module]]
name = "rxrpc"
reason = "r"
refuse_if = ["loaded", "builtin"]
block = ["modprobe", "cmdline"]
`))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, m := range builder.Policy(p).Modules {
		got[m.Name] = m.Initcalls
	}
	if want := map[string][]string{"algif_aead": {"algif_aead_init"}, "rxrpc": nil}; !reflect.DeepEqual(got, want) {
		t.Errorf("initcalls are %q, want %q", got, want)
	}
}

func TestPolicyOfOverride(t *testing.T) {
	for _, permitted := range []bool{true, false} {
		p := profiles.Profile{Name: "p", Gate: profiles.Gate{Override: permitted}}
		if got := builder.Policy(p).Override; got != permitted {
			t.Errorf("override is %t in the policy, want %t", got, permitted)
		}
	}
}
