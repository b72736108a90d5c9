package builder_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kerngate/kerngate/builder"
	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/profiles"
)

var update = flag.Bool("update", false, "write golden files anew")

const release = "7.2.12+deb14-cloud-amd64"

// stubChecker stands in for the program, so that golden files do not change with it.
func stubChecker(arch string) ([]byte, error) { return []byte("checker for " + arch + "\n"), nil }

func request(t *testing.T, target, output string) builder.Request {
	t.Helper()
	p, err := profiles.Load("llm-node")
	if err != nil {
		t.Fatal(err)
	}
	return builder.Request{Target: target, Output: output, Profile: p, Tool: "kerngate test", Time: time.Unix(1750000000, 0), Checker: stubChecker}
}

func newRoot(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "root")
	if err := imgtest.WriteRoot(dir, release); err != nil {
		t.Fatal(err)
	}
	return dir
}

func newDisk(t *testing.T) string {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk.raw")
	err := imgtest.WriteDisk(disk, "gpt",
		imgtest.Part{FS: "vfat", Size: 8 * imgtest.MiB, Type: "U"},
		imgtest.Part{FS: "ext4", Dir: newRoot(t), Size: 24 * imgtest.MiB, Type: "L"})
	if err != nil {
		t.Fatal(err)
	}
	setAge(t, disk, time.Hour)
	return disk
}

// setAge gives an image a modification time. Of one that is new every plan is made anew.
func setAge(t *testing.T, disk string, age time.Duration) {
	t.Helper()
	at := time.Now().Add(-age)
	if err := os.Chtimes(disk, at, at); err != nil {
		t.Fatal(err)
	}
}

// dump lists a directory: one line an inode, with what a build must not change
// behind anybody's back.
func dump(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		content := ""
		switch info.Mode().Type() {
		case 0:
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			content = fmt.Sprintf("%x", sha256.Sum256(data))
		case fs.ModeSymlink:
			if content, err = os.Readlink(name); err != nil {
				return err
			}
		}
		fmt.Fprintln(&out, strings.TrimPrefix(name, dir), info.Mode(), info.ModTime().UnixNano(), content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func hashFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(data))
}

// names lists a directory, hidden names too.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// TestPlanGolden shows every change of every shipped profile with its text, and
// that applying it leaves nothing to change.
func TestPlanGolden(t *testing.T) {
	shipped := profiles.Names()
	if len(shipped) == 0 {
		t.Fatal("no shipped profiles")
	}
	for _, name := range shipped {
		t.Run(name, func(t *testing.T) {
			r := request(t, newRoot(t), "")
			var err error
			if r.Profile, err = profiles.Load(name); err != nil {
				t.Fatal(err)
			}
			result, err := builder.Apply(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			compareGolden(t, filepath.Join("testdata", name+".golden"), render(result.Plan))
			again, err := builder.Apply(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if !again.Plan.Empty() {
				t.Errorf("applied again: %d changes, want none:\n%s", len(again.Plan.Changes), render(again.Plan))
			}
		})
	}
}

// render prints a plan without owners, which are those of who runs the test.
func render(p *builder.Plan) string {
	var out strings.Builder
	for _, c := range p.Changes {
		fmt.Fprintf(&out, "%s %s %s %s %s\n  %s\n", c.Op, c.Path, c.After.Type, c.After.Mode, c.After.Target, c.Reason)
		text, _ := c.Text()
		for line := range strings.Lines(text) {
			out.WriteString("  | " + line)
		}
	}
	return out.String()
}

func compareGolden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("plan differs from %s; got:\n%s", file, got)
	}
}

// failing gives the checker right n times and then something else or an error, so
// that a build fails after its n-th look at it.
func failing(n int, then error) builder.CheckerSource {
	return func(arch string) ([]byte, error) {
		if n--; n < 0 {
			return []byte("another program"), then
		}
		return stubChecker(arch)
	}
}

