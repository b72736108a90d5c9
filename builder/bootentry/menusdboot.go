package bootentry

import (
	"bytes"
	"cmp"
	"path"
	"slices"
	"strings"
)

// sdBoot is systemd-boot with its settings.
type sdBoot struct {
	esp      string // directory where loader.conf is, or would be
	conf     *file  // nil: none
	settings []blsLine
	entries  []*blsFile // in order
}

// systemdBoot evaluates the menu of systemd-boot, if the tree has it or something that
// only systemd-boot would start: the entries of the ESP and of the boot partition.
func (r *menuReader) systemdBoot() ([]LoaderMenu, error) {
	b := &sdBoot{}
	installed := false
	for _, volume := range volumes() {
		for _, names := range [][]string{{"EFI", "systemd"}, {"loader", "loader.conf"}} {
			name, err := r.find(volume, names...)
			if err != nil {
				return nil, err
			}
			if installed = installed || name != ""; name != "" && b.esp == "" {
				b.esp = volume
			}
		}
		if err := r.sdBootVolume(b, volume); err != nil {
			return nil, err
		}
	}
	if len(b.entries) == 0 || (!installed && r.blscfgUsed) {
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
	return []LoaderMenu{b.loaderMenu()}, nil
}

func (r *menuReader) sdBootVolume(b *sdBoot, volume string) error {
	dir, err := r.find(volume, "loader", "entries")
	if err == nil && dir != "" {
		var list []*blsFile
		list, err = r.blsFiles(dir, volume)
		for _, e := range list {
			if hidden := strings.HasPrefix(e.ID, ".") || strings.HasPrefix(strings.ToLower(e.ID), "auto-"); !hidden {
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
		if item == nil {
			continue
		}
		e := &blsFile{MenuItem: *item, volume: volume, sortKey: "linux"}
		e.left, e.done = bootCount(e.ID)
		if err := r.osRelease(e); err != nil {
			return err
		}
		b.add(e)
	}
	return err
}

// add keeps each file once: a volume may be found twice.
func (b *sdBoot) add(e *blsFile) {
	if !slices.ContainsFunc(b.entries, func(o *blsFile) bool { return o.Path == e.Path }) {
		b.entries = append(b.entries, e)
	}
}

// osRelease takes an image's sort key and version from its .osrel section, as
// bootspec_pick_name_version_sort_key does.
func (r *menuReader) osRelease(e *blsFile) error {
	f, err := r.tree.Open(e.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	m, err := parsePE(f, f.Size())
	if err != nil {
		return nil // Read took it for an image, and says what it thinks of it
	}
	fields := map[string]string{}
	for _, n := range m.named(".osrel") {
		data, err := m.content(f, n, maxExpanded)
		if err != nil {
			return nil
		}
		for line := range bytes.Lines(data) {
			key, value, _ := strings.Cut(strings.TrimSpace(strings.TrimRight(string(line), "\x00")), "=")
			fields[key] = strings.Trim(value, `"'`)
		}
	}
	e.sortKey = orWord(fields["IMAGE_ID"], fields["ID"])
	e.version = orWord(orWord(fields["IMAGE_VERSION"], fields["VERSION"]), orWord(fields["VERSION_ID"], fields["BUILD_ID"]))
	e.Title = orWord(fields["PRETTY_NAME"], e.Title)
	return nil
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
	if c = cmp.Or(c, -compareVersions(strings.ToLower(a.ID), strings.ToLower(b.ID))); c != 0 || a.left < 0 || b.left < 0 {
		return c
	}
	return cmp.Or(-cmp.Compare(a.left, b.left), cmp.Compare(a.done, b.done))
}

// setting is the last line with a key and a value, which stands: line_get_key_value in
// src/boot passes over a key without one.
func (b *sdBoot) setting(key string) (line blsLine, value string, found bool) {
	for _, l := range b.settings {
		if l.key == key && l.start < l.end {
			line, value, found = l, string(b.conf.data[l.start:l.end]), true
		}
	}
	return line, value, found
}

// loaderMenu says what systemd-boot starts (loader.conf(5)). Preferred is newer than
// some versions in use and passes over what has no boot attempts left.
func (b *sdBoot) loaderMenu() LoaderMenu {
	m := LoaderMenu{Loader: "systemd-boot", Path: path.Join(b.esp, "loader/loader.conf"), root: b}
	for _, e := range b.entries {
		m.Items = append(m.Items, e.MenuItem)
	}
	_, preferred, _ := b.setting("preferred")
	_, pattern, _ := b.setting("default")
	preferred, pattern = unquoted(preferred), unquoted(pattern)
	m.Unknown = strings.EqualFold(pattern, "@saved")
	for _, counters := range []bool{true, false} { // as the boot loader sees names, and as bootctl does
		if i := b.match(preferred, counters, true); i >= 0 {
			m.Default = union2(m.Default, []int{i})
		}
		i := b.match(pattern, counters, false)
		if i < 0 {
			m.Unknown = m.Unknown || namesFound(pattern)
			i = b.automatic(0)
			// It goes to the end once its attempts are used up.
			if next := b.automatic(i + 1); i >= 0 && b.entries[i].left >= 0 && next >= 0 {
				m.Fallback = []int{next}
			}
		}
		if i >= 0 {
			m.Default = union2(m.Default, []int{i})
		}
	}
	return m
}

// namesFound says whether a pattern names one of the entries that the boot loader makes
// of what it finds on the machine (loader.conf(5), "auto-entries").
func namesFound(pattern string) bool {
	return slices.ContainsFunc([]string{"auto-windows", "auto-osx", "auto-efi-shell", "auto-efi-default", "auto-reboot-to-firmware-setup", "auto-poweroff", "auto-reboot"},
		func(id string) bool { return pattern != "" && matches(strings.ToLower(pattern), id) })
}

// unquoted is a value as line_get_key_value in src/boot takes it.
func unquoted(value string) string {
	if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
		return value[1 : len(value)-1]
	}
	return value
}

// automatic finds the first entry from one on that is started without being named:
// another program is not.
func (b *sdBoot) automatic(from int) int {
	for i := from; i < len(b.entries); i++ {
		if b.entries[i].Linux {
			return i
		}
	}
	return -1
}

// match finds the first entry that a pattern names, by its name with or without the
// counters; of those with boot attempts left, if so asked.
func (b *sdBoot) match(pattern string, counters, attemptsLeft bool) int {
	return slices.IndexFunc(b.entries, func(e *blsFile) bool {
		name := e.ID
		if e.left >= 0 && !counters {
			name = name[:strings.LastIndexByte(name, '+')] + path.Ext(name)
		}
		return pattern != "" && (!attemptsLeft || e.left != 0) && matches(strings.ToLower(pattern), strings.ToLower(name))
	})
}

// matches is efi_fnmatch: *, ? and sets in brackets, a backslash for the next
// character.
func matches(pattern, name string) bool {
	ok, err := path.Match(strings.ReplaceAll(pattern, "[!", "[^"), strings.ReplaceAll(name, "/", "_"))
	return err == nil && ok
}

// pattern names an entry for loader.conf whatever its counters say; nothing if it would
// name others too.
func (b *sdBoot) pattern(e *blsFile) string {
	stem, suffix := strings.TrimSuffix(e.ID, path.Ext(e.ID)), path.Ext(e.ID)
	p := e.ID
	if e.left >= 0 {
		p = stem[:strings.LastIndexByte(stem, '+')] + "*" + suffix
	}
	if strings.ContainsAny(strings.Replace(p, "*", "", 1), "*?[]\\ \t") {
		return ""
	}
	n := 0
	for _, o := range b.entries {
		if matches(strings.ToLower(p), strings.ToLower(o.ID)) {
			n++
		}
	}
	if n != 1 {
		return ""
	}
	return p
}
