package builder

import (
	"fmt"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/profiles"
)

// Check is one thing that a profile asks for, held against a tree.
type Check struct {
	What string `json:"what"` // a path, or a module
	OK   bool   `json:"ok"`
	Text string `json:"text"` // what it is for when OK, else what is wrong
}

// Verification is how a tree stands to a profile.
type Verification struct {
	Profile  string   `json:"profile"`
	Digest   string   `json:"profile_digest"`
	Conforms bool     `json:"conforms"` // every check is OK
	Checks   []Check  `json:"checks"`
	Open     []string `json:"open"` // load paths that this version does not close
	Warnings []string `json:"warnings"`
}

// Verify holds a tree against a profile: everything wanted is there, unchanged,
// and nothing else in the tree takes its effect away.
func Verify(t rootfs.Tree, p profiles.Profile, tool string, source CheckerSource) (*Verification, error) {
	plan, obstacles, err := compare(t, p, tool, source)
	if err != nil {
		return nil, err
	}
	v := &Verification{Profile: p.Name, Digest: p.Digest(), Open: openPaths(p), Warnings: plan.Warnings}
	differs := map[string]Change{}
	for _, c := range plan.Changes {
		differs[c.Path] = c
	}
	for _, w := range plan.wanted {
		if c, bad := differs[w.literal]; bad {
			v.fail(w.literal, fmt.Sprintf("it is %s, want %s", c.Before, c.After))
			delete(differs, w.literal)
			continue
		}
		v.Checks = append(v.Checks, Check{What: w.literal, OK: true, Text: w.reason})
	}
	for _, c := range plan.Changes {
		if _, left := differs[c.Path]; left {
			v.fail(c.Path, fmt.Sprintf("it is %s, want %s: %s", c.Before, c.After, c.Reason))
		}
	}
	for _, o := range obstacles {
		v.fail(o.what, o.why)
	}
	v.Conforms = v.failures() == 0
	return v, nil
}

// fail adds a failed check; one that was counted as fine before loses that.
func (v *Verification) fail(what, why string) {
	kept := v.Checks[:0]
	for _, c := range v.Checks {
		if !c.OK || c.What != what {
			kept = append(kept, c)
		}
	}
	v.Checks = append(kept, Check{What: what, Text: why})
}

func (v *Verification) failures() int {
	n := 0
	for _, c := range v.Checks {
		if !c.OK {
			n++
		}
	}
	return n
}

// openPaths names the ways in which a blocked module can still be loaded. Which
// those are was measured by booting: modprobe.d binds modprobe(8) alone.
func openPaths(p profiles.Profile) []string {
	names := moduleNames(blocksOf(p))
	if len(names) == 0 {
		return []string{}
	}
	list := strings.Join(names, ", ")
	return []string{
		"insmod and modprobe -i by root: " + list + " (closed only by the kernel command line, which this version does not write)",
		"loading from an initramfs: " + list + " (this version does not look into initramfs images)",
	}
}