// TestFailureChangesNothing makes builds fail at each point that asks for the
// checker: planning and verifying.
func TestFailureChangesNothing(t *testing.T) {
	t.Parallel()
	sources := map[string]func() builder.CheckerSource{
		"no checker at all":           func() builder.CheckerSource { return failing(0, errors.New("gone")) },
		"checker gone after the plan": func() builder.CheckerSource { return failing(1, errors.New("gone")) },
		"result does not verify":      func() builder.CheckerSource { return failing(1, nil) },
	}
	for name, source := range sources {
		t.Run("disk/"+name, func(t *testing.T) {
			for _, out := range []string{"out.raw", ""} {
				disk := newDisk(t)
				before := hashFile(t, disk)
				r := request(t, disk, "")
				if out != "" {
					r.Output = filepath.Join(filepath.Dir(disk), out)
				}
				r.Checker = source()
				if _, err := builder.Apply(t.Context(), r); err == nil {
					t.Fatal("the build did not fail")
				}
				if after := hashFile(t, disk); after != before {
					t.Errorf("image is %s, was %s", after, before)
				}
				if got := names(t, filepath.Dir(disk)); !slices.Equal(got, []string{"disk.raw"}) {
					t.Errorf("directory holds %v, want disk.raw alone", got)
				}
			}
		})
	}
	for _, name := range []string{"no checker at all", "checker gone after the plan"} {
		t.Run("directory/"+name, func(t *testing.T) {
			root := newRoot(t)
			before := dump(t, root)
			r := request(t, root, "")
			r.Checker = sources[name]()
			if _, err := builder.Apply(t.Context(), r); err == nil {
				t.Fatal("the build did not fail")
			}
			if after := dump(t, root); after != before {
				t.Errorf("directory was changed:\nbefore:\n%safter:\n%s", before, after)
			}
		})
	}
	t.Run("directory/result does not verify", func(t *testing.T) {
		root := newRoot(t)
		before := dump(t, root)
		r := request(t, root, "")
		r.Checker = failing(1, nil)
		_, err := builder.Apply(t.Context(), r)
		if err == nil || !strings.Contains(err.Error(), "does not conform: /usr/sbin/initcheck") {
			t.Fatalf("error is %v, want one about /usr/sbin/initcheck", err)
		}
		if after := dump(t, root); after != before {
			t.Errorf("directory was changed:\nbefore:\n%safter:\n%s", before, after)
		}
	})
}

// TestInterruptLeavesNothing interrupts builds at every step that they name.
func TestInterruptLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"copy", "edit", "verify"} {
		t.Run("disk/"+step, func(t *testing.T) {
			disk := newDisk(t)
			before := hashFile(t, disk)
			r := request(t, disk, filepath.Join(filepath.Dir(disk), "out.raw"))
			interrupt(t, r, step)
			if got := names(t, filepath.Dir(disk)); !slices.Equal(got, []string{"disk.raw"}) {
				t.Errorf("directory holds %v, want disk.raw alone", got)
			}
			if after := hashFile(t, disk); after != before {
				t.Errorf("image is %s, was %s", after, before)
			}
		})
	}
	t.Run("directory", func(t *testing.T) {
		root := newRoot(t)
		before := dump(t, root)
		interrupt(t, request(t, root, ""), "edit")
		if after := dump(t, root); after != before {
			t.Errorf("directory was changed:\nbefore:\n%safter:\n%s", before, after)
		}
	})
}

// interrupt starts a build that is interrupted when it names a step.
func interrupt(t *testing.T, r builder.Request, step string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r.Step = func(text string) {
		if strings.HasPrefix(text, step) {
			cancel()
		}
	}
	if _, err := builder.Apply(ctx, r); !errors.Is(err, context.Canceled) {
		t.Fatalf("error is %v, want %v", err, context.Canceled)
	}
}

// TestInPlaceTakesBack: what is written into the image and then does not verify there
// is taken out again.
func TestInPlaceTakesBack(t *testing.T) {
	disk := newDisk(t)
	before, wrote := hashFile(t, disk), false
	r := request(t, disk, "")
	r.Checker = failing(2, nil) // planned, verified in the copy, then not in the image
	r.Step = func(text string) { wrote = wrote || strings.HasPrefix(text, "write") }
	if _, err := builder.Apply(t.Context(), r); err == nil || !strings.Contains(err.Error(), "does not conform") || !wrote {
		t.Errorf("error is %v, want one about the verification after the write (%t)", err, wrote)
	}
	if after := hashFile(t, disk); after != before {
		t.Errorf("image is %s, was %s", after, before)
	}
	if got := names(t, filepath.Dir(disk)); !slices.Equal(got, []string{"disk.raw"}) {
		t.Errorf("directory holds %v, want disk.raw alone", got)
	}
}

