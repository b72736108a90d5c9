package imgtest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of docs/gate-matrix.md anew")

// matrixState is one that the gate is put into: builder/imgtest/gatematrix sets them.
type matrixState struct {
	name string
	what string // for the docs
	// why is what a note of the state must match: a refusal has to be seen, in the
	// gate's status, in the journal or in the answer of systemctl.
	why string
}

// matrixStates are all of them.
var matrixStates = []matrixState{
	{"passes", "all is well", `pass: kernel`},
	{"refuses", "the policy refuses the kernel", `refuse: kernel \S+ is below the floor 99\.0`},
	{"binary-missing", "/usr/sbin/initcheck is gone", `initcheck: No such file or directory`},
	{"binary-not-executable", "/usr/sbin/initcheck has mode 0644", `initcheck: Permission denied`},
	{"policy-missing", "the policy is gone", `refuse: cannot read policy`},
	{"policy-garbage", "the policy is no text", `refuse: .*cannot decode policy`},
	{"policy-newer-schema", "the policy is whole, and of schema 99", `refuse: .*it has schema 99`},
	{"unit-masked", "initcheck.service is masked", `initcheck.service is masked`},
	{"unit-missing", "the file of initcheck.service is gone", `initcheck.service not found`},
	{"condition-false", "a drop-in gives the gate a condition that is false", `unmet condition|[Cc]ondition check resulted|ondition.*(failed|not met)`},
	{"failure-ignored", "the policy refuses, and a drop-in has systemd ignore it (`ExecStart=-`)", `refuse: kernel \S+ is below the floor 99\.0`},
	{"proc-unreadable", "/proc/modules cannot be read by anybody", `refuse: cannot tell whether module af_alg is loaded`},
	{"proc-empty", "a blocked module is loaded, and an empty file lies over /proc/modules", `refuse: module af_alg is`},
	{"proc-hidden-from-gate", "a drop-in hides /proc/modules from the gate (`ProcSubset=pid`)", `refuse: cannot tell whether module af_alg is loaded`},
	{"run-full", "/run is full", `refuse: .*no space left on device`},
	{"run-read-only", "/run/initcheck is read-only", `refuse: .*read-only file system`},
	{"checker-killed", "the checker gets SIGKILL while it reads", `initcheck.service: .*(status=9/KILL|result 'signal')`},
	{"checker-terminated", "the checker gets SIGTERM while it reads, which the units take for success (`SuccessExitStatus=SIGTERM`)", `refuse: told to end \(terminated\)`},
	{"checker-hangs", "the checker is stopped while it reads; the time limit is 3 s instead of 30 s", `initcheck.service: .*(timed out|result 'timeout')`},
	{"stamp-left-refuses", "a stamp is there before the gate starts, and the policy refuses", `refuse: kernel \S+ is below the floor 99\.0`},
	{"stamp-left-binary-missing", "a stamp is there, and /usr/sbin/initcheck is gone", `initcheck: No such file or directory`},
	{"stamp-left-unit-masked", "a stamp is there, and initcheck.service is masked", `initcheck.service is masked`},
	{"stamp-left-run-read-only", "a stamp is there, and nobody can remove it", `refuse: .*read-only file system`},
}

// matrixStarter is a way to start an inference server.
type matrixStarter struct{ name, what string }

var matrixStarters = []matrixStarter{
	{"wants", "a target that wants the gate and the unit, in one transaction, as at boot"},
	{"manual", "`systemctl start`"},
	{"template", "`systemctl start` of an instance; the drop-in is for `vllm@.service`"},
	{"prefix", "`systemctl start`; the drop-in is for `vllm-.service`"},
	{"late", "`systemctl start` of a unit that came in after the build; the drop-in is for `llama-.service`"},
	{"socket", "a connection; the socket is gated and is to be started first"},
	{"socket-ungated", "a connection; the service is gated, its socket is not"},
	{"ignore-dependencies", "`systemctl start --job-mode=ignore-dependencies`"},
	{"user", "`systemctl --user start` in a user manager"},
	{"restart", "`Restart=always`: the gate had passed, the state set in, the server was killed"},
	{"socket-listening", "a connection; the gate had passed and the socket listened when the state set in"},
}

// matrixException is what differs from the rule: that a stand-in runs in the state
// "passes" and in no other. No systemd means all.
type matrixException struct {
	states, starters []string
	systemd          string
	open             bool // false: it rightly runs, because the checker has passed in this boot
	why              string
}

