package initramfs

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// BenchmarkBlock puts a block into an initramfs of Debian 12 with all modules that
// initramfs-tools takes by default: read it, make the new end, write that and sync.
// In the same run update-initramfs writes the image anew.
func BenchmarkBlock(b *testing.B) {
	sys := makeSystem(b, 0)
	start := time.Now()
	sys.run(b, sys.command...)
	anew := time.Since(start)
	name := filepath.Join(sys.dir, "boot/initrd.img-"+sys.release)
	info, err := os.Stat(name)
	if err != nil {
		b.Fatal(err)
	}
	syscall.Sync() // what was written so far is not ours to wait for
	for b.Loop() {
		blockFile(b, name)
		b.StopTimer()
		if err := os.Truncate(name, info.Size()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	each := b.Elapsed() / time.Duration(b.N)
	b.ReportMetric(float64(info.Size())/1e6, "MB/image")
	b.ReportMetric(anew.Seconds()*1e3, "ms/update-initramfs")
	b.ReportMetric(float64(anew)/float64(each), "times-faster")
}

func blockFile(b *testing.B, name string) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		b.Fatal(err)
	}
	img, err := Open(f, info.Size())
	if err != nil {
		b.Fatal(err)
	}
	w := wanted()
	w.Modules = append(w.Modules, "dm_mod", "ext4", "xfs")
	keep, data, err := Block(img, w)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := f.WriteAt(data, keep); err != nil {
		b.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
}
