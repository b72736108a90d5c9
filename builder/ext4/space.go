package ext4

import "fmt"

// spareClusters and spareInodes are left over by every edit: e2fsck may have to
// rebuild a directory.
const (
	spareClusters = 16
	spareInodes   = 2
)

// space counts, at the worst, what a plan takes.
type space struct {
	fs       *FS
	blocks   int64 // needed minus released
	peak     int64
	inodes   int64
	dirBytes map[string]int64 // of new names, by directory
}

func newSpace(f *FS) space { return space{fs: f, dirBytes: map[string]int64{}} }

func (s *space) take(blocks int64) {
	s.blocks += blocks
	s.peak = max(s.peak, s.blocks)
}

// clusters rounds a length in bytes up to what it occupies, in blocks.
func (s *space) clusters(size int64) int64 {
	cs := s.fs.sb.ClusterSize
	return (size + cs - 1) / cs * (cs / s.fs.sb.BlockSize)
}

// file takes an inode and blocks for size bytes, with a mapping tree for blocks
// that all lie apart.
func (s *space) file(size int64, xattrs map[string][]byte) error {
	bs := s.fs.sb.BlockSize
	blocks := (size + bs - 1) / bs
	s.inodes++
	s.take(s.clusters(size))
	if blocks > 4 { // more than i_block can map at the worst
		perNode := (bs - 16) / extentSize
		s.take(s.clusters(bs) * (blocks/perNode + 4))
	}
	return s.xattrs(xattrs)
}

// xattrs takes a block for attributes; with ea_inode, larger ones get an inode.
func (s *space) xattrs(xattrs map[string][]byte) error {
	if len(xattrs) == 0 {
		return nil
	}
	sb := s.fs.sb
	if sb.compat&compatExtAttr == 0 {
		return fmt.Errorf("the file system has no feature ext_attr, so no attributes: %w", ErrUnsupported)
	}
	s.take(s.clusters(sb.BlockSize))
	// What does not fit into the block may fit into the inode, but not surely.
	room := sb.BlockSize - xattrBlockHeader - 4
	var need int64
	for name, value := range xattrs {
		// debugfs cuts what it reads from a file at the size of a block.
		if int64(len(value)) > sb.BlockSize {
			return fmt.Errorf("attribute %s has %d bytes, debugfs can set %d: %w", name, len(value), sb.BlockSize, ErrUnsupported)
		}
		entry := int64(xattrEntry + (len(name)+3)&^3)
		if sb.incompat&incompatEAInode != 0 && int64(len(value)) > sb.BlockSize/4 {
			s.inodes++
			s.take(s.clusters(int64(len(value))))
		} else {
			entry += int64(len(value)+3) &^ 3
		}
		need += entry
	}
	if need > room {
		return fmt.Errorf("%w: attributes need %d bytes, a block has room for %d", ErrNoSpace, need, room)
	}
	return nil
}

// name takes room in a directory, half filled blocks being the rule.
func (s *space) name(dir, name string) {
	before := s.clusters(2 * s.dirBytes[dir])
	s.dirBytes[dir] += int64(direntHeader+len(name)+3) &^ 3
	s.take(s.clusters(2*s.dirBytes[dir]) - before)
}

// release gives back what an inode occupies when its last name goes.
func (s *space) release(old *entry) {
	if old.inode == nil {
		return // made by an edit, and counted
	}
	s.inodes--
	blocks := int64(old.inode.sectors / uint64(s.fs.sb.BlockSize/512))
	if old.inode.xattrs != 0 {
		blocks -= s.clusters(s.fs.sb.BlockSize) // debugfs leaves it to e2fsck
	}
	s.blocks -= max(blocks, 0)
}

func (s *space) check() error {
	blocks, inodes, err := s.fs.Free()
	if err != nil {
		return err
	}
	margin := s.clusters(spareClusters * s.fs.sb.ClusterSize)
	if want := uint64(s.peak + margin); s.peak > 0 && want > blocks {
		return &NoSpaceError{Resource: "blocks", Got: blocks, Want: want}
	}
	if want := uint64(max(s.inodes, 0) + spareInodes); s.inodes > 0 && want > inodes {
		return &NoSpaceError{Resource: "inodes", Got: inodes, Want: want}
	}
	return nil
}
