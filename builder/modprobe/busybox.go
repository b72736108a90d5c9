package modprobe

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/fnmatch"
	"github.com/kerngate/kerngate/builder/rootfs"
)

// busyboxName is the longest module name that busybox keeps, with a zero byte
// (MODULE_NAME_LEN in modutils.h).
const busyboxName = 256

// Busybox gives what busybox's modprobe does, in order, as read in its
// modutils/modprobe.c (1.35 to 1.38, the same in all). It knows neither install nor
// softdep; blacklist counts for what an alias led to, and with -b for a name; a
// dependency is inserted whatever the lines say. An alias line of modprobe.d hides a
// module's name, but not an alias of the same name in modules.alias: where the line
// leads to no module, as "off" does, busybox looks there as well. It reads the files
// of /etc/modprobe.d in the order in which the directory happens to have them; the
// answer is for that of their names, which can only change the order of steps and
// options. IgnoreInstall means nothing to it. The error is ErrNotFound where nothing
// is inserted and no name leads to a module.
func (r Resolver) Busybox(req Request) ([]Step, error) {
	b := &busyboxRun{index: r.Index, blacklist: map[string]Line{}, options: map[string]string{}, done: map[string]bool{}, inserted: map[string]bool{}}
	name := busyboxModule(req.Name)
	if r.Index.text.builtIn[name] {
		return []Step{{Kind: BuiltIn, Module: name, Why: Requested}}, nil
	}
	for _, l := range r.Config.busybox {
		b.line(l, name)
	}
	b.commandLine(r.Config.commandLine)
	if strings.HasPrefix(name, "symbol:") {
		b.fromPatterns(r.Index.text.symbols, name)
	}
	b.self = b.leadsToItself(name)
	if b.unresolved(name) {
		b.fromPatterns(r.Index.text.aliases, name)
		b.self = b.self || b.leadsToItself(name)
	}
	if err := b.probe(name, req); err != nil {
		return nil, fmt.Errorf("cannot resolve %s: %w", req.Name, err)
	}
	if !slices.ContainsFunc(b.steps, func(s Step) bool { return s.Kind != Missing }) {
		return b.steps, fmt.Errorf("%s: %w", req.Name, ErrNotFound)
	}
	return b.steps, nil
}

// busyboxModule spells a name as busybox does: up to the first dot, every dash an
// underscore, in brackets too.
func busyboxModule(s string) string {
	s = moduleName(s)
	if len(s) >= busyboxName {
		s = s[:busyboxName-1]
	}
	return s
}

// readBusybox reads what busybox reads: /etc/modprobe.conf and /etc/modprobe.d.
func readBusybox(t rootfs.Tree) ([]Line, error) {
	literal, err := rootfs.Resolve(t, "/etc/modprobe.d")
	names := []string{"/etc/modprobe.conf"}
	if err == nil {
		more, err := Reading{Kmod: newestKmod}.list(t, literal)
		if err != nil {
			return nil, err
		}
		names = append(names, more...)
	}
	var out []Line
	for _, name := range names {
		data, err := readConfigFile(t, name)
		if err != nil {
			return nil, err
		}
		out = append(out, parseBusybox(name, data)...)
	}
	return out, nil
}

