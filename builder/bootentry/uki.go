package bootentry

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// images finds unified kernel images: in EFI/Linux, under any other name that firmware
// or a boot manager may start, and where a boot entry names one. Those of kernel packages beside the modules
// are templates, which kernel-install copies.
func (r *reader) images() error {
	vendors, err := r.vendors()
	if err != nil {
		return err
	}
	for _, dir := range vendors {
		if err := r.imagesIn(dir, path.Dir(path.Dir(dir)), false); err != nil {
			return err
		}
	}
	for _, name := range r.chained {
		if err := r.image(name, "", false); err != nil {
			return err
		}
	}
	for _, modules := range []string{"/usr/lib/modules", "/lib/modules"} {
		literal, names, err := r.list(modules, startsWithDigit)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := r.imagesIn(path.Join(literal, name), "", true); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *reader) imagesIn(dir, volume string, template bool) error {
	names, err := r.files(dir, ".efi")
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := r.image(name, volume, template); err != nil {
			return err
		}
	}
	return nil
}

// unified is one unified kernel image or addon as read.
type unified struct {
	file   *file
	image  *image
	signed bool
	uname  string
	lines  []text // of the .cmdline sections, each byte at its offset there
	number []int  // of those sections
}

// image takes a file for an entry if it holds a kernel.
func (r *reader) image(name, volume string, template bool) error {
	u, err := r.openImage(name, ".linux")
	if err != nil || u == nil {
		return err
	}
	e := Entry{Source: UKI, Path: u.file.path, Kernel: u.file.path, Release: u.uname, Signed: u.signed, Template: template}
	addons, err := r.addons(u, volume)
	if err != nil {
		return err
	}
	if len(u.number) == 0 {
		u.lines, u.number = []text{{tail: -1}}, []int{-1}
	}
	for i, line := range u.lines {
		p := place{file: u.file, section: u.number[i], lines: []text{withAddons(line, addons)}}
		if u.signed {
			p.refusal = signedRefusal(u.file.path)
		}
		r.add(e, p)
	}
	return r.count(u.file.path)
}

// signedRefusal says how to go on with an image whose signature an edit would break.
func signedRefusal(name string) *Refusal {
	return &Refusal{
		Why: "the image is signed, and an edit would break its signature",
		Hint: fmt.Sprintf("build a signed addon (systemd 254 or newer): ukify build --cmdline='%%ARGUMENTS%%' --secureboot-private-key=KEY --secureboot-certificate=CERT --output=%[1]s.extra.d/kerngate.addon.efi; "+
			"or take the signature off (sbattach --remove %[1]s), run kerngate again, and sign anew (sbsign --key KEY --cert CERT --output %[1]s %[1]s)", name),
	}
}

// openImage reads the headers of a PE file and what we need of it; nil if it has no
// section of the given name.
func (r *reader) openImage(name, section string) (*unified, error) {
	literal, err := rootfs.Resolve(r.tree, name)
	if missing(err) || (err == nil && r.seen[literal]) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := r.count(literal); err != nil {
		return nil, err
	}
	if info, err := r.tree.Lstat(literal); err != nil || !info.Mode.IsRegular() {
		return nil, err
	}
	f, err := r.tree.Open(literal)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	u, err := readImage(literal, f, section)
	if errors.Is(err, errNotPE) {
		return nil, nil
	}
	if err != nil {
		if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
			return nil, err
		}
		r.problem(literal, "%v", err)
		return nil, nil
	}
	return u, nil
}

func readImage(name string, f rootfs.File, section string) (*unified, error) {
	if f.Size() > maxImage {
		return nil, fmt.Errorf("size is %d bytes, limit is %d", f.Size(), maxImage)
	}
	m, err := parsePE(f, f.Size())
	if err != nil {
		return nil, err
	}
	if len(m.named(section)) == 0 {
		return nil, nil
	}
	u := &unified{file: &file{path: name, rewrite: rewriteImage}, image: m}
	if u.signed, err = m.signed(f); err != nil {
		return nil, err
	}
	var names []string
	for _, n := range m.named(".uname") {
		data, err := m.content(f, n, maxString)
		if err != nil {
			return nil, err
		}
		names = union(names, []string{string(data)})
	}
	// Profiles may bring kernels of their own (UAPI.5, "Multi-Profile UKIs").
	if len(names) == 1 && len(m.named(".linux")) < 2 {
		u.uname = names[0]
	}
	for _, n := range m.named(".cmdline") {
		data, err := m.content(f, n, maxExpanded)
		if err != nil {
			return nil, err
		}
		u.lines = append(u.lines, rawText(data, 0, len(data)))
		u.number = append(u.number, n)
	}
	return u, nil
}

// addons gives the command lines that systemd-stub adds to an image's own: those of
// the ESP first, then those of the image, each in the order of names. An addon with a
// .uname counts for the same kernel only.
func (r *reader) addons(u *unified, volume string) ([]string, error) {
	dirs := []string{u.file.path + ".extra.d"}
	if volume != "" {
		global, err := r.find(volume, "loader", "addons")
		if err != nil {
			return nil, err
		}
		if global != "" {
			dirs = append([]string{global}, dirs...)
		}
	}
	var out []string
	for _, dir := range dirs {
		names, err := r.files(dir, ".addon.efi")
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			// One addon may serve many images, so it counts as not yet read.
			delete(r.seen, name)
			a, err := r.openImage(name, ".cmdline")
			if err != nil {
				return nil, err
			}
			if a != nil && (a.uname == "" || a.uname == u.uname) {
				out = append(out, a.lines[0].String())
			}
		}
	}
	return out, nil
}

// withAddons appends what comes from elsewhere and cannot be changed here.
func withAddons(t text, addons []string) text {
	end := len(t.cells)
	for _, addon := range addons {
		for _, c := range []byte(" " + addon) {
			t.cells = append(t.cells, cell{c: c, start: end, end: end, head: end, next: end, soft: true})
		}
	}
	if len(addons) > 0 {
		// An argument goes to the image's own line, or stands before all.
		t.tail = -1
	}
	return t
}

// rewriteImage writes the .cmdline sections anew.
func rewriteImage(f *file, changes []placedChange) ([]byte, error) {
	data := f.data
	bySection := map[int][]change{}
	for _, c := range changes {
		bySection[c.section] = append(bySection[c.section], c.change)
	}
	for n, list := range bySection {
		var err error
		if n < 0 {
			data, err = addSection(data, ".cmdline", splice(nil, list))
		} else {
			data, err = changeSection(data, n, list)
		}
		if err != nil {
			return nil, err
		}
	}
	return data, nil
}

// changeSection splices the content of one section; the zero byte or line end that
// was behind it stays.
func changeSection(data []byte, n int, list []change) ([]byte, error) {
	m, err := parsePE(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	s := m.sections[n]
	old := data[s.PointerToRawData : s.PointerToRawData+min(s.VirtualSize, s.SizeOfRawData)]
	return setSection(data, n, splice(old, list))
}

// commandArguments puts the arguments that are missing into a hint.
func commandArguments(hint string, w Want) string {
	var args []string
	for _, l := range w.lists() {
		if len(l.wanted) > 0 {
			args = append(args, l.param+"="+strings.Join(l.wanted, ","))
		}
	}
	return strings.ReplaceAll(hint, "%ARGUMENTS%", strings.Join(args, " "))
}
