package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// tool runs an outside program, the maker or the judge of a table.
func tool(t testing.TB, stdin, name, packageName string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path = "/usr/sbin/" + name
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s is not installed: apt-get install %s", name, packageName)
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// blank makes an image file without content.
func blank(t testing.TB, size int64) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "disk.raw")
	err := os.WriteFile(name, nil, 0o644)
	if err == nil {
		err = os.Truncate(name, size)
	}
	if err != nil {
		t.Fatal(err)
	}
	return name
}

const (
	sector   = 512
	tinySize = 128 * sector // both tables of a GPT take 67 sectors
)

// gptDisk makes a GPT on a small disk from a script.
func gptDisk(t testing.TB, script ...string) string {
	t.Helper()
	if file, found := again(t, script); found {
		return file
	}
	file := blank(t, tinySize)
	tool(t, "label: gpt\nfirst-lba: 34\ngrain: 512\n"+strings.Join(script, "\n")+"\n", "sfdisk", "fdisk", "--quiet", file)
	if out := tool(t, "", "sgdisk", "gdisk", "-v", file); !strings.Contains(out, "No problems found") {
		t.Fatalf("sgdisk -v does not like the table:\n%s", out)
	}
	return keep(t, script, file)
}

// sparseGPT has the partitions 1, 14 and 15, as the images of clouds.
func sparseGPT(t testing.TB) string {
	t.Helper()
	return gptDisk(t, "1: start=60, size=31, name=root, type="+guidRoot, "14: start=34, size=6, type="+guidBoot, "15: start=40, size=20, name=\"EFI ⚙\", type="+guidESP)
}

// made holds the disks that the tools have made, by script: they sync each one.
var made sync.Map

// again writes a disk that was made before.
func again(t testing.TB, script []string) (file string, found bool) {
	t.Helper()
	data, found := made.Load(fmt.Sprint(script))
	if !found {
		return "", false
	}
	file = blank(t, 0)
	if err := os.WriteFile(file, data.([]byte), 0o644); err != nil {
		t.Fatal(err)
	}
	return file, true
}

func keep(t testing.TB, script []string, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	made.Store(fmt.Sprint(script), data)
	return file
}

// sfdisk makes an MBR from a script.
func sfdisk(t testing.TB, script ...string) string {
	t.Helper()
	return sfdiskOn(t, 2048*sector, script...)
}

func sfdiskOn(t testing.TB, size int64, script ...string) string {
	t.Helper()
	if file, found := again(t, script); found {
		return file
	}
	file := blank(t, size)
	tool(t, "label: dos\n"+strings.Join(script, "\n")+"\n", "sfdisk", "fdisk", "--quiet", file)
	if out := tool(t, "", "sfdisk", "fdisk", "--verify", file); !strings.Contains(out, "No errors detected") {
		t.Fatalf("sfdisk --verify does not like the table:\n%s", out)
	}
	return keep(t, script, file)
}

func logical(t testing.TB) string {
	t.Helper()
	return sfdisk(t, "start=8, size=10, type=83", "start=64, size=1900, type=f", "start=72, size=16, type=83", "start=128, size=8, type=82", "start=200, size=1764, type=8e")
}

// backward has a chain that runs toward the front of the disk: a gap was filled
// after what lies behind it.
func backward(t testing.TB) string {
	t.Helper()
	return sfdisk(t, "start=64, size=1900, type=5", "start=1000, size=8, type=83", "start=72, size=16, type=82")
}

func change(t testing.TB, file string, at int64, data ...byte) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(data, at); err != nil {
		t.Fatal(err)
	}
}

func resize(t testing.TB, file string, size int64) {
	t.Helper()
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, file string) (table, error) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return readTable(f, info.Size())
}

func (t table) String() string {
	out := fmt.Sprintf("%s %d", t.scheme, t.sectorSize)
	for _, p := range t.partitions {
		out += fmt.Sprintf("\n%d %s %d+%d %q", p.number, p.kind, p.start/t.sectorSize, p.size/t.sectorSize, p.label)
	}
	return out
}

// Type GUIDs that the tests use.
const (
	guidRoot  = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
	guidESP   = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	guidBoot  = "21686148-6449-6E6F-744E-656564454649"
	guidLinux = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
)

