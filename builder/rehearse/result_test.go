package rehearse

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/unit"
	"github.com/kerngate/kerngate/initcheck/notify"
)

func TestGatedUnits(t *testing.T) {
	written := []string{
		unit.GatePath, "/usr/lib/systemd/system/vllm.service.d", unit.DropInPath("vllm.service"), unit.DropInPath("vllm@.service"),
		unit.DropInPath("llama-.service"), unit.DropInPath("local-ai.socket"), "/etc/modprobe.d/00-kerngate.conf",
		unit.DropInPath("x'; reboot; '.service"), unit.DropInPath("a b.service"),
	}
	want := []string{"vllm.service", "vllm@*.service", "llama-*.service", "local-ai.socket"}
	if got := gatedUnits(written); !slices.Equal(got, want) {
		t.Errorf("units are %q, want %q", got, want)
	}
}

func TestParseUnits(t *testing.T) {
	text := `Result=success
Id=vllm.service
LoadState=loaded
ActiveState=active
SubState=running
Job=0
Id=nothing.service
LoadState=not-found
ActiveState=inactive
SubState=dead
root@node:/# systemctl show -p Id 'x'
Id=a.socket
LoadState=loaded
ActiveState=inactive
SubState=dead
Job=67
noise without a key
Id=vllm.service
LoadState=loaded
ActiveState=active`
	want := []Unit{
		{Name: "a.socket", Active: "inactive", Sub: "dead", waits: true},
		{Name: "vllm.service", Active: "active", Sub: "running", Result: "success"},
	}
	got := parseUnits(strings.Split(text, "\n"))
	if !reflect.DeepEqual(got, want) {
		t.Errorf("units are %+v, want %+v", got, want)
	}
}

func TestUnitStates(t *testing.T) {
	tests := []struct {
		unit            Unit
		passed, refused string
	}{
		{Unit{Active: "active", Sub: "running"}, Running, Running},
		{Unit{Active: "activating", Sub: "start-pre"}, Starting, Starting},
		{Unit{Active: "activating", Sub: "auto-restart"}, NotStarted, HeldBack},
		{Unit{Active: "activating", Sub: "condition"}, NotStarted, HeldBack},
		{Unit{Active: "activating", Sub: "dead", waits: true}, Waiting, Waiting},
		{Unit{Active: "failed", Sub: "failed"}, Failed, Failed},
		{Unit{Active: "inactive", Sub: "dead"}, NotStarted, HeldBack},
	}
	for _, test := range tests {
		if got := test.unit.named(Pass).State; got != test.passed {
			t.Errorf("%+v is %q behind a gate that passed, want %q", test.unit, got, test.passed)
		}
		if got := test.unit.named(Refuse).State; got != test.refused {
			t.Errorf("%+v is %q behind a gate that refused, want %q", test.unit, got, test.refused)
		}
	}
}

func TestJudge(t *testing.T) {
	passed := &notify.Report{Verdict: Pass}
	refused := &notify.Report{Verdict: Refuse}
	running := []Unit{{Name: "vllm.service", Active: "active"}}
	gate := Unit{Name: unit.Gate, Active: "failed", Result: "exit-code"}
	tests := map[string]struct {
		expect  string
		verdict string // from the console; empty: by the state
		state   *state
		ended   error
		want    string // the cause
	}{
		"passes":                    {Pass, "", &state{report: passed, stamp: true, units: running}, nil, ""},
		"refuses":                   {Refuse, "", &state{report: refused, units: []Unit{{Name: "vllm.service", Active: "inactive"}}}, nil, ""},
		"refuses, not expected":     {Pass, "", &state{report: refused}, nil, "verdict is refuse, expected was pass"},
		"passes, not expected":      {Refuse, "", &state{report: passed, stamp: true}, nil, "verdict is pass, expected was refuse"},
		"fails open":                {Refuse, "", &state{report: refused, units: running}, nil, "the gate refused, and vllm.service runs all the same"},
		"stamp without a pass":      {Refuse, "", &state{report: refused, stamp: true}, nil, "verdict is refuse, but the stamp is there"},
		"pass without a stamp":      {Pass, "", &state{report: passed}, nil, "verdict is pass, but the stamp is missing"},
		"passes and panics":         {Pass, Pass, nil, errors.New("Kernel panic"), "the gate passed, and then the boot ended: Kernel panic"},
		"refuses and powers off":    {Refuse, Refuse, nil, errors.New("the guest powered off"), ""},
		"only the console":          {Pass, Pass, nil, nil, ""},
		"panics":                    {Pass, "", nil, errors.New("Kernel panic"), "the gate gave no verdict: Kernel panic"},
		"panics, refuse expected":   {Refuse, "", nil, errors.New("Kernel panic"), "the gate gave no verdict: Kernel panic"},
		"gate without a word":       {Refuse, "", &state{units: []Unit{gate}}, nil, "the gate gave no verdict: initcheck.service is failed (exit-code)"},
		"no gate":                   {Refuse, "", &state{}, nil, "the gate gave no verdict: the machine has booted without initcheck.service"},
		"report against console":    {Pass, Refuse, &state{report: passed, stamp: true}, nil, ""},
		"report against console, 2": {Pass, Pass, &state{report: refused}, nil, "verdict is refuse, expected was pass"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := &Result{Expect: test.expect, Verdict: None}
			if test.verdict != "" {
				r.Verdict, r.Source = test.verdict, "console"
			}
			if test.state != nil {
				r.take(*test.state)
			}
			r.judge(test.state, test.ended)
			if r.Cause != test.want || r.AsExpected != (test.want == "") {
				t.Errorf("cause is %q, as expected: %v, want %q", r.Cause, r.AsExpected, test.want)
			}
		})
	}
}
