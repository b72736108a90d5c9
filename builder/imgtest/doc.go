// Package imgtest is the test harness for whole images: it has Debian images made by
// testdata/boot/mkimage, boots them in QEMU and reads their console.
//
// A [Machine] is one of builder/machine that boots such an image.
//
// [Cells] is the table of what loads which module: the program loadpaths measures it in
// the guest, kerngate verify predicts it, [CompareCells] holds one against the other.
//
// For readers of file systems it has an outside judge: [ReadWithDebugfs] reads all
// that [ReadTree] does, and [Differences] compares.
//
// The images print a report between two marks when their boot has ended; a [Report]
// holds it.
package imgtest
