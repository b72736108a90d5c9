package bootentry

import (
	"bytes"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// Restore takes back what [Config.Promote] changed in files of others: by path the
// words that it gave. A setting that somebody has changed since stays as it is. Entries
// that were cut out do not come back: each is a refusal that says so. Our own files,
// MenuFiles, are for the caller to remove.
func (c *Config) Restore(added map[string]string) ([]Edit, []Refusal, error) {
	var edits []Edit
	var refusals []Refusal
	for name, text := range added {
		data, err := rootfs.ReadFile(c.tree, name, maxConfig)
		if missing(err) {
			data = nil
		} else if err != nil {
			return nil, nil, err
		}
		now, created := data, false
		for _, word := range slices.Backward(strings.Fields(text)) {
			s, err := parseMenuWord(word)
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", name, err)
			}
			if s.name == "gone" {
				refusals = append(refusals, Refusal{Entry: Entry{Path: name, Title: s.now}, Why: "it was taken out of the boot menu and does not come back by itself",
					Hint: "let the image's own tools make it: update-grub, grub2-mkconfig, kernel-install, u-boot-update"})
				continue
			}
			if created = created || s.created; now != nil {
				now = s.takeBack(name, now)
			}
		}
		if !bytes.Equal(now, data) {
			edits = append(edits, Edit{Path: name, Data: now, Delete: created && len(now) == 0})
		}
	}
	slices.SortFunc(edits, func(a, b Edit) int { return strings.Compare(a.Path, b.Path) })
	slices.SortFunc(refusals, func(a, b Refusal) int { return strings.Compare(a.Error(), b.Error()) })
	return edits, refusals, nil
}

// Gone gives of the words of a [Promotion] those that stay true: of entries that are not
// in the menu again, and, as long as there are any, of settings that went with them.
// Kernels is as for [Config.Menu].
func (c *Config) Gone(added, kernels map[string]string) (map[string]string, error) {
	menu, err := c.Menu(kernels)
	if err != nil {
		return nil, err
	}
	back := map[[2]string]bool{}
	for _, m := range menu.Loaders {
		for _, i := range m.Items {
			back[[2]string{i.Path, i.Title}] = true
		}
	}
	out := map[string]string{}
	entries := 0
	for name, text := range added {
		var words []string
		for word := range strings.FieldsSeq(text) {
			s, err := parseMenuWord(word)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if s.name != "gone" || back[[2]string{name, s.now}] {
				continue
			}
			if words = append(words, word); !s.wasSetting() {
				entries++
			}
		}
		if len(words) > 0 {
			out[name] = strings.Join(words, " ")
		}
	}
	if entries == 0 {
		clear(out)
	}
	return out, nil
}

// wasSetting says whether what is gone is a setting, not an entry.
func (s menuWord) wasSetting() bool {
	name, _, found := strings.Cut(s.now, "=")
	return found && slices.Contains(menuSettings(), name) || strings.HasPrefix(s.now, "MENU DEFAULT of ")
}

// menuSettings are the settings that Promote may change.
func menuSettings() []string {
	return []string{"menu", "default", "preferred", "fallback", "ontimeout", "onerror", "saved_entry", "next_entry", "prev_saved_entry", "GRUB_DEFAULT"}
}

