package inference

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/builder/unitfile"
	"github.com/kerngate/kerngate/profiles"
)

// Kind is what a unit is.
type Kind string

// The kinds.
const (
	Service Kind = "service"
	Socket  Kind = "socket"  // starts a service that is listed, or has the name of one
	Quadlet Kind = "quadlet" // a service that Podman's generator makes of a file
)

// The managers of units.
const (
	System = "system"
	User   = "user"
)

// Unit is a unit of the tree that starts what the table knows.
type Unit struct {
	Name      string               `json:"name"`             // as its manager knows it
	Path      string               `json:"path"`             // the file that defines it
	Kind      Kind                 `json:"kind"`             //
	Manager   string               `json:"manager"`          // System or User
	Server    string               `json:"server"`           // as the table calls it: "vLLM"
	Class     profiles.ServerClass `json:"class"`            //
	Evidence  []string             `json:"evidence"`         // what tells of it; never empty
	EnabledBy []string             `json:"enabled_by"`       // what starts it without anybody's doing
	Masked    bool                 `json:"masked"`           // it cannot be started
	Starts    string               `json:"starts,omitempty"` // the service that a socket starts

	// DropIns are the names whose drop-in directories its manager reads for it, without
	// the ".d".
	DropIns []string `json:"-"`
}

// Find lists the units of a tree by what the table knows: those of the system, those of all
// users, and those in the homes that /etc/passwd names, each sorted by name.
func Find(t rootfs.Tree, table []profiles.Server) ([]Unit, error) {
	f := &finder{reader: newReader(t), table: table}
	if err := f.look(System, systemDirs, quadletDirs); err != nil {
		return nil, fmt.Errorf("cannot read the units of the system: %w", err)
	}
	if err := f.users(); err != nil {
		return nil, fmt.Errorf("cannot read the units of users: %w", err)
	}
	homes, err := f.homes()
	if err != nil {
		return nil, err
	}
	for _, home := range homes {
		if err := f.home(home); err != nil {
			return nil, fmt.Errorf("cannot read the units below %s: %w", home, err)
		}
	}
	return f.found, nil
}

type finder struct {
	*reader
	table []profiles.Server
	found []Unit
}

// users looks at the units of all users, and at the quadlets that are for one user.
func (f *finder) users() error {
	if err := f.look(User, userDirs, []string{quadletUsers}); err != nil {
		return err
	}
	_, entries, err := f.list(quadletUsers)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type != fs.ModeDir || !isNumber(e.Name) {
			continue
		}
		if err := f.look(User, userDirs, []string{path.Join(quadletUsers, e.Name)}); err != nil {
			return err
		}
	}
	return nil
}

// homes lists the home directories of /etc/passwd (passwd(5)), each once.
func (f *finder) homes() ([]string, error) {
	data, ok, err := f.read("/etc/passwd", maxPasswd)
	if err != nil || !ok {
		return nil, err
	}
	var out []string
	for line := range strings.SplitSeq(string(data), "\n") {
		field := strings.Split(line, ":")
		if len(field) < 7 || !path.IsAbs(field[5]) {
			continue
		}
		if home := path.Clean(field[5]); !slices.Contains(out, home) {
			out = append(out, home)
		}
		if len(out) > maxHomes {
			return nil, fmt.Errorf("/etc/passwd: more than %d home directories", maxHomes)
		}
	}
	return out, nil
}

// home looks at the units of one user, if there are any.
func (f *finder) home(home string) error {
	var dirs []string
	for _, dir := range append(slices.Clone(homeDirs), quadletHome) {
		if _, found, err := f.follow(path.Join(home, dir)); err != nil {
			return err
		} else if found {
			dirs = append(dirs, path.Join(home, dir))
		}
	}
	if len(dirs) == 0 {
		return nil
	}
	units := []string{}
	for _, dir := range homeDirs {
		units = append(units, path.Join(home, dir))
	}
	return f.look(User, append(units, userDirs...), []string{path.Join(home, quadletHome)})
}

// look looks at all units of one manager.
func (f *finder) look(name string, dirs, quadlets []string) error {
	s, err := newScope(f.reader, name, dirs)
	if err != nil {
		return err
	}
	set, err := readQuadlets(f.reader, quadlets)
	if err != nil {
		return err
	}
	set.addTo(s)
	others, err := s.aliases()
	if err != nil {
		return err
	}
	l := &looker{finder: f, scope: s, quadlets: set, aliases: others, servers: map[string]*Unit{}}
	for _, service := range s.names(".service") {
		if err := l.service(service); err != nil {
			return err
		}
	}
	for _, socket := range s.names(".socket") {
		if err := l.socket(socket); err != nil {
			return err
		}
	}
	f.add(l.all())
	return nil
}

