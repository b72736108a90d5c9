package modprobe

// Limits on configuration: real trees have a few dozen short files.
const (
	maxFile  = 1 << 20
	maxFiles = 4096
)

// Limits on module indexes. The largest distribution kernels have some 7,000
// modules, 2 MiB of aliases and 30,000 symbols.
const (
	maxIndex   = 16 << 20 // bytes of one file
	maxKeys    = 64 << 20 // bytes of all keys of one binary index, spelt out
	maxEntries = 1 << 20  // keys of one index
	maxKey     = 4096     // bytes of one key: PATH_MAX, kmod's own buffer for names
)

// maxSteps bounds one request. Soft dependencies can name each other in any
// number; kmod itself has no bound but memory. The longest request of a real tree
// has some fifty steps.
const maxSteps = 1 << 16

// maxLookups bounds the names that one request looks up, which a file full of soft
// dependencies of everything drives up faster than the steps.
const maxLookups = 1 << 18

// maxCommandLine is how much of /proc/cmdline kmod reads (KCMD_LINE_SIZE in
// libkmod-internal.h), with the zero byte behind it.
const maxCommandLine = 4096