const sparseWant = "gpt 512\n1 " + guidRoot + " 60+31 \"root\"\n14 " + guidBoot + " 34+6 \"\"\n15 " + guidESP + " 40+20 \"EFI ⚙\""

func TestReadTable(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T) string
		want string
	}{
		{"GPT with gaps in the numbers", func(t *testing.T) string { return sparseGPT(t) }, sparseWant},
		{"GPT of 4096-byte sectors", func(t *testing.T) string {
			file := blank(t, 64*4096)
			tool(t, "g\nn\n1\n8\n15\nn\n5\n16\n40\nw\n", "fdisk", "fdisk", "-b", "4096", "--wipe", "never", file)
			return file
		}, "gpt 4096\n1 " + guidLinux + " 8+8 \"\"\n5 " + guidLinux + " 16+25 \"\""},
		{"GPT without partitions", func(t *testing.T) string {
			return gptDisk(t)
		}, "gpt 512"},
		{"GPT of 8 entries in a small array", func(t *testing.T) string {
			return gptDisk(t, "table-length: 8", "", "8: start=34, size=7, name=last, type="+guidLinux)
		}, "gpt 512\n8 " + guidLinux + " 34+7 \"last\""},
		{"GPT with a damaged header", func(t *testing.T) string {
			file := sparseGPT(t)
			change(t, file, sector+20, 1)
			return file
		}, sparseWant},
		{"GPT with a damaged header that asks for much", func(t *testing.T) string {
			file := sparseGPT(t)
			change(t, file, sector+80, 0xff, 0xff, 0xff, 0xff)
			return file
		}, sparseWant},
		{"GPT with a wiped header", func(t *testing.T) string {
			file := sparseGPT(t)
			change(t, file, sector, make([]byte, sector)...)
			return file
		}, sparseWant},
		{"GPT with damaged entries", func(t *testing.T) string {
			file := sparseGPT(t)
			change(t, file, 2*sector+40, 0xff)
			return file
		}, sparseWant},
		{"GPT with a damaged backup", func(t *testing.T) string {
			file := sparseGPT(t)
			change(t, file, tinySize-sector, make([]byte, sector)...)
			return file
		}, sparseWant},
		{"GPT of an image that was grown", func(t *testing.T) string {
			file := sparseGPT(t)
			resize(t, file, 4*tinySize)
			return file
		}, sparseWant},
		{"MBR", func(t *testing.T) string {
			return sfdisk(t, "1: start=8, size=100, type=c, bootable", "3: start=200, size=1848, type=83")
		}, "mbr 512\n1 0c 8+100 \"\"\n3 83 200+1848 \"\""},
		{"MBR with logical partitions", func(t *testing.T) string { return logical(t) },
			"mbr 512\n1 83 8+10 \"\"\n5 83 72+16 \"\"\n6 82 128+8 \"\"\n7 8e 200+1764 \"\""},
		{"MBR with logical partitions out of order", func(t *testing.T) string { return backward(t) },
			"mbr 512\n5 83 1000+8 \"\"\n6 82 72+16 \"\""},
		{"MBR with an empty first record", func(t *testing.T) string {
			file := logical(t)
			change(t, file, 64*sector+446, make([]byte, 16)...)
			return file
		}, "mbr 512\n1 83 8+10 \"\"\n5 82 128+8 \"\"\n6 8e 200+1764 \"\""},
		{"MBR with two extended partitions", func(t *testing.T) string {
			file := sfdisk(t, "start=64, size=100, type=5", "start=72, size=16, type=83")
			change(t, file, 446+16, mbrEntry(0x85, 1000, 500)...)
			change(t, file, 1000*sector+446, mbrEntry(0x83, 8, 20)...)
			change(t, file, 1000*sector+510, 0x55, 0xaa)
			return file
		}, "mbr 512\n5 83 72+16 \"\"\n6 83 1008+20 \"\""},
		{"MBR with an extended partition that is empty", func(t *testing.T) string {
			return sfdisk(t, "start=8, size=10, type=83", "start=64, size=1900, type=5")
		}, "mbr 512\n1 83 8+10 \"\""},
		{"partition up to the last byte", func(t *testing.T) string { return sfdisk(t, "start=2047, size=1, type=83") }, "mbr 512\n1 83 2047+1 \"\""},
		{"MBR without partitions", func(t *testing.T) string {
			file := blank(t, 2048*sector)
			change(t, file, 510, 0x55, 0xaa)
			return file
		}, "none 512"},
		{"boot sector of a file system", func(t *testing.T) string {
			file := blank(t, 2048*sector)
			change(t, file, 440, bytes.Repeat([]byte("boot code"), 8)...) // no status byte is 00 or 80
			change(t, file, 510, 0x55, 0xaa)
			return file
		}, "none 512"},
		{"no table", func(t *testing.T) string { return blank(t, 2048*sector) }, "none 512"},
		{"empty file", func(t *testing.T) string { return blank(t, 0) }, "none 512"},
		{"one byte", func(t *testing.T) string { return blank(t, 1) }, "none 512"},
		{"one sector", func(t *testing.T) string { return blank(t, sector) }, "none 512"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := read(t, c.make(t))
			if err != nil || got.String() != c.want {
				t.Errorf("table is\n%v\n%v\nwant\n%s", got, err, c.want)
			}
		})
	}
}

