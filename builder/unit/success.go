package unit

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/builder/unitfile"
)

// refusals are the exit codes of a re-check that did not say yes, by number and name
// (systemd.exec(5), "Process Exit Codes"): it refused; it broke down, for want of memory for
// instance, where Go's runtime ends a program with 2; it could not be started.
var refusals = map[uint64]string{77: "NOPERM", 2: "INVALIDARGUMENT", 203: "EXEC"}

// isRefused says whether a word of SuccessExitStatus= stands for a refusal. Numbers may be
// written as in C, with base and sign (safe_atou in systemd's src/basic/parse-util.c).
func isRefused(word string) bool {
	code, err := strconv.ParseUint(strings.TrimPrefix(word, "+"), 0, 8)
	if err != nil {
		return slices.Contains(slices.Collect(maps.Values(refusals)), word)
	}
	_, found := refusals[code]
	return found
}

// answered are the signals of which a re-check does not die: the checker ignores SIGPIPE,
// and answers the others with a refusal of its own. Units with SIGTERM are common.
var answered = []string{"SIGHUP", "SIGINT", "SIGPIPE", "SIGTERM"}

// isDeadly says whether a word of SuccessExitStatus= is any other signal. SIG may be
// missing (signal_from_string in systemd's src/basic/signal-util.c); a number stands for an
// exit code, whatever signal it is.
func isDeadly(word string) bool {
	name := strings.TrimPrefix(word, "SIG")
	if strings.HasPrefix(name, "RTMIN") || strings.HasPrefix(name, "RTMAX") {
		return true
	}
	name = "SIG" + name
	return unix.SignalNum(name) != 0 && !slices.Contains(answered, name)
}

// successLine finds the line that makes a refusal of the re-check, or its death, count as
// success, so that the unit starts all the same, and what the gate did. That a later
// line is empty, which resets the list, is no excuse: systemd may not come to it, since it
// stops reading at what it cannot read.
func successLine(data []byte) (line, did string) {
	for key, value := range assignments(data) {
		if key != "SuccessExitStatus" {
			continue
		}
		// A backslash that escapes nothing is dropped (extract_first_word without flags).
		words := append(unitfile.Words(value, len(value)), strings.Fields(strings.ReplaceAll(value, `\`, ""))...)
		if slices.ContainsFunc(words, isRefused) {
			return key + "=" + value, "refused"
		}
		if slices.ContainsFunc(words, isDeadly) {
			return key + "=" + value, "was killed while it checked"
		}
	}
	return "", ""
}

// unitConflicts looks at the unit files of gated units in one directory.
func (s scope) unitConflicts(t rootfs.Tree, dir string, entries []rootfs.Entry) ([]Conflict, error) {
	var out []Conflict
	for _, e := range entries {
		name, gated := match(e.Name, s.units)
		if !gated && e.Type != fs.ModeSymlink && slices.Contains(s.aliases, e.Name) {
			name, gated = e.Name, true
		}
		if !gated || e.Type == fs.ModeDir {
			continue
		}
		file := path.Join(dir, e.Name)
		info, err := rootfs.Stat(t, file)
		if errors.Is(err, fs.ErrNotExist) || (err == nil && !info.Mode.IsRegular()) {
			continue // a mask, or an alias of a unit elsewhere
		}
		if err != nil {
			return nil, err
		}
		data, err := rootfs.ReadFile(t, file, maxFile)
		if err != nil {
			return nil, err
		}
		if line, did := successLine(data); line != "" {
			out = append(out, Conflict{file, fmt.Sprintf("its line %q lets the unit start although the gate of %s %s", line, name, did)})
		}
		if line, why := s.hardenLine(data, false); line != "" {
			out = append(out, Conflict{file, fmt.Sprintf("its line %q %s %s", line, why, name)})
		}
	}
	return out, nil
}
