package advisory

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/initcheck/kver"
	"github.com/kerngate/kerngate/initcheck/pkgver"
)

// debian knows Debian's kernels by the package version, which they carry in uname -v
// ("#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-07)"). The package database alone is
// enough where the release has Debian's form, which packages built by users have not.
func debian(k Kernel, release kver.Release) (identity, bool, error) {
	banner := debianBanner(k.Version)
	version := banner
	if version == "" && k.ID == "debian" && debianRelease(k.Release) {
		version = k.Package
	}
	contains, own := debianUpstream(version)
	if !own {
		return identity{}, false, nil
	}
	if contains.Branch() != release.Branch() {
		return identity{}, true, fmt.Errorf("the release is %s, and the package %s is of another branch", k.Release, version)
	}
	if banner != "" && k.Package != "" && pkgver.Dpkg(banner, k.Package) != 0 {
		return identity{}, true, fmt.Errorf("the kernel says that it is of package %s, and the package database has %.80s", banner, k.Package)
	}
	id := identity{maker: "debian", version: version, contains: contains}
	// Backports and rebuilds for older suites have a tilde: other streams.
	if !strings.Contains(version, "~") {
		id.stream = release.Branch().String()
	}
	return id, true, nil
}

// debianBanner takes the version out of uname -v. Without the date behind it the field
// was cut, and the version with it perhaps.
func debianBanner(version string) string {
	_, rest, found := strings.Cut(version, " Debian ")
	word, date, _ := strings.Cut(rest, " ")
	if !found || !strings.HasPrefix(date, "(") {
		return ""
	}
	return word
}

// debianRelease tells whether a release ends in a flavour of Debian's.
func debianRelease(release string) bool {
	_, flavour := cutLastDash(release)
	return slices.Contains([]string{"amd64", "arm64", "686", "pae", "armmp", "lpae", "powerpc64le", "riscv64", "s390x"}, flavour)
}

// debianUpstream takes the upstream release out of a package version of Debian's own
// making: 7.3~rc1-1~exp1, 6.12.86-1~bpo12+1, 6.1.123-1+deb12u1. Other endings are of people who
// rebuilt it.
func debianUpstream(version string) (kver.Release, bool) {
	upstream, revision := cutLastDash(version)
	if pkgver.CheckDpkg(version) != nil {
		return kver.Release{}, false
	}
	number, rest := cutDigits(revision)
	for _, ending := range []string{"+deb", "+b", "~exp", "~bpo", "~deb"} {
		if tail, found := strings.CutPrefix(rest, ending); found {
			rest = strings.Trim(tail, "0123456789u+")
			break
		}
	}
	r, err := kver.ParseFloor(strings.Replace(upstream, "~rc", "-rc", 1))
	return r, err == nil && number != "" && rest == ""
}

// ubuntu knows Ubuntu's kernels by the signature, by uname -v ("#117-Ubuntu SMP …") or by
// the package database. The release is no upstream release: all of 6.8 is 6.8.0 in it,
// candidates of 6.8 too. Only the signature tells what of upstream is in it.
func ubuntu(k Kernel, release kver.Release) (identity, bool, error) {
	base, abi, flavour := ubuntuRelease(k.Release)
	if flavour == "" {
		return identity{}, false, nil
	}
	contains, within := lowest(release.Branch()), branch
	var versions []string
	if version, upstream, found := ubuntuSignature(k.Signature, flavour); found {
		versions, contains, within = append(versions, version), upstream, exact
	}
	if upload, found := ubuntuUpload(k.Version); found {
		versions = append(versions, base+"-"+abi+"."+upload)
	}
	if k.ID == "ubuntu" && k.Package != "" {
		versions = append(versions, k.Package)
	}
	if len(versions) == 0 {
		return identity{}, false, nil
	}
	for _, v := range versions {
		if v != versions[0] {
			return identity{}, true, fmt.Errorf("two sources give two package versions, %.80s and %.80s", versions[0], v)
		}
	}
	version := versions[0]
	if !strings.HasPrefix(version, base+"-"+abi+".") || contains.Branch() != release.Branch() {
		return identity{}, true, fmt.Errorf("the release is %s, and the package %.80s is of another", k.Release, version)
	}
	id := identity{maker: "ubuntu", version: version, contains: contains, reach: within}
	// Versions of the kernels of newer releases for an older one have a tilde.
	if digits(strings.TrimPrefix(version, base+"-"+abi+".")) {
		id.stream = ubuntuSource(flavour) + " " + release.Branch().String()
	}
	return id, true, nil
}

