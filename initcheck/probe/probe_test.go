package probe

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/kerngate/kerngate/initcheck"
)

const release = "7.2.12+deb14-cloud-amd64"

const (
	modules = "algif_hash 20480 0 - Live 0x0000000000000000\n" +
		"af_alg 45056 1 algif_hash, Live 0xffffffffc0a2b000\n" +
		"nvidia 62914560 44 nvidia_uvm,nvidia_modeset, Live 0x0000000000000000 (POE)\n" +
		"esp4 28672 0 [permanent], Loading 0x0000000000000000\n"
	builtins  = "kernel/crypto/algif-aead.ko\nkernel/net/rxrpc/rxrpc.ko\n"
	protocols = "protocol  size sockets  memory press maxhdr  slab module     cl co\n" +
		"ALG        920      0      -1   NI       0   no   af_alg      n  n\n" +
		"UDPv6     1472      2       0   NI       0   yes  kernel      y  y\n"
)

func system(change map[string]string) fstest.MapFS {
	root := fstest.MapFS{
		"proc/modules":                                {Data: []byte(modules)},
		"proc/net/protocols":                          {Data: []byte(protocols)},
		"proc/uptime":                                 {Data: []byte("12.34 20.00\n")},
		"sys/module/af_alg/refcnt":                    {Data: []byte("1\n")},
		"sys/module/printk/parameters":                {Data: []byte("")},
		"proc/sys/kernel/random/boot_id":              {Data: []byte("6f1f4c1e-5d0e-4a57-9f55-0d4f5b8c2a11\n")},
		"lib/modules/" + release + "/modules.builtin": {Data: []byte(builtins)},
	}
	for name, data := range change {
		if data == missing {
			delete(root, name)
		} else {
			root[name] = &fstest.MapFile{Data: []byte(data)}
		}
	}
	return root
}

const missing = "(missing)"

func read(root fs.FS) initcheck.Facts {
	return Read(root, Uname{Release: release, Version: "#1 SMP"})
}

func TestRead(t *testing.T) {
	f := read(system(nil))
	if f.Release != release || f.Version != "#1 SMP" {
		t.Errorf("kernel is %q, %q", f.Release, f.Version)
	}
	for _, c := range []struct {
		set    initcheck.Set
		source string
		has    []string
		not    []string
		n      int
	}{
		{f.Loaded, "/proc/modules", []string{"algif_hash", "af_alg", "af-alg", "nvidia", "esp4"}, []string{"nvidia_uvm", "Live", ""}, 4},
		{f.BuiltIn, "/lib/modules/" + release + "/modules.builtin", []string{"algif_aead", "rxrpc"}, []string{"algif_hash", "rxrpc.ko"}, 2},
		{f.Present, "/sys/module", []string{"af_alg", "printk"}, []string{"algif_hash"}, 2},
		{f.Protocols, "/proc/net/protocols", []string{"ALG", "UDPv6"}, []string{"RXRPC", "alg"}, 3},
	} {
		if !c.set.Read || c.set.Err != "" || c.set.Source != c.source || c.set.Len() != c.n {
			t.Errorf("%s: read %v with %d names, error %q, source %q, want %d names", c.source, c.set.Read, c.set.Len(), c.set.Err, c.set.Source, c.n)
		}
		for _, name := range c.has {
			if !c.set.Has(name) {
				t.Errorf("%s lacks %q", c.source, name)
			}
		}
		for _, name := range c.not {
			if c.set.Has(name) {
				t.Errorf("%s has %q", c.source, name)
			}
		}
	}
}