// matrixExceptions are all of them. Of those that are for a cell the first holds.
var matrixExceptions = []matrixException{
	{
		states:   []string{"condition-false", "proc-hidden-from-gate", "run-full", "run-read-only", "stamp-left-run-read-only"},
		starters: []string{"restart", "socket-listening"},
		why: "The checker passed in this boot, before the state set in, and the gate is still active. " +
			"The re-check at this start passes, too: what has changed is the gate's surroundings, not the kernel.",
	},
	{
		states:   []string{"stamp-left-unit-masked", "stamp-left-run-read-only"},
		starters: []string{"user"},
		why: "A user's manager knows nothing of the gate's unit. Its units go by the stamp and the re-check alone, and the stamp is one " +
			"that nobody has taken away. The re-check passes in this boot; where it refuses the cell is closed, as in " +
			"stamp-left-binary-missing. With `recheck = \"boot\"` it would be open.",
	},
}

// matrixOutcome is what a cell comes to.
type matrixOutcome string

const (
	matrixClosed matrixOutcome = "closed" // nothing ran
	matrixStarts matrixOutcome = "starts" // it ran, and the checker has passed in this boot
	matrixOpen   matrixOutcome = "open"   // it ran, and the checker has not
)

// ran tells what the program in the guest sees of an outcome.
func (o matrixOutcome) ran() bool { return o != matrixClosed }

// wantCell is what a cell must come to, and the exception that says so, if one does.
func wantCell(state, starter, systemd string) (matrixOutcome, int) {
	if state == "passes" {
		return matrixStarts, -1
	}
	for i, e := range matrixExceptions {
		if !slices.Contains(e.states, state) || !slices.Contains(e.starters, starter) || e.systemd != "" && e.systemd != systemd {
			continue
		}
		if e.open {
			return matrixOpen, i
		}
		return matrixStarts, i
	}
	return matrixClosed, -1
}

// matrixTable is what the program in the guest prints.
type matrixTable struct {
	ran   map[string]bool     // "STATE STARTER" to whether the stand-in ran
	notes map[string][]string // by state
	early map[string][]string // those of the first round, by state
}

// gateMatrix is the table that the program in the guest prints: gatematrix.
var gateMatrix = marksOf("gate-matrix")

// parseMatrix reads the lines between the marks, and the end mark.
func parseMatrix(lines []string, end string) (matrixTable, error) {
	table := matrixTable{ran: map[string]bool{}, notes: map[string][]string{}, early: map[string][]string{}}
	err := gateMatrix.parse(lines, end, table.add)
	if err == nil && len(table.ran) == 0 {
		err = errors.New("table with 0 cells")
	}
	return table, err
}

func (m matrixTable) add(line string) error {
	kind, rest, _ := strings.Cut(line, " ")
	words := strings.Fields(rest)
	switch {
	case kind == "CELL" && len(words) == 3 && (words[2] == "ran" || words[2] == "held"):
		cell := words[0] + " " + words[1]
		if _, twice := m.ran[cell]; twice {
			return fmt.Errorf("cell %s is there twice", cell)
		}
		m.ran[cell] = words[2] == "ran"
	case kind == "NOTE" && len(words) > 1:
		m.notes[words[0]] = append(m.notes[words[0]], strings.TrimPrefix(rest, words[0]+" "))
	case kind == "EARLY" && len(words) > 1:
		m.early[words[0]] = append(m.early[words[0]], strings.TrimPrefix(rest, words[0]+" "))
	case kind == "TIME" && len(words) == 2:
	default:
		return fmt.Errorf("line is %q, want a CELL, a NOTE, an EARLY or a TIME", line)
	}
	return nil
}

// matrixCount is how many cells came out how, by the words of matrixOutcome.
type matrixCount map[matrixOutcome]int

// compare holds a table against what is expected of the states, all starters each.
func (m matrixTable) compare(systemd string, states []matrixState) (count matrixCount, wrong []string) {
	count = matrixCount{}
	known := map[string]bool{}
	for _, state := range states {
		for _, starter := range matrixStarters {
			cell := state.name + " " + starter.name
			known[cell] = true
			want, _ := wantCell(state.name, starter.name, systemd)
			ran, found := m.ran[cell]
			switch {
			case !found:
				wrong = append(wrong, cell+": not measured")
			case ran != want.ran():
				seen := slices.Concat(m.early[state.name], m.notes[state.name])
				wrong = append(wrong, fmt.Sprintf("%s: ran is %v, want it %s\n\t%s", cell, ran, want, strings.Join(seen, "\n\t")))
			default:
				count[want]++
			}
		}
	}
	for cell := range m.ran {
		if !known[cell] {
			wrong = append(wrong, cell+": measured, and nobody expects it")
		}
	}
	slices.Sort(wrong)
	return count, wrong
}

