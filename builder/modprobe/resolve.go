package modprobe

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/fnmatch"
)

// ErrNotFound is the answer where no name and no alias stands for a module.
var ErrNotFound = errors.New("no module and no alias of that name")

// Request is one call of modprobe(8).
type Request struct {
	Name          string // a module's name or an alias; dashes and underscores are alike
	UseBlacklist  bool   // -b: the blacklist counts for a module's own name, too
	IgnoreInstall bool   // -i: install and softdep lines of the module itself do not count
	Options       string // module parameters given with it
}

// StepKind is what happens to one module.
type StepKind string

// The kinds. A step that is Missing has a name but no file, which fails.
const (
	Insert      StepKind = "insert"
	Run         StepKind = "run"
	BuiltIn     StepKind = "built in"
	Missing     StepKind = "missing"
	Blacklisted StepKind = "blacklisted"
)

// Why says how a module came to be among the steps.
type Why string

// The reasons.
const (
	Requested   Why = "requested"
	ByAlias     Why = "alias"
	Dependency  Why = "dependency"
	PreSoftdep  Why = "pre softdep"
	PostSoftdep Why = "post softdep"
)

// Step is one thing that modprobe does, or would do.
type Step struct {
	Kind    StepKind
	Module  string // with underscores
	Path    string // Insert: the literal path of its file
	Command string // Run: what the shell gets
	Options string // parameters for the module, in order
	Why     Why
	By      Line // Run: the install line; Blacklisted: the blacklist line; Missing: the alias line that led here, if one did
	// Idle is a step without effect, although a dry run shows it: an earlier step has
	// inserted the module, or has failed for certain and ended the request.
	Idle bool
}

// Resolver answers what a call of modprobe does on one kernel of a tree when no
// module is loaded. It is not safe for concurrent use of one Index.
type Resolver struct {
	Config *Config
	Index  *Index
}

// Kmod gives what kmod's modprobe does, in order. The error is ErrNotFound, where
// modprobe ends with code 1 and does nothing, or one of reading the tree. It
// follows kmod_module_new_from_lookup and kmod_module_probe_insert_module
// (libkmod-module.c). A name that is a path is not looked up.
func (r Resolver) Kmod(req Request) ([]Step, error) {
	k := &kmodRun{index: r.Index, rules: compile(r.kmodLines()), objects: map[string]*object{}}
	for _, l := range r.Config.commandLine {
		k.rules.addCommandLine(l)
	}
	found, err := k.lookup(req.Name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", req.Name, err)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: %w", req.Name, ErrNotFound)
	}
	for _, o := range found {
		if err := k.probe(o, req); err != nil {
			return nil, fmt.Errorf("cannot resolve %s: %w", req.Name, err)
		}
	}
	return k.steps, nil
}

// kmodLines gives the lines of modprobe.d with those of modules.softdep where its
// name sorts.
func (r Resolver) kmodLines() []Line {
	var out []Line
	added := false
	for _, s := range r.Config.sources {
		if !added && s.base > fileSoftdep {
			out, added = append(out, r.Index.softdep...), true
		}
		out = append(out, s.lines...)
	}
	if !added {
		out = append(out, r.Index.softdep...)
	}
	return out
}

// object is one struct kmod_module. A module that an alias led to is an object of
// its own beside the one that its name or a dependency leads to.
type object struct {
	name, alias string
	aliasLine   Line      // of modprobe.d, if that made it
	command     *textRule // the install line that made it
	file        string
	needs       []*object
	needsKnown  bool
	builtIn     bool
	visited     bool
	required    bool // requested, or a dependency of that: its failure ends the request
	ignoreLines bool // its install line does not count
}

// planned is an object in the order of insertion.
type planned struct {
	*object
	why Why
}

// kmodRun is one call of kmod's modprobe.
type kmodRun struct {
	index    *Index
	rules    *rules
	objects  map[string]*object
	steps    []Step
	lookups  int
	inserted []string // modules that are in by now
}

