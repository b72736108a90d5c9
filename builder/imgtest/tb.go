package imgtest

import (
	"context"
	"os"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// TB is the part of testing.TB that the harness needs.
type TB interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	TempDir() string
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

// OpenDir opens a directory as a tree until the test ends.
func OpenDir(t TB, dir string) *rootfs.Dir {
	t.Helper()
	d, err := rootfs.OpenDir(dir)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// Tree makes a directory of files, as [WriteFiles] does, and opens it.
func Tree(t TB, mode os.FileMode, files map[string]string) *rootfs.Dir {
	t.Helper()
	dir := t.TempDir()
	if err := WriteFiles(dir, mode, files); err != nil {
		t.Fatalf("%v", err)
	}
	return OpenDir(t, dir)
}
