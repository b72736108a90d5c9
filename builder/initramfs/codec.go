package initramfs

import (
	"bufio"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// Codec is how a segment is compressed, by the kernel's name for it.
type Codec string

// The codecs that the kernel's lib/decompress.c knows and this package reads.
const (
	None  Codec = "none"
	Gzip  Codec = "gzip"
	Bzip2 Codec = "bzip2"
	LZMA  Codec = "lzma"
	XZ    Codec = "xz"
	LZ4   Codec = "lz4"
	Zstd  Codec = "zstd"
)

// codecOf tells a codec by the two bytes that the kernel looks at (compressed_formats
// in lib/decompress.c).
func codecOf(magic [2]byte) (Codec, error) {
	switch magic {
	case [2]byte{0x1f, 0x8b}, [2]byte{0x1f, 0x9e}:
		return Gzip, nil
	case [2]byte{'B', 'Z'}:
		return Bzip2, nil
	case [2]byte{0x5d, 0x00}:
		return LZMA, nil
	case [2]byte{0xfd, '7'}:
		return XZ, nil
	case [2]byte{0x02, 0x21}:
		return LZ4, nil
	case [2]byte{0x28, 0xb5}:
		return Zstd, nil
	case [2]byte{0x89, 0x4c}:
		return "", fmt.Errorf("LZO: %w", ErrUnsupported)
	}
	return "", fmt.Errorf("bytes are %#02x %#02x, want a cpio archive at a multiple of 4, zeros or a known compression", magic[0], magic[1])
}

// packed is a compressed segment while it is unpacked. The kernel takes one stream,
// frame or member of each codec for a segment and looks again behind it.
type packed struct {
	io.Reader
	end   func() int64 // byte behind the segment, once all of it was read
	close func()
}

// unpack opens the compressed segment that begins at byte at of an image of size
// bytes.
func unpack(r io.ReaderAt, at, size int64, codec Codec) (*packed, error) {
	// Where the stream's own structure tells its end, that is found first: these
	// decoders read ahead, or go on with the next stream.
	frames := map[Codec]func(io.ReaderAt, int64, int64) (int64, error){XZ: xzEnd, LZ4: lz4End, Zstd: zstdEnd}
	if find, ok := frames[codec]; ok {
		end, err := find(r, at, size)
		if err != nil {
			return nil, err
		}
		p, err := unpackFrame(io.NewSectionReader(r, at, end-at), codec)
		if err != nil {
			return nil, err
		}
		p.end = func() int64 { return end }
		return p, nil
	}
	// These read byte by byte and stop behind the last one.
	section := io.NewSectionReader(r, at, size-at)
	in := bufio.NewReaderSize(section, bufferBytes)
	p := &packed{close: func() {}}
	p.end = func() int64 {
		pos, _ := section.Seek(0, io.SeekCurrent) // cannot fail: it is a number in memory
		return at + pos - int64(in.Buffered())
	}
	switch codec {
	case Gzip:
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, err
		}
		z.Multistream(false)
		p.Reader = z
	case Bzip2:
		z := &bzip2Stream{Reader: bzip2.NewReader(in)}
		behind := p.end
		p.end = func() int64 { return behind() - z.ahead }
		p.Reader = z
	case LZMA:
		z, err := lzma.ReaderConfig{DictCap: maxWindow}.NewReader(in)
		if err != nil {
			return nil, err
		}
		p.Reader = z
	default:
		return nil, fmt.Errorf("%s: %w", codec, ErrUnsupported)
	}
	return p, nil
}

func unpackFrame(section *io.SectionReader, codec Codec) (*packed, error) {
	in := bufio.NewReaderSize(section, bufferBytes)
	switch codec {
	case XZ:
		z, err := xz.ReaderConfig{SingleStream: true}.NewReader(in)
		return &packed{Reader: z, close: func() {}}, err
	case LZ4:
		return &packed{Reader: &lz4Reader{in: in}, close: func() {}}, nil
	}
	// One goroutine: decoding in several was slower, and took more memory.
	z, err := zstd.NewReader(in, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return &packed{Reader: z, close: z.Close}, nil
}

// bzip2Stream ends where Go's reader, which goes on with the next stream, finds
// none.
type bzip2Stream struct {
	io.Reader
	ahead int64 // bytes read behind the stream
}

// noNextStream is what compress/bzip2 says of two bytes that are no magic.
const noNextStream = bzip2.StructuralError("bad magic value in continuation file")

func (b *bzip2Stream) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, noNextStream) {
		b.ahead = 2
		return n, io.EOF
	}
	return n, err
}
