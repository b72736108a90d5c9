package initramfs

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// record is one record of an archive as tests write it.
type record struct {
	name    string
	mode    uint32
	content string
	links   uint32
	inode   uint32
}

func dir(name string) record { return record{name: name, mode: modeDir | 0o755} }
func file(name, content string) record {
	return record{name: name, mode: modeRegular | 0o644, content: content}
}
func symlink(name, target string) record {
	return record{name: name, mode: modeLink | 0o777, content: target}
}
func linked(name, content string) record   { return record{name, modeRegular | 0o644, content, 2, 77} }
func special(name string, m uint32) record { return record{name: name, mode: m | 0o600} }

// newc writes an archive by hand, because programs do not write what tests need.
func newc(records ...record) []byte {
	var b bytes.Buffer
	for i, r := range append(records, record{name: trailer}) {
		inode, links := r.inode, r.links
		if links == 0 {
			inode, links = uint32(1000+i), 1
		}
		fmt.Fprintf(&b, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00", inode, r.mode, 0, 0, links, 1_000_000_000, len(r.content), 0, 0, 0, 0, len(r.name)+1, 0, r.name)
		b.Write(make([]byte, -b.Len()&3))
		b.WriteString(r.content)
		b.Write(make([]byte, -b.Len()&3))
	}
	return b.Bytes()
}

// compressors are the outside programs that make segments, and the Debian package of
// each. The options are those of the generators.
var compressors = []struct {
	codec   Codec
	command []string
	pkg     string
}{
	{None, []string{"cat"}, "coreutils"},
	{Gzip, []string{"gzip", "-c"}, "gzip"},
	{Bzip2, []string{"bzip2", "-c"}, "bzip2"},
	{LZMA, []string{"lzma", "-c"}, "xz-utils"},
	{XZ, []string{"xz", "-c", "--check=crc32"}, "xz-utils"},
	{LZ4, []string{"lz4", "-c", "-l"}, "lz4"},
	{Zstd, []string{"zstd", "-c", "-q"}, "zstd"},
}

func compress(t testing.TB, codec Codec, data []byte) []byte {
	t.Helper()
	for _, c := range compressors {
		if c.codec == codec {
			return filter(t, c.pkg, data, c.command...)
		}
	}
	t.Fatalf("no compressor for %s", codec)
	return nil
}

// filter runs an outside program on data.
func filter(t testing.TB, pkg string, data []byte, command ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath(command[0]); err != nil {
		t.Fatalf("%s is not installed: apt-get install %s", command[0], pkg)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin = bytes.NewReader(data)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(command, " "), err, &stderr)
	}
	return out
}

// microcode is the early archive of a generator, padded as they do.
func microcode() []byte {
	early := newc(dir("."), dir("kernel"), dir("kernel/x86"), dir("kernel/x86/microcode"), file("kernel/x86/microcode/GenuineIntel.bin", strings.Repeat("u", 3000)))
	return append(early, make([]byte, -len(early)&511)...)
}

// release is a kernel's, in the trees of tests.
const release = "6.1.0-test"

// mainRecords are a small image of a distribution: merged /usr, modules plain and
// compressed, kmod, and configuration.
func mainRecords() []record {
	modules := "usr/lib/modules/" + release
	return []record{
		dir("."), dir("conf"), file("conf/initramfs.conf", "MODULES=most\n"), dir("scripts"), file("scripts/functions", ""),
		dir("etc"), dir("etc/modprobe.d"), file("etc/modprobe.d/other.conf", "options x y=1\n"),
		dir("usr"), dir("usr/lib"), dir("usr/bin"), dir("usr/sbin"), symlink("lib", "usr/lib"), symlink("sbin", "usr/sbin"), symlink("bin", "usr/bin"),
		file("usr/bin/kmod", "\x7fELF kmod version 30"), symlink("usr/sbin/modprobe", "../bin/kmod"),
		dir("usr/lib/modules"), dir(modules), dir(modules + "/kernel"), file(modules+"/modules.dep", "kernel/algif_aead.ko:\n"),
		file(modules+"/kernel/algif_aead.ko", strings.Repeat("module ", 5000)),
		file(modules+"/kernel/af_alg.ko.xz", strings.Repeat("packed ", 500)),
		file(modules+"/kernel/xfrm-user.ko.zst", "packed"), file(modules+"/kernel/esp4.ko", "esp4"), file(modules+"/kernel/esp40.ko", "esp40"),
		file("init", "#!/bin/sh\n"), special("fifo", 0o010000),
	}
}

func open(t testing.TB, image []byte) *Image {
	t.Helper()
	img, err := Open(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// wanted is a block of two modules of mainRecords, one that is not there, and one
// spelt with a dash.
func wanted() Wanted {
	return Wanted{
		Config:  []byte("# kerngate\ninstall algif_aead /bin/false\nalias algif-aead off\n"),
		Modules: []string{"algif_aead", "af_alg", "xfrm_user", "rxrpc", "esp4"},
		ModTime: time.Unix(1_700_000_000, 0),
	}
}

// appendTo applies what Block gives.
func appendTo(t testing.TB, image []byte, w Wanted) []byte {
	t.Helper()
	keep, data, err := Block(open(t, image), w)
	if err != nil {
		t.Fatal(err)
	}
	return append(bytes.Clone(image[:keep]), data...)
}

// judge runs an outside program on an image and gives its output.
func judge(t testing.TB, image []byte, pkg string, command ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(name, image, 0o644); err != nil {
		t.Fatal(err)
	}
	return string(filter(t, pkg, nil, append(command, name)...))
}
