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
