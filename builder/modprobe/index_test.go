package modprobe

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// realTries gives the binary indexes that depmod wrote.
func realTries(t testing.TB) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob("testdata/index/*/*.bin")
	if err != nil || len(names) != 5 {
		t.Fatalf("binary indexes are %q, %v, want five", names, err)
	}
	out := map[string][]byte{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = data
	}
	return out
}

// TestTrieAsDepmod reads what depmod wrote and writes it again, byte for byte.
func TestTrieAsDepmod(t *testing.T) {
	for name, data := range realTries(t) {
		entries, placed, err := parseTrie(data)
		if err != nil || len(entries) < 10 || placed != childrenFirst {
			t.Errorf("%s: %d entries, order %v, %v, want many as kmod 30 places them", name, len(entries), placed, err)
			continue
		}
		again, err := writeTrie(entries, placed)
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("%s: written again it is %d bytes, %v, want the same %d", name, len(again), err, len(data))
		}
		other, err := writeTrie(entries, parentsFirst)
		if err != nil {
			t.Fatal(err)
		}
		if back, placed, err := parseTrie(other); err != nil || placed != parentsFirst || !slices.Equal(back, entries) {
			t.Errorf("%s: as kmod 34 places nodes it does not read back: order %v, %v", name, placed, err)
		}
	}
}

// TestTrieHasText compares both forms of one index.
func TestTrieHasText(t *testing.T) {
	for name, data := range realTries(t) {
		text, err := os.ReadFile(strings.TrimSuffix(name, ".bin"))
		if err != nil || !strings.Contains(name, "modules.dep") {
			continue
		}
		entries, _, err := parseTrie(data)
		if err != nil {
			t.Fatal(err)
		}
		want := depEntries(text)
		slices.SortFunc(want, func(a, b entry) int { return strings.Compare(a.key, b.key) })
		if !slices.Equal(entries, want) {
			t.Errorf("%s: %d entries, the text has %d, or others", name, len(entries), len(want))
		}
	}
}

func TestTrieRefuses(t *testing.T) {
	head := "\xb0\x07\xf4\x57\x00\x02\x00\x01"
	for _, c := range []struct{ name, data, want string }{
		{"short", head, "size is 8 bytes"},
		{"magic", "\xb0\x07\xfa\x57\x00\x02\x00\x01\x00\x00\x00\x0c", "magic is b007fa57"},
		{"version", "\xb0\x07\xf4\x57\x00\x03\x00\x01\x00\x00\x00\x0c", "version is 3"},
		{"root outside", head + "\x80\x00\x00\x0c", "node at byte 12"},
		{"root in the header", head + "\x80\x00\x00\x04", "node at byte 4"},
		{"no end of prefix", head + "\x80\x00\x00\x0cabc", "ends inside a node"},
		{"children backwards", head + "\x20\x00\x00\x0cba", "children from 98 to 97"},
		{"no ASCII", head + "\x20\x00\x00\x0ca\x80", "children from 97 to 128"},
		{"no ASCII in a prefix", head + "\x80\x00\x00\x0ca\xe4\x00", "has the byte 0xe4"},
		{"cut children", head + "\x20\x00\x00\x0caa\x00", "ends inside a node"},
		{"cycle", head + "\x20\x00\x00\x0caa\x20\x00\x00\x0c", "limits are"},
		{"endless values", head + "\x40\x00\x00\x0c\xff\xff\xff\xff", "ends inside a node"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, _, err := parseTrie([]byte(c.data)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	bomb := []byte(head + "\x20\x00\x00\x0c\x01\x7f") // every letter leads back to the root
	for range 127 {
		bomb = append(bomb, 0x20, 0, 0, 0x0c)
	}
	if _, _, err := parseTrie(bomb); err == nil {
		t.Error("a node that is its own children was read")
	}
}

// FuzzTrie: what is read can be written and reads the same.
func FuzzTrie(f *testing.F) {
	for name, data := range realTries(f) {
		if entries, _, err := parseTrie(data); err != nil || len(entries) == 0 {
			f.Fatalf("seed %s: %d entries, %v", name, len(entries), err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, placed, err := parseTrie(data)
		if err != nil {
			return
		}
		if !slices.IsSortedFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) }) {
			return // one node may stand under two letters only in files that nobody wrote
		}
		again, err := writeTrie(entries, placed)
		if err != nil {
			t.Fatal(err)
		}
		if back, _, err := parseTrie(again); err != nil || !slices.Equal(back, entries) {
			t.Errorf("%d entries, read back %d, %v", len(entries), len(back), err)
		}
	})
}
