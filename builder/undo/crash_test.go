package undo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// errCrash is what every operation meets from the crash on.
var errCrash = errors.New("the machine has stopped")

// fakeDisk is a file system in memory that keeps apart what was done and what is
// durable: a write is durable after Sync, a name after syncDir. It stops at a chosen
// operation, in the middle of it where that is a write.
type fakeDisk struct {
	names   map[string]*fakeInode
	durable map[string]*fakeInode
	nameOps []func(map[string]*fakeInode) // since the last syncDir
	stopAt  int                           // operation that does not happen; 0: none
	done    int
	log     []string
}

type fakeInode struct {
	data   []byte
	synced []byte
	writes []fakeWrite // since the last Sync
}

type fakeWrite struct {
	at   int64
	data []byte
}

func newFakeDisk(name string, data []byte) *fakeDisk {
	inode := &fakeInode{data: slices.Clone(data), synced: slices.Clone(data)}
	return &fakeDisk{names: map[string]*fakeInode{name: inode}, durable: map[string]*fakeInode{name: inode}}
}

// step counts an operation that changes something, and stops at the chosen one.
func (d *fakeDisk) step(format string, args ...any) error {
	if d.stopAt != 0 && d.done >= d.stopAt-1 {
		return errCrash
	}
	d.done++
	d.log = append(d.log, fmt.Sprintf(format, args...))
	return nil
}

func (d *fakeDisk) crashed() bool { return d.stopAt != 0 && d.done >= d.stopAt-1 }

func (d *fakeDisk) nameOp(op func(map[string]*fakeInode)) {
	op(d.names)
	d.nameOps = append(d.nameOps, op)
}

func (d *fakeDisk) create(name string) (file, error) {
	if err := d.step("create %s", name); err != nil {
		return nil, err
	}
	inode := &fakeInode{}
	d.nameOp(func(names map[string]*fakeInode) { names[name] = inode })
	return &fakeFile{d, inode, name}, nil
}

func (d *fakeDisk) open(name string, _ bool) (file, error) {
	inode, ok := d.names[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return &fakeFile{d, inode, name}, nil
}

func (d *fakeDisk) rename(from, to string) error {
	if err := d.step("rename %s", to); err != nil {
		return err
	}
	inode := d.names[from]
	d.nameOp(func(names map[string]*fakeInode) { delete(names, from); names[to] = inode })
	return nil
}

func (d *fakeDisk) remove(name string) error {
	if _, ok := d.names[name]; !ok {
		return fs.ErrNotExist
	}
	if err := d.step("remove %s", name); err != nil {
		return err
	}
	d.nameOp(func(names map[string]*fakeInode) { delete(names, name) })
	return nil
}

func (d *fakeDisk) syncDir(string) error {
	if err := d.step("sync directory"); err != nil {
		return err
	}
	d.durable, d.nameOps = maps.Clone(d.names), nil
	return nil
}

type fakeFile struct {
	disk  *fakeDisk
	inode *fakeInode
	name  string
}

func (f *fakeFile) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(f.inode.data).ReadAt(p, off)
}

func (f *fakeFile) WriteAt(p []byte, off int64) (int, error) {
	before := f.disk.crashed()
	err := f.disk.step("write %d bytes of %s at %d", len(p), f.name, off)
	if before {
		return 0, err
	}
	// The write that the crash interrupts was on its way.
	f.inode.writes = append(f.inode.writes, fakeWrite{off, slices.Clone(p)})
	f.inode.data = patched(f.inode.data, p, off)
	return len(p), err
}

func patched(data, p []byte, off int64) []byte {
	if need := int(off) + len(p); need > len(data) {
		data = append(data, make([]byte, need-len(data))...)
	}
	copy(data[off:], p)
	return data
}

func (f *fakeFile) Sync() error {
	if err := f.disk.step("sync %s", f.name); err != nil {
		return err
	}
	f.inode.synced, f.inode.writes = slices.Clone(f.inode.data), nil
	return nil
}

func (f *fakeFile) Close() error         { return nil }
func (f *fakeFile) size() (int64, error) { return int64(len(f.inode.data)), nil }

