// Package policy is the contract between the builder, which writes it into an
// image, and the checker, which reads it at boot.
package policy

// Where the two programs meet in a running system.
const (
	File   = "/usr/lib/kerngate/policy.toml" // written by the builder
	Stamp  = "/run/initcheck/pass"           // exists only while the checker's last word is pass
	Report = "/run/initcheck/report.json"    // the checker's last report
	Binary = "/usr/sbin/initcheck"           // the checker itself
)

// Schema is the version of the file format that this build reads and writes.
const Schema = 1

// Limit is the largest policy file in bytes that Decode takes: a thousand modules
// fit in a tenth of it.
const Limit = 1 << 20

// Condition is a state of a module that makes the checker refuse.
type Condition string

// The conditions.
const (
	Loaded  Condition = "loaded"  // it stands in /proc/modules
	BuiltIn Condition = "builtin" // it stands in modules.builtin of the running kernel
)

// Policy is what the checker decides by.
type Policy struct {
	Schema  int      `toml:"schema"`
	Profile string   `toml:"profile"`         // name of the profile it was made from
	Digest  string   `toml:"profile_digest"`  // "sha256:…" of that profile, flattened
	Floor   string   `toml:"floor,omitempty"` // lowest kernel release allowed; empty: no floor
	Modules []Module `toml:"module,omitempty"`
}

// Module is one module that the checker looks for.
type Module struct {
	Name     string      `toml:"name"` // as in /proc/modules, with underscores
	RefuseIf []Condition `toml:"refuse_if"`
	Reason   string      `toml:"reason"` // why, for the report: "CVE-2026-31431"
}
