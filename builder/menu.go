package builder

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/kerngate/kerngate/builder/bootentry"
	"github.com/kerngate/kerngate/builder/kernel"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/initcheck/kver"
	"github.com/kerngate/kerngate/profiles"
)

// menuEdit is what becomes of the boot menus: a tree in memory with what an earlier build
// changed taken back, and what this one wants put in. The kernel command lines are edited
// in what it leaves.
type menuEdit struct {
	over    *rootfs.Overlay
	boot    *bootentry.Config // of over
	words   map[string]string // what of it is ours, by path, for the manifest
	reasons map[string]string // by path
	missed  string            // what the menus lack, for verify
	kept    map[string][]byte // files of ours from earlier builds, by path
	bad     []obstacle
}

// editMenus takes out of the boot menus what an earlier build put in, and puts in what the
// profile wants: that kernels start which the gate lets through.
func (s *surrounding) editMenus(p profiles.Profile, old *Manifest) (*menuEdit, error) {
	m := &menuEdit{over: rootfs.NewOverlay(s.tree), boot: s.boot, words: map[string]string{}, reasons: map[string]string{}, kept: map[string][]byte{}}
	if err := m.takeBack(s, old); err != nil {
		return nil, err
	}
	wish, wanted, err := s.menuWish(p, m.boot)
	if err != nil || !wanted {
		return m, err
	}
	lacking, err := s.menuFaults(p)
	if err != nil {
		return nil, err
	}
	m.missed = orElse(strings.Join(lacking, "; "), "its boot menu is not as the profile wants it")
	return m, m.promote(s, wish)
}

// takeBack restores the settings that an earlier build changed. What it cut out stays in
// the manifest, since nothing here brings it back.
func (m *menuEdit) takeBack(s *surrounding, old *Manifest) error {
	added := menuWords(old)
	var own []ManifestEntry
	for _, e := range old.entries() {
		if slices.Contains(bootentry.MenuFiles(), e.Path) {
			own = append(own, e)
		}
	}
	if len(added)+len(own) == 0 {
		return nil
	}
	m.missed = "its boot menu has what the profile does not ask for"
	edits, _, err := s.boot.Restore(added)
	if err != nil {
		return fmt.Errorf("cannot take back the boot menus: %w", err)
	}
	m.write(edits)
	for name := range added {
		m.reasons[name] = "the profile no longer asks for it"
	}
	if m.words, err = s.boot.Gone(added, imagesOf(s.kernels)); err != nil {
		return err
	}
	for name := range m.words {
		m.reasons[name] = menuReason(m.words[name], "")
	}
	for _, e := range own {
		if err := m.takeOwn(s, e); err != nil {
			return err
		}
	}
	return m.readAgain()
}

// takeOwn removes a file of ours that holds the default of menus yet to be written, unless
// it was made for entries that are gone: nobody can tell any more what it must say.
func (m *menuEdit) takeOwn(s *surrounding, e ManifestEntry) error {
	literal, err := rootfs.ResolveParent(s.tree, e.Path)
	if err != nil && !isMissing(err) {
		return err
	}
	data, err := rootfs.ReadFile(s.tree, literal, maxAdded)
	if err == nil && len(m.words) > 0 && hash(data) == e.SHA256 {
		m.kept[e.Path] = data
		return nil
	}
	m.over.Remove(literal)
	return nil
}

// menuWords is what an earlier build changed in boot menus, by path.
func menuWords(old *Manifest) map[string]string {
	out := map[string]string{}
	for _, e := range old.entries() {
		if e.Menu != "" {
			out[e.Path] = e.Menu
		}
	}
	return out
}

func (m *menuEdit) write(edits []bootentry.Edit) {
	for _, e := range edits {
		if e.Delete {
			m.over.Remove(e.Path)
		} else {
			m.over.Write(e.Path, e.Data)
		}
		if _, told := m.reasons[e.Path]; !told {
			m.reasons[e.Path] = ""
		}
	}
}

