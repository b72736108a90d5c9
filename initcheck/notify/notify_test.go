package notify

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/kerngate/kerngate/initcheck"
	"github.com/kerngate/kerngate/initcheck/policy"
)

func report(findings ...initcheck.Finding) Report {
	v := initcheck.Verdict{Pass: true}
	for _, f := range findings {
		v = v.Add(f)
	}
	r := NewReport(v, policy.Policy{Schema: 1, Profile: "llm-node", Digest: "sha256:00", Floor: "7.0.6"})
	r.Verb, r.Kernel, r.Version = "check", "7.2.12+deb14-cloud-amd64", "v1.2.3"
	r.BootID, r.Uptime, r.Time = "6f1f4c1e", 12.5, time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
	return r
}

func pass(text string) initcheck.Finding {
	return initcheck.Finding{Rule: "r", Outcome: initcheck.Pass, Text: text}
}

func refuse(text string) initcheck.Finding {
	return initcheck.Finding{Rule: "r", Outcome: initcheck.Refuse, Text: text}
}

func breach(reportOnly bool) Report {
	r := report(refuse("module algif_hash is loaded"))
	r.Verb, r.ReportOnly = Breach, reportOnly
	return r
}

func TestLine(t *testing.T) {
	doubt := initcheck.Finding{Rule: "r", Outcome: initcheck.Doubt, Text: "cannot tell"}
	cases := []struct {
		name   string
		report Report
		want   string
	}{
		{"pass", report(pass("a"), pass("b")), "initcheck: pass: kernel 7.2.12+deb14-cloud-amd64, 2 rules"},
		{"pass by one rule", report(pass("a")), "initcheck: pass: kernel 7.2.12+deb14-cloud-amd64, 1 rule"},
		{"refuse", report(pass("a"), refuse("module algif_hash is loaded")), "initcheck: refuse: module algif_hash is loaded; inference units stay off"},
		{"refuse by two", report(refuse("first"), pass("a"), doubt), "initcheck: refuse: first (+1 more); inference units stay off"},
		{"doubt", report(doubt), "initcheck: refuse: cannot tell; inference units stay off"},
		{"control characters", report(refuse("a\nb\x1b[2J\x00\u0085c\xffd")), `initcheck: refuse: a\x0ab\x1b[2J\x00\u0085c\xffd; inference units stay off`},
		{"breach", breach(false), "initcheck: breach: module algif_hash is loaded; inference units are stopped"},
		{"breach, reported only", breach(true), "initcheck: breach: module algif_hash is loaded; reported only"},
		{"no finding", Report{}, "initcheck: refuse: no reason was recorded; inference units stay off"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := c.report.Line(); got != c.want {
				t.Errorf("Line is %q, want %q", got, c.want)
			}
		})
	}
}

// TestJSONDrivesNoTerminal: what is not printable is escaped, and comes back as it was.
func TestJSONDrivesNoTerminal(t *testing.T) {
	want := "a\"b\\c\n\x1b[2J\x7f\u009b2J\u202e\U000e0041ä<\u20ac>\U0001f600"
	data, err := JSON([]string{want})
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(string(data), "\x1b\x7f\u009b\u202e\U000e0041") || !strings.Contains(string(data), "ä<€>\U0001f600") {
		t.Errorf("JSON is %q, want what is printable as it is and nothing else", data)
	}
	var got []string
	if err := json.Unmarshal(data, &got); err != nil || !slices.Equal(got, []string{want}) {
		t.Errorf("%s comes back as %q, %v, want %q", data, got, err, want)
	}
}

func TestKmsgLineIsOneBoundedRecord(t *testing.T) {
	for _, text := range []string{"short", strings.Repeat("x", 5000), strings.Repeat("ä", 5000), "x" + strings.Repeat("ä", 5000), strings.Repeat("\n", 5000), strings.Repeat("\xff", 5000)} {
		line := kmsgLine(report(refuse(text), refuse("more")))
		if len(line) > 900 || strings.Count(line, "\n") != 1 || !utf8.ValidString(line) {
			t.Errorf("line is %d bytes with %d newlines: %.60q", len(line), strings.Count(line, "\n"), line)
		}
		if !strings.HasPrefix(line, "<2>initcheck: refuse: ") || !strings.HasSuffix(line, " (+1 more); inference units stay off\n") {
			t.Errorf("line is %.60q ... %q, want its wording kept", line, line[max(0, len(line)-60):])
		}
	}
	if line := kmsgLine(report(pass("a"))); line != "<5>initcheck: pass: kernel 7.2.12+deb14-cloud-amd64, 1 rule\n" {
		t.Errorf("line is %q", line)
	}
}

