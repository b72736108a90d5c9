package notify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/kerngate/kerngate/initcheck"
	"github.com/kerngate/kerngate/initcheck/policy"
)

// ReportSchema is the version of the report's form.
const ReportSchema = 1

// maxReport bounds the report that is read back: the largest policy gives about
// 20000 findings of 100 bytes.
const maxReport = 16 << 20

// Verbs that make a report.
const (
	Check   = "check"
	Recheck = "recheck"
	Breach  = "breach"
)

// Report is what the checker leaves behind, and its wire form.
type Report struct {
	Schema     int    `json:"schema"`
	Verdict    string `json:"verdict"`               // "pass" or "refuse"
	Verb       string `json:"verb"`                  // what made it: Check, Recheck or Breach
	ReportOnly bool   `json:"report_only,omitempty"` // of a breach: nothing is stopped for it
	Kernel     string `json:"kernel"`                // uname -r
	Profile    string `json:"profile"`               // empty: no policy could be read
	// Override is the reason that was given to pass although rules refuse; Unheeded tells
	// why such a reason did not count.
	Override string `json:"override,omitempty"`
	Unheeded string `json:"override_unheeded,omitempty"`

	ProfileDigest string    `json:"profile_digest"`
	PolicySchema  int       `json:"policy_schema"` // 0: no policy could be read
	Version       string    `json:"initcheck_version"`
	BootID        string    `json:"boot_id"`
	Uptime        float64   `json:"uptime_seconds"`
	Time          time.Time `json:"time"` // by a clock that may not be set yet
	Findings      []Finding `json:"findings"`
}

// maxReason bounds the reason of an override, so that it leaves room in a line for what is
// overridden.
const maxReason = 200

// Finding is one finding of a report.
type Finding struct {
	Rule    string `json:"rule"`
	Outcome string `json:"outcome"` // "pass", "refuse" or "doubt"
	Text    string `json:"text"`
}

// NewReport makes a report of a verdict by a policy. The caller fills in what the
// two do not know.
func NewReport(v initcheck.Verdict, p policy.Policy) Report {
	r := Report{
		Schema:        ReportSchema,
		Verdict:       string(initcheck.Refuse),
		Profile:       p.Profile,
		ProfileDigest: p.Digest,
		PolicySchema:  p.Schema,
		Findings:      make([]Finding, len(v.Findings)),
	}
	if v.Pass {
		r.Verdict, r.Override = string(initcheck.Pass), shorten(v.Override, maxReason)
	}
	for i, f := range v.Findings {
		r.Findings[i] = Finding{Rule: f.Rule, Outcome: string(f.Outcome), Text: f.Text}
	}
	return r
}

// Pass tells whether the verdict is pass.
func (r Report) Pass() bool {
	return r.Verdict == string(initcheck.Pass)
}

// Refusals are the findings that did not pass.
func (r Report) Refusals() []Finding {
	var out []Finding
	for _, f := range r.Findings {
		if f.Outcome != string(initcheck.Pass) {
			out = append(out, f)
		}
	}
	return out
}

// Line is the report in one line of fixed wording, which logs may be searched for:
//
//	initcheck: pass: kernel 7.2.12+deb14-cloud-amd64, 5 rules
//	initcheck: refuse: module algif_hash is loaded (CVE-2026-31431) (+2 more); inference units stay off
//	initcheck: breach: module algif_hash is loaded (CVE-2026-31431); inference units are stopped
//	initcheck: breach: module algif_hash is loaded (CVE-2026-31431); reported only
//	initcheck: OVERRIDE: ticket 4711: would refuse: module algif_hash is loaded (CVE-2026-31431)
func (r Report) Line() string {
	return r.line(maxKmsg)
}

// line is Line in at most n bytes; what is too long is the reason, never the
// wording around it.
func (r Report) line(n int) string {
	if r.Pass() && r.Override == "" {
		tail := ", " + count(len(r.Findings), "rule")
		return withMiddle("initcheck: pass: ", "kernel "+r.Kernel, tail, n)
	}
	head, tail := r.refusal()
	reason := "no reason was recorded"
	if refusals := r.Refusals(); len(refusals) > 0 {
		reason = refusals[0].Text
		if more := len(refusals) - 1; more > 0 {
			tail = " (+" + strconv.Itoa(more) + " more)" + tail
		}
	}
	return withMiddle(head, reason, tail, n)
}

// reason is that of an override, for a line.
func (r Report) reason() string { return shorten(Printable(r.Override), maxReason) }

// refusal is the wording around the reason.
func (r Report) refusal() (head, tail string) {
	head, tail = "initcheck: refuse: ", "; inference units stay off"
	switch {
	case r.Pass():
		return "initcheck: OVERRIDE: " + r.reason() + ": would refuse: ", ""
	case r.Verb == Breach && r.ReportOnly:
		head, tail = "initcheck: breach: ", "; reported only"
	case r.Verb == Breach:
		head, tail = "initcheck: breach: ", "; inference units are stopped"
	}
	if r.Unheeded != "" {
		tail = "; initcheck.override= is not heeded" + tail
	}
	return head, tail
}

