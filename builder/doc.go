// Package builder turns a target and a profile into a patched target.
//
// A build goes in this order: open the target and find its root (image), read
// facts (inspect), compute what must lie in it and compare (plan), copy the image
// to a hidden file beside the output, edit the copy (ext4, fat), open it again and
// hold it against the profile (verify), and only then give it its name (commit).
//
// The promise: after a build there is the image that the profile asks for, or an
// error and the bytes that were there before. The plan is the build: Apply makes
// the changes that [NewPlan] lists, and no others. Applying a profile again
// changes nothing.
//
// A build writes files of its own (the modprobe.d block, the gate with its drop-ins, the
// checker and its policy, the manifest) and changes files of others: arguments on kernel
// command lines, an archive behind each initramfs image, module files that a profile
// removes. The manifest tells the two apart, and [Revert] goes by it. What stays open is
// named by [Verify].
package builder