func (m *menuEdit) readAgain() (err error) {
	if m.boot, err = bootentry.Read(m.over); err != nil {
		return fmt.Errorf("cannot read the boot entries: %w", err)
	}
	return nil
}

// promote makes the wish come true.
func (m *menuEdit) promote(s *surrounding, wish bootentry.Wish) error {
	got, err := m.boot.Promote(wish)
	if err != nil {
		return fmt.Errorf("cannot change the boot menus: %w", err)
	}
	for _, r := range got.Refusals {
		o := obstacle{r.Entry.String(), "the boot menu cannot be changed: " + r.Why,
			orElse(r.Hint, "have the image's own tools write the menu anew (update-grub, grub2-mkconfig, kernel-install), or remove the configuration of a boot loader that is not in use") + "; " + keepAdvice}
		if s.external {
			s.menuNotes = append(s.menuNotes, o.String())
		} else {
			m.bad = append(m.bad, o)
		}
	}
	s.menuNotes = append(s.menuNotes, got.Notes...)
	m.write(got.Edits)
	for _, e := range got.Edits {
		if slices.Contains(bootentry.MenuFiles(), e.Path) {
			m.kept[e.Path] = e.Data
			delete(m.reasons, e.Path)
		}
	}
	for name, data := range m.kept {
		data = append([]byte(wish.Header), withoutComments(data)...)
		s.own = append(s.own, wanted{path: name, op: rootfs.WriteFile, mode: 0o644, data: data, reason: "boot menu: keep the default when the menu is written anew"})
	}
	for name, words := range got.Added {
		m.words[name] = goneFirst(m.words[name] + " " + words)
		m.reasons[name] = menuReason(m.words[name], wish.Allowed[0])
		if err := bootentry.CheckMenuWords(name, m.words[name]); err != nil {
			m.bad = append(m.bad, obstacle{name, "the boot menu is to be changed there, and could not be changed back: " + err.Error(), "move what it says of the default entry to the boot loader's main configuration"})
		}
	}
	return m.readAgain()
}

// menuAdvice is for a menu that is not as the profile wants it, keepAdvice for one that
// cannot be made so.
const (
	menuAdvice = "kerngate apply changes the boot menu, or says why it cannot; " + keepAdvice
	keepAdvice = `or leave the boot menu as it is, with boot_below_floor = "keep" in the profile's [kernel.pin]: then a default that the gate refuses is a warning`
)

// withoutComments drops the header of another profile.
func withoutComments(data []byte) []byte {
	for len(data) > 0 && data[0] == '#' {
		_, data, _ = bytes.Cut(data, []byte("\n"))
	}
	return data
}

// goneFirst puts the words for what does not come back before the others, so that their
// order does not tell of how many builds there were.
func goneFirst(words string) string {
	list := strings.Fields(words)
	slices.SortStableFunc(list, func(a, b string) int { return first(strings.HasPrefix(a, "gone="), strings.HasPrefix(b, "gone=")) })
	return strings.Join(slices.Compact(list), " ")
}

// menuReason says what words in the manifest are for.
func menuReason(words, release string) string {
	if strings.HasPrefix(words, "gone=") {
		return "boot menu: no entries for kernels that the gate refuses; their images stay"
	}
	return "boot menu: start kernel " + release + " unless somebody chooses another"
}

// menuWish says which kernels a boot menu may start, the newest first. There is none to
// make come true where the profile keeps the menus, or the gate lets no kernel pass.
func (s *surrounding) menuWish(p profiles.Profile, boot *bootentry.Config) (wish bootentry.Wish, wanted bool, err error) {
	mode := p.Kernel.Pin.BootBelowFloor
	if mode == "" || mode == profiles.BootKeep {
		return wish, false, nil
	}
	wish, err = s.judgeEntries(p, boot)
	wish.Mode, wish.Header = bootentry.Mode(mode), header(p)
	return wish, len(wish.Allowed) > 0, err
}