func (k *kmodRun) object(name, alias string) *object {
	key := name
	if alias != "" {
		key = name + `\` + alias
	}
	o, found := k.objects[key]
	if !found {
		o = &object{name: name, alias: alias, builtIn: k.index.kmod.builtIn[name]}
		k.objects[key] = o
	}
	return o
}

// lookup finds the objects for a name or an alias in the order of
// kmod_module_new_from_lookup; the first place that knows it answers alone.
func (k *kmodRun) lookup(name string) ([]*object, error) {
	if k.lookups++; k.lookups > maxLookups {
		return nil, fmt.Errorf("more than %d names to look up", maxLookups)
	}
	name, valid := underscores(name)
	if !valid || len(name) >= maxKey {
		return nil, nil
	}
	for _, place := range []func(string) []*object{k.fromConfig, k.fromDep, k.fromSymbols, k.fromCommands, k.fromAliases, k.fromBuiltIn, k.fromBuiltInAliases} {
		if found := place(name); len(found) > 0 {
			return found, nil
		}
	}
	return nil, nil
}

func (k *kmodRun) fromConfig(name string) []*object {
	var out []*object
	for _, a := range k.rules.aliases {
		if fnmatch.Match(a.name, name) {
			o := k.object(a.module, a.name)
			o.aliasLine = a.line
			out = append(out, o)
		}
	}
	return out
}

func (k *kmodRun) fromDep(name string) []*object {
	if _, found := k.index.kmod.deps[name]; !found || strings.Contains(name, ":") {
		return nil
	}
	return []*object{k.object(moduleName(name), "")}
}

func (k *kmodRun) fromSymbols(name string) []*object {
	if !strings.HasPrefix(name, "symbol:") {
		return nil
	}
	return k.fromPatterns(k.index.kmod.symbols, name)
}

func (k *kmodRun) fromPatterns(p patterns, name string) []*object {
	var out []*object
	for _, module := range p.modules(name) {
		out = append(out, k.object(module, name))
	}
	return out
}

// fromCommands knows the names that an install line, or else a remove line, has
// literally.
func (k *kmodRun) fromCommands(name string) []*object {
	named := func(c textRule) bool { return c.name == name }
	if i := slices.IndexFunc(k.rules.install, named); i >= 0 {
		o := k.object(moduleName(name), "")
		o.command = &k.rules.install[i]
		return []*object{o}
	}
	if slices.ContainsFunc(k.rules.remove, named) {
		return []*object{k.object(moduleName(name), "")}
	}
	return nil
}

func (k *kmodRun) fromAliases(name string) []*object {
	return k.fromPatterns(k.index.kmod.aliases, name)
}

func (k *kmodRun) fromBuiltIn(name string) []*object {
	if !k.index.kmod.builtIn[name] {
		return nil
	}
	o := k.object(moduleName(name), "")
	o.builtIn = true
	return []*object{o}
}

func (k *kmodRun) fromBuiltInAliases(name string) []*object {
	out := k.fromPatterns(k.index.kmod.builtInAlias, name)
	for _, o := range out {
		o.builtIn = true
	}
	return out
}

// dependencies gives the objects that a module needs, first to be inserted first. If
// the file of one of them is not there, kmod goes on as if it needed none.
func (k *kmodRun) dependencies(o *object) ([]*object, error) {
	if o.needsKnown {
		return o.needs, nil
	}
	file, needs, found := k.index.kmod.dependencies(o.name)
	if !found {
		return nil, nil
	}
	o.file = file
	var out []*object
	for _, need := range slices.Backward(needs) {
		there, err := k.index.exists(need)
		if err != nil {
			return nil, err
		}
		dep := k.object(fileModule(need), "")
		if !there || dep.file != "" && dep.file != need {
			return nil, nil
		}
		dep.file, dep.builtIn = need, false
		out = append(out, dep)
	}
	o.needs, o.needsKnown = out, true
	return out, nil
}

// probe plans one object, and turns the plan into steps.
func (k *kmodRun) probe(o *object, req Request) error {
	why := Requested
	if o.alias != "" {
		why = ByAlias
	}
	if o.builtIn {
		k.steps = append(k.steps, Step{Kind: BuiltIn, Module: o.name, Why: why})
		return nil
	}
	if line, listed := k.blacklisted(o); listed && (o.alias != "" || req.UseBlacklist) {
		k.steps = append(k.steps, Step{Kind: Blacklisted, Module: o.name, Why: why, By: line})
		return nil
	}
	for _, other := range k.objects {
		other.visited, other.required = false, false
	}
	p := &plan{run: k}
	if err := p.visit(planned{o, why}, true, req.IgnoreInstall); err != nil {
		return err
	}
	return k.carryOut(p.list, o, req)
}

func (k *kmodRun) blacklisted(o *object) (Line, bool) {
	for _, b := range k.rules.blacklist {
		if b.name == o.name {
			return b.line, true
		}
	}
	return Line{}, false
}

// plan is the order of insertion for one object.
type plan struct {
	run  *kmodRun
	list []planned
}

// visit adds an object with all that it needs, once.
func (p *plan) visit(o planned, required, ignoreLines bool) error {
	if o.visited {
		return nil
	}
	o.visited = true
	needs, err := p.run.dependencies(o.object)
	if err != nil {
		return err
	}
	if required {
		o.required = true
		for _, need := range needs {
			need.required = true
		}
	}
	for _, need := range needs {
		if err := p.withSoftdeps(planned{need, Dependency}); err != nil {
			return err
		}
	}
	if !ignoreLines {
		return p.withSoftdeps(o)
	}
	o.ignoreLines = true
	return p.add(o)
}

func (p *plan) add(o planned) error {
	if p.list = append(p.list, o); len(p.list)+len(p.run.steps) > maxSteps {
		return fmt.Errorf("more than %d steps", maxSteps)
	}
	return nil
}

// withSoftdeps adds an object between its soft dependencies. One that has any is
// inserted by itself: its install line does not count.
func (p *plan) withSoftdeps(o planned) error {
	pre, post, err := p.run.softdeps(o.name)
	if err != nil {
		return err
	}
	for _, dep := range pre {
		if err := p.visit(planned{dep, PreSoftdep}, false, false); err != nil {
			return err
		}
	}
	o.ignoreLines = len(pre)+len(post) > 0
	if err := p.add(o); err != nil {
		return err
	}
	for _, dep := range post {
		if err := p.visit(planned{dep, PostSoftdep}, false, false); err != nil {
			return err
		}
	}
	return nil
}

// softdeps looks up what the first softdep line for a module names.
func (k *kmodRun) softdeps(module string) (pre, post []*object, err error) {
	for _, s := range k.rules.softdeps {
		if !fnmatch.Match(s.name, module) {
			continue
		}
		if pre, err = k.lookupAll(s.pre); err == nil {
			post, err = k.lookupAll(s.post)
		}
		return pre, post, err
	}
	return nil, nil, nil
}

func (k *kmodRun) lookupAll(names []string) ([]*object, error) {
	var out []*object
	for _, name := range names {
		found, err := k.lookup(name)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// carryOut turns a plan into steps.
func (k *kmodRun) carryOut(list []planned, requested *object, req Request) error {
	over := slices.Contains(k.inserted, requested.name) // by an alias that stands for several
	for _, o := range list {
		if o.builtIn {
			k.steps = append(k.steps, Step{Kind: BuiltIn, Module: o.name, Why: o.why, Idle: over})
			continue
		}
		s, err := k.step(o)
		if err != nil {
			return err
		}
		if o.object == requested {
			s.Options = join(s.Options, req.Options)
		}
		s.Command = strings.ReplaceAll(s.Command, "$CMDLINE_OPTS", s.Options)
		in := slices.Contains(k.inserted, o.name)
		s.Idle = over || in
		if s.Kind == Insert && !s.Idle {
			k.inserted = append(k.inserted, o.name)
		}
		k.steps = append(k.steps, s)
		over = over || o.required && !in && (s.Kind == Missing || s.Kind == Run && alwaysFails(s.Command))
	}
	return nil
}

// step says what happens to one object of a plan.
func (k *kmodRun) step(o planned) (Step, error) {
	s := Step{Module: o.name, Why: o.why, Options: k.options(o.object)}
	if install, found := k.install(o.object); found && !o.ignoreLines {
		s.Kind, s.Command, s.By = Run, install.text, install.line
		return s, nil
	}
	s.Kind, s.By = Missing, o.aliasLine
	file := o.file
	if file == "" {
		file, _, _ = k.index.kmod.dependencies(o.name)
	}
	if file == "" {
		return s, nil
	}
	there, err := k.index.exists(file)
	if there {
		s.Kind, s.By = Insert, Line{}
	}
	s.Path = path.Join(k.index.Dir, file)
	if path.IsAbs(file) {
		s.Path = file
	}
	return s, err
}

// install finds the first install line for a module.
func (k *kmodRun) install(o *object) (textRule, bool) {
	if o.command != nil {
		return *o.command, true
	}
	for _, c := range k.rules.install {
		if fnmatch.Match(c.name, o.name) {
			return c, true
		}
	}
	return textRule{}, false
}

// options joins the options lines for a module and for the alias that led to it.
func (k *kmodRun) options(o *object) string {
	out := ""
	for _, rule := range k.rules.options {
		if rule.name == o.name || o.alias != "" && rule.name == o.alias {
			out = join(out, rule.text)
		}
	}
	return out
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + " " + b
}

// alwaysFails says whether a command is one that fails whatever the system is like.
func alwaysFails(command string) bool {
	program := plainProgram(command)
	return program == "false" || program == "/bin/false" || program == "/usr/bin/false"
}

// plainProgram gives the program of a command that the shell reads as nothing but
// words and a note, or nothing.
func plainProgram(command string) string {
	words := strings.Fields(command)
	for i, w := range words {
		if w[0] == '#' {
			words = words[:i]
			break
		}
		if strings.ContainsAny(w, "|&;<>()$`\\\"'*?[]{}~") || i == 0 && strings.ContainsAny(w, "=!") {
			return ""
		}
	}
	if len(words) == 0 {
		return ""
	}
	return words[0]
}
