package initramfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// Segment is one archive, or all archives of one compressed stream.
type Segment struct {
	Offset  int64 // of its first byte
	Size    int64 // bytes in the image, zeros behind it not counted
	Codec   Codec
	Entries int // without trailers
}

// Image is an initramfs image that was read once, to its end.
type Image struct {
	Segments []Segment
	// Entries are all records in the order they are stored, without trailers.
	Entries []*Entry
	// Warnings tell of entries that the kernel leaves out in silence.
	Warnings []string

	r    io.ReaderAt
	size int64
	view *view   // of all entries
	ours *marker // nil: no archive of ours
}

// Open reads an image of size bytes. Any place that the kernel would not get past, and
// any end before the end of an archive, is a [*FormatError].
func Open(r io.ReaderAt, size int64) (*Image, error) {
	entries, segments, err := scan(r, 0, size)
	if err != nil {
		return nil, err
	}
	img := &Image{Segments: segments, Entries: entries, r: r, size: size}
	if img.view, err = merge(entries); err != nil {
		return nil, err
	}
	img.Warnings = img.view.warnings
	if err := img.findMarker(); err != nil {
		return nil, err
	}
	return img, nil
}

// Size is the size of the image in bytes.
func (img *Image) Size() int64 { return img.size }

// scanner is one reading of an image.
type scanner struct {
	r        io.ReaderAt
	at       int64 // where the main loop of unpack_to_rootfs is
	size     int64
	segments []Segment
	entries  []*Entry
	left     int64 // bytes that may still be unpacked
	archives int
	names    int   // bytes of names and targets so far
	kept     int64 // bytes of content kept so far
}

// scan reads the image from byte from on, as unpack_to_rootfs does.
func scan(r io.ReaderAt, from, size int64) ([]*Entry, []Segment, error) {
	s := &scanner{r: r, at: from, size: size, left: maxUnpacked}
	if err := noBootConfig(r, size); err != nil {
		return nil, nil, s.fail(None, size, err)
	}
	for {
		found, err := s.zeros()
		if err != nil {
			return nil, nil, s.fail(None, s.at, err)
		}
		if !found {
			break
		}
		if len(s.segments) == maxSegments {
			return nil, nil, s.fail(None, s.at, fmt.Errorf("more than %d segments: %w", maxSegments, ErrLimit))
		}
		if err := s.segment(); err != nil {
			return nil, nil, err
		}
	}
	if len(s.segments) == 0 {
		return nil, nil, s.fail(None, size, fmt.Errorf("no archive: %w", ErrTruncated))
	}
	return s.entries, s.segments, nil
}

// bootConfigMagic ends an image with a boot configuration behind its archives
// (Documentation/admin-guide/bootconfig.rst).
const bootConfigMagic = "#BOOTCONFIG\n"

// noBootConfig refuses an image whose last bytes must stay its last.
func noBootConfig(r io.ReaderAt, size int64) error {
	tail := make([]byte, len(bootConfigMagic))
	from := size - int64(len(tail))
	if from < 0 {
		return nil
	}
	if err := readAt(r, tail, from); err != nil {
		return err
	}
	if string(tail) == bootConfigMagic {
		return fmt.Errorf("boot configuration at the end: %w", ErrUnsupported)
	}
	return nil
}

func (s *scanner) fail(codec Codec, at int64, err error) error {
	return &FormatError{Segment: s.at, Codec: codec, Byte: at, Err: err}
}

// zeros goes on to the next byte that is not zero and says whether there is one.
func (s *scanner) zeros() (bool, error) {
	buf := make([]byte, 4096)
	for s.at < s.size {
		part := buf[:min(int64(len(buf)), s.size-s.at)]
		if err := readAt(s.r, part, s.at); err != nil {
			return false, err
		}
		for i, b := range part {
			if b != 0 {
				s.at += int64(i)
				return true, nil
			}
		}
		s.at += int64(len(part))
	}
	return false, nil
}