// judgeEntries sorts the kernels of the tree, and those that a boot menu names beside
// them, by what the gate says of them.
func (s *surrounding) judgeEntries(p profiles.Profile, boot *bootentry.Config) (wish bootentry.Wish, err error) {
	verdicts, err := s.gate(p)
	if err != nil || len(verdicts) == 0 {
		return wish, err
	}
	wish.Kernels = imagesOf(s.kernels)
	menu, err := boot.Menu(wish.Kernels)
	if err != nil {
		return wish, err
	}
	named, starts := releasesIn(menu)
	whole, passes := map[string]bool{}, map[string]bool{} // has modules; passes with every command line
	for _, v := range verdicts {
		whole[v.Kernel] = true
	}
	for _, release := range named {
		if whole[release] {
			continue
		}
		v, err := s.verdict(p, kernel.Kernel{Release: release, Modules: path.Join("/usr/lib/modules", release)})
		if err != nil {
			return wish, err
		}
		verdicts = append(slices.Clip(verdicts), v)
	}
	for _, v := range verdicts {
		passes[v.Kernel] = v.Pass
		if v.passable {
			wish.Allowed = append(wish.Allowed, v.Kernel)
		} else {
			wish.Barred = append(wish.Barred, v.Kernel)
		}
	}
	slices.SortFunc(wish.Allowed, func(a, b string) int {
		return cmp.Or(first(whole[a], whole[b]), first(passes[a], passes[b]), newestFirst(a, b),
			first(starts[a], starts[b]), cmp.Compare(len(a), len(b)), strings.Compare(a, b))
	})
	return wish, nil
}

// releasesIn are the kernels that boot menus can start, each once, and those that start by
// default.
func releasesIn(menu bootentry.Menu) (named []string, starts map[string]bool) {
	starts = map[string]bool{}
	for _, l := range menu.Loaders {
		for _, i := range l.Items {
			named = append(named, i.Releases...)
		}
		for _, n := range l.Default {
			for _, release := range l.Items[n].Releases {
				starts[release] = true
			}
		}
	}
	slices.Sort(named)
	return slices.Compact(named), starts
}

// first puts what is true before what is not.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}

// newestFirst orders releases by the upstream release, then by all their numbers. Two
// flavours of one version are alike.
func newestFirst(a, b string) int {
	x, errX := kver.Parse(a)
	y, errY := kver.Parse(b)
	if c := kver.Compare(y, x); errX == nil && errY == nil && c != 0 {
		return c
	}
	return slices.Compare(numbersIn(b), numbersIn(a))
}

// numbersIn are the numbers in a release, by which distributions count their builds.
func numbersIn(release string) []int64 {
	var out []int64
	for word := range strings.FieldsFuncSeq(release, func(r rune) bool { return !unicode.IsDigit(r) }) {
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			n = math.MaxInt64 // it has more digits than that
		}
		out = append(out, n)
	}
	return out
}

// imagesOf gives the release of each kernel by the path of its image.
func imagesOf(kernels []kernel.Kernel) map[string]string {
	out := map[string]string{}
	for _, k := range kernels {
		if k.Image != "" {
			out[k.Image] = k.Release
		}
	}
	return out
}

// menuFaults names the entries of the tree as it is that a boot loader starts by default,
// or has at all where they are to be removed, and whose kernel the gate refuses.
func (s *surrounding) menuFaults(p profiles.Profile) ([]string, error) {
	_, faults, err := s.menuDefaults(p)
	return faults, err
}

// menuDefaults says what the boot loaders of the tree start by default, and what of it, or
// of the other entries, is not as the profile wants it.
func (s *surrounding) menuDefaults(p profiles.Profile) (fine, faults []string, err error) {
	wish, err := s.judgeEntries(p, s.boot)
	if err != nil || len(wish.Allowed) == 0 {
		return nil, nil, err
	}
	menu, err := s.boot.Menu(wish.Kernels)
	if err != nil {
		return nil, nil, err
	}
	for _, l := range menu.Loaders {
		wrong := loaderFaults(l, wish, p.Kernel.Pin.BootBelowFloor == profiles.BootRemove)
		for _, n := range l.Default {
			if i := l.Items[n]; len(wrong) == 0 {
				fine = append(fine, fmt.Sprintf("%s starts kernel %s by default: %s", l.Loader, strings.Join(i.Releases, ", "), i))
			}
		}
		faults = append(faults, wrong...)
	}
	return fine, faults, nil
}

