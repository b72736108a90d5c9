package profiles

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/BurntSushi/toml"
)

// SideEffects is the table of what stops working once modules are blocked.
type SideEffects struct {
	Families []EffectFamily
	Users    []ModuleUser
}

// EffectFamily is one side effect: what an [Accept] is about.
type EffectFamily struct {
	Accept  Accept   `toml:"accept"`
	Modules []string `toml:"modules"` // known modules whose absence has this effect
	Breaks  string   `toml:"breaks"`  // one sentence, for users who are not in the table
}

// ModuleUser is something that people install and that needs modules.
type ModuleUser struct {
	Accept   Accept   `toml:"accept"`
	Name     string   `toml:"name"`
	Modules  []string `toml:"modules"`  // needs them; never empty
	Packages []string `toml:"packages"` // by any distribution's name
	Units    []string `toml:"units"`    // services, with their ending
	// EnabledIsUse says that a unit that starts at boot is use enough. Otherwise it needs a
	// sign of Configured.
	EnabledIsUse bool   `toml:"enabled_is_use"`
	Boot         string `toml:"boot"` // word of a kernel command line that is use: "fips=1"
	Signs        []Sign `toml:"sign"`
	Breaks       string `toml:"breaks"` // one sentence
	Source       string `toml:"source"` // where the facts are from
}

// Sign is a file of the tree that tells something of a user.
type Sign struct {
	Files   []string `toml:"files"`   // rooted paths; * and ? stand for parts of one name
	Pattern string   `toml:"pattern"` // regular expression on one line, syntax RE2; empty: the file is there
	Proves  Proof    `toml:"proves"`
}

// Proof is how much a sign tells.
type Proof string

// The proofs.
const (
	Installed  Proof = "installed"  // it can be run
	Configured Proof = "configured" // what it shall do is set up; certain once it is also enabled
	Used       Proof = "used"       // certain
)

//go:embed sideeffects.toml
var sideEffectsText string

// parsedSideEffects holds the table once decoded; callers get copies.
var parsedSideEffects = sync.OnceValue(func() SideEffects {
	table, err := decodeSideEffects(sideEffectsText)
	if err != nil {
		panic("BUG: sideeffects.toml, which a test checks: " + err.Error())
	}
	return table
})

// KnownSideEffects returns the shipped table.
func KnownSideEffects() SideEffects {
	table := parsedSideEffects()
	return SideEffects{Families: slices.Clone(table.Families), Users: slices.Clone(table.Users)}
}

func decodeSideEffects(text string) (SideEffects, error) {
	var raw struct {
		Family []EffectFamily `toml:"family"`
		User   []ModuleUser   `toml:"user"`
	}
	md, err := toml.Decode(text, &raw)
	if err != nil {
		return SideEffects{}, err
	}
	if extra := md.Undecoded(); len(extra) > 0 {
		return SideEffects{}, fmt.Errorf("unknown keys %v", extra)
	}
	for _, f := range raw.Family {
		if err := f.check(); err != nil {
			return SideEffects{}, fmt.Errorf("family %q: %w", f.Accept, err)
		}
	}
	for _, u := range raw.User {
		if err := u.check(); err != nil {
			return SideEffects{}, fmt.Errorf("user %q: %w", u.Name, err)
		}
	}
	return SideEffects{raw.Family, raw.User}, nil
}

func (f EffectFamily) check() error {
	return firstError(checkAccept(f.Accept), checkKnown(f.Modules), checkSentence(f.Breaks))
}

func (u ModuleUser) check() error {
	if u.Name == "" || u.Source == "" {
		return fmt.Errorf("name is %q and source %q, want both", u.Name, u.Source)
	}
	if len(u.Packages)+len(u.Units)+len(u.Signs) == 0 && u.Boot == "" {
		return fmt.Errorf("nothing would find it")
	}
	for _, unit := range u.Units {
		if wrong := checkUnit(unit); wrong != "" && !strings.HasSuffix(unit, ".mount") {
			return fmt.Errorf("unit %s", wrong)
		}
	}
	for _, s := range u.Signs {
		if err := s.check(); err != nil {
			return err
		}
	}
	return firstError(checkAccept(u.Accept), checkKnown(u.Modules), checkSentence(u.Breaks))
}

func (s Sign) check() error {
	if len(s.Files) == 0 {
		return fmt.Errorf("sign names no file")
	}
	for _, name := range s.Files {
		if !strings.HasPrefix(name, "/") || strings.ContainsAny(name, "[\\") {
			return fmt.Errorf("file %q is no rooted path of names, * and ?", name)
		}
	}
	if !slices.Contains([]Proof{Installed, Configured, Used}, s.Proves) {
		return fmt.Errorf("sign proves %q, want %q, %q or %q", s.Proves, Installed, Configured, Used)
	}
	_, err := regexp.Compile(s.Pattern)
	return err
}

func checkAccept(a Accept) error {
	if !slices.Contains(Accepts(), a) {
		return fmt.Errorf("%q is no word of accept", a)
	}
	return nil
}

func checkKnown(modules []string) error {
	if len(modules) == 0 {
		return fmt.Errorf("no modules")
	}
	for _, m := range modules {
		if _, ok := Lookup(m); !ok {
			return fmt.Errorf("%q is no known module", m)
		}
	}
	return nil
}

func checkSentence(s string) error {
	if wrong := checkText(s); wrong != "" {
		return fmt.Errorf("breaks %s", wrong)
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
