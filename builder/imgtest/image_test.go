package imgtest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestKernel(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "kernels"), "6.1.0-56-cloud-amd64\n7.2.12+deb14-cloud-amd64\n")
	d, err := openImage(dir)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{ // wanted release: release that is found, or a part of the error
		"6.1":                  "6.1.0-56-cloud-amd64",
		"7.2":                  "7.2.12+deb14-cloud-amd64",
		"6.1.0-56-cloud-amd64": "6.1.0-56-cloud-amd64",
		Newest:                 "7.2.12+deb14-cloud-amd64",
		"7":                    "7.2.12+deb14-cloud-amd64",
		"7.20":                 "no kernel",
		"6.12":                 "no kernel",
		"":                     "no kernel",
	}
	for want, found := range tests {
		t.Run("kernel "+want, func(t *testing.T) {
			vmlinuz, initrd, err := d.Kernel(want)
			if err != nil {
				if !strings.Contains(err.Error(), found) {
					t.Errorf("error is %v, want %s", err, found)
				}
				return
			}
			if vmlinuz != filepath.Join(dir, "vmlinuz-"+found) || initrd != filepath.Join(dir, "initrd-"+found) {
				t.Errorf("got %s and %s, want those of %s", vmlinuz, initrd, found)
			}
		})
	}
}

func TestOpenImageWithoutKernels(t *testing.T) {
	dir := t.TempDir()
	if _, err := openImage(dir); err == nil {
		t.Error("a directory without a list of kernels is taken for an image")
	}
	write(t, filepath.Join(dir, "kernels"), "\n")
	if _, err := openImage(dir); err == nil {
		t.Error("an image without kernels is taken")
	}
}

// TestKeepImages: what is old, of the same name and of another recipe goes, and nothing
// else.
func TestKeepImages(t *testing.T) {
	cache, now := t.TempDir(), time.Now()
	const day = 24 * time.Hour
	age := map[string]time.Duration{
		"forky-00000000000000aa":            30 * day, // the one in use
		"forky-00000000000000bb":            3 * day,
		"forky-00000000000000bb.Xy12Zz":     3 * day,
		"forky-00000000000000cc":            1 * day,
		"forky-sdboot-00000000000000bb":     30 * day,
		"forky-of-somebody":                 30 * day,
		"bookworm-00000000000000bb":         30 * day,
		"forky.lock":                        30 * day,
		"forky-00000000000000dd/disk.raw":   0, // its directory is new, too
		"forky-00000000000000ee.not-a-name": 30 * day,
	}
	for name, old := range age {
		if err := WriteFiles(cache, 0o644, map[string]string{name + "/kernels": "6.1.0\n"}); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(cache, name), now.Add(-old), now.Add(-old)); err != nil {
			t.Fatal(err)
		}
	}
	if err := keepImages(filepath.Join(cache, "forky-00000000000000aa"), now); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"bookworm-00000000000000bb", "forky-00000000000000aa", "forky-00000000000000cc", "forky-00000000000000dd",
		"forky-00000000000000ee.not-a-name", "forky-of-somebody", "forky-sdboot-00000000000000bb", "forky.lock",
	}
	entries, err := os.ReadDir(cache)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, want) {
		t.Errorf("left are %q, want %q", got, want)
	}
	info, err := os.Stat(filepath.Join(cache, "forky-00000000000000aa"))
	if err != nil || now.Sub(info.ModTime()) > time.Minute {
		t.Errorf("the one in use is of %v (%v), want now", info.ModTime(), err)
	}
	if err := keepImages(cache, now); err == nil {
		t.Error("a directory that is not called NAME-RECIPE is taken for an image")
	}
}