func TestKmsg(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kmsg")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := report(refuse("below the floor"))
	if err := (Kmsg{Path: path}).Write(r); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); string(got) != kmsgLine(r) {
		t.Errorf("kernel log has %q, want %q", got, kmsgLine(r))
	}
}

func TestKmsgIsNeverCreated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kmsg")
	if err := (Kmsg{Path: path}).Write(report()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("writing to a kernel log that is not there gives %v, want fs.ErrNotExist", err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("a file was created in place of the kernel log")
	}
}

func TestJournal(t *testing.T) {
	var message string
	var priority journal.Priority
	var fields map[string]string
	j := Journal{Send: func(m string, p journal.Priority, f map[string]string) error {
		message, priority, fields = m, p, f
		return nil
	}}
	if err := j.Write(report(refuse("below\nthe floor"), pass("not loaded"))); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"MESSAGE_ID": MessageRefuse, "SYSLOG_IDENTIFIER": "initcheck",
		"KERNGATE_VERDICT": "refuse", "KERNGATE_VERB": "check",
		"KERNGATE_PROFILE": "llm-node", "KERNGATE_PROFILE_DIGEST": "sha256:00",
		"KERNGATE_KERNEL": "7.2.12+deb14-cloud-amd64", "KERNGATE_VERSION": "v1.2.3", "KERNGATE_OVERRIDE": "",
		"KERNGATE_FINDINGS": "refuse: below\\x0athe floor\npass: not loaded",
	}
	if message != `initcheck: refuse: below\x0athe floor; inference units stay off` || priority != journal.PriCrit || !reflect.DeepEqual(fields, want) {
		t.Errorf("journal has %q, %d,\n%q\nwant\n%q", message, priority, fields, want)
	}
	if err := j.Write(report(pass("a"))); err != nil || fields["MESSAGE_ID"] != MessagePass || priority != journal.PriNotice {
		t.Errorf("on pass: %v, %q, priority %d", err, fields["MESSAGE_ID"], priority)
	}
	if err := j.Write(breach(true)); err != nil || fields["MESSAGE_ID"] != MessageBreach || priority != journal.PriCrit {
		t.Errorf("on a breach: %v, %q, priority %d", err, fields["MESSAGE_ID"], priority)
	}
	j.Send = func(string, journal.Priority, map[string]string) error { return errors.New("no journald") }
	if err := j.Write(report()); err == nil || err.Error() != "cannot write to the journal: no journald" {
		t.Errorf("error is %v", err)
	}
}

func TestMessageIDs(t *testing.T) {
	ids := []string{MessagePass, MessageRefuse, MessageBreach, MessageOverride}
	for i, id := range ids {
		if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" {
			t.Errorf("MESSAGE_ID %q is not 32 hexadecimal digits", id)
		}
		if slices.Contains(ids[:i], id) {
			t.Errorf("MESSAGE_ID %q is there twice", id)
		}
	}
}

