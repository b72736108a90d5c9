// Command kerngate patches operating system images offline: it blocks kernel
// modules and installs a boot gate for inference services. See kerngate --help.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), ending()...)
	// A reader that goes away must not end us before a copy is taken away again: with
	// this a write to it is an error like any other.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// ending are the signals that take a build back. What the caller has set to be
// ignored, as nohup(1) does, stays ignored.
func ending() []os.Signal {
	signals := []os.Signal{syscall.SIGTERM}
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			signals = append(signals, s)
		}
	}
	return signals
}
