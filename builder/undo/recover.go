package undo

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
)

// Outcome is what [Site.Recover] found and did.
type Outcome struct {
	Restored bool  `json:"restored"` // old bytes were written back
	Removed  bool  `json:"removed"`  // a journal that was never finished was removed; the image had not been touched
	Extents  int64 `json:"extents"`  // pieces written back
	Bytes    int64 `json:"bytes"`    // written back
}

// DamagedError is a journal that cannot be used. The image was not written to.
type DamagedError struct {
	Journal string
	Detail  string
	advice  string
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("undo journal %s: %s", filepath.Base(e.Journal), e.Detail)
}

// Hint says what the user can do next.
func (e *DamagedError) Hint() string { return e.advice }

const (
	adviceForeign = "put the image and the journal that belong together side by side; if the journal is a leftover of an image that is gone, remove it"
	adviceDamaged = "the image may be half changed and its journal is unusable: take the image from its source again, then remove the journal"
)

// Recover brings an image back to what it was before a change that was interrupted.
// Without a journal it does nothing. A journal that was still being written is
// removed: the image had not been touched. A journal that is damaged or belongs to
// another image is a [DamagedError] and changes nothing.
func (s Site) Recover() (Outcome, error) { return s.recover(system{}) }

func (s Site) recover(l layer) (Outcome, error) {
	outcome, err := s.restore(l)
	if err != nil {
		return Outcome{}, err
	}
	err = l.remove(s.Journal + unfinished)
	if errors.Is(err, fs.ErrNotExist) {
		return outcome, nil
	}
	if err != nil {
		return outcome, err
	}
	outcome.Removed = !outcome.Restored
	return outcome, l.syncDir(s.Journal)
}

// restore writes a complete journal's bytes back and removes it.
func (s Site) restore(l layer) (outcome Outcome, err error) {
	journal, err := l.open(s.Journal, false)
	if errors.Is(err, fs.ErrNotExist) {
		return Outcome{}, nil
	}
	if err != nil {
		return Outcome{}, err
	}
	defer func() { err = errors.Join(err, journal.Close()) }()
	f, err := l.open(s.Image, true)
	if err != nil {
		return Outcome{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := checkJournal(journal, f); err != nil {
		var damaged *DamagedError
		if errors.As(err, &damaged) {
			damaged.Journal = s.Journal
		}
		return Outcome{}, err
	}
	r, err := newReader(journal)
	if err != nil {
		return Outcome{}, err
	}
	err = r.each(func(offset int64, data []byte) error {
		outcome.Extents++
		outcome.Bytes += int64(len(data))
		_, err := f.WriteAt(data, offset)
		return err
	})
	if err != nil {
		return Outcome{}, err
	}
	if err := f.Sync(); err != nil {
		return Outcome{}, err
	}
	outcome.Restored = true
	return outcome, s.dropJournal(l)
}

// checkJournal reads all of a journal and holds it against the image, before the
// image is written to.
func checkJournal(journal, f file) error {
	r, err := newReader(journal)
	if err != nil {
		return err
	}
	size, err := f.size()
	if err != nil {
		return err
	}
	if r.size != size {
		return &DamagedError{Detail: fmt.Sprintf("it was made for an image of %d bytes, this one has %d", r.size, size), advice: adviceForeign}
	}
	ends, err := readEnds(f, size)
	if err != nil {
		return err
	}
	err = r.each(func(offset int64, data []byte) error {
		ends.lay(offset, data)
		return nil
	})
	if err != nil {
		return err
	}
	if ends.identity() != r.identity {
		return &DamagedError{Detail: "it was made for another image: the first and the last MiB are not those that it knows", advice: adviceForeign}
	}
	return nil
}

// reader goes through a journal once.
type reader struct {
	header
	in   *bufio.Reader
	left int64 // bytes of the journal not yet read
}

func newReader(journal file) (*reader, error) {
	size, err := journal.size()
	if err != nil {
		return nil, err
	}
	r := &reader{in: bufio.NewReaderSize(io.NewSectionReader(journal, 0, size), 1<<16), left: size}
	b := make([]byte, headerSize)
	if err := r.read(b, "header"); err != nil {
		return nil, err
	}
	if r.header, err = decodeHeader(b); err != nil {
		return nil, damaged("%v", err)
	}
	return r, nil
}

func damaged(format string, args ...any) error {
	return &DamagedError{Detail: fmt.Sprintf(format, args...), advice: adviceDamaged}
}

func (r *reader) read(b []byte, what string) error {
	if int64(len(b)) > r.left {
		return damaged("it ends in the %s, %d bytes short", what, int64(len(b))-r.left)
	}
	r.left -= int64(len(b))
	_, err := io.ReadFull(r.in, b)
	return err
}

// each calls do for every extent, and holds the trailer against what was read.
func (r *reader) each(do func(offset int64, data []byte) error) error {
	sum := sha256.New()
	sum.Write(r.header.encode())
	head, buffer := make([]byte, extentSize), make([]byte, min(chunk, max(r.size, 0)))
	end := int64(0)
	for i := range r.extents {
		if err := r.read(head, "extents"); err != nil {
			return err
		}
		offset, length := binary.LittleEndian.Uint64(head), binary.LittleEndian.Uint32(head[8:])
		if length == 0 || length > chunk || int64(length) > r.size || offset < uint64(end) || offset > uint64(r.size-int64(length)) {
			return damaged("extent %d has %d bytes at %#x, want 1 to %d between %#x and the image's end at %#x", i, length, offset, chunk, end, r.size)
		}
		data := buffer[:length]
		if err := r.read(data, "extents"); err != nil {
			return err
		}
		if want := encodeExtent(int64(offset), data); string(want) != string(head) {
			return damaged("checksum of extent %d is %x, want %x", i, head[12:], want[12:])
		}
		sum.Write(head)
		sum.Write(data)
		if err := do(int64(offset), data); err != nil {
			return err
		}
		end = int64(offset) + int64(length)
	}
	foot := make([]byte, trailerSize)
	if err := r.read(foot, "trailer"); err != nil {
		return err
	}
	if want := trailer(sum); string(want) != string(foot) {
		return damaged("trailer is %x, want %x", foot, want)
	}
	if r.left != 0 {
		return damaged("%d bytes follow its trailer", r.left)
	}
	return nil
}
