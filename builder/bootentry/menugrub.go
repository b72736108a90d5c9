package bootentry

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// grubRoot is one grub.cfg with what it would make of itself.
type grubRoot struct {
	path  string
	nodes map[string][]grubNode // statements, by script
	files map[string]*file
	menu  []*grubItem
	items []*grubItem // all, those of submenus behind the submenu
	// sets are the statements reached that set default or fallback outside submenus.
	sets              []grubSet
	default_, fallbck grubValues
	env               *file // the environment block that was loaded
	chained           bool  // another configuration takes over
	elsewhere         bool  // and makes a menu of its own
	blscfg            bool
	direct            bool   // it boots without its menu
	lost              string // what it goes on with that the tree lacks
	leaves            bool   // and it does so whatever the machine
	adds              string // a command of which nobody knows what it adds to the menu
}

// grubItem is one entry or submenu.
type grubItem struct {
	MenuItem
	title   string // without those of submenus
	submenu bool
	menu    []*grubItem
	script  *file // nil: of blscfg
	node    *grubNode
	index   int // in items
}

// grubSet is one statement that sets a variable.
type grubSet struct {
	name   string
	file   *file
	value  []piece
	from   int // where the value begins in the file, quotes included
	end    int
	values grubValues
}

// grubValues are the values that a variable or a word can have.
type grubValues struct {
	list []string
	any  bool // and others
}

func (v grubValues) with(other grubValues) grubValues {
	out := grubValues{union(union(nil, v.list), other.list), v.any || other.any}
	if len(out.list) > maxValues {
		return grubValues{any: true}
	}
	return out
}

// is says that there is one value only, and this.
func (v grubValues) is(s string) bool { return !v.any && len(v.list) == 1 && v.list[0] == s }

// grubVars are variables with values; one that is not there is as GRUB starts.
type grubVars map[string]grubValues

// get knows the variables that GRUB itself sets: all features are there, and of the
// machine nothing is known (GRUB manual 2.06, "Special environment variables").
func (v grubVars) get(name string) grubValues {
	if value, set := v[name]; set {
		return value
	}
	if strings.HasPrefix(name, "feature_") {
		return grubValues{list: []string{"y"}}
	}
	if strings.HasPrefix(name, "net_") || startsWithDigit(name) ||
		slices.Contains([]string{"grub_platform", "grub_cpu", "root", "prefix", "cmdpath", "config_file", "config_directory", "?", "#", "*", "@",
			"shim_lock", "lockdown", "secure_boot", "boot", "platform"}, name) {
		return grubValues{any: true}
	}
	return grubValues{list: []string{""}}
}

// expand gives what a list of pieces can say.
func (v grubVars) expand(pieces []piece) grubValues {
	out := grubValues{list: []string{""}}
	for _, p := range pieces {
		next := grubValues{list: []string{string([]byte{p.c})}}
		if p.variable != "" {
			next = v.get(p.variable)
		}
		if next.any || len(out.list)*len(next.list) > maxValues {
			return grubValues{any: true}
		}
		var longer []string
		for _, a := range out.list {
			for _, b := range next.list {
				if len(a)+len(b) > maxExpanded {
					return grubValues{any: true}
				}
				longer = append(longer, a+b)
			}
		}
		out.list = longer
	}
	return out
}

// grub evaluates every grub.cfg that makes a menu.
func (r *menuReader) grub() ([]LoaderMenu, error) {
	dirs, err := r.grubDirs()
	if err != nil {
		return nil, err
	}
	var tops []*file
	for _, dir := range dirs {
		name, err := r.find(dir, "grub.cfg")
		if err != nil {
			return nil, err
		}
		f, err := r.readIf(name)
		if err != nil {
			return nil, err
		}
		if f != nil && !slices.Contains(r.grubTops, f.path) {
			tops, r.grubTops = append(tops, f), append(r.grubTops, f.path)
		}
	}
	var out []LoaderMenu
	for _, f := range tops {
		run := &grubRun{menuReader: r, root: &grubRoot{path: f.path, nodes: map[string][]grubNode{}, files: map[string]*file{}},
			functions: map[string][]grubNode{}}
		vars := grubVars{}
		if err := run.script(f, vars, 0); err != nil {
			return nil, err
		}
		run.root.default_, run.root.fallbck = vars.get("default"), vars.get("fallback")
		run.root.number(run.root.menu, "")
		if m := run.loaderMenu(); len(m.Items) > 0 || m.Unknown != "" {
			out = append(out, m)
		}
	}
	return out, nil
}

