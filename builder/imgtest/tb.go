package imgtest

import (
	"context"
	"strings"
)

// TB is the part of testing.TB that the harness needs.
type TB interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// Image is MakeImage for tests.
func Image(t TB, name string) DebianImage {
	t.Helper()
	var log strings.Builder
	d, err := MakeImage(t.Context(), name, &log)
	if err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	return d
}

// Start is Boot for tests: the machine ends with the test.
func Start(t TB, o MachineOptions) *Machine {
	t.Helper()
	// Not the test's context: that ends before the clean-up, and the last console
	// lines would then say "stopped" instead of what went wrong.
	m, err := Boot(context.WithoutCancel(t.Context()), o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}
