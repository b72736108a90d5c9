package sideeffect

// Limits on what a tree can make us read and keep.
const (
	// maxConfig is the largest file in bytes that is searched. Rule sets and grub.cfg of
	// large machines have some 100 KiB. Larger files are named in Report.Unread.
	maxConfig = 4 << 20
	// maxLine is how much of a line a pattern sees, in bytes.
	maxLine = 64 << 10
	// maxFiles is for all signs together: files opened. A server has a few hundred of them.
	maxFiles = 20_000
	// maxUnits is for the entries of all unit directories. A desktop has 1,000.
	maxUnits = 50_000
	// maxDep is the largest modules.dep in bytes; a distribution's has 1 MiB.
	maxDep = 8 << 20
	// maxKernels bounds the module directories. Real images have a handful.
	maxKernels = 256
	// maxEvidence is how many files and packages are named for one user: enough to find it.
	maxEvidence = 8
	// maxEffects is for all effects of a tree: a block of one module can stop some 50 drivers.
	maxEffects = 4096
)
