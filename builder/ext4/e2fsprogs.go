package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// programs are the two outside programs that write.
type programs struct {
	debugfs, e2fsck string // absolute paths
}

// searchDirs is PATH and where distributions keep e2fsprogs: PATH of a plain user
// often lacks them. KERNGATE_E2FSPROGS names one directory to use instead, for
// systems that keep them elsewhere.
func searchDirs() []string {
	if dir := os.Getenv("KERNGATE_E2FSPROGS"); dir != "" {
		return []string{dir}
	}
	return append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin")
}

func findPrograms(dirs []string) (programs, error) {
	find := func(name string) (string, error) {
		for _, dir := range dirs {
			if !filepath.IsAbs(dir) {
				continue // a relative entry of PATH would run what lies in the current directory
			}
			file := filepath.Join(dir, name)
			if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				return file, nil
			}
		}
		return "", fmt.Errorf("%w: no %s in %s", ErrNoE2fsprogs, name, strings.Join(dirs, ":"))
	}
	var p programs
	var err error
	if p.debugfs, err = find("debugfs"); err != nil {
		return p, err
	}
	p.e2fsck, err = find("e2fsck")
	return p, err
}

// workspace is a temporary directory that the programs run in. The image is there
// under a plain name, because "?" and blanks in its own mean something to
// e2fsprogs.
type workspace struct {
	programs
	dir   string
	image string // how the programs call it, offset included
	now   int64  // what the programs take for the time
}

func newWorkspace(p programs, image string, offset, now int64) (*workspace, error) {
	absolute, err := filepath.Abs(image)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kerngate-ext4-")
	if err != nil {
		return nil, err
	}
	w := &workspace{programs: p, dir: dir, image: "fs", now: now}
	if offset != 0 {
		w.image = fmt.Sprintf("fs?offset=%d", offset)
	}
	if err := os.Symlink(absolute, w.file("fs")); err != nil {
		return nil, errors.Join(err, w.remove())
	}
	return w, nil
}

func (w *workspace) file(name string) string { return filepath.Join(w.dir, name) }

func (w *workspace) remove() error { return os.RemoveAll(w.dir) }

// run gives what a program said and its exit code; err is for programs that did
// not end by themselves.
func (w *workspace) run(ctx context.Context, program string, args ...string) (stdout, stderr string, code int, err error) {
	var out, diag bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = w.dir, &out, &diag
	now := strconv.FormatInt(w.now, 10)
	// The first time is read by libext2fs, the second by e2fsck, the third by
	// e2fsprogs from 1.47.1 on.
	// NOZEROOUT has zeros written, where otherwise a hole would tell nothing.
	cmd.Env = []string{"UNIX_IO_NOZEROOUT=1", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "TZ=UTC", "E2FSCK_CONFIG=/dev/null",
		"E2FSPROGS_FAKE_TIME=" + now, "E2FSCK_TIME=" + now, "SOURCE_DATE_EPOCH=" + now}
	err = cmd.Run()
	if ctx.Err() != nil {
		return "", "", 0, ctx.Err()
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		err = nil
	}
	if err != nil {
		return "", "", 0, fmt.Errorf("cannot run %s: %w", filepath.Base(program), err)
	}
	return out.String(), diag.String(), cmd.ProcessState.ExitCode(), nil
}

// Exit codes of e2fsck that mean the file system is in order; e2fsck(8).
const (
	fsckClean     = 0
	fsckCorrected = 1
)

func (w *workspace) fsck(ctx context.Context, args ...string) error {
	stdout, stderr, code, err := w.run(ctx, w.e2fsck, append(args, w.image)...)
	if err != nil {
		return err
	}
	if code != fsckClean && code != fsckCorrected {
		return fmt.Errorf("e2fsck %s: exit code is %d, want %d or %d: %s",
			strings.Join(args, " "), code, fsckClean, fsckCorrected, excerpt(stderr+stdout))
	}
	return nil
}

var debugfsBanner = regexp.MustCompile(`^debugfs \d+\.\d+\S* \(.*\)$`)

// debugfs runs a script. Its exit code tells nothing, so whatever it writes to
// stderr besides its version is an error.
func (w *workspace) debugfs(ctx context.Context, script string) error {
	if err := os.WriteFile(w.file("script"), []byte(script), 0o600); err != nil {
		return err
	}
	_, stderr, code, err := w.run(ctx, w.programs.debugfs, "-w", "-f", "script", w.image)
	if err != nil {
		return err
	}
	var complaints []string
	for line := range strings.Lines(stderr) {
		if line = strings.TrimSpace(line); line != "" && !debugfsBanner.MatchString(line) {
			complaints = append(complaints, line)
		}
	}
	if complaints != nil || code != 0 {
		return fmt.Errorf("debugfs: exit code is %d: %s", code, excerpt(strings.Join(complaints, "; ")))
	}
	return nil
}

// excerpt keeps an error on one line of bearable length.
func excerpt(s string) string {
	const limit = 500
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > limit {
		s = s[:limit] + " ..."
	}
	return strconv.Quote(s)
}
