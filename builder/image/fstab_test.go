package image

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseFstab(t *testing.T) {
	many := strings.Repeat("LABEL=x /x ext4\n", maxFstabEntries+50)
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", ""},
		{"comments and blank lines", "# / x y\n\n   \n\t# also\n#LABEL=a /a ext4\n", ""},
		{"one", "LABEL=a / ext4 defaults 0 1\n", "LABEL=a on / [defaults]"},
		{"without an end of line", "LABEL=a / ext4 ro,noauto", "LABEL=a on / [ro noauto]"},
		{"tabs and blanks around", " \tLABEL=a \t /boot/\t\text4\t ro \r\n", "LABEL=a on /boot [ro]"},
		{"three fields", "tmpfs /tmp tmpfs\n", "tmpfs on /tmp []"},
		{"two fields", "tmpfs /tmp\n", ""},
		{"swap", "UUID=1 none swap sw 0 0\nUUID=1 swap swap\n", ""},
		{"escapes", `LABEL=a\040b\011c\134d /mnt/\043x\040y ext4 o\054p` + "\n", "LABEL=a b\tc\\d on /mnt/#x y [o p]"},
		{"escapes that are none", `LABEL=a\04 /b\9 ext4` + "\n" + `LABEL=\777\8 /c\ ext4` + "\n", `LABEL=a\04 on /b\9 [],LABEL=\777\8 on /c\ []`},
		{"mount point with dots", "x /a/../boot ext4\n", "x on /boot []"},
		{"more than anybody mounts", many, strings.TrimSuffix(strings.Repeat("LABEL=x on /x [],", maxFstabEntries), ",")},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, m := range parseFstab(c.text) {
				got = append(got, fmt.Sprintf("%s on %s %v", m.spec, m.dir, m.options))
			}
			if strings.Join(got, ",") != c.want {
				t.Errorf("mounts are %q, want %q", strings.Join(got, ","), c.want)
			}
		})
	}
}

func TestMatches(t *testing.T) {
	v := Volume{Number: 3, UUID: "0a0a0a0a-1111-4222-8333-444455556666", FSLabel: "the root", Label: "Root", PartUUID: "c0ffee00-03"}
	for spec, want := range map[string]string{
		"UUID=0A0A0A0A-1111-4222-8333-444455556666":              "yes",
		`UUID="0a0a0a0a-1111-4222-8333-444455556666"`:            "yes",
		"/dev/disk/by-uuid/0a0a0a0a-1111-4222-8333-444455556666": "yes",
		"LABEL=the root":                    "yes",
		`/dev/disk/by-label/the\x20root`:    "yes",
		"LABEL=The root":                    "no",
		"PARTUUID=C0FFEE00-03":              "yes",
		"/dev/disk/by-partuuid/c0ffee00-03": "yes",
		"PARTLABEL=Root":                    "yes",
		"PARTLABEL=root":                    "no",
		"/dev/sda3":                         "yes",
		"/dev/vda3":                         "yes",
		"/dev/xvda3":                        "yes",
		"/dev/nvme0n1p3":                    "yes",
		"/dev/mmcblk0p3":                    "yes",
		"/dev/sda33":                        "no",
		"/dev/sdb3":                         "no", // another disk
		"/dev/nvme1n1p3":                    "no",
		"/dev/sda":                          "no",
		"/dev/mapper/vg-root":               "no",
		"/dev/disk/by-id/ata-X-part3":       "no",
		"/dev/sda99999999999999999999":      "no",
		"UUID=":                             "other",
		"LABEL":                             "other",
		"tmpfs":                             "other",
		"overlay=3":                         "other",
		"//server/share":                    "other",
		"host:/export":                      "other",
		"/dev/root":                         "other",
		"/image.iso":                        "other",
		"":                                  "other",
	} {
		is, device := v.matches(spec)
		got := map[[2]bool]string{{true, true}: "yes", {false, true}: "no", {false, false}: "other"}[[2]bool{is, device}]
		if got != want {
			t.Errorf("%s matches: %q, want %q", spec, got, want)
		}
	}
	if is, _ := (Volume{}).matches("LABEL="); is {
		t.Error("an empty label names a volume without one")
	}
}

// FuzzParseFstab wants no more than one mount for a line, each on a clean path.
func FuzzParseFstab(f *testing.F) {
	for _, seed := range []string{
		"UUID=0a0a0a0a-1111-4222-8333-444455556666 / ext4 errors=remount-ro 0 1\n",
		"LABEL=a\\040b\t/mnt/\\043x\text4\n", "/dev/disk/by-label/x\\x20y /boot vfat umask=0077\n",
	} {
		if len(parseFstab(seed)) != 1 {
			f.Fatalf("seed %q does not parse", seed)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		entries := parseFstab(text)
		if len(entries) > maxFstabEntries || len(entries) > strings.Count(text, "\n")+1 {
			t.Errorf("%d mounts in %d lines", len(entries), strings.Count(text, "\n")+1)
		}
		for _, m := range entries {
			if !strings.HasPrefix(m.dir, "/") || strings.Contains(m.dir+"/", "/../") {
				t.Errorf("mount point is %q", m.dir)
			}
			Volume{Number: 1}.matches(m.spec)
		}
	})
}
