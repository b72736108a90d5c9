//go:build linux

// Command gatematrix runs as root inside a test machine whose image kerngate has
// patched. It puts the gate into one state after another, has a stand-in for an
// inference server started in every way that it knows, and prints who ran:
//
//	@@BEGIN gate-matrix
//	CELL STATE STARTER ran|held
//	EARLY STATE WHERE: TEXT
//	NOTE STATE WHERE: TEXT
//	TIME STATE SECONDS
//	@@END gate-matrix LINES
//
// A stand-in runs if its main program runs: that leaves a line in a file. Nothing else
// counts, neither exit codes nor the states of units. A note is what the state's
// refusal looks like to somebody who asks: the status of the gate, what systemctl start
// said, the journal. An early one is of the first round, and only for whoever looks for a
// fault.
//
// In each state there are two rounds. In the first the gate has passed and stand-ins
// are up; then the state sets in, one of them is killed, and a socket that listens gets
// a connection. In the second all is as after a boot: nothing runs, /run/initcheck is
// gone, and a target that wants the gate and a stand-in is started in one transaction;
// then come the other starters, all at once. Afterwards all is put back.
//
// Two arguments on the kernel command line are for it: matrix.states=NAME,NAME limits
// the run to those states; matrix.control puts drop-ins of the usual kind, Requires=
// and After= alone, in place of ours.
//
// It is no part of what kerngate installs.
package main