// segment reads what begins at s.at.
func (s *scanner) segment() error {
	var magic [2]byte
	if err := readAt(s.r, magic[:], s.at); err != nil {
		return s.fail(None, s.at, err)
	}
	if magic[0] == '0' && s.at&3 == 0 {
		return s.plain()
	}
	codec, err := codecOf(magic)
	if err != nil {
		return s.fail(None, s.at, err)
	}
	// After a plain archive do_reset checks where it stands; after a compressed one
	// nobody does.
	if n := len(s.segments); n > 0 && s.segments[n-1].Codec == None && s.at&3 != 0 {
		return s.fail(None, s.at, errors.New("compressed data after a plain archive begins at no multiple of 4"))
	}
	return s.compressed(codec)
}

// plain reads one uncompressed archive.
func (s *scanner) plain() error {
	a := &archive{in: bufio.NewReaderSize(io.NewSectionReader(s.r, s.at, s.size-s.at), bufferBytes), pos: s.at, left: s.left}
	n, err := s.records(a)
	if err != nil {
		return s.fail(None, a.pos, err)
	}
	s.left = a.left
	s.segments = append(s.segments, Segment{Offset: s.at, Size: a.pos - s.at, Codec: None, Entries: n})
	s.at = a.pos
	return nil
}

// compressed reads one stream with all archives in it.
func (s *scanner) compressed(codec Codec) error {
	p, err := unpack(s.r, s.at, s.size, codec)
	if err != nil {
		return s.fail(codec, 0, ended(err))
	}
	defer p.close()
	allowed := min(s.left, freeUnpacked+maxRatio*(s.size-s.at))
	a := &archive{in: bufio.NewReaderSize(p, bufferBytes), left: allowed}
	total := 0
	for first := true; ; first = false {
		n, err := s.archiveWithin(a, first)
		total += n
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return s.fail(codec, a.pos, err)
		}
	}
	s.left -= allowed - a.left
	end := p.end()
	s.segments = append(s.segments, Segment{Offset: s.at, Size: end - s.at, Codec: codec, Entries: total})
	s.at = end
	return nil
}

// archiveWithin reads the next archive of a compressed stream; io.EOF: there is none.
func (s *scanner) archiveWithin(a *archive, first bool) (int, error) {
	// Zeros may be before an archive, but for the first of all: do_header stands there.
	if !first || len(s.segments) > 0 {
		b, err := a.zeros()
		switch {
		case errors.Is(err, io.EOF):
			return 0, io.EOF
		case err != nil:
			return 0, ended(err)
		case b != '0':
			return 0, errors.New("data behind the trailer is no archive")
		case a.pos&3 != 0:
			return 0, errors.New("archive begins at no multiple of 4")
		}
	}
	return s.records(a)
}

// records reads one archive up to its trailer.
func (s *scanner) records(a *archive) (n int, err error) {
	s.archives++
	for {
		e, checksum, err := a.next()
		if err != nil || e == nil {
			return n, err
		}
		if len(s.entries) == maxEntries {
			return n, fmt.Errorf("more than %d entries: %w", maxEntries, ErrLimit)
		}
		if s.names += len(e.Name) + len(e.Target); s.names > maxNameBytes {
			return n, fmt.Errorf("names have more than %d bytes: %w", maxNameBytes, ErrLimit)
		}
		if a.left < 0 {
			return n, fmt.Errorf("names and headers: %w", ErrLimit)
		}
		keep := e.Size <= maxKeptFile && s.kept+int64(e.Size) <= maxKeptBytes && interesting(e.clean())
		if err := a.content(e, checksum, keep); err != nil {
			return n, fmt.Errorf("%s: %w", e.Name, err)
		}
		s.kept += int64(len(e.data))
		e.segment, e.archive = len(s.segments), s.archives
		s.entries = append(s.entries, e)
		n++
	}
}

// interesting says which files are kept while scanning, because they will be asked
// for: configuration of module loading, indexes of modules, and what tells the
// generator.
func interesting(name string) bool {
	dir, base := path.Split(name)
	dir = path.Clean(dir)
	switch path.Base(dir) {
	case "modprobe.d", "modules-load.d":
		return true
	case "kerngate":
		return base == path.Base(markerPath)
	}
	switch name {
	case "/etc/os-release", "/usr/lib/os-release", "/etc/initrd-release", "/usr/lib/initrd-release", "/etc/modules", "/etc/modprobe.conf", "/conf/modules", "/config", "/etc/booster.init.yaml":
		return true
	}
	return strings.HasPrefix(base, "modules.") && path.Base(path.Dir(dir)) == "modules"
}
