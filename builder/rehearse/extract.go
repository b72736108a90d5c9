package rehearse

import (
	"debug/pe"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// initrdAlign is the boundary that several initramfs files are put on. The kernel wants 4
// bytes, but looks at some more behind an archive packed with lz4.
const initrdAlign = 512

// extract writes the kernel and the initramfs of a boot into a directory, as files that
// QEMU takes. Without an initramfs the second name is empty.
func (b Boot) extract(t rootfs.Tree, dir string) (kernel, initrd string, err error) {
	kernel, initrd = filepath.Join(dir, "kernel"), filepath.Join(dir, "initrd")
	if b.unified {
		if err := b.unpack(t, kernel, initrd); err != nil {
			return "", "", fmt.Errorf("cannot take the kernel out of %s: %w", b.Kernel, err)
		}
		return kernel, initrd, nil
	}
	if err := gather(kernel, t, maxKernel, b.Kernel); err != nil {
		return "", "", err
	}
	if len(b.Initrds) == 0 {
		return kernel, "", nil
	}
	if len(b.Initrds) > maxInitrds {
		return "", "", fmt.Errorf("boot entry has %d initramfs files, limit is %d", len(b.Initrds), maxInitrds)
	}
	return kernel, initrd, gather(initrd, t, maxInitrd, b.Initrds...)
}

// gather writes files of a tree one behind the other.
func gather(out string, t rootfs.Tree, limit int64, names ...string) (err error) {
	w, err := newPieces(out, limit)
	if err != nil {
		return err
	}
	defer w.close(&err)
	for _, name := range names {
		if err := w.addFile(t, name); err != nil {
			return fmt.Errorf("cannot take %s out of the image: %w", name, err)
		}
	}
	return nil
}

// unpack writes the sections of a unified kernel image (UAPI.5) as files. The stub
// hands the microcode to the kernel before the initramfs (systemd-stub(7)).
func (b Boot) unpack(t rootfs.Tree, kernel, initrd string) (err error) {
	literal, err := rootfs.Resolve(t, b.Kernel)
	if err != nil {
		return err
	}
	f, err := t.Open(literal)
	if err != nil {
		return err
	}
	defer f.Close()
	image, err := pe.NewFile(io.NewSectionReader(f, 0, f.Size()))
	if err != nil {
		return err
	}
	defer image.Close()
	if err := sections(kernel, image, maxKernel, ".linux"); err != nil {
		return err
	}
	return sections(initrd, image, maxInitrd, ".ucode", ".initrd")
}

// sections writes sections of an image one behind the other.
func sections(out string, image *pe.File, limit int64, names ...string) (err error) {
	w, err := newPieces(out, limit)
	if err != nil {
		return err
	}
	defer w.close(&err)
	for _, name := range names {
		s := image.Section(name)
		if s == nil {
			continue
		}
		size := int64(min(s.Size, s.VirtualSize)) // in the file it is rounded up
		if err := w.add(io.NewSectionReader(s, 0, size), size); err != nil {
			return fmt.Errorf("section %s: %w", name, err)
		}
	}
	return nil
}

// pieces is a file made of others, each at an aligned place.
type pieces struct {
	file *os.File
	size int64
	left int64 // bytes that may still come
}

func newPieces(name string, limit int64) (*pieces, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &pieces{file: f, left: limit}, nil
}

// close gives back the handle; the first error stands.
func (p *pieces) close(err *error) {
	if closeErr := p.file.Close(); *err == nil {
		*err = closeErr
	}
}

func (p *pieces) addFile(t rootfs.Tree, name string) error {
	literal, err := rootfs.Resolve(t, name)
	if err != nil {
		return err
	}
	f, err := t.Open(literal)
	if err != nil {
		return err
	}
	defer f.Close()
	return p.add(io.NewSectionReader(f, 0, f.Size()), f.Size())
}

func (p *pieces) add(r io.Reader, size int64) error {
	if size > p.left {
		return fmt.Errorf("size is %d bytes, want at most %d", size, p.left)
	}
	padded := (p.size + initrdAlign - 1) / initrdAlign * initrdAlign
	if _, err := p.file.Seek(padded, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.CopyN(p.file, r, size); err != nil {
		return err
	}
	p.size, p.left = padded+size, p.left-size
	return nil
}
