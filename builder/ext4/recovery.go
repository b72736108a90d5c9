package ext4

import (
	"encoding/binary"
)

// logged is where the journal has the newest copy of a block.
type logged struct {
	block   uint64 // of the file system, inside the journal
	escaped bool   // its first four bytes were the journal's magic number
}

// recovery finds out what a replay of the journal would write, as
// jbd2_journal_recover in fs/jbd2/recovery.c does in three passes.
type recovery struct {
	j        *journal
	scanned  bool
	end      uint32 // sequence number behind the last transaction to be replayed, once scanned
	revoked  map[uint64]revocation
	replayed map[uint64]logged
}

// revocation says that copies of a block up to a transaction must not be replayed. All
// blocks of the log have one, most of them with revoked false: a journal can revoke more
// blocks than we want to remember, and only those of the log matter.
type revocation struct {
	revoked  bool
	sequence uint32
}

// later orders sequence numbers, which begin anew after 2^32.
func later(a, b uint32) bool { return int32(a-b) > 0 }

// recover gives the blocks that a replay would write.
func (j *journal) recover() (map[uint64]logged, error) {
	r := &recovery{j: j, revoked: map[uint64]revocation{}, replayed: map[uint64]logged{}}
	if j.start == 0 {
		return r.replayed, nil
	}
	for _, pass := range []func() error{r.scan, r.checkFastCommits, r.revoke, r.replay} {
		if err := pass(); err != nil {
			return nil, err
		}
	}
	return r.replayed, r.checkPlaces()
}

// logWalk goes along the log from block to block.
type logWalk struct {
	j        *journal
	sequence uint32 // of the transaction whose turn it is
	next     uint64
	passed   uint64
	at       uint64 // block that step has read
	block    []byte
}

func (j *journal) walk() *logWalk {
	return &logWalk{j: j, sequence: j.sequence, next: j.start, block: make([]byte, j.fs.sb.BlockSize)}
}

// step reads the next block and gives its type, 0 where the log ends.
func (w *logWalk) step() (kind uint32, err error) {
	if _, err := w.j.read(w.block, w.next); err != nil {
		return 0, err
	}
	be := binary.BigEndian
	if be.Uint32(w.block) != journalMagic || be.Uint32(w.block[8:]) != w.sequence {
		return 0, nil
	}
	kind = be.Uint32(w.block[4:])
	if kind != kindDescriptor && kind != kindCommit && kind != kindRevoke {
		return 0, nil
	}
	w.at = w.next
	return kind, w.pass(1)
}

// pass goes over blocks, around the end of the log. Who passes more blocks than there
// are goes in circles.
func (w *logWalk) pass(blocks uint64) error {
	length := w.j.last - w.j.first
	if w.passed += blocks; w.passed > length {
		return w.j.corrupt(w.at, "log is longer than the %d blocks of the journal", length)
	}
	if w.next += blocks; w.next >= w.j.last {
		w.next -= length
	}
	return nil
}

// scan finds the end of the log: the first transaction that is not whole.
func (r *recovery) scan() error {
	w, s := r.j.walk(), scanState{sum: ^uint32(0)}
	for {
		kind, err := w.step()
		if err != nil {
			return err
		}
		switch kind {
		case kindDescriptor:
			err = r.scanDescriptor(w, &s)
		case kindRevoke:
			s.doubtful = s.doubtful || !r.j.checkTail(w.block)
			_, err = r.j.revokes(w)
		case kindCommit:
			err = r.scanCommit(w, &s)
		default:
			s.done = true
		}
		if err != nil {
			return err
		}
		if s.done {
			break
		}
	}
	if !r.scanned {
		r.end, r.scanned = w.sequence, true
	}
	return nil
}

// scanState is what a scan remembers between blocks.
type scanState struct {
	sum      uint32 // over the blocks of a transaction, for the oldest kind of checksum
	doubtful bool   // the transaction has a block with a wrong checksum
	time     uint64 // of the last commit
	done     bool
}

func (r *recovery) scanDescriptor(w *logWalk, s *scanState) error {
	s.doubtful = s.doubtful || !r.j.checkTail(w.block)
	tags := r.j.tags(w.block)
	for _, t := range tags {
		r.revoked[t.block] = revocation{}
	}
	if r.j.compat&journalChecksum == 0 || r.scanned {
		return w.pass(uint64(len(tags)))
	}
	s.sum = crc32be(s.sum, w.block)
	data := make([]byte, len(w.block))
	for range tags {
		if _, err := r.j.read(data, w.next); err != nil {
			return err
		}
		s.sum = crc32be(s.sum, data)
		if err := w.pass(1); err != nil {
			return err
		}
	}
	return nil
}

