package ext4

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// entry is what a name holds at one moment of a plan.
type entry struct {
	kind   uint16 // type bits of i_mode, 0 for nothing
	inode  *inode // as found in the image; nil for what an edit made
	edited bool   // to be compared afterwards
	edit   rootfs.Edit
	holds  content   // of a regular file that an edit made
	stored string    // the file of the workspace that holds the same
	mtime  time.Time // as far as the inode can hold it
	xattrs map[string][]byte
	names  int  // of a directory
	kept   bool // an edit set attributes only: content and time stay
}

func (e *entry) isDir() bool { return e.kind == typeDir }

// plan carries the edits out on paper: on names above the image as it is.
type plan struct {
	fs       *FS
	whole    rootfs.Tree // the same tree with the contents of its files
	names    map[string]*entry
	unlinked map[uint32]int    // names of an inode that edits took away
	modified map[uint32]*entry // inodes of the image that edits gave other attributes
	script   script
	space    space
}

func newPlan(f *FS, whole rootfs.Tree, edits []rootfs.Edit) (*plan, error) {
	p := &plan{fs: f, whole: whole, names: map[string]*entry{}, unlinked: map[uint32]int{}, modified: map[uint32]*entry{}, script: script{cwd: "/"}, space: newSpace(f)}
	for _, e := range edits {
		if err := p.add(e); err != nil {
			return nil, fmt.Errorf("cannot %s %s: %w", e.Op, e.Path, err)
		}
	}
	return p, p.space.check()
}

func (p *plan) add(e rootfs.Edit) error {
	if err := checkEdit(e); err != nil {
		return err
	}
	old, err := p.look(e.Path)
	if err != nil {
		return err
	}
	var parent *entry
	if e.Path != "/" {
		if parent, err = p.look(path.Dir(e.Path)); err != nil {
			return err
		}
		if err := checkParent(parent); err != nil {
			return err
		}
	}
	switch e.Op {
	case rootfs.WriteFile, rootfs.Symlink, rootfs.Append:
		err = p.create(e, old, parent)
	case rootfs.Mkdir:
		err = p.mkdir(e, old, parent)
	case rootfs.Remove:
		err = p.remove(e, old, parent)
	case rootfs.SetAttributes:
		err = p.modify(e, old)
	}
	if err != nil {
		return err
	}
	return p.script.err
}

func checkParent(parent *entry) error {
	switch {
	case parent.kind == 0:
		return fmt.Errorf("parent directory: %w", fs.ErrNotExist)
	case parent.kind == typeSymlink:
		return rootfs.ErrSymlink
	case !parent.isDir():
		return fmt.Errorf("parent: %w", syscall.ENOTDIR)
	case parent.inode != nil && parent.inode.flags&flagCasefold != 0:
		return &UnsupportedError{Features: []string{"casefold (parent directory)"}, Action: "edit"}
	case parent.inode != nil && parent.inode.flags&flagEncrypt != 0:
		return &UnsupportedError{Features: []string{"encrypt (parent directory)"}, Action: "edit"}
	}
	return nil
}

func checkEdit(e rootfs.Edit) error {
	if err := checkName(e.Path); err != nil {
		return err
	}
	if e.Path == "/" && e.Op != rootfs.Mkdir && e.Op != rootfs.SetAttributes {
		return errors.New("the root directory can only have its attributes set")
	}
	allowed := fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	switch e.Op {
	case rootfs.Mkdir, rootfs.SetAttributes:
		allowed |= fs.ModeDir
	case rootfs.WriteFile, rootfs.Append, rootfs.Remove:
	case rootfs.Symlink:
		if e.Target == "" || strings.ContainsAny(e.Target, "\n\r\x00") {
			return fmt.Errorf("link target is %q, want no line break and no zero byte", e.Target)
		}
	default:
		return fmt.Errorf("operation is %q, want write, append, symlink, mkdir, remove or modify", e.Op)
	}
	if rest := e.Mode &^ allowed; rest != 0 && e.Op != rootfs.Symlink && e.Op != rootfs.Remove {
		return fmt.Errorf("mode has the bits %v, want permission bits only", rest)
	}
	for name, value := range e.Xattrs {
		if err := checkXattr(name, value); err != nil {
			return err
		}
	}
	return nil
}

