// Package advisories ships what is known of the CVEs of the Copy Fail and Dirty Frag
// family, reads such tables from files, and makes them out of CVE records.
//
// # A table
//
// A table is a TOML file of at most 32 KiB about one CVE, one key a line:
//
//	schema = 1                                # required: the version of this form
//	cve = "CVE-2026-43284"                    # required
//	name = "Dirty Frag (ESP)"                 # what people call it
//	title = "xfrm: esp: avoid in-place …"     # required: of the CVE record
//	date = "2026-08-21"                       # required: when the table was true
//	source = "kernel CNA record"              # required: of the upstream releases
//	modules = ["esp4", "esp6"]                # closed together, they close the CVE; [] or none: no block does
//	introduced = ["4.11"]                     # required: first releases with the flaw; the last is the mainline's
//	fixed = ["5.10.255", "7.0.5", "7.1-rc3"]  # required: first releases with the whole fix; the last is the mainline's
//	never = ["6.19"]                          # branches between the two that got no fix
//
//	[[distribution]]
//	id = "debian"                             # required: ID in os-release
//	stream = "6.12"                           # required: what the distribution counts in, see package initcheck/advisory
//	fixed = "6.12.86-1"                       # the first package with the fix; or one of:
//	seen = "6.12.86-1"                        # a package that has it, where the first is not known;
//	open = "6.12.85-1"                        # beside seen: the last package that is known to lack it
//	never = true                              # the stream never got the fix
//	unaffected = true                         # the stream never had the flaw
//	source = "DSA-6253-1"                     # required
//	note = "upstream 6.12.86 has no fix"      # for the reader
//
// Anything else in it is an error.
//
// # Import
//
// [Import] reads CVE records of schema 5 as the kernel's CNA writes them. It goes by the
// blocks of affected versions alone: the CPE ranges beside them repeat the introduction for each
// branch, and taken together call every fixed kernel vulnerable.
//
// # What is left out
//
// The feeds of distributions: their rows are written by hand, and Import keeps those of
// the table that it updates.
package advisories

// Limits.
const (
	maxTable  = 32 << 10 // bytes of a table: the longest shipped has a fifth
	maxRecord = 4 << 20  // bytes of a CVE record: the longest seen have 100 KB
	// MaxFiles is how many files a directory of records may have: all CVEs of the kernel's
	// CNA are some ten thousand, with three other files each.
	MaxFiles = 200_000
)
