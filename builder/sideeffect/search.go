package sideeffect

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/profiles"
)

// searcher reads configuration files.
type searcher struct {
	tree   rootfs.Tree
	opened int
	unread []string
}

// sign gives for each file that shows the sign one line of evidence.
func (s *searcher) sign(sign profiles.Sign) ([]string, error) {
	pattern, err := regexp.Compile(sign.Pattern)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, glob := range sign.Files {
		names, err := s.glob(glob)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			line, found, err := s.file(name, sign.Pattern != "", pattern)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			switch {
			case found && line > 0:
				out = append(out, fmt.Sprintf("%s:%d", name, line))
			case found:
				out = append(out, name)
			}
		}
	}
	return out, nil
}

// glob lists what a path with * and ? stands for, links in it followed. Each part of
// the path stands for one name, and hidden names are not meant.
func (s *searcher) glob(pattern string) ([]string, error) {
	names := []string{"/"}
	for _, part := range strings.Split(strings.TrimPrefix(pattern, "/"), "/") {
		var next []string
		for _, dir := range names {
			if !strings.ContainsAny(part, "*?") {
				next = append(next, path.Join(dir, part))
				continue
			}
			matches, err := s.list(dir, part)
			if err != nil {
				return nil, err
			}
			if next = append(next, matches...); len(next) > maxFiles {
				return nil, fmt.Errorf("%s stands for more than %d files", pattern, maxFiles)
			}
		}
		names = next
	}
	return names, nil
}

// list gives the names of a directory that match; what is no directory has none.
func (s *searcher) list(dir, part string) ([]string, error) {
	literal, err := s.follow(dir)
	if err != nil || literal == "" {
		return nil, err
	}
	if info, err := s.tree.Lstat(literal); err != nil || !info.Mode.IsDir() {
		return nil, err
	}
	entries, err := s.tree.ReadDir(literal)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if ok, err := path.Match(part, e.Name); err == nil && ok && !strings.HasPrefix(e.Name, ".") {
			out = append(out, path.Join(dir, e.Name))
		}
	}
	return out, nil
}

// follow gives the literal path of a name, and nothing where a program would find
// nothing either: no such file, or links in a circle.
func (s *searcher) follow(name string) (string, error) {
	literal, err := rootfs.Resolve(s.tree, name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err == nil {
		return literal, nil
	}
	if name == "/" {
		return "", err
	}
	parent, parentErr := s.follow(path.Dir(name))
	if parent == "" {
		return "", parentErr
	}
	if info, statErr := s.tree.Lstat(path.Join(parent, path.Base(name))); statErr != nil || info.Mode.Type() != fs.ModeSymlink {
		return "", err
	}
	s.unread = append(s.unread, fmt.Sprintf("%s: cannot follow the link: %v", name, err))
	return "", nil
}

// file says whether a regular file is there and, if asked, in which line the pattern
// matches first. Programs are not searched: their text is not configuration.
func (s *searcher) file(name string, search bool, pattern *regexp.Regexp) (line int, found bool, err error) {
	literal, err := s.follow(name)
	if err != nil || literal == "" {
		return 0, false, err
	}
	info, err := s.tree.Lstat(literal)
	if err != nil || !info.Mode.IsRegular() || !search {
		return 0, err == nil && info.Mode.IsRegular(), err
	}
	if s.opened++; s.opened > maxFiles {
		return 0, false, fmt.Errorf("more than %d configuration files", maxFiles)
	}
	f, err := s.tree.Open(literal)
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	if isProgram(f) {
		return 0, false, nil
	}
	if f.Size() > maxConfig {
		s.unread = append(s.unread, fmt.Sprintf("%s: size is %d bytes, limit is %d", name, f.Size(), maxConfig))
		return 0, false, nil
	}
	line, err = grep(io.NewSectionReader(f, 0, f.Size()), pattern)
	return line, line > 0, err
}

// isProgram looks for ELF's magic number: elf(5).
func isProgram(f io.ReaderAt) bool {
	magic := make([]byte, 4)
	_, err := f.ReadAt(magic, 0)
	return err == nil && bytes.Equal(magic, []byte("\x7fELF"))
}

// grep gives the number of the first line that matches, 0 if none does.
func grep(r io.Reader, pattern *regexp.Regexp) (int, error) {
	lines := bufio.NewReaderSize(r, maxLine)
	for number := 1; ; number++ {
		front, more, err := lines.ReadLine()
		if errors.Is(err, io.EOF) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		if pattern.Match(front) {
			return number, nil
		}
		for more && err == nil {
			_, more, err = lines.ReadLine()
		}
	}
}