// TestSomebodyElseWrites: what comes into being while a build runs is not written over.
func TestSomebodyElseWrites(t *testing.T) {
	for name, out := range map[string]string{"output": "out.raw", "image in place": ""} {
		t.Run(name, func(t *testing.T) {
			disk := newDisk(t)
			r := request(t, disk, "")
			theirs := disk
			if out != "" {
				theirs = filepath.Join(filepath.Dir(disk), out)
				r.Output = theirs
			}
			r.Step = func(text string) {
				if !strings.HasPrefix(text, "verify") {
					return
				}
				if err := os.WriteFile(theirs, []byte("theirs"), 0o644); err != nil {
					t.Error(err)
				}
			}
			_, err := builder.Apply(t.Context(), r)
			if err == nil {
				t.Error("the build did not fail")
			}
			var hinted interface{ Hint() string }
			if !errors.As(err, &hinted) || !strings.Contains(err.Error(), theirs) {
				t.Errorf("error is %v, want one with the file's name and a hint", err)
			}
			if got, err := os.ReadFile(theirs); err != nil || string(got) != "theirs" {
				t.Errorf("their file holds %d bytes (%v), want what they wrote", len(got), err)
			}
			if got := names(t, filepath.Dir(disk)); slices.ContainsFunc(got, func(n string) bool { return strings.HasPrefix(n, ".") }) {
				t.Errorf("directory holds %v, want nothing hidden", got)
			}
		})
	}
}

// TestPlannedOnce: what a disk image holds is looked at once to plan, and anew wherever
// something was written.
func TestPlannedOnce(t *testing.T) {
	for name, c := range map[string]struct {
		out  string
		age  time.Duration // of the image
		want int
	}{
		"copy":            {"out.raw", time.Hour, 2}, // plan, verify
		"copy of the new": {"out.raw", 0, 3},         // plan twice: a write that came in the same moment would not show
		"in place":        {"", time.Hour, 3},        // plan, verify the drafts, verify what was written
	} {
		t.Run(name, func(t *testing.T) {
			disk, looks := newDisk(t), 0
			setAge(t, disk, c.age)
			r := request(t, disk, "")
			if c.out != "" {
				r.Output = filepath.Join(filepath.Dir(disk), c.out)
			}
			r.Checker = func(arch string) ([]byte, error) { looks++; return stubChecker(arch) }
			if _, err := builder.Apply(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if looks != c.want {
				t.Errorf("looked at the tree %d times, want %d", looks, c.want)
			}
		})
	}
}

// TestChangedSincePlanned: somebody writes to an image when the first plan is under way. What
// that plan has read by then is not built on.
func TestChangedSincePlanned(t *testing.T) {
	for name, c := range map[string]struct{ out, want string }{
		"copy":     {"out.raw", "/etc/modprobe.d/00-kerngate.conf: it exists and kerngate did not write it"}, // planned anew
		"in place": {"", "it was changed while it was being patched"},
	} {
		t.Run(name, func(t *testing.T) {
			disk := newDisk(t)
			r := request(t, disk, "")
			if c.out != "" {
				r.Output = filepath.Join(filepath.Dir(disk), c.out)
			}
			theirs, written := filepath.Join(t.TempDir(), "theirs"), ""
			writeFile(t, theirs, "# theirs\n")
			r.Checker = func(arch string) ([]byte, error) {
				if written == "" {
					debugfs(t, disk, 9*imgtest.MiB, "write "+theirs+" /etc/modprobe.d/00-kerngate.conf")
					written = hashFile(t, disk)
				}
				return stubChecker(arch)
			}
			if _, err := builder.Apply(t.Context(), r); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want one with %q", err, c.want)
			}
			if after := hashFile(t, disk); after != written {
				t.Errorf("image is %s, they left it as %s", after, written)
			}
			if got := names(t, filepath.Dir(disk)); !slices.Equal(got, []string{"disk.raw"}) {
				t.Errorf("directory holds %v, want disk.raw alone", got)
			}
		})
	}
}

