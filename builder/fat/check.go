package fat

// claims marks the clusters that belong to a name.
type claims []uint64

// take claims a cluster and says whether it was free to claim.
func (c claims) take(n uint32) bool {
	word, bit := n/64, uint64(1)<<(n%64)
	taken := c[word]&bit != 0
	c[word] |= bit
	return !taken
}

// check walks the whole volume: every cluster belongs to one name at most, chains
// are as long as sizes want, FATs are equal. Otherwise freeing a cluster of one file
// could destroy another.
func (f *FS) check() error {
	if err := f.fat.checkCopies(); err != nil {
		return err
	}
	owned := make(claims, f.Clusters/64+1)
	root, err := f.directory(0)
	if err != nil {
		return err
	}
	for _, c := range root.clusters {
		owned.take(c - 2)
	}
	type pending struct {
		parent uint32
		entry  *entry
	}
	var queue []pending
	for d := root; ; {
		for _, e := range d.entries {
			if err := f.claim(owned, e); err != nil {
				return err
			}
			if e.isDir() {
				queue = append(queue, pending{d.start, e})
			}
		}
		if len(queue) == 0 {
			return nil
		}
		next := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if d, err = f.child(next.parent, next.entry); err != nil {
			return err
		}
	}
}

// claim takes the clusters of one entry, which also finds loops.
func (f *FS) claim(owned claims, e *entry) error {
	var count int64
	for n, end := e.cluster, e.cluster == 0; !end; count++ {
		if !owned.take(n - 2) {
			return corrupt("directory entry", e.at, "cluster %d of %q belongs to another name, or the chain is a loop", n, e.name)
		}
		next, last, err := f.fat.next(n)
		if err != nil {
			return err
		}
		n, end = next, last
	}
	if e.isDir() || e.size() == 0 { // some systems leave a cluster to empty files
		return nil
	}
	if want := f.clustersFor(e.size()); count != want {
		return corrupt("directory entry", e.at, "%q has %d bytes, want %d clusters, its chain has %d", e.name, e.size(), want, count)
	}
	return nil
}
