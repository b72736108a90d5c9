package rehearse

import (
	"cmp"
	"regexp"
	"strconv"
	"strings"
)

// verdictLine is the checker's line in the kernel log as the kernel prints it: its time
// stamp, with printk.caller= who speaks, and then the words. A program that prints the
// same words has something before them, or no stamp. A breach that stops the units takes a
// pass back.
var verdictLine = regexp.MustCompile(`^\[ *(\d+\.\d{6})\](?:\[ *[TC]\d+\])? initcheck: (?:(pass|refuse): .*|breach: .*; inference units are stopped)$`)

// spoken is a verdict from the console.
type spoken struct {
	verdict string  // Pass or Refuse
	text    string  // the line without its stamp
	uptime  float64 // seconds
}

// readVerdict takes a console line for the checker's, if it is.
func readVerdict(line string) (s spoken, ok bool) {
	found := verdictLine.FindStringSubmatch(line)
	if found == nil {
		return s, false
	}
	uptime, err := strconv.ParseFloat(found[1], 64)
	return spoken{verdict: cmp.Or(found[2], Refuse), text: line[strings.Index(line, "initcheck: "):], uptime: uptime}, err == nil
}

// stages are the lines that tell how far a boot is, as kernel and systemd print them.
var stages = []struct {
	line *regexp.Regexp
	text string // with what the groups matched
}{
	{regexp.MustCompile(`^\[ *0\.\d+\](?:\[ *T\d+\])? Linux version (\S+)`), "kernel $1"},
	{regexp.MustCompile(`\] Run /init as init process`), "initramfs"},
	{regexp.MustCompile(`systemd\[1\]: systemd (\d+)\S* .*running in system mode`), "systemd $1"},
	{regexp.MustCompile(`^Welcome to (.+)!$`), "$1"},
	{regexp.MustCompile(`^\[  OK  \] Reached target (.+?)(?: ?….*| - .*|\.)?$`), "reached $1"},
	{regexp.MustCompile(`^\[FAILED\] (Failed to start .+?)(?: ?….*| -.*|\.)?$`), "$1"},
	{regexp.MustCompile(`^\[DEPEND\] (Dependency failed for .+?)(?: ?….*| - .*|\.)?$`), "$1"},
}

// runningKernel is the kernel's first line.
var runningKernel = stages[0].line

// readStage says in words how far a boot is by a console line.
func readStage(line string) (string, bool) {
	line = strings.TrimRight(line, " ")
	if s, ok := readVerdict(line); ok {
		return s.text, true
	}
	for _, s := range stages {
		if found := s.line.FindStringSubmatchIndex(line); found != nil {
			return string(s.line.ExpandString(nil, s.text, line, found)), true
		}
	}
	return "", false
}

// trouble are lines that say why a boot went wrong, better than that it did.
var trouble = regexp.MustCompile(`Kernel panic - not syncing: .*|ALERT!\s+\S+ does not exist.*|You are in emergency mode|Entering emergency mode|` +
	`Warning: dracut-initqueue: timeout.*|No working init found.*|Cannot open root device .*|Unable to mount root fs.*`)

// whatWentWrong is the first of those lines, or nothing.
func whatWentWrong(lines []string) string {
	for _, line := range lines {
		if found := trouble.FindString(line); found != "" {
			return strings.TrimSpace(found)
		}
	}
	return ""
}