// TestReadTableWarns has tables that can be read and are not as they should be.
func TestReadTableWarns(t *testing.T) {
	const mbr = "mbr 512\n1 83 34+50 \"\""
	hybrid := func(entries ...byte) func(t *testing.T, file string) {
		return func(t *testing.T, file string) { change(t, file, 446, entries...) }
	}
	for _, c := range []struct {
		name       string
		change     func(t *testing.T, file string)
		want, fact string
	}{
		{"as it should be", func(*testing.T, string) {}, sparseWant, ""},
		{"grown", func(t *testing.T, file string) { resize(t, file, 4*tinySize) }, sparseWant, "the backup GPT is at sector 127, the image ends with sector 511: it was grown"},
		{"cut behind the last partition", func(t *testing.T, file string) { resize(t, file, 100*sector) }, sparseWant, "the backup GPT is at sector 127, the image ends with sector 99: it was cut"},
		{"first header damaged", func(t *testing.T, file string) { change(t, file, sector+20, 1) }, sparseWant, "the first GPT is damaged or gone: its backup was read"},
		{"first header wiped", func(t *testing.T, file string) { change(t, file, sector, make([]byte, sector)...) }, sparseWant, "its backup was read"},
		{"entries damaged", func(t *testing.T, file string) { change(t, file, 2*sector+40, 0xff) }, sparseWant, "its backup was read"},
		{"hybrid", hybrid(append(mbrEntry(0xee, 1, 33), mbrEntry(0x83, 34, 50)...)...), sparseWant, "hybrid MBR: the GPT is used, the MBR entries beside it (1) are not"},
		{"hybrid, as gdisk may lay it", hybrid(append(append(mbrEntry(0x83, 60, 31), mbrEntry(0xef, 40, 20)...), mbrEntry(0xee, 1, 33)...)...), sparseWant, "the MBR entries beside it (2) are not"},
		{"hybrid without its first header", func(t *testing.T, file string) {
			hybrid(append(mbrEntry(0x83, 34, 50), mbrEntry(0xee, 1, 33)...)...)(t, file)
			change(t, file, sector, make([]byte, sector)...)
		}, sparseWant, "hybrid MBR"},
		{"MBR over an old GPT", hybrid(mbrEntry(0x83, 34, 50)...), mbr, "there is a GPT too, which the MBR says nothing about: the MBR is used"},
		{"no MBR", func(t *testing.T, file string) { change(t, file, 0, make([]byte, sector)...) }, sparseWant, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := sparseGPT(t)
			c.change(t, file)
			got, err := read(t, file)
			if err != nil || got.String() != c.want {
				t.Errorf("table is\n%v\n%v\nwant\n%s", got, err, c.want)
			}
			text := strings.Join(got.warnings, "\n")
			if (c.fact == "") != (text == "") || !strings.Contains(text, c.fact) {
				t.Errorf("warnings are %q, want %q", got.warnings, c.fact)
			}
		})
	}
}

