package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxMountinfo bounds /proc/self/mountinfo, which has a line of some 200 bytes for
// each mount; the kernel allows 100000 mounts by default (fs.mount-max).
const maxMountinfo = 64 << 20

// openDevice opens a block device for reading, if nobody uses it. As long as it is
// open the kernel lets nobody mount it.
func openDevice(name string) (*os.File, int64, error) {
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		return nil, 0, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	mounts, err := readMountinfo()
	if err != nil {
		return nil, 0, err
	}
	user, err := userOf(os.DirFS("/sys"), mounts, unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)))
	if err != nil {
		return nil, 0, fmt.Errorf("cannot tell whether it is in use: %w", err)
	}
	if user != "" {
		return nil, 0, deviceInUse(user)
	}
	// O_EXCL on a block device is a claim (open(2)); it is refused when the device or a
	// partition of it is mounted anywhere, swapped to, or part of another device.
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_EXCL|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, 0, deviceInUse("the kernel says that something uses it")
	}
	if err != nil {
		return nil, 0, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, size, nil
}

func isDevice(info fs.FileInfo) bool { return info.Mode().Type() == fs.ModeDevice }

// copyDevice copies a device, of which the kernel does not know what is data.
func copyDevice(ctx context.Context, dst, src *os.File, progress Progress) error {
	size, err := src.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if err := dst.Truncate(size); err != nil {
		return err
	}
	return copyNonzero(ctx, dst, io.NewSectionReader(src, 0, size), progress)
}

// copyNonzero copies all but zeros, which become holes of an empty file.
func copyNonzero(ctx context.Context, dst io.WriterAt, src *io.SectionReader, progress Progress) error {
	const chunk, block = 1 << 20, 4096
	data, zeros := make([]byte, chunk), make([]byte, block)
	for at := int64(0); at < src.Size(); at += chunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(chunk, src.Size()-at)
		if _, err := io.ReadFull(io.NewSectionReader(src, at, n), data[:n]); err != nil {
			return err
		}
		for from := int64(0); from < n; from += block {
			part := data[from:min(from+block, n)]
			if bytes.Equal(part, zeros[:len(part)]) {
				continue
			}
			if _, err := dst.WriteAt(part, at+from); err != nil {
				return err
			}
		}
		progress(at+n, src.Size())
	}
	return nil
}

func deviceInUse(what string) error {
	return &Error{Fact: "the device is in use: " + what, Advice: "unmount it and stop what uses it, or give an image of it"}
}

func readMountinfo() (string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxMountinfo+1))
	if err == nil && len(data) > maxMountinfo {
		err = fmt.Errorf("/proc/self/mountinfo: size is more than %d bytes", maxMountinfo)
	}
	return string(data), err
}

// blockDevice is a device, or a partition of it, as sysfs shows it.
type blockDevice struct {
	name    string // "sda1"
	number  string // "8:1"
	holders []string
}

// userOf says what uses a block device or a partition of it: a mount in mountinfo
// (proc_pid_mountinfo(5)), or another device that is made from it. Empty: nothing
// that can be seen there. Sys is sysfs.
func userOf(sys fs.FS, mountinfo string, major, minor uint32) (string, error) {
	devices, err := withPartitions(sys, fmt.Sprintf("%d:%d", major, minor))
	if err != nil {
		return "", err
	}
	for _, d := range devices {
		if len(d.holders) > 0 {
			return fmt.Sprintf("%s is part of %s", d.name, strings.Join(d.holders, ", ")), nil
		}
		if at, mounted := mountPoint(mountinfo, d); mounted {
			return fmt.Sprintf("%s is mounted on %s", d.name, at), nil
		}
	}
	return "", nil
}

// withPartitions lists a device and its partitions.
func withPartitions(sys fs.FS, number string) ([]blockDevice, error) {
	dir := "dev/block/" + number
	whole, err := describe(sys, dir, number)
	if err != nil {
		return nil, err
	}
	out := []blockDevice{whole}
	entries, err := fs.ReadDir(sys, dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if _, err := fs.Stat(sys, path.Join(dir, e.Name(), "partition")); err != nil {
			continue
		}
		number, err := fs.ReadFile(sys, path.Join(dir, e.Name(), "dev"))
		if err != nil {
			return nil, err
		}
		part, err := describe(sys, path.Join(dir, e.Name()), strings.TrimSpace(string(number)))
		if err != nil {
			return nil, err
		}
		out = append(out, part)
	}
	return out, nil
}

func describe(sys fs.FS, dir, number string) (blockDevice, error) {
	d := blockDevice{name: "device " + number, number: number}
	uevent, err := fs.ReadFile(sys, path.Join(dir, "uevent"))
	if err != nil {
		return d, err
	}
	for line := range strings.Lines(string(uevent)) {
		if name, ok := strings.CutPrefix(line, "DEVNAME="); ok {
			d.name = strings.TrimSpace(name)
		}
	}
	holders, err := fs.ReadDir(sys, path.Join(dir, "holders"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return d, err
	}
	for _, h := range holders {
		d.holders = append(d.holders, h.Name())
	}
	return d, nil
}

// mountPoint finds where a device is mounted, by its number, or by its name: btrfs
// shows a number of its own.
func mountPoint(mountinfo string, d blockDevice) (string, bool) {
	for line := range strings.Lines(mountinfo) {
		field := strings.Fields(line)
		if len(field) < 10 {
			continue
		}
		_, behind, _ := strings.Cut(line, " - ")
		source := ""
		if words := strings.Fields(behind); len(words) > 1 {
			source = words[1]
		}
		if field[2] == d.number || source == "/dev/"+d.name {
			return strconv.Quote(undoOctal(field[4])), true
		}
	}
	return "", false
}
