package bootentry

import (
	"strconv"
	"strings"
)

// resolve gives the items that a value of default (or, not booting what it finds in a
// submenu of its own accord, of fallback) can mean (get_entry_number in
// grub-core/normal/menu.c). What names nothing is the first entry.
func (g *grubRoot) resolve(menu []*grubItem, spec string, first bool) []int {
	found := g.component(menu, spec)
	if len(found) == 0 && first {
		found = at(menu, 0)
	}
	var out []int
	for _, i := range found {
		if !i.submenu {
			out = union2(out, []int{i.index})
			continue
		}
		out = union2(out, g.resolve(i.menu, afterSeparator(spec), true))
	}
	return out
}

// component finds what the first part of a value names in one menu. Until 2.06 a value
// that begins with a number is one, whatever follows; GRUB with blscfg looks for names
// first.
func (g *grubRoot) component(menu []*grubItem, spec string) []*grubItem {
	var named []*grubItem
	for _, byID := range []bool{true, false} {
		for _, i := range menu {
			if len(named) == 0 && (byID && namesEntry(i.ID, spec) || !byID && namesEntry(i.title, spec)) {
				named = append(named, i)
			}
		}
	}
	n, whole, ok := leadingNumber(spec)
	switch {
	case !ok, g.blscfg && len(named) > 0:
		return named
	case whole:
		return at(menu, n)
	case g.blscfg:
		return nil
	default:
		return append(at(menu, n), named...) // versions differ
	}
}

// at gives the items that can stand at a place: those that are there only sometimes
// move the others.
func at(menu []*grubItem, n int) []*grubItem {
	var out []*grubItem
	least := 0
	for most, i := range menu {
		if least <= n && n <= most {
			out = append(out, i)
		}
		if !i.Maybe {
			least++
		}
	}
	return out
}

// namesEntry is menuentry_eq: a single > ends the name, two are one.
func namesEntry(name, spec string) bool {
	for {
		switch {
		case strings.HasPrefix(spec, ">") && !strings.HasPrefix(spec, ">>"):
			return name == ""
		case strings.HasPrefix(spec, ">>"):
			spec = spec[1:]
		}
		if name == "" || spec == "" {
			return name == spec
		}
		if name[0] != spec[0] {
			return false
		}
		name, spec = name[1:], spec[1:]
	}
}

// afterSeparator is what follows the first single >.
func afterSeparator(spec string) string {
	for i := 0; i < len(spec); i++ {
		if spec[i] != '>' {
			continue
		}
		if i+1 < len(spec) && spec[i+1] == '>' {
			i++
			continue
		}
		return spec[i+1:]
	}
	return ""
}

// leadingNumber reads as strtoul with base 0 does; whole says that nothing but a
// separator follows.
func leadingNumber(spec string) (n int, whole, ok bool) {
	s := strings.TrimLeft(spec, " \t")
	base, digits := 10, "0123456789"
	if rest, hex := strings.CutPrefix(strings.ToLower(s), "0x"); hex {
		s, base, digits = rest, 16, "0123456789abcdef"
	} else if strings.HasPrefix(s, "0") {
		base, digits = 8, "01234567"
	}
	rest := strings.TrimLeft(s, digits)
	value, err := strconv.ParseUint(s[:len(s)-len(rest)], base, 31)
	return int(value), rest == "" || strings.HasPrefix(rest, ">"), err == nil
}

// spec is the value that names an item, for every version of GRUB, or nothing where
// there is none.
func (g *grubRoot) spec(target *grubItem) string {
	var parts []string
	menu := g.menu
	for {
		i, item := holding(menu, target)
		if item == nil {
			return ""
		}
		part := ""
		for _, name := range []string{item.ID, item.title, strconv.Itoa(i)} {
			escaped := strings.ReplaceAll(name, ">", ">>")
			found := g.component(menu, escaped)
			if name != "" && !strings.ContainsAny(name, "\n\r\\\"'$`") && len(found) == 1 && found[0] == item {
				part = escaped
				break
			}
		}
		if part == "" {
			return ""
		}
		if parts = append(parts, part); item == target {
			return strings.Join(parts, ">")
		}
		menu = item.menu
	}
}

// holding finds the item of a menu that is the target or has it below.
func holding(menu []*grubItem, target *grubItem) (int, *grubItem) {
	for n, i := range menu {
		if i == target {
			return n, i
		}
		if _, below := holding(i.menu, target); below != nil {
			return n, i
		}
	}
	return 0, nil
}
