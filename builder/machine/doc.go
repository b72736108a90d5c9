// Package machine runs a virtual machine and reads its console.
//
// A [Machine] is one run of QEMU on a snapshot, unless asked otherwise: the image file
// is opened for reading only. It has no network, no display and no monitor; all that it says comes over the
// first serial port, line by line. The kernel is booted directly, or by UEFI firmware
// and the boot loader of the image.
//
// KVM is used where it works, which is tried and not believed; else the processor is
// emulated. The machine ends with the process that started it.
package machine
