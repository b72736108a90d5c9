package imgtest

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// The marks around the report that the images print: tree/usr/local/sbin/boot-report
// in testdata/boot.
const (
	ReportBegin = "@@BEGIN boot-report"
	ReportEnd   = "@@END boot-report"
)

// Report is what an image says at the end of its boot.
type Report struct {
	Kernel  string            // release of the running kernel
	Systemd string            // first line of systemctl --version, without the name
	Units   map[string]string // unit name to its active state: "active", "inactive", "failed"
	Text    string            // the whole block, without the marks
}

// reportField is a line of the report that stands for itself; what follows them is
// the output of systemctl.
var reportField = regexp.MustCompile(`^(kernel|systemd|[\w@-]+\.service): (.*)$`)

// Report waits until the image has printed its report. It finds it once.
func (m *Machine) Report(timeout time.Duration) (Report, error) {
	lines, _, err := m.Between("^"+ReportBegin, "^"+ReportEnd, timeout)
	if err != nil {
		return Report{}, err
	}
	return parseReport(lines)
}

func parseReport(lines []string) (Report, error) {
	r := Report{Units: map[string]string{}, Text: strings.Join(lines, "\n")}
	for _, line := range lines {
		field := reportField.FindStringSubmatch(line)
		switch {
		case field == nil:
		case field[1] == "kernel":
			r.Kernel = field[2]
		case field[1] == "systemd":
			r.Systemd = field[2]
		default:
			if had, twice := r.Units[field[1]]; twice {
				return r, fmt.Errorf("report has %s twice: %q and %q", field[1], had, field[2])
			}
			r.Units[field[1]] = field[2]
		}
	}
	if r.Kernel == "" || len(r.Units) == 0 {
		return r, errors.New("report names no kernel or no unit: a console message may have broken its lines")
	}
	return r, nil
}