// checkName demands a literal name that a line of a debugfs script can hold.
func checkName(name string) error {
	if !strings.HasPrefix(name, "/") || name != rootfs.Clean(name) {
		return fmt.Errorf("name is %q, want it rooted and clean: %w", name, fs.ErrInvalid)
	}
	if strings.ContainsAny(name, "\n\r\x00") {
		return fmt.Errorf("name %q has a line break or a zero byte, which debugfs cannot express: %w", name, fs.ErrInvalid)
	}
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > maxNameLen {
			return fmt.Errorf("name part has %d bytes, limit is %d: %w", len(part), maxNameLen, fs.ErrInvalid)
		}
	}
	return nil
}

func checkXattr(name string, value []byte) error {
	known := name == aclAccess || name == aclDefault
	for _, prefix := range []string{"user.", "trusted.", "security."} {
		known = known || strings.HasPrefix(name, prefix) && len(name) > len(prefix)
	}
	if !known || len(name) > maxNameLen || strings.ContainsAny(name, "\n\r\x00") {
		return fmt.Errorf("attribute name is %q, want user.*, trusted.*, security.* or a POSIX ACL", name)
	}
	if len(value) > maxXattrValue {
		return fmt.Errorf("attribute %s has %d bytes, limit is %d", name, len(value), maxXattrValue)
	}
	return nil
}

// look says what a name holds after the edits so far; an absent name is an entry
// of kind 0.
func (p *plan) look(name string) (*entry, error) {
	if e, ok := p.names[name]; ok {
		return e, nil
	}
	e := &entry{}
	if name != "/" {
		parent, err := p.look(path.Dir(name))
		if err != nil {
			return nil, err
		}
		if parent.inode == nil || !parent.isDir() { // made by an edit, so empty, or no directory
			return e, checkParent(parent)
		}
	}
	n, err := p.fs.lookup("lookup", name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.names[name] = e
		return e, nil
	case err != nil:
		return nil, err
	}
	e.kind, e.inode = n.kind(), n
	if m := p.modified[n.number]; m != nil { // by another of its names
		e = m.alias()
		p.names[name] = e
		return e, nil
	}
	if e.xattrs, err = p.fs.Xattrs(name); err != nil {
		return nil, err
	}
	if n.isDir() && n.flags&flagEncrypt == 0 {
		d, err := p.fs.directory(n)
		if err != nil {
			return nil, err
		}
		e.names = len(d.entries)
	}
	p.names[name] = e
	return e, nil
}

// create plans a regular file or a symbolic link in place of what was there.
func (p *plan) create(e rootfs.Edit, old, parent *entry) error {
	if old.isDir() {
		return fmt.Errorf("name holds a directory: %w", fs.ErrExist)
	}
	made, err := p.newEntry(e, old)
	if err != nil {
		return err
	}
	if err := p.attributes(made, old, parent); err != nil {
		return err
	}
	if old.kind != 0 {
		p.unlink(e.Path, old)
	}
	if err := p.space.file(max(made.holds.size(), int64(len(e.Target))), made.xattrs); err != nil {
		return err
	}
	p.space.name(path.Dir(e.Path), path.Base(e.Path))
	switch {
	case made.kind == typeSymlink:
		p.script.symlink(e.Path, e.Target)
	case p.fs.sb.incompat&incompatInlineData == 0:
		made.stored = p.script.writeFile(e.Path, made.holds)
	default:
		if made.stored, err = p.script.writeInline(e.Path, made.holds, p.fs.sb.BlockSize); err != nil {
			return err
		}
	}
	p.script.setOwner(e.Path, made.kind, e)
	p.script.setTimes(e.Path, made.mtime, p.fs.sb.InodeSize > minInodeSize, "atime", "mtime")
	p.script.setXattrs(e.Path, made.xattrs)
	p.finishTimes(e.Path, made.mtime, true)
	p.put(e.Path, made, old, parent)
	return nil
}