// TestPartUUID holds what PARTUUID= names against partx.
func TestPartUUID(t *testing.T) {
	for name, file := range map[string]string{"GPT": sparseGPT(t), "MBR": logical(t)} {
		got, err := read(t, file)
		if err != nil || len(got.partitions) < 3 {
			t.Fatalf("%s: %v, %v, want some partitions", name, got, err)
		}
		judge := "\n" + tool(t, "", "partx", "util-linux", "--raw", "--noheadings", "--output", "NR,UUID", file)
		for _, p := range got.partitions {
			if want := fmt.Sprintf("\n%d %s\n", p.number, p.uuid); p.uuid == "" || !strings.Contains(judge, want) {
				t.Errorf("%s: PARTUUID of partition %d is %q; partx says%s", name, p.number, p.uuid, judge)
			}
		}
	}
}

// TestNoAuto reads the flag that takes a partition out of discovery.
func TestNoAuto(t *testing.T) {
	file := gptDisk(t, "1: start=34, size=8, type="+guidRoot+", attrs=\"GUID:63\"", "2: start=42, size=8, attrs=\"GUID:60\", type="+guidRoot)
	got, err := read(t, file)
	if err != nil || len(got.partitions) != 2 || !got.partitions[0].hidden || got.partitions[1].hidden {
		t.Errorf("table is %+v, %v, want the first of 2 hidden", got, err)
	}
}

// mbrEntry is one entry of an MBR or an extended boot record, CHS left out.
func mbrEntry(kind byte, start, count uint32) []byte {
	out := []byte{0, 0, 0, 0, kind, 0, 0, 0}
	out = binary.LittleEndian.AppendUint32(out, start)
	return binary.LittleEndian.AppendUint32(out, count)
}

// header changes a GPT header and makes its checksum right again, as somebody
// would who means harm.
func header(t testing.TB, file string, at int64, change func(h []byte)) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := make([]byte, 92)
	if _, err := f.ReadAt(h, at); err != nil || [8]byte(h[:8]) != gptSignature {
		t.Fatalf("no GPT header at byte %d: %v", at, err)
	}
	change(h)
	clear(h[16:20])
	binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h))
	if _, err := f.WriteAt(h, at); err != nil {
		t.Fatal(err)
	}
}

// entry changes the first GPT entry with all checksums right.
func entry(t testing.TB, file string, start, end uint64) {
	t.Helper()
	array := make([]byte, 128*gptEntrySize)
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(array, 2*sector); err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint64(array[32:], start)
	binary.LittleEndian.PutUint64(array[40:], end)
	change(t, file, 2*sector, array...)
	header(t, file, sector, func(h []byte) { binary.LittleEndian.PutUint32(h[88:], crc32.ChecksumIEEE(array)) })
}