func TestUnread(t *testing.T) {
	const builtinFile = "lib/modules/" + release + "/modules.builtin"
	loaded := func(f initcheck.Facts) initcheck.Set { return f.Loaded }
	builtIn := func(f initcheck.Facts) initcheck.Set { return f.BuiltIn }
	present := func(f initcheck.Facts) initcheck.Set { return f.Present }
	protocols := func(f initcheck.Facts) initcheck.Set { return f.Protocols }
	cases := []struct {
		name, file, data string
		set              func(initcheck.Facts) initcheck.Set
		want             string
	}{
		{"modules missing", "proc/modules", missing, loaded, "file does not exist"},
		{"modules cut in a line", "proc/modules", modules[:len(modules)-9], loaded, "cut short"},
		{"modules cut before the end of line", "proc/modules", modules[:len(modules)-1], loaded, "cut short"},
		{"modules of another form", "proc/modules", "algif_hash\n", loaded, `line 1 is "algif_hash", want name, size`},
		{"modules with a blank line", "proc/modules", modules + "\n", loaded, "line 5"},
		{"modules with a short line", "proc/modules", modules + "x 1 2 - Live\n", loaded, "line 5"},
		{"modules too large", "proc/modules", strings.Repeat(modules, maxText/len(modules)+1), loaded, "more than 4194304 bytes"},
		{"modules no UTF-8", "proc/modules", "\xff\xfe 1 0 - Live 0x0\n", loaded, "no UTF-8"},
		{"modules with NUL", "proc/modules", "a\x00b 1 0 - Live 0x0\n", loaded, "line 1"},
		{"builtin missing", builtinFile, missing, builtIn, "file does not exist"},
		{"builtin empty", builtinFile, "", builtIn, "it is empty"},
		{"builtin cut", builtinFile, builtins[:len(builtins)-4], builtIn, "cut short"},
		{"builtin of another form", builtinFile, "kernel/crypto/af_alg.o\n", builtIn, "a path that ends in .ko"},
		{"builtin no UTF-8", builtinFile, "kernel/\xff.ko\n", builtIn, "no UTF-8"},
		{"protocols missing", "proc/net/protocols", missing, protocols, "file does not exist"},
		{"protocols of another form", "proc/net/protocols", "\n", protocols, "line 1"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			set := c.set(read(system(map[string]string{c.file: c.data})))
			if set.Read || !strings.Contains(set.Err, c.want) {
				t.Errorf("read %v with error %q, want an error with %q", set.Read, set.Err, c.want)
			}
			if set.Source != "/"+c.file {
				t.Errorf("source is %q, want %q", set.Source, "/"+c.file)
			}
			if set.Len() != 0 {
				t.Errorf("it lists %d names although it was not read", set.Len())
			}
		})
	}
	t.Run("sys missing", func(t *testing.T) {
		root := system(nil)
		delete(root, "sys/module/af_alg/refcnt")
		delete(root, "sys/module/printk/parameters")
		if set := present(read(root)); set.Read || set.Err != "file does not exist" {
			t.Errorf("read %v with error %q, want it unread", set.Read, set.Err)
		}
	})
	t.Run("sys a file", func(t *testing.T) {
		root := system(nil)
		delete(root, "sys/module/af_alg/refcnt")
		delete(root, "sys/module/printk/parameters")
		root["sys/module"] = &fstest.MapFile{}
		if set := present(read(root)); set.Read || set.Err != "it is not a directory" {
			t.Errorf("read %v with error %q, want it unread", set.Read, set.Err)
		}
	})
}

func TestNoModulesLoaded(t *testing.T) {
	f := read(system(map[string]string{"proc/modules": ""}))
	if !f.Loaded.Read || f.Loaded.Len() != 0 {
		t.Errorf("an empty /proc/modules: read %v with %d names, want it read and empty", f.Loaded.Read, f.Loaded.Len())
	}
}

func TestCutModulesAtEveryLength(t *testing.T) {
	for n := 1; n < len(modules); n++ {
		f := read(system(map[string]string{"proc/modules": modules[:n]}))
		if wantRead := modules[n-1] == '\n'; f.Loaded.Read != wantRead {
			t.Fatalf("the first %d bytes: read is %v, want %v", n, f.Loaded.Read, wantRead)
		}
	}
}