// newEntry gives the type and the content of what an edit makes in place of old.
func (p *plan) newEntry(e rootfs.Edit, old *entry) (made *entry, err error) {
	made = &entry{kind: typeRegular, edited: true, edit: e}
	switch e.Op {
	case rootfs.Symlink:
		made.kind = typeSymlink
		if limit := min(p.fs.sb.BlockSize, maxSymlink); int64(len(e.Target)) >= limit {
			return nil, fmt.Errorf("link target has %d bytes, want less than %d", len(e.Target), limit)
		}
	case rootfs.Append:
		made.holds, err = p.grow(e, old)
	default:
		made.holds = plainContent(e.Data)
	}
	return made, err
}

// grow gives what an Append makes of a file of the image, or of one that an earlier edit
// made.
func (p *plan) grow(e rootfs.Edit, old *entry) (content, error) {
	switch {
	case old.kind == 0:
		return content{}, fs.ErrNotExist
	case old.kind != typeRegular:
		return content{}, fmt.Errorf("it is %s, want a regular file", rootfs.TypeName(fileMode(old.kind)))
	case old.inode == nil:
		return old.holds.grown(e.Keep, e.Data)
	}
	file, err := p.whole.Open(e.Path)
	if err != nil {
		return content{}, err
	}
	if file.Size() != old.inode.size {
		return content{}, fmt.Errorf("its content has %d bytes, want %d", file.Size(), old.inode.size)
	}
	return content{old: file, keep: file.Size()}.grown(e.Keep, e.Data)
}

// finishTimes comes last for a name: ea_set may touch the change time.
func (p *plan) finishTimes(name string, t time.Time, created bool) {
	extra := p.fs.sb.InodeSize > minInodeSize
	fields := []string{"ctime"}
	if created && extra {
		fields = append(fields, "crtime")
	}
	p.script.setTimes(name, t, extra, fields...)
}

// attributes fixes the time stamp and the attributes that a new inode gets.
func (p *plan) attributes(made, old, parent *entry) error {
	var err error
	if made.mtime, err = storableTime(made.edit.ModTime, p.fs.sb.InodeSize > minInodeSize); err != nil {
		return err
	}
	switch {
	case made.edit.Xattrs != nil:
		made.xattrs = made.edit.Xattrs
	case old.kind != 0:
		made.xattrs = old.xattrs
	default:
		made.xattrs = map[string][]byte{}
		if label, ok := parent.xattrs["security.selinux"]; ok {
			made.xattrs["security.selinux"] = label
		}
	}
	if made.edit.Xattrs == nil && made.kind == typeSymlink {
		made.xattrs = linkXattrs(made.xattrs)
	}
	return nil
}

// linkXattrs leaves out what Linux does not allow on symbolic links; xattr(7).
func linkXattrs(all map[string][]byte) map[string][]byte {
	allowed := map[string][]byte{}
	for name, value := range all {
		if strings.HasPrefix(name, "security.") || strings.HasPrefix(name, "trusted.") {
			allowed[name] = value
		}
	}
	return allowed
}

// storableTime gives a time as far as an inode can hold it.
func storableTime(t time.Time, extra bool) (time.Time, error) {
	last := int64(1<<31 - 1)
	if extra {
		last += 3 << 32 // two more bits of epoch
	} else {
		t = t.Truncate(time.Second)
	}
	if s := t.Unix(); s < 0 || s > last {
		return t, fmt.Errorf("modification time is %v, the inode holds %v to %v", t.UTC(), time.Unix(0, 0).UTC(), time.Unix(last, 0).UTC())
	}
	return t.UTC(), nil
}

