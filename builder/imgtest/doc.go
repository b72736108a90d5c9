// Package imgtest is the test harness for whole images: it has Debian images made by
// testdata/boot/mkimage, boots them in QEMU and reads their console.
//
// A [Machine] is one run of QEMU on a snapshot, unless asked otherwise: the image file
// is opened for reading only. It has no network, no display and no monitor; all that it says comes over the
// first serial port, line by line. The kernel is booted directly, or by UEFI firmware
// and the boot loader of the image.
//
// [Cells] is the table of what loads which module: the program loadpaths measures it in
// the guest, kerngate verify predicts it, [CompareCells] holds one against the other.
//
// For readers of file systems it has an outside judge: [ReadWithDebugfs] reads all
// that [ReadTree] does, and [Differences] compares.
//
// The images print a report between two marks when their boot has ended; a [Report]
// holds it. The package does not import testing: kerngate can boot images with it.
package imgtest
