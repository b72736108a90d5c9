package bootentry

import (
	"bytes"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// Mode says what becomes of the entries of kernels that may not start.
type Mode string

// The modes.
const (
	RemoveEntries Mode = "remove" // they go
	DemoteEntries Mode = "demote" // they stay, and start only when somebody chooses them
)

// Wish is which kernels may start.
type Wish struct {
	Allowed []string          // releases, the one wanted most first
	Barred  []string          // releases
	Kernels map[string]string // release by literal path of an image, where its name does not say it
	Mode    Mode
	Header  string // begins a new file of ours
}

func (w Wish) check() error {
	if w.Mode != RemoveEntries && w.Mode != DemoteEntries {
		return fmt.Errorf("mode is %q, want %q or %q", w.Mode, RemoveEntries, DemoteEntries)
	}
	for _, release := range w.Allowed {
		if slices.Contains(w.Barred, release) {
			return fmt.Errorf("kernel %s is both allowed and barred", release)
		}
	}
	return nil
}

// Promotion is what makes a wish come true.
type Promotion struct {
	Edits    []Edit
	Refusals []Refusal
	Notes    []string
	// Added says by path what was changed in files of others, in words that
	// [Config.Restore] takes: setting=NOW,WAS for a setting, setting=NOW for one that
	// was not there, setting.new=NOW where not even the file was, gone=WHAT for an entry
	// or a setting that does not come back. setting.N is that of several in the file
	// which has N before it. Values are as they are spelled in the file, percent-encoded
	// (RFC 3986, with + for a blank), so a word has letters, digits and "_=,%+-.~" only.
	Added map[string]string
}

// MenuFiles lists the paths of the files that [Config.Promote] may make.
func MenuFiles() []string { return []string{grubDefaultDropIn} }

const grubDefaultFile = "/etc/default/grub"

const grubDefaultDropIn = "/etc/default/grub.d/zz-kerngate-default.cfg"

// Promote makes every boot loader start the first kernel of w.Allowed that it has an
// entry for, and removes or demotes the entries of w.Barred. Entries that start no
// Linux kernel stay. A Linux kernel of which neither is said is refused by name where
// entries are removed, or where it starts after a failure. The result has been evaluated again: a loader that would still
// start something else is among the refusals.
func (c *Config) Promote(w Wish) (Promotion, error) {
	if err := w.check(); err != nil {
		return Promotion{}, err
	}
	p := &promoting{wish: w, tree: c.tree, over: rootfs.NewOverlay(c.tree), touched: map[string]bool{}, words: map[string][]string{}, cut: map[string]bool{}}
	// Without next_entry a script takes another branch, so the default is set twice.
	for _, step := range []func(LoaderMenu) error{p.cutOut, p.setDefault, p.setDefault} {
		if err := p.eachLoader(step); err != nil {
			return Promotion{}, err
		}
	}
	if err := p.grubTemplate(c); err != nil {
		return Promotion{}, err
	}
	menu, err := p.menu()
	if err != nil {
		return Promotion{}, err
	}
	for _, m := range menu.Loaders {
		if t := p.target(m); t >= 0 && !p.satisfied(m, t) {
			why := "it is still not the only one that " + m.Loader + " may start by default after the change"
			if m.Unknown != "" {
				why += ": " + m.Unknown
			}
			p.refuse(m.Items[t], why, "look at "+m.Path)
		}
	}
	out := Promotion{Refusals: p.refusals, Notes: union(menu.Notes, p.notes), Added: map[string]string{}}
	for name, words := range p.words {
		out.Added[name] = strings.Join(words, " ")
	}
	out.Edits, err = p.edits()
	return out, err
}

// promoting is one run of Promote.
type promoting struct {
	wish     Wish
	tree     rootfs.Tree
	over     *rootfs.Overlay
	touched  map[string]bool
	words    map[string][]string
	cut      map[string]bool // loaders by path that lost entries
	refusals []Refusal
	notes    []string
	original Menu
}

func (p *promoting) menu() (Menu, error) {
	c, err := Read(p.over)
	if err != nil {
		return Menu{}, fmt.Errorf("cannot read back the changed boot configuration: %w", err)
	}
	return c.Menu(p.wish.Kernels)
}

// eachLoader takes a step for every loader, each as the steps before left it.
func (p *promoting) eachLoader(step func(LoaderMenu) error) error {
	done := map[string]bool{}
	for {
		menu, err := p.menu()
		if err != nil {
			return err
		}
		if len(done) == 0 && p.original.Loaders == nil {
			p.original = menu
		}
		i := slices.IndexFunc(menu.Loaders, func(m LoaderMenu) bool { return !done[m.Loader+m.Path] })
		if i < 0 {
			return nil
		}
		m := menu.Loaders[i]
		done[m.Loader+m.Path] = true
		if err := step(m); err != nil {
			return err
		}
	}
}

func (p *promoting) write(name string, data []byte) {
	p.over.Write(name, data)
	p.touched[name] = true
}

func (p *promoting) note(format string, args ...any) {
	p.notes = union(p.notes, []string{fmt.Sprintf(format, args...)})
}

func (p *promoting) refuse(i MenuItem, why, hint string) {
	r := Refusal{Entry: Entry{Path: i.Path, Line: i.Line, Title: orWord(i.Title, i.ID)}, Why: why, Hint: hint}
	if !slices.ContainsFunc(p.refusals, func(o Refusal) bool { return o.Error() == r.Error() }) {
		p.refusals = append(p.refusals, r)
	}
}

// changed notes a setting for Restore: of a file with some content, the one whose value
// begins at a place. Once entries are cut out it is not to come back: it named one of
// them, or a number that means another entry now.
func (p *promoting) changed(m LoaderMenu, f *file, at int, setting, now, was string, wasThere bool) {
	name, place := f.path, ""
	if n := settingsBefore(name, f.data, setting, at); n > 0 {
		place = "." + strconv.Itoa(n)
	} else if f.data == nil {
		place = "." + newFile
	}
	word := setting + place + "=" + url.QueryEscape(now)
	switch {
	case wasThere && p.cut[m.Loader+m.Path]:
		word = "gone=" + url.QueryEscape(setting+"="+was)
	case wasThere:
		word += "," + url.QueryEscape(was)
	}
	p.words[name] = append(p.words[name], word)
}

func (p *promoting) gone(m LoaderMenu, i MenuItem) {
	p.cut[m.Loader+m.Path] = true
	p.words[i.Path] = append(p.words[i.Path], "gone="+url.QueryEscape(i.Title))
}

// barred says whether an item starts a kernel that may not.
func (p *promoting) barred(i MenuItem) bool {
	return slices.ContainsFunc(i.Releases, func(r string) bool { return slices.Contains(p.wish.Barred, r) })
}

// stranger says whether an item starts a Linux kernel of which nothing is said.
func (p *promoting) stranger(i MenuItem) bool {
	return i.Linux && !p.barred(i) && (i.Unnamed || slices.ContainsFunc(i.Releases, func(r string) bool { return !slices.Contains(p.wish.Allowed, r) }))
}

// target finds the item that is to start by default: -1 if there is none. One whose boot
// attempts are used up, or whose kernel the tree lacks, is it only where all are so.
func (p *promoting) target(m LoaderMenu) int {
	for _, flaw := range []struct{ missing, spent bool }{{}, {spent: true}, {missing: true}, {true, true}} {
		for _, release := range p.wish.Allowed {
			best := -1
			for n, i := range m.Items {
				fits := len(i.Releases) == 1 && i.Releases[0] == release && !i.Unnamed && !i.Maybe && i.Missing == flaw.missing && i.Spent == flaw.spent
				if fits && (best < 0 || m.Items[best].Recovery && !i.Recovery) {
					best = n
				}
			}
			if best >= 0 {
				return best
			}
		}
	}
	return -1
}

// satisfied says that nothing but the kernel of item t starts by default, as it does
// there, and nothing barred as a fallback.
func (p *promoting) satisfied(m LoaderMenu, t int) bool {
	for _, n := range m.Default {
		i := m.Items[n]
		if !slices.Equal(i.Releases, m.Items[t].Releases) || i.Unnamed || i.Recovery && !m.Items[t].Recovery || i.Missing && !m.Items[t].Missing || i.Spent && !m.Items[t].Spent {
			return false
		}
	}
	if m.Unknown != "" || len(m.Default) == 0 {
		return false
	}
	return !slices.ContainsFunc(m.Fallback, func(n int) bool { return p.barred(m.Items[n]) })
}

// cutOut takes the barred entries of one loader out, or says why it cannot be.
func (p *promoting) cutOut(m LoaderMenu) error {
	for n, i := range m.Items {
		if p.stranger(i) && (p.wish.Mode == RemoveEntries || slices.Contains(m.Fallback, n)) {
			p.refuse(i, "it starts a Linux kernel of which nothing says whether it may", "remove the entry, or name the kernel's image after its release")
		}
	}
	if p.target(m) < 0 {
		if i := slices.IndexFunc(m.Items, func(i MenuItem) bool { return i.Linux }); i >= 0 {
			p.refuse(m.Items[i], fmt.Sprintf("%s has no entry for a kernel that may start; it has %s", m.Loader, strings.Join(releasesOf(m), ", ")), "")
		} else if m.Unknown != "" {
			p.refuse(MenuItem{Path: m.Path}, fmt.Sprintf("nobody can tell what %s starts: %s", m.Loader, m.Unknown), "")
		}
		return nil
	}
	switch root := m.root.(type) {
	case *grubRoot:
		return p.cutGrub(m, root)
	case *sdBoot:
		for _, e := range root.entries {
			p.deleteEntry(m, e.MenuItem)
		}
	case *syslinuxMenu:
		p.cutSyslinux(m, root)
	}
	return nil
}

func releasesOf(m LoaderMenu) []string {
	var out []string
	for _, i := range m.Items {
		out = union(out, i.Releases)
		if i.Unnamed {
			out = union(out, []string{"one without a known release"})
		}
	}
	return out
}

// deleteEntry removes the file that is an entry: a boot loader entry of type 1 or a
// unified kernel image.
func (p *promoting) deleteEntry(m LoaderMenu, i MenuItem) {
	if p.wish.Mode == RemoveEntries && p.barred(i) {
		p.over.Remove(i.Path)
		p.touched[i.Path] = true
		p.gone(m, i)
		p.note("%s: kernel-install makes the entry again when the package of kernel %s is installed or configured again", i.Path, strings.Join(i.Releases, ", "))
	}
}

// setDefault makes the target of one loader its default.
func (p *promoting) setDefault(m LoaderMenu) error {
	t := p.target(m)
	if t < 0 || p.satisfied(m, t) {
		return nil
	}
	switch root := m.root.(type) {
	case *grubRoot:
		return p.defaultGrub(m, root, t)
	case *sdBoot:
		p.defaultSDBoot(m, root, t)
	case *syslinuxMenu:
		p.defaultSyslinux(m, root, t)
	}
	return nil
}

// defaultSDBoot names the entry in loader.conf.
func (p *promoting) defaultSDBoot(m LoaderMenu, b *sdBoot, t int) {
	value := b.pattern(b.entries[t])
	if value == "" {
		p.refuse(m.Items[t], "no pattern of loader.conf names it alone", "give it a name without blanks that begins no other entry's name")
		return
	}
	if b.conf != nil && bytes.IndexByte(b.conf.data, 0) >= 0 {
		p.refuse(MenuItem{Path: m.Path}, m.Unknown, "write the file anew, as text")
		return
	}
	f := &file{path: m.Path}
	if _, err := p.over.Lstat(path.Dir(m.Path)); b.conf == nil && err != nil {
		p.refuse(m.Items[t], "there is no directory for "+m.Path+", which would name the default", "have bootctl install make it")
		return
	}
	if b.conf != nil {
		f = &file{path: b.conf.path, data: append([]byte{}, b.conf.data...)}
	}
	name, data := f.path, f.data
	var changes []change
	for _, key := range []string{"preferred", "default"} {
		l, was, found := b.setting(key)
		if found && was != value {
			changes = append(changes, change{l.start, l.end, value})
			p.changed(m, f, l.start, key, value, was, true)
		} else if !found && key == "default" {
			changes = append(changes, change{len(data), len(data), lastLine(data, "default "+value)})
			p.changed(m, f, len(data), key, value, "", false)
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return a.start - b.start })
	p.write(name, splice(data, changes))
}

// lastLine is a line as it comes behind others, which has an end if they have: without it
// what goes with the line, once it is taken back, is the end of the line before.
func lastLine(data []byte, line string) string {
	if end := newlineIfNone(data); end != "" {
		return end + line
	}
	return line + "\n"
}

func newlineIfNone(data []byte) string {
	if len(data) > 0 && data[len(data)-1] != '\n' {
		return "\n"
	}
	return ""
}

// cutSyslinux takes out the labels of barred kernels.
func (p *promoting) cutSyslinux(m LoaderMenu, s *syslinuxMenu) {
	var changes []change
	for _, l := range s.labels {
		if p.wish.Mode == RemoveEntries && p.barred(l.MenuItem) {
			changes = append(changes, change{l.start, l.end, ""})
			p.gone(m, l.MenuItem)
		}
	}
	if len(changes) > 0 {
		p.write(s.file.path, splice(s.file.data, changes))
		p.note("%s: u-boot-update and the like make it from the kernels in /boot; a label comes back while its kernel is there", s.file.path)
	}
}

// defaultSyslinux names the label wherever another one is named.
func (p *promoting) defaultSyslinux(m LoaderMenu, s *syslinuxMenu, t int) {
	var changes []change
	value := s.labels[t].ID
	for _, l := range s.labels {
		for _, d := range l.marks {
			if l != s.labels[t] {
				changes = append(changes, change{d.at, d.next, ""})
				p.words[s.file.path] = append(p.words[s.file.path], "gone="+url.QueryEscape("MENU DEFAULT of "+l.Title))
			}
		}
	}
	named := false
	for _, d := range slices.Concat(s.starts, s.fails) {
		was := string(s.file.data[d.start:d.end])
		program := s.named(was) < 0 && !isKernelFile(was) // one that shows the menu
		named = named || !program
		if !program && s.named(was) != t {
			changes = append(changes, change{d.start, d.end, value})
			p.changed(m, s.file, d.start, d.word, value, was, true)
		}
	}
	switch l := s.labels[t]; {
	case len(s.starts) == 0:
		changes = append(changes, change{0, 0, "default " + value + "\n"})
		p.changed(m, s.file, 0, "default", value, "", false)
	case !named && len(l.marks) == 0:
		changes = append(changes, change{l.next, l.next, newlineIfNone(s.file.data[:l.next]) + "\tmenu default\n"})
		p.changed(m, s.file, l.next, "menu", "default", "", false)
	}
	slices.SortFunc(changes, func(a, b change) int { return a.start - b.start })
	p.write(s.file.path, splice(s.file.data, changes))
}

// edits lists what is not as the tree has it.
func (p *promoting) edits() ([]Edit, error) {
	var out []Edit
	for name := range p.touched {
		_, err := p.tree.Lstat(name)
		if err != nil && !missing(err) {
			return nil, err
		}
		e := Edit{Path: name, New: err != nil}
		data, err := rootfs.ReadFile(p.over, name, maxConfig)
		switch {
		case missing(err):
			e.Delete = true
		case err != nil:
			return nil, err
		default:
			e.Data = data
		}
		if was, err := rootfs.ReadFile(p.tree, name, maxConfig); !e.New && !e.Delete && err == nil && bytes.Equal(was, data) {
			continue
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b Edit) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

// grubTemplate sees to it that a grub.cfg made anew has the same default.
func (p *promoting) grubTemplate(c *Config) error {
	r := &reader{tree: p.over, config: &Config{tree: p.over}, seen: map[string]bool{}, dirs: map[string][]rootfs.Entry{}, env: newGrubEnv()}
	program, err := r.program("grub-mkconfig", "grub2-mkconfig")
	if err != nil || program == nil {
		return err
	}
	i := slices.IndexFunc(p.original.Loaders, func(m LoaderMenu) bool { return m.Loader == "GRUB" })
	if i < 0 || p.target(p.original.Loaders[i]) < 0 {
		return nil
	}
	dropIns := strings.Contains(string(program), "/default/grub.d/")
	files := []string{grubDefaultFile}
	if dropIns {
		names, err := r.files(path.Dir(grubDefaultDropIn), ".cfg")
		if err != nil {
			return err
		}
		files = append(files, names...)
	}
	env := newShellEnv()
	var main *file
	for n, name := range files {
		f, err := r.open(name)
		if err != nil {
			return err
		}
		if f == nil {
			continue
		}
		if n == 0 {
			main = f
		}
		if env.source(f) != nil {
			return nil // Read says so
		}
	}
	return p.templateDefault(p.original.Loaders[i], env, main, dropIns)
}