// reboot gives the disk as it may be after a crash: luck decides what of the things
// not made durable got there. A write may get there in part, sector by sector.
func (d *fakeDisk) reboot(luck func() bool) *fakeDisk {
	names := maps.Clone(d.durable)
	for _, op := range d.nameOps {
		if !luck() {
			break // names change in order
		}
		op(names)
	}
	after := &fakeDisk{names: map[string]*fakeInode{}, durable: map[string]*fakeInode{}}
	for name, inode := range names {
		data := slices.Clone(inode.synced)
		if len(inode.data) > len(data) && luck() { // the size came before the content
			data = append(data, make([]byte, len(inode.data)-len(data))...)
		}
		for _, w := range inode.writes {
			for at := 0; at < len(w.data); at += 512 {
				if luck() {
					data = patched(data, w.data[at:min(at+512, len(w.data))], w.at+int64(at))
				}
			}
		}
		kept := &fakeInode{data: data, synced: slices.Clone(data)}
		after.names[name], after.durable[name] = kept, kept
	}
	return after
}

// lucks are what may have got to the disk: nothing, all, and chance.
func lucks(seed uint64) map[string]func() bool {
	all := map[string]func() bool{"nothing": func() bool { return false }, "all": func() bool { return true }}
	for i := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, i))
		all[fmt.Sprintf("chance %d", i)] = func() bool { return r.IntN(2) == 0 }
	}
	return all
}

// pattern gives bytes by which a wrong place is noticed.
func pattern(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 99))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// crashCase is a change with writes at both ends of the image, of sectors and of
// more than a chunk.
func crashCase() (before, after []byte, ranges []Range) {
	before, next := pattern(3*chunk, 1), pattern(3*chunk, 2)
	after = slices.Clone(before)
	ranges = []Range{{0, 4096}, {8192, 512}, {chunk - 4096, chunk + 8192}, {3*chunk - 4096, 4096}}
	for _, r := range ranges {
		copy(after[r.Offset:], next[r.Offset:r.Offset+r.Length])
	}
	return before, after, ranges
}

// TestEveryCrashPoint stops a change at each operation, in every way that is thought
// of, then stops the recovery at each of its operations, and lets it run again.
func TestEveryCrashPoint(t *testing.T) {
	before, after, ranges := crashCase()
	clean := newFakeDisk("disk", before)
	if err := Beside("disk").apply(t.Context(), clean, ranges, bytes.NewReader(after), nil); err != nil {
		t.Fatal(err)
	}
	outcomes, crashes := map[string]int{}, 0
	for stop := 1; stop <= clean.done+1; stop++ {
		for name, luck := range lucks(uint64(stop)) {
			d := newFakeDisk("disk", before)
			d.stopAt = stop
			err := Beside("disk").apply(t.Context(), d, ranges, bytes.NewReader(after), nil)
			if finished := stop == clean.done+1; finished != (err == nil) {
				t.Fatalf("stopped at operation %d of %d: error is %v", stop, clean.done, err)
			}
			crashes++
			at := fmt.Sprintf("crash at operation %d, %s got to the disk", stop, name)
			got := recoverThroughCrashes(t, at, d.reboot(luck), luck)
			switch {
			case bytes.Equal(got, before) && err != nil:
				outcomes["as before"]++
			case bytes.Equal(got, after):
				outcomes["as after"]++
			default:
				t.Errorf("%s: after recovery the image is neither as before nor as after (finished: %t)\n%v", at, err == nil, d.log)
			}
		}
	}
	t.Logf("%d crashes over %d operations: %v", crashes, clean.done, outcomes)
	if clean.done < 12 || outcomes["as before"] == 0 || outcomes["as after"] == 0 {
		t.Errorf("operations are %d, outcomes %v, want at least 12 and both outcomes", clean.done, outcomes)
	}
}

