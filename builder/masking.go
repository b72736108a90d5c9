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

// creators are names of credentials from which systemd makes units, drop-ins and rules of
// udev: systemd.system-credentials(7).
var creators = []string{"systemd.extra-unit.", "systemd.unit-dropin.", "udev.rules."}

// plain takes away from a word of a kernel command line how it is quoted: the kernel knows
// double quotes, systemd single ones, too, and some versions of it a backslash.
var plain = strings.NewReplacer(`"`, "", "'", "", `\`, "")

// maskingWord says what a kernel command line takes away from the gate: by systemd.mask=,
// whose value may lack the suffix of a service (kernel-command-line(7)), by a variable that
// the kernel hands to systemd, or systemd to the managers of users, and that replaces all
// directories of units (systemd.unit(5)), or by a credential.
func maskingWord(commandLine string) (word, why string) {
	for word := range strings.FieldsSeq(commandLine) {
		assignment := plain.Replace(word)
		key, value, _ := strings.Cut(assignment, "=")
		setting := strings.ReplaceAll(key, "-", "_") // the same to systemd: proc_cmdline_key_streq
		masked := value
		if path.Ext(masked) == "" {
			masked += ".service"
		}
		makes := func(name string) bool { return strings.HasPrefix(value, name) }
		switch {
		case key == "systemd.mask" && slices.Contains(unmaskable, masked):
			return word, "masks " + masked
		case unit.Redirects(assignment), key == "systemd.setenv" && unit.Redirects(value):
			return word, "has systemd read other units than the gate's"
		case (setting == "systemd.set_credential" || setting == "systemd.set_credential_binary") && slices.ContainsFunc(creators, makes):
			return word, "has systemd make units or rules that kerngate does not look into"
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
