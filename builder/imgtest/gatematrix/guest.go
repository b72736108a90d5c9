//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// patience is how long one command may take, and how long jobs may run. The
	// machine is emulated and shares its cores, and the time only ends what hangs.
	patience = 10 * time.Minute
	// quiet is what must pass between two looks that find nothing moving: a socket that
	// has just got a connection starts its unit a moment later.
	quiet = 200 * time.Millisecond
)

// guest is the machine that the program runs on.
type guest struct {
	undo     []func() error // what puts back what the state has changed, last first
	said     []string       // what the starting commands had to say
	readOnly bool           // the state has made runDir read-only
}

func newGuest() (*guest, error) {
	if err := layDown(); err != nil {
		return nil, err
	}
	g := &guest{}
	if err := g.must("systemctl", "daemon-reload"); err != nil {
		return nil, err
	}
	if err := g.must("systemctl", "start", "matrix-user.service"); err != nil {
		return nil, err
	}
	return g, g.reset()
}

// measure has every starter try in one state, and puts all back.
func (g *guest) measure(s state) (lines []string, err error) {
	defer func() { err = errors.Join(err, g.putBack(), g.reload(s)) }()
	for _, round := range []struct {
		first bool
		run   func(state) error
	}{{true, g.whileUp}, {false, g.afterBoot}} {
		if err := round.run(s); err != nil {
			return nil, err
		}
		if err := g.settle(); err != nil {
			return nil, err
		}
		kind := "NOTE"
		if round.first {
			kind = "EARLY"
		}
		lines = append(lines, g.notes(kind, s)...)
		// The marks are read last, which gives a late starter the most time.
		for _, starter := range starters {
			if starter.first == round.first {
				lines = append(lines, fmt.Sprintf("CELL %s %s %s", s.name, starter.name, outcome(starter.unit, starter.runs)))
			}
		}
		if err := g.reset(); err != nil {
			return nil, err
		}
	}
	return lines, nil
}

func outcome(unit string, runs int) string {
	if len(processes(unit)) >= runs {
		return "ran"
	}
	return "held"
}

// processes are those that have run as the main program of a unit.
func processes(unit string) []string {
	text, err := os.ReadFile(filepath.Join(marks, unit))
	if err != nil {
		return nil
	}
	return strings.Fields(string(text))
}

// whileUp is the first round: the gate has passed, a stand-in runs and a socket
// listens; the state sets in, the one crashes and the other gets a connection.
func (g *guest) whileUp(s state) error {
	g.said = nil
	if _, err := g.cursor(); err != nil {
		return err
	}
	up := []string{"llama-server.service", "local-ai.socket"}
	if err := g.must("systemctl", append([]string{"start"}, up...)...); err != nil {
		return fmt.Errorf("%w: %s", err, g.status("initcheck.service"))
	}
	if err := g.settle(); err != nil {
		return err
	}
	server := processes("llama-server.service")
	if len(server) != 1 {
		return fmt.Errorf("%s ran %d times before the state set in, want once: %s", up[0], len(server), g.status(up[0]))
	}
	if err := s.set(g); err != nil {
		return err
	}
	if err := g.write(filepath.Join(unitFiles, lateUnit), "[Service]\n"+standIn); err != nil {
		return err
	}
	if err := g.reload(s); err != nil {
		return err
	}
	pid, err := strconv.Atoi(server[0])
	if err != nil {
		return err
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil && !s.stops {
		return fmt.Errorf("cannot kill process %d of %s: %w", pid, up[0], err)
	}
	g.connect("local-ai")
	return awaitReaped(pid)
}

// awaitReaped waits until the manager has seen a process end: until then its unit looks
// as if nothing had happened to it.
func awaitReaped(pid int) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(quiet / 10) {
		if err := unix.Kill(pid, 0); errors.Is(err, unix.ESRCH) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d was killed and is still there", pid)
		}
	}
}

// afterBoot is the second round. Commands may fail here, and mostly shall.
func (g *guest) afterBoot(s state) error {
	g.said = nil
	if _, err := g.cursor(); err != nil {
		return err
	}
	if s.again != nil {
		if err := s.again(g); err != nil {
			return err
		}
	}
	g.say(command("systemctl", "start", target))
	g.startEach("ollama.service", "vllm@a.service", "vllm-qwen.service", lateUnit, "local-ai.socket", "lemond.socket")
	g.connect("local-ai")
	g.connect("lemond")
	g.say(command("systemctl", "start", "--job-mode=ignore-dependencies", "triton.service"))
	return nil
}

