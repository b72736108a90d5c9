package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// content is what a regular file shall hold: the beginning of a file as it was before
// the edits, which may be long and is never held in memory, then data of edits.
type content struct {
	old  rootfs.File // nil: nothing of it
	keep int64       // bytes of old
	data [][]byte
}

func plainContent(data []byte) content { return content{data: [][]byte{data}} }

func (c content) size() int64 {
	n := c.keep
	for _, d := range c.data {
		n += int64(len(d))
	}
	return n
}

// grown gives the first keep bytes of c with data behind them.
func (c content) grown(keep int64, data []byte) (content, error) {
	if err := rootfs.CheckKeep(keep, c.size()); err != nil {
		return content{}, err
	}
	out := content{old: c.old, keep: min(keep, c.keep)}
	rest := keep - out.keep
	for _, d := range c.data {
		part := d[:min(rest, int64(len(d)))]
		out.data = append(out.data, part)
		rest -= int64(len(part))
	}
	out.data = append(out.data, data)
	return out, nil
}

// reader gives all bytes; kept is where the first c.keep of them are found now.
func (c content) reader(kept io.ReaderAt) io.Reader {
	var parts []io.Reader
	if c.keep > 0 {
		parts = append(parts, io.NewSectionReader(kept, 0, c.keep))
	}
	for _, d := range c.data {
		parts = append(parts, bytes.NewReader(d))
	}
	return io.MultiReader(parts...)
}

// allZero says whether there is no other byte than zero.
func (c content) allZero() (bool, error) {
	from, step := c.reader(c.old), make([]byte, contentStep)
	for {
		n, err := from.Read(step)
		if bytes.Count(step[:n], []byte{0}) != n {
			return false, nil
		}
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// contentStep is the unit in which contents are copied and compared: it bounds the
// memory that a long file takes, and how long an interrupt waits.
const contentStep = 1 << 20

func (c content) write(ctx context.Context, name string) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	for from := c.reader(c.old); err == nil; {
		if err = ctx.Err(); err == nil {
			_, err = io.CopyN(file, from, contentStep)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	info, statErr := file.Stat()
	if err := errors.Join(err, statErr, file.Close()); err != nil {
		return err
	}
	if info.Size() != c.size() {
		return fmt.Errorf("%s has %d bytes, want %d", name, info.Size(), c.size())
	}
	return nil
}

// verify compares a file with the content, of which the workspace has a copy in stored.
func (c content) verify(got rootfs.File, stored string) error {
	if got.Size() != c.size() {
		return fmt.Errorf("size is %d, want %d", got.Size(), c.size())
	}
	copied, err := os.Open(stored)
	if err != nil {
		return err
	}
	defer copied.Close()
	want, have := c.reader(copied), io.NewSectionReader(got, 0, got.Size())
	step := min(contentStep, max(c.size(), 1))
	a, b := make([]byte, step), make([]byte, step)
	for at := int64(0); at < c.size(); at += step {
		n := min(step, c.size()-at)
		if _, err := io.ReadFull(want, a[:n]); err != nil {
			return err
		}
		if _, err := io.ReadFull(have, b[:n]); err != nil {
			return err
		}
		if !bytes.Equal(a[:n], b[:n]) {
			return errors.New("content differs from what was written")
		}
	}
	return nil
}
