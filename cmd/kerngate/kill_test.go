package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/undo"
)

// victim is an image that a verb is killed on while it works in place.
type victim struct {
	t      *testing.T
	disk   string
	before []byte
	verb   []string // with its flags
	done   int      // exit code of verify -p copy-fail, once the verb is done
}

func newVictim(t *testing.T) *victim {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir()) // what e2fsprogs' killed callers leave
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	v := &victim{t: t, disk: filepath.Join(dir, "disk.raw"), verb: []string{"apply", "--in-place", "--profile", "copy-fail"}, done: exitOK}
	err := errors.Join(
		imgtest.WriteRoot(root, "7.2.12+deb14-cloud-amd64"),
		imgtest.WriteDisk(v.disk, "gpt", imgtest.Part{FS: "ext4", Dir: root, Size: 16 * imgtest.MiB, Type: "L"}))
	if err == nil {
		v.before, err = os.ReadFile(v.disk)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// start runs the program itself, in a process of its own.
func (v *victim) start() *exec.Cmd {
	v.t.Helper()
	if err := os.WriteFile(v.disk, v.before, 0o644); err != nil {
		v.t.Fatal(err)
	}
	cmd := exec.Command("kerngate", append(slices.Clone(v.verb), v.disk)...)
	if err := cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	return cmd
}

// kerngate runs a verb in this process.
func (v *victim) kerngate(args ...string) (code int, stderr string) {
	var out, diag bytes.Buffer
	code = run(context.Background(), append(slices.Clone(args), v.disk), &out, &diag)
	return code, diag.String()
}

func (v *victim) exists(suffix string) bool {
	_, err := os.Lstat(v.disk + suffix)
	return !errors.Is(err, fs.ErrNotExist)
}

// waited is closed when a process has ended.
func waited(cmd *exec.Cmd) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		cmd.Wait() // ProcessState says how
		close(ended)
	}()
	return ended
}

// awaitJournal returns when the edit begins to write its journal, or has ended.
func (v *victim) awaitJournal(ended <-chan struct{}) {
	for !v.exists(undo.Suffix+".part") && !v.exists(undo.Suffix) {
		select {
		case <-ended:
			return
		case <-time.After(100 * time.Microsecond):
		}
	}
}

// kill lets a build run for a while and kills it. Half of the builds are killed at
// any time, half soon after they began to write.
func (v *victim) kill(whole, writing time.Duration, late bool) {
	cmd := v.start()
	ended := waited(cmd)
	wait := time.Duration(rand.Int64N(int64(whole)))
	if late {
		v.awaitJournal(ended)
		wait = time.Duration(rand.Int64N(int64(writing)))
	}
	time.Sleep(wait)
	cmd.Process.Kill() // an error says that it has ended
	select {
	case <-ended:
	case <-time.After(10 * time.Minute):
		v.t.Fatal("a killed build does not end")
	}
}

// killStopped kills a build that stands still while it writes.
func (v *victim) killStopped() {
	cmd := v.stopWhileWriting()
	cmd.Process.Kill()
	cmd.Wait()
}

// measure gives how long a build takes, and how long it writes.
func (v *victim) measure() (whole, writing time.Duration) {
	begin, cmd := time.Now(), v.start()
	ended := waited(cmd)
	v.awaitJournal(ended)
	wrote := time.Now()
	if <-ended; !cmd.ProcessState.Success() {
		v.t.Fatalf("%s: %v", v.verb, cmd.ProcessState)
	}
	return time.Since(begin), time.Since(wrote) + time.Millisecond
}

// TestKilledInPlace kills the program at random times. After recover, or the next
// run, the image is bit for bit as before, or as the profile wants it; nothing else.
func TestKilledInPlace(t *testing.T) { newVictim(t).killOften(kills) }

// TestKilledRevert does the same to a revert: the image is as the build left it, or as it
// was before the build.
func TestKilledRevert(t *testing.T) {
	v := newVictim(t)
	if code, stderr := v.kerngate(v.verb...); code != exitOK {
		t.Fatalf("%s: exit code %d: %s", v.verb, code, stderr)
	}
	var err error
	if v.before, err = os.ReadFile(v.disk); err != nil {
		t.Fatal(err)
	}
	v.verb, v.done = []string{"revert", "--in-place"}, exitNot
	v.killOften(kills / 2)
}

