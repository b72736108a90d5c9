// Package builder turns a target and a profile into a patched target.
//
// A build goes in this order: open the target and find its root (image), read
// facts (inspect), compute what must lie in it and compare (plan), copy the image
// to a hidden file beside the output, edit the copy (ext4), open it again and
// hold it against the profile (verify), and only then give it its name (commit).
//
// The promise: after a build there is the image that the profile asks for, or an
// error and the bytes that were there before. The plan is the build: Apply makes
// the changes that [NewPlan] lists, and no others. Applying a profile again
// changes nothing.
//
// This version writes into the root file system only: the modprobe.d block, the
// gate with its drop-ins, the checker and its policy, and a manifest. It leaves
// out initramfs images, boot entries and package pins; what stays open for that
// is named by [Verify].
package builder