// TestManager talks to a real socket, as systemd would give it.
func TestManager(t *testing.T) {
	dir, err := os.MkdirTemp("", "n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	if err := SystemManager().Write(report(refuse("below the floor"))); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1000)
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	n, err := conn.Read(buf)
	if want := "STATUS=refuse: below the floor; inference units stay off"; err != nil || string(buf[:n]) != want {
		t.Errorf("service manager got %q, %v, want %q", buf[:n], err, want)
	}
}

func TestManagerAbsent(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := SystemManager().Write(report()); err != nil {
		t.Errorf("without a service manager: %v", err)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	if err := SystemManager().Write(report()); err == nil {
		t.Error("with a socket that is gone: no error")
	}
}

func TestReportFile(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	file := ReportFile{Path: filepath.Join(t.TempDir(), "initcheck", "report.json")}
	if _, err := file.Read(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading no report gives %v, want fs.ErrNotExist", err)
	}
	for _, want := range []Report{report(refuse("<below> & \"so\"")), report(pass("a"), pass("b"))} {
		if err := file.Write(want); err != nil {
			t.Fatal(err)
		}
		if got, err := file.Read(); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("read back %+v, %v, want %+v", got, err, want)
		}
	}
	wantMode(t, file.Path, 0o644)
	wantMode(t, filepath.Dir(file.Path), fs.ModeDir|0o755)
	wantNames(t, filepath.Dir(file.Path), "report.json")
}

func TestReportGolden(t *testing.T) {
	file := ReportFile{Path: filepath.Join(t.TempDir(), "initcheck", "report.json")}
	if err := file.Write(report(refuse("kernel 6.1 is below the floor <7.0.6>"))); err != nil {
		t.Fatal(err)
	}
	const want = `{
  "schema": 1,
  "verdict": "refuse",
  "verb": "check",
  "kernel": "7.2.12+deb14-cloud-amd64",
  "profile": "llm-node",
  "profile_digest": "sha256:00",
  "policy_schema": 1,
  "initcheck_version": "v1.2.3",
  "boot_id": "6f1f4c1e",
  "uptime_seconds": 12.5,
  "time": "2026-11-22T01:02:03Z",
  "findings": [
    {
      "rule": "r",
      "outcome": "refuse",
      "text": "kernel 6.1 is below the floor <7.0.6>"
    }
  ]
}
`
	if got, _ := os.ReadFile(file.Path); string(got) != want {
		t.Errorf("report is\n%s\nwant\n%s", got, want)
	}
}

func TestReportRefusesToRead(t *testing.T) {
	for name, text := range map[string]string{
		"empty":        "",
		"cut short":    `{"schema": 1, "verdict": "pa`,
		"other schema": `{"schema": 2, "verdict": "pass"}`,
		"no schema":    `{"verdict": "pass"}`,
		"too large":    strings.Repeat(" ", maxReport+1),
	} {
		file := ReportFile{Path: filepath.Join(t.TempDir(), "report.json")}
		if err := os.WriteFile(file.Path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := file.Read(); err == nil || !reflect.DeepEqual(r, Report{}) {
			t.Errorf("%s: read gives %+v, %v, want an error", name, r, err)
		}
	}
}

func TestStamp(t *testing.T) {
	stamp := Stamp{Path: filepath.Join(t.TempDir(), "initcheck", "pass")}
	if err := stamp.Remove(); err != nil {
		t.Errorf("removing no stamp: %v", err)
	}
	if err := stamp.Create(report(pass("a"))); err != nil {
		t.Fatal(err)
	}
	if exists, err := stamp.Exists(); err != nil || !exists {
		t.Errorf("after Create: %v, %v", exists, err)
	}
	if got, _ := os.ReadFile(stamp.Path); string(got) != "initcheck: pass: kernel 7.2.12+deb14-cloud-amd64, 1 rule\n" {
		t.Errorf("stamp has %q", got)
	}
	wantMode(t, stamp.Path, 0o644)
	wantNames(t, filepath.Dir(stamp.Path), "pass")
	if err := stamp.Remove(); err != nil {
		t.Fatal(err)
	}
	if exists, err := stamp.Exists(); err != nil || exists {
		t.Errorf("after Remove: %v, %v", exists, err)
	}
}

// TestNothingIsLeftBehind puts a directory where the file should go, which no
// rename replaces.
func TestNothingIsLeftBehind(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "initcheck")
	if err := os.MkdirAll(filepath.Join(dir, "pass", "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	stamp := Stamp{Path: filepath.Join(dir, "pass")}
	if err := stamp.Create(report()); err == nil {
		t.Error("Create over a directory: no error")
	}
	if err := stamp.Remove(); err == nil {
		t.Error("Remove of a directory that is not empty: no error")
	}
	wantNames(t, dir, "pass")
}

// TestDirectoryOfSomebodyElse: whoever writes to the directory could put a stamp there.
func TestDirectoryOfSomebodyElse(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"a link": func(dir string) error { return os.Symlink(t.TempDir(), dir) },
		"a file": func(dir string) error { return os.WriteFile(dir, nil, 0o644) },
		"writable by all": func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, 0o777))
		},
		"writable by a group": func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, 0o775))
		},
	} {
		dir := filepath.Join(t.TempDir(), "initcheck")
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		stamp := Stamp{Path: filepath.Join(dir, "pass")}
		if err := stamp.Create(report(pass("a"))); err == nil || !strings.Contains(err.Error(), "want a directory that only user ") {
			t.Errorf("%s: Create gives %v, want an error about the directory", name, err)
		}
	}
}

func wantMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != want {
		t.Errorf("%s has mode %v, want %v", filepath.Base(path), info.Mode(), want)
	}
}

func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("directory has %q, want %q", got, want)
	}
}
