package builder

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/checker"
	"github.com/kerngate/kerngate/builder/initramfs"
	"github.com/kerngate/kerngate/builder/modprobe"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/builder/unit"
	"github.com/kerngate/kerngate/initcheck/policy"
	"github.com/kerngate/kerngate/profiles"
	"github.com/kerngate/kerngate/profiles/advisories"
)

// wanted is one thing that must lie in the tree.
type wanted struct {
	path    string // as the profile has it
	literal string // where links in the tree lead it, once compared
	op      rootfs.Op
	mode    fs.FileMode
	data    []byte
	target  string
	reason  string
}

func (w wanted) entry() ManifestEntry {
	e := ManifestEntry{Path: w.path, Op: w.op, Target: w.target, Reason: w.reason}
	if w.op != rootfs.Symlink {
		e.Mode = fmt.Sprintf("%04o", w.mode)
	}
	if w.op == rootfs.WriteFile {
		e.SHA256 = hash(w.data)
	}
	return e
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// CheckerSource gives the checker program for an architecture.
type CheckerSource func(arch string) ([]byte, error)

// wantedFiles is all that a profile puts into a tree but the manifest and missing
// directories, in the order in which it is written. It reads the tree only to
// learn its architecture and where its programs lie.
func wantedFiles(t rootfs.Tree, p profiles.Profile, source CheckerSource) ([]wanted, error) {
	var out []wanted
	if blocks := blocksOf(p); len(blocks) > 0 {
		falsePath, err := modprobe.False(t)
		if err != nil {
			return nil, problem("install coreutils in the image, or drop \"modprobe\" from the profile's block lists", "%v", err)
		}
		out = append(out, wanted{
			path: modprobe.File, op: rootfs.WriteFile, mode: 0o644,
			data:   modprobe.Text(header(p), blocks, falsePath),
			reason: "block " + strings.Join(moduleNames(blocks), ", "),
		})
	}
	kept, err := generatorFiles(t, p)
	if err != nil {
		return nil, err
	}
	out = append(out, kept...)
	if len(p.Gate.Units) == 0 {
		if p.Kernel.Floor != "" || len(p.Kernel.Advisories) > 0 {
			return nil, problem("add [gate] with units to the profile, or extend it", "profile %s has a kernel floor or advisories and gates no unit: nothing would enforce them", p.Name)
		}
		return out, unheard(p)
	}
	gate, err := gateFiles(t, p, source)
	if err != nil {
		return nil, err
	}
	told, err := speaking(t, p)
	return slices.Concat(out, gate, told), err
}

// gateFiles is the checker, its policy, and all that systemd and udev read.
func gateFiles(t rootfs.Tree, p profiles.Profile, source CheckerSource) ([]wanted, error) {
	if err := requireSystemd(t); err != nil {
		return nil, err
	}
	arch, err := checker.Architecture(t)
	if err != nil {
		return nil, err
	}
	program, err := source(arch)
	if err != nil {
		return nil, &Problem{Fact: err.Error(), Advice: checker.Hint}
	}
	rules, err := policy.Encode(Policy(p))
	if err != nil {
		return nil, fmt.Errorf("cannot make the policy of profile %s: %w", p.Name, err)
	}
	out := []wanted{
		{path: policy.Binary, op: rootfs.WriteFile, mode: 0o755, data: program, reason: "checker for " + arch},
		{path: policy.File, op: rootfs.WriteFile, mode: 0o644, data: rules, reason: "what the checker decides by"},
	}
	for _, f := range unit.Files(header(p), unitConfig(p)) {
		w := wanted{path: f.Path, op: rootfs.WriteFile, mode: 0o644, data: f.Data, reason: f.Reason}
		if f.Target != "" {
			w = wanted{path: f.Path, op: rootfs.Symlink, target: f.Target, reason: f.Reason}
		}
		out = append(out, w)
	}
	return out, nil
}

// unitConfig is what a profile asks of systemd.
func unitConfig(p profiles.Profile) unit.Config {
	g := p.Gate
	c := unit.Config{
		Units: g.Units, Recheck: g.Recheck == profiles.RecheckStart,
		ReportOnly: g.Breach == profiles.BreachReport, BootAssessment: g.BootAssessment,
	}
	if g.OnRefuse != profiles.OnRefuseBlock {
		c.OnRefuse = string(g.OnRefuse)
	}
	for _, s := range profiles.KnownServers() {
		if s.Class != profiles.ClassInference {
			c.Containers = append(c.Containers, s.Units...)
		}
	}
	for _, m := range p.Modules {
		if g.Breach != profiles.BreachIgnore && slices.Contains(m.RefuseIf, policy.Loaded) {
			c.Watch = append(c.Watch, m.Name)
		}
		if g.Harden {
			c.Deny = append(c.Deny, families(m)...)
		}
	}
	slices.Sort(c.Deny)
	c.Deny = slices.Compact(c.Deny)
	return c
}

// families are the address families through which the kernel loads a module: its own, and
// those of the modules that it needs.
func families(m profiles.Module) []string {
	var out []string
	aliases := slices.Clone(m.Known.Aliases)
	for _, needed := range m.Known.Depends {
		known, _ := profiles.Lookup(needed)
		aliases = append(aliases, known.Aliases...)
	}
	for _, alias := range aliases {
		if name, ok := unit.Family(alias); ok {
			out = append(out, name)
		}
	}
	return out
}

// generatorFiles keep the block in the initramfs images that the system writes later.
func generatorFiles(t rootfs.Tree, p profiles.Profile) ([]wanted, error) {
	blocks := blocksBy(p, profiles.BlockInitramfs)
	if len(blocks) == 0 {
		return nil, nil
	}
	files, err := initramfs.GeneratorFiles(t, header(p), moduleNames(blocks))
	if err != nil {
		return nil, err
	}
	var out []wanted
	for _, f := range files {
		out = append(out, wanted{path: f.Path, op: rootfs.WriteFile, mode: f.Mode, data: f.Data, reason: f.Reason})
	}
	return out, nil
}

// requireSystemd refuses to lay a gate where nothing would heed it.
func requireSystemd(t rootfs.Tree) error {
	for _, name := range []string{"/usr/lib/systemd/systemd", "/lib/systemd/systemd"} {
		if found, err := rootfs.Exists(t, name); found || err != nil {
			return err
		}
	}
	return problem("use a profile without [gate], or an image that boots with systemd", "no systemd in the image: nothing would heed the gate")
}

// header is what every text file of ours begins with: who wrote it, why, and how
// to be rid of it.
func header(p profiles.Profile) string {
	closes := strings.Join(p.CVEs(), ", ")
	if closes == "" {
		closes = "no CVE named by the profile"
	}
	return fmt.Sprintf(`# Written by kerngate from profile %s (%s).
# Closes: %s.
# Do not edit: change the profile and run kerngate apply again.
# To take it out again, run kerngate revert, which goes by
# %s.
`, p.Name, p.Digest(), closes, ManifestPath)
}

// Policy is what a profile tells the checker.
func Policy(p profiles.Profile) policy.Policy {
	k := p.Kernel
	out := policy.Policy{
		Schema: policy.Schema, Profile: p.Name, Digest: p.Digest(), Floor: k.Floor,
		AcceptFixed: k.AcceptFixed, AcceptMitigated: k.AcceptMitigated, Unknown: k.Unknown, MaxAge: k.MaxAge, Stale: k.Stale,
		Override:   p.Gate.Override,
		Advisories: advisories.Compiled(k.Advisories),
	}
	for _, m := range p.Modules {
		if len(m.RefuseIf) > 0 {
			out.Modules = append(out.Modules, policy.Module{Name: m.Name, RefuseIf: m.RefuseIf, Reason: m.Reason, Initcalls: initcallsOf(m)})
		}
	}
	return out
}

// initcallsOf are the functions by which a module that is built in may be kept out: none
// unless the profile blocks it so.
func initcallsOf(m profiles.Module) []string {
	if m.Known.Initcall == "" || !slices.Contains(m.Block, profiles.BlockInitcall) {
		return nil
	}
	return []string{m.Known.Initcall}
}

// blocksOf lists the modules that modprobe.d names. A block in the initramfs is among
// them: who writes the next initramfs copies modprobe.d into it.
func blocksOf(p profiles.Profile) []modprobe.Block {
	return blocksBy(p, profiles.BlockModprobe, profiles.BlockInitramfs)
}

// blocksBy lists the modules that a profile blocks by one of some mechanisms.
func blocksBy(p profiles.Profile, by ...profiles.Block) []modprobe.Block {
	var out []modprobe.Block
	for _, m := range p.Modules {
		if slices.ContainsFunc(m.Block, func(b profiles.Block) bool { return slices.Contains(by, b) }) {
			out = append(out, modprobe.Block{Module: m.Name, Reason: m.Reason, Aliases: m.Known.Aliases})
		}
	}
	return out
}

func moduleNames(blocks []modprobe.Block) []string {
	var out []string
	for _, b := range blocks {
		out = append(out, b.Module)
	}
	return out
}

// withParents puts before the files the directories above them, and above those that
// are spliced, that the tree lacks or that an earlier build made, each once.
func withParents(t rootfs.Tree, files []wanted, splices []splice, old *Manifest) ([]wanted, error) {
	var out []wanted
	seen := map[string]bool{}
	add := func(name string) error {
		var missing []string
		for dir := path.Dir(name); dir != "/" && !seen[dir]; dir = path.Dir(dir) {
			seen[dir] = true
			info, err := rootfs.Stat(t, dir)
			if err != nil && !isMissing(err) {
				return err
			}
			if _, ours := old.entry(dir); ours || err != nil || !info.Mode.IsDir() {
				missing = append(missing, dir)
			}
		}
		for _, dir := range slices.Backward(missing) {
			out = append(out, wanted{path: dir, op: rootfs.Mkdir, mode: 0o755, reason: "holds " + name})
		}
		return nil
	}
	for _, s := range splices {
		if s.added == "" {
			continue // nothing of ours is in it
		}
		if err := add(s.path); err != nil {
			return nil, err
		}
	}
	for _, w := range files {
		if err := add(w.path); err != nil {
			return nil, err
		}
		out = append(out, w)
	}
	return out, nil
}
