package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/kerngate/kerngate/initcheck/advisory"
	"github.com/kerngate/kerngate/initcheck/kver"
)

const (
	// maxName is MODULE_NAME_LEN on 64 bits, rounded up: the kernel has no module
	// with a longer name.
	maxName = 64
	// maxSymbol is KSYM_NAME_LEN before Linux 6.1, which no initcall comes near.
	maxSymbol = 128
	// maxInitcalls is more than any module has: one of its own, and perhaps one or two
	// of what is linked into it.
	maxInitcalls = 8
	// maxText bounds what goes into one line of a report or of the kernel log.
	maxText = 256
	// maxDays is a century: more is a mistake.
	maxDays = 36500
	// maxFaults bounds the list of faults of a file that is wrong throughout.
	maxFaults = 20
)

// validate tells all that is wrong with the policy, or nil.
func (p Policy) validate() error {
	return joined(p.faults())
}

func (p Policy) faults() []error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf(format, args...))
	}
	if p.Schema != Schema {
		fault("schema is %d, want %d", p.Schema, Schema)
	}
	if p.Profile == "" {
		fault("profile is missing")
	}
	if !plainText(p.Profile) {
		fault("profile is %.80q, want at most %d bytes of printable text", p.Profile, maxText)
	}
	if p.Digest != "" && !isDigest(p.Digest) {
		fault("profile_digest is %.80q, want sha256: and 64 hexadecimal digits", p.Digest)
	}
	if p.Floor != "" {
		if _, err := kver.ParseFloor(p.Floor); err != nil {
			fault("floor: %w", err)
		}
	}
	if p.Floor == "" && len(p.Modules)+len(p.Advisories) == 0 {
		fault("it has neither a floor nor a module nor an advisory, so it decides nothing")
	}
	faults = append(faults, p.kernelFaults()...)
	seen := make(map[string]bool, len(p.Modules))
	for i, m := range p.Modules {
		for _, err := range m.faults() {
			fault("module %d (%.64q): %w", i+1, m.Name, err)
		}
		if seen[m.Name] {
			fault("module %d (%.64q): it stands there twice", i+1, m.Name)
		}
		seen[m.Name] = true
	}
	return faults
}

// kernelFaults is about advisories and what is made of them.
func (p Policy) kernelFaults() []error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf(format, args...))
	}
	if p.Unknown != "" && p.Unknown != Refuse && p.Unknown != Pass {
		fault("unknown is %.40q, want %q or %q", p.Unknown, Refuse, Pass)
	}
	if p.Stale != "" && p.Stale != advisory.StaleUnknown && p.Stale != advisory.StaleWarn {
		fault("stale is %.40q, want %q or %q", p.Stale, advisory.StaleUnknown, advisory.StaleWarn)
	}
	if p.MaxAge < 0 || p.MaxAge > maxDays {
		fault("max_age is %d, want 0 to %d days", p.MaxAge, maxDays)
	}
	if len(p.Advisories) == 0 && (p.AcceptFixed || p.AcceptMitigated || p.MaxAge != 0) {
		fault("accept_fixed, accept_mitigated and max_age are about advisories, and it has none")
	}
	seen := make(map[string]bool, len(p.Advisories))
	for i, a := range p.Advisories {
		if err := a.Check(); err != nil {
			fault("advisory %d (%.40q): %w", i+1, a.CVE, err)
		}
		if seen[a.CVE] {
			fault("advisory %d (%.40q): it stands there twice", i+1, a.CVE)
		}
		seen[a.CVE] = true
	}
	return faults
}

func (m Module) faults() []error {
	var faults []error
	if !isWord(m.Name, maxName) {
		faults = append(faults, fmt.Errorf("name is %.80q, want 1 to %d of a-z, A-Z, 0-9 and _", m.Name, maxName))
	}
	if !plainText(m.Reason) {
		faults = append(faults, fmt.Errorf("reason is %.80q, want at most %d bytes of printable text", m.Reason, maxText))
	}
	if len(m.RefuseIf) == 0 {
		faults = append(faults, errors.New("refuse_if is missing or empty, so the module decides nothing"))
	}
	seen := map[Condition]bool{}
	for _, c := range m.RefuseIf {
		if c != Loaded && c != BuiltIn {
			faults = append(faults, fmt.Errorf("refuse_if has %.40q, want %q or %q", c, Loaded, BuiltIn))
		} else if seen[c] {
			faults = append(faults, fmt.Errorf("refuse_if has %q twice", c))
		}
		seen[c] = true
	}
	return append(faults, m.initcallFaults()...)
}

func (m Module) initcallFaults() []error {
	if len(m.Initcalls) > maxInitcalls {
		return []error{fmt.Errorf("initcalls has %d names, want at most %d", len(m.Initcalls), maxInitcalls)}
	}
	var faults []error
	for i, name := range m.Initcalls {
		if !isWord(name, maxSymbol) {
			faults = append(faults, fmt.Errorf("initcalls has %.80q, want 1 to %d of a-z, A-Z, 0-9 and _", name, maxSymbol))
		}
		if slices.Contains(m.Initcalls[:i], name) {
			faults = append(faults, fmt.Errorf("initcalls has %.80q twice", name))
		}
	}
	return faults
}

// isWord holds for names of modules and of C functions.
func isWord(s string, limit int) bool {
	return s != "" && len(s) <= limit && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}

// plainText holds for what may stand in a log line: no control characters, so
// that no policy can forge a second line.
func plainText(s string) bool {
	return len(s) <= maxText && utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

func isDigest(s string) bool {
	digits, found := strings.CutPrefix(s, "sha256:")
	return found && len(digits) == 64 && strings.Trim(digits, "0123456789abcdef") == ""
}

// joined makes one error of the first faults.
func joined(faults []error) error {
	if len(faults) > maxFaults {
		more := fmt.Errorf("and %d more", len(faults)-maxFaults)
		faults = append(faults[:maxFaults:maxFaults], more)
	}
	return errors.Join(faults...)
}
