//go:build linux

package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kerngate/kerngate/initcheck/policy"
)

const (
	gateFile = "/usr/lib/systemd/system/initcheck.service"
	gateMask = unitFiles + "/initcheck.service"
	runDir   = "/run/initcheck"
	module   = "af_alg" // the profile refuses it
)

// state is one that the gate is put into.
type state struct {
	name   string
	set    func(*guest) error
	again  func(*guest) error // what of it must be set anew for the second round; nil: nothing
	stops  bool               // setting it may stop what runs
	reload bool               // it is a matter of unit files
}

// all does several things in a row.
func all(steps ...func(*guest) error) func(*guest) error {
	return func(g *guest) error {
		for _, step := range steps {
			if err := step(g); err != nil {
				return err
			}
		}
		return nil
	}
}

var (
	asItIs      = func(*guest) error { return nil }
	floorTooLow = newPolicy(func(p *policy.Policy) { p.Floor = "99.0" })
	binaryGone  = hide(policy.Binary)
	masked      = func(g *guest) error { return g.link("/dev/null", gateMask) }
	stuck       = overFile("/proc/modules", func(name string) error { return unix.Mkfifo(name, 0o644) })
)

// states are those of the gate. Each begins from a gate that passes.
var states = []state{
	{name: "passes", set: asItIs},
	{name: "refuses", set: floorTooLow},
	{name: "binary-missing", set: binaryGone},
	{name: "binary-not-executable", set: func(g *guest) error { return g.mode(policy.Binary, 0o644) }},
	{name: "policy-missing", set: hide(policy.File)},
	{name: "policy-garbage", set: content(policy.File, "\x00\xffno policy")},
	{name: "policy-newer-schema", set: newerSchema},
	{name: "unit-masked", set: masked, reload: true},
	{name: "unit-missing", set: hide(gateFile), reload: true},
	{name: "condition-false", set: gateDropIn("[Unit]\nConditionPathExists=/nonexistent\n"), reload: true},
	{name: "failure-ignored", set: all(floorTooLow, gateDropIn("[Service]\nExecStart=\nExecStart=-"+policy.Binary+" check\n")), reload: true},
	{name: "proc-unreadable", set: overFile("/proc/modules", bindSource("/proc/sysrq-trigger"))},
	{name: "proc-empty", set: all(loadModule, overFile("/proc/modules", touch)), stops: true},
	{name: "proc-hidden-from-gate", set: gateDropIn("[Service]\nProcSubset=pid\n"), reload: true},
	{name: "run-full", set: fillRun},
	{name: "run-read-only", set: readOnlyRun},
	{name: "checker-killed", set: all(stuck, huntChecker(unix.SIGKILL))},
	{name: "checker-terminated", set: all(stuck, termIsSuccess, huntReader(unix.SIGTERM)), reload: true},
	{name: "checker-hangs", set: all(stuck, shortLimits, huntChecker(unix.SIGSTOP)), reload: true},
	{name: "stamp-left-refuses", set: floorTooLow, again: writeStamp},
	{name: "stamp-left-binary-missing", set: binaryGone, again: writeStamp},
	{name: "stamp-left-unit-masked", set: masked, again: writeStamp, reload: true},
	{name: "stamp-left-run-read-only", set: readOnlyRun, again: writeStamp},
}

// writeStamp leaves a stamp as if the gate had passed before.
func writeStamp(g *guest) error {
	return g.inRun(func() error {
		if err := os.MkdirAll(runDir, 0o755); err != nil {
			return err
		}
		return os.WriteFile(policy.Stamp, []byte("initcheck: pass: kernel 99.0, 1 rule\n"), 0o644)
	})
}

// newPolicy changes the policy that is in force, as another profile would.
func newPolicy(change func(*policy.Policy)) func(*guest) error {
	return func(g *guest) error {
		data, err := os.ReadFile(policy.File)
		if err != nil {
			return err
		}
		p, err := policy.Decode(data)
		if err != nil {
			return err
		}
		change(&p)
		if data, err = policy.Encode(p); err != nil {
			return err
		}
		return g.write(policy.File, string(data))
	}
}

// newerSchema gives the policy the schema of a later kerngate, whole to its last line.
func newerSchema(g *guest) error {
	data, err := os.ReadFile(policy.File)
	if err != nil {
		return err
	}
	body, _, found := strings.Cut(string(data), "# end sha256=")
	newer := strings.Replace(body, fmt.Sprintf("schema = %d\n", policy.Schema), "schema = 99\n", 1)
	if !found || newer == body {
		return fmt.Errorf("%s has no end line or no schema", policy.File)
	}
	return g.write(policy.File, fmt.Sprintf("%s# end sha256=%x\n", newer, sha256.Sum256([]byte(newer))))
}

func hide(name string) func(*guest) error {
	return func(g *guest) error { return g.rename(name, name+".hidden") }
}

func content(name, text string) func(*guest) error {
	return func(g *guest) error { return g.write(name, text) }
}

func gateDropIn(text string) func(*guest) error {
	return func(g *guest) error { return g.dropIns(text, "initcheck.service") }
}

// dropIns gives units a drop-in of the same text.
func (g *guest) dropIns(text string, units ...string) error {
	for _, unit := range units {
		if err := g.write("/run/systemd/system/"+unit+".d/matrix.conf", text); err != nil {
			return err
		}
	}
	return nil
}

// shortLimits spare the test the 30 s that the gate may take, and the 90 s that
// systemd gives the re-check of a unit.
func shortLimits(g *guest) error {
	const limits = "[Service]\nTimeoutStartSec=3s\nTimeoutStopSec=1s\n"
	return g.dropIns(limits, "initcheck.service", "llama-server.service", "local-ai.service")
}

// termIsSuccess has units take it for success if a program of theirs dies of SIGTERM, and
// so does a re-check. Of other units systemd takes that for a failure.
func termIsSuccess(g *guest) error {
	return g.dropIns("[Service]\nSuccessExitStatus=SIGTERM\n", "llama-server.service", "local-ai.service")
}

// loadModule loads the blocked module past its block, and waits until those who watch
// for it have heard of it.
func loadModule(g *guest) error {
	g.undo = append(g.undo, func() error {
		return errors.Join(g.must("modprobe", "-r", "-i", module), g.must("udevadm", "settle"))
	})
	return errors.Join(g.must("modprobe", "-i", module), g.must("udevadm", "settle"))
}
