package unit_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/builder/unit"
	"github.com/kerngate/kerngate/initcheck/policy"
	"github.com/kerngate/kerngate/profiles"
)

var update = flag.Bool("update", false, "write the golden files")

const header = "# Written by a test."

// plant writes files below dir; content "-> TARGET" makes a link.
func plant(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	if err := imgtest.WriteFiles(dir, 0o644, files); err != nil {
		t.Fatal(err)
	}
}

func tree(t *testing.T, files map[string]string) *rootfs.Dir {
	t.Helper()
	return imgtest.Tree(t, 0o644, files)
}

func TestTexts(t *testing.T) {
	for name, got := range map[string][]byte{
		"gate":            unit.GateText(header, ""),
		"gate-poweroff":   unit.GateText(header, "poweroff"),
		"rule":            unit.RuleText(header, []string{"algif_aead", "xt_TEE"}),
		"breach":          unit.BreachText(header, false, "reboot"),
		"breach-report":   unit.BreachText(header, true, "reboot"),
		"breached":        unit.BreachedText(header),
		"harden":          unit.HardenText(header, []string{"AF_ALG", "AF_RXRPC"}, false),
		"harden-runtime":  unit.HardenText(header, []string{"AF_ALG"}, true),
		"boot-complete":   unit.DropInText(header, "boot-complete.target", true),
		"user":            unit.UserText(header, "vllm.service", true),
		"user-boot":       unit.UserText(header, "vllm.service", false),
		"user-socket":     unit.UserText(header, "local-ai.socket", true),
		"service":         unit.DropInText(header, "vllm.service", true),
		"service-boot":    unit.DropInText(header, "vllm.service", false),
		"template":        unit.DropInText(header, "vllm@.service", true),
		"prefix":          unit.DropInText(header, "vllm-.service", true),
		"socket":          unit.DropInText(header, "local-ai.socket", true),
		"socket-no-check": unit.DropInText(header, "local-ai.socket", false),
	} {
		golden := filepath.Join("testdata", name+".golden")
		if *update {
			if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(golden, got, 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil || string(got) != string(want) {
			t.Errorf("%s is\n%s\nwant\n%s%v (go test -update writes the golden files)", name, got, want, err)
		}
	}
}

// TestGateFailsClosed holds what was measured by booting: each of these lines made
// units start although the gate had not passed.
func TestGateFailsClosed(t *testing.T) {
	for line := range strings.SplitSeq(string(unit.GateText(header, "")), "\n") {
		key, value, _ := strings.Cut(line, "=")
		if strings.HasPrefix(key, "Condition") || key == "ExecCondition" || strings.HasPrefix(value, "-") || line == "[Install]" {
			t.Errorf("the gate has the line %q", line)
		}
	}
	text := string(unit.DropInText(header, "vllm.service", true))
	for _, line := range []string{"BindsTo=initcheck.service", "After=initcheck.service", "AssertPathExists=" + policy.Stamp, "ExecCondition=+" + policy.Binary + " recheck"} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("the drop-in lacks the line %q:\n%s", line, text)
		}
	}
}

