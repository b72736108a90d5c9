// Package probe reads the facts that initcheck decides by, from /proc, /sys and
// /lib/modules through an fs.FS rooted at /.
//
// Every read is free of side effects: no socket is opened, no module is asked
// for. Every read has a size limit, and a source that is too large, cut short or
// not in its known form counts as not read at all.
//
// The forms are those of m_show in kernel/module/procfs.c (/proc/modules), of
// modules.builtin as written by the kernel's Makefile, and of proto_seq_show in
// net/core/sock.c (/proc/net/protocols).
package probe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kerngate/kerngate/initcheck"
)

const (
	// maxText bounds one text source. A machine with 300 modules has 20 KiB of
	// /proc/modules, and the modules.builtin of a distribution is below 100 KiB.
	maxText = 4 << 20
	// maxModuleDirs bounds the listing of /sys/module; a large distribution kernel
	// has about 500.
	maxModuleDirs = 1 << 16
	// firstRead takes most sources at once, where growing from little would be six reads.
	firstRead = 16 << 10
)

// Uname is the part of struct utsname that matters here.
type Uname struct {
	Release string // uname -r
	Version string // uname -v
}

// Read gathers the facts. What cannot be read is told in the facts; deciding what
// that means is not up to this package.
func Read(root fs.FS, u Uname) initcheck.Facts {
	// The extra evidence first: a module that is loaded meanwhile then stands in
	// /proc/modules, and is not taken for one that only left a trace.
	present := moduleDirs(root)
	protocols := list(root, "proc/net/protocols", protocolLine)
	return initcheck.Facts{
		Release:   u.Release,
		Version:   u.Version,
		Loaded:    list(root, "proc/modules", moduleLine),
		BuiltIn:   builtIn(root, u.Release),
		Present:   present,
		Protocols: protocols,
	}
}

// ReadFile reads one file of at most limit bytes.
func ReadFile(root fs.FS, name string, limit int) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data := bytes.NewBuffer(make([]byte, 0, min(limit+bytes.MinRead, firstRead)))
	if _, err := data.ReadFrom(io.LimitReader(f, int64(limit)+1)); err != nil {
		return nil, err
	}
	if data.Len() > limit {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("it has more than %d bytes", limit)}
	}
	return data.Bytes(), nil
}

// list reads one name from each line of a text source.
func list(root fs.FS, name string, line func(string) (string, error)) initcheck.Set {
	source := "/" + name
	names, err := lines(root, name, line)
	if err != nil {
		return initcheck.Unread(source, err)
	}
	return initcheck.NewSet(source, names...)
}

func lines(root fs.FS, name string, line func(string) (string, error)) ([]string, error) {
	data, err := ReadFile(root, name, maxText)
	if err != nil {
		return nil, cause(err)
	}
	if !utf8.Valid(data) {
		return nil, errors.New("it is not text: it has bytes that are no UTF-8")
	}
	text, ended := strings.CutSuffix(string(data), "\n")
	if text == "" && !ended {
		return nil, nil
	}
	if !ended {
		return nil, errors.New("its last line has no end: it is cut short")
	}
	var names []string
	for number, l := range strings.Split(text, "\n") {
		n, err := line(l)
		if err != nil {
			return nil, fmt.Errorf("line %d is %.80q, want %w", number+1, l, err)
		}
		names = append(names, n)
	}
	return names, nil
}

// moduleLine reads "algif_hash 20480 0 - Live 0x0000000000000000", perhaps with
// taint flags after it. A module that is being loaded or unloaded counts.
func moduleLine(line string) (string, error) {
	fields := strings.Split(line, " ")
	if len(fields) < 6 || !isName(fields[0]) || !strings.HasPrefix(fields[5], "0x") {
		return "", errors.New("name, size, references, users, state and address")
	}
	return fields[0], nil
}

// protocolLine reads the first column, "ALG" or "UDPv6"; the heading does no harm.
func protocolLine(line string) (string, error) {
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return "", errors.New("a protocol and its columns")
	}
	return fields[0], nil
}

// builtInLine reads "kernel/crypto/af_alg.ko".
func builtInLine(line string) (string, error) {
	name, found := strings.CutSuffix(path.Base(line), ".ko")
	if !found || !isName(name) {
		return "", errors.New("a path that ends in .ko")
	}
	return name, nil
}

func builtIn(root fs.FS, release string) initcheck.Set {
	return ofRelease(root, release, "modules.builtin", builtInLine)
}

// ofRelease reads a list that lies with the modules of a release, in /usr/lib/modules, or in
// /lib/modules in a tree that keeps them apart.
func ofRelease(root fs.FS, release, file string, line func(string) (string, error)) initcheck.Set {
	if release == "" || release == "." || !fs.ValidPath(release) || strings.Contains(release, "/") {
		return initcheck.Unread("/lib/modules", fmt.Errorf("kernel release %.80q cannot name a directory in it", release))
	}
	var missing initcheck.Set
	for _, dir := range []string{"usr/lib/modules", "lib/modules"} {
		name := path.Join(dir, release, file)
		names, err := lines(root, name, line)
		if err == nil && len(names) == 0 {
			// Every kernel has something built in, and something to load.
			err = errors.New("it is empty: it was cut short")
		}
		if err == nil {
			return initcheck.NewSet("/"+name, names...)
		}
		missing = initcheck.Unread("/"+name, err)
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return missing
}

// moduleDirs lists /sys/module. It holds the loaded modules, and of the built-in
// ones those that have a parameter or a version.
func moduleDirs(root fs.FS) initcheck.Set {
	const name = "sys/module"
	names, err := dirNames(root, name)
	if err != nil {
		return initcheck.Unread("/"+name, err)
	}
	return initcheck.NewSet("/"+name, names...)
}

func dirNames(root fs.FS, name string) ([]string, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, cause(err)
	}
	defer f.Close()
	dir, ok := f.(fs.ReadDirFile)
	if !ok {
		return nil, errors.New("it is not a directory")
	}
	entries, err := dir.ReadDir(maxModuleDirs + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, cause(err)
	}
	if len(entries) > maxModuleDirs {
		return nil, fmt.Errorf("it has more than %d entries", maxModuleDirs)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// Boot is when and in which boot something was found out.
type Boot struct {
	ID     string        // /proc/sys/kernel/random/boot_id; empty: unknown
	Uptime time.Duration // since boot; 0: unknown
}

// ReadBoot reads what tells this boot from others. It is for reports only: what
// cannot be read stays empty.
func ReadBoot(root fs.FS) Boot {
	const enough = 256
	var b Boot
	if id, err := ReadFile(root, "proc/sys/kernel/random/boot_id", enough); err == nil {
		b.ID = strings.TrimSpace(string(id))
	}
	if text, err := ReadFile(root, "proc/uptime", enough); err == nil {
		seconds, _, _ := strings.Cut(string(text), " ")
		if f, err := strconv.ParseFloat(seconds, 64); err == nil && f > 0 && f < 1e9 {
			b.Uptime = time.Duration(f * float64(time.Second))
		}
	}
	return b
}

// isName holds for what a module may be called: any word, since the kernel sets
// no rule, and a name that no policy can have does no harm.
func isName(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' }) < 0
}

// cause takes the path off an error, since the set names its source.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
