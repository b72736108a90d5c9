package pin

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// record is one of a preferences file: apt_preferences(5).
type record struct {
	line     int // of its Package field
	packages []string
	kind     string // "version", "release" or "origin"
	value    string
	priority int
}

// records parses a preferences file. A record without package or pin is none.
func records(data []byte) []record {
	var out []record
	now := record{}
	last := ""
	flush := func() {
		if len(now.packages) > 0 {
			out = append(out, now)
		}
		now, last = record{}, ""
	}
	for i, l := range linesOf(data) {
		switch {
		case strings.HasPrefix(l.text, "#"):
		case strings.TrimSpace(l.text) == "":
			flush()
		case l.text[0] == ' ' || l.text[0] == '\t': // goes on from the line above
			if last == "package" {
				now.packages = append(now.packages, strings.Fields(l.text)...)
			}
		default:
			key, value, _ := strings.Cut(l.text, ":")
			last = strings.ToLower(key)
			now.set(last, strings.TrimSpace(value), i+1)
		}
	}
	flush()
	return out
}

// set takes one field.
func (r *record) set(key, value string, line int) {
	switch key {
	case "package":
		r.packages, r.line = strings.Fields(value), line
	case "pin":
		kind, rest, _ := strings.Cut(value, " ")
		r.kind, r.value = strings.ToLower(kind), strings.TrimSpace(rest)
	case "pin-priority":
		r.priority, _ = strconv.Atoi(value)
	}
}

// kernelItem gives the first of the packages that can be a kernel's, "" if none is. The
// "*" of all packages is none: apt takes it for the weakest kind of record.
func (r record) kernelItem() string {
	for _, item := range r.packages {
		if item != "*" && canBeKernel(item) {
			return item
		}
	}
	return ""
}

// examples are names that stand for their families.
var examples = []string{
	"linux-image-6.12.117+deb13-amd64", "linux-image-6.12.117+deb13-cloud-amd64-unsigned", "linux-image-amd64", "linux-image-cloud-arm64",
	"linux-image-7.0.0-22-generic", "linux-image-unsigned-7.0.0-22-generic", "linux-image-generic", "linux-image-generic-hwe-24.04",
	"linux-modules-7.0.0-22-generic", "linux-modules-extra-7.0.0-22-generic", "linux-headers-7.0.0-22-generic", "linux-headers-amd64",
	"linux-generic", "linux-virtual", "linux-aws", "linux-azure", "linux-gcp", "linux-binary-7.2.12+deb14-amd64", "linux-base-7.2.12+deb14-amd64",
	"proxmox-kernel-6.8.12-8-pve-signed",
}

// canBeKernel says whether an item of a Package field takes in a package that a pin is
// for.
func canBeKernel(item string) bool {
	if source, found := strings.CutPrefix(item, "src:"); found {
		item = source
		if source, _, _ = strings.Cut(source, ":"); strings.HasPrefix(source, "linux") && !strings.ContainsAny(source, "/*?[") {
			return source == "linux" || strings.HasPrefix(source, "linux-signed") || isAptKernel(source) || strings.HasPrefix(source, "linux-meta")
		}
	}
	if expression, found := strings.CutPrefix(item, "/"); found {
		if end := strings.LastIndexByte(expression, '/'); end >= 0 {
			expression = expression[:end]
		}
		re, err := regexp.CompilePOSIX("(?i)" + expression)
		if err != nil {
			re, err = regexp.Compile("(?i)" + expression)
		}
		if err != nil {
			return strings.Contains(expression, "linux")
		}
		return slices.ContainsFunc(examples, re.MatchString)
	}
	item, _, _ = strings.Cut(item, ":")
	wild := strings.IndexAny(item, "*?[")
	if wild < 0 {
		return isAptKernel(item)
	}
	matches := func(name string) bool { ok, err := path.Match(item, name); return ok && err == nil }
	return slices.ContainsFunc(examples, matches) || isAptKernel(item[:wild])
}