// gated makes a root with the gate, its drop-ins and units to hold back, and with
// the targets that every unit depends on.
func gated(t *testing.T) (root string, units []string) {
	t.Helper()
	p, err := profiles.Load("llm-node")
	if err != nil {
		t.Fatal(err)
	}
	const service, target = "[Service]\nExecStart=/bin/sleep infinity\n", "[Unit]\nDescription=a target\n"
	dir := strings.TrimPrefix(unit.Dir, "/") + "/"
	files := map[string]string{strings.TrimPrefix(policy.Binary, "/"): "stub", "bin/sleep": "stub"}
	for _, name := range []string{"sysinit", "basic", "shutdown", "sockets", "local-fs", "boot-complete"} {
		files[dir+name+".target"] = target
	}
	for _, f := range unit.Files(header, all(p.Gate.Units)) {
		files[strings.TrimPrefix(f.Path, "/")] = string(f.Data)
		if f.Target != "" {
			files[strings.TrimPrefix(f.Path, "/")] = "-> " + f.Target
		}
	}
	for _, name := range p.Gate.Units {
		installed := strings.NewReplacer("-.", "-x.").Replace(name)
		files[dir+installed] = service
		if strings.HasSuffix(name, ".socket") {
			files[dir+installed] = "[Socket]\nListenStream=/run/x\n"
		}
		units = append(units, strings.ReplaceAll(installed, "@.", "@x."))
	}
	root = t.TempDir()
	plant(t, root, files)
	for _, name := range []string{policy.Binary, "/bin/sleep"} {
		if err := os.Chmod(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root, append(units, unit.Gate, unit.Breach, unit.Breached, "sysinit.target", "boot-complete.target")
}

// all asks for everything.
func all(units []string) unit.Config {
	return unit.Config{
		Units: units, Recheck: true, Deny: []string{"AF_ALG", "AF_KEY", "AF_RDS", "AF_RXRPC", "AF_IEEE802154"},
		Watch: []string{"algif_aead", "xt_TEE"}, OnRefuse: "reboot", BootAssessment: true,
	}
}

// judge is what systemd has to say against units; nothing when all is well. Of a
// key that it does not know it speaks without an exit code.
func judge(t *testing.T, root string, units ...string) string {
	t.Helper()
	path, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatal("systemd-analyze is not installed: apt-get install systemd")
	}
	out, err := exec.Command(path, append([]string{"verify", "--man=no", "--root=" + root}, units...)...).CombinedOutput()
	if err != nil {
		return err.Error() + ": " + string(out)
	}
	return string(out)
}

func TestSystemdAccepts(t *testing.T) {
	root, units := gated(t)
	if len(units) < 12 {
		t.Fatalf("only %d units to judge", len(units))
	}
	if got := judge(t, root, units...); got != "" {
		t.Errorf("systemd-analyze verify says\n%s", got)
	}
}

// TestJudgeCanFail breaks what TestSystemdAccepts accepts, a piece at a time.
func TestJudgeCanFail(t *testing.T) {
	gate, dropIn := filepath.Join(unit.Dir, unit.Gate), unit.DropInPath("vllm.service")
	for _, c := range []struct{ name, file, old, new, want string }{
		{"gate missing", gate, "", "", "Unit initcheck.service not found"},
		{"checker missing", policy.Binary, "", "", "Command /usr/sbin/initcheck is not executable"},
		{"unknown key in the gate", gate, "RemainAfterExit=", "RemainsAfterExit=", "Unknown key name 'RemainsAfterExit'"},
		{"bad value in the gate", gate, "Type=oneshot", "Type=oneshoot", "oneshoot"},
		{"unknown section in a drop-in", dropIn, "[Service]", "[Sevrice]", "Unknown section 'Sevrice'"},
		{"unknown family", unit.DropInPath("vllm.service")[:len(unit.DropInPath("vllm.service"))-len(unit.DropIn)] + unit.HardenDropIn, "AF_ALG", "AF_ALGO", "AF_ALGO"},
		{"bad action", gate, "FailureAction=reboot", "FailureAction=explode", "explode"},
		{"assert of a relative path", dropIn, "AssertPathExists=/", "AssertPathExists=", "not absolute"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root, _ := gated(t)
			file := filepath.Join(root, c.file)
			data, err := os.ReadFile(file)
			if err == nil && c.old == "" {
				err = os.Remove(file)
			} else if err == nil {
				if !strings.Contains(string(data), c.old) {
					t.Fatalf("%s has no %q to break", c.file, c.old)
				}
				err = os.WriteFile(file, []byte(strings.Replace(string(data), c.old, c.new, 1)), 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
			got := strings.ReplaceAll(judge(t, root, "vllm.service"), "Unknown key '", "Unknown key name '") // newer, older
			if !strings.Contains(got, c.want) {
				t.Errorf("systemd-analyze verify says %q, want %q", got, c.want)
			}
		})
	}
}

// TestSignalNames has systemd say which words are signals. All are conflicts but those that
// the checker answers or ignores, with and without SIG.
func TestSignalNames(t *testing.T) {
	words := []string{"SIG", "SIG9", "SIGFOO", "sigkill", "SIGSIGKILL", "SIGIOT", "SIGPOLL", "RTMIN", "SIGRTMAX-3", "RTMIN+3"}
	for n := syscall.Signal(1); n < 32; n++ {
		name := unix.SignalName(n)
		words = append(words, name, strings.TrimPrefix(name, "SIG"))
	}
	root, _ := gated(t)
	text := "[Service]\nExecStart=/bin/sleep infinity\n"
	first := strings.Count(text, "\n") + 1
	for _, word := range words {
		text += "SuccessExitStatus=" + word + "\n"
	}
	if err := os.WriteFile(filepath.Join(root, unit.Dir, "vllm.service"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	unknown, signals := judge(t, root, "vllm.service"), 0
	for i, word := range words {
		known := !strings.Contains(unknown, fmt.Sprintf("vllm.service:%d: ", first+i))
		if known {
			signals++
		}
		harmless := slices.Contains([]string{"HUP", "INT", "PIPE", "TERM"}, strings.TrimPrefix(word, "SIG"))
		file := map[string]string{"etc/systemd/system/vllm.service": "[Service]\nSuccessExitStatus=" + word + "\n"}
		found, err := unit.Conflicts(tree(t, file), all([]string{"vllm.service"}))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := len(found) == 1, known && !harmless; got != want {
			t.Errorf("%s is a conflict: %v, want %v; to systemd it is a signal: %v", word, got, want, known)
		}
	}
	if want := 2*31 + 3; signals != want {
		t.Errorf("systemd knows %d of the words, want %d:\n%s", signals, want, unknown)
	}
}

func TestConflicts(t *testing.T) {
	units := []string{"vllm.service", "vllm@.service", "vllm-.service", "llama-cpp.service", "local-ai.socket", "my-llm@.service"}
	const assert, stays = "[Unit]\nAssertPathExists=\n", ""
	for _, c := range []struct{ name, file, content, want string }{
		{"gate masked", "etc/systemd/system/initcheck.service", "-> /dev/null", "it masks or overrides the gate"},
		{"gate overridden", "etc/systemd/system/initcheck.service", "[Service]\nExecStart=/bin/true\n", "it masks or overrides the gate"},
		{"gate overridden locally", "usr/local/lib/systemd/system/initcheck.service", "", "it masks or overrides the gate"},
		{"gate overridden by control", "etc/systemd/system.control/initcheck.service", "", "it masks or overrides the gate"},
		{"drop-in for the gate", "etc/systemd/system/initcheck.service.d/x.conf", "[Unit]\nConditionPathExists=/no\n", "it changes the gate"},
		{"drop-in for the gate by the vendor", "usr/lib/systemd/system/initcheck.service.d/10-x.conf", "", "it changes the gate"},
		{"drop-in for the gate with our name", "etc/systemd/system/initcheck.service.d/50-kerngate.conf", "", "it changes the gate"},
		{"drop-in masked", "etc/systemd/system/vllm.service.d/50-kerngate.conf", "-> /dev/null", "it masks the gate's drop-in for vllm.service"},
		{"drop-in emptied", "usr/local/lib/systemd/system/vllm-.service.d/50-kerngate.conf", "", "it masks the gate's drop-in for vllm-.service"},
		{"drop-in masked for an instance", "etc/systemd/system/vllm@a.service.d/50-kerngate.conf", "", "it masks the gate's drop-in for vllm@a.service"},
		{"drop-in masked by a prefix", "etc/systemd/system/llama-.service.d/50-kerngate.conf", "", "it masks the gate's drop-in for llama-.service"},
		{"assert reset", "etc/systemd/system/vllm.service.d/60-x.conf", assert, `its line "AssertPathExists=" takes away what holds back vllm.service`},
		{"other assert reset", "etc/systemd/system/vllm.service.d/60-x.conf", "[Unit]\n AssertFileNotEmpty = \n", `its line "AssertFileNotEmpty=" takes away`},
		{"reset of asserts in Windows style", "etc/systemd/system/vllm.service.d/60-x.conf", "[Unit]\r\nAssertPathExists=\r\n", `its line "AssertPathExists=" takes away`},
		{"reset over two lines", "etc/systemd/system/vllm.service.d/60-x.conf", "[Unit]\nAssertPathExists=\\\n\n", `its line "AssertPathExists=" takes away`},
		{"recheck reset", "etc/systemd/system/vllm.service.d/zz.conf", "[Service]\nExecCondition=\n", `its line "ExecCondition=" takes away`},
		{"reset by the vendor", "usr/lib/systemd/system/vllm.service.d/zz.conf", assert, "takes away what holds back vllm.service"},
		{"reset by control", "etc/systemd/system.control/vllm.service.d/zz.conf", assert, "takes away what holds back vllm.service"},
		{"reset for all services", "etc/systemd/system/service.d/zz.conf", assert, "takes away what holds back service"},
		{"reset for all sockets", "etc/systemd/system/socket.d/zz.conf", assert, "takes away what holds back socket"},
		{"reset for an instance", "etc/systemd/system/vllm@a.service.d/zz.conf", assert, "takes away what holds back vllm@a.service"},
		{"reset for one of a prefix", "etc/systemd/system/vllm-qwen.service.d/zz.conf", assert, "takes away what holds back vllm-qwen.service"},
		{"reset by a prefix", "etc/systemd/system/llama-.service.d/zz.conf", assert, "takes away what holds back llama-.service"},
		{"reset by a link", "etc/systemd/system/vllm.service.d/zz.conf", "-> ../real", "takes away what holds back vllm.service"},
		{"reset in a linked directory", "etc/systemd/system/vllm.service.d", "-> other.d", "takes away what holds back vllm.service"},
		{"refusal counts as success", "etc/systemd/system/vllm.service", "[Service]\nSuccessExitStatus=1 77 SIGKILL\n", `its line "SuccessExitStatus=1 77 SIGKILL" lets the unit start although the gate of vllm.service refused`},
		{"refusal counts as success by name", "usr/lib/systemd/system/vllm-x.service", "[Service]\nSuccessExitStatus = \\\n NOPERM\n", `lets the unit start although the gate of vllm-.service refused`},
		{"refusal counts as success by drop-in", "etc/systemd/system/vllm.service.d/10-x.conf", "[Service]\nSuccessExitStatus=77\n", `its line "SuccessExitStatus=77" lets vllm.service start although the gate refused`},
		{"watcher masked", "etc/systemd/system/initcheck-breach.service", "-> /dev/null", "it masks or overrides initcheck-breach.service"},
		{"target overridden", "usr/local/lib/systemd/system/initcheck-breached.target", "", "it masks or overrides initcheck-breached.target"},
		{"drop-in for the watcher", "etc/systemd/system/initcheck-breach.service.d/x.conf", "", "it changes the gate"},
		{"drop-in for the watcher by a prefix", "etc/systemd/system/initcheck-.target.d/x.conf", "", "it changes the gate"},
		{"drop-in for the target with our name", "etc/systemd/system/initcheck-breached.target.d/50-kerngate.conf", "", "it changes the gate"},
		{"rule masked", "etc/udev/rules.d/99-kerngate.rules", "-> /dev/null", "it masks the rule that hears of modules"},
		{"rule replaced", "usr/local/lib/udev/rules.d/99-kerngate.rules", "", "it masks the rule that hears of modules"},
		{"tag taken from modules", "etc/udev/rules.d/99-local.rules", "# x\nSUBSYSTEM==\"module\", TAG-=\"systemd\"\n", `its line 2, TAG-="systemd", takes the tag "systemd" from loaded modules`},
		{"tag taken by the vendor", "usr/lib/udev/rules.d/zz.rules", `KERNEL=="xt_TEE", TAG="x"`, `its line 1, TAG="x", takes the tag "systemd"`},
		{"modules not ready", "usr/local/lib/udev/rules.d/10-x.rules", `SUBSYSTEM=="module", ENV{SYSTEMD_READY}="0"`, `its line 1, ENV{SYSTEMD_READY}="0", has systemd take loaded modules for not ready`},
		{"rule in a linked file", "etc/udev/rules.d/99-local.rules", "-> ../../systemd/rules", `its line 1, ENV{SYSTEMD_WANTS}="x", keeps systemd from starting initcheck-breach.service`},
		{"udev masked", "etc/systemd/system/systemd-udevd.service", "-> /dev/null", "it masks systemd-udevd.service, and nobody hears of modules that are loaded later"},
		{"udev masked by the vendor", "usr/lib/systemd/system/systemd-udevd.service", "-> ../../../../dev/null", "it masks systemd-udevd.service"},
		{"udev masked locally by an empty file", "usr/local/lib/systemd/system/systemd-udev-trigger.service", "", "it masks systemd-udev-trigger.service"},
		{"units elsewhere", "etc/systemd/system.conf", "[Manager]\nLogLevel=info\nManagerEnvironment=A=b \"SYSTEMD_UNIT_PATH=/x\"\n", `its line "ManagerEnvironment=A=b \"SYSTEMD_UNIT_PATH=/x\"" has service managers read other units`},
		{"units elsewhere by drop-in", "usr/local/lib/systemd/system.conf.d/x.conf", "[Manager]\nManagerEnvironment=SYSTEMD_GENERATOR_PATH=/x\n", `has service managers read other units`},
		{"units elsewhere by a drop-in with the name of the file", "usr/lib/systemd/user.conf.d/user.conf", "[Manager]\nManagerEnvironment=SYSTEMD_UNIT_PATH=/x\n", `has service managers read other units`},
		{"units elsewhere by specifier", "etc/systemd/system.conf", "[Manager]\nManagerEnvironment=SYSTEMD_UNIT%A_PATH=/x\n", `has service managers read other units`},
		{"units of users elsewhere", "usr/lib/systemd/system.conf.d/x.conf", "[Manager]\nDefaultEnvironment=SYSTEMD_UNIT_PATH=/x:\n", `has service managers read other units`},
		{"units of user managers elsewhere", "etc/systemd/user.conf", "[Manager]\nManagerEnvironment=SYSTEMD_UNIT_PATH=/x\n", `has service managers read other units`},
		{"gate masked by an extension", "var/lib/extensions/x/usr/local/lib/systemd/system/initcheck.service", "-> /dev/null", "it masks or overrides the gate"},
		{"gate hidden by an extension", "etc/extensions/x/usr/lib/systemd/system/initcheck.service", "[Service]\nExecStart=/bin/true\n", "the extension hides /usr/lib/systemd/system/initcheck.service with it"},
		{"checker hidden by an extension", "usr/lib/extensions/x/usr/bin/initcheck", "", "the extension hides /usr/sbin/initcheck with it"},
		{"link to the checker's directory covered by an extension", "var/lib/extensions/x/usr/sbin/other", "", "/usr/sbin: the extension hides /usr/sbin/initcheck with it"},
		{"gate masked by an extension that is a directory of versions, too", "var/lib/extensions/x.v/usr/local/lib/systemd/system/initcheck.service", "-> /dev/null", "it masks or overrides the gate"},
		{"drop-in hidden by an extension", "var/lib/extensions/x.v/x_1/usr/lib/systemd/system/vllm.service.d/50-kerngate.conf", "", "the extension hides /usr/lib/systemd/system/vllm.service.d/50-kerngate.conf with it"},
		{"directories hidden by an extension", "var/lib/extensions/x/usr/lib/systemd", "-> /etc/systemd", "the extension hides /usr/lib/systemd/system/initcheck.service with it"},
		{"reset by an extension", "var/lib/extensions/x/usr/lib/systemd/system/vllm.service.d/zz.conf", assert, "takes away what holds back vllm.service"},
		{"reset by a linked extension", "etc/extensions/linked", "-> ../../usr/share/ext", "takes away what holds back vllm.service"},
		{"rule in an extension", "var/lib/extensions/x/usr/lib/udev/rules.d/zz.rules", `TAG="x"`, `its line 1, TAG="x", takes the tag`},
		{"gate masked by a configuration extension", "var/lib/confexts/x/etc/systemd/system/initcheck.service", "-> /dev/null", "it masks or overrides the gate"},
		{"gate masked by what is written over extensions", "var/lib/extensions.mutable/etc/systemd/system/initcheck.service", "", "it masks or overrides the gate"},
		{"reset by a file of the tree that an extension links to", "var/lib/extensions/x/usr/lib/systemd/system/vllm.service.d/zz.conf", "-> /etc/systemd/system/real", "takes away what holds back vllm.service"},
		{"reset by a directory of the tree that an extension links to", "var/lib/extensions/x/usr/lib/systemd/system/vllm-mine.service.d", "-> /etc/systemd/system/other.d", "takes away what holds back vllm-mine.service, once /var/lib/extensions/x is merged"},
		{"reset by a file of an extension that the tree links to", "etc/systemd/system/vllm.service.d/zz.conf", "-> /usr/lib/zz.conf", "takes away what holds back vllm.service, once /var/lib/extensions/linked is merged"},
		{"boot assessment masked", "etc/systemd/system/boot-complete.target.d/50-kerngate.conf", "-> /dev/null", "it masks the gate's drop-in for boot-complete.target"},
		{"boot assessment reset", "etc/systemd/system/boot-complete.target.d/60-x.conf", assert, "takes away what holds back boot-complete.target"},
		{"hardening masked", "etc/systemd/system/vllm.service.d/zz-kerngate.conf", "-> /dev/null", "it masks the gate's drop-in for vllm.service"},
		{"family allowed again", "etc/systemd/system/vllm.service.d/zzz.conf", "[Service]\nRestrictAddressFamilies=AF_INET AF_ALG\n", `its line "RestrictAddressFamilies=AF_INET AF_ALG" allows again what the hardening denies to vllm.service`},
		{"families reset", "etc/systemd/system/vllm-.service.d/zzz.conf", "[Service]\nRestrictAddressFamilies=\n", `takes away the hardening of vllm-.service`},
		{"architectures reset", "etc/systemd/system/service.d/zzz.conf", "[Service]\nSystemCallArchitectures=\n", `takes away the hardening of service`},
		{"32-bit programs in the unit", "etc/systemd/system/vllm.service", "[Service]\nSystemCallArchitectures=native x86\n", `its line "SystemCallArchitectures=native x86" opens a way around the hardening of vllm.service`},
		{"32-bit programs by drop-in", "etc/systemd/system/vllm.service.d/10-x.conf", "[Service]\nSystemCallArchitectures = x86\n", `opens a way around the hardening of vllm.service`},
		{"no family in the unit", "usr/lib/systemd/system/vllm-x.service", "[Service]\nRestrictAddressFamilies=none\n", `its line "RestrictAddressFamilies=none" would be lifted by the hardening of vllm-.service`},
		{"recheck reset around a comment", "etc/systemd/system/vllm.service.d/zz.conf", "[Service]\nExecCondition=\\\n# nothing\n\n", `its line "ExecCondition=" takes away`},
		{"recheck reset behind a carriage return", "etc/systemd/system/vllm.service.d/zz.conf", "[Service]\nEnvironment=A=b\rExecCondition=\r", `its line "ExecCondition=" takes away`},
		{"recheck reset far down", "etc/systemd/system/vllm.service.d/zz.conf", "[Service]\n" + strings.Repeat("A=\n", 100_000) + "ExecCondition=\n", `its line "ExecCondition=" takes away`},
		{"drop-in of a prefix emptied by the vendor for one unit", "usr/lib/systemd/system/vllm-qwen.service.d/50-kerngate.conf", "", "it masks the gate's drop-in for vllm-qwen.service"},
		{"drop-in of a template emptied by the vendor for an instance", "usr/lib/systemd/system/vllm@a.service.d/50-kerngate.conf", "", "it masks the gate's drop-in for vllm@a.service"},
		{"reset by a prefix of templates", "etc/systemd/system/my-@.service.d/zz.conf", assert, "takes away what holds back my-@.service"},
		{"reset by a prefix of instances", "etc/systemd/system/my-@a.service.d/zz.conf", assert, "takes away what holds back my-@a.service"},
		{"refusal counts as success in hexadecimal digits", "etc/systemd/system/vllm.service", "[Service]\nSuccessExitStatus=0x4D\n", `lets the unit start although the gate of vllm.service refused`},
		{"refusal counts as success in octal digits", "etc/systemd/system/vllm.service", "[Service]\nSuccessExitStatus=+0115\n", `lets the unit start although the gate of vllm.service refused`},
		{"refusal counts as success in quotes", "etc/systemd/system/vllm.service", "[Service]\nSuccessExitStatus=\"77\"\n", `lets the unit start although the gate of vllm.service refused`},
		{"refusal counts as success behind backslashes", "etc/systemd/system/vllm.service", "[Service]\nSuccessExitStatus=1 \\7\\7\n", `lets the unit start although the gate of vllm.service refused`},
		{"a re-check that breaks down counts as success", "etc/systemd/system/vllm.service", "[Service]\nSuccessExitStatus=2\n", `lets the unit start although the gate of vllm.service refused`},
		{"a re-check that cannot start counts as success", "etc/systemd/system/vllm.service", "[Service]\nSuccessExitStatus=143 EXEC\n", `lets the unit start although the gate of vllm.service refused`},
		{"refusal counts as success around a comment", "etc/systemd/system/vllm.service", "[Service]\nSuccessExitStatus=1 \\\n# and\n77\n", `lets the unit start although the gate of vllm.service refused`},
		{"a killed re-check counts as success", "etc/systemd/system/vllm.service", "[Service]\nSuccessExitStatus=SIGKILL\n", `lets the unit start although the gate of vllm.service was killed while it checked`},
		{"a killed re-check counts as success without SIG", "etc/systemd/system/vllm.service", "[Service]\nSuccessExitStatus=143 KILL\n", `lets the unit start although the gate of vllm.service was killed while it checked`},
		{"a re-check that crashes counts as success", "etc/systemd/system/vllm.service", "[Service]\nSuccessExitStatus=SIGTERM SIGABRT\n", `lets the unit start although the gate of vllm.service was killed while it checked`},
		{"a re-check that its filter kills counts as success", "etc/systemd/system/vllm.service", "[Service]\nSuccessExitStatus=SYS\n", `lets the unit start although the gate of vllm.service was killed while it checked`},
		{"a re-check killed by a real-time signal counts as success", "etc/systemd/system/vllm.service", "[Service]\nSuccessExitStatus=SIGRTMIN+3\n", `lets the unit start although the gate of vllm.service was killed while it checked`},
		{"a re-check killed by the last real-time signal counts as success", "etc/systemd/system/vllm.service", "[Service]\nSuccessExitStatus=RTMAX\n", `lets the unit start although the gate of vllm.service was killed while it checked`},
		{"a killed re-check counts as success on a second line", "etc/systemd/system/vllm.service", "[Service]\nSuccessExitStatus=143\nSuccessExitStatus=SIGTERM \\\n SIGSEGV\n", `lets the unit start although the gate of vllm.service was killed while it checked`},
		{"a killed re-check counts as success before a reset", "etc/systemd/system/vllm.service", "[Service]\nSuccessExitStatus=SIGKILL\nSuccessExitStatus=\n", `lets the unit start although the gate of vllm.service was killed while it checked`},
		{"a killed re-check counts as success in quotes", "etc/systemd/system/vllm.service", "[Service]\nSuccessExitStatus='SIG\\x4bILL'\n", `lets the unit start although the gate of vllm.service was killed while it checked`},
		{"a killed re-check counts as success by drop-in", "etc/systemd/system/vllm-.service.d/10-x.conf", "[Service]\nSuccessExitStatus=SIGKILL\n", `its line "SuccessExitStatus=SIGKILL" lets vllm-.service start although the gate was killed while it checked`},
		{"a killed re-check counts as success for users", "usr/lib/systemd/user/vllm.service", "[Service]\nSuccessExitStatus=SIGKILL\n", `lets the unit start although the gate of vllm.service was killed while it checked`},
		{"watcher never fails", "etc/systemd/system/service.d/x.conf", "[Service]\nSuccessExitStatus=1\n", `its line "SuccessExitStatus=1" changes what a breach does`},
		{"watcher is skipped", "etc/systemd/system/service.d/x.conf", "[Unit]\nConditionPathExists=/no\n", `its line "ConditionPathExists=/no" changes what a breach does`},
		{"target is skipped", "etc/systemd/system/target.d/x.conf", "[Unit]\nConditionPathExists=/no\n", `its line "ConditionPathExists=/no" changes what a breach does`},
		{"watcher does something else", "etc/systemd/system/service.d/x.conf", "[Service]\nExecStart=\n", `its line "ExecStart=" changes what a breach does`},
		{"watcher has another name", "etc/systemd/system/watch.service", "-> /usr/lib/systemd/system/initcheck-breach.service", "it gives initcheck-breach.service another name"},
		{"family allowed again in quotes", "etc/systemd/system/vllm.service.d/zzz.conf", "[Service]\nRestrictAddressFamilies=\"AF_ALG\"\n", `allows again what the hardening denies to vllm.service`},
		{"program without the filters", "etc/systemd/system/vllm.service", "[Service]\nExecStart=-+/usr/bin/vllm serve\n", `its line "ExecStart=-+/usr/bin/vllm serve" runs without the hardening of vllm.service`},
		{"program without the filters by drop-in", "etc/systemd/system/vllm.service.d/10-x.conf", "[Service]\nExecStart=\nExecStart=+/usr/bin/vllm serve\n", `runs without the hardening of vllm.service`},
		{"reset by another name", "etc/systemd/system/llm.service.d/zz.conf", assert, "takes away what holds back llm.service"},
		{"refusal counts as success by another name", "etc/systemd/system/llm.service", "[Service]\nSuccessExitStatus=77\n", "lets the unit start although the gate of llm.service refused"},
		{"reset by an alias", "etc/systemd/system/alias.service.d/zz.conf", assert, "takes away what holds back alias.service"},
		{"drop-in of user units masked", "etc/systemd/user/vllm.service.d/50-kerngate.conf", "-> /dev/null", "it masks the gate's drop-in for vllm.service"},
		{"drop-in of user units reset", "etc/xdg/systemd/user/vllm@.service.d/60-x.conf", assert, "takes away what holds back vllm@.service"},
		{"refusal counts as success for users", "usr/lib/systemd/user/vllm.service", "[Service]\nSuccessExitStatus=77\n", `lets the unit start although the gate of vllm.service refused`},

		{"what is written over extensions goes to the tree itself", "var/lib/extensions.mutable/usr", "-> /usr", stays},
		{"an extension with the same link", "var/lib/extensions/x/usr/sbin", "-> bin", stays},
		{"an extension with links into the tree", "var/lib/extensions/x/usr/lib/systemd/system/multi-user.target.wants/nginx.service", "-> /usr/lib/systemd/system/nginx.service", stays},
		{"time limit of all services", "usr/lib/systemd/system/service.d/10-timeout.conf", "[Service]\nTimeoutStopFailureMode=abort\n", stays},
		{"program with the filters", "etc/systemd/system/vllm.service", "[Service]\nExecStartPre=+/bin/mkdir /x\nExecStart=!/usr/bin/vllm --a=+b\n", stays},
		{"program of users without the filters", "etc/systemd/user/vllm.service", "[Service]\nExecStart=+/usr/bin/vllm serve\n", stays},
		{"families reset before ours", "etc/systemd/system/vllm.service.d/override.conf", "[Service]\nRestrictAddressFamilies=\nRestrictAddressFamilies=AF_INET AF_ALG\n", stays},
		{"list of what is allowed", "etc/systemd/system/vllm.service", "[Service]\nRestrictAddressFamilies=AF_INET AF_UNIX AF_ALG\nSystemCallArchitectures=native\n", stays},
		{"other family allowed later", "etc/systemd/system/vllm.service.d/zzz.conf", "[Service]\nRestrictAddressFamilies=~AF_PACKET\nRestrictAddressFamilies=AF_INET\n", stays},
		{"user unit with the gate's name", "etc/systemd/user/initcheck.service", "", stays},
		{"other environment", "etc/systemd/system.conf", "[Manager]\nManagerEnvironment=SYSTEMD_LOG_LEVEL=debug SYSTEMD_UNIT_PATH A=%m\n#ManagerEnvironment=SYSTEMD_UNIT_PATH=/x\n", stays},
		{"settings hidden by others", "usr/lib/systemd/system.conf.d/hidden.conf", "[Manager]\nManagerEnvironment=SYSTEMD_UNIT_PATH=/x\n", stays},
		{"main settings hidden by others", "usr/lib/systemd/user.conf", "[Manager]\nManagerEnvironment=SYSTEMD_UNIT_PATH=/x\n", stays},
		{"mask of settings", "etc/systemd/system.conf.d/x.conf", "-> /dev/null", stays},
		{"extension with other things", "var/lib/extensions/x/usr/lib/systemd/system/nginx.service", "", stays},
		{"what an extension does not bring", "var/lib/extensions/x/etc/systemd/system/initcheck.service", "", stays},
		{"what a configuration extension does not bring", "var/lib/confexts/x/usr/lib/systemd/system/initcheck.service", "", stays},
		{"mask of an extension", "etc/extensions/x", "-> /dev/null", stays},
		{"image of an extension", "var/lib/extensions/x.raw", "hsqs", stays},
		{"no extension", "var/lib/extensions/.x/usr/lib/systemd/system/initcheck.service", "", stays},
		{"another rule", "etc/udev/rules.d/99-local.rules", "", stays},
		{"rule for disks", "etc/udev/rules.d/99-local.rules", `SUBSYSTEM=="block", TAG="x", ENV{SYSTEMD_READY}="0"`, stays},
		{"rule hidden by another", "usr/lib/udev/rules.d/99-hidden.rules", `TAG="x"`, stays},
		{"mask of another rule", "etc/udev/rules.d/zz.rules", "-> /dev/null", stays},
		{"no file of rules", "etc/udev/rules.d/zz.rules.bak", `TAG="x"`, stays},
		{"udev by others", "etc/systemd/system/systemd-udevd.service", "[Service]\nExecStart=/x\n", stays},
		{"mask of udev hidden by another file", "usr/lib/systemd/system/systemd-udev-settle.service", "-> /dev/null", stays},
		{"other codes count as success", "etc/systemd/system/vllm.service", "[Service]\nSuccessExitStatus=1 177 143\n#SuccessExitStatus=77\n", stays},
		{"ends on SIGTERM", "etc/systemd/system/vllm.service", "[Service]\nSuccessExitStatus=143 SIGTERM\n", stays},
		{"ends on SIGTERM without SIG", "etc/systemd/system/vllm.service", "[Service]\nSuccessExitStatus=TERM\n", stays},
		{"ends on what the checker answers", "etc/systemd/system/vllm.service", "[Service]\nSuccessExitStatus=0 130 SIGINT SIGHUP\nSuccessExitStatus=SIGPIPE\n", stays},
		{"codes that are also numbers of signals", "etc/systemd/system/vllm.service", "[Service]\nSuccessExitStatus=1 6 9 15\n", stays},
		{"no signals", "etc/systemd/system/vllm.service", "[Service]\nSuccessExitStatus=sigkill SIG KILLED DATAERR 9KILL\n", stays},
		{"reset of the codes for success", "etc/systemd/system/vllm.service", "[Service]\nSuccessExitStatus=\n", stays},
		{"refusal counts as success elsewhere", "etc/systemd/system/nginx.service", "[Service]\nSuccessExitStatus=77\n", stays},
		{"reset before ours", "etc/systemd/system/vllm.service.d/40-x.conf", assert, stays},
		{"more of the same", "etc/systemd/system/vllm.service.d/60-x.conf", "[Unit]\nAssertPathExists=/x\n[Service]\nExecCondition=/bin/true\nEnvironment=\n", stays},
		{"reset in a comment", "etc/systemd/system/vllm.service.d/60-x.conf", "[Unit]\n#AssertPathExists=\n;ExecCondition=\n", stays},
		{"no drop-in", "etc/systemd/system/vllm.service.d/60-x.conf.bak", assert, stays},
		{"mask of another drop-in", "etc/systemd/system/vllm.service.d/60-x.conf", "-> /dev/null", stays},
		{"dangling directory", "etc/systemd/system/vllm.service.d", "-> nowhere", stays},
		{"other unit", "etc/systemd/system/nginx.service.d/zz.conf", assert, stays},
		{"unit with a like name", "etc/systemd/system/vllmx.service.d/zz.conf", assert, stays},
		{"other type", "etc/systemd/system/vllm.timer.d/zz.conf", assert, stays},
		{"all timers", "etc/systemd/system/timer.d/zz.conf", assert, stays},
		{"ours", "usr/lib/systemd/system/vllm.service.d/50-kerngate.conf", string(unit.DropInText(header, "vllm.service", true)), stays},
		{"gate itself", "usr/lib/systemd/system/initcheck.service", string(unit.GateText(header, "")), stays},
		{"unit edited", "etc/systemd/system/vllm.service", "[Unit]\nAssertPathExists=\n", stays},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := map[string]string{c.file: c.content, "etc/systemd/system/real": assert, "etc/systemd/system/other.d/zz.conf": assert, "lib": "-> usr/lib", "usr/lib/os": "",
				"etc/udev/rules.d/99-hidden.rules": "", "etc/systemd/system.conf.d/hidden.conf": "", "usr/local/lib/systemd/user.conf": "", "usr/sbin": "-> bin", "usr/bin/sh": "",
				"usr/share/ext/usr/lib/systemd/system/vllm.service.d/zz.conf": assert, "var/lib/extensions/linked/usr/lib/zz.conf": assert, "etc/systemd/rules": `ENV{SYSTEMD_WANTS}="x"`, "usr/lib/systemd/system/vllm-aliased.service": "-> llm.service", "etc/systemd/system/alias.service": "-> /usr/lib/systemd/system/llm.service"}
			found, err := unit.Conflicts(tree(t, files), all(units))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, f := range found {
				got += f.String() + "\n"
			}
			if strings.Count(got, "\n") > 1 || (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q once", got, c.want)
			}
			if where := filepath.Dir("/" + c.file); c.content != "-> ../../usr/share/ext" && !strings.Contains(c.want, " is merged") && c.want != "" && !strings.HasPrefix(got, where) {
				t.Errorf("got %q, want a file in %s", got, where)
			}
		})
	}
}

func TestConflictsLimit(t *testing.T) {
	large := map[string]string{"etc/systemd/system/vllm.service.d/zz.conf": strings.Repeat("# a comment\n", 1<<20/12+1)}
	if _, err := unit.Conflicts(tree(t, large), all([]string{"vllm.service"})); err == nil || !strings.Contains(err.Error(), "limit is 1048576") {
		t.Errorf("a drop-in above the limit: %v", err)
	}
	rules := map[string]string{"etc/udev/rules.d/zz.rules": strings.Repeat("# a comment\n", 1<<20/12+1)}
	if _, err := unit.Conflicts(tree(t, rules), all([]string{"vllm.service"})); err == nil || !strings.Contains(err.Error(), "limit is 1048576") {
		t.Errorf("rules above the limit: %v", err)
	}
	rulesOf17 := map[string]string{}
	for i := range 17 {
		rulesOf17[fmt.Sprintf("etc/udev/rules.d/%d.rules", i)] = strings.Repeat("#", 1<<20)
	}
	if _, err := unit.Conflicts(tree(t, rulesOf17), all([]string{"vllm.service"})); err == nil || !strings.Contains(err.Error(), "9.rules: with it all rules have 17825792 bytes, limit is 16777216") {
		t.Errorf("many rules: %v", err)
	}
	delete(rulesOf17, "etc/udev/rules.d/9.rules")
	for _, x := range []string{"a", "b", "c"} {
		rulesOf17["var/lib/extensions/"+x+"/usr/lib/udev/rules.d/10-x.rules"] = ""
	}
	if got, err := unit.Conflicts(tree(t, rulesOf17), all([]string{"vllm.service"})); err != nil || len(got) > 0 {
		t.Errorf("rules at the limit, looked at with each of three extensions: %v, %v", got, err)
	}
	rulesOf17["var/lib/extensions/b/usr/lib/udev/rules.d/10-x.rules"] = "# of b\n"
	if _, err := unit.Conflicts(tree(t, rulesOf17), all([]string{"vllm.service"})); err == nil || !strings.Contains(err.Error(), "10-x.rules: with it all rules have 16777223 bytes") {
		t.Errorf("rules above the limit in an extension: %v", err)
	}
	many := map[string]string{}
	for i := range 129 {
		many[fmt.Sprintf("var/lib/extensions/%d", i)] = ""
	}
	if _, err := unit.Conflicts(tree(t, many), all([]string{"vllm.service"})); err == nil || !strings.Contains(err.Error(), "129 entries, limit is 128") {
		t.Errorf("extensions above the limit: %v", err)
	}
	loop := map[string]string{"etc/systemd/system/vllm.service.d/zz.conf": "-> zz.conf"}
	if _, err := unit.Conflicts(tree(t, loop), all([]string{"vllm.service"})); err == nil {
		t.Error("a drop-in that links to itself is no error")
	}
}

// opaque is a tree of which one directory hides what lies below it in lower layers.
type opaque struct {
	rootfs.Tree
	dir string
}

func (o opaque) Xattrs(name string) (map[string][]byte, error) {
	if name == o.dir {
		return map[string][]byte{"trusted.overlay.opaque": []byte("y")}, nil
	}
	return nil, nil
}

func TestOpaqueExtension(t *testing.T) {
	files := map[string]string{"var/lib/extensions/x/usr/lib/systemd/system/nginx.service": "", "var/lib/extensions/x/usr/share/x": "", "etc/extensions/again": "-> /var/lib/extensions/x"}
	for dir, want := range map[string]string{
		"/var/lib/extensions/x/usr/lib/systemd": "[/var/lib/extensions/x/usr/lib/systemd: the extension hides /usr/lib/systemd/system/initcheck.service with it]",
		"/var/lib/extensions/x/usr/share":       "[]",
	} {
		found, err := unit.Conflicts(opaque{tree(t, files), dir}, all([]string{"vllm.service"}))
		if got := fmt.Sprint(found); err != nil || got != want {
			t.Errorf("%s opaque: got %s, %v, want %s", dir, got, err, want)
		}
	}
}

func TestUnseen(t *testing.T) {
	for _, c := range []struct{ name, file, content, want string }{
		{"image", "var/lib/extensions/docker.raw", "hsqs", "/var/lib/extensions/docker.raw is an extension that is not looked into"},
		{"image of a version", "var/lib/confexts/x.raw.v/x_1.raw", "hsqs", "/var/lib/confexts/x.raw.v/x_1.raw is an extension"},
		{"link to nowhere", "etc/extensions/x", "-> /srv/x", "/etc/extensions/x is an extension"},
		{"generator", "etc/systemd/system-generators/x", "#!/bin/sh", "/etc/systemd/system-generators/x makes units at boot"},
		{"local generator", "usr/local/lib/systemd/system-generators/x", "#!/bin/sh", "/usr/local/lib/systemd/system-generators/x makes units at boot"},

		{"directory", "var/lib/extensions/x/usr/bin/x", "", ""},
		{"mask of an extension", "etc/extensions/x.raw", "-> /dev/null", ""},
		{"something else", "var/lib/extensions/README", "", ""},
		{"generator of the vendor", "usr/lib/systemd/system-generators/x", "#!/bin/sh", ""},
		{"mask of a generator", "etc/systemd/system-generators/x", "-> /dev/null", ""},
		{"note beside generators", "etc/systemd/system-generators/README", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := t.TempDir()
			plant(t, d, map[string]string{c.file: c.content})
			if strings.HasPrefix(c.content, "#!") {
				if err := os.Chmod(filepath.Join(d, c.file), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			root, err := rootfs.OpenDir(d)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			got, err := unit.Unseen(root)
			if err != nil || len(got) > 1 || (len(got) == 1) != (c.want != "") || !strings.HasPrefix(strings.Join(got, "\n"), c.want) {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestSystemdVersion(t *testing.T) {
	for _, c := range []struct{ name, file, want string }{
		{"Debian 12", "lib/systemd/libsystemd-shared-252.so", "252"},
		{"Debian 13", "usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-257.so", "257"},
		{"arm64", "usr/lib/aarch64-linux-gnu/systemd/libsystemd-shared-257.so", "257"},
		{"Fedora", "usr/lib/systemd/libsystemd-shared-255.4-1.fc40.so", "255.4-1.fc40"},
		{"lib64", "usr/lib64/systemd/libsystemd-shared-239.so", "239"},
		{"other library", "usr/lib/systemd/libsystemd-core-252.so", ""},
		{"other suffix", "usr/lib/systemd/libsystemd-shared-252.so.debug", ""},
		{"none", "usr/lib/os-release", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := unit.SystemdVersion(tree(t, map[string]string{c.file: ""}))
			if got != c.want || err != nil {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
	if _, err := unit.SystemdVersion(tree(t, map[string]string{"usr/lib/systemd": "-> systemd"})); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a loop of links gives %v, want an error", err)
	}
}
