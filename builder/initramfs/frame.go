package initramfs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// readAt fills p; an image that ends before is truncated.
func readAt(r io.ReaderAt, p []byte, at int64) error {
	n, err := r.ReadAt(p, at)
	switch {
	case n == len(p):
		return nil
	case errors.Is(err, io.EOF):
		return fmt.Errorf("compressed data at byte %#x: %w", at, ErrTruncated)
	default:
		return err
	}
}

// zstdEnd walks the blocks of one frame (RFC 8878, section 3.1.1).
func zstdEnd(r io.ReaderAt, at, size int64) (int64, error) {
	head := make([]byte, min(zstd.HeaderMaxSize, size-at))
	if err := readAt(r, head, at); err != nil {
		return 0, err
	}
	var h zstd.Header
	if err := h.Decode(head); err != nil {
		return 0, err
	}
	if h.Skippable {
		return 0, fmt.Errorf("skippable frame: %w", ErrUnsupported)
	}
	window := h.WindowSize
	if h.SingleSegment {
		window = h.FrameContentSize
	}
	if window > maxWindow {
		return 0, fmt.Errorf("window is %d bytes, the kernel's limit is %d: %w", window, maxWindow, ErrLimit)
	}
	const rle, reserved = 1, 3
	pos := at + int64(h.HeaderSize)
	for last := false; !last; {
		var raw [4]byte
		if err := readAt(r, raw[:3], pos); err != nil {
			return 0, err
		}
		block := binary.LittleEndian.Uint32(raw[:])
		last = block&1 != 0
		length := int64(block >> 3)
		switch block >> 1 & 3 {
		case rle:
			length = 1
		case reserved:
			return 0, fmt.Errorf("block at byte %#x has the reserved type", pos)
		}
		pos += 3 + length
	}
	if h.HasCheckSum {
		pos += 4
	}
	return within(pos, size)
}

func within(end, size int64) (int64, error) {
	if end > size {
		return 0, fmt.Errorf("compressed data goes on to byte %#x, image has %#x: %w", end, size, ErrTruncated)
	}
	return end, nil
}

// lz4Magic begins the legacy frame, the only one that the kernel knows.
const lz4Magic = 0x184C2102

// lz4End walks the blocks of legacy frames as unlz4 in lib/decompress_unlz4.c: up to
// a block of no bytes, or the end of the image.
func lz4End(r io.ReaderAt, at, size int64) (int64, error) {
	var word [4]byte
	for pos, first := at, true; ; first = false {
		if size-pos < 4 && !first {
			return pos, nil
		}
		if err := readAt(r, word[:], pos); err != nil {
			return 0, err
		}
		n := binary.LittleEndian.Uint32(word[:])
		switch {
		case n == lz4Magic:
			pos += 4
			continue
		case first:
			return 0, fmt.Errorf("magic is %#x, want %#x", n, lz4Magic)
		case n == 0:
			return pos, nil
		case int64(n) > int64(lz4.CompressBlockBound(lz4Block)):
			return 0, fmt.Errorf("block at byte %#x has %d bytes, more than %d can become: other data follows without four zero bytes between, or the image is damaged", pos, n, lz4Block)
		}
		end, err := within(pos+4+int64(n), size)
		if err != nil {
			return 0, err
		}
		pos = end
	}
}

// lz4Reader unpacks what lz4End has measured.
type lz4Reader struct {
	in        io.Reader
	packed    []byte
	block     []byte
	remaining []byte
}

func (l *lz4Reader) Read(p []byte) (int, error) {
	for len(l.remaining) == 0 {
		var word [4]byte
		if _, err := io.ReadFull(l.in, word[:]); err != nil {
			return 0, io.EOF // up to three bytes that are no block
		}
		n := binary.LittleEndian.Uint32(word[:])
		if n == lz4Magic {
			continue
		}
		if l.block == nil {
			l.block = make([]byte, lz4Block)
			l.packed = make([]byte, lz4.CompressBlockBound(lz4Block))
		}
		if _, err := io.ReadFull(l.in, l.packed[:n]); err != nil {
			return 0, err
		}
		got, err := lz4.UncompressBlock(l.packed[:n], l.block)
		if err != nil {
			return 0, err
		}
		l.remaining = l.block[:got]
	}
	n := copy(p, l.remaining)
	l.remaining = l.remaining[n:]
	return n, nil
}

// Parts of an xz stream (The .xz File Format 1.2.1, sections 2 and 3).
const (
	xzHeaderBytes  = 12
	xzFooterBytes  = 12
	xzFilterLZMA2  = 0x21
	xzMaxDict      = 40 // encoded dictionary size that stands for 4 GiB - 1
	xzMaxIndex     = 64 << 20
	xzCheckNone    = 0
	xzCheckCRC32   = 1
	xzCheckCRC64   = 4
	xzCheckSHA256  = 10
	xzHasPacked    = 0x40
	xzHasUnpacked  = 0x80
	xzFilterCount  = 0x03
	xzReservedBits = 0x3c
)

