package image

import (
	"errors"
	"io/fs"
	"regexp"
	"strconv"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// Limits on a file that has a line for each mount and a comment or two.
const (
	maxFstab        = 256 << 10 // bytes
	maxFstabEntries = 256       // any more are not looked at
)

// mountEntry is a line of fstab(5), escapes undone.
type mountEntry struct {
	spec    string // "UUID=…", "/dev/sda1", "tmpfs"
	dir     string // clean and rooted
	options []string
}

// onDemand is a mount that a boot does without.
func (m mountEntry) onDemand() bool {
	for _, o := range m.options {
		if o == "noauto" || o == "nofail" {
			return true
		}
	}
	return false
}

// readFstab reads the mounts of a root. A root without the file has none.
func readFstab(t rootfs.Tree) ([]mountEntry, error) {
	data, err := rootfs.ReadFile(t, "/etc/fstab", maxFstab)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseFstab(string(data)), nil
}

// parseFstab takes the lines that mount something on a directory; swap and lines
// that are not complete are left out, as mount(8) would.
func parseFstab(text string) []mountEntry {
	var out []mountEntry
	for line := range strings.Lines(text) {
		field := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == '\r' })
		if len(field) < 3 || strings.HasPrefix(field[0], "#") {
			continue
		}
		for i, f := range field {
			field[i] = undoOctal(f)
		}
		if !strings.HasPrefix(field[1], "/") {
			continue
		}
		m := mountEntry{spec: field[0], dir: rootfs.Clean(field[1])}
		if len(field) > 3 {
			m.options = strings.Split(field[3], ",")
		}
		if out = append(out, m); len(out) == maxFstabEntries {
			break
		}
	}
	return out
}

// undoOctal puts back what fstab(5) writes as \040 for a blank, \011 for a tab, and
// so on.
func undoOctal(text string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) {
			if n, err := strconv.ParseUint(text[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		out.WriteByte(text[i])
	}
	return out.String()
}

// undoHex puts back what udev writes as \x20 in the names of links.
func undoHex(text string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if strings.HasPrefix(text[i:], `\x`) && i+4 <= len(text) {
			if n, err := strconv.ParseUint(text[i+2:i+4], 16, 8); err == nil {
				out.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		out.WriteByte(text[i])
	}
	return out.String()
}

// tag splits what names a volume by what stands in it: "UUID=x", or the link that
// udev makes for the same.
func tag(spec string) (key, value string, ok bool) {
	if rest, is := strings.CutPrefix(spec, "/dev/disk/by-"); is {
		key, value, ok = strings.Cut(rest, "/")
		return strings.ToUpper(key), undoHex(value), ok
	}
	key, value, ok = strings.Cut(spec, "=")
	return key, strings.Trim(value, `"'`), ok
}

// devicePartition matches the names that the kernel gives to partitions of the
// first disk. Only on that one are they those of the image.
var devicePartition = regexp.MustCompile(`^/dev/(?:(?:sd|vd|xvd|hd)a|(?:nvme0n1|mmcblk0|loop0|pmem0|nbd0)p)([0-9]{1,4})$`)

// matches says whether a mount's spec names volume v; whether it can name one at
// all, named says.
func (v Volume) matches(spec string) (is, named bool) {
	if m := devicePartition.FindStringSubmatch(spec); m != nil {
		n, _ := strconv.Atoi(m[1])
		return n == v.Number, true
	}
	key, value, ok := tag(spec)
	if !ok || value == "" {
		return false, strings.HasPrefix(spec, "/dev/") && spec != "/dev/root"
	}
	switch key {
	case "UUID":
		return strings.EqualFold(value, v.UUID), true
	case "LABEL":
		return value == v.FSLabel, true
	case "PARTUUID":
		return strings.EqualFold(value, v.PartUUID), true
	case "PARTLABEL":
		return value == v.Label, true
	default: // by-id and by-path speak of one machine's hardware
		return false, strings.HasPrefix(spec, "/dev/")
	}
}
