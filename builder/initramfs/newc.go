package initramfs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"strconv"
	"time"
)

// Entry is one record of an archive, as it is stored.
type Entry struct {
	Name    string // as stored, up to its zero byte
	Mode    uint32 // st_mode of stat(2)
	UID     uint32
	GID     uint32
	ModTime time.Time
	Size    uint32 // bytes of content, or of a link's target
	Links   uint32
	Target  string // of a symbolic link

	inode   uint32
	device  uint64 // major and minor together: with inode it tells hard links apart
	segment int
	archive int    // number in the image; hard links lead within one
	pos     int64  // of the content in the unpacked segment; for None in the image
	data    []byte // the content, where it was kept
}

// Types of files in st_mode (inode(7)).
const (
	modeType    = 0o170000
	modeRegular = 0o100000
	modeDir     = 0o040000
	modeLink    = 0o120000
)

// Magic numbers of newc without and with checksums.
const (
	magicNewc = "070701"
	magicCRC  = "070702"
	trailer   = "TRAILER!!!"
)

func (e *Entry) kind() uint32 { return e.Mode & modeType }

// clean is the name from the root of the tree on.
func (e *Entry) clean() string { return path.Clean("/" + e.Name) }

// fileMode turns st_mode into Go's.
func fileMode(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	for bit, flag := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if mode&bit != 0 {
			m |= flag
		}
	}
	switch mode & modeType {
	case modeRegular:
	case modeDir:
		m |= fs.ModeDir
	case modeLink:
		m |= fs.ModeSymlink
	case 0o020000:
		m |= fs.ModeDevice | fs.ModeCharDevice
	case 0o060000:
		m |= fs.ModeDevice
	case 0o010000:
		m |= fs.ModeNamedPipe
	case 0o140000:
		m |= fs.ModeSocket
	default:
		m |= fs.ModeIrregular
	}
	return m
}

// archive reads records from a stream that the kernel's do_reset, do_header and so on
// would read.
type archive struct {
	in   *bufio.Reader
	pos  int64 // of the stream; alignment counts from 0
	left int64 // bytes that may still be unpacked
}

func (a *archive) read(p []byte) error {
	n, err := io.ReadFull(a.in, p)
	a.pos += int64(n)
	return ended(err)
}

// ended makes the end of a stream in the middle of something an error of ours.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrTruncated
	}
	return err
}

// skip leaves out n bytes, or writes them to all of to.
func (a *archive) skip(n int64, to ...io.Writer) error {
	if n > a.left {
		return fmt.Errorf("more than %d bytes unpacked, or too many for so few packed: %w", int64(maxUnpacked), ErrLimit)
	}
	a.left -= n
	if len(to) > 0 {
		copied, err := io.CopyN(io.MultiWriter(to...), a.in, n)
		a.pos += copied
		return ended(err)
	}
	for n > 0 {
		part, err := a.in.Discard(int(min(n, math.MaxInt32)))
		a.pos += int64(part)
		if n -= int64(part); err != nil {
			return ended(err)
		}
	}
	return nil
}

// align goes on to the next multiple of four.
func (a *archive) align() error { return a.skip(-a.pos & 3) }

// zeros leaves out zero bytes and gives the byte behind them; io.EOF if there is
// none.
func (a *archive) zeros() (byte, error) {
	for {
		b, err := a.in.ReadByte()
		if err != nil {
			return 0, err
		}
		if b != 0 {
			return b, a.in.UnreadByte()
		}
		if a.left--; a.left < 0 {
			return 0, fmt.Errorf("zeros: %w", ErrLimit)
		}
		a.pos++
	}
}

// next reads a record up to its content. The trailer gives a nil entry.
func (a *archive) next() (e *Entry, checksum *uint32, err error) {
	var raw [headerBytes]byte
	if err := a.read(raw[:]); err != nil {
		return nil, nil, err
	}
	a.left -= headerBytes
	magic := string(raw[:len(magicNewc)])
	if magic != magicNewc && magic != magicCRC {
		return nil, nil, fmt.Errorf("magic of a record is %q, want %s or %s", magic, magicNewc, magicCRC)
	}
	var field [13]uint32
	for i := range field {
		at := len(magicNewc) + 8*i
		n, err := strconv.ParseUint(string(raw[at:at+8]), 16, 32)
		if err != nil {
			return nil, nil, fmt.Errorf("field %d of a record is %q, want a hexadecimal number", i, raw[at:at+8])
		}
		field[i] = uint32(n)
	}
	e = &Entry{
		inode: field[0], Mode: field[1], UID: field[2], GID: field[3], Links: field[4],
		ModTime: time.Unix(int64(field[5]), 0).UTC(), Size: field[6], device: uint64(field[7])<<32 | uint64(field[8]),
	}
	if e.Name, err = a.name(field[11]); err != nil {
		return nil, nil, err
	}
	if e.Name == trailer {
		return nil, nil, a.skip(int64(e.Size))
	}
	if err := a.align(); err != nil {
		return nil, nil, err
	}
	if magic == magicCRC {
		checksum = &field[12]
	}
	return e, checksum, a.target(e)
}

func (a *archive) name(length uint32) (string, error) {
	if length == 0 || length > maxName {
		return "", fmt.Errorf("name of a record has %d bytes, want 1 to %d", length, maxName)
	}
	raw := make([]byte, length)
	if err := a.read(raw); err != nil {
		return "", err
	}
	if a.left -= int64(length); raw[length-1] != 0 {
		return "", errors.New("name of a record does not end in a zero byte")
	}
	raw, _, _ = bytes.Cut(raw, []byte{0})
	return string(raw), nil
}

// target reads the content of a symbolic link. Any other type but a regular file has
// none: the kernel leaves such a record out, and loses its place.
func (a *archive) target(e *Entry) error {
	e.pos = a.pos
	switch {
	case e.kind() == modeRegular || e.Size == 0:
		return nil
	case e.kind() != modeLink:
		return fmt.Errorf("%s is neither a file nor a link and has %d bytes of content", e.Name, e.Size)
	case e.Size >= maxName:
		return fmt.Errorf("target of link %s has %d bytes, limit is %d", e.Name, e.Size, maxName-1)
	}
	raw := make([]byte, e.Size)
	if err := a.read(raw); err != nil {
		return err
	}
	a.left -= int64(e.Size)
	raw, _, _ = bytes.Cut(raw, []byte{0})
	e.Target = string(raw)
	return nil
}

// content leaves out the content of a regular file, or keeps it if asked to.
func (a *archive) content(e *Entry, checksum *uint32, keep bool) error {
	if e.kind() == modeRegular && e.Size > 0 {
		var kept bytes.Buffer
		var got sum
		var to []io.Writer
		if keep {
			to = append(to, &kept)
		}
		if checksum != nil {
			to = append(to, &got)
		}
		if err := a.skip(int64(e.Size), to...); err != nil {
			return err
		}
		if checksum != nil && uint32(got) != *checksum {
			return fmt.Errorf("checksum of %s is %08x, want %08x", e.Name, uint32(got), *checksum)
		}
		e.data = kept.Bytes()
	}
	return a.align()
}

// sum is the checksum of 070702: all bytes added up.
type sum uint32

func (s *sum) Write(p []byte) (int, error) {
	for _, b := range p {
		*s += sum(b)
	}
	return len(p), nil
}
