package builder

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/bootentry"
	"github.com/kerngate/kerngate/builder/unit"
)

// unmaskable are the units without which nobody hears of a breach, or the gate is not
// there.
var unmaskable = []string{unit.Gate, unit.Breach, unit.Breached, "systemd-udevd.service", "systemd-udev-trigger.service"}

// maskingWord says what a kernel command line takes away from the gate: by systemd.mask=,
// whose value may lack the suffix of a service (kernel-command-line(7)), or by a variable that
// the kernel hands to systemd, and that replaces all directories of units (systemd.unit(5)).
func maskingWord(commandLine string) (word, why string) {
	for word := range strings.FieldsSeq(commandLine) {
		key, value, _ := strings.Cut(strings.ReplaceAll(word, `"`, ""), "=")
		if path.Ext(value) == "" {
			value += ".service"
		}
		switch {
		case key == "systemd.mask" && slices.Contains(unmaskable, value):
			return word, "masks " + value
		case key == "SYSTEMD_UNIT_PATH":
			return word, "has systemd read other units than the gate's"
		}
	}
	return "", ""
}

// maskingEntries finds boot entries, and what they are made of, that take the gate away.
func maskingEntries(entries []bootentry.Entry) []obstacle {
	var out []obstacle
	for _, e := range entries {
		if word, why := maskingWord(e.CommandLine); word != "" {
			out = append(out, obstacle{e.String(), fmt.Sprintf("its kernel command line has %q, which %s", word, why), "take the argument out of the boot entry"})
		}
	}
	return out
}
