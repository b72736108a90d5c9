package fat

import (
	"slices"
)

// clustersOf gives all clusters that an entry has; check has seen that they end.
func (ed *editor) clustersOf(e *entry) ([]uint32, error) {
	if e.cluster == 0 {
		return nil, nil
	}
	return ed.fat.chain(e.cluster, int64(ed.Clusters))
}

// resize makes a chain count clusters long: it keeps those at its beginning, frees
// the others, or adds the lowest free ones.
func (ed *editor) resize(clusters []uint32, count int64) ([]uint32, error) {
	if add := count - int64(len(clusters)); add > int64(ed.free) {
		return nil, &NoSpaceError{Resource: "clusters", Got: uint64(ed.free), Want: uint64(add)}
	}
	if keep := min(count, int64(len(clusters))); keep < int64(len(clusters)) {
		for _, n := range clusters[keep:] {
			if err := ed.fat.set(n, markFree); err != nil {
				return nil, err
			}
			ed.free++
			ed.scan = min(ed.scan, n)
			if ed.scan == 0 {
				ed.scan = n
			}
		}
		clusters = clusters[:keep]
	}
	for int64(len(clusters)) < count {
		n, err := ed.take()
		if err != nil {
			return nil, err
		}
		if len(clusters) > 0 {
			if err := ed.fat.set(clusters[len(clusters)-1], n); err != nil {
				return nil, err
			}
		}
		clusters = append(clusters, n)
	}
	if len(clusters) == 0 {
		return nil, nil
	}
	return clusters, ed.fat.set(clusters[len(clusters)-1], markEnd)
}

// take marks the lowest free cluster as used; there is one.
func (ed *editor) take() (uint32, error) {
	for n := ed.scan; ; n++ {
		if !ed.isCluster(n) {
			return 0, &NoSpaceError{Resource: "clusters", Got: 0, Want: 1}
		}
		v, err := ed.fat.get(n)
		if err != nil {
			return 0, err
		}
		if v == markFree {
			ed.free--
			ed.scan = n + 1
			return n, ed.fat.set(n, markEnd)
		}
	}
}

// fill writes data into clusters, from byte keep of them on, and zeros after it.
func (ed *editor) fill(clusters []uint32, keep int64, data []byte) error {
	in := keep % ed.ClusterSize
	for _, n := range clusters[min(keep/ed.ClusterSize, int64(len(clusters))):] {
		room := ed.ClusterSize - in
		part := data[:min(int64(len(data)), room)]
		data = data[len(part):]
		if int64(len(part)) < room {
			part = append(slices.Clone(part), make([]byte, room-int64(len(part)))...)
		}
		if err := ed.over.write(part, ed.clusterByte(n)+in); err != nil {
			return err
		}
		in = 0
	}
	return nil
}

func (ed *editor) writeSlot(d *directory, slot int, raw [slotBytes]byte) error {
	copy(d.raw[slot*slotBytes:], raw[:])
	return ed.over.write(raw[:], ed.byteAt(d, slot))
}

// insert puts a new name into a directory: raw has all but the name.
func (ed *editor) insert(d *directory, name string, raw [slotBytes]byte) error {
	short, whole, err := alias(name, func(s string) bool { _, ok := d.folded[fold(s)]; return ok })
	if err != nil {
		return err
	}
	copy(raw[:], short[:])
	slots := [][slotBytes]byte{raw}
	if !whole {
		slots = append(longSlots(name, short), raw)
	}
	at, err := ed.room(d, len(slots))
	if err != nil {
		return err
	}
	for i, s := range slots {
		if err := ed.writeSlot(d, at+i, s); err != nil {
			return err
		}
	}
	// What follows the end mark may be anything: the mark moves on.
	if end := at + len(slots); end > d.end && end*slotBytes < len(d.raw) {
		return ed.writeSlot(d, end, [slotBytes]byte{})
	}
	return nil
}

// room finds count neighbouring slots that are free, and makes the directory longer
// where it has none.
func (ed *editor) room(d *directory, count int) (int, error) {
	run, slots := 0, len(d.raw)/slotBytes
	for i := range slots {
		if i < d.end && d.raw[i*slotBytes] != deletedSlot {
			run = 0
		} else if run++; run == count {
			return i + 1 - count, nil
		}
	}
	at := slots - run
	if len(d.clusters) == 0 {
		return 0, &NoSpaceError{Resource: "entries of the root directory", Got: uint64(run), Want: uint64(count)}
	}
	want := ed.clustersFor(int64(at+count) * slotBytes)
	if want*ed.ClusterSize > maxDirSlots*slotBytes {
		return 0, &NoSpaceError{Resource: "entries of a directory", Got: uint64(run), Want: uint64(count)}
	}
	have := len(d.clusters)
	clusters, err := ed.resize(d.clusters, want)
	if err != nil {
		return 0, err
	}
	d.clusters = clusters
	d.raw = append(d.raw, make([]byte, (want-int64(have))*ed.ClusterSize)...)
	return at, ed.fill(clusters[have:], 0, nil)
}
