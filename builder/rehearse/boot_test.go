package rehearse

import (
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/machine"
)

func TestExtended(t *testing.T) {
	tests := map[string]struct{ line, want string }{
		"plain":                     {"root=/dev/vda2 ro quiet", "root=/dev/vda2 ro quiet a=1 b"},
		"empty":                     {"", "a=1 b"},
		"newline of a file":         {"root=LABEL=root ro\n", "root=LABEL=root ro a=1 b"},
		"arguments of init":         {"root=/dev/vda2 -- --show", "root=/dev/vda2 a=1 b -- --show"},
		"nothing for init":          {"root=/dev/vda2 --", "root=/dev/vda2 a=1 b --"},
		"dashes in a word":          {"x=-- y--z", "x=-- y--z a=1 b"},
		"dashes within quotes":      {`dyndbg="file a -- p" ro`, `dyndbg="file a -- p" ro a=1 b`},
		"quotes, and then the init": {`x="a b" -- c`, `x="a b" a=1 b -- c`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := extended(test.line, []string{"a=1", "b"})
			if err != nil || got != test.want {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
	if _, err := extended(strings.Repeat("x", 2044), []string{"a=1"}); err == nil || !strings.Contains(err.Error(), "has 2048 bytes") {
		t.Errorf("error for a line that is too long by one: %v", err)
	}
	if _, err := extended(strings.Repeat("x", 2043), []string{"a=1"}); err != nil {
		t.Errorf("a line that just fits: %v", err)
	}
}

// TestWatchingLeavesTheGateAlone: what the checker reads of a command line is not among
// the arguments that are added.
func TestWatchingLeavesTheGateAlone(t *testing.T) {
	for _, arch := range []machine.Arch{machine.AMD64, machine.ARM64} {
		args := strings.Join(watching(arch), " ")
		for _, judged := range []string{"blacklist", "initcheck", "modprobe", "kernel."} {
			if strings.Contains(args, judged) {
				t.Errorf("%s: arguments have %q: %s", arch, judged, args)
			}
		}
		if got, want := strings.Contains(args, "systemd.debug_shell=ttyS1"), arch == machine.AMD64; got != want {
			t.Errorf("%s: with a shell: %v, want %v", arch, got, want)
		}
	}
}

func TestBus(t *testing.T) {
	for line, want := range map[string]machine.Bus{
		"ro root=/dev/vda2":               machine.Virtio,
		"root=UUID=12 rootflags=/dev/sda": machine.Virtio,
		"root=/dev/sda1":                  machine.SCSI,
		"root=/dev/nvme0n1p2":             machine.NVMe,
		`root="/dev/sda1"`:                machine.SCSI,
		"":                                machine.Virtio,
	} {
		if got := (Boot{CommandLine: line}).bus(); got != want {
			t.Errorf("%q: bus is %s, want %s", line, got, want)
		}
	}
}
