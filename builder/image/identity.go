package image

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strings"
)

// identities are the places of UUID and label in file systems that we do not read.
// The offsets are those of blkid (util-linux, libblkid/src/superblocks).
var identities = map[string]struct{ uuid, label, labelSize int64 }{
	"xfs":   {32, 108, 12},
	"btrfs": {0x10020, 0x1012b, 256},
	"swap":  {0x40c, 0x41c, 16},
}

// identity is a volume's UUID and label as UUID= and LABEL= of fstab(5) name it;
// empty where it has none.
func identity(r io.ReaderAt, kind string) (uuid, label string, err error) {
	at, known := identities[kind]
	if !known {
		return "", "", nil
	}
	id, name := make([]byte, 16), make([]byte, at.labelSize)
	if err := errors.Join(readSome(r, id, at.uuid), readSome(r, name, at.label)); err != nil {
		return "", "", err
	}
	return formatUUID([16]byte(id)), untilZero(name), nil
}

// readSome reads what there is: a volume may end early.
func readSome(r io.ReaderAt, p []byte, at int64) error {
	_, err := r.ReadAt(p, at)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func untilZero(p []byte) string {
	text, _, _ := bytes.Cut(p, []byte{0})
	return string(text)
}

// formatUUID writes a UUID as RFC 9562 does; that of zeros stands for none.
func formatUUID(id [16]byte) string {
	if id == [16]byte{} {
		return ""
	}
	h := hex.EncodeToString(id[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// extKind tells ext2, ext3 and ext4 by their features, as blkid does: what is not in
// the list came with ext4.
func extKind(features []string) string {
	kind := "ext2"
	for _, f := range features {
		switch f {
		case "dir_prealloc", "imagic_inodes", "ext_attr", "resize_inode", "dir_index", // compatible
			"filetype", "needs_recovery", "meta_bg", "sparse_super", "large_file":
		case "has_journal":
			kind = "ext3"
		default:
			return "ext4"
		}
	}
	return kind
}

// isExt says whether a volume is of the family that we edit.
func isExt(kind string) bool { return kind == "ext2" || kind == "ext3" || kind == "ext4" }
