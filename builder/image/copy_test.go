package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// holed makes an image with data at both ends and in the middle, and holes between.
func holed(t *testing.T) (dir, file string) {
	t.Helper()
	dir = t.TempDir()
	file = filepath.Join(dir, "in.raw")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, at := range []int64{0, 5 << 20, 64<<20 - 1<<16} {
		if _, err := f.WriteAt(bytes.Repeat([]byte{0xa5, byte(at >> 20)}, 1<<15), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Chmod(0o640), f.Sync()); err != nil {
		t.Fatal(err)
	}
	return dir, file
}

func digest(t *testing.T, file string) [32]byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(data)
}

// blocks gives what a file takes on disk, in units of 512 bytes.
func blocks(t *testing.T, file string) int64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(file, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks
}

// names lists a directory.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return strings.Join(out, " ")
}

func TestDraftCommit(t *testing.T) {
	dir, in := holed(t)
	out := filepath.Join(dir, "out.raw")
	d, err := NewDraft(t.Context(), in, out, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); strings.Contains(got, "out.raw ") || strings.HasSuffix(got, " out.raw") || !strings.Contains(got, ".out.raw") {
		t.Errorf("before Commit the directory holds %s", got)
	}
	if filepath.Dir(d.Path()) != dir {
		t.Errorf("draft lies at %s, want it in %s", d.Path(), dir)
	}
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := d.Discard(); err != nil {
		t.Errorf("Discard after Commit: %v", err)
	}
	if got := names(t, dir); got != "in.raw out.raw" {
		t.Errorf("after Commit the directory holds %s", got)
	}
	if digest(t, in) != digest(t, out) {
		t.Error("the copy has other content")
	}
	info, err := os.Stat(out)
	if err != nil || info.Mode() != 0o640 || info.Size() != 64<<20 {
		t.Errorf("the copy is %v, %v, want mode 0640 and 64 MiB", info, err)
	}
	if got, want := blocks(t, out), blocks(t, in); got > want+16 {
		t.Errorf("the copy takes %d blocks, the image %d: holes were filled", got, want)
	}
}

