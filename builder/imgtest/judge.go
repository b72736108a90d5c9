package imgtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// Object is all that a reader says of one name.
type Object struct {
	rootfs.Info
	SHA256 [sha256.Size]byte // of a regular file
	Target string            // of a symbolic link
	Xattrs map[string][]byte
}

// String shows all of it, and of long values the hash.
func (o Object) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\t%+v\n\tSHA-256 %x, target %q\n", o.Info, o.SHA256, o.Target)
	for _, key := range slices.Sorted(maps.Keys(o.Xattrs)) {
		value := o.Xattrs[key]
		if len(value) > sha256.Size {
			hash := sha256.Sum256(value)
			value = hash[:]
		}
		fmt.Fprintf(&b, "\t%s: %d bytes, %x\n", key, len(o.Xattrs[key]), value)
	}
	return b.String()
}

// ReadTree reads everything in a tree, by name.
func ReadTree(t rootfs.Tree) (map[string]Object, error) {
	all := map[string]Object{}
	queue := []string{"/"}
	for len(queue) > 0 {
		name := queue[0]
		queue = queue[1:]
		o, err := readObject(t, name)
		if err != nil {
			return nil, err
		}
		all[name] = o
		if !o.Mode.IsDir() {
			continue
		}
		entries, err := t.ReadDir(name)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			queue = append(queue, path.Join(name, e.Name))
		}
	}
	return all, nil
}

func readObject(t rootfs.Tree, name string) (o Object, err error) {
	if o.Info, err = t.Lstat(name); err != nil {
		return o, err
	}
	if o.Xattrs, err = t.Xattrs(name); err != nil {
		return o, err
	}
	switch o.Mode.Type() {
	case fs.ModeSymlink:
		o.Target, err = t.Readlink(name)
	case 0:
		f, err := t.Open(name)
		if err != nil {
			return o, err
		}
		defer f.Close()
		o.SHA256, err = sum(io.NewSectionReader(f, 0, f.Size()))
		return o, err
	}
	return o, err
}

func sum(r io.Reader) (out [sha256.Size]byte, err error) {
	h := sha256.New()
	_, err = io.Copy(h, r)
	return [sha256.Size]byte(h.Sum(nil)), err
}

// ReadWithDebugfs reads everything in the ext2, ext3 or ext4 file system at byte
// offset of a file with debugfs(8), which follows no journal. It keeps the content in
// files below the directory scratch, which must be absolute, until it returns.
func ReadWithDebugfs(volume string, offset int64, scratch string) (map[string]Object, error) {
	d := &debugfs{volume: volume, scratch: scratch}
	if offset != 0 {
		d.volume = fmt.Sprintf("%s?offset=%d", volume, offset)
	}
	names, err := d.names()
	if err != nil {
		return nil, fmt.Errorf("cannot list with debugfs: %w", err)
	}
	var inodes []uint64
	for _, inode := range names {
		inodes = append(inodes, inode)
	}
	slices.Sort(inodes)
	objects, err := d.objects(slices.Compact(inodes))
	if err != nil {
		return nil, fmt.Errorf("cannot read with debugfs: %w", err)
	}
	all := map[string]Object{}
	for name, inode := range names {
		all[name] = objects[inode]
	}
	return all, nil
}

// debugfs runs scripts on one file system.
type debugfs struct{ volume, scratch string }

