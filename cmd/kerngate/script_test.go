package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kerngate/kerngate/builder/checker"
	"github.com/kerngate/kerngate/builder/imgtest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"kerngate": main})
}

// scriptDir holds the scripts; each is one use of the command line.
const scriptDir = "../../testdata/script"

func TestScripts(t *testing.T) {
	if _, err := checker.Binary("amd64"); err != nil {
		t.Fatalf("%v; %s", err, checker.Hint)
	}
	found, err := filepath.Glob(filepath.Join(scriptDir, "*.txtar"))
	if err != nil || len(found) == 0 {
		t.Fatalf("scripts in %s: %d (%v), want some", scriptDir, len(found), err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 scriptDir,
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":   code,
			"mkroot": mkroot,
			"mkdisk": mkdisk,
			"judge":  judge,
			"chop":   chop,
			"poke":   poke,

			"interrupt":    interrupt,
			"onlykerngate": onlyKerngate,
		},
	})
}

// code runs kerngate and wants an exact exit code: code 3 apply …
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: code N ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exited *exec.ExitError
	switch err := ts.Exec("kerngate", args[1:]...); {
	case errors.As(err, &exited):
		got = exited.ExitCode()
	case err != nil:
		ts.Fatalf("cannot run kerngate: %v", err)
	}
	if got != want {
		ts.Fatalf("exit code is %d, want %d", got, want)
	}
}

// mkroot makes a small Debian-like root: mkroot DIR [KERNEL-RELEASE].
func mkroot(ts *testscript.TestScript, neg bool, args []string) {
	release := "7.2.12+deb14-cloud-amd64"
	if len(args) == 2 {
		release = args[1]
	}
	if neg || len(args) == 0 || len(args) > 2 {
		ts.Fatalf("usage: mkroot DIR [RELEASE]")
	}
	ts.Check(imgtest.WriteRoot(ts.MkAbs(args[0]), release))
}

// mkdisk makes a disk image: mkdisk FILE gpt|gpt-4096|mbr|none FS:DIR[:OPTION]...
// The directory may be empty, and FS may be empty for a part without a file system.
// An option is a size in MiB, or one of number=, type=, name=, label= and uuid=.
func mkdisk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: mkdisk FILE gpt|gpt-4096|mbr|none FS:DIR[:OPTION]...")
	}
	var parts []imgtest.Part
	for _, arg := range args[2:] {
		field := strings.Split(arg, ":")
		p := imgtest.Part{FS: field[0], Size: 24 * imgtest.MiB, Type: "L"}
		if field[0] == "vfat" {
			p.Type = "U"
		}
		if field[1] != "" {
			p.Dir = ts.MkAbs(field[1])
		}
		for _, option := range field[2:] {
			ts.Check(setPart(&p, option))
		}
		parts = append(parts, p)
	}
	ts.Check(imgtest.WriteDisk(ts.MkAbs(args[0]), args[1], parts...))
}

func setPart(p *imgtest.Part, option string) error {
	key, value, _ := strings.Cut(option, "=")
	var err error
	switch key {
	case "number":
		p.Number, err = strconv.Atoi(value)
	case "type":
		p.Type = value
	case "name":
		p.Name = value
	case "label":
		p.Label = value
	case "uuid":
		p.UUID = value
	default:
		p.Size, err = strconv.ParseInt(option, 10, 64)
		p.Size *= imgtest.MiB
	}
	return err
}

// judge lets outside programs look at an image: judge FILE [OFFSET...] runs
// e2fsck -fn at each offset in MiB, and sgdisk -v where the first is not 0. Sgdisk
// knows sectors of 512 bytes only: other tables are for fdisk.
func judge(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: judge FILE OFFSET-IN-MIB...")
	}
	for _, at := range args[1:] {
		mib, err := strconv.ParseInt(at, 10, 64)
		ts.Check(err)
		name := args[0]
		if mib != 0 {
			name = fmt.Sprintf("%s?offset=%d", args[0], mib*imgtest.MiB)
		}
		ts.Check(ts.Exec("/usr/sbin/e2fsck", "-fn", name))
	}
	head, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	if bytes.HasPrefix(head[4096:], []byte("EFI PART")) {
		ts.Check(ts.Exec("/usr/sbin/fdisk", "--sector-size", "4096", "--list", args[0]))
		if out := ts.ReadFile("stdout"); !strings.Contains(out, "Disklabel type: gpt") || ts.ReadFile("stderr") != "" {
			ts.Fatalf("fdisk finds problems")
		}
		return
	}
	if args[1] != "0" {
		ts.Check(ts.Exec("/usr/sbin/sgdisk", "-v", args[0]))
		if !strings.Contains(ts.ReadFile("stdout"), "No problems found") {
			ts.Fatalf("sgdisk -v finds problems")
		}
	}
}

// chop cuts a file: chop FILE BYTES.
func chop(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: chop FILE BYTES")
	}
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), size))
}

// onlyKerngate hides all programs but kerngate for the rest of the script.
func onlyKerngate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: onlykerngate")
	}
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if _, err := os.Stat(filepath.Join(dir, "kerngate")); err == nil {
			ts.Setenv("PATH", dir)
			return
		}
	}
	ts.Fatalf("kerngate is not in PATH")
}

// poke writes text, with escapes as in a Go string, into a file at an offset: poke
// FILE OFFSET TEXT.
func poke(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: poke FILE OFFSET TEXT")
	}
	at, err := strconv.ParseInt(args[1], 0, 64)
	ts.Check(err)
	text, err := strconv.Unquote(`"` + args[2] + `"`)
	ts.Check(err)
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_WRONLY, 0)
	ts.Check(err)
	defer f.Close()
	_, err = f.WriteAt([]byte(text), at)
	ts.Check(err)
}
