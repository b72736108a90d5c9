package builder_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMaskedByBootEntry: what the kernel hands to systemd can take the gate away, too.
func TestMaskedByBootEntry(t *testing.T) {
	r := request(t, blsRoot(t), "")
	r.Profile = load(t, "llm-node")
	build(t, r)
	entry := filepath.Join(r.Target, "boot/loader/entries/debian.conf")
	whole, err := os.ReadFile(entry)
	if err != nil {
		t.Fatal(err)
	}
	for word, want := range map[string]string{
		"systemd.mask=initcheck-breach.service":                          "masks initcheck-breach.service",
		"systemd.mask=initcheck":                                         "masks initcheck.service",
		`systemd.mask="initcheck-breached.target"`:                       "masks initcheck-breached.target",
		"systemd.mask='initcheck.service'":                               "masks initcheck.service",
		`'systemd.mask'=initc\heck`:                                      "masks initcheck.service",
		"systemd.setenv='SYSTEMD_UNIT_PATH=/x'":                          "has systemd read other units than the gate's",
		"systemd.set-credential=systemd.extra-unit.x.service:x":          "has systemd make units or rules",
		"systemd.mask=systemd-udevd":                                     "masks systemd-udevd.service",
		"SYSTEMD_UNIT_PATH=/x":                                           "has systemd read other units than the gate's",
		"SYSTEMD_PROC_CMDLINE=x":                                         "has systemd read other units than the gate's",
		`systemd.setenv="SYSTEMD_UNIT_PATH=/x"`:                          "has systemd read other units than the gate's",
		"systemd.set_credential=systemd.unit-dropin.initcheck.service:x": "has systemd make units or rules",
		"systemd.set_credential_binary=udev.rules.zz:eA==":               "has systemd make units or rules",
		"systemd.set_credential=passwd.hashed-password.root:x":           "",
		"systemd.setenv=LANG=C":                                          "",
		"systemd.setenv=SYSTEMD_UNIT_PATH":                               "",
		"systemd.mask=nginx.service":                                     "",
		"rd.systemd.mask=initcheck.service":                              "",
	} {
		text := strings.Replace(string(whole), "\noptions ", "\noptions "+word+" ", 1)
		if text == string(whole) {
			t.Fatalf("no options in\n%s", whole)
		}
		if err := os.WriteFile(entry, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		v := verify(t, r)
		got := ""
		for _, c := range v.Checks {
			if !c.OK {
				got += c.What + ": " + c.Text + "\n"
			}
		}
		if (got == "") != (want == "") || !strings.Contains(got, want) || v.Conforms != (want == "") {
			t.Errorf("%s: got %q, want %q", word, got, want)
		}
	}
}
