package advisory

import (
	"fmt"
	"strings"

	"github.com/kerngate/kerngate/initcheck/kver"
)

// Kernel is what is known of one kernel. Only Release must be known.
type Kernel struct {
	Release   string // uname -r, or the name below /lib/modules
	Version   string // uname -v, or the same from the header of the image
	Signature string // /proc/version_signature, which Ubuntu has

	ID        string // ID in the os-release of the system it is installed in
	VersionID string // VERSION_ID there

	// Package is the version of the package that it was installed from, as the package
	// database has it. At boot it is not known.
	Package string
	// Foreign tells that the package is not of the distribution's own making.
	Foreign bool
	// LivePatched tells that /sys/kernel/livepatch lists a patch.
	LivePatched bool
}

// reach is how far a kernel may be ahead of the upstream release that it contains.
type reach int

const (
	exact     reach = iota // it is that release
	branch                 // it may be any later release of the branch
	unlimited              // it may have anything of later branches
)

// identity is what a kernel turns out to be.
type identity struct {
	maker    string // ID of the distribution that built it; empty: not known
	stream   string // its stream; empty: none that rows could speak of
	version  string // its version in the stream
	contains kver.Release
	reach    reach
	stock    bool // upstream's own, with nobody's suffix
}

// makers look at a kernel in turn; the first that knows it decides.
var makers = []func(Kernel, kver.Release) (identity, bool, error){debian, ubuntu, rpm, system}

// Distributions are the IDs that rows can have.
func Distributions() []string {
	return []string{"almalinux", "amzn", "azurelinux", "bottlerocket", "centos", "debian", "fedora", "flatcar", "ol", "rhel", "rocky", "talos", "ubuntu"}
}

// identify finds out who built the kernel, and what of upstream it contains. An error
// tells of sources that contradict each other.
//
// Streams are named by what the distribution counts in: "6.12" of debian, "linux-aws 5.15" of
// ubuntu, "el9_7", "amzn2023 6.12", "fc44 7.0", "azl3", and the part of the system's own
// version that its releases share: "1.13" of talos, "4593" of flatcar, "1" of bottlerocket.
func (k Kernel) identify() (identity, error) {
	release, err := kver.ParseRunning(k.Release, k.Version)
	if err != nil {
		return identity{}, err
	}
	if !k.Foreign {
		for _, maker := range makers {
			if id, known, err := maker(k, release); known || err != nil {
				return id, err
			}
		}
	}
	if plain, err := kver.ParseFloor(k.Release); err == nil && plain.Rebuild == 0 {
		return identity{contains: release, stock: true}, nil
	}
	return identity{contains: lowest(release), reach: unlimited}, nil
}

// Make says who built the kernel (ID in os-release), in which of the maker's streams, and its
// version there. What is not known is empty, and all of it where sources contradict each
// other.
func (k Kernel) Make() (maker, stream, version string) {
	id, err := k.identify()
	if err != nil {
		return "", "", ""
	}
	return id.maker, id.stream, id.version
}

// lowest is what a kernel of unknown make surely contains: a 7.3 with a suffix may be a
// candidate of 7.3, as Debian's and Ubuntu's are.
func lowest(r kver.Release) kver.Release {
	if r.Patch == 0 && !r.Candidate {
		return kver.Release{Major: r.Major, Minor: r.Minor, Candidate: true}
	}
	return r
}

// name is the kernel for a finding.
func (id identity) name() string {
	switch {
	case id.stream != "":
		return fmt.Sprintf("%s %s (%s)", id.maker, id.version, id.stream)
	case id.maker != "":
		return strings.TrimSpace(id.maker + " " + id.version)
	case id.stock:
		return "upstream " + id.contains.String()
	}
	return "a kernel of unknown make"
}
