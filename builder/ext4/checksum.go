package ext4

import (
	"encoding/binary"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc32c continues sum over data the way the kernel's crc32c does: without the
// inversion before and after that Go's package adds.
func crc32c(sum uint32, data ...[]byte) uint32 {
	sum = ^sum
	for _, d := range data {
		sum = crc32.Update(sum, castagnoli, d)
	}
	return ^sum
}

// crc16 is the reflected polynomial 0x8005 of the kernel's lib/crc16.c, which
// gdt_csum uses.
func crc16(sum uint16, data ...[]byte) uint16 {
	for _, d := range data {
		for _, b := range d {
			sum ^= uint16(b)
			for range 8 {
				odd := sum & 1
				sum >>= 1
				if odd != 0 {
					sum ^= 0xA001
				}
			}
		}
	}
	return sum
}

func le32(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }

func le64(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }
