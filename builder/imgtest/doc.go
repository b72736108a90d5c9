// Package imgtest is the test harness for whole images: it has Debian images made by
// testdata/boot/mkimage, boots them in QEMU and reads their console.
//
// A [Machine] is one run of QEMU on a snapshot, unless asked otherwise: the image file
// is opened for reading only. It has no network, no display and no monitor; all that it says comes over the
// first serial port, line by line. The kernel is booted directly, so the boot loader
// in the image is not exercised.
//
// For readers of file systems it has an outside judge: [ReadWithDebugfs] reads all
// that [ReadTree] does, and [Differences] compares.
//
// The images print a report between two marks when their boot has ended; a [Report]
// holds it. The package does not import testing: kerngate can boot images with it.
package imgtest