// TestCopySparse is the path without reflinks, whatever the file system can.
func TestCopySparse(t *testing.T) {
	dir, in := holed(t)
	for name, prepare := range map[string]func() error{
		"holes between": func() error { return nil },
		"hole at the end": func() error {
			return os.Truncate(in, 80<<20)
		},
		"nothing but a hole": func() error { return errors.Join(os.Truncate(in, 0), os.Truncate(in, 1<<20+1)) },
		"empty":              func() error { return os.Truncate(in, 0) },
		"one byte":           func() error { return os.WriteFile(in, []byte("x"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, in = holed(t)
			if err := prepare(); err != nil {
				t.Fatal(err)
			}
			src, err := os.Open(in)
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			info, err := src.Stat()
			if err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(dir, "out.raw")
			dst, err := os.Create(out)
			if err != nil {
				t.Fatal(err)
			}
			defer dst.Close()
			var last, whole int64
			progress := func(done, total int64) {
				if done <= last || done > total || (whole != 0 && whole != total) {
					t.Errorf("progress is %d of %d after %d of %d", done, total, last, whole)
				}
				last, whole = done, total
			}
			if err := copySparse(t.Context(), dst, src, info.Size(), progress); err != nil {
				t.Fatal(err)
			}
			if have := blocks(t, in) * 512; last != whole || whole > have || (have > 1<<16) != (whole > 1<<16) {
				t.Errorf("progress ends with %d of %d bytes, the image has %d of data", last, whole, have)
			}
			if err := dst.Sync(); err != nil {
				t.Fatal(err)
			}
			if digest(t, in) != digest(t, out) {
				t.Error("the copy has other content")
			}
			if got, want := blocks(t, out), blocks(t, in); got > want+16 {
				t.Errorf("the copy takes %d blocks, the image %d: holes were filled", got, want)
			}
		})
	}
}

// TestCopyDevice copies a file as it would a device: nothing tells what is data.
func TestCopyDevice(t *testing.T) {
	for name, size := range map[string]int64{"of whole blocks": 64 << 20, "cut inside a block": 5<<20 + 4096 + 100, "cut inside zeros": 6<<20 + 1, "of nothing": 0} {
		t.Run(name, func(t *testing.T) {
			dir, in := holed(t)
			out := filepath.Join(dir, "out.raw")
			if err := os.Truncate(in, size); err != nil {
				t.Fatal(err)
			}
			src, err := os.Open(in)
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			dst, err := os.Create(out)
			if err != nil {
				t.Fatal(err)
			}
			defer dst.Close()
			var last, whole int64
			if err := copyDevice(t.Context(), dst, src, func(done, total int64) { last, whole = done, total }); err != nil {
				t.Fatal(err)
			}
			if err := dst.Sync(); err != nil {
				t.Fatal(err)
			}
			if digest(t, in) != digest(t, out) || last != size || whole != size {
				t.Errorf("content differs, or progress ends with %d of %d, want %d", last, whole, size)
			}
			if got, want := blocks(t, out), blocks(t, in); got > want+16 {
				t.Errorf("the copy takes %d blocks, the data %d: zeros were written", got, want)
			}
			cancelled, cancel := context.WithCancel(t.Context())
			cancel()
			if err := copyDevice(cancelled, dst, src, func(int64, int64) {}); size > 0 && !errors.Is(err, context.Canceled) {
				t.Errorf("after an interrupt: %v", err)
			}
		})
	}
}

func TestDraftDiscard(t *testing.T) {
	dir, in := holed(t)
	before := digest(t, in)
	d, err := NewDraft(t.Context(), in, filepath.Join(dir, "out.raw"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.Path(), []byte("edited"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Discard(); err != nil {
		t.Error(err)
	}
	if got := names(t, dir); got != "in.raw" || digest(t, in) != before {
		t.Errorf("after Discard the directory holds %s, want in.raw as it was", got)
	}
}

func TestDraftRefuses(t *testing.T) {
	dir, in := holed(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	err := errors.Join(
		os.WriteFile(at("there"), []byte("x"), 0o600), os.Symlink("nowhere", at("dangling")), os.Symlink("in.raw", at("alias")),
		os.Link(in, at("second")), os.Mkdir(at("sub"), 0o700),
	)
	if err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	before := names(t, dir)
	for _, c := range []struct {
		name, in, out, fault string
		ctx                  context.Context
	}{
		{name: "output exists", in: in, out: at("there"), fault: "output exists"},
		{name: "output is a directory", in: in, out: at("sub"), fault: "output exists"},
		{name: "output is a dangling link", in: in, out: at("dangling"), fault: "output exists"},
		{name: "output is the input", in: in, out: in, fault: "output is the input"},
		{name: "output is the input by another way", in: in, out: dir + "/sub/../in.raw", fault: "output is the input"},
		{name: "output is the input by a link", in: in, out: at("alias"), fault: "output is the input"},
		{name: "output is the input by a hard link", in: in, out: at("second"), fault: "output is the input"},
		{name: "no directory", in: in, out: at("nope/out.raw"), fault: "its directory does not exist"},
		{name: "no input", in: at("nope"), out: at("out.raw"), fault: "no such file"},
		{name: "cancelled", in: in, out: at("out.raw"), fault: context.Canceled.Error(), ctx: cancelled},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.ctx == nil {
				c.ctx = t.Context()
			}
			d, err := NewDraft(c.ctx, c.in, c.out, nil)
			if err == nil {
				d.Discard()
			}
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("error is %v, want %q", err, c.fault)
			}
			var fact *Error
			if strings.Contains(c.fault, "output") && (!errors.As(err, &fact) || fact.Hint() == "") {
				t.Errorf("%v: no advice", err)
			}
			if got := names(t, dir); got != before {
				t.Errorf("the directory holds %s, want %s", got, before)
			}
		})
	}
}

// TestCommitInTheWay: what took the output's name while the copy was worked on, such
// as the output of a second kerngate, is left alone.
func TestCommitInTheWay(t *testing.T) {
	for name, c := range map[string]struct {
		meddle func(out string) error
		fault  string
	}{
		"directory":     {func(out string) error { return os.Mkdir(out, 0o700) }, "out.raw: output exists"},
		"file":          {func(out string) error { return os.WriteFile(out, []byte("theirs"), 0o600) }, "out.raw: output exists"},
		"dangling link": {func(out string) error { return os.Symlink("nowhere", out) }, "out.raw: output exists"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, in := holed(t)
			out := filepath.Join(dir, "out.raw")
			d, err := NewDraft(t.Context(), in, out, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.meddle(out); err != nil {
				t.Fatal(err)
			}
			theirs, err := os.Lstat(out)
			if err != nil {
				t.Fatal(err)
			}
			var fact *Error
			if err := d.Commit(); !errors.As(err, &fact) || !strings.Contains(fact.Fact, c.fault) || fact.Advice == "" {
				t.Errorf("Commit says %v, want %q and advice", err, c.fault)
			}
			if now, err := os.Lstat(filepath.Join(dir, theirs.Name())); err != nil || !os.SameFile(theirs, now) {
				t.Errorf("%s is another file now (%v)", theirs.Name(), err)
			}
			if err := d.Discard(); err != nil || strings.Contains(names(t, dir), ".raw.") || strings.HasPrefix(names(t, dir), ".") {
				t.Errorf("after that Discard says %v and leaves %s", err, names(t, dir))
			}
		})
	}
}

func TestEnoughSpace(t *testing.T) {
	for _, c := range []struct {
		name       string
		need, have int64
		want       string
	}{
		{"plenty", 10, 100, ""},
		{"just enough", 10, 10, ""},
		{"one too few", 11, 10, "no space in /out: the copy takes 11 bytes, 10 are free"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if err := enoughSpace(c.need, c.have, "/out"); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("error is %q, want %q", got, c.want)
			}
		})
	}
}
