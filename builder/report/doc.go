// Package report makes the files that carry the checker's verdict to those who ask for it
// in their own ways. The checker itself only ever writes below /run/initcheck, to the kernel
// log and to the journal.
//
//   - journal: a message catalogue, which journalctl -x shows (journalctl(1)), and a
//     unit that adds it to the compiled one once;
//   - motd: what pam_motd(8) shows after a login, and agetty(8) in front of it;
//   - node_exporter: a text file for its textfile collector;
//   - node-problem-detector: a custom plugin monitor for version 0.8 and later, which asks
//     initcheck status;
//   - node-feature-discovery: a local feature file for version 0.10 and later.
//
// What says "pass" must not outlive the boot that it was said in. So all are links to
// /run where the reader follows them. Only node-feature-discovery, which sees its directory
// from inside a container, gets a copy, and that is taken away early in every boot.
//
// It leaves out what makes the reader read: the monitors' own units, command lines and
// DaemonSets are not ours.
package report