// scanCommit judges a transaction by its commit block. Older than the one before it, it
// is left over from an earlier turn of the log.
func (r *recovery) scanCommit(w *logWalk, s *scanState) error {
	time := binary.BigEndian.Uint64(w.block[0x30:])
	if s.doubtful {
		if time >= s.time {
			return r.j.corrupt(w.at, "transaction %d has a block with a wrong checksum", w.sequence)
		}
		s.done = true
		return nil
	}
	ok := r.j.checkCommit(w.block)
	if r.j.compat&journalChecksum != 0 {
		if r.scanned {
			return nil
		}
		if ok = oldSumRight(w.block, s.sum); ok {
			s.sum = ^uint32(0)
		}
	}
	if !ok {
		if time < s.time {
			s.done = true
			return nil
		}
		r.end, r.scanned = w.sequence, true
		if r.j.incompat&journalAsync == 0 {
			return nil
		}
	}
	s.time = time
	w.sequence++
	return nil
}

// oldSumRight compares the sum over a transaction with that of its commit block, where
// it has one.
func oldSumRight(block []byte, sum uint32) bool {
	const kindCRC32, size = 1, 4
	found := binary.BigEndian.Uint32(block[0x10:])
	kind, length := block[0x0C], block[0x0D]
	return kind == kindCRC32 && length == size && found == sum || kind == 0 && length == 0 && found == 0
}

// checkFastCommits refuses a journal with fast commits behind its last transaction:
// they describe changes to files, not blocks.
func (r *recovery) checkFastCommits() error {
	if r.j.fast == 0 {
		return nil
	}
	block := make([]byte, r.j.fs.sb.BlockSize)
	if _, err := r.j.read(block, r.j.fast); err != nil {
		return err
	}
	// ext4_fc_replay_scan in fs/ext4/fast_commit.c: tag, length, features, transaction.
	if le := binary.LittleEndian; le.Uint16(block) != fastCommitHead || le.Uint32(block[8:]) != r.end {
		return nil
	}
	return &UnsupportedError{Features: []string{"fast_commit (changes that wait in it)"}, Action: "replay"}
}

// transactions calls visit for each block of the transactions to be replayed. What it
// visits it passes as well.
func (r *recovery) transactions(visit func(w *logWalk, kind uint32) error) error {
	w := r.j.walk()
	for later(r.end, w.sequence) {
		kind, err := w.step()
		if err != nil {
			return err
		}
		switch kind {
		case 0:
			return r.j.corrupt(w.next, "log ends at transaction %d, want %d", w.sequence, r.end)
		case kindCommit:
			w.sequence++
		default:
			if kind == kindDescriptor && !r.j.checkTail(w.block) {
				return r.j.corrupt(w.at, "descriptor block has a wrong checksum")
			}
			err = visit(w, kind)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// revoke notes which blocks of the log must not be replayed.
func (r *recovery) revoke() error {
	return r.transactions(func(w *logWalk, kind uint32) error {
		if kind == kindDescriptor {
			return w.pass(uint64(len(r.j.tags(w.block))))
		}
		blocks, err := r.j.revokes(w)
		for _, b := range blocks {
			old, inLog := r.revoked[b]
			if inLog && (!old.revoked || later(w.sequence, old.sequence)) {
				r.revoked[b] = revocation{true, w.sequence}
			}
		}
		return err
	})
}

// revokes reads a revoke block.
func (j *journal) revokes(w *logWalk) ([]uint64, error) {
	const header = journalHeader + 4
	be := binary.BigEndian
	used := int64(be.Uint32(w.block[journalHeader:]))
	if limit := int64(len(w.block) - j.tailSize()); used > limit {
		return nil, j.corrupt(w.at, "revoke block uses %d bytes, has %d", used, limit)
	}
	var blocks []uint64
	if j.incompat&journal64bit != 0 {
		for at := int64(header); at+8 <= used; at += 8 {
			blocks = append(blocks, be.Uint64(w.block[at:]))
		}
		return blocks, nil
	}
	for at := int64(header); at+4 <= used; at += 4 {
		blocks = append(blocks, uint64(be.Uint32(w.block[at:])))
	}
	return blocks, nil
}

// replay notes where the newest copy of every block is.
func (r *recovery) replay() error {
	data := make([]byte, r.j.fs.sb.BlockSize)
	return r.transactions(func(w *logWalk, kind uint32) error {
		if kind == kindRevoke {
			return nil
		}
		for _, t := range r.j.tags(w.block) {
			at := w.next
			if err := w.pass(1); err != nil {
				return err
			}
			if old := r.revoked[t.block]; old.revoked && !later(w.sequence, old.sequence) {
				continue
			}
			phys, err := r.j.read(data, at)
			if err != nil {
				return err
			}
			if got, want, ok := r.j.checkData(t, w.sequence, data); !ok {
				return r.j.corrupt(at, "checksum is %08x, want %08x", got, want)
			}
			r.replayed[t.block] = logged{phys, t.flags&tagEscaped != 0}
		}
		return nil
	})
}

// checkPlaces refuses a replay that would write outside the file system, or into the
// journal that it reads from.
func (r *recovery) checkPlaces() error {
	sources := map[uint64]bool{}
	for _, l := range r.replayed {
		sources[l.block] = true
	}
	for block := range r.replayed {
		if block >= r.j.fs.room {
			return r.j.corrupt(0, "log has a copy of block %d, the image holds %d", block, r.j.fs.room)
		}
		if sources[block] {
			return r.j.corrupt(0, "log has a copy of block %d, which is a part of the log", block)
		}
	}
	return nil
}