func TestReadTableRefuses(t *testing.T) {
	const backup = tinySize - sector
	count := func(n uint32) func([]byte) { return func(h []byte) { binary.LittleEndian.PutUint32(h[80:], n) } }
	size := func(n uint32) func([]byte) { return func(h []byte) { binary.LittleEndian.PutUint32(h[84:], n) } }
	changed := func(at int64, with func([]byte)) func(*testing.T) string {
		return func(t *testing.T) string {
			file := sparseGPT(t)
			header(t, file, at, with)
			return file
		}
	}
	with := func(file func(testing.TB) string, do func(t *testing.T, file string)) func(*testing.T) string {
		return func(t *testing.T) string {
			name := file(t)
			do(t, name)
			return name
		}
	}
	for _, c := range []struct {
		name  string
		make  func(t *testing.T) string
		fault string
	}{
		{"GPT of too many entries", changed(sector, count(1<<32-1)), "GPT header at byte 0x200: array is 4294967295 entries of 128 bytes, want 1 to 1024 of 128"},
		{"GPT of one entry too many", changed(sector, count(maxGPTEntries+1)), "array is 1025 entries"},
		{"GPT of no entries", changed(sector, count(0)), "array is 0 entries"},
		{"GPT of large entries", changed(sector, size(1<<31)), "of 2147483648 bytes"},
		{"GPT of 256-byte entries, which Linux does not take", changed(sector, size(256)), "of 256 bytes"},
		{"GPT of entries of no bytes", changed(sector, size(0)), "of 0 bytes"},
		{"backup of too many entries", with(sparseGPT, func(t *testing.T, file string) {
			change(t, file, sector+20, 1)
			header(t, file, backup, count(1<<32-1))
		}), "GPT header at byte 0xfe00: array is 4294967295 entries"},
		{"backup of too many entries, header wiped", with(sparseGPT, func(t *testing.T, file string) {
			change(t, file, sector, make([]byte, sector)...)
			header(t, file, backup, count(1<<30))
		}), "GPT header at byte 0xfe00: array is 1073741824 entries"},
		{"both headers damaged", with(sparseGPT, func(t *testing.T, file string) {
			change(t, file, sector+20, 1)
			change(t, file, backup+20, 1)
		}), "GPT is damaged: primary GPT invalid"},
		{"both headers gone", with(sparseGPT, func(t *testing.T, file string) {
			change(t, file, sector, make([]byte, sector)...)
			change(t, file, backup, make([]byte, sector)...)
		}), "the MBR says that there is a GPT, and there is none"},
		{"array behind the end", changed(sector, func(h []byte) { binary.LittleEndian.PutUint64(h[72:], 1<<40) }), "GPT is damaged"},
		{"array before the start", changed(sector, func(h []byte) { binary.LittleEndian.PutUint64(h[72:], 1<<54) }), "GPT is damaged"},
		{"GPT partition behind the end", with(sparseGPT, func(t *testing.T, file string) { resize(t, file, 91*sector-1) }),
			"partition 1 ends at byte 46592, the image ends at byte 46591: it is truncated"},
		{"GPT partition that ends before it starts", with(sparseGPT, func(t *testing.T, file string) { entry(t, file, 60, 50) }), "which no disk holds"},
		{"GPT partition of no sectors", with(sparseGPT, func(t *testing.T, file string) { entry(t, file, 60, 59) }), "has 0 sectors"},
		{"GPT partition of all sectors that 64 bits count", with(sparseGPT, func(t *testing.T, file string) { entry(t, file, 0, 1<<64-1) }), "has 0 sectors"},
		{"GPT partition with a wrapping end", with(sparseGPT, func(t *testing.T, file string) { entry(t, file, 1<<53, 1<<54-1) }), "which no disk holds"},
		{"GPT partition at the limit", with(sparseGPT, func(t *testing.T, file string) { entry(t, file, 1<<52, 1<<53-1) }), "it is truncated"},
		{"MBR partition behind the end", func(t *testing.T) string {
			file := sfdisk(t, "start=8, size=100, type=83")
			resize(t, file, 108*sector-1)
			return file
		}, "partition 1 ends at byte 55296, the image ends at byte 55295: it is truncated"},
		{"logical partition behind the end", with(logical, func(t *testing.T, file string) { resize(t, file, 1963*sector) }), "partition 7 ends at byte 1005568, the image ends at byte 1005056: it is truncated"},
		{"extended partition behind the end", with(logical, func(t *testing.T, file string) { resize(t, file, 64*sector) }), "extended boot record at sector 64 lies behind the end of the image at sector 64: it is truncated"},
		{"second record behind the end", with(logical, func(t *testing.T, file string) { resize(t, file, 110*sector) }), "lies behind the end of the image at sector 110"},
		{"record without a signature", with(logical, func(t *testing.T, file string) { change(t, file, 64*sector+510, 0, 0) }), "extended boot record at sector 64: signature is 0000, want 55aa"},
		{"record that links to itself", with(logical, func(t *testing.T, file string) { change(t, file, 64*sector+446+16, mbrEntry(5, 0, 9)...) }), "extended boot records run in a circle through sector 64"},
		{"records in a circle", with(backward, func(t *testing.T, file string) {
			second := secondRecord(t, file)
			change(t, file, second*sector+446+16, mbrEntry(5, 0, 9)...)
		}), "extended boot records run in a circle through sector 64"},
		{"two extended partitions at one place", with(logical, func(t *testing.T, file string) { change(t, file, 446+2*16, mbrEntry(5, 64, 100)...) }), ""},
		{"too many records", func(t *testing.T) string {
			file := sfdisk(t, "start=64, size=1900, type=5")
			for i := range uint32(maxLogical + 1) {
				at := int64(64+2*i) * sector
				change(t, file, at+446, append(mbrEntry(0x83, 1, 1), mbrEntry(5, 2*(i+1), 2)...)...)
				change(t, file, at+510, 0x55, 0xaa)
			}
			return file
		}, "more than 64 extended boot records"},
	} {
		t.Run(c.name, func(t *testing.T) {
			checkRefusal(t, c.make(t), c.fault)
		})
	}
}