// CheckMenuWords says what of the words of a [Promotion] for one file cannot be of
// Promote's making. Which files it changes goes by their names: those that [Config.Restore]
// would find a setting in, and those that are an entry themselves.
func CheckMenuWords(name, words string) error {
	if !isMenuFile(name) {
		return fmt.Errorf("%s is no file of a boot menu", name)
	}
	for word := range strings.SplitSeq(words, " ") {
		odd := func(r rune) bool {
			return !strings.ContainsRune("_=,%+-.~", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		}
		if strings.ContainsFunc(word, odd) {
			return fmt.Errorf("%q is no change of a boot menu: want percent-encoded words", word)
		}
		if _, err := parseMenuWord(word); err != nil {
			return err
		}
	}
	return nil
}

func isMenuFile(name string) bool {
	base, dir := strings.ToLower(path.Base(name)), strings.ToLower(path.Dir(name))
	switch {
	case name == grubDefaultFile, base == "grubenv", base == "loader.conf", slices.Contains(syslinuxNames(), base):
		return true
	case strings.HasSuffix(dir, "/loader/entries"):
		return strings.HasSuffix(base, ".conf")
	case rootfs.Below(name, "/etc"):
		return false
	}
	return strings.HasSuffix(base, ".cfg") || strings.HasSuffix(base, ".efi")
}

// menuWord is one change of a setting.
type menuWord struct {
	name, now, was string
	wasThere       bool
	place          int  // how many of the name are before it
	created        bool // the file was not there
}

// newFile marks a setting for which the file was made.
const newFile = "new"

func parseMenuWord(word string) (s menuWord, err error) {
	name, values, found := strings.Cut(word, "=")
	now, was, wasThere := strings.Cut(values, ",")
	name, place, placed := strings.Cut(name, ".")
	s = menuWord{name: name, wasThere: wasThere, created: place == newFile}
	if placed && !s.created {
		if n, ok := smallNumber(place); ok && n > 0 {
			s.place = n
		} else {
			found = false
		}
	}
	if s.now, err = url.QueryUnescape(now); err == nil {
		s.was, err = url.QueryUnescape(was)
	}
	if err == nil && (!found || name != "gone" && !slices.Contains(menuSettings(), name)) {
		err = fmt.Errorf("want SETTING=NOW or SETTING=NOW,WAS")
	}
	if err != nil {
		err = fmt.Errorf("%q is no change of a boot menu: %w", word, err)
	}
	return s, err
}

// takeBack changes one setting of a file, if it is as we left it.
func (s menuWord) takeBack(name string, data []byte) []byte {
	if bytes.HasPrefix(data, []byte(grubEnvHeader)) {
		return s.takeBackEnv(data)
	}
	all := settingsIn(name, data, s.name)
	ours := func(v settingSpan) bool { return string(data[v.start:v.end]) == s.now }
	if s.place >= len(all) || !ours(all[s.place]) { // somebody has changed the file since
		if s.place = slices.IndexFunc(all, ours); s.place < 0 {
			return data
		}
	}
	v := all[s.place]
	switch {
	case s.wasThere:
		return splice(data, []change{{v.start, v.end, s.was}})
	case v.next == len(data) && v.at > 0 && data[v.next-1] != '\n':
		v.at-- // see lastLine
	}
	return splice(data, []change{{v.at, v.next, ""}})
}

// settingsBefore counts the settings of a name whose values begin before a place.
func settingsBefore(name string, data []byte, setting string, at int) (n int) {
	if bytes.HasPrefix(data, []byte(grubEnvHeader)) {
		return 0 // the last one stands
	}
	for _, v := range settingsIn(name, data, setting) {
		if v.start < at {
			n++
		}
	}
	return n
}

func (s menuWord) takeBackEnv(data []byte) []byte {
	if now, there := envValue(data, s.name); !there || now != s.now {
		return data
	}
	out, err := withSetting(data, s.name, s.was, s.wasThere)
	if err != nil {
		return data
	}
	return out
}

// settingSpan is where a setting lies: its value, and its line.
type settingSpan struct{ at, start, end, next int }

// settingsIn finds the settings of a name, by the kind of file.
func settingsIn(name string, data []byte, setting string) []settingSpan {
	var out []settingSpan
	switch base := strings.ToLower(path.Base(name)); {
	case base == "loader.conf":
		for _, l := range parseBLS(data) {
			if l.key == setting {
				out = append(out, settingSpan{l.at, l.start, l.end, l.next})
			}
		}
	case slices.Contains(syslinuxNames(), base):
		for _, d := range parseSyslinux(data) {
			if d.word == setting {
				out = append(out, settingSpan{d.at, d.start, d.end, d.next})
			}
		}
	case strings.HasSuffix(base, ".cfg"):
		// A script that does not parse has no settings of ours.
		_ = parseGrub(data, func(c grubCommand) {
			if name, _ := assignment(c.words); name == setting {
				w := c.words[len(c.words)-1]
				if first, _ := c.words[0].literal(); first == "set" {
					w = c.words[1]
				}
				out = append(out, lineAround(data, w.start+bytes.IndexByte(data[w.start:w.end], '=')+1, w.end))
			}
		})
	default:
		env := newShellEnv()
		if err := env.source(&file{data: data}); err != nil {
			return nil
		}
		if v, found := env.vars[setting]; found {
			from := v.begin + len(setting) + 1
			out = append(out, lineAround(data, from, from+bytes.IndexByte(append(bytes.Clone(data[from:]), '\n'), '\n')))
		}
	}
	return out
}

// lineAround gives a value's span with that of its line.
func lineAround(data []byte, start, end int) settingSpan {
	at := bytes.LastIndexByte(data[:start], '\n') + 1
	next := len(data)
	if i := bytes.IndexByte(data[end:], '\n'); i >= 0 {
		next = end + i + 1
	}
	return settingSpan{at, start, end, next}
}
