package ext4

import "fmt"

// Feature bits that change what we do; fs/ext4/ext4.h, EXT4_FEATURE_*.
const (
	compatHasJournal   = 0x4
	compatExtAttr      = 0x8
	compatSparseSuper2 = 0x200
	compatOrphanFile   = 0x1000

	incompatFiletype   = 0x2
	incompatRecover    = 0x4
	incompatMetaBG     = 0x10
	incompatExtents    = 0x40
	incompat64bit      = 0x80
	incompatMMP        = 0x100
	incompatFlexBG     = 0x200
	incompatEAInode    = 0x400
	incompatCsumSeed   = 0x2000
	incompatLargedir   = 0x4000
	incompatInlineData = 0x8000
	incompatEncrypt    = 0x10000
	incompatCasefold   = 0x20000

	roCompatSparseSuper  = 0x1
	roCompatGDTCsum      = 0x10
	roCompatQuota        = 0x100
	roCompatBigalloc     = 0x200
	roCompatMetadataCsum = 0x400
	roCompatProject      = 0x2000

	// readable are the incompatible features that the reader understands, or that do
	// not change what it reads.
	readable = incompatFiletype | incompatRecover | incompatMetaBG | incompatExtents | incompat64bit |
		incompatMMP | incompatFlexBG | incompatEAInode | incompatCsumSeed | incompatLargedir |
		incompatInlineData | incompatEncrypt | incompatCasefold

	// Everything that e2fsprogs 1.47 writes and e2fsck -p puts right afterwards.
	// Absent on purpose: mmp (e2fsprogs waits half a minute for another user),
	// shared_blocks and read-only (made never to be written), snapshots.
	editableCompat   = 0x2 | 0x4 | compatExtAttr | 0x10 | 0x20 | compatSparseSuper2 | 0x400 | 0x800 | compatOrphanFile
	editableIncompat = readable &^ incompatMMP
	editableRoCompat = 0x1 | 0x2 | 0x8 | roCompatGDTCsum | 0x20 | 0x40 | roCompatQuota | roCompatBigalloc |
		roCompatMetadataCsum | roCompatProject | 0x8000 | 0x10000
)

func compatNames(bit int) string {
	return [32]string{0: "dir_prealloc", 1: "imagic_inodes", 2: "has_journal", 3: "ext_attr", 4: "resize_inode",
		5: "dir_index", 6: "lazy_bg", 8: "snapshot_bitmap", 9: "sparse_super2", 10: "fast_commit",
		11: "stable_inodes", 12: "orphan_file"}[bit]
}

func incompatNames(bit int) string {
	return [32]string{0: "compression", 1: "filetype", 2: "needs_recovery", 3: "journal_dev", 4: "meta_bg",
		6: "extent", 7: "64bit", 8: "mmp", 9: "flex_bg", 10: "ea_inode", 12: "dirdata",
		13: "metadata_csum_seed", 14: "large_dir", 15: "inline_data", 16: "encrypt", 17: "casefold"}[bit]
}

func roCompatNames(bit int) string {
	return [32]string{0: "sparse_super", 1: "large_file", 3: "huge_file", 4: "uninit_bg", 5: "dir_nlink",
		6: "extra_isize", 7: "has_snapshot", 8: "quota", 9: "bigalloc", 10: "metadata_csum", 11: "replica",
		12: "read-only", 13: "project", 14: "shared_blocks", 15: "verity", 16: "orphan_present"}[bit]
}

// featureName falls back to the form e2fsprogs prints for bits without a name.
func featureName(names func(int) string, word string, bit int) string {
	if name := names(bit); name != "" {
		return name
	}
	return fmt.Sprintf("%s%d", word, bit)
}

func featureNames(compat, incompat, roCompat uint32) []string {
	var names []string
	add := func(word string, value uint32, table func(int) string) {
		for bit := range 32 {
			if value&(1<<bit) != 0 {
				names = append(names, featureName(table, word, bit))
			}
		}
	}
	add("FEATURE_C", compat, compatNames)
	add("FEATURE_I", incompat, incompatNames)
	add("FEATURE_R", roCompat, roCompatNames)
	return names
}
