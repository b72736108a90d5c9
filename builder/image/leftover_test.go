package image

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// TestLeftovers: of what looks like a hidden copy only that of a dead process is
// removed.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.raw"), filepath.Join(dir, "out.raw")
	const mark = ".out.raw.kerngate-draft"
	for _, name := range []string{"in.raw", mark + "1", mark + "23", mark, mark + "4x", mark + "5", mark + "6", ".out.raw7", ".other.raw.kerngate-draft8"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	alive, err := os.Open(filepath.Join(dir, mark+"5"))
	if err == nil {
		defer alive.Close()
		err = syscall.Flock(int(alive.Fd()), syscall.LOCK_SH)
	}
	if err == nil {
		err = os.Link(filepath.Join(dir, mark+"6"), filepath.Join(dir, "kept"))
	}
	if err == nil {
		err = os.Symlink("in.raw", filepath.Join(dir, mark+"9"))
	}
	if err != nil {
		t.Fatal(err)
	}
	first, err := NewDraft(t.Context(), in, out, nil)
	if err != nil {
		t.Fatal(err)
	}
	second, err := NewDraft(t.Context(), in, out, nil) // must not take the first for dead
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Discard(); err != nil {
		t.Error(err)
	}
	if err := first.Commit(); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	want := []string{".other.raw.kerngate-draft8", mark, mark + "4x", mark + "5", mark + "6", mark + "9", ".out.raw7", "in.raw", "kept", "out.raw"}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("directory holds\n%q, want\n%q", got, want)
	}
}
