package profiles

import (
	_ "embed"
	"fmt"
	"path"
	"regexp"
	"slices"
	"sync"

	"github.com/BurntSushi/toml"
)

// ServerClass is what a unit of the table starts.
type ServerClass string

// The classes.
const (
	ClassInference ServerClass = "inference"         // serves models itself
	ClassRuntime   ServerClass = "container-runtime" // starts containers, whatever is in them
	ClassKubelet   ServerClass = "kubelet"           // starts pods, whatever is in them
)

// Server is a program that serves models or starts what does, and how to see it in a unit
// file.
type Server struct {
	Name     string      `toml:"name"`
	Class    ServerClass `toml:"class"`
	Units    []string    `toml:"units"`    // usual names, in the forms of Gate.Units
	Names    []string    `toml:"names"`    // words that a unit's name begins with; of ClassInference only
	Programs []string    `toml:"programs"` // "ollama serve": a glob of the file name, and a word of the arguments
	Modules  []string    `toml:"modules"`  // of Python
	Images   []string    `toml:"images"`   // globs of the last parts of a container image's name
	Source   string      `toml:"source"`   // where the facts are from
}

//go:embed inference.toml
var inferenceText string

// parsedServers holds the table once decoded; callers get copies.
var parsedServers = sync.OnceValue(func() []Server {
	table, err := decodeServers(inferenceText)
	if err != nil {
		panic("BUG: inference.toml, which a test checks: " + err.Error())
	}
	return table
})

// KnownServers returns the shipped table.
func KnownServers() []Server { return slices.Clone(parsedServers()) }

func decodeServers(text string) ([]Server, error) {
	var raw struct {
		Server []Server `toml:"server"`
	}
	md, err := toml.Decode(text, &raw)
	if err != nil {
		return nil, err
	}
	if extra := md.Undecoded(); len(extra) > 0 {
		return nil, fmt.Errorf("unknown keys %v", extra)
	}
	for _, s := range raw.Server {
		if err := s.check(); err != nil {
			return nil, fmt.Errorf("server %q: %w", s.Name, err)
		}
	}
	return raw.Server, nil
}

// The forms of the table's words. A word that can stand for anything would find anything.
var (
	nameWord    = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]+$`)
	programForm = regexp.MustCompile(`^[a-zA-Z0-9*][a-zA-Z0-9._*-]*( [a-z]+)?$`)
	pythonForm  = regexp.MustCompile(`^[a-z0-9_]{3,}(\.[a-z0-9_]+)*$`)
	imageForm   = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*[a-z0-9*](/[a-z0-9._*-]+)*$`)
)

func (s Server) check() error {
	if s.Name == "" || s.Source == "" {
		return fmt.Errorf("name is %q and source %q, want both", s.Name, s.Source)
	}
	if !slices.Contains([]ServerClass{ClassInference, ClassRuntime, ClassKubelet}, s.Class) {
		return fmt.Errorf("class is %q, want %q, %q or %q", s.Class, ClassInference, ClassRuntime, ClassKubelet)
	}
	if len(s.Units) == 0 || (len(s.Names) == 0) != (s.Class != ClassInference) {
		return fmt.Errorf("units are %d and names %d, want some of both, of class %s units alone", len(s.Units), len(s.Names), s.Class)
	}
	if s.Class != ClassInference && len(s.Programs)+len(s.Modules)+len(s.Images) > 0 {
		return fmt.Errorf("class %s is told by units alone", s.Class)
	}
	for _, u := range s.Units {
		if wrong := checkUnit(u); wrong != "" {
			return fmt.Errorf("unit %s", wrong)
		}
	}
	return firstError(checkForms("name", s.Names, nameWord), checkForms("program", s.Programs, programForm),
		checkForms("module", s.Modules, pythonForm), checkForms("image", s.Images, imageForm))
}

func checkForms(what string, values []string, form *regexp.Regexp) error {
	for _, v := range values {
		if !form.MatchString(v) {
			return fmt.Errorf("%s %q has not the form %s", what, v, form)
		}
		if _, err := path.Match(v, ""); err != nil {
			return fmt.Errorf("%s %q: %w", what, v, err)
		}
	}
	return nil
}
