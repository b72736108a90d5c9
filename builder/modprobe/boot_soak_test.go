//go:build boot && soak

package modprobe_test

import "testing"

const soaked = 1500 // configurations for each release

func TestSoakKmod(t *testing.T) { kmodAgrees(t, soaked) }

func TestSoakBusybox(t *testing.T) { busyboxAgrees(t, soaked) }
