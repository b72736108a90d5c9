package bootentry_test

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/bootentry"
	"github.com/kerngate/kerngate/builder/imgtest"
)

const stub = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"

// section is one section that objcopy adds to the stub.
type section struct {
	name    string
	address uint64 // behind the image's base
	data    []byte
}

// makeUKI builds an image as systemd-stub(7) of systemd 252 tells, by objcopy.
func makeUKI(t testing.TB, sections ...section) []byte {
	t.Helper()
	f, err := pe.Open(stub)
	if err != nil {
		t.Fatalf("%v: apt-get install systemd-boot-efi", err)
	}
	base := f.OptionalHeader.(*pe.OptionalHeader64).ImageBase
	f.Close()
	dir := t.TempDir()
	args := []string{}
	for i, s := range sections {
		name := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(name, s.data, 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--add-section", s.name+"="+name, "--change-section-vma", fmt.Sprintf("%s=%#x", s.name, base+s.address))
	}
	out := filepath.Join(dir, "out.efi")
	run(t, "binutils", "objcopy", append(args, stub, out)...)
	return mustRead(t, out)
}

func osrel() section { return section{".osrel", 0x100000, []byte("ID=debian\n")} }
func uname() section { return section{".uname", 0x101000, []byte("6.1.0-28-amd64")} }
func linux() section {
	return section{".linux", 0x2000000, bytes.Repeat([]byte("kernel"), 1000)}
}
func initrd() section {
	return section{".initrd", 0x3000000, bytes.Repeat([]byte("initrd"), 999)}
}

func cmdline(s string) section { return section{".cmdline", 0x110000, []byte(s)} }

// sectionOf asks objcopy for the content of a section.
func sectionOf(t testing.TB, data []byte, name string) []byte {
	t.Helper()
	dir := makeDir(t, map[string][]byte{"in.efi": data})
	out := filepath.Join(dir, "out")
	run(t, "binutils", "objcopy", "--dump-section", name+"="+out, filepath.Join(dir, "in.efi"), filepath.Join(dir, "copy.efi"))
	return mustRead(t, out)
}

func spliceOne(t testing.TB, files map[string][]byte, w bootentry.Want) (edits []bootentry.Edit, refusals []bootentry.Refusal, c *bootentry.Config) {
	t.Helper()
	c = read(t, imgtest.OpenDir(t, makeDir(t, files)))
	edits, refusals = splice(t, c, w)
	return edits, refusals, c
}

const ukiPath = "/efi/EFI/Linux/debian.efi"

func TestUnsignedImages(t *testing.T) {
	many := bootentry.Want{}
	for i := range 60 {
		many.Modules = append(many.Modules, fmt.Sprintf("module_%06d", i))
	}
	long := "module_blacklist=" + strings.Join(many.Modules, ",")
	block := "module_blacklist=algif_aead,rxrpc initcall_blacklist=algif_aead_init"
	for _, test := range []struct {
		name     string
		sections []section
		want     bootentry.Want
		cmdline  string
	}{
		{"room in the file", []section{osrel(), uname(), cmdline("root=/dev/vda2 quiet"), linux(), initrd()}, want, "root=/dev/vda2 quiet " + block},
		{"ends in a newline and a zero byte", []section{osrel(), uname(), cmdline("root=/dev/vda2 quiet\n\x00"), linux(), initrd()}, want, "root=/dev/vda2 quiet " + block + "\n\x00"},
		{"grows in the file", []section{osrel(), uname(), cmdline("root=/dev/vda2 quiet"), linux(), initrd()}, many, "root=/dev/vda2 quiet " + long},
		{"last section", []section{osrel(), uname(), linux(), initrd(), {".cmdline", 0x4000000, []byte("quiet")}}, many, "quiet " + long},
		{"empty", []section{osrel(), uname(), cmdline("\x00"), linux(), initrd()}, want, block + "\x00"},
		{"no command line", []section{osrel(), uname(), linux(), initrd()}, want, block},
		{"extended", []section{osrel(), uname(), cmdline("module_blacklist=a quiet"), linux()}, want, "module_blacklist=a,algif_aead,rxrpc quiet initcall_blacklist=algif_aead_init"},
	} {
		t.Run(test.name, func(t *testing.T) {
			data := makeUKI(t, test.sections...)
			edits, refusals, c := spliceOne(t, map[string][]byte{ukiPath: data}, test.want)
			if len(edits) != 1 || len(refusals) != 0 {
				t.Fatalf("%d edits, refusals %v, problems %v, want one edit", len(edits), refusals, c.Problems)
			}
			if e := c.Entries[0]; e.Source != bootentry.UKI || e.Release != "6.1.0-28-amd64" && len(test.sections) > 3 || e.Signed {
				t.Errorf("entry is %+v", e)
			}
			got := sectionOf(t, edits[0].Data, ".cmdline")
			if string(bytes.TrimRight(got, "\x00")) != strings.TrimRight(test.cmdline, "\x00") {
				t.Errorf("command line is %q, want %q", got, test.cmdline)
			}
			sameButCmdline(t, data, edits[0].Data)
			judgePE(t, edits[0].Data)
			again, refusals, _ := spliceOne(t, map[string][]byte{ukiPath: edits[0].Data}, test.want)
			if len(again) != 0 || len(refusals) != 0 {
				t.Errorf("a second time: %d edits, %v", len(again), refusals)
			}
		})
	}
}

// sameButCmdline asks debug/pe whether all other sections kept address and content.
func sameButCmdline(t *testing.T, before, after []byte) {
	t.Helper()
	old, new := parse(t, before), parse(t, after)
	compared := 0
	for _, s := range old.Sections {
		if s.Name == ".cmdline" {
			continue
		}
		other := new.Section(s.Name)
		if other == nil || other.VirtualAddress != s.VirtualAddress || other.VirtualSize != s.VirtualSize || other.Characteristics != s.Characteristics {
			t.Errorf("section %s was %+v, is %+v", s.Name, s.SectionHeader, other)
			continue
		}
		a, errA := s.Data()
		b, errB := other.Data()
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("section %s: content differs (%v, %v)", s.Name, errA, errB)
		}
		compared++
	}
	if compared < 5 {
		t.Errorf("%d sections compared, want those of the stub and of the image", compared)
	}
	// Virtual addresses must ascend without overlap, as firmware loads them in order.
	for i := 1; i < len(new.Sections); i++ {
		a, b := new.Sections[i-1], new.Sections[i]
		if a.VirtualAddress < b.VirtualAddress && a.VirtualAddress+a.VirtualSize > b.VirtualAddress {
			t.Errorf("sections %s and %s overlap in memory", a.Name, b.Name)
		}
	}
}

