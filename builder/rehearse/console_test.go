package rehearse

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// recorded reads what a real boot said: testdata/*.console are written by kerngate
// rehearse --console, with images of testdata/boot/mkimage.
func recorded(t *testing.T, name string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

func TestVerdictsOfRealBoots(t *testing.T) {
	tests := map[string]spoken{
		"bookworm-6.1.console":         {Refuse, "initcheck: refuse: kernel 6.1.0-56-cloud-amd64 is below the floor 7.0.6; inference units stay off", 48.359602},
		"forky-7.2.console":            {Pass, "initcheck: pass: kernel 7.2.12+deb14-cloud-amd64, 23 rules", 91.578231},
		"trixie-grub-firmware.console": {Refuse, "initcheck: refuse: kernel 6.12.117+deb13-amd64 is below the floor 7.0.6; inference units stay off", 305.217776},
		"no-root.console":              {},
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			var got []spoken
			for _, line := range recorded(t, name) {
				if s, ok := readVerdict(line); ok {
					got = append(got, s)
				}
			}
			if want == (spoken{}) && len(got) != 0 || want != (spoken{}) && !slices.Equal(got, []spoken{want}) {
				t.Errorf("verdicts are %+v, want %+v alone", got, want)
			}
		})
	}
}

func TestVerdictLine(t *testing.T) {
	for line, want := range map[string]string{
		"[   51.756767] initcheck: refuse: too old":                                         Refuse,
		"[    0.756767] initcheck: pass: kernel 7.2, 1 rule":                                Pass,
		"[   51.756767][  T182] initcheck: pass: kernel 7.2, 1 rule":                        Pass, // printk.caller=1
		"initcheck: pass: kernel 7.2, 1 rule":                                               "",
		" [   51.756767] initcheck: pass: kernel 7.2, 1 rule":                               "",
		"[   51.756767] initcheck: breach: module x is loaded; inference units are stopped": Refuse,
		"[   51.756767] initcheck: breach: module x is loaded; reported only":               "",
		"[   51.756767] initcheck: passed: kernel 7.2":                                      "",
		"[   51.756767] initcheck[182]: initcheck: pass: kernel 7.2, 1 rule":                "",
		"[   51.756767] systemd[1]: initcheck: pass: kernel 7.2":                            "",
		"[  OK  ] initcheck: pass: kernel 7.2":                                              "",
		"Nov 22 06:44:39 node initcheck[182]: initcheck: pass: kernel 7.2":                  "",
		"[  182.140000] app[99]: [   51.756767] initcheck: pass: kernel 7.2":                "",
		"[51] initcheck: pass: kernel 7.2":                                                  "",
		"vllm[9]: [   51.756767] initcheck: pass: as it was in the boot before":             "",
	} {
		s, ok := readVerdict(line)
		if ok != (want != "") || s.verdict != want {
			t.Errorf("%q: verdict is %q, want %q", line, s.verdict, want)
		}
	}
}

func TestStagesOfARealBoot(t *testing.T) {
	var got []string
	for _, line := range recorded(t, "bookworm-6.1.console") {
		if text, ok := readStage(line); ok && !slices.Contains(got, text) {
			got = append(got, text)
		}
	}
	want := []string{
		"kernel 6.1.0-56-cloud-amd64", "initramfs", "systemd 252", "Debian GNU/Linux 12 (bookworm)",
		"reached cryptsetup.target", "reached integritysetup.targe", "reached paths.target", "reached remote-fs.target",
		"reached slices.target", "reached swap.target", "reached timers.target", "reached veritysetup.target", "reached sockets.target",
		"initcheck: refuse: kernel 6.1.0-56-cloud-amd64 is below the floor 7.0.6; inference units stay off",
		"reached local-fs-pre.target", "reached local-fs.target", "Failed to start initcheck.service", "Dependency failed for vllm.service",
		"reached sysinit.target", "reached basic.target", "reached multi-user.target",
	}
	if !slices.Equal(got, want) {
		t.Errorf("stages are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestStage(t *testing.T) {
	for line, want := range map[string]string{
		"[  OK  ] Reached target Basic System.":                                           "reached Basic System", // systemd 249
		"[  OK  ] Reached target basic.target - Basic System.":                            "reached basic.target",
		"[  OK  ] Reached target integritysetup.targe…Local Integrity Protected Volumes.": "reached integritysetup.targe",
		"[FAILED] Failed to start initcheck.service -…l before inference services start.": "Failed to start initcheck.service",
		"[    0.000000][    T0] Linux version 6.18.1 (x@y)":                               "kernel 6.18.1",
		"[  OK  ] Started cron.service.":                                                  "",
	} {
		if got, _ := readStage(line); got != want {
			t.Errorf("%q: stage is %q, want %q", line, got, want)
		}
	}
}

func TestWhatWentWrong(t *testing.T) {
	for line, want := range map[string]string{
		"[    2.1] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)": "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
		"ALERT!  UUID=1234 does not exist.  Dropping to a shell!":                                  "ALERT!  UUID=1234 does not exist.  Dropping to a shell!",
		"You are in emergency mode. After logging in, type":                                        "You are in emergency mode",
		"[  OK  ] Started cron.service.":                                                           "",
	} {
		if got := whatWentWrong([]string{"first", line, "last"}); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
	if got, want := whatWentWrong(recorded(t, "no-root.console")), "ALERT!  /dev/vdz does not exist.  Dropping to a shell!"; got != want {
		t.Errorf("without its root: %q, want %q", got, want)
	}
}