// parseBusybox splits a file as busybox does (libbb/parse_config.c): words are parted
// by blanks and tabs, the third has the rest; # begins a comment anywhere; a backslash
// is special at the end of a line alone.
func parseBusybox(name string, data []byte) []Line {
	var out []Line
	number, text, start := 0, "", 1
	end := func() {
		line, _, _ := strings.Cut(text, "\x00")
		line, _, _ = strings.Cut(line, "#")
		text = ""
		line = strings.Trim(line, " \t")
		verb, rest, _ := cutWord(line)
		first, rest, found := cutWord(rest)
		if !found {
			return
		}
		words := []string{verb, first}
		if rest = strings.TrimLeft(rest, " \t"); rest != "" {
			words = append(words, rest)
		}
		out = append(out, Line{File: name, Number: start, Words: words, Text: line})
	}
	for physical := range strings.Lines(string(data)) {
		if number++; text == "" {
			start = number
		}
		physical = strings.TrimSuffix(physical, "\n")
		if joined, continued := strings.CutSuffix(physical, `\`); continued {
			text += joined
			continue
		}
		text += physical
		end()
	}
	end()
	return out
}

// busyboxRun is one call of busybox's modprobe.
type busyboxRun struct {
	index     *Index
	self      bool     // the requested name itself is to be loaded
	targets   []target // where aliases of the requested name lead, the last first
	blacklist map[string]Line
	options   map[string]string
	done      map[string]bool // names that were asked for
	inserted  map[string]bool
	steps     []Step
}

type target struct {
	module string
	by     Line
}

func (b *busyboxRun) line(l Line, name string) {
	switch verb := l.Words[0]; {
	case verb == "blacklist":
		if module := busyboxModule(l.Words[1]); b.blacklist[module].File == "" {
			b.blacklist[module] = l
		}
	case len(l.Words) < 3:
	case verb == "alias":
		if fnmatch.Match(busyboxModule(l.Words[1]), name) {
			b.targets = slices.Insert(b.targets, 0, target{busyboxModule(l.Words[2]), l})
		}
	case verb == "options":
		module := busyboxModule(l.Words[1])
		b.options[module] = join(b.options[module], l.Words[2])
	}
}

// commandLine takes modprobe.blacklist= and parameters with a value; a module's name
// must be spelt with underscores there.
func (b *busyboxRun) commandLine(lines []Line) {
	for _, l := range lines {
		if l.Words[0] == "blacklist" {
			b.blacklist[busyboxModule(l.Words[1])] = l
		} else if strings.Contains(l.Text, "=") {
			b.options[l.Words[1]] = join(b.options[l.Words[1]], l.Text)
		}
	}
}

// leadsToItself says whether the last alias line for a name is one to the same name.
// An alias line takes the order to load a module back from its own name, and only one
// to that name gives it again.
func (b *busyboxRun) leadsToItself(name string) bool {
	return len(b.targets) == 0 || b.targets[0].module == name
}

// unresolved says whether the name, or a module that its aliases lead to, has no file.
func (b *busyboxRun) unresolved(name string) bool {
	targets := b.targets
	if len(targets) == 0 {
		targets = []target{{module: name}}
	}
	return slices.ContainsFunc(targets, func(t target) bool {
		_, found := b.index.text.deps[t.module]
		return !found && (t.module != name || b.self)
	})
}

func (b *busyboxRun) fromPatterns(p patterns, name string) {
	for _, module := range p.modules(name) {
		b.targets = slices.Insert(b.targets, 0, target{module: busyboxModule(module)})
	}
}

// probe inserts the module of the requested name, or those that its aliases lead to.
func (b *busyboxRun) probe(name string, req Request) error {
	if len(b.targets) == 0 {
		if line, listed := b.blacklist[name]; listed && req.UseBlacklist {
			b.steps = append(b.steps, Step{Kind: Blacklisted, Module: name, Why: Requested, By: line})
			return nil
		}
		return b.insert(target{module: name}, Requested, req)
	}
	for _, t := range b.targets {
		if _, found := b.index.text.deps[name]; t.module == name && found && !b.self {
			continue
		}
		if line, listed := b.blacklist[t.module]; listed {
			b.steps = append(b.steps, Step{Kind: Blacklisted, Module: t.module, Why: ByAlias, By: line})
			continue
		}
		if err := b.insert(t, ByAlias, req); err != nil {
			return err
		}
	}
	return nil
}

// insert adds a module behind all that it needs.
func (b *busyboxRun) insert(t target, why Why, req Request) error {
	if b.done[t.module] {
		return nil
	}
	b.done[t.module] = true
	file, needs, found := b.index.text.dependencies(t.module)
	if !found {
		kind := Missing
		if b.index.text.builtIn[t.module] {
			kind = BuiltIn
		}
		b.steps = append(b.steps, Step{Kind: kind, Module: t.module, Why: why, By: t.by})
		return nil
	}
	failed := b.inserted[t.module]
	for _, need := range slices.Backward(needs) {
		if err := b.file(need, Dependency, "", &failed); err != nil {
			return err
		}
	}
	return b.file(file, why, req.Options, &failed)
}

// file inserts one file, if none before it failed.
func (b *busyboxRun) file(file string, why Why, options string, failed *bool) error {
	module := busyboxModule(path.Base(file))
	there, err := b.index.exists(file)
	if err != nil {
		return err
	}
	s := Step{Kind: Insert, Module: module, Path: path.Join(b.index.Dir, file), Options: join(b.options[module], options), Why: why, Idle: *failed || b.inserted[module]}
	if !there {
		s.Kind = Missing
	}
	delete(b.options, module) // they go with the first time
	if !s.Idle {
		b.inserted[module], *failed = there, !there
	}
	if b.steps = append(b.steps, s); len(b.steps) > maxSteps {
		return fmt.Errorf("more than %d steps", maxSteps)
	}
	return nil
}
