package profiles

import (
	"fmt"
	"slices"
	"strings"
)

// Accept names a side effect of a build that the author of a profile wants all the same.
// Where it is certain that a build has a side effect, and nobody accepts it, the build is
// refused.
type Accept string

// The side effects: what stops working once the modules of a family are blocked.
const (
	AcceptAFALG         Accept = "af-alg-users"       // programs that use the kernel's crypto through sockets
	AcceptFIPS          Accept = "fips"               // the boot of a host in FIPS mode
	AcceptDiskIntegrity Accept = "disk-integrity"     // disk encryption with authentication
	AcceptIPsec         Accept = "ipsec"              // IPsec: ESP, AH, IPComp and their key management
	AcceptAFS           Accept = "afs"                // AFS clients on RxRPC
	AcceptRDS           Accept = "rds"                // reliable datagram sockets
	AcceptPedit         Accept = "pedit"              // tc rules that edit packets
	AcceptKTLS          Accept = "ktls"               // TLS in the kernel
	AcceptDuplication   Accept = "packet-duplication" // firewall rules that copy packets
	AcceptWPAN          Accept = "ieee802154"         // IEEE 802.15.4 radios
	AcceptBridgeSNAT    Accept = "ebtables-snat"      // bridges that rewrite the sender of frames
)

// AcceptExternalCmdline says that the kernel command line of the image is set outside
// of it, as where a hypervisor or firmware starts the kernel itself. What must stand on it
// is printed, and nobody checks that it does.
const AcceptExternalCmdline Accept = "external-cmdline"

// AcceptUnbootableGate says that the gate may refuse on every kernel of the image, as where
// one that passes is installed later.
const AcceptUnbootableGate Accept = "unbootable-gate"

// Accepts lists every known word, sorted.
func Accepts() []Accept {
	return []Accept{
		AcceptAFALG, AcceptAFS, AcceptDiskIntegrity, AcceptBridgeSNAT, AcceptExternalCmdline, AcceptFIPS, AcceptWPAN,
		AcceptIPsec, AcceptKTLS, AcceptDuplication, AcceptPedit, AcceptRDS, AcceptUnbootableGate,
	}
}

// Accepting gives the profile with more words accepted. One that is not known is an
// error.
func (p Profile) Accepting(more []string) (Profile, error) {
	for _, word := range more {
		if !slices.Contains(Accepts(), Accept(word)) {
			return Profile{}, fmt.Errorf("accept: %q is not known, want one of %s", word, strings.Join(words(Accepts()), ", "))
		}
		p.Accept = append(slices.Clone(p.Accept), Accept(word))
	}
	slices.Sort(p.Accept)
	p.Accept = slices.Compact(p.Accept)
	return p, nil
}

// words is for checks of what a file says.
func words[W ~string](of []W) []string {
	texts := make([]string, len(of))
	for i, w := range of {
		texts[i] = string(w)
	}
	return texts
}