// loaderMenu is the menu that a script makes; none where another one makes it, and one
// without entries where nobody can tell.
func (g *grubRun) loaderMenu() LoaderMenu {
	m := LoaderMenu{Loader: "GRUB", Path: g.root.path, root: &grubRoot{path: g.root.path}}
	switch {
	case g.failed != "":
		m.Unknown = "the script cannot be followed: " + g.failed
	case g.root.elsewhere:
	case len(g.root.items) > 0:
		m = g.root.loaderMenu()
	case g.root.direct:
		m.Unknown = "it boots without its menu"
	case g.root.lost != "":
		m.Unknown = "it makes no menu entries, and goes on with " + g.root.lost
	case g.root.adds != "":
		m.Unknown = "it makes no menu entries but those of the command " + g.root.adds + ", which are not known"
	case g.root.blscfg:
		m.Unknown = "its entries are those of blscfg, and the tree has no boot loader entry that GRUB can start"
	default:
		g.note("%s: this GRUB starts nothing by default: it makes no menu entries", g.root.path)
	}
	return m
}

func (r *menuReader) readIf(name string) (*file, error) {
	if name == "" {
		return nil, nil
	}
	return r.read(name)
}

// number lists all items in the order of the menus.
func (g *grubRoot) number(menu []*grubItem, above string) {
	for _, i := range menu {
		i.index, i.title = len(g.items), i.Title
		i.Title = above + i.Title
		g.items = append(g.items, i)
		g.number(i.menu, i.Title+" > ")
	}
}

// loaderMenu resolves what the variables name.
func (g *grubRoot) loaderMenu() LoaderMenu {
	m := LoaderMenu{Loader: "GRUB", Path: g.path, root: g}
	for _, i := range g.items {
		m.Items = append(m.Items, i.MenuItem)
	}
	switch {
	case g.direct:
		m.Unknown = "it boots without its menu"
	case g.default_.any:
		m.Unknown = "the script computes it"
	case g.leaves:
		m.Unknown = "it goes on with " + g.lost
	}
	for _, value := range g.default_.list {
		m.Default = union2(m.Default, g.resolve(g.menu, value, true))
	}
	for _, value := range g.fallbck.list {
		for word := range strings.FieldsSeq(value) {
			m.Fallback = union2(m.Fallback, g.resolve(g.menu, word, false))
		}
	}
	return m
}

func union2(a, b []int) []int {
	for _, i := range b {
		if !slices.Contains(a, i) {
			a = append(a, i)
		}
	}
	return a
}

// grubRun evaluates a script.
type grubRun struct {
	*menuReader
	root      *grubRoot
	functions map[string][]grubNode
	steps     int
	failed    string // why the script cannot be followed
}

// scope is where statements run.
type scope struct {
	file    *file
	vars    grubVars
	menu    *[]*grubItem
	maybe   bool
	nested  bool // in a submenu
	depth   int
	verdict grubVerdict // of the last command
}

// grubVerdict is whether a command succeeds.
type grubVerdict int

const (
	perhaps grubVerdict = iota
	yes
	no
)

func (v grubVerdict) not() grubVerdict {
	return map[grubVerdict]grubVerdict{yes: no, no: yes}[v]
}

func verdictOf(b bool) grubVerdict {
	if b {
		return yes
	}
	return no
}

func (g *grubRun) script(f *file, vars grubVars, depth int) error {
	return g.inline(f, &scope{vars: vars, menu: &g.root.menu, depth: depth})
}

// inline runs another script in the same scope.
func (g *grubRun) inline(f *file, s *scope) error {
	nodes, known := g.root.nodes[f.path]
	if !known {
		var err error
		if nodes, err = parseGrubTree(f.data); err != nil {
			g.failed = err.Error()
			return nil
		}
		g.root.nodes[f.path], g.root.files[f.path] = nodes, f
	}
	inner := *s
	inner.file = g.root.files[f.path]
	inner.depth++
	return g.list(nodes, &inner)
}

