package rehearse

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/machine"
	"github.com/kerngate/kerngate/builder/unit"
	"github.com/kerngate/kerngate/initcheck"
	"github.com/kerngate/kerngate/initcheck/notify"
)

// ResultSchema is the version of a result's JSON. Fields are only ever added to one
// version.
const ResultSchema = 1

// Verdicts.
const (
	Pass   = string(initcheck.Pass)
	Refuse = string(initcheck.Refuse)
	None   = "none" // the gate said nothing
)

// Result is what a rehearsal found. Times are in seconds.
type Result struct {
	Schema     int    `json:"schema"`
	Target     string `json:"target"`
	Expect     string `json:"expect"`  // Pass or Refuse
	Verdict    string `json:"verdict"` // Pass, Refuse or None
	AsExpected bool   `json:"as_expected"`
	Cause      string `json:"cause,omitempty"` // why it is not as expected

	Source  string         `json:"source,omitempty"` // of the verdict: "report" or "console"
	Line    string         `json:"line,omitempty"`   // the verdict in the checker's words
	Report  *notify.Report `json:"report,omitempty"` // the checker's, with all findings
	Kernel  string         `json:"kernel,omitempty"` // release of the running kernel
	Systemd string         `json:"systemd,omitempty"`
	System  string         `json:"system,omitempty"` // systemctl is-system-running at the end
	Gate    *Unit          `json:"gate,omitempty"`
	Units   []Unit         `json:"units"` // the gated ones that are there
	Notes   []string       `json:"notes"`

	Boot        *Boot         `json:"boot,omitempty"` // without firmware
	CommandLine string        `json:"command_line,omitempty"`
	Firmware    bool          `json:"firmware"`
	Arch        machine.Arch  `json:"architecture,omitempty"`
	Accel       machine.Accel `json:"accelerator,omitempty"`

	SecondsToVerdict float64  `json:"seconds_to_verdict,omitempty"` // from the start of the machine
	UptimeAtVerdict  float64  `json:"uptime_at_verdict,omitempty"`  // of the guest
	Seconds          float64  `json:"seconds,omitempty"`            // of the whole machine
	Console          []string `json:"console,omitempty"`            // its last lines, if not as expected
}

// Unit is a unit of the guest.
type Unit struct {
	Name   string `json:"name"`
	State  string `json:"state"`  // one of the states below
	Active string `json:"active"` // systemd's ActiveState and SubState
	Sub    string `json:"sub"`
	Result string `json:"result,omitempty"`

	waits bool // a job for it waits
}

// The states of a gated unit.
const (
	Running    = "running"
	Starting   = "starting"
	Waiting    = "waiting" // for other units, before its start
	HeldBack   = "held back"
	NotStarted = "not started"
	Failed     = "failed"
)

// unitName is what may stand in a name that is asked for in a shell; systemd allows a
// backslash, too (systemd.unit(5)), which no name that we gate has.
var unitName = regexp.MustCompile(`^[A-Za-z0-9:_.@-]+\.(service|socket)$`)

// gatedUnits are the units that drop-ins of ours lie for, as patterns for systemctl: a
// template stands for all its instances, a prefix for all names that begin with it.
func gatedUnits(written []string) []string {
	var units []string
	for _, file := range written {
		dir, ok := strings.CutSuffix(file, ".d/"+unit.DropIn)
		name, below := strings.CutPrefix(dir, unit.Dir+"/")
		if !ok || !below || !unitName.MatchString(name) {
			continue
		}
		for _, kind := range []string{".service", ".socket"} {
			stem, ok := strings.CutSuffix(name, kind)
			if ok && (strings.HasSuffix(stem, "@") || strings.HasSuffix(stem, "-")) {
				name = stem + "*" + kind
			}
		}
		units = append(units, name)
	}
	return units
}

