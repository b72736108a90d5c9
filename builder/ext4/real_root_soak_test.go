//go:build boot && soak

package ext4

import "testing"

func TestSoakRealRootOverFeatureSets(t *testing.T) { realRootAgrees(t, featureSets()) }