// startEach starts units, and that of the user, at the same time, each by a command of
// its own: given several, systemctl 262 starts none if it cannot start one.
func (g *guest) startEach(units ...string) {
	said := make(chan string)
	for _, unit := range units {
		go func() { said <- command("systemctl", "start", unit) }()
	}
	go func() { said <- asUser("systemctl", "--user", "start", userUnit) }()
	for range len(units) + 1 {
		g.say(<-said)
	}
}

// say keeps what a command has said.
func (g *guest) say(text string) {
	for line := range strings.Lines(text) {
		g.said = append(g.said, strings.TrimSpace(line))
	}
}

// connect makes a socket start its unit; one that does not listen is no error.
func (g *guest) connect(name string) {
	c, err := net.DialTimeout("unix", filepath.Join(sockets, name), time.Second)
	if err == nil {
		c.Close()
	}
}

// reset stops everything and makes the machine forget, as a boot does.
func (g *guest) reset() error {
	// The sockets first: nobody takes their connections, so that one whose service stops
	// starts it again, and the gate with it.
	command("systemctl", append([]string{"stop"}, stoppedFirst...)...)
	said := command("systemctl", append([]string{"stop"}, stopped...)...)
	if is := strings.TrimSpace(command("systemctl", "is-active", "initcheck.service")); is == "active" || is == "activating" {
		return fmt.Errorf("initcheck.service is %s after systemctl stop: %s", is, said)
	}
	command("systemctl", "reset-failed")
	asUser("systemctl", "--user", "stop", userUnit)
	return errors.Join(clear(marks), g.inRun(func() error { return clear(runDir) }))
}

// clear empties a directory, which may be a mount point, if there is one.
func clear(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// putBack undoes the state.
func (g *guest) putBack() error {
	var errs []error
	for len(g.undo) > 0 {
		last := len(g.undo) - 1
		errs = append(errs, g.undo[last]())
		g.undo = g.undo[:last]
	}
	return errors.Join(errs...)
}

// reload has the manager read its units anew, if the state is one of them. It does
// not need that for a unit that has come in.
func (g *guest) reload(s state) error {
	if !s.reload {
		return nil
	}
	return g.must("systemctl", "daemon-reload")
}

// settle waits until nothing moves any more.
func (g *guest) settle() error {
	for deadline := time.Now().Add(patience); ; {
		time.Sleep(quiet)
		why := moving()
		switch {
		case why == "":
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("units do not settle: %s", why)
		}
	}
}

// moving tells what is on its way: a job, or a stand-in that is neither up nor down.
func moving() string {
	if jobs := command("systemctl", "list-jobs", "--no-legend", "--no-pager"); strings.Contains(jobs, " ") && !strings.HasPrefix(jobs, "No jobs") {
		return jobs
	}
	const show, properties = "show", "--property=Id,Job,ActiveState,MainPID"
	if why := unsettled(command("systemctl", append([]string{show, properties}, standIns()...)...)); why != "" {
		return why
	}
	return unsettled(asUser("systemctl", "--user", show, properties, userUnit))
}

// unsettled finds in the answer of systemctl show a unit with a job, one on its way up or
// down, which while it waits for a restart has no job, and one whose main process has not
// left its mark: systemd takes a simple service for started before its program runs, and
// from 255 on another program is in its place until then.
func unsettled(shown string) string {
	units := strings.Split(strings.TrimSpace(shown), "\n\n")
	for _, unit := range units {
		value := map[string]string{}
		for line := range strings.Lines(unit) {
			name, v, _ := strings.Cut(strings.TrimSpace(line), "=")
			value[name] = v
		}
		main := value["MainPID"]
		switch {
		case value["Id"] == "":
			return "systemctl show: " + shown
		case value["Job"] != "" && value["Job"] != "0", strings.HasSuffix(value["ActiveState"], "activating"),
			main != "" && main != "0" && !slices.Contains(processes(value["Id"]), main):
			return strings.Join(strings.Fields(unit), " ")
		}
	}
	return ""
}

func (g *guest) status(unit string) string {
	return strings.Join(strings.Fields(command("systemctl", "status", "--no-pager", "--full", unit)), " ")
}

func (g *guest) must(name string, args ...string) error {
	out, err := output(nil, name, args...)
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(out))
	}
	return nil
}

// command runs a program that may fail, and gives what it said.
func command(name string, args ...string) string {
	out, _ := output(nil, name, args...)
	return out
}

// asUser does it as the owner of the user manager.
func asUser(name string, args ...string) string {
	out, _ := output(&syscall.SysProcAttr{Credential: &syscall.Credential{Uid: userOwner, Gid: userOwner}}, name, args...)
	return out
}

func output(as *syscall.SysProcAttr, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = as
	cmd.Env = append(os.Environ(), "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0")
	if as != nil {
		cmd.Env = append(cmd.Env, "HOME="+userHome, "XDG_RUNTIME_DIR="+userHome+"/run")
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}
