package initramfs

// Limits of the format and on what an image can ask of us.
const (
	headerBytes = 110  // a newc header
	maxName     = 4096 // PATH_MAX of the kernel, of a name or a link's target, final zero byte included

	maxPart = 255 // NAME_MAX, of one part of a name

	// maxPath bounds how deep directories lie in one another: longer paths nobody can
	// name. Links in parents can build them.
	maxPath = 1 << 16

	// maxSegments is far above what boot loaders and tools put together: microcode,
	// a few archives of firmware, the main one, ours.
	maxSegments = 256

	// maxEntries bounds memory: with maxNameBytes some 100 MB. An image with every
	// module and all firmware has about 20,000.
	maxEntries = 1 << 18

	// maxNameBytes bounds names and targets together; 20,000 long ones need 2 MB.
	maxNameBytes = 16 << 20

	// maxSteps bounds what links in the parents of names can cost: 20,000 names with ten
	// parts each need 200,000.
	maxSteps = 1 << 25

	// maxUnpacked bounds the time that an image can take: it is unpacked into memory,
	// and nobody boots with more in it.
	maxUnpacked = 4 << 30

	// maxRatio bounds what few bytes can make us unpack once there were freeUnpacked of
	// them: real images shrink to a half or a tenth, gzip cannot do better than 1032.
	maxRatio     = 1200
	freeUnpacked = 64 << 20

	// maxWindow bounds the memory of a decoder. It is ZSTD_WINDOWSIZE_MAX of the
	// kernel's lib/decompress_unzstd.c; xz -9 takes half of it.
	maxWindow = 128 << 20

	// lz4Block is LZ4_DEFAULT_UNCOMPRESSED_CHUNK_SIZE of lib/decompress_unlz4.c.
	lz4Block = 8 << 20

	// What is kept of file contents while scanning: configuration has some kilobytes,
	// the module indexes of a full kernel about 5 MB.
	maxKeptFile  = 8 << 20
	maxKeptBytes = 24 << 20

	// maxReadFile bounds a file that is unpacked again to be read: busybox and kmod
	// have one or two megabytes.
	maxReadFile = 64 << 20

	// maxWarnings are kept of one image.
	maxWarnings = 100

	// maxMarker bounds our own marker file.
	maxMarker = 256

	alignment = 512 // of our archive's start
	leadZeros = 4   // at least so many zero bytes before it

	bufferBytes = 64 << 10 // read at once
)
