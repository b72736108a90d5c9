package bootentry

// Limits on what a tree can make us read and keep.
const (
	// maxConfig is for one text file; the largest grub.cfg seen, of a machine with
	// forty kernels, has 100 kB.
	maxConfig = 1 << 20

	// maxFiles is for all files together; a tree with forty kernels has a hundred.
	maxFiles = 1024

	// maxEntries is for all command lines together; forty kernels with a recovery and
	// a submenu entry each give 120.
	maxEntries = 4096

	// maxImage is for one unified kernel image or addon. Images with a full
	// initramfs and firmware reach 200 MB.
	maxImage = 512 << 20

	// maxSections is the largest number of sections that Windows' loader takes;
	// unified kernel images have a dozen.
	maxSections = 96

	// maxValues is for the values one GRUB variable may have in all files, maxLines
	// for the combinations of them on one command line.
	maxValues = 8
	maxLines  = 32

	// maxExpanded is for one expanded command line, far above what a kernel takes: it
	// keeps variables that name variables from growing without end.
	maxExpanded = 1 << 16

	// maxNesting is for blocks in GRUB scripts and substitutions in shell words.
	maxNesting = 64

	// maxSteps is for following a GRUB script: the largest grub.cfg seen takes some
	// thousand statements and variables copied at forks.
	maxSteps = 1 << 20

	// maxIncludes is the depth to which Syslinux itself follows INCLUDE
	// (MAX_INCLUDES in com32/menu/readconfig.c).
	maxIncludes = 16

	// maxCommandLine is COMMAND_LINE_SIZE of x86 and arm64 without the final zero byte;
	// the kernel cuts off what is longer.
	maxCommandLine = 2048 - 1

	// maxString is the longest value of a string parameter; the kernel ignores a
	// longer one (param_set_charp in kernel/params.c).
	maxString = 1024
)
