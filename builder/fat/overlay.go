package fat

import (
	"fmt"
	"io"
	"maps"
	"slices"
)

// overlay holds what is to be written, by sector, above a volume that stays as it
// is. Reading it shows the volume as it will be.
type overlay struct {
	r       io.ReaderAt
	sector  int64
	sectors map[int64]overlaySector
}

type overlaySector struct {
	bytes []byte
	own   bool // else part of what was given to write, not to be changed
}

func newOverlay(r io.ReaderAt, sector int64) *overlay {
	return &overlay{r: r, sector: sector, sectors: map[int64]overlaySector{}}
}

// ReadAt implements [io.ReaderAt].
func (o *overlay) ReadAt(p []byte, off int64) (int, error) {
	n, err := o.r.ReadAt(p, off)
	for at := off / o.sector * o.sector; at < off+int64(n); at += o.sector {
		s, ok := o.sectors[at/o.sector]
		switch {
		case ok && at < off:
			copy(p[:n], s.bytes[off-at:])
		case ok:
			copy(p[at-off:n], s.bytes)
		}
	}
	return n, err
}

// write keeps p, which must not change any more.
func (o *overlay) write(p []byte, off int64) error {
	for len(p) > 0 {
		number, in := off/o.sector, off%o.sector
		n := min(int64(len(p)), o.sector-in)
		if n == o.sector {
			o.sectors[number] = overlaySector{bytes: p[:n:n]}
		} else {
			s, err := o.owned(number)
			if err != nil {
				return err
			}
			copy(s[in:], p[:n])
		}
		p, off = p[n:], off+n
	}
	return nil
}

// owned gives a sector to change in place.
func (o *overlay) owned(number int64) ([]byte, error) {
	s, ok := o.sectors[number]
	switch {
	case ok && s.own:
		return s.bytes, nil
	case ok:
		s.bytes = slices.Clone(s.bytes)
	default:
		s.bytes = make([]byte, o.sector)
		if err := readFull(o.r, s.bytes, number*o.sector); err != nil {
			return nil, err
		}
	}
	s.own = true
	o.sectors[number] = s
	return s.bytes, nil
}

// each calls do for every run of sectors that was written to, in order.
func (o *overlay) each(do func(offset, length int64)) {
	start, end := int64(0), int64(0)
	for _, number := range slices.Sorted(maps.Keys(o.sectors)) {
		if number*o.sector != end && end > start {
			do(start, end-start)
			start = number * o.sector
		} else if end == start {
			start = number * o.sector
		}
		end = (number + 1) * o.sector
	}
	if end > start {
		do(start, end-start)
	}
}

// flush writes everything to w, where the volume begins at byte offset, in order
// and in large pieces.
func (o *overlay) flush(w io.WriterAt, offset int64) (err error) {
	piece := make([]byte, copyBytes)
	o.each(func(start, length int64) {
		for at, end := start, start+length; at < end && err == nil; at += copyBytes {
			part := piece[:min(copyBytes, end-at)]
			if err = readFull(o, part, at); err != nil {
				return
			}
			if _, err = w.WriteAt(part, offset+at); err != nil {
				err = fmt.Errorf("cannot write %d bytes at %#x: %w", len(part), offset+at, err)
			}
		}
	})
	return err
}
