package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// TestBlock puts a block behind every kind of image and has cpio read it.
func TestBlock(t *testing.T) {
	images := 0
	for _, c := range compressors {
		for layout, image := range layouts(t, c.codec, newc(mainRecords()...)) {
			t.Run(fmt.Sprintf("%s, %s", c.codec, layout), func(t *testing.T) {
				w := wanted()
				before := open(t, image)
				keep, data, err := Block(before, w)
				if err != nil {
					t.Fatal(err)
				}
				if keep != int64(len(image)) || !bytes.Equal(data[:leadZeros], make([]byte, leadZeros)) || (keep+int64(len(data)))%alignment != 0 {
					t.Errorf("keep is %d of %d, %d bytes follow, first of them %x", keep, len(image), len(data), data[:leadZeros])
				}
				blocked := append(bytes.Clone(image), data...)
				img := open(t, blocked)
				ours := img.Segments[len(img.Segments)-1]
				if err := Check(img, w); err != nil || ours.Codec != None || ours.Offset%alignment != 0 {
					t.Errorf("read back: %v, our segment is %+v", err, ours)
				}
				if again := appendTo(t, blocked, w); !bytes.Equal(again, blocked) {
					t.Error("a second block changes the image")
				}
				if keep, found := Unblock(img); keep != int64(len(image)) || !found {
					t.Errorf("unblocking keeps %d bytes, %v, want %d", keep, found, len(image))
				}
				holdUnloadable(t, img, before)
				holdCpio(t, blocked[ours.Offset:])
				images++
			})
		}
	}
	t.Logf("%d images blocked, read back and blocked again", images)
}

// holdUnloadable compares module files before and after.
func holdUnloadable(t *testing.T, img, before *Image) {
	t.Helper()
	now, old := facts(t, img), facts(t, before)
	if len(now.Modules) != len(old.Modules) || len(now.Modules) != 5 {
		t.Fatalf("modules are %v, were %v", now.Modules, old.Modules)
	}
	for i, m := range now.Modules {
		switch gone := m.Name != "esp40"; {
		case gone && m.Size != 0:
			t.Errorf("%s has %d bytes, want 0", m.Path, m.Size)
		case !gone && m != old.Modules[i]:
			t.Errorf("%+v, was %+v", m, old.Modules[i])
		}
	}
	if info, err := img.Tree().Lstat("/lib"); err != nil || info.Mode.IsDir() {
		t.Errorf("/lib is %v, %v, want the link that it was", info.Mode, err)
	}
}

// holdCpio has cpio list our archive.
func holdCpio(t *testing.T, archive []byte) {
	t.Helper()
	modules := "usr/lib/modules/" + release + "/kernel/"
	want := []string{"usr/lib/kerngate", "usr/lib/kerngate/initramfs", "etc/modprobe.d/00-kerngate.conf", modules + "af_alg.ko.xz", modules + "algif_aead.ko", modules + "esp4.ko", modules + "xfrm-user.ko.zst"}
	if got := strings.Fields(string(filter(t, "cpio", archive, "cpio", "--quiet", "-t"))); !slices.Equal(got, want) {
		t.Errorf("cpio lists %q, want %q", got, want)
	}
}