// add takes units over. What a user's manager shares with all users is there already, and
// may only be started by one more.
func (f *finder) add(units []Unit) {
	for _, u := range units {
		same := func(o Unit) bool { return o.Name == u.Name && o.Path == u.Path && o.Manager == u.Manager }
		if i := slices.IndexFunc(f.found, same); i >= 0 {
			f.found[i].EnabledBy = merged(f.found[i].EnabledBy, u.EnabledBy)
			continue
		}
		f.found = append(f.found, u)
	}
}

func merged(a, b []string) []string {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}

// aliases are the other names of units, by the name that counts, sorted.
type aliases map[string][]string

func (s *scope) aliases() (aliases, error) {
	out := aliases{}
	for name, f := range s.files {
		if f.alias == "" {
			continue
		}
		if canonical, _, ok := s.resolve(name); ok {
			out[canonical] = append(out[canonical], name)
		}
	}
	for canonical, names := range out {
		if len(names) > maxNames {
			return nil, fmt.Errorf("unit %s has %d other names, limit is %d", canonical, len(names), maxNames)
		}
		slices.Sort(names)
	}
	return out, nil
}

// names gives all names of a unit, the one that counts first. An instance has those of its
// template, too.
func (a aliases) names(canonical string) []string {
	out := append([]string{canonical}, a[canonical]...)
	if n := splitName(canonical); n.isInstance() {
		for _, other := range a[n.template().String()] {
			o := splitName(other)
			o.instance = n.instance
			out = merged(out, []string{o.String()})
		}
	}
	return out
}

