package inference

import "github.com/kerngate/kerngate/builder/unitfile"

type setting = unitfile.Setting

// values gives what a key of a section is set to in the end: an empty assignment drops
// what was there.
func values(all []setting, section, key string) []setting {
	var out []setting
	for _, s := range all {
		switch {
		case s.Section != section || s.Key != key:
		case s.Value == "":
			out = nil
		default:
			out = append(out, s)
		}
	}
	return out
}

// last is the last assignment, for keys that hold one value.
func last(all []setting, section, key string) string {
	found := values(all, section, key)
	if len(found) == 0 {
		return ""
	}
	return found[len(found)-1].Value
}
