// Package unit makes the systemd files that gate inference units: the gate's own
// unit, its enable link, and a drop-in for every gated unit. It also finds what
// in a tree would take their effect away: masks, overrides and resets.
//
// Formats and search paths are those of systemd.unit(5), systemd.service(5) and
// systemd.syntax(7). Which dependencies hold back a unit in which state of the
// gate was measured by booting systemd 252, 257 and 262; see docs/gate.md. It
// leaves out user units and generators.
package unit

import (
	"io"
	"path"
	"strings"

	"github.com/coreos/go-systemd/v22/unit"

	"github.com/kerngate/kerngate/initcheck/policy"
)

// Dir is where the units go: the vendor's directory, whose links neither
// systemctl disable nor a preset takes away.
const Dir = "/usr/lib/systemd/system"

// Gate is the name of the gate's unit.
const Gate = "initcheck.service"

// DropIn is the file name of our drop-in in a unit's .d directory.
const DropIn = "50-kerngate.conf"

// GatePath is where the gate's unit file goes.
const GatePath = Dir + "/" + Gate

// EnableLink is the link that starts the gate early in every boot, and
// EnableTarget what it holds.
const (
	EnableLink   = Dir + "/sysinit.target.wants/" + Gate
	EnableTarget = "../" + Gate
)

// DropInPath is where the drop-in for a unit, template or prefix goes.
func DropInPath(name string) string { return path.Join(Dir, name+".d", DropIn) }

// text puts a header of comment lines before the serialised options. The library
// drops comments, so they are not its business.
func text(header string, options []*unit.UnitOption) []byte {
	body, err := io.ReadAll(unit.Serialize(options))
	if err != nil {
		panic("BUG: reading from memory failed: " + err.Error())
	}
	return append([]byte(header+"\n"), body...)
}

// GateText is the gate's unit file. It has no Condition and no "-" prefix: both
// would let a gate that did not run count as started. It has no [Install]
// section: the enable link is ours, and a static unit is left alone by presets.
func GateText(header string) []byte {
	return text(header, []*unit.UnitOption{
		{Section: "Unit", Name: "Description", Value: "Check the kernel before inference services start"},
		{Section: "Unit", Name: "Documentation", Value: "file:" + policy.File},
		{Section: "Unit", Name: "DefaultDependencies", Value: "no"},
		{Section: "Unit", Name: "Conflicts", Value: "shutdown.target"},
		{Section: "Unit", Name: "After", Value: "systemd-journald.socket systemd-remount-fs.service systemd-modules-load.service"},
		{Section: "Unit", Name: "Before", Value: "sysinit.target shutdown.target"},
		{Section: "Unit", Name: "RequiresMountsFor", Value: policy.File + " " + policy.Binary + " " + path.Dir(policy.Stamp)},
		// Many starts in a row of units that need the gate must not end in a gate
		// that stays failed although the kernel has become right.
		{Section: "Unit", Name: "StartLimitIntervalSec", Value: "0"},
		{Section: "Service", Name: "Type", Value: "oneshot"},
		{Section: "Service", Name: "RemainAfterExit", Value: "yes"},
		// Without it a oneshot gets no socket for its status line.
		{Section: "Service", Name: "NotifyAccess", Value: "main"},
		{Section: "Service", Name: "ExecStart", Value: policy.Binary + " check"},
		{Section: "Service", Name: "TimeoutStartSec", Value: "30s"},
	})
}

// DropInText is the drop-in for one unit. BindsTo with After holds it back when
// the gate failed, was skipped, is masked or missing; the stamp also when somebody
// starts it past its dependencies. With recheck the checker runs again at each
// start; "+" because it must read /proc as root whatever the unit's user is.
func DropInText(header, name string, recheck bool) []byte {
	options := []*unit.UnitOption{
		{Section: "Unit", Name: "BindsTo", Value: Gate},
		{Section: "Unit", Name: "After", Value: Gate},
		{Section: "Unit", Name: "AssertPathExists", Value: policy.Stamp},
	}
	if recheck && strings.HasSuffix(name, ".service") {
		options = append(options, &unit.UnitOption{Section: "Service", Name: "ExecCondition", Value: "+" + policy.Binary + " recheck"})
	}
	return text(header, options)
}
