package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	xattrMagic       = 0xEA020000
	xattrEntry       = 16 // fixed part of an entry
	xattrBlockHeader = 32

	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"

	// Attributes that the kernel keeps to itself.
	inlineName       = "system.data"
	encryptionPrefix = "encryption."
)

// xattrPrefix belongs to e_name_index; fs/ext4/xattr.h.
func xattrPrefix(index uint8) (string, bool) {
	switch index {
	case 0:
		return "", true
	case 1:
		return "user.", true
	case 2:
		return aclAccess, true
	case 3:
		return aclDefault, true
	case 4:
		return "trusted.", true
	case 6:
		return "security.", true
	case 7:
		return "system.", true
	case 8:
		return "system.richacl", true
	case 9:
		return encryptionPrefix, true
	}
	return "", false
}

// xattrRegion is the space in an inode or the block that attributes live in.
type xattrRegion struct {
	inode   *inode
	what    string
	at      int64 // byte of data in the file system
	data    []byte
	entries int // where the entries start
}

func (r *xattrRegion) corrupt(pos int, format string, args ...any) error {
	return &CorruptError{r.what, r.at + int64(pos), fmt.Sprintf(format, args...)}
}

// xattrs gives all attributes of an inode as stored, system.data included.
func (f *FS) xattrs(n *inode) (map[string][]byte, error) {
	all := map[string][]byte{}
	regions := []func(*inode) (*xattrRegion, error){f.inodeXattrs, f.blockXattrs}
	for _, region := range regions {
		r, err := region(n)
		if err != nil {
			return nil, err
		}
		if r == nil {
			continue
		}
		if err := f.parseXattrs(r, all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (f *FS) inodeXattrs(n *inode) (*xattrRegion, error) {
	start := minInodeSize + n.extra
	if len(n.raw) == minInodeSize || start+4 > len(n.raw) || binary.LittleEndian.Uint32(n.raw[start:]) != xattrMagic {
		return nil, nil
	}
	return &xattrRegion{inode: n, what: fmt.Sprintf("attributes in inode %d", n.number), at: n.at + int64(start) + 4, data: n.raw[start+4:]}, nil
}

func (f *FS) blockXattrs(n *inode) (*xattrRegion, error) {
	if n.xattrs == 0 {
		return nil, nil
	}
	if n.xattrs <= f.sb.firstDataBlock || n.xattrs >= f.sb.Blocks {
		return nil, n.corrupt("attribute block is %d of %d", n.xattrs, f.sb.Blocks)
	}
	r := &xattrRegion{inode: n, what: fmt.Sprintf("attribute block of inode %d", n.number), at: int64(n.xattrs) * f.sb.BlockSize,
		data: make([]byte, f.sb.BlockSize), entries: xattrBlockHeader}
	if err := f.readBlock(r.data, n.xattrs); err != nil {
		return nil, err
	}
	if got := binary.LittleEndian.Uint32(r.data); got != xattrMagic {
		return nil, r.corrupt(0, "magic is %08x, want %08x", got, xattrMagic)
	}
	if got := binary.LittleEndian.Uint32(r.data[8:]); got != 1 {
		return nil, r.corrupt(8, "block count is %d, want 1", got)
	}
	if f.sb.hasMetadataCsum() {
		want := crc32c(f.sb.seed, le64(n.xattrs), r.data[:0x10], le32(0), r.data[0x14:])
		if got := binary.LittleEndian.Uint32(r.data[0x10:]); got != want {
			return nil, r.corrupt(0x10, "checksum is %08x, want %08x", got, want)
		}
	}
	return r, nil
}

func (f *FS) parseXattrs(r *xattrRegion, all map[string][]byte) error {
	total := 0
	for pos := r.entries; ; {
		if pos+4 > len(r.data) || binary.LittleEndian.Uint32(r.data[pos:]) == 0 {
			return nil
		}
		if pos+xattrEntry > len(r.data) {
			return r.corrupt(pos, "entry reaches beyond the end at %d", len(r.data))
		}
		entry := r.data[pos:]
		nameLen := int(entry[0])
		prefix, known := xattrPrefix(entry[1])
		if !known {
			return r.corrupt(pos, "name index is %d", entry[1])
		}
		if xattrEntry+nameLen > len(entry) {
			return r.corrupt(pos, "name of %d bytes reaches beyond the end", nameLen)
		}
		name := prefix + string(entry[xattrEntry:xattrEntry+nameLen])
		if _, twice := all[name]; twice {
			return r.corrupt(pos, "name %q occurs twice", name)
		}
		value, err := f.xattrValue(r, pos, entry)
		if err != nil {
			return err
		}
		if total += len(value); total > maxXattrTotal {
			return r.corrupt(pos, "attributes add up to more than %d bytes", maxXattrTotal)
		}
		all[name] = value
		pos += (xattrEntry + nameLen + 3) &^ 3
	}
}

func (f *FS) xattrValue(r *xattrRegion, pos int, entry []byte) ([]byte, error) {
	offset, size := int(binary.LittleEndian.Uint16(entry[2:])), binary.LittleEndian.Uint32(entry[8:])
	if size > maxXattrValue {
		return nil, r.corrupt(pos, "value has %d bytes, limit is %d", size, maxXattrValue)
	}
	if holder := binary.LittleEndian.Uint32(entry[4:]); holder != 0 {
		return f.valueInode(r, pos, holder, int(size))
	}
	if size == 0 {
		return []byte{}, nil
	}
	if offset+int(size) > len(r.data) {
		return nil, r.corrupt(pos, "value at %d with %d bytes reaches beyond the end at %d", offset, size, len(r.data))
	}
	return append([]byte{}, r.data[offset:offset+int(size)]...), nil
}

// valueInode reads a value that has an inode to itself, feature ea_inode.
func (f *FS) valueInode(r *xattrRegion, pos int, number uint32, size int) ([]byte, error) {
	n, err := f.inode(number)
	if err != nil {
		return nil, err
	}
	if f.sb.incompat&incompatEAInode == 0 || n.flags&flagEAInode == 0 || n.kind() != typeRegular || n.size != int64(size) {
		return nil, r.corrupt(pos, "value of %d bytes is in inode %d, which does not hold it", size, number)
	}
	if n.flags&flagInlineData != 0 { // would lead back here
		return nil, n.corrupt("attribute value is inline data")
	}
	c, err := f.content(n)
	if err != nil {
		return nil, err
	}
	value := make([]byte, size)
	if _, err := c.ReadAt(value, 0); err != nil && !(errors.Is(err, io.EOF) && size == 0) {
		return nil, err
	}
	return value, nil
}

// inlineTail gives the part of inline data that does not fit into i_block.
func (f *FS) inlineTail(n *inode) ([]byte, error) {
	r, err := f.inodeXattrs(n)
	if err != nil || r == nil {
		return nil, err
	}
	all := map[string][]byte{}
	if err := f.parseXattrs(r, all); err != nil {
		return nil, err
	}
	return all[inlineName], nil
}

// ACLs are stored in a shorter form than the one that getxattr(2) gives, which is
// that of include/uapi/linux/posix_acl_xattr.h.
const (
	aclStoredVersion = 1
	aclGivenVersion  = 2
	aclUser          = 0x02
	aclGroup         = 0x08
)

func givenACL(stored []byte) ([]byte, error) {
	if len(stored) < 4 || binary.LittleEndian.Uint32(stored) != aclStoredVersion {
		return nil, fmt.Errorf("ACL of %d bytes has no version %d", len(stored), aclStoredVersion)
	}
	given := le32(aclGivenVersion)
	for rest := stored[4:]; len(rest) > 0; {
		size := 4
		if len(rest) >= 4 {
			if tag := binary.LittleEndian.Uint16(rest); tag == aclUser || tag == aclGroup {
				size = 8
			}
		}
		if len(rest) < size {
			return nil, fmt.Errorf("ACL entry has %d bytes, want %d", len(rest), size)
		}
		given = append(given, rest[:4]...)
		if size == 8 {
			given = append(given, rest[4:8]...)
		} else {
			given = append(given, le32(^uint32(0))...) // ACL_UNDEFINED_ID
		}
		rest = rest[size:]
	}
	return given, nil
}
