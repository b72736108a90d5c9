package imgtest

import (
	"fmt"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	const head = "echo noise: 1; echo '@@BEGIN boot-report'; "
	tests := map[string]struct {
		script  string
		want    Report
		wantErr string
	}{
		"whole": {
			script: head + "echo 'kernel: 7.2.12'; echo 'systemd: 252 (252.39)'; echo 'vllm.service: active'; echo 'initcheck.service: failed'; echo '@@END boot-report'; exec sleep 60",
			want: Report{Kernel: "7.2.12", Systemd: "252 (252.39)", Units: map[string]string{"vllm.service": "active", "initcheck.service": "failed"},
				Text: "kernel: 7.2.12\nsystemd: 252 (252.39)\nvllm.service: active\ninitcheck.service: failed"},
		},
		"cut short":     {script: head + "echo 'kernel: 7.2.12'", wantErr: ReportEnd},
		"never begun":   {script: "echo hello", wantErr: ReportBegin},
		"without units": {script: head + "echo 'kernel: 7.2.12'; echo '@@END boot-report'; exec sleep 60", wantErr: "no kernel or no unit"},
		"unit said twice": {script: head + "echo 'a.service: active'; echo 'a.service: failed'; echo '@@END boot-report'; exec sleep 60",
			wantErr: `a.service twice: "active" and "failed"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := scriptedMachine(t, test.script).Report(patience)
			switch {
			case test.wantErr != "":
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Errorf("error is %v, want one with %q", err, test.wantErr)
				}
			case err != nil || fmt.Sprint(got) != fmt.Sprint(test.want):
				t.Errorf("got %+v, %v\nwant %+v", got, err, test.want)
			}
		})
	}
}
