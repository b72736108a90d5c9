// Package advisory decides whether a kernel has the fix for one CVE: fixed, mitigated,
// vulnerable or unknown, each with the rule and the source that decided.
//
// The same code answers for the kernels of an image and, at boot, for the one that runs.
// It is pure: what is known of the kernel comes in as a [Kernel], what is known of the CVE
// as an [Advisory].
//
// # How it decides
//
// First it finds out who built the kernel. A distribution's own word on its own stream
// comes before everything: its fix may stand in a release far below the upstream one
// (Debian's 6.12.86-1), or miss in one above. Streams are never compared with each other:
// el9_7 with el9_8, AlmaLinux with RHEL, Ubuntu's generic with azure, a backport with what
// it was made from. Where the distribution says nothing, the upstream release that the
// kernel contains may prove the fix, by the table of branches. It proves the lack of it
// only for a kernel with no maker's suffix: anybody else may have added the fix.
//
// # What makes it say unknown
//
// A kernel of unknown make below the fixed release; a release candidate of the very
// release that brought the fix; a distribution whose stream the advisory does not list; a
// live patch; sources that contradict each other. A kernel of unknown make at or above
// the fixed release is fixed, because it contains that release.
//
// # What is left out
//
// The kernel's configuration, and whether code that was built can be reached, other than
// by the modules that are closed.
package advisory
