package bootentry

import (
	"bytes"
	"cmp"
	"debug/pe"
	"fmt"
	"path"
	"slices"
	"strings"
)

// sdBoot is systemd-boot with its settings.
type sdBoot struct {
	esp      string // directory where loader.conf is, or would be
	conf     *file  // nil: none
	settings []blsLine
	machines []string // that it is built for, as UEFI names them; none where nothing says
	// installed says that the tree has more of it than entries, which are not its alone.
	installed bool
	entries   []*blsFile // in order
	grub      string     // directory of openSUSE's grub2-bls, which starts them instead
}

// systemdBoot evaluates the menu of systemd-boot, if the tree has it or something that
// only systemd-boot would start: the entries of the ESP and of the boot partition.
func (r *menuReader) systemdBoot() ([]LoaderMenu, error) {
	b := &sdBoot{}
	err := r.sdBootPrograms(b)
	if err != nil {
		return nil, err
	}
	for _, volume := range volumes() {
		if err := r.sdBootVolume(b, volume); err != nil {
			return nil, err
		}
	}
	if len(b.entries) == 0 || (!b.installed && r.blscfgUsed) {
		return nil, nil
	}
	if b.esp == "" {
		b.esp = b.entries[0].volume
	}
	slices.SortStableFunc(b.entries, compareEntries)
	name, err := r.find(b.esp, "loader", "loader.conf")
	if err != nil {
		return nil, err
	}
	if b.conf, err = r.readIf(name); err != nil {
		return nil, err
	}
	if b.conf != nil {
		b.settings = parseBLS(b.conf.data)
	}
	b.keepShown()
	m := b.loaderMenu()
	for _, n := range m.Default {
		if i := m.Items[n]; i.Spent {
			r.note("%s: it has no boot attempts left, and systemd-boot starts it: no other is before it, or loader.conf names it", i.Path)
		}
	}
	return []LoaderMenu{m}, nil
}

// sdBootPrograms finds the ESP, and what machines systemd-boot's programs there are for. It
// reads loader.conf of the volume that it is started from, not of another with its entries.
func (r *menuReader) sdBootPrograms(b *sdBoot) error {
	if err := r.grubOfSdbootutil(b); err != nil {
		return err
	}
	for _, names := range [][]string{{"EFI", "systemd"}, {"loader", "loader.conf"}} {
		for _, volume := range volumes() {
			name, err := r.find(volume, names...)
			if err != nil {
				return err
			}
			if b.installed = b.installed || name != ""; name != "" && b.esp == "" {
				b.esp = volume
			}
		}
	}
	for _, place := range []struct{ dir, prefix string }{{"systemd", "systemd-boot"}, {"BOOT", "boot"}} {
		for _, volume := range volumes() {
			dir, err := r.find(volume, "EFI", place.dir)
			if err != nil {
				return err
			}
			if dir == "" {
				continue
			}
			names, err := r.files(dir, ".efi")
			if err != nil {
				return err
			}
			for _, name := range names {
				base := strings.ToLower(path.Base(name))
				if machine, found := strings.CutPrefix(base[:len(base)-len(".efi")], place.prefix); found {
					b.machines = union(b.machines, []string{machine})
				}
			}
		}
		if len(b.machines) > 0 {
			break
		}
	}
	return nil
}

// grubOfSdbootutil finds openSUSE's grub2-bls, which has no grub.cfg: sdbootutil marks the
// directory where it puts a boot loader, by its name that of one or, for a disk that goes
// from machine to machine, BOOT. Then it takes grub2-bls if that is installed.
func (r *menuReader) grubOfSdbootutil(b *sdBoot) error {
	vendors, err := r.vendors()
	if err != nil {
		return err
	}
	for _, dir := range vendors {
		mark, err := r.find(dir, "installed_by_sdbootutil")
		if err != nil {
			return err
		}
		found := mark != "" && !strings.EqualFold(path.Base(dir), "systemd")
		if found && strings.EqualFold(path.Base(dir), "BOOT") {
			if found, err = r.hasGrubBLS(); err != nil {
				return err
			}
		}
		if found {
			b.grub = dir
		}
	}
	return nil
}

func (r *menuReader) hasGrubBLS() (bool, error) {
	dir, platforms, err := r.list("/usr/share/grub2", func(name string) bool { return strings.HasSuffix(name, "-efi") })
	for _, name := range platforms {
		program, err := r.find(path.Join(dir, name), "grubbls.efi")
		if err != nil || program != "" {
			return program != "", err
		}
	}
	return false, err
}