// ubuntuRelease splits 6.8.0-117-generic. The ABI of builds of plain upstream releases
// (7.0.6-070006-generic) starts with a zero; those are not Ubuntu's.
func ubuntuRelease(release string) (base, abi, flavour string) {
	base, rest, _ := strings.Cut(release, "-")
	abi, flavour, _ = strings.Cut(rest, "-")
	if !digits(abi) || abi[0] == '0' || strings.Trim(flavour, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return "", "", ""
	}
	return base, abi, flavour
}

// ubuntuSignature reads "Ubuntu 6.8.0-117.117-generic 6.8.12".
func ubuntuSignature(signature, flavour string) (version string, upstream kver.Release, found bool) {
	words := strings.Fields(signature)
	if len(words) != 3 || words[0] != "Ubuntu" {
		return "", kver.Release{}, false
	}
	version, found = strings.CutSuffix(words[1], "-"+flavour)
	upstream, err := kver.ParseFloor(words[2])
	return version, upstream, found && err == nil
}

// ubuntuUpload reads the number of the upload from "#117-Ubuntu SMP …".
func ubuntuUpload(version string) (string, bool) {
	first, _, _ := strings.Cut(version, " ")
	upload, found := strings.CutSuffix(strings.TrimPrefix(first, "#"), "-Ubuntu")
	number, _ := cutDigits(upload)
	return upload, found && number != ""
}

// ubuntuSource is the source package of a flavour; each has version numbers of its own.
func ubuntuSource(flavour string) string {
	if flavour == "generic" || flavour == "generic-64k" || flavour == "generic-lpae" {
		return "linux"
	}
	return "linux-" + flavour
}

// rpm knows the kernels whose whole package version stands in the release:
// 5.14.0-611.54.1.el9_7.x86_64. What stands between the numbers and the tag, or behind it,
// must be numbers: the rest is of people who rebuilt it.
func rpm(k Kernel, release kver.Release) (identity, bool, error) {
	version := withoutArch(k.Release)
	base, rest, _ := strings.Cut(version, "-")
	var tag string
	for _, part := range strings.Split(rest, ".") {
		switch {
		case digits(part):
		case tag == "":
			tag = part
		default:
			return identity{}, false, nil
		}
	}
	id := identity{maker: k.ID, version: version, contains: release}
	kind := strings.TrimRight(tag, "0123456789_")
	switch {
	case kind == "el" && slices.Contains([]string{"almalinux", "centos", "ol", "rhel", "rocky"}, k.ID):
		id.stream, id.reach = tag, unlimited
	case kind == "amzn" && k.ID == "amzn", kind == "fc" && k.ID == "fedora":
		id.stream = tag + " " + release.Branch().String()
	case kind == "azl" && k.ID == "azurelinux":
		id.stream = tag
	default:
		return identity{}, false, nil
	}
	if tag == kind || base == "" {
		return identity{}, false, nil
	}
	// Amazon's kernels have an epoch in the package database, which uname does not show.
	installed := k.Package[strings.IndexByte(k.Package, ':')+1:]
	if installed != "" && pkgver.RPM(installed, version) != 0 {
		return identity{}, true, fmt.Errorf("the release is %s, and the package database has %.80s", k.Release, k.Package)
	}
	return id, true, nil
}

// withoutArch takes the architecture and the variant off: .x86_64, .aarch64+64k.
func withoutArch(release string) string {
	release, _, _ = strings.Cut(release, "+")
	for _, arch := range []string{".x86_64", ".aarch64", ".ppc64le", ".s390x"} {
		if version, found := strings.CutSuffix(release, arch); found {
			return version
		}
	}
	return release
}

// system knows the systems that are updated as a whole. They patch their kernels without a
// change of the release, so that the version of the system is what counts.
func system(k Kernel, release kver.Release) (identity, bool, error) {
	shared, suffix := 0, "-"+k.ID
	switch k.ID {
	case "bottlerocket":
		shared, suffix = 1, ""
	case "flatcar":
		shared = 1
	case "talos":
		shared = 2
	default:
		return identity{}, false, nil
	}
	version := strings.TrimPrefix(k.VersionID, "v")
	parts := strings.Split(version, ".")
	upstream, own := strings.CutSuffix(k.Release, suffix)
	if _, err := kver.ParseFloor(upstream); err != nil || !own || len(parts) < 2 || slices.ContainsFunc(parts, func(p string) bool { return !digits(p) }) {
		return identity{}, false, nil
	}
	return identity{maker: k.ID, stream: strings.Join(parts[:shared], "."), version: version, contains: release}, true, nil
}

func cutLastDash(s string) (before, after string) {
	i := strings.LastIndexByte(s, '-')
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i+1:]
}

func cutDigits(s string) (number, rest string) {
	rest = strings.TrimLeft(s, "0123456789")
	return s[:len(s)-len(rest)], rest
}
