//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kerngate/kerngate/initcheck/policy"
)

// write puts text into a file, and what was there back afterwards.
func (g *guest) write(name, text string) error {
	old, err := os.ReadFile(name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		g.undo = append(g.undo, func() error { return os.Remove(name) })
	case err != nil:
		return err
	default:
		g.undo = append(g.undo, func() error { return os.WriteFile(name, old, 0o644) })
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(text), 0o644)
}

func (g *guest) rename(from, to string) error {
	g.undo = append(g.undo, func() error { return os.Rename(to, from) })
	return os.Rename(from, to)
}

func (g *guest) link(target, name string) error {
	g.undo = append(g.undo, func() error { return os.Remove(name) })
	return os.Symlink(target, name)
}

func (g *guest) mode(name string, mode os.FileMode) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	g.undo = append(g.undo, func() error { return os.Chmod(name, info.Mode()) })
	return os.Chmod(name, mode)
}

// mount takes the file systems' own way, and is unmounted afterwards even if somebody
// has it open.
func (g *guest) mount(source, target, kind string, flags uintptr, data string) error {
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		return fmt.Errorf("cannot mount on %s: %w", target, err)
	}
	g.undo = append(g.undo, func() error { return unix.Unmount(target, unix.MNT_DETACH) })
	return nil
}

// overFile mounts a file over another. make makes it, where none is yet.
func overFile(target string, make func(name string) error) func(*guest) error {
	return func(g *guest) error {
		source := filepath.Join(home, "over")
		if err := make(source); err != nil {
			return err
		}
		g.undo = append(g.undo, func() error { return os.Remove(source) })
		if link, err := os.Readlink(source); err == nil {
			return g.mount(link, target, "", unix.MS_BIND, "")
		}
		return g.mount(source, target, "", unix.MS_BIND, "")
	}
}

// bindSource stands for a file that is there already.
func bindSource(name string) func(string) error {
	return func(link string) error { return os.Symlink(name, link) }
}

func touch(name string) error { return os.WriteFile(name, nil, 0o644) }

// readOnlyRun takes from the checker the right to write where it must.
func readOnlyRun(g *guest) error {
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return err
	}
	if err := g.mount(runDir, runDir, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	g.readOnly = true
	g.undo = append(g.undo, func() error { g.readOnly = false; return nil })
	return remount(unix.MS_RDONLY)
}

func remount(flags uintptr) error {
	return unix.Mount("", runDir, "", unix.MS_REMOUNT|unix.MS_BIND|flags, "")
}

// inRun does something in runDir, even if the state has made that read-only.
func (g *guest) inRun(do func() error) error {
	if !g.readOnly {
		return do()
	}
	return errors.Join(remount(0), do(), remount(unix.MS_RDONLY))
}

// fillRun shrinks /run to what it holds, so that the machine needs no memory for it,
// and fills the rest, and what others give free, until the state ends.
func fillRun(g *guest) error {
	const run, filler, pause = "/run", "/run/matrix-filler", 2 * time.Millisecond
	var before unix.Statfs_t
	if err := unix.Statfs(run, &before); err != nil {
		return err
	}
	resize := func(blocks uint64) error {
		size := fmt.Sprintf("size=%d", blocks*uint64(before.Bsize))
		return unix.Mount("", run, "", unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV, size)
	}
	f, err := os.Create(filler)
	if err != nil {
		return err
	}
	g.undo = append(g.undo, func() error { return errors.Join(resize(before.Blocks), f.Close(), os.Remove(filler)) })
	const spare = 64 // blocks that somebody may take meanwhile
	if err := resize(before.Blocks - before.Bfree + spare); err != nil {
		return err
	}
	block := make([]byte, before.Bsize)
	fill := func() {
		for err := error(nil); err == nil; {
			_, err = f.Write(block)
		}
	}
	fill()
	g.meanwhile(pause, fill, func() {})
	return nil
}

// meanwhile does something again and again until the state ends, and then something
// for the last time.
func (g *guest) meanwhile(pause time.Duration, again, last func()) {
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		defer last()
		for {
			select {
			case <-stop:
				return
			case <-time.After(pause):
				again()
			}
		}
	})
	g.undo = append(g.undo, func() error {
		close(stop)
		done.Wait()
		return nil
	})
}

// huntChecker sends a signal to every process of the checker, as soon as it is there,
// until the state ends. What is left then is killed.
func huntChecker(signal unix.Signal) func(*guest) error {
	return hunt(signal, every)
}

// huntReader waits until it reads what is stuck. Before Go's runtime has started a signal
// does what it does to any program.
func huntReader(signal unix.Signal) func(*guest) error {
	return hunt(signal, waitsForOpen)
}

func hunt(signal unix.Signal, prey func(process string) bool) func(*guest) error {
	const pause = 20 * time.Millisecond
	return func(g *guest) error {
		g.meanwhile(pause, func() { signalCheckers(signal, prey) }, func() { signalCheckers(unix.SIGKILL, every) })
		return nil
	}
}

// signalCheckers sends a signal to those processes of the checker that prey picks by their
// directory in /proc.
func signalCheckers(signal unix.Signal, prey func(process string) bool) {
	programs, _ := filepath.Glob("/proc/[0-9]*/exe") // a process that has gone is none of the checker
	for _, link := range programs {
		process := filepath.Dir(link)
		if program, err := os.Readlink(link); err != nil || program != policy.Binary || !prey(process) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(process)); err == nil {
			_ = unix.Kill(pid, signal)
		}
	}
}

func every(string) bool { return true }

// waitsForOpen tells whether a thread of a process sleeps in openat(2), by the number of
// the system call in proc_pid_syscall(5).
func waitsForOpen(process string) bool {
	calls, _ := filepath.Glob(process + "/task/[0-9]*/syscall")
	return slices.ContainsFunc(calls, func(name string) bool {
		call, err := os.ReadFile(name)
		return err == nil && strings.HasPrefix(string(call), strconv.Itoa(unix.SYS_OPENAT)+" ")
	})
}
