//go:build linux

// Command loadpaths runs as root inside a test machine. It tries every path on which a
// kernel module of interest can be loaded and prints what it saw:
//
//	@@BEGIN load-paths
//	KERNEL MODULE PATH open|closed DETAIL
//	@@END load-paths LINES
//
// A path is open if the module stands in /proc/modules afterwards, or, for a module
// that is built in, if what it is for can be used. After each try all that it loaded
// is taken out again, so that no try helps the next; a module that stays in is an
// error. The paths are those of builder/imgtest, [imgtest.Paths]. The two of the initramfs
// were tried by a script in it, which left its lines in /run/load-paths.
//
// The program holds its own short table of modules, so that a fault in the shipped one
// shows. It is for Linux on amd64 and is no part of what kerngate installs.
package main