// recoverThroughCrashes stops the recovery at each of its operations, one after the
// other, and gives the image at last.
func recoverThroughCrashes(t *testing.T, at string, d *fakeDisk, luck func() bool) []byte {
	t.Helper()
	for stop := 1; stop < 100; stop++ {
		d.done, d.stopAt = 0, stop
		_, err := Beside("disk").recover(d)
		if err == nil {
			if len(d.names) != 1 {
				t.Errorf("%s: after recovery the directory holds %v", at, slices.Collect(maps.Keys(d.names)))
			}
			return d.names["disk"].data
		}
		if !errors.Is(err, errCrash) {
			t.Fatalf("%s: recovery: %v", at, err)
		}
		d = d.reboot(luck)
	}
	t.Fatalf("%s: recovery does not end", at)
	return nil
}

// faultyDisk meets one error, as a full or a broken disk does, and lives on.
type faultyDisk struct {
	*fakeDisk
	failAt int
}

var errFault = errors.New("no space left")

func (d *faultyDisk) fails() bool { return d.done+1 == d.failAt }

func (d *faultyDisk) fail() error {
	d.done++
	return errFault
}

func (d *faultyDisk) create(name string) (file, error) {
	if d.fails() {
		return nil, d.fail()
	}
	f, err := d.fakeDisk.create(name)
	return &faultyFile{d, f}, err
}

func (d *faultyDisk) open(name string, write bool) (file, error) {
	f, err := d.fakeDisk.open(name, write)
	return &faultyFile{d, f}, err
}

func (d *faultyDisk) rename(from, to string) error {
	if d.fails() {
		return d.fail()
	}
	return d.fakeDisk.rename(from, to)
}

func (d *faultyDisk) syncDir(name string) error {
	if d.fails() {
		return d.fail()
	}
	return d.fakeDisk.syncDir(name)
}

type faultyFile struct {
	disk *faultyDisk
	file
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if f.disk.fails() {
		n, _ := f.file.WriteAt(p[:len(p)/2], off)
		return n, errFault
	}
	return f.file.WriteAt(p, off)
}

func (f *faultyFile) Sync() error {
	if f.disk.fails() {
		return f.disk.fail()
	}
	return f.file.Sync()
}

// TestEveryFault lets each operation meet an error once: the image is then as before
// or, where only the journal's end went wrong, still has its journal.
func TestEveryFault(t *testing.T) {
	before, after, ranges := crashCase()
	clean := newFakeDisk("disk", before)
	if err := Beside("disk").apply(t.Context(), clean, ranges, bytes.NewReader(after), nil); err != nil {
		t.Fatal(err)
	}
	for at := 1; at <= clean.done; at++ {
		d := &faultyDisk{newFakeDisk("disk", before), at}
		err := Beside("disk").apply(t.Context(), d, ranges, bytes.NewReader(after), nil)
		var left *StillThereError
		switch {
		case bytes.HasPrefix([]byte(clean.log[at-1]), []byte("remove")):
			continue // is not made to fail
		case !errors.Is(err, errFault):
			t.Errorf("fault at %q: error is %v", clean.log[at-1], err)
		case errors.As(err, &left):
			if at != clean.done {
				t.Errorf("fault at %q: %v, want it taken back", clean.log[at-1], err)
			}
		case !bytes.Equal(d.names["disk"].data, before) || len(d.names) != 1:
			t.Errorf("fault at %q: the image was changed, or the directory holds %v", clean.log[at-1], slices.Collect(maps.Keys(d.names)))
		}
	}
}

func TestCheckThatFailsTakesBack(t *testing.T) {
	before, after, ranges := crashCase()
	d, no := newFakeDisk("disk", before), errors.New("no")
	looked := false
	err := Beside("disk").apply(t.Context(), d, ranges, bytes.NewReader(after), func() error {
		looked = bytes.Equal(d.names["disk"].synced, after)
		return no
	})
	if !errors.Is(err, no) || !looked || !bytes.Equal(d.names["disk"].synced, before) || len(d.names) != 1 {
		t.Errorf("error is %v, want no; check saw the change: %t; names %d", err, looked, len(d.names))
	}
}

func TestShortSource(t *testing.T) {
	before, after, ranges := crashCase()
	d := newFakeDisk("disk", before)
	err := Beside("disk").apply(t.Context(), d, ranges, bytes.NewReader(after[:2*chunk]), nil)
	if !errors.Is(err, io.EOF) || !bytes.Equal(d.names["disk"].data, before) {
		t.Errorf("error is %v, want end of file and the image as before", err)
	}
}