// parseUnits reads the output of systemctl show: lines KEY=VALUE, of which Id= is the
// first of a unit or not, so each unit ends where a key comes again. Units that are not
// there are left out.
func parseUnits(lines []string) []Unit {
	var units []Unit
	block := map[string]string{}
	flush := func() {
		if block["LoadState"] == "loaded" && block["Id"] != "" {
			units = append(units, Unit{Name: block["Id"], Active: block["ActiveState"], Sub: block["SubState"], Result: block["Result"],
				waits: block["Job"] != "" && block["Job"] != "0"})
		}
		block = map[string]string{}
	}
	for _, line := range lines {
		key, value, ok := strings.Cut(line, "=")
		if !ok || !slices.Contains([]string{"Id", "LoadState", "ActiveState", "SubState", "Result", "Job"}, key) {
			continue
		}
		if _, again := block[key]; again {
			flush()
		}
		block[key] = value
	}
	flush()
	slices.SortFunc(units, func(a, b Unit) int { return strings.Compare(a.Name, b.Name) })
	return slices.CompactFunc(units, func(a, b Unit) bool { return a.Name == b.Name })
}

// ran says whether a process of the unit runs, or its socket listens. Before that a unit
// is activating while its condition is looked at, or while it waits to be restarted
// (systemd's service_state).
func (u Unit) ran() bool {
	switch u.Active {
	case "active", "reloading", "refreshing", "deactivating":
		return true
	case "activating":
		return !slices.Contains([]string{"dead", "condition", "auto-restart", "auto-restart-queued"}, u.Sub)
	}
	return false
}

// named gives the unit its state in words, under a verdict.
func (u Unit) named(verdict string) Unit {
	switch {
	case u.Active == "active":
		u.State = Running
	case u.ran():
		u.State = Starting
	case u.waits:
		u.State = Waiting
	case u.Active == "failed":
		u.State = Failed
	case verdict == Pass:
		u.State = NotStarted
	default:
		u.State = HeldBack
	}
	return u
}

// take puts what the guest says of itself into the result.
func (r *Result) take(s state) {
	if s.report != nil {
		r.Source, r.Verdict, r.Report, r.Line = "report", s.report.Verdict, s.report, s.report.Line()
		if r.UptimeAtVerdict == 0 {
			r.UptimeAtVerdict = s.report.Uptime
		}
	}
	r.Kernel, r.Systemd, r.System, r.Units = s.release, s.systemd, s.running, []Unit{}
	for _, u := range s.units {
		u = u.named(r.Verdict)
		if u.Name == unit.Gate {
			u.State = u.Active
			r.Gate = &u
			continue
		}
		r.Units = append(r.Units, u)
	}
}

// judge says whether all is as expected, and if not why. Ended is why the machine is
// over, if it is.
func (r *Result) judge(last *state, ended error) {
	r.Cause = r.fault(last, ended)
	r.AsExpected = r.Cause == ""
}

func (r *Result) fault(last *state, ended error) string {
	switch {
	case r.Verdict == None && ended != nil:
		return "the gate gave no verdict: " + ended.Error()
	case r.Verdict == None && r.Gate != nil:
		return fmt.Sprintf("the gate gave no verdict: %s is %s (%s)", r.Gate.Name, r.Gate.Active, r.Gate.Result)
	case r.Verdict == None:
		return "the gate gave no verdict: the machine has booted without " + unit.Gate
	case r.Verdict != r.Expect:
		return fmt.Sprintf("verdict is %s, expected was %s", r.Verdict, r.Expect)
	case r.Verdict == Pass && ended != nil:
		return "the gate passed, and then the boot ended: " + ended.Error()
	case last != nil && last.stamp != (r.Verdict == Pass):
		return fmt.Sprintf("verdict is %s, but the stamp %s", r.Verdict, map[bool]string{true: "is there", false: "is missing"}[last.stamp])
	case r.Verdict == Refuse:
		for _, u := range r.Units {
			if u.ran() {
				return fmt.Sprintf("the gate refused, and %s runs all the same", u.Name)
			}
		}
	}
	return ""
}
