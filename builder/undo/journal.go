package undo

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
)

const (
	headerMagic  = "KGUNDO\r\n" // its line ending breaks when a copy is made as text
	trailerMagic = "KGUNDO.\n"
	version      = 1

	headerSize  = 64
	extentSize  = 16 // without its bytes
	trailerSize = 40
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is the first part of a journal.
type header struct {
	extents  uint64
	size     int64 // of the image, in bytes
	identity [sha256.Size]byte
}

func (h header) encode() []byte {
	b := append(make([]byte, 0, headerSize), headerMagic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint64(b, h.extents)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.size))
	b = append(b, h.identity[:]...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeHeader(b []byte) (header, error) {
	if string(b[:8]) != headerMagic {
		return header{}, fmt.Errorf("magic is %q, want %q", b[:8], headerMagic)
	}
	sum, want := binary.LittleEndian.Uint32(b[60:]), crc32.Checksum(b[:60], castagnoli)
	if sum != want {
		return header{}, fmt.Errorf("checksum of the header is %08x, want %08x", sum, want)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		return header{}, fmt.Errorf("version is %d, want %d: use the kerngate that wrote it", v, version)
	}
	h := header{extents: binary.LittleEndian.Uint64(b[12:]), size: int64(binary.LittleEndian.Uint64(b[20:]))}
	copy(h.identity[:], b[28:60])
	return h, nil
}

// encodeExtent gives what stands before the bytes of an extent.
func encodeExtent(offset int64, data []byte) []byte {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, extentSize), uint64(offset))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	return binary.LittleEndian.AppendUint32(b, crc32.Update(crc32.Checksum(b, castagnoli), castagnoli, data))
}

// writeJournal makes the old bytes of ranges durable.
func (s Site) writeJournal(ctx context.Context, l layer, f file, ranges []Range) error {
	part := s.Journal + unfinished
	out, err := l.create(part)
	if err != nil {
		return err
	}
	err = errors.Join(fillJournal(ctx, out, f, ranges), out.Close())
	if err == nil {
		err = l.rename(part, s.Journal)
	}
	if err != nil {
		return errors.Join(err, l.remove(part))
	}
	if err := l.syncDir(s.Journal); err != nil {
		return errors.Join(err, l.remove(s.Journal))
	}
	return nil
}

func fillJournal(ctx context.Context, out, f file, ranges []Range) error {
	size, err := f.size()
	if err != nil {
		return err
	}
	h := header{size: size}
	if h.extents, err = checkRanges(ranges, size); err != nil {
		return err
	}
	ends, err := readEnds(f, size)
	if err != nil {
		return err
	}
	h.identity = ends.identity()
	sum := sha256.New()
	w := bufio.NewWriterSize(io.NewOffsetWriter(out, 0), chunk)
	both := io.MultiWriter(w, sum)
	both.Write(h.encode()) // w keeps its first error for Flush
	err = eachChunk(ranges, func(r Range, data []byte) error {
		if _, err := f.ReadAt(data, r.Offset); err != nil {
			return err
		}
		both.Write(encodeExtent(r.Offset, data))
		both.Write(data)
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	w.Write(trailer(sum))
	if err := w.Flush(); err != nil {
		return err
	}
	return out.Sync()
}

func trailer(sum hash.Hash) []byte { return sum.Sum([]byte(trailerMagic)) }

// ends are the first and the last MiB of an image, by which it is known.
type ends struct {
	head, tail []byte
	tailAt     int64
}

func readEnds(f io.ReaderAt, size int64) (*ends, error) {
	n := min(chunk, size)
	e := &ends{head: make([]byte, n), tail: make([]byte, n), tailAt: size - n}
	if n == 0 {
		return e, nil
	}
	if _, err := f.ReadAt(e.head, 0); err != nil {
		return nil, err
	}
	_, err := f.ReadAt(e.tail, e.tailAt)
	if errors.Is(err, io.EOF) { // ReaderAt may say so with the last byte
		err = nil
	}
	return e, err
}

// lay puts bytes that belong at offset over the ends.
func (e *ends) lay(offset int64, data []byte) {
	for _, part := range []struct {
		at    int64
		bytes []byte
	}{{0, e.head}, {e.tailAt, e.tail}} {
		from := max(offset, part.at)
		to := min(offset+int64(len(data)), part.at+int64(len(part.bytes)))
		if from < to {
			copy(part.bytes[from-part.at:to-part.at], data[from-offset:])
		}
	}
}

func (e *ends) identity() [sha256.Size]byte {
	sum := sha256.New()
	sum.Write(e.head)
	sum.Write(e.tail)
	return [sha256.Size]byte(sum.Sum(nil))
}
