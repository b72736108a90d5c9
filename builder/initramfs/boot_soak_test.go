//go:build boot && soak

package initramfs

import "testing"

// TestSoakUnpacks boots every codec on both kernels.
func TestSoakUnpacks(t *testing.T) {
	unpacks(t, func(string, Codec) bool { return true })
}
