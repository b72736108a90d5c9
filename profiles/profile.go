package profiles

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"

	"github.com/kerngate/kerngate/initcheck/policy"
)

// Profile is a flattened profile: everything that it extends is merged in.
type Profile struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Source      string   `json:"source"` // shipped name ("llm-node"), or the file it was read from
	Kernel      Kernel   `json:"kernel"`
	Modules     []Module `json:"modules"` // by name, globs expanded
	Accept      []Accept `json:"accept"`  // side effects that are wanted all the same, sorted
	Gate        Gate     `json:"gate"`
	Report      Report   `json:"report"`
}

// Module is one module that a profile blocks, watches, or both.
type Module struct {
	Name     string             `json:"name"`      // as in /proc/modules
	Reason   string             `json:"reason"`    // one line: "CVE-2026-31431"
	Block    []Block            `json:"block"`     // empty: no mechanism keeps it out
	Remove   bool               `json:"remove"`    // delete its files from the image
	RefuseIf []policy.Condition `json:"refuse_if"` // empty: only blocked
	Known    ModuleInfo         `json:"known"`
}

// Block is a mechanism that keeps a module out.
type Block string

// The mechanisms. Each is planned only where it applies: an initcall only where a kernel
// has the module built in.
const (
	BlockModprobe  Block = "modprobe"  // a file in modprobe.d of the root file system: modprobe.d(5)
	BlockInitramfs Block = "initramfs" // the same in every initramfs, and in what the next one is made from
	BlockCmdline   Block = "cmdline"   // module_blacklist= on every kernel command line
	BlockInitcall  Block = "initcall"  // initcall_blacklist= with ModuleInfo.Initcall
)

// allBlocks is what a module without the key block gets.
func allBlocks() []Block {
	return []Block{BlockModprobe, BlockInitramfs, BlockCmdline, BlockInitcall}
}

// cve is the form of a CVE identifier: CVE Numbering Authority rules, 5.1.
var cve = regexp.MustCompile(`\bCVE-[0-9]{4}-[0-9]{4,19}\b`)

// CVEs lists the CVE identifiers that the reasons name, sorted, each once.
func (p Profile) CVEs() []string {
	var ids []string
	for _, m := range p.Modules {
		ids = append(ids, cve.FindAllString(m.Reason, -1)...)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Digest identifies what the profile asks for: "sha256:" and 64 hexadecimal digits
// over a canonical form. Where the profile was read from, how its parts were split
// over files, the order of its units, the table of known modules, and what side effects
// are accepted do not count: none of them changes what is written.
func (p Profile) Digest() string {
	sum := sha256.Sum256(p.canonical())
	return "sha256:" + hex.EncodeToString(sum[:])
}

// canonical is JSON with fixed keys in a fixed order. It has types of its own, so
// that a new field of Profile for printing does not change every digest.
func (p Profile) canonical() []byte {
	type module struct {
		Name, Reason string
		Block        []Block
		Remove       bool
		RefuseIf     []policy.Condition
	}
	form := struct {
		Schema                   int
		Name, Description, Floor string
		Modules                  []module
		Units                    []string
		Recheck                  string
		Kernel                   *kernelForm `json:",omitempty"`
		Gate                     *gateForm   `json:",omitempty"`
		Report                   *Report     `json:",omitempty"`
	}{schemaVersion, p.Name, p.Description, p.Kernel.Floor, nil, slices.Sorted(slices.Values(p.Gate.Units)), p.Gate.Recheck, p.Kernel.canonical(), p.Gate.canonical(), p.Report.canonical()}
	for _, m := range p.Modules {
		form.Modules = append(form.Modules, module{m.Name, m.Reason, m.Block, m.Remove, m.RefuseIf})
	}
	text, err := json.Marshal(form)
	if err != nil {
		panic(fmt.Sprintf("BUG: strings do not marshal: %v", err))
	}
	return text
}