func (g *grubRun) list(nodes []grubNode, s *scope) error {
	for i := range nodes {
		if g.failed != "" || g.root.chained {
			return nil
		}
		if err := g.node(&nodes[i], s); err != nil {
			return err
		}
	}
	return nil
}

func (g *grubRun) node(n *grubNode, s *scope) error {
	if g.steps++; g.steps > maxSteps {
		g.failed = "it takes too many steps to follow"
		return nil
	}
	if s.depth > maxNesting {
		g.failed = "scripts and functions call each other without end"
		return nil
	}
	switch n.kind {
	case nodeIf:
		return g.conditional(n.arms, s)
	case nodeLoop:
		return g.undecided([][]grubNode{n.arms[0].body, nil}, s)
	case nodeFunction:
		if len(n.words) > 0 {
			name, _ := n.words[0].literal()
			g.functions[name] = n.arms[0].body
		}
		return nil
	case nodeMenu:
		return g.menuEntry(n, s)
	case nodeBlock:
		return nil
	default:
		return g.command(n, s)
	}
}

// conditional runs the arm that is taken, or all that may be.
func (g *grubRun) conditional(arms []grubArm, s *scope) error {
	if len(arms) == 0 {
		return nil
	}
	if arms[0].condition == nil {
		return g.list(arms[0].body, s)
	}
	s.verdict = perhaps
	if err := g.list(arms[0].condition, s); err != nil {
		return err
	}
	switch s.verdict {
	case yes:
		return g.list(arms[0].body, s)
	case no:
		return g.conditional(arms[1:], s)
	default:
		return g.fork(s, func(s *scope) error { return g.list(arms[0].body, s) },
			func(s *scope) error { return g.conditional(arms[1:], s) })
	}
}

// undecided runs lists one of which is taken.
func (g *grubRun) undecided(lists [][]grubNode, s *scope) error {
	var ways []func(*scope) error
	for _, list := range lists {
		ways = append(ways, func(s *scope) error { return g.list(list, s) })
	}
	return g.fork(s, ways...)
}

// fork runs each way from the same start and keeps what any of them leaves.
func (g *grubRun) fork(s *scope, ways ...func(*scope) error) error {
	before := maps.Clone(s.vars)
	var after []grubVars
	maybe := s.maybe
	s.maybe = true
	for _, way := range ways {
		g.steps += len(before)
		vars := maps.Clone(before)
		inner := *s
		inner.vars = vars
		if err := way(&inner); err != nil {
			return err
		}
		g.root.chained = false // perhaps not
		after = append(after, vars)
	}
	s.maybe, s.verdict = maybe, perhaps
	for _, vars := range after {
		for name := range vars {
			var all grubValues
			for _, v := range after {
				all = all.with(v.get(name))
			}
			s.vars[name] = all
		}
	}
	return nil
}

// menuEntry adds an item; a submenu is run at once for what it holds.
func (g *grubRun) menuEntry(n *grubNode, s *scope) error {
	args := g.arguments(n.words, s)
	item := &grubItem{script: s.file, node: n, MenuItem: MenuItem{Path: s.file.path, Line: lineOf(s.file.data, n.start), Maybe: s.maybe}}
	if len(args) > 1 {
		item.Title = args[1].text()
	}
	item.ID = item.Title
	for i, a := range args {
		text := a.text()
		if id, found := strings.CutPrefix(text, "--id="); found {
			item.ID = id
		} else if text == "--id" && i+1 < len(args) {
			item.ID = args[i+1].text()
		}
	}
	if len(g.root.items)+len(*s.menu) > maxEntries {
		g.failed = "it has too many entries"
		return nil
	}
	*s.menu = append(*s.menu, item)
	name, _ := n.words[0].literal()
	if item.submenu = name == "submenu"; !item.submenu {
		return g.body(item, n, s)
	}
	inner := *s
	inner.vars, inner.menu, inner.nested, inner.maybe = maps.Clone(s.vars), &item.menu, true, false
	inner.depth++
	g.steps += len(inner.vars)
	return g.list(n.arms[0].body, &inner)
}

