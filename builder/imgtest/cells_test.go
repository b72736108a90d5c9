package imgtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// cellsOf makes a table from lines as the prober prints them.
func cellsOf(t *testing.T, lines ...string) Cells {
	t.Helper()
	cells, err := parseLoadPaths(lines, fmt.Sprintf("%s %d", loadPaths.end, len(lines)))
	if err != nil {
		t.Fatal(err)
	}
	return cells
}

func TestLoadPaths(t *testing.T) {
	const begin, end = "echo '@@BEGIN load-paths'; ", "exec sleep 60"
	tests := map[string]struct {
		script  string
		want    string
		wantErr string
	}{
		"whole": {
			script: begin + "echo '6.1 esp4 insmod closed exit status 1 Operation not permitted'; echo '6.1 esp4 autoload open done'; echo '@@END load-paths 2'; " + end,
			want:   "6.1 esp4 autoload open done\n6.1 esp4 insmod closed exit status 1 Operation not permitted\n",
		},
		"without detail": {script: begin + "echo '6.1 esp4 insmod closed'; echo '@@END load-paths 1'; " + end, want: "6.1 esp4 insmod closed\n"},
		"line is lost":   {script: begin + "echo '6.1 esp4 insmod closed'; echo '@@END load-paths 2'; " + end, wantErr: `ends with "@@END load-paths 2", want "@@END load-paths 1"`},
		"nothing tried":  {script: begin + "echo '@@END load-paths 0'; " + end, wantErr: "@@END load-paths 0"},
		"line is broken": {script: begin + "echo '[ 1.0] NET: x'; echo '@@END load-paths 1'; " + end, wantErr: "no such path"},
		"short line":     {script: begin + "echo '6.1 esp4'; echo '@@END load-paths 1'; " + end, wantErr: "want KERNEL MODULE PATH STATE DETAIL"},
		"state unknown":  {script: begin + "echo '6.1 esp4 insmod shut'; echo '@@END load-paths 1'; " + end, wantErr: `state is "shut"`},
		"cell twice":     {script: begin + "echo '6.1 esp4 insmod open'; echo '6.1 esp4 insmod open'; echo '@@END load-paths 2'; " + end, wantErr: "twice"},
		"prober gave up": {script: begin + "echo '@@ERROR load-paths esp4 cannot be taken out'; echo '@@END load-paths 0'; " + end, wantErr: "gave up: esp4 cannot be taken out"},
		"never ended":    {script: begin + "echo '6.1 esp4 insmod open'", wantErr: loadPaths.end},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := scriptedMachine(t, test.script).LoadPaths(patience)
			switch {
			case test.wantErr != "":
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Errorf("error is %v, want one with %q", err, test.wantErr)
				}
			case err != nil || got.String() != test.want:
				t.Errorf("got %v, %v\nwant %v", got, err, test.want)
			}
		})
	}
}

func TestParsePrediction(t *testing.T) {
	tests := map[string]struct{ report, want, wantErr string }{
		"two cells": {
			report: `{"conforms": true, "load_paths": [{"kernel": "6.1", "module": "esp4", "path": "insmod", "state": "open"},
				{"kernel": "6.1", "module": "esp4", "path": "modprobe", "state": "closed", "by": "install line"}]}`,
			want: "6.1 esp4 modprobe closed install line\n6.1 esp4 insmod open\n",
		},
		"no cells":      {report: `{"conforms": true}`, wantErr: "no load paths"},
		"no JSON":       {report: `conforms`, wantErr: "invalid character"},
		"unknown path":  {report: `{"load_paths": [{"kernel": "6.1", "module": "esp4", "path": "magic", "state": "open"}]}`, wantErr: "no such path"},
		"unknown state": {report: `{"load_paths": [{"kernel": "6.1", "module": "esp4", "path": "insmod", "state": ""}]}`, wantErr: `state is ""`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParsePrediction([]byte(test.report))
			switch {
			case test.wantErr != "":
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Errorf("error is %v, want one with %q", err, test.wantErr)
				}
			case err != nil || got.String() != test.want:
				t.Errorf("got %v, %v\nwant %v", got, err, test.want)
			}
		})
	}
}

func TestCompareCells(t *testing.T) {
	predicted := cellsOf(t,
		"6.1 esp4 autoload closed alias off",
		"6.1 esp4 modprobe closed install",
		"6.1 esp4 insmod open",
		"6.1 esp4 dependency closed install",
		"7.2 esp4 insmod open", // was not booted
	)
	measured := cellsOf(t,
		"6.1 esp4 autoload closed not supported",
		"6.1 esp4 modprobe open done",
		"6.1 esp4 insmod open done",
		"6.1 esp4 modules-load open done",
		"6.1 rxrpc insmod open done", // nobody spoke of it
	)
	got := CompareCells(predicted, measured)
	want := []string{
		"6.1 esp4 modprobe: predicted closed install, measured open done",
		"6.1 esp4 dependency: predicted closed install, not measured",
		"6.1 esp4 modules-load: not predicted, measured open done",
	}
	if got.Agree != 2 || !slices.Equal(got.Differences, want) {
		t.Errorf("%d agree, differences:\n%s\nwant 2 and:\n%s", got.Agree, strings.Join(got.Differences, "\n"), strings.Join(want, "\n"))
	}
}