func facts(t *testing.T, img *Image) Facts {
	t.Helper()
	f, err := img.Facts()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestBlockTrees has images in which parents or the files themselves are unusual.
func TestBlockTrees(t *testing.T) {
	const marker = "/usr/lib/kerngate/initramfs"
	for _, c := range []struct {
		name    string
		records []record
		want    string // names that hold ours, and what was made for them
		refused string
	}{
		{"empty image", []record{dir(".")}, "/etc/ /etc/modprobe.d/ /etc/modprobe.d/00-kerngate.conf=x /usr/ /usr/lib/ /usr/lib/kerngate/ " + marker, ""},
		{"lib is a directory of its own", []record{dir("lib"), dir("lib/m"), file("lib/m/algif_aead.ko", "1")},
			"/etc/ /etc/modprobe.d/ /etc/modprobe.d/00-kerngate.conf=x /lib/ /lib/m/ /lib/m/algif_aead.ko= /usr/ /usr/lib/ /usr/lib/kerngate/ " + marker, ""},
		{"configuration directory is a link", []record{dir("usr"), dir("usr/lib"), dir("usr/lib/modprobe.d"), dir("etc"), symlink("etc/modprobe.d", "../usr/lib/modprobe.d")},
			"/etc/ /etc/modprobe.d->../usr/lib/modprobe.d /usr/ /usr/lib/ /usr/lib/kerngate/ " + marker + " /usr/lib/modprobe.d/ /usr/lib/modprobe.d/00-kerngate.conf=x", ""},
		{"configuration directory links to nothing", []record{dir("etc"), symlink("etc/modprobe.d", "/run/m")},
			"/etc/ /etc/modprobe.d->/run/m /run/ /run/m/ /run/m/00-kerngate.conf=x /usr/ /usr/lib/ /usr/lib/kerngate/ " + marker, ""},
		{"configuration is masked", []record{dir("etc"), dir("etc/modprobe.d"), symlink("etc/modprobe.d/00-kerngate.conf", "/dev/null")},
			"/etc/ /etc/modprobe.d/ /etc/modprobe.d/00-kerngate.conf=x /usr/ /usr/lib/ /usr/lib/kerngate/ " + marker, ""},
		{"module is a link", []record{dir("m"), file("m/other", "1"), symlink("m/algif-aead.ko.zst", "other")},
			"/etc/ /etc/modprobe.d/ /etc/modprobe.d/00-kerngate.conf=x /m/ /m/algif-aead.ko.zst= /m/other=1 /usr/ /usr/lib/ /usr/lib/kerngate/ " + marker, ""},
		{"module has two names", []record{dir("m"), linked("m/algif_aead.ko", ""), linked("m/algif-aead.ko", "1")},
			"/etc/ /etc/modprobe.d/ /etc/modprobe.d/00-kerngate.conf=x /m/ /m/algif-aead.ko= /m/algif_aead.ko= /usr/ /usr/lib/ /usr/lib/kerngate/ " + marker, ""},
		{"module shares its content", []record{dir("m"), linked("m/algif_aead.ko", ""), linked("m/other.ko", "1")}, "", "hard link to /m/other.ko"},
		{"module is a directory", []record{dir("algif_aead.ko"), file("algif_aead.ko/f", "1")},
			"/algif_aead.ko/ /algif_aead.ko/f=1 /etc/ /etc/modprobe.d/ /etc/modprobe.d/00-kerngate.conf=x /usr/ /usr/lib/ /usr/lib/kerngate/ " + marker, ""},
		{"file in the way", []record{file("etc", "1")}, "", "/etc is no directory"},
		{"directory in the way", []record{dir("etc"), dir("etc/modprobe.d"), dir("etc/modprobe.d/00-kerngate.conf")}, "", "is a directory"},
		{"links in a circle", []record{symlink("etc", "etc")}, "", "symbolic links"},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := newc(c.records...)
			w := Wanted{Config: []byte("x"), Modules: []string{"algif_aead"}}
			keep, data, err := Block(open(t, image), w)
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Fatalf("got %v, want %q", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			img := open(t, append(image[:keep], data...))
			got := shortListing(t, img.Tree())
			got = got[:strings.Index(got, marker)+len(marker)] + strings.TrimPrefix(got[strings.Index(got, marker)+len(marker):], "=kerngate initramfs 1\nkeep "+fmt.Sprint(keep)+"\n")
			if got != c.want {
				t.Errorf("tree is\n%s, want\n%s", got, c.want)
			}
			if err := Check(img, w); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBlockIsDeterministic(t *testing.T) {
	image := compress(t, Gzip, newc(mainRecords()...))
	w := wanted()
	first := appendTo(t, image, w)
	slices.Reverse(w.Modules)
	if !bytes.Equal(first, appendTo(t, image, w)) {
		t.Error("the order of modules matters")
	}
	w.Config = append(w.Config, "alias esp4 off\n"...)
	w.Modules = w.Modules[:1]
	if changed := appendTo(t, first, w); !bytes.Equal(changed, appendTo(t, image, w)) {
		t.Error("replacing a block is not the same as a first one")
	}
	e := open(t, first).Entries
	if got := e[len(e)-1].ModTime; !got.Equal(time.Unix(1_700_000_000, 0)) {
		t.Errorf("modification time is %v", got)
	}
}

// TestBlockRefused has images whose end is not what it seems.
func TestBlockRefused(t *testing.T) {
	image := newc(mainRecords()...)
	blocked := appendTo(t, image, wanted())
	for _, c := range []struct {
		name  string
		image []byte
		want  string
	}{
		{"another archive behind ours", append(bytes.Clone(blocked), newc(file("x", "x"))...), "another archive follows"},
		{"marker that lies", bytes.Replace(blocked, []byte(fmt.Sprintf("keep %d\n", len(image))), []byte(fmt.Sprintf("keep %d\n", len(image)-700)), 1), "which it does not"},
		{"marker alone", newc(dir("usr"), dir("usr/lib"), dir("usr/lib/kerngate"), file("usr/lib/kerngate/initramfs", "kerngate initramfs 1\nkeep 0\n")), "no archive appended"},
		{"boot configuration", append(bytes.Clone(image), "\x00\x00\x00\x00\x00\x00\x00\x00#BOOTCONFIG\n"...), "boot configuration at the end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			img, err := Open(bytes.NewReader(c.image), int64(len(c.image)))
			if err == nil {
				_, _, err = Block(img, wanted())
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestCheckFails: what was blocked and then undone is seen.
func TestCheckFails(t *testing.T) {
	image := newc(mainRecords()...)
	other := wanted()
	other.Config = []byte("nothing")
	less := wanted()
	less.Modules = []string{"af_alg"}
	for _, c := range []struct {
		name  string
		image []byte
		want  string
	}{
		{"no block", image, "no archive of kerngate"},
		{"other configuration", appendTo(t, image, other), "is not as wanted"},
		{"fewer modules", appendTo(t, image, less), "algif_aead.ko has 35000 bytes"},
	} {
		if err := Check(open(t, c.image), wanted()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func TestUnblockForeign(t *testing.T) {
	image := newc(mainRecords()...)
	if keep, found := Unblock(open(t, image)); keep != int64(len(image)) || found {
		t.Errorf("got %d, %v, want %d and nothing found", keep, found, len(image))
	}
}

func TestGeneratorFiles(t *testing.T) {
	const header = "# kerngate\n"
	for _, c := range []struct {
		name  string
		files []record
		want  []string // path, and words of it
		err   string
	}{
		{"none", []record{dir(".")}, nil, ""},
		{"initramfs-tools", []record{dir("usr"), dir("usr/sbin"), file("usr/sbin/mkinitramfs", "")}, []string{initramfsToolsHook, "'esp4'", "'algif[-_]aead'"}, ""},
		{"dracut", []record{dir("usr"), dir("usr/bin"), file("usr/bin/dracut", "")}, []string{dracutConf, `omit_drivers+=" esp4 algif_aead "`, `install_items+=" /etc/modprobe.d/00-kerngate.conf "`}, ""},
		{"mkinitcpio", []record{dir("usr"), dir("usr/bin"), file("usr/bin/mkinitcpio", "/etc/mkinitcpio.conf.d")}, []string{mkinitcpioConf, "FILES+=(/etc/modprobe.d/00-kerngate.conf)"}, ""},
		{"mkinitcpio without parts", []record{dir("usr"), dir("usr/bin"), file("usr/bin/mkinitcpio", "")}, nil, ""},
		{"booster", []record{dir("usr"), dir("usr/bin"), file("usr/bin/booster", "")}, []string{boosterConf, "# kerngate\nmodules: -esp4,-algif_aead\nextra_files: /etc/modprobe.d/00-kerngate.conf\n"}, ""},
		{"booster with a configuration", []record{dir("usr"), dir("usr/bin"), file("usr/bin/booster", ""), dir("etc"), file("etc/booster.yaml", "modules: -*,nvme,-esp4\nstrip: true\nextra_files: vim")},
			[]string{boosterConf, "modules: -*,nvme,-esp4,-algif_aead\nstrip: true\nextra_files: vim,/etc/modprobe.d/00-kerngate.conf"}, ""},
		{"booster with a quoted list", []record{dir("usr"), dir("usr/bin"), file("usr/bin/booster", ""), dir("etc"), file("etc/booster.yaml", "modules: \"nvme\"\n")}, nil, "by hand"},
	} {
		t.Run(c.name, func(t *testing.T) {
			files, err := GeneratorFiles(open(t, newc(c.files...)).Tree(), header, []string{"esp4", "algif_aead"})
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Fatalf("got %v, want %q", err, c.err)
			}
			if len(c.want) == 0 {
				if len(files) > 0 {
					t.Errorf("got %v, want none", files)
				}
				return
			}
			if len(files) != 1 || files[0].Path != c.want[0] {
				t.Fatalf("got %v, want %s", files, c.want[0])
			}
			for _, words := range c.want[1:] {
				if !strings.Contains(string(files[0].Data), words) {
					t.Errorf("%s is\n%s\nwant in it %s", files[0].Path, files[0].Data, words)
				}
			}
			if path.Base(files[0].Path) == "zz-kerngate" {
				filter(t, "dash", files[0].Data, "sh", "-n")
			}
		})
	}
	if _, err := GeneratorFiles(open(t, newc(dir("."))).Tree(), header, []string{"a; rm -rf /"}); err == nil {
		t.Error("a name for the shell: no error")
	}
}

// TestAppendedReads reads across the seam in every way.
func TestAppendedReads(t *testing.T) {
	r, size := Appended(strings.NewReader("0123456789"), 6, []byte("abc"))
	for from := range size {
		for to := from; to <= size; to++ {
			p := make([]byte, to-from)
			if n, err := r.ReadAt(p, from); n != len(p) || string(p) != "012345abc"[from:to] {
				t.Errorf("bytes %d to %d are %q, %v", from, to, p[:n], err)
			}
		}
	}
	p := make([]byte, 5)
	if n, err := r.ReadAt(p, size-2); n != 2 || err == nil {
		t.Errorf("beyond the end: %d bytes, %v", n, err)
	}
}

var _ rootfs.Tree = (*Tree)(nil)

// errors of refusals are told apart.
func TestRefusalsAreTold(t *testing.T) {
	_, _, err := Block(open(t, newc(file("etc", ""))), wanted())
	if !errors.Is(err, ErrRefused) {
		t.Errorf("got %v, want ErrRefused", err)
	}
}

// TestPaddedStart: at least four zeros, and a multiple of 512.
func TestPaddedStart(t *testing.T) {
	for keep, want := range map[int64]int64{1: 512, 508: 512, 509: 1024, 512: 1024, 1020: 1024, 1021: 1536} {
		if got := paddedStart(keep); got != want {
			t.Errorf("behind %d bytes: start is %d, want %d", keep, got, want)
		}
	}
}
