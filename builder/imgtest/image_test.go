package imgtest

import (
	"path/filepath"
	"strings"
	"testing"
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
