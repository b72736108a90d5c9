package inference

import (
	"errors"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/profiles"
)

// Programs that run others. Of a wrapper's words any can be the program that it runs, since
// nobody wants to know the options of all of them.
var (
	shells     = []string{"sh", "bash", "dash", "ash", "zsh", "ksh", "busybox"}
	containers = []string{"docker", "podman", "nerdctl", "ctr", "docker-compose", "podman-compose"}
	wrappers   = []string{
		"env", "nice", "ionice", "taskset", "chrt", "numactl", "prlimit", "setpriv", "runuser", "su", "sudo", "setsid", "unshare", "nsenter",
		"timeout", "stdbuf", "flock", "nohup", "time", "systemd-run", "systemd-cat", "systemd-inhibit", "firejail", "bwrap", "tini", "dumb-init",
		"uv", "uvx", "pipx", "conda", "mamba", "micromamba", "poetry", "pipenv", "pdm", "hatch", "pixi", "rye", "nix", "nix-shell", "ld.so",
		"torchrun", "accelerate", "mpirun", "mpiexec", "srun", "nsys", "npx", "tmux", "screen", "script", "snap", "flatpak", "toolbox", "distrobox", "start-stop-daemon",
	}
	python = regexp.MustCompile(`^(python|pypy)[0-9.]*$`)
)

// path of a program that is named without a slash: DEFAULT_PATH in systemd's src/basic/path-util.h.
var programPath = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// matcher looks through the commands of one unit.
type matcher struct {
	*reader
	table []profiles.Server
	dir   string // WorkingDirectory=
	vars  variables
	left  int // commands that may still be looked at
	bytes int // of scripts and the like that may still be looked through
}

// run says which server a command starts; nil if none that is known. Words are as a program
// would get them.
func (m *matcher) run(words []string, nesting int) (*profiles.Server, error) {
	for len(words) > 0 && isAssignment(words[0]) {
		name, value, _ := strings.Cut(words[0], "=")
		m.vars.set(name, m.vars.expand(value))
		words = words[1:]
	}
	words = m.expandAll(words)
	if m.left--; len(words) == 0 || m.left < 0 || nesting > maxNesting {
		return nil, nil
	}
	program := path.Base(words[0])
	if slices.Contains(wrappers, program) {
		for i := range words[:min(len(words), maxWords)] {
			if server, err := m.direct(words[i:], nesting); server != nil || err != nil {
				return server, err
			}
		}
		return nil, nil
	}
	if server, err := m.direct(words, nesting); server != nil || err != nil {
		return server, err
	}
	if server, err := m.script(words[0], nesting); server != nil || err != nil {
		return server, err
	}
	if s, err := m.linked(words); s != nil || err != nil {
		return s, err
	}
	return m.spelledOut(words), nil
}

// linked looks at a program behind a link of another name.
func (m *matcher) linked(words []string) (*profiles.Server, error) {
	if !path.IsAbs(words[0]) {
		return nil, nil
	}
	literal, found, err := m.follow(words[0])
	if err != nil || !found {
		return nil, err
	}
	return m.program(append([]string{literal}, words[1:]...)), nil
}

func (m *matcher) expandAll(words []string) []string {
	var out []string
	for _, w := range words {
		// $NAME alone stands for several words: systemd.service(5), "Command lines".
		if text := m.vars.expand(w); text != w && strings.HasPrefix(w, "$") && !strings.HasPrefix(w, "${") {
			out = append(out, strings.Fields(text)...)
		} else {
			out = append(out, text)
		}
	}
	return out[:min(len(out), maxWords)]
}

func isAssignment(word string) bool {
	name, _, ok := strings.Cut(word, "=")
	return ok && name != "" && strings.TrimFunc(name, func(r rune) bool { return r < 128 && isNameByte(byte(r)) }) == ""
}

// direct looks at a command that no wrapper stands before.
func (m *matcher) direct(words []string, nesting int) (*profiles.Server, error) {
	program := path.Base(words[0])
	switch {
	case slices.Contains(shells, program):
		return m.shell(words[1:], nesting)
	case python.MatchString(program):
		return m.python(words[1:], nesting)
	case slices.Contains(containers, program):
		if before, composes := strings.CutSuffix(program, "-compose"); composes {
			words = append([]string{before, "compose"}, words[1:]...)
		}
		return m.container(words[1:], nesting)
	}
	return m.program(words), nil
}

// program finds a server by the name of its program and a word of the arguments.
func (m *matcher) program(words []string) *profiles.Server {
	for i, s := range m.table {
		for _, form := range s.Programs {
			name, argument, both := strings.Cut(form, " ")
			if matches(name, path.Base(words[0])) && (!both || slices.Contains(words[1:], argument)) {
				return &m.table[i]
			}
		}
	}
	return nil
}