// unseen tells which states have no note that says why nothing runs.
func (m matrixTable) unseen(states []matrixState) (silent []string) {
	for _, state := range states {
		why := regexp.MustCompile(state.why)
		if !slices.ContainsFunc(m.notes[state.name], why.MatchString) {
			silent = append(silent, fmt.Sprintf("%s: no note matches %q:\n\t%s", state.name, state.why, strings.Join(m.notes[state.name], "\n\t")))
		}
	}
	return silent
}

// matrixSystemds are the versions that are booted.
var matrixSystemds = []string{"252", "257", "262"}

// TestMatrixDocs holds the page for people against what the boot tests expect.
func TestMatrixDocs(t *testing.T) {
	const page = "../../docs/gate-matrix.md"
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- The tables are written by go test -update ./builder/imgtest -->\n", "<!-- end of the tables -->\n"
	before, rest, begins := strings.Cut(string(data), begin)
	_, after, ends := strings.Cut(rest, end)
	if !begins || !ends {
		t.Fatalf("%s has no place for the tables: want the lines %q and %q", page, begin, end)
	}
	want := before + begin + matrixPage() + end + after
	if want == string(data) {
		return
	}
	if !*update {
		t.Fatalf("the tables of %s are not as the boot tests expect: go test -update writes them anew", page)
	}
	if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestMatrixCounts wants the numbers of states and starters right wherever a page has them.
func TestMatrixCounts(t *testing.T) {
	want := []string{fmt.Sprint(len(matrixStates)), fmt.Sprint(len(matrixStarters))}
	for _, page := range []string{"CHANGES.md", "docs/gate.md", "testdata/boot/README.md"} {
		data, err := os.ReadFile("../../" + page)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(`([0-9]+) states[^0-9]+?([0-9]+) ways`).FindStringSubmatch(string(data))
		if found == nil || !slices.Equal(found[1:], want) {
			t.Errorf("%s has the numbers %q, want %q states and ways", page, found, want)
		}
	}
}

// matrixPage is the matrix for people: starters, states, and the exceptions with why.
func matrixPage() string {
	var b strings.Builder
	b.WriteString("\n| starter | how the server is started |\n| --- | --- |\n")
	for _, s := range matrixStarters {
		fmt.Fprintf(&b, "| %s | %s |\n", s.name, s.what)
	}
	b.WriteString("\n| state of the gate |")
	for _, s := range matrixStarters {
		b.WriteString(" " + s.name + " |")
	}
	b.WriteString("\n|" + strings.Repeat(" --- |", len(matrixStarters)+1) + "\n")
	for _, state := range matrixStates {
		fmt.Fprintf(&b, "| %s: %s |", state.name, state.what)
		for _, starter := range matrixStarters {
			b.WriteString(" " + matrixWords(state.name, starter.name) + " |")
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
	for i, e := range matrixExceptions {
		fmt.Fprintf(&b, "%d. %s\n", i+1, e.why)
	}
	b.WriteString("\n| systemd | cells | closed | start | open |\n| --- | --- | --- | --- | --- |\n")
	for _, systemd := range matrixSystemds {
		count := wantCount(systemd)
		closed, starts, open := count[matrixClosed], count[matrixStarts], count[matrixOpen]
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d |\n", systemd, closed+starts+open, closed, starts, open)
	}
	return b.String() + "\n"
}

// wantCount is how many cells must come out how.
func wantCount(systemd string) matrixCount {
	count := matrixCount{}
	for _, state := range matrixStates {
		for _, starter := range matrixStarters {
			outcome, _ := wantCell(state.name, starter.name, systemd)
			count[outcome]++
		}
	}
	return count
}

// matrixWords is a cell of the page, with what differs between versions of systemd.
func matrixWords(state, starter string) string {
	var words []string
	for _, systemd := range matrixSystemds {
		outcome, exception := wantCell(state, starter, systemd)
		word := string(outcome)
		if outcome == matrixOpen {
			word = "**open**"
		}
		if exception >= 0 {
			word += fmt.Sprintf(" (%d)", exception+1)
		}
		words = append(words, word)
	}
	if len(slices.Compact(slices.Clone(words))) == 1 {
		return words[0]
	}
	for i, systemd := range matrixSystemds {
		words[i] = systemd + ": " + words[i]
	}
	return strings.Join(words, ", ")
}

// TestMatrixExceptions: each is for some cell, and none is hidden behind another.
func TestMatrixExceptions(t *testing.T) {
	used := make([]bool, len(matrixExceptions))
	for _, systemd := range matrixSystemds {
		for _, state := range matrixStates {
			for _, starter := range matrixStarters {
				if _, i := wantCell(state.name, starter.name, systemd); i >= 0 {
					used[i] = true
				}
			}
		}
	}
	for i, e := range matrixExceptions {
		if !used[i] || e.why == "" {
			t.Errorf("exception %d (%v %v %s) holds for no cell, or has no reason", i+1, e.states, e.starters, e.systemd)
		}
	}
}

func TestParseMatrix(t *testing.T) {
	tests := map[string]struct {
		lines   []string
		end     string
		wantErr string
	}{
		"whole":         {lines: []string{"EARLY passes show: pass", "CELL passes manual ran", "NOTE passes show: pass", "TIME passes 3.1"}, end: "@@END gate-matrix 4"},
		"line is lost":  {lines: []string{"CELL passes manual ran"}, end: "@@END gate-matrix 2", wantErr: `ends with "@@END gate-matrix 2", want "@@END gate-matrix 1"`},
		"no cells":      {lines: []string{"NOTE passes show: pass"}, end: "@@END gate-matrix 1", wantErr: "table with 0 cells"},
		"gave up":       {lines: []string{"@@ERROR gate-matrix no state is called x"}, end: "@@END gate-matrix 0", wantErr: "gave up: no state is called x"},
		"cell twice":    {lines: []string{"CELL passes manual ran", "CELL passes manual ran"}, end: "@@END gate-matrix 2", wantErr: "twice"},
		"word unknown":  {lines: []string{"CELL passes manual perhaps"}, end: "@@END gate-matrix 1", wantErr: "want a CELL"},
		"foreign words": {lines: []string{"[    1.0] NET: x"}, end: "@@END gate-matrix 1", wantErr: "want a CELL"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := parseMatrix(test.lines, test.end)
			if test.wantErr == "" && err != nil || test.wantErr != "" && (err == nil || !strings.Contains(err.Error(), test.wantErr)) {
				t.Errorf("error is %v, want one with %q", err, test.wantErr)
			}
		})
	}
}

// TestMatrixCompare: a stand-in that runs where it must not, one that does not where it
// must, a cell that nobody measured and one that nobody expects all show.
func TestMatrixCompare(t *testing.T) {
	states := []matrixState{{name: "passes", why: "pass"}, {name: "refuses", why: "refuse"}}
	whole := func() matrixTable {
		m := matrixTable{ran: map[string]bool{}, notes: map[string][]string{"passes": {"pass"}, "refuses": {"refuse"}}}
		for _, state := range states {
			for _, starter := range matrixStarters {
				want, _ := wantCell(state.name, starter.name, "252")
				m.ran[state.name+" "+starter.name] = want.ran()
			}
		}
		return m
	}
	tests := map[string]struct {
		change func(m matrixTable)
		want   string // of what is wrong, or unseen
	}{
		"as expected":     {change: func(matrixTable) {}},
		"ran":             {change: func(m matrixTable) { m.ran["refuses wants"] = true }, want: "refuses wants: ran is true, want it closed"},
		"did not start":   {change: func(m matrixTable) { m.ran["passes wants"] = false }, want: "passes wants: ran is false, want it starts"},
		"not measured":    {change: func(m matrixTable) { delete(m.ran, "refuses wants") }, want: "refuses wants: not measured"},
		"not expected":    {change: func(m matrixTable) { m.ran["refuses magic"] = false }, want: "refuses magic: measured, and nobody expects it"},
		"refuses in mute": {change: func(m matrixTable) { delete(m.notes, "refuses") }, want: `refuses: no note matches "refuse"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := whole()
			test.change(m)
			_, wrong := m.compare("252", states)
			got := strings.Join(append(wrong, m.unseen(states)...), "\n")
			if got == "" != (test.want == "") || !strings.HasPrefix(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
