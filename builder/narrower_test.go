package builder_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/unit"
)

// TestDropInsOfOneBecomeAPrefix: a drop-in of ours for one unit takes that of its prefix away.
// It is in the way when nobody knows it, and goes when an earlier profile asked for it.
func TestDropInsOfOneBecomeAPrefix(t *testing.T) {
	r := request(t, grubRoot(t), "")
	wide := load(t, "llm-node")
	r.Profile = wide
	r.Profile.Gate.Units = []string{"vllm-qwen.service"}
	for _, name := range wide.Gate.Units {
		if name != "vllm-.service" {
			r.Profile.Gate.Units = append(r.Profile.Gate.Units, name)
		}
	}
	build(t, r)
	r.Profile = wide
	build(t, r)
	if v := verify(t, r); !v.Conforms {
		t.Fatalf("after a profile for one unit and one for its prefix: %+v", v.Checks)
	}
	narrow := unit.DropInPath("vllm-qwen.service")
	file := filepath.Join(r.Target, narrow)
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", narrow, err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	v := verify(t, r)
	for _, c := range v.Checks {
		if c.What == narrow && !c.OK && strings.Contains(c.Text, "masks the gate's drop-in for vllm-qwen.service") {
			return
		}
	}
	t.Errorf("verify has no word against %s: conforms %v", narrow, v.Conforms)
}