func (r *menuReader) sdBootVolume(b *sdBoot, volume string) error {
	dir, err := r.find(volume, "loader", "entries")
	if err == nil && dir != "" {
		var list []*blsFile
		list, err = r.blsFiles(dir, volume)
		for _, e := range list {
			if !isHidden(e.ID) {
				b.add(e)
			}
		}
	}
	if err != nil {
		return err
	}
	if dir, err = r.find(volume, "EFI", "Linux"); err != nil || dir == "" {
		return err
	}
	names, err := r.files(dir, ".efi")
	for _, name := range names {
		item := r.imageItem(name)
		if isHidden(path.Base(name)) {
			continue
		}
		if item == nil { // systemd-boot does not ask for a kernel in it
			item = &MenuItem{Path: name, ID: path.Base(name), Title: path.Base(name)}
		}
		e := &blsFile{MenuItem: *item, volume: volume}
		e.left, e.done = bootCount(e.ID)
		described, err := r.osRelease(e)
		if err != nil {
			return err
		}
		if described || item.Linux {
			b.add(e)
		}
	}
	return err
}

// isHidden says which names of entries systemd-boot leaves out.
func isHidden(base string) bool {
	return strings.HasPrefix(base, ".") || strings.HasPrefix(strings.ToLower(base), "auto-")
}

// keepShown drops the entries of other machines, and marks those that systemd-boot may
// leave out: what they start is to be on their own volume. Where its programs in the tree are not for one machine, the images say which
// it is, or the entries if they all say the same.
func (b *sdBoot) keepShown() {
	var images []string
	for _, e := range b.entries {
		if e.starts == "" {
			images = union(images, e.architectures)
		}
	}
	if len(images) == 1 && (len(b.machines) == 0 || slices.Contains(b.machines, images[0])) {
		b.machines = images
	}
	if all := b.entries[0].architectures; len(b.machines) == 0 && len(all) == 1 &&
		!slices.ContainsFunc(b.entries, func(e *blsFile) bool { return !slices.Equal(e.architectures, all) }) {
		b.machines = all
	}
	b.entries = slices.DeleteFunc(b.entries, func(e *blsFile) bool {
		return slices.ContainsFunc(e.architectures, func(a string) bool {
			return len(b.machines) > 0 && !slices.Contains(b.machines, strings.ToLower(a))
		})
	})
	for _, e := range b.entries {
		// Older versions tell cases apart.
		other := func(a string) bool { return len(b.machines) != 1 || a != b.machines[0] }
		e.Maybe = e.Maybe || (e.unnamed || e.elsewhere) && b.installed || slices.ContainsFunc(e.architectures, other)
	}
}

// add keeps each file once: a volume may be found twice.
func (b *sdBoot) add(e *blsFile) {
	if !slices.ContainsFunc(b.entries, func(o *blsFile) bool { return o.Path == e.Path }) {
		e.id = e.idWith(true)
		b.entries = append(b.entries, e)
	}
}

