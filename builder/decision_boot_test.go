//go:build boot

package builder_test

import (
	"testing"

	"github.com/kerngate/kerngate/builder"
	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/initcheck/advisory"
	"github.com/kerngate/kerngate/profiles"
)

// TestBootDecision wants the kernels of Debian's images known by package, free of the four
// flaws that the node profiles name, and let through by llm-node-patched. Which releases the
// images hold moves on with Debian.
func TestBootDecision(t *testing.T) {
	p, err := profiles.Load("llm-node-patched")
	if err != nil {
		t.Fatal(err)
	}
	if p, err = p.Accepting([]string{"external-cmdline"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bookworm", "trixie-grub", "forky"} {
		t.Run(name, func(t *testing.T) {
			target := open(t, imgtest.Image(t, name).Disk)
			facts, err := builder.Inspect(target)
			if err != nil || len(facts.Kernels) == 0 {
				t.Fatalf("got %+v, %v", facts, err)
			}
			for _, k := range facts.Kernels {
				if k.Maker != "debian" || k.Package == "" || k.PackageVersion != k.Version || k.ImageRelease != k.Release {
					t.Errorf("kernel is %+v, want it known by its banner and its package alike", k)
				}
				t.Logf("%s: %s, package %s %s", k.Release, k.Banner, k.Package, k.PackageVersion)
			}
			if len(facts.Mismatches) > 0 {
				t.Errorf("mismatches are %v, want none", facts.Mismatches)
			}
			fixed := 0
			for _, f := range facts.Findings {
				switch f.CVE {
				case "CVE-2026-31431", "CVE-2026-43284", "CVE-2026-43500", "CVE-2026-46300":
					if fixed++; f.Status != advisory.Fixed {
						t.Errorf("%+v, want it fixed", f)
					}
				}
			}
			if fixed != 4*len(facts.Kernels) {
				t.Errorf("findings are %d, want 4 for each of %d kernels", fixed, len(facts.Kernels))
			}
			v, err := builder.Verify(target.Tree(), p, "kerngate test", stubChecker)
			if err != nil || len(v.Gate) != len(facts.Kernels) {
				t.Fatalf("got %+v, %v", v, err)
			}
			for _, g := range v.Gate {
				if !g.Pass {
					t.Errorf("the gate refuses: %+v", g)
				}
			}
		})
	}
}