func parse(t testing.TB, data []byte) *pe.File {
	t.Helper()
	f, err := pe.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// judgePE signs and verifies the image with sbsigntool, which walks all of it, and has
// binutils read it.
func judgePE(t *testing.T, data []byte) {
	t.Helper()
	signed := sign(t, data)
	if signed == nil {
		return
	}
	dir := makeDir(t, map[string][]byte{"a.efi": data})
	run(t, "binutils", "objdump", "-h", filepath.Join(dir, "a.efi"))
}

var keyDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "bootentry")
	if err != nil {
		panic(err)
	}
	keyDir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// sign signs an image with a key made for this run, and verifies it.
func sign(t testing.TB, data []byte) []byte {
	t.Helper()
	key, cert := filepath.Join(keyDir, "key"), filepath.Join(keyDir, "cert")
	if _, err := os.Stat(key); err != nil {
		run(t, "openssl", "openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-x509", "-subj", "/CN=test/", "-days", "2", "-out", cert)
	}
	dir := makeDir(t, map[string][]byte{"a.efi": data})
	in, out := filepath.Join(dir, "a.efi"), filepath.Join(dir, "signed.efi")
	run(t, "sbsigntool", "sbsign", "--key", key, "--cert", cert, "--output", out, in)
	if got := run(t, "sbsigntool", "sbverify", "--cert", cert, out); !strings.Contains(got, "Signature verification OK") {
		t.Errorf("sbverify: %s", got)
	}
	return mustRead(t, out)
}

func TestSignedImageIsRefused(t *testing.T) {
	signed := sign(t, makeUKI(t, osrel(), uname(), cmdline("quiet"), linux(), initrd()))
	dir := makeDir(t, map[string][]byte{ukiPath: signed})
	c := read(t, imgtest.OpenDir(t, dir))
	edits, refusals := splice(t, c, want)
	if len(edits) != 0 || len(refusals) != 1 || !c.Entries[0].Signed {
		t.Fatalf("%d edits, refusals %v, want one refusal", len(edits), refusals)
	}
	for _, part := range []string{"--cmdline='module_blacklist=algif_aead,rxrpc initcall_blacklist=algif_aead_init'", "/efi/EFI/Linux/debian.efi.extra.d/", "sbattach --remove /efi/EFI/Linux/debian.efi"} {
		if !strings.Contains(refusals[0].Hint, part) {
			t.Errorf("hint is %q, want %q in it", refusals[0].Hint, part)
		}
	}
	// The hint's second way: take the signature off, splice, sign anew.
	file := filepath.Join(dir, ukiPath)
	run(t, "sbsigntool", "sbattach", "--remove", file)
	edits, refusals = splice(t, read(t, imgtest.OpenDir(t, dir)), want)
	if len(edits) != 1 || len(refusals) != 0 {
		t.Fatalf("without the signature: %d edits, refusals %v", len(edits), refusals)
	}
	// sbattach has written a checksum, and does so again: ours must be the same.
	again := makeDir(t, map[string][]byte{"a.efi": sign(t, edits[0].Data)})
	run(t, "sbsigntool", "sbattach", "--remove", filepath.Join(again, "a.efi"))
	before, got, judged := checksum(t, mustRead(t, file)), checksum(t, edits[0].Data), checksum(t, mustRead(t, filepath.Join(again, "a.efi")))
	if got != judged || got == before || before == 0 {
		t.Errorf("checksum is %#x, sbattach says %#x; before it was %#x", got, judged, before)
	}
	// The first way: an addon, which need not be ours to understand.
	addon := makeUKI(t, cmdline("module_blacklist=algif_aead,rxrpc initcall_blacklist=algif_aead_init"))
	for _, where := range []string{ukiPath + ".extra.d/a.addon.efi", "/efi/loader/addons/a.addon.efi"} {
		_, refusals, c := spliceOne(t, map[string][]byte{ukiPath: signed, where: addon}, want)
		if len(refusals) != 0 || c.Entries[0].CommandLine != "quiet module_blacklist=algif_aead,rxrpc initcall_blacklist=algif_aead_init" {
			t.Errorf("with addon %s: refusals %v, arguments %q", where, refusals, c.Entries[0].CommandLine)
		}
	}
	other := makeUKI(t, section{".uname", 0x101000, []byte("6.1.0-1")}, cmdline("module_blacklist=algif_aead,rxrpc initcall_blacklist=algif_aead_init"))
	if _, refusals, _ := spliceOne(t, map[string][]byte{ukiPath: signed, ukiPath + ".extra.d/a.addon.efi": other}, want); len(refusals) != 1 {
		t.Errorf("with an addon for another kernel: refusals %v, want one", refusals)
	}
}

