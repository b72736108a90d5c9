// Package notify tells the checker's verdict to those who ask: the kernel log, the
// journal, the service manager, a report in /run, and the stamp that the gated
// units assert.
//
// Each place is a small struct that says where it is, so that a test can put it
// elsewhere. Writing to the logs may go wrong without changing the verdict; the
// caller decides what a report or stamp that cannot be written means.
//
// The forms are those of Documentation/ABI/testing/dev-kmsg, systemd.journal-fields(7)
// and sd_notify(3).
package notify

import (
	"fmt"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/coreos/go-systemd/v22/journal"
)

// MESSAGE_ID of the journal entries. They never change: alerts are built on them.
const (
	MessagePass     = "fa6bdcc9f73a4223bc2350e25ad60d7a"
	MessageRefuse   = "4c2f08d2756e4eebac29cee7c7fdeaa0" // by check and recheck
	MessageBreach   = "7443da125dcec198783a1d6f46f1f9f8" // by breach
	MessageOverride = "aebb0e400fb8391c8ff131e849a690c9" // rules refuse, and the break-glass lets pass
)

// maxKmsg bounds a line in the kernel log. The kernel takes about 1000 bytes in
// one write (LOG_LINE_MAX) and refuses more.
const maxKmsg = 900

// Kmsg is the kernel log.
type Kmsg struct {
	Path string // "/dev/kmsg"
}

// Write writes the report's line in one write, since each write is one record.
func (k Kmsg) Write(r Report) error {
	f, err := os.OpenFile(k.Path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("cannot write to the kernel log: %w", err)
	}
	defer f.Close()
	if _, err := f.WriteString(kmsgLine(r)); err != nil {
		return fmt.Errorf("cannot write to the kernel log: %w", err)
	}
	return nil
}

// kmsgLine is the line with its priority: critical to refuse and to override, which quiet
// does not keep off the console, notice to pass.
func kmsgLine(r Report) string {
	if r.Pass() && r.Override == "" {
		return "<5>" + r.line(maxKmsg-len("<5>\n")) + "\n"
	}
	return "<2>" + r.line(maxKmsg-len("<2>\n")) + "\n"
}

// Journal is the systemd journal.
type Journal struct {
	Send func(message string, priority journal.Priority, fields map[string]string) error
}

// SystemJournal is the journal of the running system.
func SystemJournal() Journal {
	return Journal{Send: journal.Send}
}

// Write sends the report as one entry with fields of its own.
func (j Journal) Write(r Report) error {
	id, priority := messageOf(r)
	var findings strings.Builder
	for i, f := range r.Findings {
		if i > 0 {
			findings.WriteByte('\n')
		}
		findings.WriteString(f.Outcome + ": " + Printable(f.Text))
	}
	err := j.Send(r.Line(), priority, map[string]string{
		"MESSAGE_ID":              id,
		"SYSLOG_IDENTIFIER":       "initcheck",
		"KERNGATE_VERDICT":        r.Verdict,
		"KERNGATE_VERB":           r.Verb,
		"KERNGATE_PROFILE":        Printable(r.Profile),
		"KERNGATE_PROFILE_DIGEST": Printable(r.ProfileDigest),
		"KERNGATE_OVERRIDE":       r.reason(),
		"KERNGATE_KERNEL":         Printable(r.Kernel),
		"KERNGATE_FINDINGS":       findings.String(),
		"KERNGATE_VERSION":        Printable(r.Version),
	})
	if err != nil {
		return fmt.Errorf("cannot write to the journal: %w", err)
	}
	return nil
}

// messageOf is the MESSAGE_ID of a report, and its priority.
func messageOf(r Report) (string, journal.Priority) {
	switch {
	case r.Pass() && r.Override != "":
		return MessageOverride, journal.PriCrit
	case r.Pass():
		return MessagePass, journal.PriNotice
	case r.Verb == Breach:
		return MessageBreach, journal.PriCrit
	}
	return MessageRefuse, journal.PriCrit
}

// Manager is the service manager.
type Manager struct {
	Notify func(state string) error
}

// SystemManager is the service manager that started this process, if it left a
// socket to talk to; otherwise notifying does nothing.
func SystemManager() Manager {
	return Manager{Notify: func(state string) error {
		_, err := daemon.SdNotify(false, state)
		return err
	}}
}

// Write sets the line that systemctl status shows.
func (m Manager) Write(r Report) error {
	if err := m.Notify("STATUS=" + strings.TrimPrefix(r.Line(), "initcheck: ")); err != nil {
		return fmt.Errorf("cannot notify the service manager: %w", err)
	}
	return nil
}

// Printable escapes everything in s that could forge a second line or drive a
// terminal.
func Printable(s string) string {
	plain := func(r rune) bool { return unicode.IsPrint(r) && r != utf8.RuneError }
	if strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case plain(r):
			b.WriteRune(r)
		case r == utf8.RuneError || r < utf8.RuneSelf:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// shorten cuts s at a character so that it has at most n bytes, and marks the cut.
func shorten(s string, n int) string {
	const mark = "..."
	if len(s) <= n {
		return s
	}
	n = max(0, n-len(mark))
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + mark
}
