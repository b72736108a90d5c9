// Package unit makes the systemd files that gate inference units: the gate's own
// unit, its enable link, drop-ins for the gated units of the system and of users, and
// what watches for modules that are loaded later. It also finds what in a tree would
// take their effect away: masks, overrides and resets.
//
// Formats and search paths are those of systemd.unit(5), systemd.service(5),
// systemd.exec(5), systemd.syntax(7) and udev(7). Which dependencies hold back a unit in
// which state of the gate was measured by booting systemd 252, 257 and 262; see
// docs/gate.md. It leaves out what generators make, and what users keep in their homes.
package unit

import (
	"io"
	"path"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/unit"

	"github.com/kerngate/kerngate/initcheck/policy"
)

// Where the files go: the vendor's directories, whose links neither systemctl disable nor
// a preset takes away.
const (
	Dir     = "/usr/lib/systemd/system"
	UserDir = "/usr/lib/systemd/user"
	RuleDir = "/usr/lib/udev/rules.d"
)

// Gate is the name of the gate's unit.
const Gate = "initcheck.service"

// File names of our drop-ins in a unit's .d directory. Drop-ins are read in the order of
// their names. What holds a unit back comes early, so that others can add to it; the
// hardening comes last, because the first RestrictAddressFamilies= makes of the list one
// of what is allowed or of what is not: systemd.exec(5).
const (
	DropIn       = "50-kerngate.conf"
	HardenDropIn = "zz-kerngate.conf"
)

// GatePath is where the gate's unit file goes.
const GatePath = Dir + "/" + Gate

// EnableLink is the link that starts the gate early in every boot, and
// EnableTarget what it holds.
const (
	EnableLink   = Dir + "/sysinit.target.wants/" + Gate
	EnableTarget = "../" + Gate
)

// bootComplete is reached before systemd-bless-boot.service(8) marks a boot entry as good.
const bootComplete = "boot-complete.target"

// DropInPath is where the drop-in for a unit, template or prefix goes.
func DropInPath(name string) string { return path.Join(Dir, name+".d", DropIn) }

// Config says what a profile asks of systemd.
type Config struct {
	Units          []string // services, sockets, templates and prefixes to hold back
	Recheck        bool     // check again at each start of a service
	Deny           []string // address families that the services cannot use: "AF_ALG"; empty: no hardening
	Containers     []string // of the units those that start containers of all kinds: container runtimes
	Watch          []string // modules whose loading is a breach; empty: nobody watches
	ReportOnly     bool     // a breach is told and stops nothing
	OnRefuse       string   // FailureAction= of a refusal: "reboot", "poweroff"; empty: none
	BootAssessment bool     // hold back boot-complete.target
}

// File is a file or a link that makes up the gate.
type File struct {
	Path   string
	Data   []byte
	Target string // of a link; empty: a file
	Reason string
}

// Files lists what a configuration needs, the gate first. The header goes before each
// text.
func Files(header string, c Config) []File {
	out := []File{
		{Path: GatePath, Data: GateText(header, c.OnRefuse), Reason: "gate of the inference units"},
		{Path: EnableLink, Target: EnableTarget, Reason: "start the gate early in every boot"},
	}
	out = append(out, breachFiles(header, c)...)
	if c.BootAssessment {
		out = append(out, File{Path: DropInPath(bootComplete), Data: DropInText(header, bootComplete, false), Reason: "no boot entry is good before the gate has passed"})
	}
	for _, name := range c.Units {
		out = append(out, File{Path: DropInPath(name), Data: DropInText(header, name, c.Recheck), Reason: "hold back " + name + " until the gate has passed"})
		if len(c.Deny) > 0 && isService(name) {
			out = append(out, File{Path: hardenPath(name), Data: HardenText(header, c.Deny, slices.Contains(c.Containers, name)), Reason: "keep " + name + " from the modules' sockets"})
		}
		out = append(out, File{Path: UserDropInPath(name), Data: UserText(header, name, c.Recheck), Reason: "hold back " + name + " of users, too"})
	}
	return out
}

// UserDropInPath is the same for users' own service managers.
func UserDropInPath(name string) string { return path.Join(UserDir, name+".d", DropIn) }

func isService(name string) bool { return strings.HasSuffix(name, ".service") }

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
// onRefuse is its FailureAction=, or empty.
func GateText(header, onRefuse string) []byte {
	return text(header, slices.Concat([]*unit.UnitOption{
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
	}, failureAction(onRefuse), []*unit.UnitOption{
		{Section: "Service", Name: "Type", Value: "oneshot"},
		{Section: "Service", Name: "RemainAfterExit", Value: "yes"},
		// Without it a oneshot gets no socket for its status line.
		{Section: "Service", Name: "NotifyAccess", Value: "main"},
		{Section: "Service", Name: "ExecStart", Value: policy.Binary + " check"},
		{Section: "Service", Name: "TimeoutStartSec", Value: "30s"},
		{Section: "Service", Name: "TimeoutStopSec", Value: "5s"},
	}))
}

func failureAction(action string) []*unit.UnitOption {
	if action == "" {
		return nil
	}
	return []*unit.UnitOption{{Section: "Unit", Name: "FailureAction", Value: action}}
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
	if recheck && isService(name) {
		options = append(options, &unit.UnitOption{Section: "Service", Name: "ExecCondition", Value: "+" + policy.Binary + " recheck"})
	}
	return text(header, options)
}

// UserText is the drop-in for a unit of the same name of a user's own service manager,
// which knows nothing of the system's units and can do nothing as root. There the
// re-check cannot take the stamp away, and still says no.
func UserText(header, name string, recheck bool) []byte {
	options := []*unit.UnitOption{{Section: "Unit", Name: "AssertPathExists", Value: policy.Stamp}}
	if recheck && isService(name) {
		options = append(options, &unit.UnitOption{Section: "Service", Name: "ExecCondition", Value: policy.Binary + " recheck"})
	}
	return text(header, options)
}
