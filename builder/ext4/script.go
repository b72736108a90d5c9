package ext4

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// maxScriptLine stays below the buffer of 8192 bytes (BUFSIZ) that debugfs reads
// its lines into.
const maxScriptLine = 8000

// script collects the commands for one run of debugfs, and the data they refer to.
type script struct {
	text  strings.Builder
	files []content // of data0, data1, ...
	cwd   string
	err   error // of the first line that debugfs cannot take
}

// quote writes an argument the way libss reads it.
func quote(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

func (s *script) add(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if s.err == nil && (len(line) > maxScriptLine || strings.ContainsAny(line, "\n\r\x00")) {
		s.err = fmt.Errorf("debugfs cannot take the command %.80q of %d bytes", line, len(line))
	}
	s.text.WriteString(line + "\n")
}

// data gives the name of a file with this content, beside the script.
func (s *script) data(c content) string {
	s.files = append(s.files, c)
	return fmt.Sprintf("data%d", len(s.files)-1)
}

func (s *script) write(ctx context.Context, w *workspace) error {
	for i, c := range s.files {
		if err := c.write(ctx, w.file(fmt.Sprintf("data%d", i))); err != nil {
			return err
		}
	}
	return nil
}

// enter changes to a name's directory and gives the last part of the name. What
// makes or removes a name goes through here: write does not take a path in every
// version, and the others take "/x" for x in the current directory.
func (s *script) enter(name string) string {
	if dir := path.Dir(name); dir != s.cwd {
		s.add("cd %s", quote(dir))
		s.cwd = dir
	}
	return quote(path.Base(name))
}

// writeFile gives the name of the file, beside the script, that holds the content.
func (s *script) writeFile(name string, c content) string {
	last, data := s.enter(name), s.data(c)
	s.add("write %s %s", data, last)
	return data
}

// writeInline is writeFile for file systems with inline data, where debugfs forgets the
// size of what ends in blocks of zeros, and cannot write a longer file of zeros alone.
func (s *script) writeInline(name string, c content, blockSize int64) (data string, err error) {
	zero, err := c.allZero()
	if err != nil {
		return "", err
	}
	if zero && c.size() > iBlockSize {
		last := s.enter(name)
		s.add("write %s %s", s.data(plainContent(bytes.Repeat([]byte{1}, int(blockSize)))), last)
		s.add("punch %s 0", quote(name))
		data = s.data(c)
	} else {
		data = s.writeFile(name, c)
	}
	s.setField(name, "size", c.size())
	return data, nil
}

func (s *script) symlink(name, target string) {
	last := s.enter(name)
	s.add("symlink %s %s", last, quote(target))
}

func (s *script) mkdir(name string) {
	last := s.enter(name)
	s.add("mkdir %s", last)
}

func (s *script) remove(name string, dir bool) {
	command, last := "rm", s.enter(name)
	if dir {
		command = "rmdir"
	}
	s.add("%s %s", command, last)
}

func (s *script) setField(name, field string, value any) {
	s.add("sif %s %s %v", quote(name), field, value)
}

func (s *script) setXattrs(name string, xattrs map[string][]byte) {
	for _, key := range slices.Sorted(maps.Keys(xattrs)) {
		s.add("ea_set -f %s %s %s", s.data(plainContent(xattrs[key])), quote(name), quote(key))
	}
}

func (s *script) removeXattrs(name string, keys []string) {
	for _, key := range keys {
		s.add("ea_rm %s %s", quote(name), quote(key))
	}
}

// setTimes sets the named time stamps; extra says whether the inode has room for
// nanoseconds and for years after 2038.
func (s *script) setTimes(name string, t time.Time, extra bool, fields ...string) {
	for _, field := range fields {
		s.setField(name, field, fmt.Sprintf("@%d", t.Unix()))
		if extra {
			epoch := uint32((t.Unix() - int64(int32(t.Unix()))) >> 32 & 3)
			s.setField(name, field+"_extra", uint32(t.Nanosecond())<<2|epoch)
		}
	}
}

func (s *script) setOwner(name string, kind uint16, e rootfs.Edit) {
	if kind != typeSymlink {
		s.setField(name, "mode", fmt.Sprintf("%#o", kind|storedMode(e.Mode)))
	}
	s.setField(name, "uid", e.UID)
	s.setField(name, "gid", e.GID)
}

// storedMode gives the twelve permission bits of i_mode.
func storedMode(m fs.FileMode) uint16 {
	mode := uint16(m.Perm())
	if m&fs.ModeSetuid != 0 {
		mode |= 0o4000
	}
	if m&fs.ModeSetgid != 0 {
		mode |= 0o2000
	}
	if m&fs.ModeSticky != 0 {
		mode |= 0o1000
	}
	return mode
}
