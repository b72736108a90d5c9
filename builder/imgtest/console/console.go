//go:build linux

// Package console is how the programs of boot tests speak from inside a test machine:
// syslog(2) and /dev/console. It reads nothing, and is no part of what kerngate installs.
package console

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Say writes to the console in one go, with kernel messages kept away, which would
// break its lines.
func Say(text string) error {
	const consoleOff = 6 // SYSLOG_ACTION_CONSOLE_OFF of syslog(2)
	if _, err := unix.Klogctl(consoleOff, nil); err != nil {
		return err
	}
	console, err := os.OpenFile("/dev/console", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = console.WriteString(text)
	return errors.Join(err, console.Close())
}
