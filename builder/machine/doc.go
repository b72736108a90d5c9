// Package machine runs a virtual machine and reads its console.
//
// A [Machine] is one run of QEMU on a snapshot, unless asked otherwise: the image file
// is opened for reading only. It has no network, no display and no monitor. What it
// says comes over the first serial port, line by line; a second one is for questions
// and answers. The kernel is booted directly, or by UEFI firmware and the boot loader
// of the image; its systemd can be given credentials through the firmware's tables
// (SMBIOS type 11, systemd(1), "System Credentials").
//
// KVM is used where it works, which is tried and not believed; else the processor is
// emulated. The machine ends with the process that started it.
//
// It leaves out all else that QEMU can be: several disks, disks that are not raw,
// Secure Boot, a TPM.
package machine