func TestBuiltInUnderUsr(t *testing.T) {
	root := system(map[string]string{"lib/modules/" + release + "/modules.builtin": missing,
		"usr/lib/modules/" + release + "/modules.builtin": builtins})
	f := read(root)
	if want := "/usr/lib/modules/" + release + "/modules.builtin"; !f.BuiltIn.Read || f.BuiltIn.Source != want {
		t.Errorf("read %v from %q (%s), want %q", f.BuiltIn.Read, f.BuiltIn.Source, f.BuiltIn.Err, want)
	}
}

func TestBrokenFileUnderUsrIsNotPassedOver(t *testing.T) {
	f := read(system(map[string]string{"usr/lib/modules/" + release + "/modules.builtin": "garbage"}))
	if f.BuiltIn.Read {
		t.Error("a broken file under /usr/lib was passed over for the one under /lib")
	}
}

func TestReleaseThatIsNoDirectoryName(t *testing.T) {
	for _, r := range []string{"", ".", "..", "../../etc", "a/b", "/"} {
		f := Read(system(map[string]string{"lib/modules/modules.builtin": builtins, "lib/modules/a/b/modules.builtin": builtins, "lib/modules.builtin": builtins, "etc/modules.builtin": builtins}), Uname{Release: r})
		if f.BuiltIn.Read {
			t.Errorf("release %q: read %s", r, f.BuiltIn.Source)
		}
	}
}

// stuckFS gives an error in the middle of a file.
type stuckFS struct{ fs.FS }

type stuckFile struct{ fs.File }

var errIO = errors.New("input/output error")

func (s stuckFS) Open(name string) (fs.File, error) {
	f, err := s.FS.Open(name)
	return stuckFile{f}, err
}

func (stuckFile) Read([]byte) (int, error) { return 0, errIO }

func (stuckFile) ReadDir(int) ([]fs.DirEntry, error) { return nil, errIO }

func TestReadErrors(t *testing.T) {
	f := read(stuckFS{system(nil)})
	for _, set := range []initcheck.Set{f.Loaded, f.BuiltIn, f.Present, f.Protocols} {
		if set.Read || !strings.Contains(set.Err, errIO.Error()) {
			t.Errorf("%s: read %v with error %q, want %q", set.Source, set.Read, set.Err, errIO)
		}
	}
}

func TestReadBoot(t *testing.T) {
	want := Boot{ID: "6f1f4c1e-5d0e-4a57-9f55-0d4f5b8c2a11", Uptime: 12340 * time.Millisecond}
	if got := ReadBoot(system(nil)); got != want {
		t.Errorf("ReadBoot gives %+v, want %+v", got, want)
	}
	if got := ReadBoot(fstest.MapFS{}); got != (Boot{}) {
		t.Errorf("ReadBoot of nothing gives %+v", got)
	}
	for _, bad := range []string{"", "x", "-1 2\n", "NaN 1\n", "1e300 1\n"} {
		if got := ReadBoot(system(map[string]string{"proc/uptime": bad})); got.Uptime != 0 {
			t.Errorf("uptime of %q is %v, want it unknown", bad, got.Uptime)
		}
	}
}

func TestLiveUname(t *testing.T) {
	u, err := LiveUname()
	if err != nil || u.Release == "" || u.Version == "" || strings.ContainsRune(u.Release+u.Version, 0) {
		t.Errorf("LiveUname gives %+v, %v", u, err)
	}
}

func FuzzLines(f *testing.F) {
	for _, seed := range []struct {
		text string
		line func(string) (string, error)
	}{{modules, moduleLine}, {builtins, builtInLine}, {protocols, protocolLine}} {
		if names, err := lines(fstest.MapFS{"f": {Data: []byte(seed.text)}}, "f", seed.line); err != nil || len(names) < 2 {
			f.Fatalf("seed %q: %q, %v", seed.text, names, err)
		}
		f.Add(seed.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		root := fstest.MapFS{"f": {Data: []byte(text)}}
		for _, line := range []func(string) (string, error){moduleLine, builtInLine, protocolLine} {
			names, err := lines(root, "f", line)
			if err == nil && len(names) != strings.Count(text, "\n") {
				t.Errorf("%d names from %d lines of %q", len(names), strings.Count(text, "\n"), text)
			}
		}
	})
}
