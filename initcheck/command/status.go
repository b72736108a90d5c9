package command

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/kerngate/kerngate/initcheck/notify"
	"github.com/kerngate/kerngate/initcheck/probe"
)

// statusJSON is the answer of status --json.
type statusJSON struct {
	Schema int            `json:"schema"`
	Open   bool           `json:"open"`        // the gate lets inference units start
	Stamp  bool           `json:"stamp"`       // the stamp exists
	Error  string         `json:"error"`       // why there is no report of this boot; empty: there is one
	Age    *float64       `json:"age_seconds"` // since the report; null: not known
	Report *notify.Report `json:"report"`      // the last report, or null
}

// maxShort is how much of a plugin's output node-problem-detector keeps where nobody
// configures it.
const maxShort = 80

// status shows the last report. It decides nothing and touches nothing.
func (p Program) status(asJSON, short bool) int {
	report, err := p.lastReport()
	stamp, stampErr := p.Stamp.Exists()
	if err == nil {
		err = stampErr
	}
	open := err == nil && report.Pass() && stamp
	switch {
	case asJSON:
		p.printJSON(report, err, stamp, open)
	case short:
		fmt.Fprintln(p.Stdout, shortStatus(report, err, stamp))
	default:
		p.printStatus(report, err, stamp)
	}
	if open {
		return exitPass
	}
	return exitRefuse
}

// notRun tells how it shows that there was no check in this boot.
type notRun struct{ sign string }

func (e notRun) Error() string { return "initcheck has not run in this boot: " + e.sign }

// lastReport is the report of this boot.
func (p Program) lastReport() (notify.Report, error) {
	r, err := p.Report.Read()
	if errors.Is(err, fs.ErrNotExist) {
		return r, notRun{"there is no report at " + p.Report.Path}
	}
	if err != nil {
		return r, err
	}
	// A check that ran out of time does not know its boot; /run is of this one.
	if id := probe.ReadBoot(p.Root).ID; r.BootID != "" && id != r.BootID {
		return r, notRun{fmt.Sprintf("the report at %s is of boot %s, and this is %s", p.Report.Path, notify.Printable(r.BootID), notify.Printable(id))}
	}
	return r, nil
}

// shortStatus is one line of at most maxShort bytes.
func shortStatus(r notify.Report, err error, stamp bool) string {
	switch {
	case errors.As(err, &notRun{}):
		return "refuse: initcheck has not run in this boot"
	case err != nil:
		return "refuse: the last report counts for nothing: see initcheck status"
	case r.Pass() && !stamp:
		return "refuse: the stamp is gone: see initcheck status"
	}
	return r.Short(maxShort)
}

// age is how long ago a report of this boot was made; unknown where one of the two clocks is.
func (p Program) age(r notify.Report) (age time.Duration, known bool) {
	now := probe.ReadBoot(p.Root).Uptime
	then := time.Duration(r.Uptime * float64(time.Second))
	return now - then, then > 0 && now >= then
}

func (p Program) printJSON(r notify.Report, err error, stamp, open bool) {
	answer := statusJSON{Schema: notify.ReportSchema, Open: open, Stamp: stamp}
	if err != nil {
		answer.Error = err.Error()
	}
	if r.Schema != 0 {
		answer.Report = &r
	}
	if age, known := p.age(r); err == nil && known {
		seconds := age.Seconds()
		answer.Age = &seconds
	}
	data, err := notify.JSON(answer)
	if err == nil {
		_, err = p.Stdout.Write(data)
	}
	if err != nil {
		p.complain(fmt.Errorf("cannot print status: %w", err))
	}
}

func (p Program) printStatus(r notify.Report, err error, stamp bool) {
	var b strings.Builder
	if err != nil {
		fmt.Fprintln(&b, notify.Printable(err.Error()))
		fmt.Fprintln(&b, "look at: systemctl status initcheck.service; journalctl -b -u initcheck.service")
	} else {
		p.writeReport(&b, r)
	}
	switch {
	case stamp && err == nil && r.ReportOnly:
		fmt.Fprintf(&b, "stamp    %s is there: the breach was reported only; the next recheck refuses\n", p.Stamp.Path)
	case stamp && (err != nil || !r.Pass()):
		fmt.Fprintf(&b, "stamp    %s is there, though no verdict stands behind it\n", p.Stamp.Path)
	case stamp:
		fmt.Fprintf(&b, "stamp    %s is there: inference units may start\n", p.Stamp.Path)
	default:
		fmt.Fprintf(&b, "stamp    %s is not there: inference units stay off\n", p.Stamp.Path)
	}
	fmt.Fprint(p.Stdout, b.String())
}

func (p Program) writeReport(b *strings.Builder, r notify.Report) {
	line := func(name, value string) {
		fmt.Fprintf(b, "%-8s %s\n", name, notify.Printable(value))
	}
	line("verdict", r.Verdict)
	writeOverride(line, r)
	line("kernel", orUnknown(r.Kernel))
	line("profile", orUnknown(r.Profile))
	line("when", fmt.Sprintf("%s, %.1f s after boot, by initcheck %s %s", r.Time.Format(time.RFC3339), r.Uptime, r.Version, r.Verb))
	if age, known := p.age(r); known {
		line("age", age.Round(time.Second).String())
	}
	if r.Verb == notify.Breach && !r.Pass() {
		line("breach", "found when a module was loaded, after the boot")
	}
	for _, f := range r.Findings {
		line(f.Outcome, f.Text)
	}
}

// writeOverride tells of a break-glass, in force or not.
func writeOverride(line func(name, value string), r notify.Report) {
	if r.Override != "" {
		line("OVERRIDE", r.Override)
	}
	if r.Unheeded != "" {
		line("override", "not heeded: "+r.Unheeded)
	}
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