// checkRefusal wants an error with advice that took little memory; without a fault
// named, a table whose logical partitions are numbered on.
func checkRefusal(t *testing.T, file, fault string) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, err := read(t, file)
	runtime.ReadMemStats(&after)
	if fault == "" {
		if err != nil || len(got.partitions) != 7 || got.partitions[6].number != 10 {
			t.Errorf("table is %v, %v, want logical partitions up to 10", got, err)
		}
	} else if err == nil || !strings.Contains(err.Error(), fault) {
		t.Errorf("error is %v, want %q; table %v", err, fault, got)
	}
	var fact *Error
	if err != nil && (!errors.As(err, &fact) || fact.Hint() == "") {
		t.Errorf("%v: no advice", err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
		t.Errorf("reading took %d bytes of memory, want less than 4 MiB", used)
	}
}

// secondRecord finds where the first record of an extended partition at sector 64
// links to.
func secondRecord(t *testing.T, file string) int64 {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := 64*sector + 446 + 16
	return 64 + int64(binary.LittleEndian.Uint32(data[at+8:]))
}

// careful fails the test on a read larger than any table: the library reads into
// memory that it has asked for.
type careful struct {
	io.ReaderAt
	t *testing.T
}

func (c careful) ReadAt(p []byte, at int64) (int, error) {
	if len(p) > maxGPTEntries*gptEntrySize {
		c.t.Errorf("%d bytes are read at once", len(p))
	}
	return c.ReaderAt.ReadAt(p, at)
}

// FuzzReadTable reads each input twice: as it is, and with the checksums of its
// GPT headers made right, behind which a fuzzer would never get by itself.
func FuzzReadTable(f *testing.F) {
	small := sfdiskOn(f, 48*sector, "start=1, size=2, type=83", "start=4, size=40, type=5", "start=30, size=2, type=83", "start=10, size=2, type=82")
	for scheme, file := range map[string]string{"gpt": sparseGPT(f), "mbr": small} {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		if got, err := readTable(bytes.NewReader(data), int64(len(data))); err != nil || got.scheme != scheme || len(got.partitions) != 3 {
			f.Fatalf("seed gives %v, %v, want 3 partitions of %s", got, err, scheme)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4*tinySize {
			return
		}
		checkTable(t, data)
		repaired := bytes.Clone(data)
		for _, sector := range []int{512, 4096} {
			repair(repaired, sector)
			repair(repaired, (len(data)/sector-1)*sector)
		}
		checkTable(t, repaired)
	})
}

func repair(data []byte, at int) {
	if at < 0 || at+92 > len(data) || [8]byte(data[at:at+8]) != gptSignature {
		return
	}
	h := data[at : at+92]
	sector := at // of a first header
	if array := 2 * sector; array+128*gptEntrySize <= len(data) {
		binary.LittleEndian.PutUint32(h[88:], crc32.ChecksumIEEE(data[array:array+128*gptEntrySize]))
	}
	clear(h[16:20])
	binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h))
}

func checkTable(t *testing.T, data []byte) {
	got, err := readTable(careful{bytes.NewReader(data), t}, int64(len(data)))
	if err != nil {
		return
	}
	if len(got.partitions) > maxGPTEntries {
		t.Errorf("%d partitions", len(got.partitions))
	}
	for _, p := range got.partitions {
		if p.number < 1 || p.start < 0 || p.size <= 0 || p.start+p.size > int64(len(data)) {
			t.Errorf("partition %+v does not lie in an image of %d bytes", p, len(data))
		}
	}
}
