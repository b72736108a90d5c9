package initcheck

import (
	"strings"
	"time"
)

// Facts is what is known about the running system. The zero value knows nothing,
// and every rule decided by it is a doubt.
type Facts struct {
	Release string // uname -r; empty: unknown
	Version string // uname -v; on Debian it carries the package version

	Loaded  Set // modules in /proc/modules
	BuiltIn Set // modules in modules.builtin of this release

	Present   Set // directories in /sys/module; extra evidence
	Protocols Set // first column of /proc/net/protocols; extra evidence

	Kernel    KernelFacts // only where the policy has advisories
	Initcalls Initcalls   // only where a module of the policy with initcalls is built in
}

// Initcalls is what is known of the functions that start built-in modules.
type Initcalls struct {
	Skipped Set // functions that initcall_blacklist= keeps the kernel from calling
	Known   Set // functions of the policy that the kernel has
}

// KernelFacts is what else tells who built the running kernel, and what it can load.
type KernelFacts struct {
	Signature   string // /proc/version_signature; empty: there is none
	ID          string // ID in os-release; empty: unknown
	VersionID   string // VERSION_ID in os-release; empty: unknown
	Package     string // version in the package database; read from images alone, whose kernel does not say it
	LivePatched bool   // /sys/kernel/livepatch lists a patch, or could not be read
	Denied      Set    // modules that module_blacklist= keeps the kernel from loading
	Available   Set    // modules in modules.dep of this release
	Now         time.Time
}

// Set is what one source lists, or why it could not be read. The zero value is a
// source that was never read.
type Set struct {
	Source string // where it was read: "/proc/modules"
	Read   bool   // it was read in full and made sense
	Err    string // if not Read: why
	names  map[string]bool
}

// NewSet is the set of a source that was read in full.
func NewSet(source string, names ...string) Set {
	s := Set{Source: source, Read: true, names: make(map[string]bool, len(names))}
	for _, name := range names {
		s.names[normal(name)] = true
	}
	return s
}

// Unread is the set of a source that could not be read.
func Unread(source string, err error) Set {
	return Set{Source: source, Err: err.Error()}
}

// Has tells whether the source lists the name; - and _ are the same in it, as
// they are to modprobe. A source that was not read lists nothing.
func (s Set) Has(name string) bool {
	return s.names[normal(name)]
}

// Len is the number of names listed.
func (s Set) Len() int {
	return len(s.names)
}

// why tells what is missing when the source was not read.
func (s Set) why() string {
	switch {
	case s.Source == "":
		return "its source was never read"
	case s.Err == "":
		return s.Source + " was never read"
	}
	return s.Source + ": " + s.Err
}

func normal(name string) string {
	return strings.ReplaceAll(name, "-", "_")
}