// names lists the units of a type that can be loaded, each by the name that counts, sorted:
// those that have a file, and instances that something starts.
func (s *scope) names(suffix string) []string {
	seen := map[string]bool{}
	add := func(name string) {
		if path.Ext(name) == suffix {
			if canonical, _, ok := s.resolve(name); ok {
				seen[canonical] = true
			}
		}
	}
	for name := range s.files {
		add(name)
	}
	for name := range s.pulled {
		add(name)
	}
	for stem := range s.dropIns {
		if name := path.Base(stem); splitName(name).isInstance() {
			add(name)
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// looker judges the units of one manager.
type looker struct {
	*finder
	*scope
	quadlets *quadletSet
	aliases  aliases
	servers  map[string]*Unit // by name
}

// all gives what was found, sorted by name.
func (l *looker) all() []Unit {
	var out []Unit
	for _, u := range l.servers {
		out = append(out, *u)
	}
	slices.SortFunc(out, func(a, b Unit) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// newUnit fills in what does not depend on what a unit starts.
func (l *looker) newUnit(name string, f unitFile, kind Kind) *Unit {
	names := l.aliases.names(name)
	u := &Unit{Name: name, Path: f.path, Kind: kind, Manager: l.manager, Masked: f.masked, EnabledBy: []string{}, Evidence: []string{}}
	for _, n := range names {
		u.EnabledBy = merged(u.EnabledBy, l.pulled[n])
		u.DropIns = merged(u.DropIns, DropInNames(n))
	}
	slices.Sort(u.EnabledBy)
	return u
}

// service judges a service by its name and by what it runs.
func (l *looker) service(name string) error {
	_, f, _ := l.resolve(name)
	kind := Service
	if f.quad != nil {
		kind = Quadlet
	}
	u := l.newUnit(name, f, kind)
	names := l.aliases.names(name)
	dropIns, err := l.dropInFiles(names, "service")
	if err != nil {
		return err
	}
	file := f.path
	if f.masked {
		file = "" // of a quadlet the generator copies the section [Service]
	}
	settings, err := l.load(file, dropIns)
	if err != nil {
		return err
	}
	m := &matcher{reader: l.finder.reader, table: l.table, vars: variables{}, left: maxCommands, bytes: maxScripts}
	server := l.byName(u, names, m)
	if !f.masked {
		running, err := l.byCommands(u, f, settings, m)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if running != nil {
			server = running
		}
	}
	if server != nil {
		u.Server, u.Class = server.Name, server.Class
		l.servers[name] = u
	}
	return nil
}

// byName notes a name that the table knows: one that begins with a word of it, or one of its
// units, or one that a template or prefix among them stands for.
func (l *looker) byName(u *Unit, names []string, m *matcher) *profiles.Server {
	for _, name := range names {
		s := m.name(strings.TrimSuffix(name, path.Ext(name)))
		for i := range l.table {
			known := func(n string) bool { return slices.Contains(l.table[i].Units, n) }
			if s == nil && slices.ContainsFunc(DropInNames(name), known) {
				s = &l.table[i]
			}
		}
		if s != nil {
			u.note("the name %s", name)
			return s
		}
	}
	return nil
}

// note adds a line of evidence.
func (u *Unit) note(format string, args ...any) {
	text := []rune(strings.Map(printable, fmt.Sprintf(format, args...)))
	if len(text) > maxShown {
		text = append(text[:maxShown], '…')
	}
	if len(u.Evidence) < maxEvidence && !slices.Contains(u.Evidence, string(text)) {
		u.Evidence = append(u.Evidence, string(text))
	}
}

func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return '?'
}

// byCommands notes what a unit runs, if the table knows it.
func (l *looker) byCommands(u *Unit, f unitFile, settings []setting, m *matcher) (*profiles.Server, error) {
	l.environment(settings, m)
	var server *profiles.Server
	for _, key := range []string{"ExecStart", "ExecStartPre", "ExecStartPost"} {
		for _, s := range values(settings, "Service", key) {
			found, err := m.execLine(s.Value)
			if err != nil {
				return nil, err
			}
			if found != nil {
				u.note("%s:%d: %s=%s", s.File, s.Line, s.Key, s.Value)
				server = cmp.Or(server, found)
			}
		}
	}
	if f.quad == nil {
		return server, nil
	}
	found, err := l.byQuadlet(u, f.quad, m)
	return cmp.Or(server, found), err
}

// environment takes Environment= and EnvironmentFile= of a service: systemd.exec(5).
func (l *looker) environment(settings []setting, m *matcher) {
	m.dir = strings.TrimLeft(last(settings, "Service", "WorkingDirectory"), "-")
	for _, s := range values(settings, "Service", "Environment") {
		for _, word := range unitfile.Words(s.Value, maxWords) {
			if name, value, ok := strings.Cut(word, "="); ok {
				m.vars.set(name, value)
			}
		}
	}
	for _, s := range values(settings, "Service", "EnvironmentFile") {
		data, ok, err := l.finder.read(strings.TrimPrefix(s.Value, "-"), maxScript)
		if err != nil || !ok {
			continue // systemd finds out when it starts the unit
		}
		for line := range strings.SplitSeq(string(data), "\n") {
			name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
			if ok && !strings.HasPrefix(name, "#") && !strings.HasPrefix(name, ";") {
				m.vars.set(name, strings.Trim(value, `"'`))
			}
		}
	}
}

// execLine judges a value of ExecStart=.
func (m *matcher) execLine(value string) (*profiles.Server, error) {
	for _, words := range execCommands(value) {
		if s, err := m.run(words, 0); s != nil || err != nil {
			return s, err
		}
	}
	return nil, nil
}

// byQuadlet notes the image and the command of a quadlet.
func (l *looker) byQuadlet(u *Unit, q *quadlet, m *matcher) (*profiles.Server, error) {
	var server *profiles.Server
	for _, s := range q.settings {
		if s.Section != q.section || s.Value == "" {
			continue
		}
		var found *profiles.Server
		var err error
		switch s.Key {
		case "Image":
			found = m.image(l.quadlets.image(s.Value))
		case "Exec", "Entrypoint":
			found, err = m.run(unitfile.Words(s.Value, maxWords), 0)
		case "ContainerName":
			found = m.name(s.Value)
		case "Yaml":
			m.dir = path.Dir(q.path)
			found, err = m.manifests(unitfile.Words(s.Value, maxWords))
		}
		if err != nil {
			return nil, err
		}
		if found != nil {
			u.note("%s:%d: %s=%s", s.File, s.Line, s.Key, s.Value)
			server = cmp.Or(server, found)
		}
	}
	return server, nil
}

// socket judges a socket by the service that it starts, and by its name.
func (l *looker) socket(name string) error {
	_, f, _ := l.resolve(name)
	names := l.aliases.names(name)
	dropIns, err := l.dropInFiles(names, "socket")
	if err != nil {
		return err
	}
	file := f.path
	if f.masked {
		file = ""
	}
	settings, err := l.load(file, dropIns)
	if err != nil {
		return err
	}
	u := l.newUnit(name, f, Socket)
	m := &matcher{reader: l.finder.reader, table: l.table, vars: variables{}, left: maxCommands, bytes: maxScripts}
	started := l.starts(name, settings)
	u.Starts = started
	if server := l.servers[started]; server != nil {
		u.note("it starts %s", started)
		u.Server, u.Class, u.Masked = server.Server, server.Class, u.Masked || server.Masked
		if len(u.EnabledBy) > 0 && !u.Masked {
			server.EnabledBy = merged(server.EnabledBy, []string{u.Path})
		}
	} else if s := l.byName(u, names, m); s != nil {
		u.Server, u.Class = s.Name, s.Class
	} else {
		return nil
	}
	l.servers[name] = u
	return nil
}

// starts names the service that a socket starts: systemd.socket(5), Service= and Accept=.
func (l *looker) starts(name string, settings []setting) string {
	service := last(settings, "Socket", "Service")
	if service == "" {
		n := splitName(name)
		n.suffix = ".service"
		switch strings.ToLower(last(settings, "Socket", "Accept")) {
		case "1", "yes", "y", "true", "t", "on":
			n.at, n.instance = true, ""
		}
		service = n.String()
	}
	canonical, _, _ := l.resolve(service)
	return canonical
}
