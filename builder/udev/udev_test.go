package udev_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/udev"
)

func watch() udev.Watch {
	return udev.Watch{File: "99-kerngate.rules", Unit: "initcheck-breach.service", Modules: []string{"algif_aead", "xt_TEE"}}
}

const before, after = "60-x.rules", "99-local.rules"

func TestUndoing(t *testing.T) {
	const module = `ACTION=="add", SUBSYSTEM=="module", `
	for _, c := range []struct{ name, base, rules, want string }{
		{"tag taken away", after, module + `TAG-="systemd"`, `1 TAG-="systemd"`},
		{"tag taken away by substitution", after, `TAG-="$env{X}"`, `1 TAG-="$env{X}"`},
		{"tags replaced", after, module + `TAG="other"`, `1 TAG="other"`},
		{"final assignment of tags", after, module + `TAG:="other"`, `1 TAG:="other"`},
		{"wants replaced", after, module + `ENV{SYSTEMD_WANTS}="x.service"`, `1 ENV{SYSTEMD_WANTS}="x.service"`},
		{"wants emptied", after, module + `ENV{SYSTEMD_WANTS}:=""`, `1 ENV{SYSTEMD_WANTS}:=""`},
		{"not ready", after, module + `ENV{SYSTEMD_READY}="0"`, `1 ENV{SYSTEMD_READY}="0"`},
		{"not ready, before", before, module + `ENV{SYSTEMD_READY}="No"`, `1 ENV{SYSTEMD_READY}="No"`},
		{"not ready by substitution", before, module + `ENV{SYSTEMD_READY}="%E{X}"`, `1 ENV{SYSTEMD_READY}="%E{X}"`},
		{"renaming", before, module + `ENV{ID_RENAMING}="1"`, `1 ENV{ID_RENAMING}="1"`},
		{"no match at all", after, `TAG="x"`, `1 TAG="x"`},
		{"one of the modules", after, `KERNEL=="xt_*", TAG="x"`, `1 TAG="x"`},
		{"path", after, `DEVPATH=="/module/algif*", TAG="x"`, `1 TAG="x"`},
		{"parents are none", after, `SUBSYSTEMS=="module", KERNELS=="algif_aead", DRIVERS=="", TAG="x"`, `1 TAG="x"`},
		{"alternatives", after, `ACTION=="change|add", SUBSYSTEM=="block|mod[u]le", TAG="x"`, `1 TAG="x"`},
		{"unknown class", after, `KERNEL!="[![:foo:]]*", SUBSYSTEM!="[mx[.]odule", KERNEL=="[ax[.aa.]]*", TAG="x"`, `1 TAG="x"`},
		{"properties of the kernel", after, `ENV{ACTION}=="add", ENV{SUBSYSTEM}=="module", ENV{DEVTYPE}=="", ENV{DEVPATH}=="/module/*", TAG="x"`, `1 TAG="x"`},
		{"property of a rule", after, `ENV{ID_X}=="1", TAG="x"`, `1 TAG="x"`},
		{"attribute", after, `ATTR{initstate}=="live", TAG="x"`, `1 TAG="x"`},
		{"parameter", after, `ATTR{parameters/x}!="1", TAG="x"`, `1 TAG="x"`},
		{"attribute by substitution", after, `ATTR{%k}=="1", TAG="x"`, `1 TAG="x"`},
		{"program", after, `PROGRAM="/bin/true", RESULT=="x", TAG="x"`, `1 TAG="x"`},
		{"import", after, `IMPORT{program}=="/bin/x", TAG="x"`, `1 TAG="x"`},
		{"letters of both cases", after, `SUBSYSTEM==i"MODULE", TAG="x"`, `1 TAG="x"`},
		{"escapes", after, `SUBSYSTEM==e"\x6dodule", TAG=e"\x41"`, `1 TAG=e"\x41"`},
		{"quotes inside", after, `ENV{X}=="a\"b", TAG="x"`, `1 TAG="x"`},
		{"no commas, many blanks", after, "\t SUBSYSTEM  ==  \"module\"TAG \t= \"x\" ,,", "1 TAG \t= \"x\""},
		{"continued over a comment", after, "SUBSYSTEM==\"module\", \\\n# no\n  TAG=\"x\"\n", `3 TAG="x"`},
		{"comment", after, `# TAG="x"`, ""},
		{"Windows style", after, "KERNEL==\"sd*\"\r\nTAG=\"x\"\r\n", `2 TAG="x"`},
		{"first line", after, "TAG=\"a\"\nTAG=\"b\"\n", `1 TAG="a"`},
		{"first line of any module", after, "KERNEL==\"xt_TEE\", TAG=\"a\"\nTAG=\"b\"\n", `1 TAG="a"`},
		{"jump for other subsystems", after, "SUBSYSTEM!=\"module\", GOTO=\"end\"\nTAG=\"x\"\nLABEL=\"end\"\n", `2 TAG="x"`},
		{"jump that may be", after, "ENV{X}==\"1\", GOTO=\"end\"\nTAG=\"x\"\nLABEL=\"end\"\n", `2 TAG="x"`},
		{"jump for one module", after, "KERNEL==\"xt_TEE\", GOTO=\"end\"\nTAG=\"x\"\nLABEL=\"end\"\n", `2 TAG="x"`},
		{"jump without a label", after, "GOTO=\"end\"\nTAG=\"x\"\n", `2 TAG="x"`},
		{"jump back", after, "LABEL=\"start\"\nTAG=\"x\"\nGOTO=\"start\"\n", `2 TAG="x"`},
		{"jump to the assignment", after, "GOTO=\"end\"\nTAG=\"a\"\nLABEL=\"end\", TAG=\"b\"\n", `3 TAG="b"`},
		{"rule with a fault", after, "GOTO=\"end\", BAD\nTAG=\"x\"\nLABEL=\"end\"\n", `2 TAG="x"`},

		{"jump over it", after, "SUBSYSTEM!=\"block\", GOTO=\"end\"\nTAG=\"x\"\nLABEL=\"end\"\n", ""},
		{"jump of all", after, "GOTO=\"end\"\nTAG=\"x\"\nLABEL=\"end\"\n", ""},
		{"other action", after, `ACTION=="remove", TAG="x"`, ""},
		{"not for this action", after, `ACTION!="remove|change|add", TAG="x"`, ""},
		{"other subsystem", after, `SUBSYSTEM=="block", ENV{SYSTEMD_READY}="0"`, ""},
		{"other subsystem of parents", after, `SUBSYSTEMS=="usb", TAG="x"`, ""},
		{"other name", after, `KERNEL=="fuse", SUBSYSTEM=="module", TAG="x"`, ""},
		{"class", after, `KERNEL=="[[:upper:]]*", TAG="x"`, ""},
		{"driver", after, `DRIVER=="?*", TAG="x"`, ""},
		{"has a node", after, `ENV{DEVNAME}=="?*", TAG="x"`, ""},
		{"attribute of USB", after, `ATTRS{idVendor}=="1d6b", ATTR{bInterfaceClass}!="03", TAG="x"`, ""},
		{"tags replaced by ours", after, `TAG="systemd"`, ""},
		{"other tag taken away", after, `TAG-="uaccess"`, ""},
		{"tag added", after, `TAG+="x"`, ""},
		{"tags replaced before", before, `TAG="x"`, ""},
		{"final assignment before", before, `TAG:="x", ENV{SYSTEMD_WANTS}:="x.service"`, ""},
		{"wants added", after, `ENV{SYSTEMD_WANTS}+="x.service"`, ""},
		{"wants with ours", after, `ENV{SYSTEMD_WANTS}="x.service initcheck-breach.service"`, ""},
		{"wants with what was there", after, `ENV{SYSTEMD_WANTS}="$env{SYSTEMD_WANTS} x.service"`, ""},
		{"ready", after, `ENV{SYSTEMD_READY}="1", ENV{ID_RENAMING}=""`, ""},
		{"match on the same keys", after, `TAG=="x", ENV{SYSTEMD_WANTS}!="x", ENV{SYSTEMD_READY}=="0"`, ""},
		{"other property", after, `ENV{X}="0"`, ""},
		{"value that is not closed", after, `TAG="x`, ""},
		{"no operator", after, `TAG "x"`, ""},
		{"attribute that is not closed", after, `ENV{SYSTEMD_READY="0"`, ""},
		{"unknown prefix", after, `TAG=x"x"`, ""},
		{"continued to the end", after, `TAG="x" \`, ""},
		{"empty", after, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if f, found := udev.Undoing(c.base, []byte(c.rules), watch()); found {
				got = strconv.Itoa(f.Line) + " " + f.Text
				if f.Why == "" {
					t.Error("it does not say why")
				}
			}
			if got != c.want {
				t.Errorf("%q gives %q, want %q", c.rules, got, c.want)
			}
		})
	}
}

// FuzzUndoing: whatever a file holds, it ends, and names a line of the file.
func FuzzUndoing(f *testing.F) {
	f.Add("SUBSYSTEM!=\"module\", GOTO=\"end\"\nTAG-=\"systemd\"\nLABEL=\"end\"\n")
	f.Add("ENV{SYSTEMD_READY}=e\"\\x30\", \\\n# x\n KERNEL==i\"[a-\"")
	f.Fuzz(func(t *testing.T, rules string) {
		found, bad := udev.Undoing(after, []byte(rules), watch())
		lines := strings.Count(strings.NewReplacer("\r", "\n", "\x00", "\n").Replace(rules), "\n") + 1
		if bad && (found.Line < 1 || found.Line > lines || !strings.Contains(found.Text, "=")) {
			t.Errorf("%q gives %+v of %d lines", rules, found, lines)
		}
	})
}