func loaderFaults(l bootentry.LoaderMenu, wish bootentry.Wish, removes bool) (out []string) {
	refused := func(i bootentry.MenuItem) bool {
		return slices.ContainsFunc(i.Releases, func(r string) bool { return slices.Contains(wish.Barred, r) })
	}
	if l.Unknown != "" {
		out = append(out, fmt.Sprintf("%s: nobody can tell which entry %s starts by default: %s", l.Path, l.Loader, l.Unknown))
	}
	for n, i := range l.Items {
		starts := slices.Contains(l.Default, n)
		kernels := strings.Join(i.Releases, ", ")
		switch {
		case starts && refused(i):
			out = append(out, fmt.Sprintf("%s starts %s by default, and the gate refuses its kernel %s", l.Loader, i, kernels))
		case starts && (!i.Linux || i.Unnamed):
			out = append(out, fmt.Sprintf("%s starts %s by default, and nothing says that the gate lets its kernel through", l.Loader, i))
		case slices.Contains(l.Fallback, n) && refused(i):
			out = append(out, fmt.Sprintf("%s starts %s after a failure, and the gate refuses its kernel %s", l.Loader, i, kernels))
		case removes && refused(i):
			out = append(out, fmt.Sprintf("%s has %s, and the gate refuses its kernel %s", l.Loader, i, kernels))
		}
	}
	return out
}

// menuWarnings tells of a default that the gate refuses, where the profile keeps the menu
// or no entry could be another.
func (s *surrounding) menuWarnings(p profiles.Profile) ([]string, error) {
	if mode := p.Kernel.Pin.BootBelowFloor; mode != "" && mode != profiles.BootKeep {
		return s.menuNotes, nil
	}
	faults, err := s.menuFaults(p)
	for i, fault := range faults {
		faults[i] = fault + `; boot_below_floor = "demote" in the profile's [kernel.pin] changes that`
	}
	return append(s.menuNotes, faults...), err
}

// splicesOf merges what becomes of the boot menus and of the kernel command lines, which
// are in the same files.
func (m *menuEdit) splicesOf(s *surrounding, lines []splice) ([]splice, error) {
	byPath := map[string]splice{}
	for _, one := range lines {
		byPath[one.path] = one
	}
	for name, reason := range m.reasons {
		one, both := byPath[name]
		if !both {
			one = splice{path: name, op: opMenu, reason: reason, missed: m.missed}
		} else if m.words[name] != "" {
			one.reason, one.missed = reason+"; "+one.reason, orElse(m.missed, one.missed)
		}
		one.menu = m.words[name]
		edit, err := s.editTo(m.over, name)
		if err != nil {
			return nil, err
		}
		one.edit = edit
		byPath[name] = one
	}
	return slices.Collect(maps.Values(byPath)), nil
}

// editTo is what gives a file the content that it has in another tree.
func (s *surrounding) editTo(over rootfs.Tree, name string) (*rootfs.Edit, error) {
	data, err := rootfs.ReadFile(over, name, maxBootFile)
	if err == nil {
		return &rootfs.Edit{Op: rootfs.WriteFile, Data: data}, nil
	}
	if !isMissing(err) {
		return nil, err
	}
	if _, err := s.tree.Lstat(name); isMissing(err) {
		return nil, nil // gone already
	} else if err != nil {
		return nil, err
	}
	return &rootfs.Edit{Op: rootfs.Remove}, nil
}

// goneTexts says what a revert does not bring back into the boot menus.
func (s *surrounding) goneTexts(old *Manifest) ([]string, error) {
	gone, err := s.boot.Gone(menuWords(old), imagesOf(s.kernels))
	if err != nil {
		return nil, err
	}
	_, refusals, err := s.boot.Restore(gone)
	var out []string
	for _, r := range refusals {
		out = append(out, r.Error()+": "+r.Hint)
	}
	return out, err
}
