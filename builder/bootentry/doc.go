// Package bootentry finds the kernel command lines of a tree, wherever a boot loader
// or the template of one holds them, and splices arguments into them.
//
// # Places
//
//   - GRUB: grub.cfg and other *.cfg beside it (the linux, linux16, linuxefi, module
//     and module2 commands, in menus, submenus, functions and branches), the
//     environment block grubenv, and the settings in /etc/default/grub
//     (GRUB manual 2.06, "Shell-like scripting", "The GRUB environment block",
//     "Simple configuration handling").
//   - Boot loader entries of type 1, read by systemd-boot and by GRUB's blscfg, and of
//     type 2, unified kernel images with their addons (UAPI.1 Boot Loader
//     Specification, UAPI.5 Unified Kernel Image, systemd-stub(7)).
//   - /etc/kernel/cmdline, /usr/lib/kernel/cmdline (kernel-install(8)), the Cmdline= of
//     uki.conf (ukify(1)), and /etc/cmdline.d of mkinitcpio(8).
//   - extlinux and syslinux configurations, as Syslinux and U-Boot read them, with
//     /etc/default/u-boot and /etc/update-extlinux.conf, which they are made from.
//   - cmdline.txt of the Raspberry Pi's firmware.
//
// A boot loader that is found and not understood is a [Problem], never silence.
//
// # Kernel semantics
//
// Arguments are told apart as the kernel does (next_arg in lib/cmdline.c): blanks
// part them outside double quotes, and "--" ends them. module_blacklist= is a string
// parameter, so the last one stands alone; initcall_blacklist= adds up. So the last
// module_blacklist= of a line is extended, or one goes to the end of the line.
//
// # Splicing
//
// Every format is parsed into spans of the file's bytes, and only insertions are
// made: what was there stays, byte for byte. The exceptions have no choice: the
// padding of grubenv shrinks, since the block has a fixed size, and a unified kernel
// image gets its headers adjusted. The result is read back before it is returned.
//
// # Boot menus
//
// [Config.Menu] evaluates which entry each boot loader starts by default: GRUB's script
// is followed statement by statement, both ways where a condition is about the machine;
// systemd-boot's entries are sorted as it does, and its patterns matched, by all versions
// since 250 where they differ (src/boot/boot.c); of Syslinux and U-Boot the settings count
// that name a label. [Config.Promote] makes the default the kernel that is wanted, and
// removes or demotes the entries of others; [Config.Restore] takes back what can be. Menus
// that only the firmware knows, its boot order and systemd-boot's variables there are
// outside the tree.
//
// # Left out
//
// Command lines compiled into kernels (CONFIG_CMDLINE), boot configuration appended to
// an initramfs (bootconfig), arguments given by hand, by firmware or by a network, and
// those that a script for U-Boot computes. Of variables in GRUB scripts every value is
// considered that any of the files sets; nothing else is evaluated. Writing entries
// anew and signing belong to others. So do the kernels that the firmware of a Raspberry
// Pi or a script for U-Boot chooses.
package bootentry
