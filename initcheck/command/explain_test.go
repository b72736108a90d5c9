package command_test

import (
	"testing"

	"github.com/kerngate/kerngate/initcheck/advisory"
	"github.com/kerngate/kerngate/initcheck/kver"
	"github.com/kerngate/kerngate/initcheck/policy"
	"github.com/kerngate/kerngate/initcheck/probe"
)

// listing gives the machine a policy that accepts fixed kernels.
func (m *machine) listing() {
	rules, err := policy.Encode(policy.Policy{
		Schema: policy.Schema, Profile: "patched", Floor: "7.0.6", AcceptFixed: true,
		Modules: []policy.Module{{Name: "rxrpc", RefuseIf: []policy.Condition{policy.Loaded}, Reason: "CVE-2026-43500"}},
		Advisories: []advisory.Advisory{{
			CVE: "CVE-2026-43284", Date: "2026-08-21", Source: "CNA", Modules: []string{"esp4", "esp6"},
			Introduced: []kver.Release{{Major: 4, Minor: 11}}, Fixed: []kver.Release{{Major: 7, Patch: 5}, {Major: 7, Minor: 1}},
			Rows: []advisory.Row{{Distribution: "debian", Stream: "6.12", State: advisory.RowFixed, Version: "6.12.86-1", Source: "DSA-6253-1"}},
		}},
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.write(policyAt, string(rules))
}

// debian boots a kernel of Debian's.
func (m *machine) debian(release, version string) {
	m.Uname = func() (probe.Uname, error) {
		return probe.Uname{Release: release, Version: "#1 SMP PREEMPT_DYNAMIC Debian " + version + " (2026-11-10)"}, nil
	}
}

func TestFixedKernelBelowTheFloor(t *testing.T) {
	m := newMachine(t)
	m.listing()
	m.debian("6.12.86+deb13-amd64", "6.12.86-1")
	m.wantCode(0, "check")
	m.wantStamp(true)
	m.debian("6.12.85+deb13-amd64", "6.12.85-1")
	m.wantCode(77, "recheck")
	m.wantStamp(false)
	m.wantReport("refuse", "CVE-2026-43284 is vulnerable: debian 6.12.85-1 (6.12) is below 6.12.86-1 [DSA-6253-1]")
	// The release alone says nothing.
	m.kernel("6.12.86+deb13-amd64")
	m.wantCode(1, "check")
	m.wantReport("refuse", "CVE-2026-43284 is unknown")
}

func TestExplain(t *testing.T) {
	m := newMachine(t)
	m.listing()
	m.debian("6.12.85+deb13-amd64", "6.12.85-1")
	m.write("proc/modules", "rxrpc 1 0 - Live 0x0\n")
	m.leaveStamp()
	m.wantCode(1, "explain")
	m.wantOutput(&m.out, `verdict  refuse
kernel   6.12.85+deb13-amd64
profile  patched
refuse   floor: kernel 6.12.85+deb13-amd64 is below the floor 7.0.6, and not closed in it: CVE-2026-43284 (vulnerable)
  change boot a kernel at or above 7.0.6, or one with every listed CVE closed
refuse   advisory CVE-2026-43284: CVE-2026-43284 is vulnerable: debian 6.12.85-1 (6.12) is below 6.12.86-1 [DSA-6253-1]
  change debian 6.12.86-1 or later of 6.12; or module_blacklist=esp4,esp6 with accept_mitigated = true in the profile
refuse   module rxrpc loaded: module rxrpc is loaded (CVE-2026-43500)
  change unload rxrpc, or boot with module_blacklist=rxrpc; then: systemctl restart initcheck.service
`)
	// It decides, and changes nothing.
	m.wantStamp(true)
	if len(m.messages)+len(m.states) > 0 {
		t.Errorf("explain told %q, %q", m.messages, m.states)
	}
	if _, err := m.Report.Read(); err == nil {
		t.Error("explain wrote a report")
	}

	m.write("proc/modules", "")
	m.debian("6.12.86+deb13-amd64", "6.12.86-1")
	m.wantCode(0, "explain")
	m.wantOutput(&m.out, "verdict  pass", "pass     floor: ", "accepted because every listed CVE is closed in it", "pass     advisory CVE-2026-43284: ")

	m.write(policyAt, "x\x1b")
	m.wantCode(1, "explain")
	m.wantOutput(&m.out, "verdict  refuse", "doubt    ", "cannot decode policy", "profile  unknown")
	m.wantCode(2, "explain", "more")
}
