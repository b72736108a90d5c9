package unit

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/unit"

	"github.com/kerngate/kerngate/builder/unitfile"
)

func hardenPath(name string) string { return path.Join(Dir, name+".d", HardenDropIn) }

// HardenText is the drop-in that keeps a service from opening sockets of the families.
// The kernel would load a module on its behalf, whatever the rights of the service are.
// The filter looks at socket(2), which 32-bit programs on amd64 can go around by
// socketcall(2); so other architectures than the machine's own are closed. But containers
// inherit the filters of what starts them, and a 32-bit program in one must not die for it:
// a unit that starts them keeps its architectures.
func HardenText(header string, families []string, containers bool) []byte {
	options := []*unit.UnitOption{{Section: "Service", Name: restrictKey, Value: "~" + strings.Join(families, " ")}}
	if !containers {
		options = append(options, &unit.UnitOption{Section: "Service", Name: archKey, Value: "native"})
	}
	return text(header, options)
}

// familyNames are the address families that modules stand for, by the number in the alias
// net-pf-N by which the kernel asks for them: include/linux/socket.h.
var familyNames = map[int]string{15: "AF_KEY", 21: "AF_RDS", 33: "AF_RXRPC", 36: "AF_IEEE802154", 38: "AF_ALG"}

// Family gives the address family that an alias of a module stands for: "AF_ALG" for
// "net-pf-38". Aliases of single protocols ("net-pf-16-proto-6") stand for none.
func Family(alias string) (name string, ok bool) {
	digits, is := strings.CutPrefix(alias, "net-pf-")
	number, err := strconv.Atoi(digits)
	if !is || err != nil {
		return "", false
	}
	name, ok = familyNames[number]
	return name, ok
}

// The keys that decide over sockets: systemd.exec(5).
const (
	restrictKey = "RestrictAddressFamilies"
	archKey     = "SystemCallArchitectures"
)

// nativeWords are how the machine's own architecture may be written where kerngate runs
// machines: amd64 and arm64.
var nativeWords = []string{"native", "x86-64", "arm64"}

// hardenLine finds the line of a unit file or drop-in that opens what HardenText closes,
// and says how. Before our drop-in that is only another architecture, a program to which
// systemd applies no filter, and "none", which ours would turn into a list of what is denied.
func (s scope) hardenLine(data []byte, after bool) (line, why string) {
	if len(s.deny) == 0 {
		return "", ""
	}
	for key, value := range assignments(data) {
		words := unitfile.Words(value, len(value))
		line = key + "=" + value
		switch {
		case key == archKey && len(words) == 0 && after, key == restrictKey && len(words) == 0 && after:
			return line, "takes away the hardening of"
		case key == archKey && slices.ContainsFunc(words, func(w string) bool { return !slices.Contains(nativeWords, w) }):
			return line, "opens a way around the hardening of"
		case key == "ExecStart" && strings.Contains(execPrefix(value), "+"):
			return line, "runs without the hardening of"
		case key == restrictKey && value == "none" && !after:
			return line, "would be lifted by the hardening of"
		case key == restrictKey && after && slices.ContainsFunc(words, func(w string) bool { return slices.Contains(s.deny, w) }):
			return line, "allows again what the hardening denies to"
		}
	}
	return "", ""
}

// execPrefix are the special characters before the program of ExecStart=:
// systemd.service(5), "Special executable prefixes".
func execPrefix(value string) string {
	value = strings.TrimLeft(value, "\"'")
	return value[:len(value)-len(strings.TrimLeft(value, "@-:+!|"))]
}
