package pin

// Limits on what a tree can make us read and keep.
const (
	// maxFile is for one configuration file; the largest seen, a versionlock.list of
	// every package of a workstation, has 300 kB.
	maxFile = 4 << 20

	// maxStatus is for dpkg's database; a desktop's has 10 MB.
	maxStatus = 128 << 20

	// maxFiles is for the files of preferences.d.
	maxFiles = 1024

	// maxNumber bounds the numbers of a release: five digits keep a build date from
	// passing as a version.
	maxNumber = 65535

	// maxDigits is the length of the largest number that patterns for "at or above"
	// cover. The largest patch level upstream has three digits.
	maxDigits = 3

	// maxListed is for names in one warning.
	maxListed = 5
)