// body finds what an entry starts: the command lines found in its lines, and images.
func (g *grubRun) body(item *grubItem, n *grubNode, s *scope) error {
	commands := commandsIn(n.arms[0].body)
	for _, c := range commands {
		if len(c.words) > 1 {
			g.kernelOf(item, c, s.file)
		}
	}
	for _, c := range commands {
		name, _ := c.words[0].literal()
		if name != "chainloader" || len(c.words) < 2 {
			continue
		}
		for _, w := range c.words[1:] {
			target := g.locate(trailingLiteral(w), path.Dir(path.Dir(s.file.path)))
			if image := g.imageItem(target); image != nil {
				item.Linux, item.Unnamed = true, item.Unnamed || image.Unnamed
				item.Releases = union(item.Releases, image.Releases)
			}
		}
	}
	return nil
}

// kernelOf takes the kernel that a command loads for one of the item's: the entry that
// stands on its line.
func (g *grubRun) kernelOf(item *grubItem, c grubNode, f *file) {
	line := lineOf(f.data, c.start)
	written, literal := c.words[1].literal()
	kernel := g.locate(written, path.Dir(path.Dir(f.path)))
	for _, e := range g.config.Entries {
		if e.Source != GrubScript || e.Path != f.path || e.Line != line || literal && e.Kernel != kernel || isTool(e.Kernel) {
			continue
		}
		release := g.release(e)
		if strings.Contains(spelled(c.words[1]), "$") {
			release = "" // a guess
		}
		item.loads(release)
		item.Missing = item.Missing || !g.holds(e.Kernel)
		item.marksRecovery(e.CommandLine)
	}
}

// holds says whether a file is in the tree.
func (r *menuReader) holds(name string) bool {
	info, err := rootfs.Stat(r.tree, name)
	return err == nil && info.Mode.IsRegular()
}

// isTool says whether a file is one of the programs that boot as if they were Linux.
func isTool(kernel string) bool {
	base := strings.ToLower(path.Base(kernel))
	return slices.ContainsFunc([]string{"memtest", "memdisk", "ipxe", "hdt", "netboot.xyz"}, func(tool string) bool { return strings.HasPrefix(base, tool) })
}

// spelled is the last part of a path, with a $ for each variable.
func spelled(w word) string {
	s := ""
	for _, p := range w.pieces {
		switch {
		case p.variable != "":
			s += "$"
		case p.c == '/':
			s = ""
		}
	}
	return s
}

// commandsIn lists all simple commands below.
func commandsIn(nodes []grubNode) []grubNode {
	var out []grubNode
	for _, n := range nodes {
		if n.kind == nodeCommand && len(n.words) > 0 {
			out = append(out, n)
		}
		for _, a := range n.arms {
			out = append(append(out, commandsIn(a.condition)...), commandsIn(a.body)...)
		}
	}
	return out
}

func lineOf(data []byte, at int) int { return 1 + strings.Count(string(data[:at]), "\n") }

// argument is one word of a command as expanded.
type argument struct {
	grubValues
	word word
}

// text is the likeliest value.
func (a argument) text() string {
	if len(a.list) > 0 {
		return a.list[0]
	}
	return trailingLiteral(a.word)
}

// arguments expands words; an unquoted variable without a value is no word at all.
func (g *grubRun) arguments(words []word, s *scope) []argument {
	var out []argument
	for _, w := range words {
		v := s.vars.expand(w.pieces)
		if len(w.pieces) == 1 && w.pieces[0].variable != "" && !w.pieces[0].quoted && v.is("") {
			continue
		}
		out = append(out, argument{v, w})
	}
	return out
}

// target finds the file that a word names: by what is behind the last variable.
func (g *grubRun) target(w word, f *file) (string, error) {
	name := strings.TrimPrefix(trailingLiteral(w), "/")
	if name == "" {
		return "", nil
	}
	for _, dir := range []string{path.Dir(f.path), "/", "/boot", "/boot/grub", "/boot/grub2"} {
		literal, err := rootfs.Resolve(g.tree, path.Join(dir, name))
		if missing(err) || literal == f.path {
			continue
		}
		return literal, err
	}
	return "", nil
}
