// Initcheck decides at boot whether the inference services of this machine may
// start. What it does is in the packages of the initcheck room; here it gets the
// real /proc, /run, sockets and exit codes.
package main

import (
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"github.com/kerngate/kerngate/initcheck/command"
	"github.com/kerngate/kerngate/initcheck/notify"
	"github.com/kerngate/kerngate/initcheck/policy"
	"github.com/kerngate/kerngate/initcheck/probe"
)

// version is set by the linker in release builds.
var version string

// Both together are well below the time that the service manager gives the gate, so that a
// read that hangs ends in a refusal with a reason, and not in a kill.
const (
	deadline     = 10 * time.Second
	tellDeadline = 2 * time.Second
)

func main() {
	os.Exit(program().Run(os.Args[1:]))
}

// program is the checker on the real system.
func program() command.Program {
	// A unit's stderr may be a socket whose reader has gone. Without this the first
	// line of a refusal would end the program, before its reason is in any log.
	signal.Ignore(syscall.SIGPIPE)
	return command.Program{
		Version:      programVersion(),
		Policy:       policy.File,
		Root:         os.DirFS("/"),
		Uname:        probe.LiveUname,
		Stamp:        notify.Stamp{Path: policy.Stamp},
		Report:       notify.ReportFile{Path: policy.Report},
		Kmsg:         notify.Kmsg{Path: "/dev/kmsg"},
		Journal:      notify.SystemJournal(),
		Manager:      notify.SystemManager(),
		Notices:      notify.Notices{Metrics: policy.Metrics, Features: policy.Features, Motd: policy.Motd},
		Deadline:     deadline,
		TellDeadline: tellDeadline,
		Now:          time.Now,
		Stdout:       os.Stdout,
		Stderr:       os.Stderr,

		Catch:           catchEnds,
		StderrIsJournal: stderrIsJournal(),
	}
}

// catchEnds catches what would end the program. SIGKILL nobody catches, and what comes
// before Go's runtime has started ends it as well.
func catchEnds() <-chan os.Signal {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	return told
}

// stderrIsJournal compares stderr with what systemd says it connected to the journal:
// systemd.exec(5), JOURNAL_STREAM. A doubt is no: a line twice is better than none.
func stderrIsJournal() bool {
	var st syscall.Stat_t
	if err := syscall.Fstat(syscall.Stderr, &st); err != nil {
		return false
	}
	return os.Getenv("JOURNAL_STREAM") == strconv.FormatUint(st.Dev, 10)+":"+strconv.FormatUint(st.Ino, 10)
}

func programVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