func (p *plan) mkdir(e rootfs.Edit, old, parent *entry) error {
	made := &entry{kind: typeDir, edited: true, edit: e}
	if old.kind != 0 {
		if !old.isDir() {
			return fmt.Errorf("name holds something else than a directory: %w", fs.ErrExist)
		}
		made.inode, made.names = old.inode, old.names
	}
	if err := p.attributes(made, old, parent); err != nil {
		return err
	}
	if old.kind == 0 {
		p.script.mkdir(e.Path)
		if err := p.space.file(1, made.xattrs); err != nil {
			return err
		}
		p.space.name(path.Dir(e.Path), path.Base(e.Path))
	} else if e.Xattrs != nil {
		if err := p.space.xattrs(e.Xattrs); err != nil {
			return err
		}
	}
	p.script.setOwner(e.Path, typeDir, e)
	p.script.setTimes(e.Path, made.mtime, p.fs.sb.InodeSize > minInodeSize, "mtime")
	if old.kind == 0 {
		p.script.setTimes(e.Path, made.mtime, p.fs.sb.InodeSize > minInodeSize, "atime")
	}
	if old.kind == 0 || e.Xattrs != nil {
		p.script.removeXattrs(e.Path, missing(old.xattrs, made.xattrs))
		p.script.setXattrs(e.Path, made.xattrs)
	}
	p.finishTimes(e.Path, made.mtime, old.kind == 0)
	if parent == nil {
		p.names[e.Path] = made
		return nil
	}
	p.put(e.Path, made, old, parent)
	return nil
}

// alias gives the entry of another name of the same inode.
func (e *entry) alias() *entry {
	other := *e
	return &other
}

// modify plans other attributes of an inode that stays.
func (p *plan) modify(e rootfs.Edit, old *entry) error {
	switch old.kind {
	case 0:
		return fs.ErrNotExist
	case typeRegular, typeDir:
	default:
		return fmt.Errorf("it is %s, want a regular file or a directory", rootfs.TypeName(fileMode(old.kind)))
	}
	now := *old
	now.edited, now.kept = true, old.inode != nil && (!old.edited || old.kept)
	now.edit.Op, now.edit.Mode, now.edit.UID, now.edit.GID = e.Op, e.Mode, e.UID, e.GID
	ctime, err := storableTime(e.ModTime, p.fs.sb.InodeSize > minInodeSize)
	if err != nil {
		return err
	}
	if now.kept {
		now.mtime = old.inode.mtime
	}
	p.script.setOwner(e.Path, old.kind, e)
	if e.Xattrs != nil {
		now.xattrs = e.Xattrs
		if err := p.space.xattrs(e.Xattrs); err != nil {
			return err
		}
		p.script.removeXattrs(e.Path, missing(old.xattrs, now.xattrs))
		p.script.setXattrs(e.Path, now.xattrs)
	}
	p.finishTimes(e.Path, ctime, false)
	p.names[e.Path] = &now
	if now.inode != nil && !now.isDir() {
		p.modified[now.inode.number] = &now
		for name, other := range p.names {
			if other.inode != nil && other.inode.number == now.inode.number {
				p.names[name] = now.alias()
			}
		}
	}
	return nil
}

// missing lists what a has and b lacks.
func missing(a, b map[string][]byte) []string {
	var names []string
	for name := range a {
		if _, ok := b[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (p *plan) remove(e rootfs.Edit, old, parent *entry) error {
	switch {
	case old.kind == 0:
		return fs.ErrNotExist
	case old.isDir() && old.inode != nil && old.inode.flags&flagEncrypt != 0:
		return &UnsupportedError{Features: []string{"encrypt (directory)"}, Action: "edit"}
	case old.isDir() && old.names > 0:
		return fmt.Errorf("directory has %d names: %w", old.names, syscall.ENOTEMPTY)
	}
	p.unlink(e.Path, old)
	p.put(e.Path, &entry{edited: true}, old, parent)
	return nil
}

// unlink takes a name away. Attribute values in inodes of their own go first:
// debugfs would leave them behind, and e2fsck -p does not dare to remove them.
func (p *plan) unlink(name string, old *entry) {
	last := true
	if old.inode != nil && !old.isDir() {
		number := old.inode.number
		p.unlinked[number]++
		last = p.unlinked[number] >= int(old.inode.links)
	}
	if last && p.fs.sb.incompat&incompatEAInode != 0 {
		p.script.removeXattrs(name, missing(old.xattrs, nil))
	}
	p.script.remove(name, old.isDir())
	if last {
		p.space.release(old)
	}
}

// put records what a name holds now and how many names its parent has.
func (p *plan) put(name string, now, old, parent *entry) {
	if now.kind != 0 && old.kind == 0 {
		parent.names++
	}
	if now.kind == 0 && old.kind != 0 {
		parent.names--
	}
	p.names[name] = now
}
