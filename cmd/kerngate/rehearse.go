package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kerngate/kerngate/builder/image"
	"github.com/kerngate/kerngate/builder/machine"
	"github.com/kerngate/kerngate/builder/rehearse"
)

// leastMemory is what a kernel with a small initramfs starts in, in MiB.
const leastMemory = 128

// rehearsal is the command line of rehearse.
type rehearsal struct {
	root    int
	accel   string
	console string
	options rehearse.Options
}

func newRehearse(u *ui) *cobra.Command {
	r := &rehearsal{}
	cmd := &cobra.Command{
		Use:   "rehearse IMAGE",
		Short: "Boot an image in QEMU and tell what its gate decides; exit 1 if not as expected",
		Long: `rehearse boots a disk image in a virtual machine and prints what the gate in it
decides, why, and what became of the gated units. The image is only read: what the
guest writes is thrown away. The guest has no network.

The kernel, initramfs and command line are those of the default boot entry. Arguments
are added that let the boot be watched, none of which the checker looks at. With
--firmware the image boots through UEFI and its own boot loader, unchanged.

It needs QEMU, but no root. KVM is used where it works.`,
		Example: `  kerngate rehearse hardened.raw
  kerngate rehearse --firmware --console boot.log hardened.raw
  kerngate rehearse --kernel 6.1.0-56-cloud-amd64 --expect refuse hardened.raw`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := r.check(); err != nil {
				return usageError{err}
			}
			result, err := r.run(cmd, u, args[0])
			if err != nil {
				return err
			}
			if err := showRehearsal(u, result); err != nil {
				return err
			}
			if !result.AsExpected {
				return exit(exitNot)
			}
			return nil
		},
	}
	f, o := cmd.Flags(), &r.options
	f.IntVar(&r.root, "root", 0, "number of the partition that holds the root file system (default: found by content)")
	f.StringVar(&o.Expect, "expect", rehearse.Pass, "verdict that makes the exit code 0: pass or refuse")
	f.DurationVar(&o.Timeout, "timeout", rehearse.DefaultTimeout, "longest life of the machine")
	f.BoolVar(&o.Firmware, "firmware", false, "boot through UEFI firmware and the image's own boot loader")
	f.StringVar(&o.Kernel, "kernel", "", "release of the kernel to boot (default: that of the default boot entry)")
	f.IntVar(&o.Memory, "memory", 1024, "memory of the machine in MiB")
	f.StringArrayVar(&o.Append, "append", nil, "more kernel arguments")
	f.StringVar(&r.console, "console", "", "new file that gets all that the console says")
	f.StringVar(&r.accel, "accel", string(machine.Auto), "what runs the guest: auto, kvm, or tcg (emulation)")
	return cmd
}

// check finds what is wrong with the flags.
func (r *rehearsal) check() error {
	o := &r.options
	o.Accel = machine.Accel(r.accel)
	switch {
	case o.Expect != rehearse.Pass && o.Expect != rehearse.Refuse:
		return fmt.Errorf("--expect is %q, want %s or %s", o.Expect, rehearse.Pass, rehearse.Refuse)
	case o.Accel != machine.Auto && o.Accel != machine.KVM && o.Accel != machine.TCG:
		return fmt.Errorf("--accel is %q, want %s, %s or %s", r.accel, machine.Auto, machine.KVM, machine.TCG)
	case o.Timeout <= 0:
		return fmt.Errorf("--timeout is %v, want more than 0", o.Timeout)
	case o.Memory < leastMemory:
		return fmt.Errorf("--memory is %d, want %d MiB or more", o.Memory, leastMemory)
	case o.Firmware && (len(o.Append) > 0 || o.Kernel != ""):
		return errors.New("with --firmware the image's boot loader chooses kernel and arguments: leave out --kernel and --append")
	}
	return nil
}

func (r *rehearsal) run(cmd *cobra.Command, u *ui, name string) (result *rehearse.Result, err error) {
	target, err := image.Open(name, image.Options{Root: r.root})
	if err != nil {
		return nil, err
	}
	defer target.Close()
	if err := target.CheckCurrent(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if r.console != "" {
		f, err := os.OpenFile(r.console, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return nil, fmt.Errorf("cannot write the console: %w", err)
		}
		defer f.Close()
		r.options.Console = f
	}
	r.options.Progress = func(s rehearse.Step) { u.live(fmt.Sprintf("%5.1f s  %s", s.At.Seconds(), s.Text), s.New) }
	result, err = rehearse.Rehearse(cmd.Context(), target, r.options)
	if errors.Is(err, machine.ErrNoKVM) {
		return nil, &hinted{err, "leave out --accel: the processor is emulated then"}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return result, nil
}

func showRehearsal(u *ui, r *rehearse.Result) error {
	if u.json {
		return u.encode(r)
	}
	for _, note := range r.Notes {
		u.warn(note)
	}
	for _, line := range r.Console {
		u.printf("  | %s\n", line)
	}
	showVerdict(u, r)
	for _, unit := range r.Units {
		u.printf("unit     %s: %s (%s, %s)\n", unit.Name, unit.State, unit.Active, unit.Sub)
	}
	if r.Accel != "" {
		u.printf("machine  %s, %s, %s\n", r.Arch, accelerated(r.Accel), how(r))
		u.printf("system   %s\n", strings.Join(system(r), ", "))
	}
	if r.AsExpected {
		u.printf("%s: the gate %s, as expected\n", r.Target, map[string]string{rehearse.Pass: "passes", rehearse.Refuse: "refuses"}[r.Verdict])
	} else {
		u.printf("%s: not as expected: %s\n", r.Target, r.Cause)
	}
	return nil
}

// showVerdict prints the verdict with all its reasons.
func showVerdict(u *ui, r *rehearse.Result) {
	if r.Verdict == rehearse.None {
		return
	}
	u.printf("verdict  %s after %.1f s (uptime of the guest: %.1f s)\n", r.Verdict, r.SecondsToVerdict, r.UptimeAtVerdict)
	if r.Report == nil {
		u.printf("         %s\n", r.Line)
		return
	}
	refusals := r.Report.Refusals()
	for _, f := range refusals {
		u.printf("%-7s  %s\n", f.Outcome, f.Text)
	}
	if r.Report.Override != "" {
		u.printf("override %s\n", r.Report.Override)
	}
	u.printf("rules    %d of %d pass, profile %s\n", len(r.Report.Findings)-len(refusals), len(r.Report.Findings), r.Report.Profile)
}

// system says what ran in the guest.
func system(r *rehearse.Result) []string {
	var parts []string
	for _, part := range []struct{ name, value string }{{"kernel ", r.Kernel}, {"systemd ", r.Systemd}, {"state: ", r.System}} {
		if part.value != "" {
			parts = append(parts, part.name+part.value)
		}
	}
	if len(parts) == 0 {
		return []string{"unknown"}
	}
	return parts
}

// how says what started the kernel.
func how(r *rehearse.Result) string {
	switch {
	case r.Firmware:
		return "booted by firmware and the image's boot loader"
	case r.Boot.Entry == "":
		return "booted directly: " + r.Boot.Kernel
	default:
		return "booted directly as by " + r.Boot.Entry
	}
}

func accelerated(a machine.Accel) string {
	if a == machine.KVM {
		return "KVM"
	}
	return "emulated"
}