// xzEnd walks the blocks of one stream and the chunks in them, and refuses what the
// kernel's decoder lacks.
func xzEnd(r io.ReaderAt, at, size int64) (int64, error) {
	var head [xzHeaderBytes]byte
	if err := readAt(r, head[:], at); err != nil {
		return 0, err
	}
	if !bytes.Equal(head[:6], []byte("\xfd7zXZ\x00")) || head[6] != 0 {
		return 0, fmt.Errorf("xz header is %x", head)
	}
	var check int64
	switch head[7] {
	case xzCheckNone:
	case xzCheckCRC32:
		check = 4
	case xzCheckCRC64:
		return 0, fmt.Errorf("check is CRC64, the kernel knows CRC32 only: %w", ErrUnsupported)
	case xzCheckSHA256:
		return 0, fmt.Errorf("check is SHA-256, the kernel knows CRC32 only: %w", ErrUnsupported)
	default:
		return 0, fmt.Errorf("check is number %d: %w", head[7], ErrUnsupported)
	}
	pos := at + xzHeaderBytes
	for {
		var first [1]byte
		if err := readAt(r, first[:], pos); err != nil {
			return 0, err
		}
		if first[0] == 0 {
			return xzIndexEnd(r, pos, size)
		}
		start := pos
		pos += (int64(first[0]) + 1) * 4
		if err := xzBlockHeader(r, start, pos-start); err != nil {
			return 0, err
		}
		end, err := lzma2End(r, pos)
		if err != nil {
			return 0, err
		}
		pos = end + (start-end)&3 + check
	}
}

// xzBlockHeader takes blocks with the one filter that we unpack.
func xzBlockHeader(r io.ReaderAt, at, length int64) error {
	raw := make([]byte, length)
	if err := readAt(r, raw, at); err != nil {
		return err
	}
	body := raw[:length-4]
	if got, want := crc32.ChecksumIEEE(body), binary.LittleEndian.Uint32(raw[length-4:]); got != want {
		return fmt.Errorf("xz block header at byte %#x: checksum is %08x, want %08x", at, got, want)
	}
	flags := body[1]
	if flags&xzReservedBits != 0 || flags&xzFilterCount != 0 {
		return fmt.Errorf("xz block at byte %#x has flags %#x, filters other than LZMA2: %w", at, flags, ErrUnsupported)
	}
	rest := body[2:]
	for _, bit := range []byte{xzHasPacked, xzHasUnpacked} {
		if flags&bit == 0 {
			continue
		}
		_, n := binary.Uvarint(rest)
		if n <= 0 {
			return fmt.Errorf("xz block header at byte %#x has a bad size", at)
		}
		rest = rest[n:]
	}
	if len(rest) < 3 || rest[0] != xzFilterLZMA2 || rest[1] != 1 || rest[2] > xzMaxDict {
		return fmt.Errorf("xz block at byte %#x has a filter other than LZMA2: %w", at, ErrUnsupported)
	}
	if dict := int64(2|rest[2]&1) << (rest[2]/2 + 11); dict > maxWindow {
		return fmt.Errorf("dictionary is %d bytes, limit is %d: %w", dict, maxWindow, ErrLimit)
	}
	return nil
}

// lzma2End walks chunks: a control byte, sizes, data.
func lzma2End(r io.ReaderAt, pos int64) (int64, error) {
	const packedFrom, propsFrom, stored = 0x80, 0xc0, 2
	for {
		var c [6]byte
		if err := readAt(r, c[:1], pos); err != nil {
			return 0, err
		}
		header := int64(3)
		switch {
		case c[0] == 0:
			return pos + 1, nil
		case c[0] >= propsFrom:
			header = 6
		case c[0] >= packedFrom:
			header = 5
		case c[0] > stored:
			return 0, fmt.Errorf("LZMA2 chunk at byte %#x has control byte %#02x", pos, c[0])
		}
		if err := readAt(r, c[1:header], pos+1); err != nil {
			return 0, err
		}
		length := c[1:3]
		if header > 3 {
			length = c[3:5]
		}
		pos += header + int64(binary.BigEndian.Uint16(length)) + 1
	}
}

// xzIndexEnd skips the index at byte at, whose length is told by the numbers in it,
// and the footer behind it.
func xzIndexEnd(r io.ReaderAt, at, size int64) (int64, error) {
	section := io.NewSectionReader(r, at+1, min(size-at-1, xzMaxIndex))
	in := bufio.NewReader(section)
	records, err := binary.ReadUvarint(in)
	for i := uint64(0); i < records && err == nil; i++ {
		if _, err = binary.ReadUvarint(in); err == nil {
			_, err = binary.ReadUvarint(in)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("xz index at byte %#x: %w", at, ErrTruncated)
	}
	pos, _ := section.Seek(0, io.SeekCurrent) // cannot fail: it is a number in memory
	length := 1 + pos - int64(in.Buffered())
	const checksum = 4
	return within(at+(length+3)&^3+checksum+xzFooterBytes, size)
}