// run gives the output of each command. Whatever debugfs says on stderr behind its
// version is an error: its exit code is 0 on nearly every failure.
func (d *debugfs) run(commands []string) ([]string, error) {
	if len(commands) == 0 {
		return nil, nil
	}
	program, err := exec.LookPath("debugfs")
	if err != nil {
		program = "/usr/sbin/debugfs"
	}
	script := filepath.Join(d.scratch, "script")
	if err := os.WriteFile(script, []byte(strings.Join(commands, "\n")+"\n"), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "-f", script, d.volume)
	cmd.Dir = d.scratch
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("debugfs is not installed: apt-get install e2fsprogs: %w", err)
	}
	if _, complaints, _ := strings.Cut(stderr.String(), "\n"); err != nil || complaints != "" {
		return nil, fmt.Errorf("debugfs: %w: %.500s", err, complaints)
	}
	// Every command is echoed before its output.
	parts := make([]string, 0, len(commands))
	rest := string(out)
	for i, c := range commands {
		_, after, found := strings.Cut(rest, "debugfs: "+c+"\n")
		if !found {
			return nil, fmt.Errorf("debugfs did not come to its command %q", c)
		}
		rest = after
		part := after
		if i+1 < len(commands) {
			part, _, _ = strings.Cut(after, "debugfs: "+commands[i+1]+"\n")
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// listed matches a line of ls -p: inode, mode, owner, group, name and size.
var listed = regexp.MustCompile(`^/(\d+)/(\d+)/\d+/\d+/([^/]*)/\d*/$`)

const rootInode = 2

// names gives every name with its inode, level by level of the tree.
func (d *debugfs) names() (map[string]uint64, error) {
	names := map[string]uint64{"/": rootInode}
	for level := []string{"/"}; len(level) > 0; {
		var commands, next []string
		for _, dir := range level {
			commands = append(commands, fmt.Sprintf("ls -p <%d>", names[dir]))
		}
		out, err := d.run(commands)
		if err != nil {
			return nil, err
		}
		for i, dir := range level {
			for line := range strings.Lines(out[i]) {
				entry := listed.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
				switch {
				case strings.TrimSpace(line) == "":
					continue
				case entry == nil:
					return nil, fmt.Errorf("line of ls is %q", line)
				case entry[3] == "." || entry[3] == ".." || entry[1] == "0": // 0: a deleted name
					continue
				}
				name := path.Join(dir, entry[3])
				if names[name], err = strconv.ParseUint(entry[1], 10, 64); err != nil {
					return nil, err
				}
				if strings.HasPrefix(entry[2], "04") {
					next = append(next, name)
				}
			}
		}
		level = next
	}
	return names, nil
}

// objects gives what debugfs says of inodes. What is too long for its listing is
// written to files, all in a second run.
func (d *debugfs) objects(inodes []uint64) (map[uint64]Object, error) {
	var commands []string
	for _, n := range inodes {
		commands = append(commands, fmt.Sprintf("stat <%d>", n))
	}
	stats, err := d.run(commands)
	if err != nil {
		return nil, err
	}
	commands = nil
	objects := map[uint64]Object{}
	for i, n := range inodes {
		o, err := parseStat(stats[i])
		if err != nil {
			return nil, fmt.Errorf("inode %d: %w", n, err)
		}
		if o.Mode.IsRegular() && o.Size > 0 || o.Mode.Type() == fs.ModeSymlink && o.Target == "" {
			commands = append(commands, fmt.Sprintf("dump <%d> %d", n, n))
		}
		for key := range o.Xattrs {
			commands = append(commands, fmt.Sprintf("ea_get -f %d-%s <%d> %s", n, key, n, key))
		}
		objects[n] = o
	}
	if _, err := d.run(commands); err != nil {
		return nil, err
	}
	for n, o := range objects {
		if objects[n], err = d.fill(n, o); err != nil {
			return nil, fmt.Errorf("inode %d: %w", n, err)
		}
	}
	return objects, nil
}

// fill adds what was written to files, and removes those.
func (d *debugfs) fill(n uint64, o Object) (Object, error) {
	for key := range o.Xattrs {
		value, err := d.take(fmt.Sprintf("%d-%s", n, key))
		if err != nil {
			return o, err
		}
		if strings.HasPrefix(key, "system.posix_acl_") {
			undefinedIDs(value)
		}
		o.Xattrs[key] = value
	}
	switch {
	case o.Mode.Type() == fs.ModeSymlink && o.Target == "":
		target, err := d.take(fmt.Sprint(n))
		o.Target = string(target)
		return o, err
	case !o.Mode.IsRegular():
		return o, nil
	case o.Size == 0:
		o.SHA256 = sha256.Sum256(nil)
		return o, nil
	}
	name := filepath.Join(d.scratch, fmt.Sprint(n))
	f, err := os.Open(name)
	if err != nil {
		return o, err
	}
	defer f.Close()
	// Of inline data debugfs dumps all the room that the inode has for it.
	if o.SHA256, err = sum(io.LimitReader(f, o.Size)); err != nil {
		return o, err
	}
	return o, os.Remove(name)
}

// undefinedIDs puts into the entries of an ACL that are for nobody by name what
// getxattr(2) gives there, ACL_UNDEFINED_ID; debugfs gives 0.
func undefinedIDs(acl []byte) {
	const header, entry, user, group = 4, 8, 2, 8 // include/uapi/linux/posix_acl_xattr.h
	for at := header; at+entry <= len(acl); at += entry {
		if tag := binary.LittleEndian.Uint16(acl[at:]); tag != user && tag != group {
			binary.LittleEndian.PutUint32(acl[at+4:], ^uint32(0))
		}
	}
}

func (d *debugfs) take(name string) ([]byte, error) {
	name = filepath.Join(d.scratch, name)
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return data, os.Remove(name)
}

// The parts of the output of stat.
var (
	statInode = regexp.MustCompile(`Inode: (\d+)\s+Type: (.+?)\s+Mode:\s+(\d+)`)
	statOwner = regexp.MustCompile(`User:\s+(\d+)\s+Group:\s+(\d+)(?:\s+Project:\s+\d+)?\s+Size: (\d+)`)
	statLinks = regexp.MustCompile(`Links: (\d+)`)
	statTime  = regexp.MustCompile(`\bmtime: 0x([0-9a-f]{8})(?::([0-9a-f]{8}))?`)
	statLink  = regexp.MustCompile(`(?m)^Fast link dest: "(.*)"$`)
	statXattr = regexp.MustCompile(`(?m)^  (\S+) \(\d+\)`)
)

func parseStat(text string) (o Object, err error) {
	inode, owner := statInode.FindStringSubmatch(text), statOwner.FindStringSubmatch(text)
	links, stamp := statLinks.FindStringSubmatch(text), statTime.FindStringSubmatch(text)
	if inode == nil || owner == nil || links == nil || stamp == nil {
		return o, fmt.Errorf("output of stat is %q", text)
	}
	var errs []error
	number := func(s string, base int) uint64 {
		n, err := strconv.ParseUint(s, base, 64)
		errs = append(errs, err)
		return n
	}
	kind, known := map[string]fs.FileMode{
		"regular": 0, "directory": fs.ModeDir, "symlink": fs.ModeSymlink, "FIFO": fs.ModeNamedPipe, "socket": fs.ModeSocket,
		"character special": fs.ModeDevice | fs.ModeCharDevice, "block special": fs.ModeDevice,
	}[inode[2]]
	if !known {
		return o, fmt.Errorf("type is %q", inode[2])
	}
	o.Info = rootfs.Info{
		Inode: number(inode[1], 10), Mode: kind | permissions(number(inode[3], 8)),
		UID: uint32(number(owner[1], 10)), GID: uint32(number(owner[2], 10)), Size: int64(number(owner[3], 10)),
		Links: uint32(number(links[1], 10)),
	}
	seconds, extra := int64(int32(number(stamp[1], 16))), uint64(0)
	if stamp[2] != "" {
		extra = number(stamp[2], 16)
	}
	o.ModTime = time.Unix(seconds+int64(extra&3)<<32, int64(extra>>2)).UTC()
	if link := statLink.FindStringSubmatch(text); link != nil {
		o.Target = link[1]
	}
	_, attributes, _ := strings.Cut(text, "Extended attributes:")
	o.Xattrs = map[string][]byte{}
	for _, found := range statXattr.FindAllStringSubmatch(attributes, -1) {
		if found[1] != "system.data" { // where inline data goes on
			o.Xattrs[found[1]] = nil
		}
	}
	return o, errors.Join(errs...)
}

func permissions(bits uint64) fs.FileMode {
	m := fs.FileMode(bits & 0o777)
	for bit, flag := range map[uint64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if bits&bit != 0 {
			m |= flag
		}
	}
	return m
}

// maxDifferences are told of one comparison.
const maxDifferences = 20

// Differences tells in words where two readings are not the same; nothing means
// they are.
func Differences(got, want map[string]Object) []string {
	var out []string
	for name, w := range want {
		g, found := got[name]
		switch {
		case !found:
			out = append(out, name+": not found")
		case g.String() != w.String():
			out = append(out, fmt.Sprintf("%s: got\n%vwant\n%v", name, g, w))
		}
	}
	for name := range got {
		if _, found := want[name]; !found {
			out = append(out, name+": found, want nothing")
		}
	}
	slices.Sort(out)
	if more := len(out) - maxDifferences; more > 0 {
		out = append(out[:maxDifferences], fmt.Sprintf("and %d more", more))
	}
	return out
}
