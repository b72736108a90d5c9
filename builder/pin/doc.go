// Package pin writes what keeps a package manager from installing a kernel outside a
// range of releases, into the manager's own files, and takes it out again.
//
// # What is written
//
//   - apt: a file of our own in preferences.d with negative priorities
//     (apt_preferences(5)). A Pin has no ranges, but a version in it can be a POSIX
//     regular expression, which says "below 7.0.6" exactly.
//   - dnf and yum: excludepkgs in dnf.conf(5), which needs no plugin and which dnf5
//     reads too. Versions there are globs, so a bound becomes some of them.
//     Locks of the versionlock plugins are read and never written: entries of one name
//     are alternatives there, so one of ours would widen somebody else's.
//   - zypper: locks with a version bound in /etc/zypp/locks (zypper(8), addlock).
//   - pacman: IgnorePkg in pacman.conf(5). It has no versions, so it freezes the kernel;
//     it is written where there is a ceiling. A floor alone needs nothing: pacman
//     goes back only when it is told to.
//   - apk: constraints in apk-world(5) for the kernels that stand there.
//
// What leads away from the range against the will of the machine's owner is closed:
// updates, dependencies, meta packages, packages named without a version. What he asks
// for by name stays open, and no manager can close it: apt-get install NAME=VERSION,
// dpkg -i, rpm -i, dnf --disableexcludes, pacman -U. The gate is there for that.
//
// # Left out
//
// Kernels whose package version is not the kernel's: Armbian's, and the dated
// raspberrypi-kernel. A package like linux-libc-dev or kernel-headers carries the
// kernel's version, and user space is built against it: it stays free. Trees of ostree
// bring their kernel with them; that is a warning.
package pin