// osRelease takes an image's sort key and version from its .osrel section, as
// bootspec_pick_name_version_sort_key does, which has no use for one without a name, and
// the machine that it is for from its header. Described says whether it has such a section.
func (r *menuReader) osRelease(e *blsFile) (described bool, err error) {
	if info, err := r.tree.Lstat(e.Path); err != nil || !info.Mode.IsRegular() {
		return false, err
	}
	f, err := r.tree.Open(e.Path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	m, err := parsePE(f, f.Size())
	if err != nil {
		return false, nil // Read says what it thinks of one that seems to be an image
	}
	if name := map[uint16]string{pe.IMAGE_FILE_MACHINE_I386: "ia32", pe.IMAGE_FILE_MACHINE_AMD64: "x64", pe.IMAGE_FILE_MACHINE_ARMNT: "arm", pe.IMAGE_FILE_MACHINE_ARM64: "aa64",
		pe.IMAGE_FILE_MACHINE_RISCV64: "riscv64", pe.IMAGE_FILE_MACHINE_LOONGARCH64: "loongarch64"}[m.header.Machine]; name != "" {
		e.architectures = []string{name}
	}
	fields := map[string]string{}
	for _, n := range m.named(".osrel") {
		data, err := m.content(f, n, maxExpanded)
		if err != nil {
			return true, nil
		}
		described = true
		for line := range bytes.Lines(data) {
			key, value, _ := strings.Cut(strings.TrimSpace(strings.TrimRight(string(line), "\x00")), "=")
			fields[key] = strings.Trim(value, `"'`)
		}
	}
	e.sortKey = orWord(fields["IMAGE_ID"], fields["ID"])
	e.unnamed = e.sortKey == "" && fields["PRETTY_NAME"] == "" && fields["NAME"] == ""
	e.version = orWord(orWord(fields["IMAGE_VERSION"], fields["VERSION"]), orWord(fields["VERSION_ID"], fields["BUILD_ID"]))
	e.Title = orWord(fields["PRETTY_NAME"], e.Title)
	return described, nil
}

// compareEntries orders as systemd-boot shows (UAPI.1, "Sorting", and
// boot_entry_compare in src/boot/boot.c): those without boot attempts left last, those
// with a sort key before the others.
func compareEntries(a, b *blsFile) int {
	last := func(yes bool) int {
		if yes {
			return 1
		}
		return 0
	}
	c := cmp.Or(cmp.Compare(last(a.left == 0), last(b.left == 0)), cmp.Compare(last(a.sortKey == ""), last(b.sortKey == "")))
	if c == 0 && a.sortKey != "" {
		c = cmp.Or(strings.Compare(a.sortKey, b.sortKey), strings.Compare(a.machineID, b.machineID), -compareVersions(a.version, b.version))
	}
	if c = cmp.Or(c, -compareVersions(a.id, b.id)); c != 0 || a.left < 0 || b.left < 0 {
		return c
	}
	return cmp.Or(-cmp.Compare(a.left, b.left), cmp.Compare(a.done, b.done))
}

// setting is the last line with a key and a value: line_get_key_value in src/boot passes
// over a key without one.
func (b *sdBoot) setting(key string) (line blsLine, value string, found bool) {
	for _, l := range b.settings {
		if l.key == key && l.start < l.end {
			line, value, found = l, string(b.conf.data[l.start:l.end]), true
		}
	}
	return line, value, found
}

// patterns are what versions of systemd-boot take for the value of a setting: newer ones
// take off single quotes as well, and pass over an @ with another word than saved behind
// it.
func (b *sdBoot) patterns(key string) []string {
	older, newer := "", ""
	for _, l := range b.settings {
		if l.key != key || l.start == l.end {
			continue
		}
		value := string(b.conf.data[l.start:l.end])
		if older = value; value[0] != '\'' {
			older = unquoted(value)
		}
		if value = unquoted(value); !strings.HasPrefix(value, "@") || strings.EqualFold(value, saved) {
			newer = value
		}
	}
	return union([]string{older}, []string{newer})
}

// saved has systemd-boot start what was started last, which the firmware remembers.
const saved = "@saved"

// unquoted is a value as line_get_key_value in src/boot takes it.
func unquoted(value string) string {
	if n := len(value); n > 1 && value[0] == value[n-1] && (value[0] == '"' || value[0] == '\'') {
		return value[1 : n-1]
	}
	return value
}

// sdReading is loader.conf and the entries as one version of systemd-boot takes them.
type sdReading struct {
	entries            []sdEntry // in order
	preferred, pattern glob
}

// sdEntry is an entry as one version of systemd-boot has it.
type sdEntry struct {
	blsFile
	index int // in sdBoot.entries
}

// readings are all that loader.conf and the entries can mean. In older versions the
// counters belong to an entry's ID; the setting preferred is of 260; entries that are
// Maybe are shown by some versions only.
func (b *sdBoot) readings() []sdReading {
	var out []sdReading
	preferences, defaults := newGlobs(union([]string{""}, b.patterns("preferred"))), newGlobs(b.patterns("default"))
	for _, counters := range []bool{true, false} {
		for _, all := range []bool{true, false} {
			var entries []sdEntry
			for n, e := range b.entries {
				if e.Maybe && !all {
					continue
				}
				one := sdEntry{*e, n}
				one.id = e.idWith(counters)
				entries = append(entries, one)
			}
			slices.SortStableFunc(entries, func(a, b sdEntry) int { return compareEntries(&a.blsFile, &b.blsFile) })
			for _, preferred := range preferences {
				for _, pattern := range defaults {
					out = append(out, sdReading{entries, preferred, pattern})
				}
			}
		}
	}
	return out
}

// idWith is the ID of an entry, with the counters or without.
func (e *blsFile) idWith(counters bool) string {
	id := lower(e.ID)
	if e.left >= 0 && !counters {
		id = id[:strings.LastIndexByte(id, '+')] + path.Ext(id)
	}
	return id
}

// chosen says which entry is started (config_select_default_entry in src/boot/boot.c), by
// its place in order, or -1: what preferred names and has boot attempts left, then what
// default names, then the first. Named is false for the first.
func (r sdReading) chosen() (n int, named bool) {
	n = slices.IndexFunc(r.entries, func(e sdEntry) bool { return e.left != 0 && r.preferred.names(e.id) })
	if n < 0 {
		n = slices.IndexFunc(r.entries, func(e sdEntry) bool { return r.pattern.names(e.id) })
	}
	if n >= 0 || len(r.entries) == 0 {
		return n, n >= 0
	}
	return 0, false
}

// likes says which entries have the chosen one's place in order, and itself: what comes first
// of them, files of one name on two volumes for one, the tree does not say.
func (r sdReading) likes(n int) (out []int) {
	chosen := r.entries[n]
	for _, e := range r.entries {
		alike := compareEntries(&e.blsFile, &chosen.blsFile) == 0 &&
			r.preferred.names(e.id) == r.preferred.names(chosen.id) && r.pattern.names(e.id) == r.pattern.names(chosen.id)
		if alike {
			out = append(out, e.index)
		}
	}
	return out
}

// maxFailures is how many entries are followed that fail until their boot attempts are
// used up; kernel-install leaves a handful.
const maxFailures = 32

// failures says which entries come after the chosen one where each before it has used up
// its boot attempts and so gone to the end.
func (r sdReading) failures(n int) (out []int) {
	entries := slices.Clone(r.entries)
	for range maxFailures {
		if n < 0 || entries[n].left <= 0 {
			return out
		}
		spent := entries[n]
		if base, counted := strings.CutSuffix(spent.id, path.Ext(spent.id)); counted && strings.EqualFold(spent.id, spent.ID) {
			spent.id = fmt.Sprintf("%s+0-%d%s", base[:strings.LastIndexByte(base, '+')], spent.done+spent.left, path.Ext(spent.id))
		}
		spent.left, spent.done = 0, spent.done+spent.left
		entries = append(slices.Delete(entries, n, n+1), spent)
		n, _ = sdReading{entries, r.preferred, r.pattern}.chosen()
		out = append(out, entries[n].index)
	}
	for _, e := range entries {
		out = append(out, e.index) // any of them
	}
	return out
}

// loaderMenu says what systemd-boot starts (loader.conf(5)), whatever its version.
func (b *sdBoot) loaderMenu() LoaderMenu {
	m := LoaderMenu{Loader: "systemd-boot", Path: path.Join(b.esp, "loader/loader.conf"), root: b}
	for _, e := range b.entries {
		e.Spent = e.left == 0
		m.Items = append(m.Items, e.MenuItem)
	}
	if b.conf != nil && bytes.IndexByte(b.conf.data, 0) >= 0 {
		m.Unknown = "it has a zero byte, where systemd-boot stops reading"
	}
	switch {
	case len(b.entries) == 0:
		m.Unknown = "all its entries are for another machine"
	case b.grub != "":
		m.Unknown = "the entries are not for it but for the grub2-bls in " + b.grub + ", which takes the default from its own grubenv"
	}
	for _, r := range b.readings() {
		n, named := r.chosen()
		switch {
		case r.pattern.text == saved || r.preferred.text == saved:
			m.Unknown = "it says @saved, and the firmware remembers which entry that is"
		case max(len(r.pattern.text), len(r.preferred.text)) > maxGlob:
			m.Unknown = fmt.Sprintf("it has a pattern of more than %d bytes", maxGlob)
		case !named && namesFound(r.pattern):
			m.Unknown = "it names an entry of what systemd-boot finds on the machine"
		case !named && strings.LastIndexByte(r.pattern.text, '@') > 0:
			m.Unknown = "it names a profile of an image"
		}
		if n >= 0 {
			m.Default = union2(m.Default, r.likes(n))
			m.Fallback = union2(m.Fallback, r.failures(n))
		}
	}
	m.Fallback = slices.DeleteFunc(m.Fallback, func(n int) bool { return slices.Contains(m.Default, n) })
	return m
}
