package initramfs

import (
	"bytes"
	"testing"
)

// fuzzBytes bounds one input: what matters fits into less.
const fuzzBytes = 64 << 10

// FuzzOpen looks for crashes, and for images that are read one way and then another:
// whatever opens can be listed and walked, and where a block can be put in, it holds.
func FuzzOpen(f *testing.F) {
	small := []record{dir("."), dir("lib"), dir("lib/modules"), dir("lib/modules/6"), file("lib/modules/6/esp4.ko", "module"), symlink("l", "lib"), linked("1", ""), linked("2", "both")}
	main := newc(small...)
	for _, c := range compressors {
		for _, seed := range [][]byte{compress(f, c.codec, main), append(microcode(), compress(f, c.codec, main)...), appendTo(f, compress(f, c.codec, main), wanted())} {
			open(f, seed)
			f.Add(seed)
		}
	}
	f.Fuzz(func(t *testing.T, image []byte) {
		if len(image) > fuzzBytes {
			return
		}
		img, err := Open(bytes.NewReader(image), int64(len(image)))
		if err != nil {
			return
		}
		end := int64(0)
		for _, s := range img.Segments {
			if s.Offset < end || s.Size <= 0 || s.end() > int64(len(image)) {
				t.Fatalf("segments are %v, image has %d bytes", img.Segments, len(image))
			}
			end = s.end()
		}
		if _, err := img.Facts(); err != nil {
			return
		}
		keep, data, err := Block(img, wanted())
		if err != nil {
			return
		}
		blocked := append(bytes.Clone(image[:keep]), data...)
		again, err := Open(bytes.NewReader(blocked), int64(len(blocked)))
		if err != nil {
			t.Fatalf("a blocked image does not open: %v", err)
		}
		if err := Check(again, wanted()); err != nil {
			t.Fatalf("a blocked image does not hold: %v", err)
		}
	})
}

// FuzzFrames looks for crashes and endless loops in what finds the end of a
// compressed stream.
func FuzzFrames(f *testing.F) {
	ends := map[Codec]func([]byte) (int64, error){
		XZ:   func(b []byte) (int64, error) { return xzEnd(bytes.NewReader(b), 0, int64(len(b))) },
		LZ4:  func(b []byte) (int64, error) { return lz4End(bytes.NewReader(b), 0, int64(len(b))) },
		Zstd: func(b []byte) (int64, error) { return zstdEnd(bytes.NewReader(b), 0, int64(len(b))) },
	}
	for codec, end := range ends {
		seed := compress(f, codec, newc(mainRecords()...))
		if got, err := end(seed); err != nil || got != int64(len(seed)) {
			f.Fatalf("%s: end is %d, %v, want %d", codec, got, err, len(seed))
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > fuzzBytes {
			return
		}
		for codec, end := range ends {
			if got, err := end(b); err == nil && got > int64(len(b)) {
				t.Errorf("%s: end is %d of %d", codec, got, len(b))
			}
		}
	})
}

// FuzzAddToList looks for lists that lose or double a word.
func FuzzAddToList(f *testing.F) {
	for _, seed := range []string{"", "modules: a,b\n", "strip: true\nmodules: -*,x", "modules: -esp4\r\nx: y\r\n"} {
		if _, err := addToList([]byte(seed), "modules", []string{"-esp4"}); err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		once, err := addToList([]byte(text), "modules", []string{"-esp4", "-esp6"})
		if err != nil {
			return
		}
		if twice, err := addToList(once, "modules", []string{"-esp4", "-esp6"}); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("once %q, twice %q, %v", once, twice, err)
		}
	})
}
