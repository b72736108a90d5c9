// Package rehearse boots an image in a virtual machine and tells what the gate in it
// decides: the verdict before the image goes anywhere.
//
// The image is only read. The guest writes into QEMU's snapshot, which ends with the
// machine. The guest has no network.
//
// # What is booted
//
// Without firmware, kernel, initramfs and command line are those of the boot entry that
// the image's boot loader starts by default, taken out of the image; of several
// initramfs files one is made as boot loaders do. Where the image has no boot entry, the
// newest kernel is taken, and a command line is made up. To the command line come the
// arguments that let the machine be watched (console, log level); none of them is one
// that the checker looks at. With firmware, the image's own boot loader does all that,
// and the command line stays as it is.
//
// # How the verdict is read
//
// What a console shows depends on log levels, and every program in the guest can print
// there. So the guest is asked: systemd's own debug shell (debug-shell.service,
// systemd-debug-generator(8)) is put on a second serial port, and it reads the checker's
// report, which must have the guest's boot id, and the states of the gated units. For
// that nothing in the image changes: a directly booted kernel has the argument
// systemd.debug_shell=ttyS1, measured with systemd 252 and 262; behind a boot loader
// two drop-ins come as credentials through the firmware's tables, which systemd
// takes from version 256 on, measured with 257 and 262. Where no shell answers, the
// kernel log line of the checker on the console counts, with its time stamp at the very
// start of the line.
//
// Whoever controls the image as root can make it say what they like. A rehearsal shows
// what an image does; it does not defend against one that lies.
//
// It leaves out directories, images that are not raw, machines with a second disk, and
// on arm64 the questions: QEMU's machine has one serial port there.
package rehearse
