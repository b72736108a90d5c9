package packages

// Limits on what a tree can make us read and keep.
const (
	// maxStatus bounds a database in one file, in bytes: that of a full desktop has 10 MiB.
	maxStatus = 64 << 20
	// maxField is the longest line that we need whole, in bytes: names and versions have
	// a few dozen. Longer lines of other fields are skipped.
	maxField = 4 << 10
	// maxPackages is for all databases together. The largest distribution has some 70,000
	// packages, and nobody installs them all.
	maxPackages = 1 << 17
	// maxName is the longest name, version or architecture in bytes that we keep.
	maxName = 255
)
