package rehearse

import "time"

// Limits on what is taken out of an image, in bytes.
const (
	maxKernel  = 256 << 20 // kernels with all drivers have 15 MiB, unified images more in other sections
	maxInitrd  = 1 << 30   // with firmware for every device they reach 300 MiB
	maxInitrds = 16        // files; a boot entry has one to three
)

// maxCommandLine is COMMAND_LINE_SIZE of amd64 and arm64, with the NUL at its end.
const maxCommandLine = 2048

// maxAnswer bounds what one answer of the guest may have, in bytes: the longest
// report that the checker reads back itself has 16 MiB, one of the shipped profiles
// 5 KiB.
const maxAnswer = 16 << 20

// Times.
const (
	// DefaultTimeout is for a whole rehearsal: an emulated boot takes one minute on a
	// quiet core and several on a busy one, and waits of its own for a network.
	DefaultTimeout = 10 * time.Minute

	// settleTime is how long the boot may go on behind the verdict until the units have
	// the states that they keep.
	settleTime = 5 * time.Minute

	// mutedTime is the same where no shell has answered, and so nobody says that the boot is
	// over: one comes up while the gate is at work, in half a minute where a busy machine
	// emulates it.
	mutedTime = 3 * time.Minute

	// shellessTime is the same where the machine has no port for a shell.
	shellessTime = time.Minute

	// answerTime is how long the shell may take for one answer; each asks systemd two
	// or three times, at a third of a second when it is emulated.
	answerTime = time.Minute

	// askEvery leaves the guest alone between two questions.
	askEvery = 3 * time.Second
)

// tailLines is how much of the console a result shows when something is wrong.
const tailLines = 30
