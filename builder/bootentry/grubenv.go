package bootentry

import (
	"bytes"
	"fmt"
)

// grubEnvHeader begins every environment block (GRUB_ENVBLK_SIGNATURE in
// include/grub/lib/envblk.h).
const grubEnvHeader = "# GRUB Environment Block\n"

// kernelOpts are the variables that hold kernel arguments by convention, where boot
// loader entries name them (blscfg of Fedora and its kin).
var kernelOpts = []string{"kernelopts", "default_kernelopts"}

// envSetting is one line of an environment block.
type envSetting struct {
	name string
	text text
	line int
}

// parseGrubEnv reads an environment block: NAME=VALUE lines, then # to its end
// (grub-core/lib/envblk.c). In values a backslash takes the next byte literally.
func parseGrubEnv(data []byte) ([]envSetting, error) {
	if !bytes.HasPrefix(data, []byte(grubEnvHeader)) {
		return nil, fmt.Errorf("environment block begins with %q, want %q", data[:min(len(data), len(grubEnvHeader))], grubEnvHeader)
	}
	var out []envSetting
	number := 2
	for at := len(grubEnvHeader); at < len(data); {
		end, t := envLine(data, at)
		name, _, found := bytes.Cut(data[at:end], []byte("="))
		if data[at] != '#' && found {
			begin := at + len(name) + 1
			value := text{lead: begin, tail: -1}
			for _, c := range t {
				if c.start >= begin {
					value.cells = append(value.cells, c)
				}
			}
			out = append(out, envSetting{string(name), value, number})
		}
		number += bytes.Count(data[at:min(end+1, len(data))], []byte("\n"))
		at = end + 1
	}
	return out, nil
}

// envLine reads to the newline that ends a setting.
func envLine(data []byte, at int) (end int, cells []cell) {
	for at < len(data) && data[at] != '\n' {
		c := literalCell(data[at], at)
		if data[at] == '\\' && at+1 < len(data) {
			c = cell{c: data[at+1], start: at, end: at + 2, head: at, next: at + 2}
		}
		cells = append(cells, c)
		at = c.end
	}
	return min(at, len(data)), cells
}

// rewriteGrubEnv keeps the size of the block, which GRUB writes in place on the disk:
// what is added comes out of the padding.
func rewriteGrubEnv(f *file, placed []placedChange) ([]byte, error) {
	var changes []change
	for _, c := range placed {
		changes = append(changes, c.change)
	}
	out := splice(f.data, changes)
	free := len(f.data) - len(bytes.TrimRight(f.data, "#"))
	grown := len(out) - len(f.data)
	switch {
	case grown > free:
		return nil, fmt.Errorf("environment block has %d free bytes, want %d", free, grown)
	case grown >= 0:
		return out[:len(f.data)], nil
	default:
		return append(out, bytes.Repeat([]byte("#"), -grown)...), nil
	}
}

// grubEnvs reads the environment blocks: their variables, and kernelopts as a place.
func (r *reader) grubEnvs() error {
	dirs, err := r.grubDirs()
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		f, err := r.open(dir + "/grubenv")
		if err != nil {
			return err
		}
		if f == nil {
			continue
		}
		f.rewrite = rewriteGrubEnv
		settings, err := parseGrubEnv(f.data)
		if err != nil {
			// grub-reboot on a file system that GRUB cannot write leaves one without
			// variables; one that GRUB cannot read defines none either.
			r.problem(f.path, "%v", err)
			continue
		}
		for _, s := range settings {
			r.env.plain[s.name] = append(r.env.plain[s.name], s.text.String())
			for _, name := range kernelOpts {
				if s.name == name {
					r.add(Entry{Source: GrubEnv, Path: f.path, Line: s.line, Title: name, Template: true},
						place{lines: []text{s.text}, file: f, defines: true})
				}
			}
		}
	}
	return nil
}
