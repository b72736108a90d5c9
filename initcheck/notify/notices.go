package notify

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/kerngate/kerngate/initcheck"
)

// Notices are files beside the report, in forms that other programs read. They repeat the
// report; nothing decides by them.
type Notices struct {
	Metrics  string // "/run/initcheck/initcheck.prom", for the textfile collector of node_exporter
	Features string // "/run/initcheck/features", for the local source of node-feature-discovery
	Motd     string // "/run/initcheck/motd"; exists only while refused or overridden
}

// Write puts new notices in place of those before.
func (n Notices) Write(r Report) error {
	errs := []error{write("the metrics", n.Metrics, metrics(r)), write("the features", n.Features, features(r))}
	if r.Pass() && r.Override == "" {
		errs = append(errs, remove("the message of the day", n.Motd))
	} else {
		errs = append(errs, write("the message of the day", n.Motd, motd(r)))
	}
	return errors.Join(errs...)
}

// Clear takes the notices away, and is content where there are none.
func (n Notices) Clear() error {
	return errors.Join(remove("the metrics", n.Metrics), remove("the features", n.Features), remove("the message of the day", n.Motd))
}

func write(what, path, text string) error {
	if err := replace(path, []byte(text)); err != nil {
		return fmt.Errorf("cannot write %s: %w", what, err)
	}
	return nil
}

func remove(what, path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot remove %s: %w", what, err)
	}
	return nil
}

// metrics is the report in the text format of Prometheus, version 0.0.4.
func metrics(r Report) string {
	var b strings.Builder
	gauge := func(name, help string, samples ...string) {
		b.WriteString("# HELP initcheck_" + name + " " + help + "\n# TYPE initcheck_" + name + " gauge\n")
		for _, s := range samples {
			b.WriteString("initcheck_" + name + s + "\n")
		}
	}
	gauge("pass", "Whether the last verdict lets inference units start.", sample(r.Pass()))
	gauge("override", "Whether the last verdict passes by a break-glass, although rules refuse.", sample(r.Override != ""))
	gauge("breach", "Whether the last verdict refuses for a module that was loaded after the boot.", sample(r.Verb == Breach && !r.Pass()))
	gauge("last_check_timestamp_seconds", "When the last verdict was made, by a clock that may not have been set.", " "+strconv.FormatInt(r.Time.Unix(), 10))
	findings := func(o initcheck.Outcome) string {
		n := 0
		for _, f := range r.Findings {
			if f.Outcome == string(o) {
				n++
			}
		}
		return labels("outcome", string(o)) + " " + strconv.Itoa(n)
	}
	gauge("findings", "Rules of the policy by what they came to.", findings(initcheck.Pass), findings(initcheck.Refuse), findings(initcheck.Doubt))
	gauge("info", "What the last verdict was made by and of; the value is always 1.",
		labels("version", r.Version, "verb", r.Verb, "profile", r.Profile, "kernel", r.Kernel)+" 1")
	return b.String()
}

func sample(yes bool) string {
	if yes {
		return " 1"
	}
	return " 0"
}

// labels writes names and values in turn.
func labels(pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		b.WriteString("," + pairs[i] + `="` + escaped(Printable(pairs[i+1])) + `"`)
	}
	return "{" + b.String()[1:] + "}"
}

// escaped is printable text for between double quotes.
func escaped(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), `"`, `\"`)
}

// features are labels of the node. node-feature-discovery puts its own prefix before names
// that have none.
func features(r Report) string {
	yes := strconv.FormatBool
	return "initcheck.pass=" + yes(r.Pass()) + "\n" +
		"initcheck.override=" + yes(r.Override != "") + "\n" +
		"initcheck.breach=" + yes(r.Verb == Breach && !r.Pass()) + "\n" +
		"initcheck.profile=" + label(r.Profile) + "\n" +
		"initcheck.kernel=" + label(r.Kernel) + "\n"
}

// maxLabel is the length of a label's value in Kubernetes.
const maxLabel = 63

// label makes a value for a label in Kubernetes: letters, digits, and between them dashes,
// underscores and dots. Others become underscores; empty stays empty, which is a value.
func label(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' {
			return r
		}
		return '_'
	}, s)
	return strings.Trim(s[:min(len(s), maxLabel)], "-_.")
}

// maxMotd bounds the line in the message of the day.
const maxMotd = 500

// motd is for people who log in. agetty(8) takes a backslash in an issue file for an order.
func motd(r Report) string {
	return strings.ReplaceAll(r.line(maxMotd), `\`, "?") + "\nLook at: initcheck status; initcheck explain\n"
}