// spelledOut finds "vllm serve" and "-m vllm.x" among the arguments of a program that is not
// known.
func (m *matcher) spelledOut(words []string) *profiles.Server {
	for at := range len(words) - 1 {
		if words[at] == "-m" {
			if s := m.module(words[at+1]); s != nil {
				return s
			}
		}
		for i, s := range m.table {
			for _, form := range s.Programs {
				name, argument, both := strings.Cut(form, " ")
				if both && argument == words[at+1] && matches(name, path.Base(words[at])) {
					return &m.table[i]
				}
			}
		}
		if words[at+1] == "serve" && path.Base(words[at]) == "vllm" {
			return m.program(words[at:])
		}
	}
	return nil
}

func matches(pattern, text string) bool {
	ok, err := path.Match(pattern, text)
	return err == nil && ok
}

// module finds a server by a module of Python, or by one below it.
func (m *matcher) module(name string) *profiles.Server {
	for i, s := range m.table {
		for _, known := range s.Modules {
			if name == known || strings.HasPrefix(name, known+".") {
				return &m.table[i]
			}
		}
	}
	return nil
}

// shell looks through sh -c SCRIPT, and through a script that is given by name.
func (m *matcher) shell(args []string, nesting int) (*profiles.Server, error) {
	for i, arg := range args {
		switch {
		case i == 0 && slices.Contains(shells, arg): // busybox sh
		case strings.HasPrefix(arg, "--") || strings.HasPrefix(arg, "+"):
		case strings.HasPrefix(arg, "-"):
			if strings.Contains(arg, "c") && i+1 < len(args) {
				return m.lines(args[i+1], nesting)
			}
		default:
			return m.script(arg, nesting)
		}
	}
	return nil, nil
}

// lines looks through the text of a shell script.
func (m *matcher) lines(text string, nesting int) (*profiles.Server, error) {
	for _, words := range shellCommands(text) {
		if server, err := m.run(words, nesting+1); server != nil || err != nil {
			return server, err
		}
	}
	return nil, nil
}

// imported is a line of Python that needs a module, or several with commas between.
var imported = regexp.MustCompile(`(?m)^[ \t]*(?:from|import)[ \t]+([A-Za-z0-9_., \t]+)`)

// python looks through python -m MODULE, python -c TEXT and python SCRIPT.
func (m *matcher) python(args []string, nesting int) (*profiles.Server, error) {
	for i, arg := range args {
		switch {
		case (arg == "-m" || arg == "-c") && i+1 < len(args):
			if arg == "-c" {
				return m.imports(strings.ReplaceAll(args[i+1], ";", "\n")), nil
			}
			return m.module(args[i+1]), nil
		case strings.HasPrefix(arg, "-m"):
			return m.module(arg[2:]), nil
		case strings.HasPrefix(arg, "-"):
		default:
			if s := m.program(args[i:]); s != nil {
				return s, nil
			}
			return m.script(arg, nesting)
		}
	}
	return nil, nil
}

func (m *matcher) imports(text string) *profiles.Server {
	for _, found := range imported.FindAllStringSubmatch(text, maxCommands) {
		for name := range strings.SplitSeq(found[1], ",") {
			words := strings.Fields(name) // import x as y, from x import y
			if len(words) == 0 {
				continue
			}
			if s := m.module(words[0]); s != nil {
				return s
			}
		}
	}
	return nil
}

// script looks through a file of the tree that is a shell or Python script. Of a program
// only the first bytes are read.
func (m *matcher) script(name string, nesting int) (*profiles.Server, error) {
	if nesting >= maxNesting {
		return nil, nil
	}
	for _, file := range m.places(name) {
		text, found, err := m.scriptText(file)
		if err != nil {
			return nil, err
		}
		if !found {
			continue
		}
		first, _, _ := strings.Cut(text, "\n")
		if strings.HasSuffix(file, ".py") || strings.Contains(first, "python") {
			return m.imports(text), nil
		}
		return m.lines(text, nesting)
	}
	return nil, nil
}

// scriptText reads a script; of a file that is none the text is empty.
func (m *matcher) scriptText(file string) (text string, found bool, err error) {
	literal, found, err := m.follow(file)
	if err != nil || !found {
		return "", false, err
	}
	if info, err := m.tree.Lstat(literal); err != nil || !info.Mode.IsRegular() || info.Size > maxScript {
		return "", err == nil, err
	}
	f, err := m.tree.Open(literal)
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	head := make([]byte, 2)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", false, err
	}
	if ext := path.Ext(file); string(head[:n]) != "#!" && ext != ".sh" && ext != ".py" {
		return "", true, nil
	}
	if m.bytes <= 0 {
		return "", true, nil
	}
	data, err := m.content(literal, maxScript)
	m.bytes -= len(data)
	return string(data), true, err
}

// places lists where a program or file of a command line lies.
func (m *matcher) places(name string) []string {
	switch {
	case path.IsAbs(name):
		return []string{name}
	case strings.Contains(name, "/") || strings.Contains(name, "."):
		return []string{path.Join("/", m.dir, name)}
	}
	var out []string
	for _, dir := range programPath {
		out = append(out, path.Join(dir, name))
	}
	return out
}
