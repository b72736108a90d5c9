package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/kerngate/kerngate/builder"
	"github.com/kerngate/kerngate/builder/checker"
	"github.com/kerngate/kerngate/builder/ext4"
	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/profiles"
)

// Exit codes. They are part of the interface: README.md lists them.
const (
	exitOK      = 0 // done, or yes
	exitNot     = 1 // no: the target does not conform, the gate decides otherwise, there are findings, there is nothing to revert
	exitUsage   = 2 // the command line is wrong
	exitError   = 3 // an error; the message says so in the rare case that something was changed
	exitChanges = 4 // plan --exit-code: there is something to change
)

// version is the program's version; releases set it when they are linked.
var version = "0.1.0-dev"

// exit is how a verb ends with a code and without an error message.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// usageError is a command line that cannot be understood.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// errReport is met after a verb is done.
var errReport = errors.New("cannot print the result")

// run carries out one command line and returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	u := &ui{stdout: stdout, stderr: stderr}
	root := newRoot(u)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	started := false
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	cmd, err := root.ExecuteContextC(ctx)
	var code exit
	if u.err != nil && (err == nil || errors.As(err, &code)) {
		err = fmt.Errorf("%w: %w", errReport, u.err)
	}
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	case !started || errors.As(err, &usage):
		u.fail(adviseUsage(cmd, err))
		return exitUsage
	default:
		u.fail(advise(err))
		return exitError
	}
}

// adviseUsage adds a hint to an error about the command line that brings none.
func adviseUsage(cmd *cobra.Command, err error) error {
	var has interface{ Hint() string }
	if errors.As(err, &has) {
		return err
	}
	return &hinted{err, cmd.CommandPath() + " --help shows how it is used"}
}

// hinted adds a hint to an error that brings none.
type hinted struct {
	error
	hint string
}

func (h *hinted) Hint() string  { return h.hint }
func (h *hinted) Unwrap() error { return h.error }

// advise adds the hint for errors of rooms that know a fact but not what the user
// of a command line can do about it.
func advise(err error) error {
	var findings profiles.Findings
	var corrupt *ext4.CorruptError
	var has interface{ Hint() string }
	switch {
	case errors.Is(err, errReport):
		return &hinted{err, "the verb itself was carried out to its end; only its report is missing"}
	case errors.Is(err, rootfs.ErrPartlyChanged):
		return &hinted{err, "restore the directory from where it came; what was there lies in files named .kerngate-undo-*"}
	case errors.As(err, &has):
		return err
	case errors.Is(err, ext4.ErrNoE2fsprogs):
		return &hinted{err, "install it: apt-get install e2fsprogs (dnf, zypper, pacman and apk know the same name)"}
	case errors.Is(err, ext4.ErrNoSpace):
		return &hinted{err, "grow the file system (truncate, then resize2fs) or remove something from it"}
	case errors.Is(err, ext4.ErrUnsupported):
		return &hinted{err, "patch a directory tree instead, before the image is made from it"}
	case errors.Is(err, checker.ErrMissing):
		return &hinted{err, checker.Hint}
	case errors.As(err, &findings):
		return &hinted{err, "kerngate profile lint FILE shows all findings at once; docs/profile.md has an example with every key"}
	case errors.Is(err, context.Canceled):
		return &hinted{errors.New("interrupted"), "nothing was changed"}
	case errors.As(err, &corrupt):
		return &hinted{err, "nothing was changed; check the file system with e2fsck -fn, and the image's checksum"}
	case errors.Is(err, fs.ErrPermission):
		return &hinted{err, "nothing was changed; run kerngate as who may do this"}
	default:
		return &hinted{err, "nothing was changed; see to what the message names and try again"}
	}
}

func newRoot(u *ui) *cobra.Command {
	root := &cobra.Command{
		Use:   "kerngate",
		Short: "Patch operating system images: block kernel modules, gate inference services",
		Long: `kerngate patches disk images and root directories offline, without root, mounts
or a network. It blocks kernel modules and installs a boot gate that keeps LLM
inference services from starting on a kernel that the profile refuses.

Exit codes: 0 done, or yes; 1 no (verify, rehearse, profile lint, advisories age), or
there is nothing to revert; 2 usage; 3 error, nothing was changed unless the message says
so; 4 there are changes (plan --exit-code).`,
		Example: `  kerngate inspect disk.raw
  kerngate plan --profile llm-node disk.raw
  kerngate apply --profile llm-node -o hardened.raw disk.raw
  kerngate verify --profile llm-node hardened.raw`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().BoolVar(&u.json, "json", false, "print the result as JSON")
	root.PersistentFlags().BoolVarP(&u.quiet, "quiet", "q", false, "print no steps on standard error")
	root.AddCommand(newInspect(u), newPlan(u), newApply(u), newVerify(u), newRehearse(u), newRevert(u), newRecover(u), newProfile(u), newAdvisories(u), newVersion(u))
	return root
}

// tool is how this program signs manifests.
func tool() string { return "kerngate " + version }

// targetFlags are the flags of verbs that read a target.
type targetFlags struct {
	profile string
	root    int
	accept  []string
}

func (f *targetFlags) add(cmd *cobra.Command, withProfile bool) {
	cmd.Flags().IntVar(&f.root, "root", 0, "number of the partition that holds the root file system (default: found by content)")
	if withProfile {
		cmd.Flags().StringVarP(&f.profile, "profile", "p", "", "profile: a shipped name (kerngate profile list) or a file")
		cmd.Flags().StringSliceVar(&f.accept, "accept", nil, "side effects to accept, as in a profile: ipsec, external-cmdline, …")
	}
}

// loadProfile loads the profile that the user must have named.
func (f *targetFlags) loadProfile() (profiles.Profile, error) {
	if f.profile == "" {
		return profiles.Profile{}, usageError{errors.New("no profile: give --profile NAME or --profile FILE")}
	}
	p, err := profiles.Load(f.profile)
	if err != nil {
		return p, err
	}
	if p, err = p.Accepting(f.accept); err != nil {
		return p, usageError{err}
	}
	return p, nil
}

// open opens a target whose files can be trusted to be up to date.
func (f *targetFlags) open(name string, p profiles.Profile) (*image.Target, error) {
	target, err := image.Open(name, image.Options{Root: f.root})
	if err != nil {
		return nil, err
	}
	if err := builder.CheckTarget(target, p); err != nil {
		target.Close()
		return nil, err
	}
	if err := target.CheckCurrent(); err != nil {
		target.Close()
		return nil, err
	}
	return target, nil
}

// buildTime is the time that written files get: SOURCE_DATE_EPOCH, else now
// (reproducible-builds.org, specification of the variable).
func buildTime() (time.Time, error) {
	text, set := os.LookupEnv("SOURCE_DATE_EPOCH")
	if !set {
		return time.Now().Truncate(time.Second), nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 || seconds > 1<<33 {
		return time.Time{}, usageError{fmt.Errorf("SOURCE_DATE_EPOCH is %q, want seconds since 1970", text)}
	}
	return time.Unix(seconds, 0).UTC(), nil
}