// Short is the report in at most n bytes, without what is done for it.
func (r Report) Short(n int) string {
	head, reason := "pass: ", "kernel "+r.Kernel+", "+count(len(r.Findings), "rule")
	switch refusals := r.Refusals(); {
	case r.Pass() && r.Override != "":
		head, reason = "OVERRIDE: ", r.Override
	case r.Pass():
	case len(refusals) == 0:
		head, reason = "refuse: ", "no reason was recorded"
	case r.Verb == Breach:
		head, reason = "breach: ", refusals[0].Text
	default:
		head, reason = "refuse: ", refusals[0].Text
	}
	return withMiddle(head, reason, "", n)
}

func withMiddle(head, middle, tail string, n int) string {
	return head + shorten(Printable(middle), n-len(head)-len(tail)) + tail
}

func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return strconv.Itoa(n) + " " + thing
}

// JSON encodes for files and terminals: indented, and with every character escaped that is
// not printable. encoding/json leaves DEL, C1 and marks that turn the writing as they are.
func JSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	var out []byte
	for _, r := range b.String() {
		if r == '\n' || unicode.IsPrint(r) {
			out = utf8.AppendRune(out, r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			out = fmt.Appendf(out, `\u%04x`, unit)
		}
	}
	return out, nil
}

// ReportFile is where the report lies.
type ReportFile struct {
	Path string // "/run/initcheck/report.json"
}

// Write puts the report in place of the one before.
func (f ReportFile) Write(r Report) error {
	data, err := JSON(r)
	if err != nil {
		return fmt.Errorf("cannot write report: %w", err)
	}
	if err := replace(f.Path, data); err != nil {
		return fmt.Errorf("cannot write report: %w", err)
	}
	return nil
}

// Read gives the last report. An error that is fs.ErrNotExist means that there is
// none.
func (f ReportFile) Read() (Report, error) {
	r, err := f.read()
	if err != nil {
		return Report{}, fmt.Errorf("cannot read report: %w", err)
	}
	return r, nil
}

func (f ReportFile) read() (Report, error) {
	file, err := os.Open(f.Path)
	if err != nil {
		return Report{}, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxReport+1))
	if err != nil {
		return Report{}, err
	}
	if len(data) > maxReport {
		return Report{}, fmt.Errorf("%s has more than %d bytes", f.Path, maxReport)
	}
	var r Report
	if err := json.Unmarshal(data, &r); err != nil {
		return Report{}, fmt.Errorf("%s: %w", f.Path, err)
	}
	if r.Schema != ReportSchema {
		return Report{}, fmt.Errorf("%s: schema is %d, want %d", f.Path, r.Schema, ReportSchema)
	}
	return r, nil
}

// Remove takes the report away, and is content when there is none.
func (f ReportFile) Remove() error {
	return remove("the report", f.Path)
}

// Stamp is the file that stands for the verdict pass; the gated units assert that
// it exists.
type Stamp struct {
	Path string // "/run/initcheck/pass"
}

// Remove takes the stamp away, and is content when there is none.
func (s Stamp) Remove() error {
	return remove("the stamp", s.Path)
}

// Create sets the stamp. It appears in one step, with the report's line in it for
// people.
func (s Stamp) Create(r Report) error {
	if err := replace(s.Path, []byte(r.Line()+"\n")); err != nil {
		return fmt.Errorf("cannot create the stamp: %w", err)
	}
	return nil
}

// Exists tells whether the stamp is there; an error means that it could not be
// found out.
func (s Stamp) Exists() (bool, error) {
	_, err := os.Lstat(s.Path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot look for the stamp: %w", err)
	}
	return true, nil
}

// replace writes a file under another name and renames it into place, so that a
// reader sees the old file or the new one. Nothing is synced to disk: /run is
// memory.
func replace(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := makeDir(dir); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	if err := fill(f, data); err != nil {
		os.Remove(f.Name())
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		os.Remove(f.Name())
		return err
	}
	return nil
}

// makeDir makes the directory, open to all readers whatever the umask. One that
// somebody else could put a stamp into is an error.
func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, os.ErrExist) {
		return onlyOurs(dir)
	}
	if err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}

// onlyOurs holds for a directory, not a link to one, into which nobody else writes.
func onlyOurs(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if !info.IsDir() || info.Mode().Perm()&0o022 != 0 || int(owner) != os.Geteuid() {
		return fmt.Errorf("%s is %v of user %d, want a directory that only user %d writes to", dir, info.Mode(), owner, os.Geteuid())
	}
	return nil
}

func fill(f *os.File, data []byte) error {
	_, err := f.Write(data)
	if err == nil {
		// CreateTemp makes it 0600, and everybody may know the verdict.
		err = f.Chmod(0o644)
	}
	return errors.Join(err, f.Close())
}
