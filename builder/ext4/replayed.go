package ext4

import (
	"encoding/binary"
	"fmt"
	"io"
)

// OpenReplayed is Open for the tree as it will be once the journal is replayed, which
// happens in memory: blocks that wait in the journal are read from there. Where none
// waits it is Open. What cannot be replayed, fast commits and journals on other
// devices, is an [UnsupportedError]; a journal that the kernel would refuse is a
// [CorruptError].
func OpenReplayed(r io.ReaderAt, size int64) (*FS, error) {
	sb, err := readSuperblock(r, size)
	if err != nil {
		return nil, err
	}
	if sb.incompat&incompatRecover == 0 {
		return Open(r, size)
	}
	j, err := openJournal(newFS(r, size, sb))
	if err != nil {
		return nil, fmt.Errorf("cannot replay the journal: %w", err)
	}
	blocks, err := j.recover()
	if err != nil {
		return nil, fmt.Errorf("cannot replay the journal: %w", err)
	}
	f, err := Open(&replayedReader{r, sb.BlockSize, blocks}, size)
	if err != nil {
		return nil, err
	}
	f.replayed = true
	return f, nil
}

// replayedReader is an image as it will be with the blocks of its log in place.
type replayedReader struct {
	r         io.ReaderAt
	blockSize int64
	blocks    map[uint64]logged
}

// ReadAt implements [io.ReaderAt].
func (v *replayedReader) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		at := off + int64(done)
		part := p[done:]
		copied, waits := v.blocks[uint64(at/v.blockSize)]
		from := at
		if waits {
			within := at % v.blockSize
			part = part[:min(int64(len(part)), v.blockSize-within)]
			from = int64(copied.block)*v.blockSize + within
		} else {
			part = part[:v.untouched(at, int64(len(part)))]
		}
		n, err := v.r.ReadAt(part, from)
		if copied.escaped {
			unescape(part[:n], at%v.blockSize)
		}
		done += n
		if n < len(part) {
			return done, err
		}
	}
	return done, nil
}

// untouched gives how many of length bytes from at on are in no block that waits.
func (v *replayedReader) untouched(at, length int64) int64 {
	end := at + v.blockSize - at%v.blockSize
	for end < at+length {
		if _, waits := v.blocks[uint64(end/v.blockSize)]; waits {
			break
		}
		end += v.blockSize
	}
	return min(end-at, length)
}

// unescape puts the journal's magic number back, which would look like a part of the
// log itself; part begins at a byte of its block.
func unescape(part []byte, within int64) {
	if magic := binary.BigEndian.AppendUint32(nil, journalMagic); within < int64(len(magic)) {
		copy(part, magic[within:])
	}
}