func checksum(t *testing.T, data []byte) uint32 {
	return parse(t, data).OptionalHeader.(*pe.OptionalHeader64).CheckSum
}

// TestDebugDirectoryMoves: its file offsets point behind the section that grows.
func TestDebugDirectoryMoves(t *testing.T) {
	entry := make([]byte, 28)
	data := smallPE([]section{osrel(), cmdline(strings.Repeat("quiet ", 84)), {".rdata", 0x180000, entry}, {".linux", 0x200000, []byte("k")}})
	file := parse(t, data)
	target := file.Section(".linux").Offset
	binary.LittleEndian.PutUint32(data[file.Section(".rdata").Offset+24:], target)
	binary.LittleEndian.PutUint32(data[0x58+112+6*8:], 0x180000)
	binary.LittleEndian.PutUint32(data[0x58+112+6*8+4:], uint32(len(entry)))
	edits, refusals, _ := spliceOne(t, map[string][]byte{ukiPath: data}, want)
	if len(edits) != 1 || len(refusals) != 0 {
		t.Fatalf("%d edits, refusals %v, want one edit", len(edits), refusals)
	}
	after := parse(t, edits[0].Data)
	moved := after.Section(".linux").Offset
	got := binary.LittleEndian.Uint32(edits[0].Data[after.Section(".rdata").Offset+24:])
	if moved == target || got != moved {
		t.Errorf("debug entry points to %#x, the section is at %#x, before it was at %#x", got, moved, target)
	}
}

// TestAddonThatOverrides: an argument in the image's own line would stand before the
// addon's, which wins.
func TestAddonThatOverrides(t *testing.T) {
	image, addon := makeUKI(t, osrel(), uname(), cmdline("quiet"), linux()), makeUKI(t, cmdline("module_blacklist=nouveau"))
	_, refusals, _ := spliceOne(t, map[string][]byte{ukiPath: image, ukiPath + ".extra.d/a.addon.efi": addon}, want)
	if len(refusals) != 1 || !strings.Contains(refusals[0].Why, "still lacks algif_aead, rxrpc") {
		t.Errorf("refusals are %v, want one that says what is lacking", refusals)
	}
}

func TestImageWithoutRoom(t *testing.T) {
	image := makeUKI(t, osrel(), cmdline("quiet"), section{".splash", 0x110010, []byte("x")}, linux())
	edits, refusals, _ := spliceOne(t, map[string][]byte{ukiPath: image}, want)
	if len(edits) != 0 || len(refusals) != 1 || !strings.Contains(refusals[0].Why, "room for 16 bytes in memory") {
		t.Errorf("%d edits, refusals %v, want one for want of room", len(edits), refusals)
	}
}

// TestImagesElsewhere: a kernel under the name that firmware starts, in the directory
// of its modules, and programs that are no kernels.
func TestImagesElsewhere(t *testing.T) {
	image := makeUKI(t, osrel(), cmdline("quiet"), linux())
	program, err := os.ReadFile("/usr/lib/systemd/boot/efi/systemd-bootx64.efi")
	if err != nil {
		t.Fatalf("%v: apt-get install systemd-boot-efi", err)
	}
	edits, refusals, c := spliceOne(t, map[string][]byte{"/boot/efi/EFI/BOOT/BOOTX64.EFI": image, "/boot/efi/EFI/systemd/systemd-bootx64.efi": program,
		"/usr/lib/modules/6.1.0/vmlinuz-virt.efi": image}, want)
	if len(edits) != 2 || len(refusals) != 0 || len(c.Entries) != 2 || c.Entries[0].Template || !c.Entries[1].Template {
		t.Errorf("%d edits, refusals %v, entries %v, want two of each and one template", len(edits), refusals, c.Entries)
	}
}
