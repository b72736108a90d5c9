// Command bootdisk boots a Debian test image in QEMU until it has printed its boot
// report, and shows those console lines that tell of the gate.
//
//	bootdisk -disk X.raw -kernel VMLINUZ -initrd INITRD [-expect REGEXP] [-timeout 4m] [-all]
//
// It exits 0 if the image reported and its report matches -expect, else 1; 2 for a
// wrong command line. The image is not written. It serves make demo.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"

	"github.com/kerngate/kerngate/builder/imgtest"
)

// interesting matches the console lines that are shown without -all.
var interesting = regexp.MustCompile(`Linux version|initcheck|vllm|Kernel panic|emergency`)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("bootdisk", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var o imgtest.MachineOptions
	flags.StringVar(&o.Disk, "disk", "", "raw disk image; it is not written")
	flags.StringVar(&o.Kernel, "kernel", "", "kernel to boot")
	flags.StringVar(&o.Initrd, "initrd", "", "its initramfs")
	flags.DurationVar(&o.Timeout, "timeout", imgtest.DefaultTimeout, "longest life of the machine")
	expect := flags.String("expect", "", "regular expression that the report must match; ^ and $ match at its lines")
	all := flags.Bool("all", false, "show the whole console")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	want, err := regexp.Compile("(?m)" + *expect)
	if err != nil || o.Disk == "" || o.Kernel == "" || flags.NArg() != 0 {
		fmt.Fprintln(stderr, "bootdisk: -disk and -kernel are needed, -expect must be a regular expression, and nothing may follow")
		return 2
	}
	o.Console = &filter{to: stdout, all: *all}
	if err := boot(ctx, o, want); err != nil {
		fmt.Fprintf(stderr, "bootdisk: %v\n", err)
		return 1
	}
	return 0
}

func boot(ctx context.Context, o imgtest.MachineOptions, want *regexp.Regexp) (err error) {
	m, err := imgtest.Boot(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	report, err := m.Report(o.Timeout)
	if err != nil {
		return err
	}
	if !want.MatchString(report.Text) {
		return fmt.Errorf("report does not match %q", want)
	}
	return nil
}

// shown is how many bytes of a line are shown without -all: report.json is one line.
const shown = 160

// filter passes on the interesting lines of a boot and all lines of its report. The
// machine writes one whole line at a time.
type filter struct {
	to        io.Writer
	all       bool
	reporting bool
}

func (f *filter) Write(line []byte) (int, error) {
	f.reporting = f.reporting || bytes.HasPrefix(line, []byte(imgtest.ReportBegin))
	text := strings.TrimRight(string(line), "\n")
	switch {
	case f.all:
	case !f.reporting && !interesting.MatchString(text):
		return len(line), nil
	case len(text) > shown:
		text = strings.ToValidUTF8(text[:shown], "") + "…"
	}
	if _, err := fmt.Fprintf(f.to, "    | %s\n", text); err != nil {
		return 0, err
	}
	return len(line), nil
}
