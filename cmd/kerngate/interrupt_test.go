package main

import (
	"bytes"
	"context"
	"os"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kerngate/kerngate/builder/undo"
)

// interrupt leaves an image as an apply --in-place does that is killed half way:
// interrupt FILE.
func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: interrupt FILE")
	}
	image := ts.MkAbs(args[0])
	journal, kept := image+undo.Suffix, image+".kept"
	changes := []undo.Range{{Offset: 0, Length: 4096}, {Offset: 1 << 20, Length: 1 << 20}}
	junk := bytes.NewReader(bytes.Repeat([]byte("half way "), 1<<20))
	ts.Check(undo.Beside(image).Apply(context.Background(), changes, junk, func() error { return os.Link(journal, kept) }))
	ts.Check(os.Rename(kept, journal))
}