func (v *victim) killOften(kills int) {
	t := v.t
	t.Helper()
	whole, writing := v.measure()
	before := sha256.Sum256(v.before)
	outcomes := map[string]int{}
	for i := range kills {
		if i%4 == 1 {
			// Chance alone may never meet the short time in which the image is written.
			v.killStopped()
		} else {
			v.kill(whole, writing, i%2 == 0)
		}
		state := "killed before it wrote"
		switch {
		case v.exists(undo.Suffix):
			state = "killed while it wrote the image"
		case v.exists(undo.Suffix + ".part"):
			state = "killed while it wrote the journal"
		}
		way := []string{"recover"}
		if i%10 == 9 {
			way = v.verb
		}
		// A revert that was done before it was killed finds nothing any more.
		nothing := way[0] == "revert"
		if code, stderr := v.kerngate(way...); code != exitOK && (!nothing || code != exitNot) {
			t.Fatalf("kill %d: %s: exit code %d: %s", i, way, code, stderr)
		}
		now, err := os.ReadFile(v.disk)
		if err != nil {
			t.Fatal(err)
		}
		if sha256.Sum256(now) != before {
			if way[0] == "recover" {
				state = "killed after it was done"
			}
			if code, stderr := v.kerngate("verify", "--profile", "copy-fail"); code != v.done {
				t.Fatalf("kill %d: the image is neither as before nor is the verb done: %d %s", i, code, stderr)
			}
			if code, _ := v.kerngate("revert", "--in-place"); v.done == exitNot && code != exitNot {
				t.Fatalf("kill %d: the image is neither as before nor is all taken out", i)
			}
		}
		outcomes[state]++
		if v.exists(undo.Suffix) || v.exists(undo.Suffix+".part") {
			t.Fatalf("kill %d: a journal is left", i)
		}
	}
	t.Logf("%d kills, whole run %v, of that writing %v: %v", kills, whole, writing, outcomes)
	if outcomes["killed while it wrote the image"] == 0 {
		t.Errorf("outcomes are %v, want some in the middle", outcomes)
	}
}

// stopWhileWriting gives a build that stands still with its journal beside the image.
func (v *victim) stopWhileWriting() *exec.Cmd {
	v.t.Helper()
	for range 50 {
		cmd := v.start()
		for !v.exists(undo.Suffix) && !v.ended(cmd) {
			time.Sleep(50 * time.Microsecond)
		}
		cmd.Process.Signal(syscall.SIGSTOP)
		v.awaitStop(cmd)
		if v.exists(undo.Suffix) {
			return cmd
		}
		cmd.Process.Signal(syscall.SIGCONT)
		cmd.Wait()
	}
	v.t.Fatal("no build could be stopped while it wrote")
	return nil
}

// awaitStop waits until all threads of a process stand still, or it has ended: until then
// it could still take the journal away. Who waits for its end gets that all the same.
func (v *victim) awaitStop(cmd *exec.Cmd) {
	v.t.Helper()
	for {
		err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		if err == nil {
			return
		}
		if !errors.Is(err, unix.EINTR) {
			v.t.Fatalf("cannot wait for the stop of a build: %v", err)
		}
	}
}

// ended says whether a process waits to be waited for; proc(5), /proc/pid/stat.
func (v *victim) ended(cmd *exec.Cmd) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
	return err != nil || bytes.Contains(stat, []byte(") Z "))
}

// TestTwoOnOneImage: while one process writes into an image, no other touches it.
func TestTwoOnOneImage(t *testing.T) {
	v := newVictim(t)
	first := v.stopWhileWriting()
	out := filepath.Join(filepath.Dir(v.disk), "out.raw")
	for _, args := range [][]string{
		{"inspect"}, {"recover"}, {"plan", "-p", "copy-fail"}, {"verify", "-p", "copy-fail"},
		{"apply", "-p", "copy-fail", "--in-place"}, {"apply", "-p", "copy-fail", "-o", out},
	} {
		code, stderr := v.kerngate(args...)
		if code != exitError || !strings.Contains(stderr, "in use") || !strings.Contains(stderr, "hint: wait") {
			t.Errorf("%s beside a build in place: exit code %d: %s", args, code, stderr)
		}
	}
	if !v.exists(undo.Suffix) {
		t.Error("somebody removed the journal of a build that is at work")
	}
	if err := errors.Join(first.Process.Signal(syscall.SIGCONT), first.Wait()); err != nil {
		t.Errorf("the first build: %v", err)
	}
	if code, stderr := v.kerngate("verify", "-p", "copy-fail"); code != exitOK {
		t.Errorf("verify: exit code %d: %s", code, stderr)
	}
}

// TestTwoWithOneOutput: two processes with the same output, of which one wins.
func TestTwoWithOneOutput(t *testing.T) {
	v := newVictim(t)
	out := filepath.Join(filepath.Dir(v.disk), "out.raw")
	var both []*exec.Cmd
	for range 2 {
		cmd := exec.Command("kerngate", "apply", "-q", "-p", "copy-fail", "-o", out, v.disk)
		cmd.Stderr = &bytes.Buffer{}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		both = append(both, cmd)
	}
	won := 0
	for _, cmd := range both {
		cmd.Wait()
		switch text := cmd.Stderr.(*bytes.Buffer).String(); {
		case cmd.ProcessState.ExitCode() == exitOK:
			won++
		case cmd.ProcessState.ExitCode() != exitError || !strings.Contains(text, "output exists"):
			t.Errorf("exit code %d: %s", cmd.ProcessState.ExitCode(), text)
		}
	}
	if won != 1 {
		t.Errorf("builds that won are %d, want 1", won)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(out), ".*")); err != nil || left != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
