// Package catalog is the text that explains the checker's journal entries: what happened,
// and what to do. The builder lays it into an image for journalctl -x; the checker does
// not carry it.
//
// The form is that of systemd's journal message catalogs: an entry opens with "-- " and
// the MESSAGE_ID, has header fields, an empty line, and text in which @FIELD@ stands for
// a field of the journal entry.
package catalog

import (
	"strings"

	"github.com/kerngate/kerngate/initcheck/notify"
)

// Path is where systemd looks for the catalogs of packages.
const Path = "/usr/lib/systemd/catalog/kerngate.catalog"

// entry explains one MESSAGE_ID.
type entry struct{ id, subject, text string }

var entries = []entry{
	{notify.MessagePass, "The kernel check has passed", `
Kernel @KERNGATE_KERNEL@ keeps every rule of profile @KERNGATE_PROFILE@, and inference
units may start. What was looked at:

@KERNGATE_FINDINGS@

There is nothing to do. To see it again:

    initcheck status
`},
	{notify.MessageRefuse, "The kernel check refuses: inference units stay off", `
Kernel @KERNGATE_KERNEL@ does not keep the rules of profile @KERNGATE_PROFILE@, or it could
not be found out whether it does, which refuses too. No gated unit starts until the check
passes. What was looked at:

@KERNGATE_FINDINGS@

What would change each of them:

    initcheck explain

When the cause is gone, or after booting another kernel, decide anew and start the units:

    systemctl restart initcheck.service
`},
	{notify.MessageBreach, "A blocked kernel module was loaded", `
Something loaded a module that profile @KERNGATE_PROFILE@ blocks, after the kernel check
had passed in this boot. Only root can load modules past the block: find out who did, and
why. Gated units are stopped for it, unless the profile only reports. What was looked at:

@KERNGATE_FINDINGS@

The kernel log has the time:

    journalctl -k -b

When the module is unloaded, or after a boot, decide anew and start the units:

    systemctl restart initcheck.service
`},
	{notify.MessageOverride, "The kernel check would refuse, and was overridden", `
The kernel command line has initcheck.override=, and profile @KERNGATE_PROFILE@ permits it:
inference units may start although rules are broken on kernel @KERNGATE_KERNEL@. The reason
that was given:

    @KERNGATE_OVERRIDE@

What was looked at:

@KERNGATE_FINDINGS@

This node is exposed. What would mend each finding:

    initcheck explain

Then take initcheck.override= off the kernel command line and boot.
`},
}

// Text is the catalog file.
func Text() []byte {
	var b strings.Builder
	for i, e := range entries {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString("-- " + e.id + "\nSubject: " + e.subject + "\nDefined-By: kerngate\n" + e.text)
	}
	return []byte(b.String())
}
