// Package policy is the contract between the builder, which writes it into an
// image, and the checker, which reads it at boot.
package policy

import "github.com/kerngate/kerngate/initcheck/advisory"

// Where the two programs meet in a running system.
const (
	File   = "/usr/lib/kerngate/policy.toml" // written by the builder
	Stamp  = "/run/initcheck/pass"           // exists only while the checker's last word is pass
	Report = "/run/initcheck/report.json"    // the checker's last report
	Binary = "/usr/sbin/initcheck"           // the checker itself

	// What the checker writes beside its report, for other programs to read.
	Metrics  = "/run/initcheck/initcheck.prom" // text file for node_exporter
	Features = "/run/initcheck/features"       // local features for node-feature-discovery
	Motd     = "/run/initcheck/motd"           // for motd and issue; exists only while refused or overridden
)

// Schema is the version of the file format that this build reads and writes.
const Schema = 1

// Limit is the largest policy file in bytes that Decode takes: a thousand modules
// fit in a tenth of it, and so do all the advisories that are shipped.
const Limit = 1 << 20

// Condition is a state of a module that makes the checker refuse.
type Condition string

// The conditions.
const (
	Loaded  Condition = "loaded"  // it stands in /proc/modules
	BuiltIn Condition = "builtin" // it stands in modules.builtin of the running kernel
)

// Answer is what the checker does where it finds no answer.
type Answer string

// The answers.
const (
	Refuse Answer = "refuse"
	Pass   Answer = "pass"
)

// Policy is what the checker decides by.
type Policy struct {
	Schema  int
	Profile string // name of the profile it was made from
	Digest  string // "sha256:…" of that profile, flattened; empty: not known
	Floor   string // lowest kernel release allowed; empty: no floor
	// AcceptFixed lets a kernel below the floor pass that has the fix for every advisory.
	AcceptFixed bool
	// AcceptMitigated takes an advisory for closed whose modules nothing can load.
	AcceptMitigated bool
	// Override heeds initcheck.override= on the kernel command line: the break-glass.
	Override   bool
	Unknown    Answer         // on an advisory without an answer, above the floor; empty: Refuse
	MaxAge     int            // days that an advisory holds; 0: for ever
	Stale      advisory.Stale // what becomes of fixed after that; empty: unknown
	Modules    []Module
	Advisories []advisory.Advisory
}

// Module is one module that the checker looks for.
type Module struct {
	Name     string // as in /proc/modules, with underscores
	RefuseIf []Condition
	Reason   string // why, for the report: "CVE-2026-31431"
	// Initcalls are the functions that start the module. With all of them in
	// initcall_blacklist= it is kept out although it is built in; empty: nothing keeps it.
	Initcalls []string
}