// TestJournalThatWaits: of an image that was not shut down the journal is replayed,
// in the copy alone. The journal holds a new content for a block of a file, which
// shows only when it was.
func TestJournalThatWaits(t *testing.T) {
	disk := newDisk(t)
	const offset = 9 * imgtest.MiB
	volume := fmt.Sprintf("%s?offset=%d", disk, offset)
	block := strings.TrimSpace(judge(t, "debugfs", "-R", "blocks /etc/modprobe.d/distribution.conf", volume))
	content := make([]byte, 1024) // the block size that mke2fs gives small file systems
	copy(content, "options loop max_loop=9\n")
	file := filepath.Join(t.TempDir(), "block")
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "script")
	commands := fmt.Sprintf("journal_open\njournal_write -b %s %s\njournal_close\n", block, file)
	if err := os.WriteFile(script, []byte(commands), 0o644); err != nil {
		t.Fatal(err)
	}
	judge(t, "debugfs", "-w", "-f", script, volume)
	if got := judge(t, "debugfs", "-R", "cat /etc/modprobe.d/distribution.conf", volume); !strings.Contains(got, "max_loop=8") {
		t.Fatalf("the file holds %q before the replay, so this proves nothing", got)
	}
	target, err := image.Open(disk, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if !target.NeedsRecovery() {
		t.Fatal("the journal does not wait, so this proves nothing")
	}
	before := hashFile(t, disk)
	out := filepath.Join(filepath.Dir(disk), "out.raw")
	if _, err := builder.Apply(t.Context(), request(t, disk, out)); err != nil {
		t.Fatal(err)
	}
	if after := hashFile(t, disk); after != before {
		t.Errorf("image is %s, was %s", after, before)
	}
	if got := names(t, filepath.Dir(disk)); !slices.Equal(got, []string{"disk.raw", "out.raw"}) {
		t.Errorf("directory holds %v, want disk.raw and out.raw alone", got)
	}
	volume = fmt.Sprintf("%s?offset=%d", out, offset)
	judge(t, "e2fsck", "-fn", volume)
	if got := judge(t, "debugfs", "-R", "cat /etc/modprobe.d/distribution.conf", volume); got != "options loop max_loop=9\n" {
		t.Errorf("the file holds %q after the replay, want what the journal held", got)
	}
}

// judge runs an outside program that must succeed and gives its standard output.
func judge(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stderr strings.Builder
	cmd := exec.Command("/usr/sbin/"+name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v: %s%s (is it installed? apt-get install e2fsprogs)", name, args, err, out, stderr.String())
	}
	return string(out)
}

// TestSameInputSameBytes is the promise of SOURCE_DATE_EPOCH.
func TestSameInputSameBytes(t *testing.T) {
	disk := newDisk(t)
	var hashes []string
	for _, name := range []string{"one.raw", "two.raw"} {
		out := filepath.Join(filepath.Dir(disk), name)
		if _, err := builder.Apply(t.Context(), request(t, disk, out)); err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, hashFile(t, out))
		time.Sleep(1100 * time.Millisecond) // file systems count seconds
	}
	if hashes[0] != hashes[1] {
		t.Errorf("two builds give %s and %s", hashes[0], hashes[1])
	}
}

// TestVerifyFindsEveryDamage breaks each thing that a build wrote, one at a time.
func TestVerifyFindsEveryDamage(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	r := request(t, root, "")
	// Each file is damaged in three ways and all are read each time: few units will do.
	r.Profile = profileFrom(t, `extends = ["copy-fail", "dirty-frag"]
[kernel]
floor = "7.0.6"
[gate]
units = ["vllm.service", "vllm@.service", "local-ai.socket"]
boot_assessment = true
[report]
motd = true
node_feature_discovery = true
`)
	result, err := builder.Apply(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Plan.Changes) < 30 {
		t.Fatalf("changes are %d, want at least 10", len(result.Plan.Changes))
	}
	verify := func() *builder.Verification {
		t.Helper()
		target, err := image.Open(root, image.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer target.Close()
		v, err := builder.Verify(target.Tree(), r.Profile, r.Tool, r.Checker)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range result.Plan.Changes {
		name := filepath.Join(root, c.Path)
		theirs := strings.HasPrefix(c.Path, "/boot/") // only what we put into it is ours
		if c.After.Type != "symlink" && !theirs {
			damageMode(t, name, func() bool { return verify().Conforms })
		}
		if c.Path == builder.ManifestPath || c.Path == filepath.Dir(builder.ManifestPath) {
			continue // without the manifest all is foreign
		}
		saved := name + ".saved"
		if err := os.Rename(name, saved); err != nil {
			t.Fatal(err)
		}
		if v := verify(); v.Conforms {
			t.Errorf("%s is missing, and the tree conforms", c.Path)
		}
		if err := os.WriteFile(name, []byte("something else\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if v := verify(); v.Conforms {
			t.Errorf("%s is something else, and the tree conforms", c.Path)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(saved, name); err != nil {
			t.Fatal(err)
		}
	}
	if v := verify(); !v.Conforms {
		t.Errorf("all was put back, and the tree does not conform: %v", v.Checks)
	}
}

// damageMode gives a file or directory mode bits that it must not have.
func damageMode(t *testing.T, name string, conforms func() bool) {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, bits := range []fs.FileMode{0o022, fs.ModeSetuid, fs.ModeSticky} {
		if err := os.Chmod(name, info.Mode()|bits); err != nil {
			t.Fatal(err)
		}
		if conforms() {
			t.Errorf("%s has the mode bits %v, and the tree conforms", name, bits)
		}
	}
	if err := os.Chmod(name, info.Mode()); err != nil {
		t.Fatal(err)
	}
}
