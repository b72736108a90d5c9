package report

import (
	"crypto/sha256"
	"fmt"

	"github.com/kerngate/kerngate/initcheck/notify/catalog"
)

// catalogueUnit adds the catalogue to the compiled one.
const catalogueUnit = "kerngate-catalog.service"

// catalogue is the text of the checker's messages, and what compiles it in the running
// system: an offline edit cannot, because the compiled form is one file with
// everybody's messages. The system's own unit for that runs only if /usr is newer than
// /var, and many images mask it.
func catalogue(header string) []File {
	const reason = "explain the checker's messages in journalctl -x"
	out := []File{{Path: catalog.Path, Data: withHeader(header, string(catalog.Text())), Reason: reason}}
	return append(out, started(catalogueUnit, "multi-user.target", withHeader(header, compileUnit(catalog.Text())), reason)...)
}

// compileUnit runs once for each text: the mark that it leaves bears the text's hash,
// because times in an image say nothing. The mark lies with the compiled form, and is
// lost when that is. It runs after the boot, and whatever becomes of it fails nothing.
func compileUnit(text []byte) string {
	sum := sha256.Sum256(text)
	mark := fmt.Sprintf("/var/lib/systemd/catalog/.kerngate-%x", sum[:6])
	return fmt.Sprintf(`[Unit]
Description=Add the messages of initcheck to the journal's catalog
Documentation=man:journalctl(1)
After=multi-user.target
ConditionPathExists=!%[1]s
ConditionPathIsReadWrite=/var

[Service]
Type=oneshot
ExecStart=-/bin/sh -c 'journalctl --update-catalog && touch %[1]s'
TimeoutStartSec=2min
Nice=19
`, mark)
}
