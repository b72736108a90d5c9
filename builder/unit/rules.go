package unit

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/builder/udev"
)

// Limits on rules of udev.
const (
	// maxRuleFiles bounds the files of rules; a desktop has a hundred.
	maxRuleFiles = 4096
	// maxRules bounds one of them; the largest that distributions ship has 200 KiB.
	maxRules = 1 << 20
	// maxAllRules bounds all that differ, those of extensions too; a desktop has 2 MiB.
	maxAllRules = 16 << 20
)

// ruleJudge judges files of rules, each content once: an extension is looked at together
// with the tree, most of which stays the same.
type ruleJudge struct {
	watch udev.Watch
	known map[[sha256.Size]byte]string // why a file, by its name and content, is in conflict
	read  int
}

func newRuleJudge(c Config) *ruleJudge {
	return &ruleJudge{watch: udev.Watch{File: path.Base(RulePath), Unit: Breach, Modules: c.Watch}, known: map[[sha256.Size]byte]string{}}
}

// why says what a file of rules takes away, or nothing.
func (j *ruleJudge) why(base, file string, data []byte) (string, error) {
	key := sha256.Sum256(append([]byte(base+"\x00"), data...))
	if why, known := j.known[key]; known {
		return why, nil
	}
	if j.read += len(data); j.read > maxAllRules {
		return "", fmt.Errorf("%s: with it all rules have %d bytes, limit is %d", file, j.read, maxAllRules)
	}
	if f, found := udev.Undoing(base, data, j.watch); found {
		j.known[key] = fmt.Sprintf("its line %d, %s, %s", f.Line, f.Text, f.Why)
	} else {
		j.known[key] = ""
	}
	return j.known[key], nil
}

// ruleDirs are the directories of udev(7), the first of which wins; /run is empty when a
// machine starts.
var ruleDirs = []string{"/etc/udev/rules.d", "/usr/local/lib/udev/rules.d", RuleDir, "/lib/udev/rules.d"}

// ruleConflicts looks for what udev(7) reads in place of our rule, or what it reads beside it
// and takes away what ours does.
func ruleConflicts(t rootfs.Tree, c Config, judge *ruleJudge) ([]Conflict, error) {
	if len(c.Watch) == 0 {
		return nil, nil
	}
	ours := path.Base(RulePath)
	out, err := masks(t, ruleDirs[:slices.Index(ruleDirs, RuleDir)], ours, "it masks the rule that hears of modules")
	if err != nil {
		return nil, err
	}
	files, err := ruleFiles(t)
	if err != nil {
		return nil, err
	}
	delete(files, ours)
	for _, base := range slices.Sorted(maps.Keys(files)) {
		info, err := rootfs.Stat(t, files[base])
		if errors.Is(err, fs.ErrNotExist) || (err == nil && !info.Mode.IsRegular()) {
			continue // a mask of some other file
		}
		if err != nil {
			return nil, err
		}
		data, err := rootfs.ReadFile(t, files[base], maxRules)
		if err != nil {
			return nil, err
		}
		why, err := judge.why(base, files[base], data)
		if err != nil {
			return nil, err
		}
		if why != "" {
			out = append(out, Conflict{files[base], why})
		}
	}
	return out, nil
}

// ruleFiles gives the files that udev reads, by their base names: of equal names it reads
// that of the first directory.
func ruleFiles(t rootfs.Tree) (map[string]string, error) {
	out := map[string]string{}
	for _, dir := range ruleDirs {
		literal, entries, err := readDir(t, dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if out[e.Name] == "" && strings.HasSuffix(e.Name, ".rules") {
				out[e.Name] = path.Join(literal, e.Name)
			}
		}
	}
	if len(out) > maxRuleFiles {
		return nil, fmt.Errorf("%s: %d files of rules with those of other directories, limit is %d", RuleDir, len(out), maxRuleFiles)
	}
	return out, nil
}

// udevUnits are those by which udev runs, and announces what was there before it.
var udevUnits = []string{"systemd-udevd.service", "systemd-udev-trigger.service"}

// maskedUdev finds masks of udev, where a breach is to stop units. A tree without udev is
// none: the gate and each start of a unit look for themselves.
func maskedUdev(t rootfs.Tree, c Config) ([]Conflict, error) {
	if len(c.Watch) == 0 || c.ReportOnly {
		return nil, nil
	}
	system := scopes(c)[0]
	var out []Conflict
	for _, name := range udevUnits {
		for _, dir := range append(system.others[1:], system.dir, system.others[0]) {
			file, err := rootfs.ResolveParent(t, path.Join(dir, name))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			masked := false
			if err == nil {
				masked, err = isMask(t, file)
			}
			if err != nil {
				return nil, err
			}
			if masked {
				out = append(out, Conflict{file, "it masks " + name + ", and nobody hears of modules that are loaded later, as breach = \"stop\" of the profile asks"})
			}
			break // the first that is there counts
		}
	}
	return out, nil
}

// isMask says whether a unit file is empty or a link to /dev/null: systemd.unit(5).
func isMask(t rootfs.Tree, file string) (bool, error) {
	literal, err := rootfs.Resolve(t, file)
	if literal == "/dev/null" {
		return true, nil // there or not
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	info, err := t.Lstat(literal)
	return err == nil && info.Mode.IsRegular() && info.Size == 0, err
}
