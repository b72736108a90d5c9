package unit

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/unit"

	"github.com/kerngate/kerngate/initcheck/policy"
)

// What watches for modules that are loaded after the gate has passed: a rule of udev, which
// hears of each module; the unit that it starts; and the target that this unit reaches
// when the checker refuses, and which stops the gate.
const (
	Breach   = "initcheck-breach.service"
	Breached = "initcheck-breached.target"
	RulePath = RuleDir + "/99-kerngate.rules"

	breachPath   = Dir + "/" + Breach
	breachedPath = Dir + "/" + Breached
)

// breachFiles are the rule and the units that answer to a breach.
func breachFiles(header string, c Config) []File {
	if len(c.Watch) == 0 {
		return nil
	}
	out := []File{
		{Path: RulePath, Data: RuleText(header, c.Watch), Reason: "hear of modules that are loaded later"},
		{Path: breachPath, Data: BreachText(header, c.ReportOnly, c.OnRefuse), Reason: "check again when one is"},
	}
	if !c.ReportOnly {
		out = append(out, File{Path: breachedPath, Data: BreachedText(header), Reason: "stop the gate, and with it the inference units"})
	}
	return out
}

// RuleText is the rule of udev. The names are those of /sys/module. With the tag systemd
// makes a device unit of each such module, which comes and goes with it, and starts what
// the device wants each time that it comes: systemd.device(5). Modules that were there
// before udev are announced anew by systemd-udev-trigger.service.
func RuleText(header string, modules []string) []byte {
	return fmt.Appendf(nil, "%s\nACTION==\"add\", SUBSYSTEM==\"module\", KERNEL==\"%s\", TAG+=\"systemd\", ENV{SYSTEMD_WANTS}+=\"%s\"\n",
		header, strings.Join(modules, "|"), Breach)
}

// BreachText is the unit that checks again. That it fails is what stops the gate, so a
// checker that is missing, hangs or is killed stops it as well. Early in the boot it waits
// for the gate, whose own verdict comes first. Its time limit is above the checker's own.
func BreachText(header string, reportOnly bool, onRefuse string) []byte {
	verb := " breach"
	options := []*unit.UnitOption{
		{Section: "Unit", Name: "Description", Value: "Check the kernel again after a module was loaded"},
		{Section: "Unit", Name: "Documentation", Value: "file:" + policy.File},
		{Section: "Unit", Name: "DefaultDependencies", Value: "no"},
		{Section: "Unit", Name: "Conflicts", Value: "shutdown.target"},
		{Section: "Unit", Name: "After", Value: Gate},
		{Section: "Unit", Name: "Before", Value: "shutdown.target"},
		{Section: "Unit", Name: "StartLimitIntervalSec", Value: "0"}, // no breach is one too many
	}
	if reportOnly {
		verb += " --report"
	} else {
		options = append(options, &unit.UnitOption{Section: "Unit", Name: "OnFailure", Value: Breached})
		options = append(options, failureAction(onRefuse)...)
	}
	return text(header, append(options,
		&unit.UnitOption{Section: "Service", Name: "Type", Value: "oneshot"},
		&unit.UnitOption{Section: "Service", Name: "ExecStart", Value: policy.Binary + verb},
		&unit.UnitOption{Section: "Service", Name: "TimeoutStartSec", Value: "15s"},
		&unit.UnitOption{Section: "Service", Name: "TimeoutStopSec", Value: "5s"},
	))
}

// BreachedText is the target that cannot be active together with the gate: reaching it
// stops the gate, and by BindsTo= every gated unit; starting the gate leaves it.
func BreachedText(header string) []byte {
	return text(header, []*unit.UnitOption{
		{Section: "Unit", Name: "Description", Value: "A blocked kernel module was loaded: inference services stop"},
		{Section: "Unit", Name: "Documentation", Value: "file:" + policy.File},
		{Section: "Unit", Name: "DefaultDependencies", Value: "no"},
		{Section: "Unit", Name: "Conflicts", Value: Gate + " shutdown.target"},
		{Section: "Unit", Name: "Before", Value: "shutdown.target"},
		{Section: "Unit", Name: "StartLimitIntervalSec", Value: "0"},
	})
}

// forTypeOfWatcher says whether the drop-ins of dir, without its ".d", are for all units of
// a type and so for the watcher, which holds back nothing where it does not fail.
func (s scope) forTypeOfWatcher(dir string) bool {
	return slices.ContainsFunc(s.gates, func(gate string) bool { return gate != Gate && "."+dir == path.Ext(gate) })
}

// watcherKeys decide whether the watcher runs, and whether what it finds stops the gate.
// Each Condition…= and Assert…= does, too.
var watcherKeys = []string{"ExecStart", "ExecCondition", "SuccessExitStatus", "Type", "RemainAfterExit", "OnFailureJobMode"}

// watcherLine finds the line of a drop-in for all units of a type that could keep a breach
// from stopping the gate.
func (s scope) watcherLine(dir string, data []byte) string {
	if !s.forTypeOfWatcher(dir) {
		return ""
	}
	for key, value := range assignments(data) {
		tests := strings.HasPrefix(key, "Condition") || strings.HasPrefix(key, "Assert")
		if tests && value != "" || key == "ExecStart" || slices.Contains(watcherKeys, key) && value != "" {
			return key + "=" + value
		}
	}
	return ""
}
