//go:build boot && soak

package imgtest

import "testing"

// TestSoakBoot runs the scenarios that change only when an image or the prober does.
func TestSoakBoot(t *testing.T) { runScenarios(t, true) }
