package modprobe_test

import (
	"io/fs"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// oneFile is a tree in memory that holds /etc/modprobe.d/it.conf.
type oneFile string

const conf = "/etc/modprobe.d/it.conf"

func (f oneFile) Lstat(name string) (rootfs.Info, error) {
	switch {
	case name == conf:
		return rootfs.Info{Mode: 0o644, Size: int64(len(f))}, nil
	case name == "/" || strings.HasPrefix(conf, name+"/"):
		return rootfs.Info{Mode: fs.ModeDir | 0o755}, nil
	default:
		return rootfs.Info{}, fs.ErrNotExist
	}
}

func (f oneFile) ReadDir(string) ([]rootfs.Entry, error) {
	return []rootfs.Entry{{Name: "it.conf"}}, nil
}

type memoryFile struct{ *strings.Reader }

func (memoryFile) Close() error { return nil }

func (f oneFile) Open(string) (rootfs.File, error) {
	return memoryFile{strings.NewReader(string(f))}, nil
}

func (f oneFile) Readlink(string) (string, error) { return "", fs.ErrInvalid }

func (f oneFile) Xattrs(string) (map[string][]byte, error) { return nil, nil }
